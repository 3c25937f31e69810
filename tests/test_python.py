"""``import suite``: its functions do what the commands do, and its names and types are what is promised."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pandas
import pytest
import torch
from records import record as made_by_hand
from torch import nn

import suite
from suite import plan, record, statistics
from suite.artifacts import Suppressor
from suite.context import save
from suite.options import Word
from suite.request import as_words
from suite.testing import contract

ROOT = Path(__file__).parents[1]
PUBLIC = ("load", "lower", "records", "report", "run")


def test_importing_it_is_quick_and_gives_these_names():
    code = ("import sys, suite\nassert not {'torch', 'numpy', 'pandas', 'mlflow', 'click'} & set(sys.modules)\n"
            "names = {}\nexec('from suite import *', names)\nprint(*sorted(set(names) - {'__builtins__'}))\n")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == sorted([*PUBLIC, "UserError", "__version__"]), done.stderr


@pytest.mark.parametrize("name", PUBLIC)
def test_public_functions_have_whole_annotations_and_a_docstring_that_names_their_errors(name):
    function = getattr(suite, name)
    signature = inspect.signature(function)
    untyped = [item.name for item in signature.parameters.values() if item.annotation is inspect.Parameter.empty]
    assert untyped == [] and signature.return_annotation is not inspect.Signature.empty
    assert "UserError" in inspect.getdoc(function) and (ROOT / "suite" / "py.typed").is_file()


def test_values_are_the_words_of_the_command():
    chosen = {"sparsity": [0.5, 0.75], "task.size": 32, "one_by_n.widths": (1, 2), "flag": True, "limit": None, "name": "a,b"}
    assert as_words(chosen, ["one_by_n"]) == [
        Word("", "sparsity", ("0.5", "0.75")), Word("task", "size", ("32",)), Word("one_by_n", "widths", ("1:2",)),
        Word("", "flag", ("true",)), Word("", "limit", ("none",)), Word("", "name", ("a,b",))]


@pytest.mark.parametrize("arguments, options, sentence", [
    (("cifar11", "plain"), {}, "There is no task 'cifar11'; did you mean 'cifar10'"),
    (("cifar10", "one_by_m"), {}, "There is no method 'one_by_m'; did you mean 'one_by_n'"),
    (("cifar10", "one_by_n"), {"sparsety": 0.5}, "'one_by_n' has no option 'sparsety'; did you mean 'sparsity'?"),
    (("cifar10", ["one_by_n", "magnitude"]), {"n": 4}, "'magnitude' has no option 'n'"),
    (("cifar10", "one_by_n"), {"sparsity": [0.5, 1.5]}, "sparsity=1.5 is out of range for 'one_by_n'"),
    (("cifar10", "one_by_n"), {"n": []}, "'n=' is not an option"),
    (("cifar10", "one_by_n"), {"options": {"magnitude.sparsity": 0.5}}, "is for 'magnitude', which is neither 'task' nor"),
    (("cifar10", "one_by_n"), {"n": 4, "options": {"n": 2}}, "The option 'n' is given twice"),
    (("cifar10", "one_by_n"), {"seeds": 0}, "0 seeds, 1 threads and None jobs are no run"),
    (("cifar10", "plain"), {"data": "nowhere"}, "'cifar10' was looked for in"),
    (("cifar10", "plain"), {"scale": "huge"}, "Task 'cifar10' has no scale 'huge'"),
])
def test_a_mistake_is_the_commands_sentence(suite_home, arguments, options, sentence):
    with pytest.raises(suite.UserError, match=sentence.replace("?", r"\?")):
        suite.run(*arguments, **options)


def test_run_gives_the_records_that_the_command_would_make(suite_home, monkeypatch):
    spec, found = contract.fit_once("cifar10", "plain", options={"arch": "resnet8"})
    mirrored = []
    monkeypatch.setattr("suite.tracking.mirror", lambda records, uri, folder: mirrored.append((records, uri)) or "mirrored")
    before = (record.results_folder() / f"{spec.id}.json").read_bytes()
    assert suite.run("cifar10", "plain", arch="resnet8", scale="smoke", data="embedded", jobs=1) == [found]
    assert suite.run("cifar10", ["plain"], scale="smoke", seeds=[0], options={"plain.arch": "resnet8"}, jobs=1) == [found]
    assert (record.results_folder() / f"{spec.id}.json").read_bytes() == before and mirrored == [([found], None)] * 2
    asked = []
    monkeypatch.setattr("suite.runner.run_plan", lambda plan, **more: asked.append((plan, more)) or [])
    suite.run("cifar10", "plain", arch=["resnet8", "resnet20"], scale="smoke", seeds=2, threads=2, jobs=2, again=True)
    [(made, more)] = asked
    assert len(made.wanted) == 4 and {item.threads for item in made.wanted} == {2} and more["jobs"] == 2
    assert made.again == {item.id for item in made.wanted}


def test_a_script_without_a_guard_is_not_run_again_by_its_workers(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("from suite.launch.processes import _Worker\nfrom pathlib import Path\nprint('script')\n"
                      "worker = _Worker(print, Path('.'))\nworker.connection.close()\nworker.process.join(60)\n"
                      "print(worker.process.exitcode)\n")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["script", "0"], done.stderr


@pytest.fixture
def few(tmp_path, monkeypatch):
    """Three seeds of one configuration and one of another."""
    monkeypatch.setenv("SUITE_RESULTS", str(tmp_path))
    for seed, score in enumerate((90.0, 91.0, 95.0)):
        record.write(made_by_hand("one_by_n", seed, score, options={"n": 4, "sparsity": 0.5}))
    record.write(made_by_hand("plain", 0, 92.0))
    return tmp_path


def test_records_are_runs_and_means_over_seeds(few):
    frame = suite.records()
    assert isinstance(frame, pandas.DataFrame) and list(frame.columns[:6]) == ["kind", "task", "method", "scale", "source", "seed"]
    assert len(frame) == 6 and frame.kind.value_counts().to_dict() == {"run": 4, "mean": 2}
    pruned = suite.records(method="one_by_n")
    assert pruned[pruned.kind == "run"]["score"].tolist() == [90.0, 91.0, 95.0] and pruned["option.sparsity"].tolist() == [0.5] * 4
    assert pruned[pruned.kind == "run"]["seed"].tolist() == [0, 1, 2]
    mean, wanted = pruned[pruned.kind == "mean"].iloc[0], statistics.interval([90.0, 91.0, 95.0])
    assert (mean.score, mean.score_low, mean.score_high, mean.seeds) == (*wanted[:3], 3) and pandas.isna(mean.seed)
    one = suite.records(method="plain").iloc[-1]
    assert one.kind == "mean" and one.seeds == 1 and one.score == 92.0 and pandas.isna(one.score_low)
    with pytest.raises(suite.UserError, match="There is no finished record of method 'plane'; did you mean 'plain'"):
        suite.records(method="plane")


def test_a_mean_latency_is_of_one_machine(few):
    for path, machine, ms in zip(sorted(few.rglob("one_by_n/*.json")), ("a", "a", "b"), (1.0, 2.0, 60.0), strict=True):
        found = record.read(path)
        found["timed_on"]["id"] = machine
        found["profile"]["latency"]["one"]["sparse"]["median_ms"] = ms
        record.write(found)
    assert suite.records(method="one_by_n").iloc[-1]["latency.one.sparse"] == 1.5


def test_without_records_the_frame_is_empty_and_has_its_columns(tmp_path, monkeypatch):
    monkeypatch.setenv("SUITE_RESULTS", str(tmp_path))
    assert len(suite.records()) == 0 and "score" in suite.records().columns


def test_load_gives_the_network_of_a_record_and_says_where_there_is_none(suite_home, tmp_path):
    spec, found = contract.fit_once("cifar10", "plain", options={"arch": "resnet8"})
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        by_id, by_record = suite.load(spec.id)(images), suite.load(found)(images)
    assert torch.equal(by_id, by_record) and not suite.load(spec.id).training
    for source, sentence in {"cifar10/nothing": "No record 'cifar10/nothing'", "a.onnx": "load it with onnxruntime.InferenceSession",
                             tmp_path / "a.safetensors": "There is no file"}.items():
        with pytest.raises(suite.UserError, match=sentence):
            suite.load(source)
    (tmp_path / "a.safetensors").write_bytes(b"nothing")
    with pytest.raises(suite.UserError, match="holds no network that can be made from it"):
        suite.load(tmp_path / "a.safetensors")
    with pytest.raises(suite.UserError, match="is failed and has no network: because"):
        suite.load({**found, "status": "failed", "reason": "because"})
    with pytest.raises(suite.UserError, match="is not in the cache; train it again with: suite run cifar10"):
        suite.load({**found, "id": "cifar10/plain/000000000000-s0", "weights": ""})
    other = {**found, "id": "cifar10/plain/111111111111-s0", "weights": ""}
    save(Suppressor(print), spec.artifact.parents[1] / "111111111111-s0" / "artifact.pt")
    with pytest.raises(suite.UserError, match="has no network: its method 'plain' trains none"):
        suite.load(other)


class Half(nn.Module):
    """A layer that the kernel knows, and products that it does not."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 3)

    def forward(self, images):
        maps = self.layer(images).flatten(2)
        return maps @ maps.transpose(1, 2)


class Random(nn.Module):
    def forward(self, images):
        return images + torch.rand(1)


def test_lower_passes_the_gate_or_says_why_not():
    images = torch.randn(1, 3, 8, 8)
    with torch.no_grad():
        whole = suite.lower(nn.Sequential(nn.Conv2d(3, 4, 3)), images, threads=2)
        assert whole.threads == 2 and whole.outside == [] and whole.macs_share == 1
        half, network = suite.lower(Half(), images), Half()
        assert half.outside == ["matmul: runs in torch"] and 0 < half.macs_share < 1
        assert torch.allclose(suite.lower(network, images)(images), network(images), atol=1e-5)
    with pytest.raises(suite.UserError, match="was not lowered .*all of it would run in torch"):
        suite.lower(Random(), images)
    with pytest.raises(suite.UserError, match=r"differs from torch by .* and 0.0001 is allowed"):
        suite.lower(nn.Sequential(nn.Conv2d(3, 4, 3), Random()), images)


def test_report_renders_what_the_command_renders(few, tmp_path, monkeypatch):
    from click.testing import CliRunner

    from suite.cli.report import command

    reports = tmp_path / "reports"
    reports.mkdir()
    (reports / "mine.toml").write_text('title = "Mine"\ncolumns = ["quality"]\n')
    written = suite.report("mine", reports=reports, to=tmp_path / "here")
    assert tmp_path / "here/mine/table.md" in written and all(path.is_file() for path in written)
    done = CliRunner().invoke(command, ["mine", "--reports", str(reports), "--to", str(tmp_path / "there")])
    assert done.exit_code == 0 and len(done.output.split()) >= len(written)
    assert (tmp_path / "there/mine/table.md").read_text() == (tmp_path / "here/mine/table.md").read_text()
    with pytest.raises(suite.UserError, match="There is no report 'main'.*did you mean 'mine'"):
        suite.report("main", reports=reports)


def test_the_notebook_runs(suite_home, monkeypatch, tmp_path):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    contract.fit_once("cifar10", "plain", options={"arch": "resnet8"})
    monkeypatch.setenv("SUITE_RESULTS", str(plan.record.results_folder().resolve()))
    notebook = nbformat.read(ROOT / "docs" / "python.ipynb", as_version=4)
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    texts = [str(cell.get("outputs", "")) for cell in notebook.cells]
    assert all(any(word in text for text in texts) for word in ("'done'", "did you mean 'one_by_n'", "100% of the MACs", "# Mine"))
    used = "".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    assert all(f"suite.{name}(" in used for name in PUBLIC)

"""What `suite info` and `suite list` tell, what a shell completes, and how long a plan says that it takes."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from records import record

from suite import estimates, listing, plugins
from suite import record as records_
from suite.cli import command
from suite.contract import Paper
from suite.facts import bibtex, plugin
from suite.options import parse
from suite.plan import Plan

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def results(fresh_results):
    return fresh_results


def said(*words):
    done = CliRunner().invoke(command, [*map(str, words)], catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout


def facts(*words):
    return json.loads(said("info", *words, "--json"))


def test_a_method_is_told_with_its_options_claims_and_records():
    for seed, changes in ((0, {}), (1, {}), (2, {"options": {"n": 8}}), (3, {"status": "failed"})):
        records_.write(record(seed=seed, **changes))
    found = facts("one_by_n")
    options = {item["name"]: item for item in found["options"]}
    assert options["n"]["choices"] == [1, 2, 4, 8, 16, 32] and options["n"]["default"] == 4 and "kernels" in options["n"]["help"]
    assert options["sparsity"]["bounds"] == [0.0, 0.999] and found["scales"]["smoke"]["batch"] == 32
    assert found["tasks"]["imagenet"] == {"arch": "mobilenet_v2"} and "change_detection" not in found["tasks"]
    assert {"task": "cifar10", "method": "plain", "options": {"arch": "resnet20"}, "role": "reference"} in found["needs"]
    claim = next(item for item in found["claims"] if item["name"] == "1b at 50%")
    assert claim["finding"] == "not decidable" and claim["least_scale"] == "short" and "suite claims one_by_n --scale short" in claim["verdict"]
    assert {"task": "cifar10", "method": "one_by_n", "scale": "short", "source": "embedded", "configurations": 2, "seeds": 2} in found["records"]
    assert any(item["value"] == 70.233 and "Table 1" in item["where"] for item in found["published"]) and len(found["standins"]) == 3
    shown = said("info", "one_by_n")
    for text in ("arxiv.org/abs/2105.14713", "n=4", "one of 1, 2, 4, 8, 16, 32", "proposes arch=resnet20", "2 configurations, 2 seeds", "misprints 60.706"):
        assert text in " ".join(shown.split()), text
    assert max(map(len, shown.splitlines())) <= 80
    assert "\n  suite run cifar10 one_by_n --scale smoke\n" in shown


def test_every_command_names_a_task_that_takes_the_method():
    tasks = plugin.loaded("tasks")
    for name, method in plugin.loaded("baselines").items():
        words = facts(name)["command"].split() if name in ("from_results", "c3po", "plain") else None
        if words:
            assert words[:2] == ["suite", "run"] and plugin.fit(tasks[words[2]], method) and words[3] == name
            assert {word.key for word in parse(words[4:-2], [name])} == set(method.asks) and words[-2:] == ["--scale", "smoke"]


def test_a_task_is_told_with_its_data_metrics_scales_and_methods():
    found = facts("cifar10")
    assert found["metrics"][0] == {"name": "top1", "unit": "%", "higher_is_better": True, "bounds": [0.0, 100.0]}
    assert found["data"]["check"] == "suite data check cifar10 --data DIR" and "cifar-10-batches-py" in found["data"]["layout"]
    assert {"one_by_n", "plain"} <= found["methods"].keys() and "c3po" not in found["methods"]
    assert found["scales"]["smoke"]["scratch"] == 512 and found["command"] == "suite run cifar10 plain --scale smoke"
    layouts = facts("change_detection")["data"]["layout"]
    assert all(f"layout={name}: the folders" in layouts for name in ("street", "levir", "pcd"))


def test_a_network_and_a_report_are_told():
    found = facts("resnet8")
    layers = [item["name"] for item in found["prunable"]]
    assert found["size"] == 32 and "layer1.0.conv1" in layers and "conv1" not in layers
    from suite.nn import build

    assert found["params"] == sum(values.numel() for values in build("resnet8", 10, 32).parameters())
    assert "layer*.*.conv1  3" in said("info", "resnet8")
    reports = ("--reports", ROOT / "reports")
    assert facts("compression", *reports)["figures"][0] == "frontier"
    assert "suite report compression --reports" in said("info", "compression", *reports)


@pytest.fixture
def strangers(tmp_path, monkeypatch):
    """A task called as the method plain, and a method that cannot be imported."""
    for name, text in (("tasks/plain.py", '"""A task of that name."""\n'), ("baselines/broken.py", "import nothing_like_it\n")):
        path = tmp_path / "strangers" / name
        path.parent.mkdir(parents=True)
        path.write_text(text)
    monkeypatch.setenv("SUITE_PLUGINS", str(tmp_path / "strangers"))


def test_a_name_of_several_kinds_and_a_broken_plug_in_get_a_sentence(strangers):
    done = CliRunner().invoke(command, ["info", "plain", "--json"])
    assert json.loads(done.stdout)["kind"] == "method" and "'plain' is also a task; type: suite info plain --kind task" in done.stderr
    refused = CliRunner().invoke(command, ["info", "plain", "--kind", "task"])
    assert "'plain' is also a method" in refused.stderr and "plug-in file defines exactly one" in str(refused.exception)
    assert "The method 'broken' cannot be imported" in str(CliRunner().invoke(command, ["info", "broken"]).exception)


def fields(text):
    """The kind, the key and the fields of an entry of BibTeX, by a parser that knows nesting and escapes and nothing else."""
    kind, key, rest = re.fullmatch(r"@(\w+)\{(\w+),\n(.*)\}", text, re.S).groups()
    found = {}
    while rest:
        name, rest = re.match(r"  (\w+) = (\{.*)", rest, re.S).groups()
        depth = 0
        for place, sign in enumerate(rest):
            depth += (sign == "{") - (sign == "}") if rest[place - 1] != "\\" or not place else 0
            if not depth:
                break
        found[name], rest = rest[1:place], rest[place + 1:].removeprefix(",\n")
    return kind, key, found


def test_papers_are_entries_of_bibtex_with_keys_that_stay():
    papers, keys = {}, {}
    for name, method in plugin.loaded("baselines").items():
        kind, key, found = fields(bibtex.entry(method.paper))
        assert {"title", "author", "year", "url"} < found.keys() and found["year"] == str(method.paper.year), name
        assert {"article": "journal", "inproceedings": "booktitle", "misc": "howpublished"}[kind] in found
        assert len(found["author"].split(" and ")) == len(method.paper.authors.split(", "))
        assert keys.setdefault(key, method.paper.title) == method.paper.title  # two papers never share one
        papers[name] = kind, key
    assert papers["one_by_n"] == ("article", "lin20231xn") and papers["plain"] == ("inproceedings", "he2016deep")
    assert papers["plain_forgery"] == ("inproceedings", "rossler2019faceforensics") and papers["istr"][0] == "misc"
    assert said("info", "one_by_n", "--bibtex").startswith("@article{lin20231xn,\n  title = {{1xN Pattern")
    odd = fields(bibtex.entry(Paper("50% of {A} & B_1", "Van Gool, Li", "CVPR", 2020, "https://x.org/a_b")))[2]
    assert odd["title"] == r"{50\% of \{A\} \& B\_1}" and odd["author"] == "{Van Gool} and Li" and odd["url"] == "https://x.org/a_b"


def test_records_are_listed_by_configuration_with_the_options_that_differ():
    for seed in (0, 1, 2):
        records_.write(record(seed=seed, top1=78.0 + seed, options={"n": 8}))
    records_.write(record("kd", status="failed", scores={}))
    text = said("list", "records")
    assert re.search(r"^cifar10/one_by_n:\n  \w{12}  short  embedded  top1 79.00 ± 1.00  seeds 0-2  n=8$", text, re.M), text
    assert re.search(r"^cifar10/kd:\n  \w{12}  short  embedded  failed  seed 0$", text, re.M), text
    assert "kd" not in said("list", "records", "cifar10/one*") and said("list", "records", "cifar10") == text
    found = json.loads(said("list", "records", "--json"))["records"]
    assert len(found) == 4 and {tuple(item["seeds"]) for item in found.values()} == {(0,), (1,), (2,)}
    assert {item["options"] for item in found.values()} == {"n=8", ""}
    done = CliRunner().invoke(command, ["list", "records", "imagenet"])
    assert done.stdout == "records: none\n" and "No record's id is like 'imagenet'; `suite list records` shows" in done.stderr


def test_what_is_no_record_is_set_aside_and_no_listing_checks_all(results, caplog, monkeypatch):
    records_.write(record())
    damaged = results / "cifar10" / "one_by_n" / "0123456789ab-s0.json"
    damaged.write_text("{}")
    monkeypatch.setattr("suite.schema.fault", lambda _: pytest.fail("a listing checked a record"))
    assert [item.seeds for item in listing.configurations(listing.heads())] == [(0,)]
    assert "0123456789ab-s0.json" in caplog.text


def test_methods_are_listed_by_tag():
    assert said("list", "methods", "--tag", "cnn/pruning-b*").splitlines()[0] == "methods:"
    assert {"one_by_n"} == json.loads(said("list", "methods", "--tag", "cnn/pruning-b*", "--json"))["methods"].keys()
    assert json.loads(said("list", "methods", "one*", "--json"))["methods"]["one_by_n"]["tags"] == ["cnn/pruning-block"]
    assert json.loads(said("list", "tasks", "cifar10*", "--json"))["tasks"].keys() == {"cifar10", "cifar100"}


@pytest.mark.parametrize("kind", ["tasks", "baselines"])
def test_the_options_that_files_show_are_those_of_the_classes(kind):
    for name, made in plugin.loaded(kind).items():
        assert set(plugins.option_names(kind, name)) == {field.name for field in dataclasses.fields(made)}, name
    assert plugins.option_names(kind, "nothing") == []


@pytest.mark.parametrize("line, number, wanted", [
    ("suite ru", 1, {"run"}),
    ("suite run cif", 2, {"cifar10", "cifar100"}),
    ("suite run cifar10 one_by_n,l1", 3, {"one_by_n,l1_filter"}),
    ("suite run cifar10 one_by_n sp", 4, {"sparsity="}),
    ("suite run cifar10 one_by_n task.p", 4, {"task.padding="}),
    ("suite run cifar10 plain --scale s", 5, {"smoke", "short"}),
    ("suite claims one", 2, {"one_by_n"}),
    ("suite info change_d", 2, {"change_detection"}),
])
def test_a_shell_completes_names_without_importing_torch(line, number, wanted):
    code = ("import sys\nsys.argv = ['suite']\nfrom suite.cli import main\ntry:\n    main()\nexcept SystemExit:\n    pass\n"
            "assert not {'torch', 'numpy'} & set(sys.modules)\n")
    env = {**os.environ, "COMP_WORDS": line, "COMP_CWORD": str(number), "_SUITE_COMPLETE": "bash_complete"}
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    assert {item.partition(",")[2] for item in done.stdout.split()} == wanted


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell_asks_the_suite(shell):
    assert f"_SUITE_COMPLETE={shell}_complete" in said("completion", shell)


def spec(method="one_by_n", scale="short", arch="resnet20", allowed=5000):
    return SimpleNamespace(id=f"{method}-{scale}-{arch}", task_name="cifar10", method_name=method, scale=scale, device="cpu", allowed=allowed,
                           method=SimpleNamespace(arch=arch, starts="scratch"))


def test_a_plan_is_estimated_from_runs_like_it_else_guessed_from_the_speed_of_others():
    def told(wanted, *known):
        return estimates.estimate(Plan([], [wanted], []), known)[wanted.id]

    assert told(spec(), record(), record(scale="long")) == (67.0, False)
    assert told(spec(scale="long", allowed=500_000), record()) == (67.0 - 60 + 600, True)  # 50,000 samples took 60 s
    slow = record("kd", time__seconds={"fit": 100.0, "total": 110.0})
    assert told(spec("l1_filter"), slow) == (10.0 + 10.0, True)
    assert told(spec("kd", "long"), slow, record()) == (20.0, True)  # its own method's speed comes first
    for other in (record(task__name="cifar100"), record(options={"arch": "resnet56"}), record(status="failed"), record(training__device="cuda")):
        assert told(spec("kd"), other) is None

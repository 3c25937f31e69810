"""Plug-ins that do what they should not: a sentence in the record or on the terminal, and whatever is beside them goes on."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from suite import core, plan, plugins, record, runner
from suite.cli import check
from suite.cli import list as listing
from suite.context import load
from suite.errors import UserError
from suite.testing import contract

HEAD = '''"""A method that does something odd."""
from dataclasses import dataclass
import math, numpy, torch
from torch import nn
from suite.artifacts import Network
from suite.contract import Method, Paper, option

'''
BODY = '''    paper = Paper("None", "Nobody", "nowhere", 2026, "https://example.org")
    takes = ("SemiSupervised",)
    gives = "Network"
'''
ODD = HEAD + '''@dataclass
class OddMethod(Method):
''' + BODY + '''    way: str = option("well", "what to do")

    def fit(self, setting, run):
        network = Network(nn.Sequential(nn.Flatten(), nn.Linear(9 * 64, setting.classes)))
        if self.way in ("yields none", "yields"):
            return self.several(network)
        return getattr(self, self.way.replace(" ", "_"))(network, run)

    def several(self, network):
        yield network
        yield network if self.way == "yields" else None

    def well(self, network, run):
        return network

    def notes(self, network, run):
        run.note(nan=math.nan, scalar=numpy.float32(1.5), tensor=torch.tensor(2), pair=(1, 2.0), odd={1}, inside={"a": object()})
        run.count(queries=numpy.int64(3), lost=math.nan, odd="much")
        run.log(numpy.int64(1), loss=torch.tensor(1.5), odd="x", gap=math.inf)
        run.notes["direct"] = {2, 3}
        return network

    def exits(self, network, run):
        raise SystemExit(4)

    def ends(self, network, run):
        raise GeneratorExit

    def nests(self, network, run):
        return self.nests(network, run)

    def memory(self, network, run):
        raise MemoryError

    def nothing(self, network, run):
        return None

    def number(self, network, run):
        return 3

    def rows(self, network, run):
        return [network]

    def hides(self, network, run):
        network.module.hidden = lambda: 1
        return network
'''
SENTENCES = {
    "exits": "SystemExit: 4", "ends": "GeneratorExit: ", "nests": "RecursionError: ", "memory": "MemoryError: ",
    "nothing": "TypeError: fit of 'odd' gave nothing; it declares a Network", "number": "gave a int; it declares a Network",
    "rows": "gave a list; it declares a Network", "yields none": "gave nothing; it declares a Network", "hides": "pickle",
}


@pytest.fixture
def folder(fresh_results, tmp_path, monkeypatch):
    """A folder of plug-ins of the test's own, which the suite searches."""
    made = tmp_path / "plugins"
    (made / "tasks").mkdir(parents=True)
    (made / "baselines").mkdir()
    monkeypatch.setenv("SUITE_PLUGINS", str(made))
    monkeypatch.setenv("SUITE_CACHE", str(tmp_path / "cache"))
    yield made
    for name in [name for name in sys.modules if name.startswith(("suite.tasks.", "suite.baselines."))]:
        if str(made) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.fixture
def odd(folder, monkeypatch):
    """The plans of the odd method by what it does; nothing is timed."""
    (folder / "baselines" / "odd.py").write_text(ODD)
    monkeypatch.setattr(runner, "profile_again", lambda found, *_: found)
    return lambda *ways: plan.specs("astar_har", [("odd", {"way": way}) for way in ways], [0], "smoke")


def test_whatever_a_fit_does_its_record_says_it_and_the_next_run_goes_on(odd):
    made = runner.run_plan(odd(*SENTENCES, "yields", "notes"))
    found = {item["method"]["options"]["way"]: item for item in made}
    for way, sentence in SENTENCES.items():
        assert found[way]["status"] == "failed" and sentence in found[way]["reason"], (way, found[way]["reason"])
    assert found["yields"]["status"] == "done" and len(found["yields"]["steps"]) == 2
    notes = found["notes"]
    assert notes["status"] == "done", notes["reason"]
    left_out = "left out: a set is no number, text, list or mapping"
    assert notes["notes"] == {
        "nan": None, "scalar": 1.5, "tensor": 2, "pair": [1, 2.0], "odd": left_out, "direct": left_out,
        "inside": {"a": "left out: a object is no number, text, list or mapping"}}
    assert notes["ledger"] == {"queries": 3.0, "lost": None, "odd": None}
    assert {name: notes["curves"][name] for name in ("loss", "odd", "gap")} == {"loss": [[1, 1.5]], "odd": [[1, None]], "gap": [[1, None]]}


def test_what_a_task_measures_that_is_no_number_costs_the_record_and_no_other(odd, monkeypatch):
    made = odd("well", "yields")
    monkeypatch.setattr(runner, "counted", lambda *_: {"profile": {"macs": "many"}, "untimed": ""})
    assert [item["status"] for item in runner.run_plan(made)] == ["failed", "failed"]
    assert "what it recorded is wrong: profile." in record.read_all()[0]["reason"]


def test_a_damaged_record_is_named_and_its_run_made_again(odd):
    path = record.results_folder() / f"{odd('well').wanted[0].id}.json"
    path.parent.mkdir(parents=True)
    path.write_text("{")
    planned = odd("well")
    [said] = planned.stale
    assert said.startswith(planned.wanted[0].id) and "is not a record" in said
    [made] = runner.run_plan(planned)
    assert made["status"] == "done" and record.read(path) == made, made["reason"]
    assert odd("well").stale == []
    path.unlink()
    path.mkdir()
    with pytest.raises(UserError, match="is at the place of a record; remove it"):
        odd("well")


def test_a_damaged_artifact_says_what_makes_it_again(odd):
    [made] = runner.run_plan(odd("well"))
    path = odd("well").wanted[0].artifact
    whole = path.read_bytes()
    for text in (whole[:len(whole) // 2], b"", b"text"):
        path.write_bytes(text)
        with pytest.raises(UserError, match="artifact.pt' in the cache cannot be read .*make it again with: suite run astar_har odd .* --again"):
            load(path)
    (path.parent / "fit.phase.pt").write_bytes(whole[:100])
    with pytest.raises(UserError, match="fit.phase.pt' .*remove this file, and the same command makes it again"):
        load(path.parent / "fit.phase.pt")
    (record.results_folder() / f"{made['id']}.json").unlink()
    with pytest.raises(UserError, match="repeat the command of its run with --again"):
        load(path)


def test_a_full_disk_of_the_cache_is_called_that(odd, monkeypatch):
    def full(value, file):
        file.close()
        with open("/dev/full", "wb") as other:
            torch.serialization.save(value, other)

    made = odd("well")
    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(UserError, match=r"The disk of the cache is full \(No space left on device\); free space in .*SUITE_CACHE"):
        runner.run_plan(made)
    assert not list(record.results_folder().rglob("*.json")) and not list(made.wanted[0].artifact.parent.glob(".part-*"))


BROKEN = {
    "tasks/bare.py": ('"""Nothing."""\nfrom dataclasses import dataclass\nfrom suite.contract import Task\n@dataclass\nclass BareTask(Task):\n'
                      '    title = "bare"\n', "has no metrics, which is tuple[Metric, ...]"),
    "baselines/bare.py": (HEAD + "@dataclass\nclass BareMethod(Method):\n    title = 'x'\n", "has no paper, which is Paper"),
    "baselines/word.py": (HEAD + "@dataclass\nclass WordMethod(Method):\n" + BODY.replace('("SemiSupervised",)', '"SemiSupervised"'),
                          "takes = 'SemiSupervised' of the class 'WordMethod' is not tuple[str, ...]"),
    "baselines/plain_class.py": (HEAD + "class PlainClassMethod(Method):\n" + BODY, "is no dataclass"),
    "baselines/infinite.py": (HEAD + "@dataclass\nclass InfiniteMethod(Method):\n" + BODY + "    rate: float = option(math.inf, 'rate')\n",
                              "the default of option 'rate' is inf"),
    "tasks/pairs.py": ('"""Pairs."""\nfrom dataclasses import dataclass\nfrom suite.tasks.change_detection import ChangeDetectionTask\n\n'
                       '@dataclass\nclass PairsTask(ChangeDetectionTask):\n    found_by = "crop"\n', "found_by names 'crop', which is no option with choices"),
    "baselines/leaves.py": ("raise SystemExit(3)\n", "cannot be imported (SystemExit: 3)"),
    "baselines/nul.py": ("x = '\x00'\n", "cannot be imported"),
    "baselines/dangling.py": (None, "cannot be imported"),
    "baselines/two-words.py": ("x = 1\n", "defines 0 classes"),
    "baselines/odd_dict.py": (HEAD + "@dataclass\nclass OddDictMethod(Method):\n" + BODY + "    tags = {[]: 1}\n", "cannot be imported"),
}


@pytest.fixture
def broken(folder):
    for name, (text, _) in BROKEN.items():
        path = folder / name
        path.symlink_to("nowhere") if text is None else path.write_text(text)
    (folder / "baselines" / "bom.py").write_bytes(b"\xef\xbb\xbf" + (HEAD + "@dataclass\nclass BomMethod(Method):\n" + BODY).encode())
    return folder


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_plug_in_is_one_sentence_that_names_its_file(name, broken):
    kind, stem = name.removesuffix(".py").split("/")
    with pytest.raises(UserError) as refused:
        plugins.load(kind, stem)
    assert BROKEN[name][1] in str(refused.value) and stem in str(refused.value) and "\n" not in str(refused.value)


def test_broken_plug_ins_harm_nobody_beside_them(broken):
    listed = CliRunner().invoke(listing.command, catch_exceptions=False).output
    assert all(Path(name).stem in listed for name in BROKEN) and "one_by_n" in listed
    assert plugins.load("baselines", "bom").gives == "Network" and plugins.digest(broken / "baselines" / "bom.py")
    (broken / "baselines" / "odd.py").write_text(ODD)
    own = {"tasks": [], "baselines": [plugins.find("baselines")["odd"], plugins.find("baselines")["word"]]}
    assert contract._pairs(own) == [("astar_har", "odd")]
    assert core.digest(broken / "tasks" / "bare.py", broken / "baselines" / "nul.py") == ""


def test_check_names_what_is_broken(broken):
    shown = CliRunner().invoke(check.command, [str(broken / "baselines" / "word.py")], catch_exceptions=False)
    assert shown.exit_code == 1 and "FAIL  declarations: '" in shown.output and "takes = 'SemiSupervised'" in shown.output
    shown = CliRunner().invoke(check.command, [str(broken / "tasks" / "bare.py")], catch_exceptions=False)
    assert shown.exit_code == 1 and "has no metrics" in shown.output


def test_committed_plug_ins_declare_what_they_should():
    for kind in ("tasks", "baselines"):
        for name in plugins.find(kind):
            plugins.load(kind, name)

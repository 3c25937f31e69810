"""What a task needs and what a method needs: who may reach what, at which seed and scale, on whose data."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from suite import plan, plugins
from suite.cli.check import command as check
from suite.contract import Needed
from suite.errors import UserError
from suite.runner import run_plan
from suite.testing import contract

METHOD = '''"""{summary}"""
from dataclasses import dataclass
import torch
from suite.artifacts import Network
from suite.contract import Method, Needed, Paper, option
from suite.nn import build
from suite.train import Recipe, train


@dataclass
class {name}Method(Method):
    """For the tests."""

    paper = Paper("An example", "Nobody", "nowhere", 2026, "https://example.org")
    takes = ("Classification",)
    gives = "Network"
    arch: str = option("resnet8", "network")
{more}
    def fit(self, setting, run):
{body}
'''
TASK = '''"""{summary}"""
from dataclasses import dataclass
from typing import ClassVar
from suite.contract import Needed
from suite.oracle import Oracle
from suite.tasks.cifar10 import Cifar10Task


@dataclass
class {name}Task(Cifar10Task):
    """For the tests."""

    title = "{name}"
{body}
'''
FILES = {
    "tasks/victim.py": TASK.format(summary="A victim that only the task may hold.", name="Victim", body='''
    def needs(self):
        return {"victim": Needed("cifar10", "plain", {"arch": "resnet8"}, role="victim"),
                "judge": Needed("cifar10", "plain", {"arch": "resnet8", "batch": 16}, role="judge")}

    def evaluate(self, artifact, run):
        run.note(judge=type(run.judge("judge")).__name__)
        return super().evaluate(artifact, run)
'''),
    "tasks/asked.py": TASK.format(summary="A victim behind an oracle.", name="Asked", body='''
    def needs(self):
        return {"victim": Needed("cifar10", "plain", {"arch": "resnet8"}, role="victim")}

    def setting(self, run) -> "Classification":
        made = super().setting(run)
        object.__setattr__(made, "oracle", Oracle(run, run.judge("victim").module, 40))
        return made
'''),
    "tasks/ring.py": TASK.format(summary="Needs itself.", name="Ring", body='''
    def needs(self):
        return {"own": Needed("ring", "plain", {"arch": "resnet8"})}
'''),
    "tasks/lonely.py": TASK.format(summary="Its reference method has neither an architecture nor a start.", name="Lonely", body='''
    reference = "simple"
    defaults: ClassVar = {}
'''),
    "baselines/thief.py": METHOD.format(summary="Takes the victim.", name="Thief", more="", body='''
        return Network(run.reference("victim").module)'''),
    "baselines/judgement.py": METHOD.format(summary="Asks for the judge.", name="Judgement", more="", body='''
        return Network(run.judge("judge").module)'''),
    "baselines/honest.py": METHOD.format(summary="Trains a network of its own.", name="Honest", more="", body='''
        network = build(self.arch, setting.classes, 32)
        train(network, setting.train, run, augment=setting.augment, recipe=Recipe(batch=32))
        return Network(network)'''),
    "baselines/curious.py": METHOD.format(summary="Asks an oracle about its batches.", name="Curious", more="", body='''
        for first in (0, 10, 20):
            setting.oracle(setting.normalise(setting.train.batch(torch.arange(first, first + 10), False, run.generator("q"))))
        return Network(build(self.arch, setting.classes, 32))'''),
    "baselines/greedy.py": METHOD.format(summary="Asks too much.", name="Greedy", more="", body='''
        setting.oracle(torch.zeros(41, 3, 32, 32))'''),
    "baselines/rounds.py": METHOD.format(summary="Gives one network per round.", name="Rounds", more="", body='''
        torch.manual_seed(run.seed("w"))
        network = build(self.arch, setting.classes, 32)
        for number in range(3):
            train(network, setting.train, run, augment=setting.augment, recipe=Recipe(batch=32), samples=128, name=f"round{number}")
            run.note(rounds=number + 1)
            yield Network(network)'''),
    "baselines/simple.py": '''"""A reference without options of its own."""
from dataclasses import dataclass
from suite.artifacts import Network
from suite.contract import Method, Paper, option
from suite.nn import build


@dataclass
class SimpleMethod(Method):
    """For the tests."""

    paper = Paper("An example", "Nobody", "nowhere", 2026, "https://example.org")
    takes = ("Classification",)
    gives = "Network"
    width: int = option(1, "nothing")

    def fit(self, setting, run):
        return Network(build("resnet8", setting.classes, 32))
''',
    "baselines/starter.py": METHOD.format(summary="Starts from a reference.", name="Starter", more='    starts = "reference"\n', body='''
        return Network(run.reference(self.arch).module)'''),
    "baselines/follower.py": METHOD.format(summary="Needs another run at a scale and a seed of its own.", name="Follower", more='''
    def needs(self):
        return {"guide": Needed("cifar10", "plain", {"arch": "resnet8"}, role="teacher", seed=7, scale="smoke")}
''', body='''
        return Network(run.reference("guide").module)'''),
}


@pytest.fixture
def toys(fresh_results, tmp_path: Path, monkeypatch):
    for name, text in FILES.items():
        path = tmp_path / "toys" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setenv("SUITE_PLUGINS", str(tmp_path / "toys"))
    plugins.extend_paths()
    return tmp_path / "toys"


def made(task: str, method: str, seed: int = 0, scale: str = "smoke", **options):
    return run_plan(plan.specs(task, [(method, options)], [seed], scale))[-1]


def test_a_method_cannot_take_what_its_task_needs(toys):
    found = made("victim", "thief")
    assert found["status"] == "failed"
    assert "fit asks for 'victim'; a method may have what its own references() and needs() name (nothing)" in found["reason"]
    assert "only a task's setting() and evaluate() may ask for it" in made("victim", "judgement")["reason"]


def test_a_task_has_its_judges_which_have_seed_0_whatever_the_runs_seed(toys):
    found = made("victim", "honest", seed=3)
    assert found["status"] == "done" and found["notes"]["judge"] == "Network"
    assert found["parents"]["judge"].endswith("-s0") and found["parents"]["victim"].endswith("-s3")
    assert found["roles"] == {"victim": "victim", "judge": "judge"}


def test_a_need_may_fix_its_seed_scale_and_role(toys):
    spec = plan.specs("cifar10", [("follower", {})], [2], "short").wanted[0]
    assert (spec.references["guide"].seed, spec.references["guide"].scale) == (7, "smoke")
    assert spec.needed_as == {"guide": "teacher"}


def test_needs_that_go_in_a_circle_are_a_sentence(toys):
    with pytest.raises(UserError, match="go in a circle: ring plain needs ring plain; one of them must do without"):
        plan.specs("ring", [("plain", {"arch": "resnet8"})], [0], "smoke")


def test_needs_that_do_not_end_are_a_sentence(toys, monkeypatch):
    method = plugins.load("baselines", "plain")
    monkeypatch.setattr(method, "needs", lambda self: {"next": Needed("cifar10", "plain", {"batch": self.batch + 1})})
    with pytest.raises(UserError, match="The needs of 'plain' on 'cifar10' do not end: 20 runs rest on each other"):
        plan.specs("cifar10", [("plain", {"arch": "resnet8"})], [0], "smoke")


def test_a_need_on_the_same_task_has_its_options_unless_it_names_its_own(toys, monkeypatch):
    def padding(**more):
        need = Needed("cifar10", "plain", {"arch": "resnet8"}, **more)
        monkeypatch.setattr(plugins.load("baselines", "follower"), "needs", lambda self: {"guide": need})
        spec = plan.specs("cifar10", [("follower", {})], [0], "smoke", task_options={"padding": 1}).wanted[0]
        return spec.references["guide"].task.padding

    assert padding() == padding(scale="short") == 1 and padding(task_options={}) == 4 and padding(task_options={"padding": 3}) == 3


def test_a_reference_method_needs_neither_architecture_nor_start(toys):
    spec = plan.specs("lonely", [("starter", {})], [0], "smoke").wanted[0]
    assert spec.references["resnet8"].method_name == "simple" and spec.trained_on is None
    assert made("lonely", "starter")["status"] == "done"


def test_where_being_trained_on_makes_no_sense_there_is_no_such_rival(toys, monkeypatch):
    task = plugins.load("tasks", "cifar10")
    assert plan.specs("cifar10", [("starter", {})], [0], "smoke").wanted[0].trained_on
    monkeypatch.setattr(task, "trained_on", False)
    assert plan.specs("cifar10", [("starter", {})], [0], "smoke").wanted[0].trained_on is None


def test_the_data_of_a_need_is_found_as_any_commands_is(toys, real_data_copy, monkeypatch):
    need = Needed("cifar100", "plain", {"arch": "resnet8"})
    monkeypatch.setattr(plugins.load("baselines", "follower"), "needs", lambda self: {"guide": need})

    def kind(data):
        return plan.specs("cifar10", [("follower", {})], [0], "smoke", data).wanted[0].references["guide"].source.kind

    assert kind(None) == "embedded" and kind(real_data_copy / "cifar-10-batches-py") == "embedded"
    assert kind(real_data_copy) == "subset"
    monkeypatch.setenv("SUITE_DATA", str(real_data_copy))
    assert kind(None) == kind(real_data_copy / "cifar-10-batches-py") == "subset" and kind(Path("embedded")) == "embedded"


@pytest.fixture
def real_data_copy(tmp_path):
    """Both CIFAR sets with data of nobody's, side by side."""
    import numpy as np

    from suite.data.embedded.writing import pickled

    for folder, files, keys in (("cifar-10-batches-py", [*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"], ("labels",)),
                                ("cifar-100-python", ["train", "test"], ("fine_labels", "coarse_labels"))):
        (tmp_path / "real" / folder).mkdir(parents=True)
        for name in files:
            rows = np.arange(100) + 100 * name.startswith("test")  # test images that are not among the training images
            content = {"data": (rows[:, None] * np.ones(3072)).astype(np.uint8), **{key: (rows % 10).tolist() for key in keys}}
            (tmp_path / "real" / folder / name).write_bytes(pickled(content))
    names = {"cifar-10-batches-py/batches.meta": {"label_names": [f"a{n}" for n in range(10)]},
             "cifar-100-python/meta": {"fine_label_names": [f"a{n}" for n in range(100)], "coarse_label_names": [f"b{n}" for n in range(20)]}}
    for name, content in names.items():
        (tmp_path / "real" / name).write_bytes(pickled(content))
    return tmp_path / "real"


def test_an_oracles_questions_are_in_the_record_to_the_unit(toys):
    found = made("asked", "curious")
    assert found["status"] == "done" and found["ledger"] == {"queries": 30}
    assert "Refused: asked about 41 images, and of the allowed 'queries' only 40 are left" in made("asked", "greedy")["reason"]


def test_a_method_that_yields_keeps_the_contract(toys):
    spec, record = contract.fit_once("cifar10", "rounds")
    assert len(record["steps"]) == 3 and record["scores"] == record["steps"][-1] and record["notes"]["rounds"] == 3
    contract.check_record(spec, record)
    contract.check_saved(spec)
    contract.check_repeats(spec)
    contract.check_resumes(spec)


def test_a_run_is_kept_where_its_pictures_or_its_cost_fail(toys, monkeypatch):
    task = plugins.load("tasks", "cifar10")

    def broken(self, artifact, run):
        raise RuntimeError("no pen")

    monkeypatch.setattr(task, "show", broken)
    monkeypatch.setattr(task, "probe", broken)
    found = made("cifar10", "honest", seed=5)
    assert (found["status"], found["profile"], found["untimed"]) == ("done", None, "RuntimeError: no pen")
    assert found["notes"]["not_drawn"] == "RuntimeError: no pen" and found["scores"]["top1"] > 0


def test_an_iterator_that_is_no_generator_gives_several_artifacts_too(toys, monkeypatch):
    method = plugins.load("baselines", "rounds")
    fit = method.fit
    monkeypatch.setattr(method, "fit", lambda self, setting, run: map(lambda item: item, fit(self, setting, run)))
    assert len(made("cifar10", "rounds", seed=6)["steps"]) == 3


def test_what_a_task_makes_of_the_steps_is_the_score(toys, monkeypatch):
    task = plugins.load("tasks", "cifar10")
    monkeypatch.setattr(task, "summarise", lambda self, steps: {"top1": min(step["top1"] for step in steps), "top5": 50.0})
    found = made("cifar10", "rounds", seed=1)
    assert found["scores"] == {"top1": min(step["top1"] for step in found["steps"]), "top5": 50.0}


def test_suite_check_passes_a_method_that_yields_and_fails_a_thief(toys):
    for name in FILES:
        if name not in ("tasks/victim.py", "baselines/rounds.py", "baselines/thief.py"):
            (toys / name).unlink()
    done = CliRunner().invoke(check, [str(toys / "baselines" / "rounds.py")])
    assert "FAIL" not in done.output and "stopped and resumed, same scores" in done.output, done.output
    done = CliRunner().invoke(check, [str(toys / "baselines" / "thief.py")])
    assert "LookupError: fit asks for 'victim'; a method may have" in done.output and done.exit_code == 1

"""The checks of ``suite check`` over every plug-in of ours, each fitted once at smoke scale; and the shape of the tree."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from suite import plugins
from suite.cli import VERBS
from suite.contract import options_of
from suite.nn import ARCHS
from suite.options import convert
from suite.testing import contract

TASKS = sorted(plugins.find("tasks"))
METHODS = sorted(plugins.find("baselines"))
ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", TASKS)
def test_task_declarations(name):
    contract.check_task(name)


@pytest.mark.parametrize("name", METHODS)
def test_method_declarations(name):
    contract.check_method(name)


@pytest.mark.parametrize("name", METHODS)
def test_published_numbers_stand_beside_runs_that_can_be_made(name):
    method = plugins.load("baselines", name)
    for item in method.published:
        assert item.metric == plugins.load("tasks", item.task).metrics[0].name, f"tables show no other metric: {item}"
        assert contract.fits(item.task, name), item
        for key, value in item.options.items():
            assert convert(method, name, key, str(value)) == value, item
            assert key not in ("arch", "teacher") or value in ARCHS, f"no such network: {item}"


@pytest.mark.parametrize("method", [name for name in METHODS if not plugins.load("baselines", name).asks])
def test_method_keeps_the_contract_on_the_first_task_it_fits(method, suite_home):
    task = next(task for task in TASKS if contract.fits(task, method))
    spec, record = contract.fit_once(task, method)
    contract.check_record(spec, record)
    contract.check_saved(spec)
    contract.check_repeats(spec)
    if record["profile"] and record["profile"]["kernel"]:
        assert record["profile"]["kernel"]["relative_error"] < 1e-4
    if task == "cifar10":
        assert record["profile"]["kernel"]["macs_share"] == 1.0


@pytest.mark.parametrize("method", ["plain", "mean_teacher", "c3po", "retinanet"])  # one of each way into the loop
def test_a_fit_that_is_stopped_and_resumed_ends_the_same(method, suite_home):
    contract.check_resumes(contract.fit_once(next(task for task in TASKS if contract.fits(task, method)), method)[0])


@pytest.mark.parametrize("task, method", [("cifar100", "plain"), ("imagenet", "plain"), ("imagenet", "one_by_n")])
def test_other_tasks_run_at_smoke_scale(task, method, suite_home):
    spec, record = contract.fit_once(task, method)
    contract.check_record(spec, record)
    assert record["profile"]["input"][1] == spec.task.side()


def test_the_budget_is_spent_on_whole_batches(suite_home):
    spec, record = contract.fit_once("cifar10", "one_by_n")
    batch = options_of(spec.method)["batch"]
    assert record["budget"] == {"allowed": 256, "total": 256 // batch * batch, "final": 256 // batch * batch}


def test_every_method_has_a_test_of_its_own():
    tested = {path.stem.removeprefix("test_") for path in (ROOT / "tests" / "methods").glob("test_*.py")}
    assert set(METHODS) <= tested, f"write tests/methods/test_<name>.py for {sorted(set(METHODS) - tested)}"


@pytest.mark.parametrize("folder, forbidden", [
    ("tasks", "suite.baselines"), ("baselines", "suite.tasks"), ("suite", "suite.tasks"), ("suite", "suite.baselines"),
])
def test_the_import_graph(folder, forbidden):
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(name.startswith(forbidden) for name in names), f"{path.name} imports {names}"


def test_every_folder_has_a_readme_and_every_verb_a_file():
    assert all((ROOT / name / "README.md").is_file() for name in ("suite", "tasks", "baselines", "results", "reports", "tests"))
    assert {path.stem for path in (ROOT / "suite" / "cli").glob("[a-z]*.py")} == set(VERBS)

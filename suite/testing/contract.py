"""What every task and method must do, checked at smoke scale on embedded data.

Each check raises `Problem` with a sentence for the plug-in's author. They run as a suite in ``suite check`` and in our
own tests; `fit_once` shares one fit between them.
"""

from __future__ import annotations

import ast
import dataclasses
import itertools
import math
import re
import tempfile
import typing
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from suite import plugins
from suite.context import load
from suite.contract import Claim, Method, Paper, Published, Task, offers
from suite.errors import UserError
from suite.judging import judged
from suite.plan import Plan, specs, with_prerequisites
from suite.record import plain, read, results_folder
from suite.runner import execute, threads
from suite.spec import Spec, context
from suite.timing import profile_again
from suite.train import loop


class Problem(AssertionError):
    """A plug-in breaks the contract; the text says where and what would be right."""


def expect(holds: bool, sentence: str) -> None:
    """Raise `Problem` with `sentence` unless `holds`."""
    if not holds:
        raise Problem(sentence)


def check_fields(plugin: type[Any], name: str) -> None:
    """Options are a dataclass whose every field has a type, a default inside its own bounds, and a line of help."""
    from suite.options import check

    expect(dataclasses.is_dataclass(plugin), f"'{name}' is no dataclass; put @dataclass above the class")
    typing.get_type_hints(plugin)
    for item in dataclasses.fields(plugin):
        expect(item.default is not dataclasses.MISSING, f"option '{item.name}' of '{name}' has no default")
        expect(bool(item.metadata.get("help")), f"option '{item.name}' of '{name}' has no help; declare it with option(...)")
        check(plugin, name, item.name, item.default)


def check_listing(kind: plugins.Kind, name: str) -> None:
    """The file starts with a one-line summary, which listing shows without importing it."""
    found = plugins.find(kind)[name]
    expect(bool(found.summary) and not found.summary.startswith("cannot be read"),
           f"'{found.path.name}' needs a docstring whose first line says what '{name}' does")
    ast.parse(found.path.read_text(encoding="utf-8"))


def check_task(name: str) -> None:
    """A task's declarations: title, metrics inside their meaning, scales with budgets, a loadable reference method."""
    task = plugins.load("tasks", name)
    check_listing("tasks", name)
    check_fields(task, name)
    expect(issubclass(task, Task) and bool(task.title) and task.version >= 1, f"task '{name}' needs a title and a version")
    expect(len({metric.name for metric in task.metrics}) == len(task.metrics) > 0, f"task '{name}' needs metrics of distinct names")
    for metric in task.metrics:
        expect(metric.bounds[0] < metric.bounds[1], f"metric '{metric.name}' of '{name}' has empty bounds")
    expect({"smoke", "short"} <= set(task.scales), f"task '{name}' needs at least the scales smoke and short")
    for scale, budget in task.scales.items():
        expect(budget.scratch > 0 and budget.extra > 0, f"scale '{scale}' of '{name}' has an empty budget")
    expect(bool(offers(task)), f"setting() of '{name}' must say its type: -> Classification, for example")
    plugins.load("baselines", task.reference)


def check_method(name: str) -> None:
    """A method's declarations: paper, types, scales that name its own options, claims and published numbers of the right type."""
    method = plugins.load("baselines", name)
    check_listing("baselines", name)
    check_fields(method, name)
    expect(issubclass(method, Method) and isinstance(method.paper, Paper), f"method '{name}' needs paper = Paper(...)")
    expect(bool(method.takes) and bool(method.gives), f"method '{name}' must say what it takes and gives")
    names = {item.name for item in dataclasses.fields(method)}
    for scale, options in method.scales.items():
        expect(set(options) <= names, f"scales['{scale}'] of '{name}' sets {sorted(set(options) - names)}, which are no options")
    expect(set(method.asks) <= names, f"asks of '{name}' names {sorted(set(method.asks) - names)}, which are no options")
    expect(all(isinstance(item, Claim) for item in method.claims), f"claims of '{name}' must be Claim(...)")
    expect(all(isinstance(item, Published) for item in method.published), f"published of '{name}' must be Published(...)")
    for claim in method.claims:
        wanted = 3 if claim.kind == "frontier" else 1 if claim.bound is not None else 2
        expect(len(claim.sides) == wanted or (claim.kind == "ordered" and len(claim.sides) > wanted),
               f"claim '{claim.name}' of '{name}' has {len(claim.sides)} sides, and needs {wanted}")
        expect(bool(claim.cost) == (claim.kind == "frontier"), f"claim '{claim.name}' of '{name}': only a frontier has a cost")
        for side in claim.sides:
            rival = plugins.load("baselines", side.method)
            unknown = {*side.options, *side.grid, *claim.options} - {item.name for item in dataclasses.fields(rival)}
            expect(not unknown, f"claim '{claim.name}' of '{name}' sets {sorted(unknown)}, which '{side.method}' lacks")


def fit_once(task: str, method: str, seed: int = 0, options: Mapping[str, Any] | None = None) -> tuple[Spec, dict[str, Any]]:
    """Run a method at smoke scale on embedded data with everything it rests on; the spec and its record."""
    plan: Plan = specs(task, [(method, options or {})], [seed], "smoke")
    for spec in with_prerequisites(plan.wanted[0]):
        if any(item.id == spec.id for item in plan.missing) or not spec.artifact.exists():
            record = execute(spec)
            expect(record["status"] == "done", f"{spec.id} {record['status']}: {record['reason']}")
            profile_again(record, spec)
    return plan.wanted[0], read(results_folder() / f"{plan.wanted[0].id}.json")


def check_record(spec: Spec, record: dict[str, Any]) -> None:
    """Scores are complete, finite and inside their bounds; the budget was kept; cost was counted."""
    for metric in spec.task.metrics:
        score = record["scores"].get(metric.name, math.nan)
        expect(metric.bounds[0] <= score <= metric.bounds[1], f"{metric.name} of {spec.id} is {score}, outside {metric.bounds}")
    budget = record["budget"]
    expect(budget["final"] <= budget["total"] <= budget["allowed"], f"{spec.id} spent {budget}: more than its budget")
    expect("not_drawn" not in record["notes"], f"show() of {spec.id} fails: {record['notes'].get('not_drawn')}")
    failed = re.match(r"\w+(Error|Exception): ", record["untimed"])
    expect(not failed, f"probe() or timings() of {spec.id} fail: {record['untimed']}")
    profile = record["profile"]
    expect(profile is None or profile["macs"] > 0, f"{spec.id} has a probe, and no MACs were counted on it")


def check_saved(spec: Spec) -> None:
    """The cached artifact, read again, scores what the record says: of a method that yields, what its last step says."""
    found = read(results_folder() / f"{spec.id}.json")
    with threads(spec.threads):
        run = context(spec, step=max(0, len(found["steps"]) - 1), ledger=dict(found["ledger"]))  # a task may score what was asked
        again = spec.task.evaluate(load(spec.artifact), run)
    recorded = found["steps"][-1] if found["steps"] else found["scores"]
    same = all(item is None or abs(again[name] - item) < 1e-9 for name, item in recorded.items())
    expect(same, f"{spec.id}: the saved artifact scores {again}, the record says {recorded}")


def check_repeats(spec: Spec) -> None:
    """A second fit with the same seed gives the same scores, at every step, and spends and asks the same."""
    found = read(results_folder() / f"{spec.id}.json")
    with tempfile.TemporaryDirectory() as folder, threads(spec.threads):
        run = replace(context(spec, spec.allowed), folder=Path(folder))
        again = [scores for _, scores in judged(spec, run)]
    again, summary = plain(again), plain(spec.task.summarise(again))
    expect(summary == found["scores"], f"{spec.id}: a second fit scored {summary}, the first {found['scores']}")
    expect(again == found["steps"] or len(again) == 1, f"{spec.id}: a second fit has the steps {again}, the first {found['steps']}")
    expect(vars(run.budget) == found["budget"], f"{spec.id}: a second fit spent {run.budget}, the first {found['budget']}")
    ledger = plain(run.ledger)
    expect(ledger == found["ledger"], f"{spec.id}: a second fit has the ledger {ledger}, the first {found['ledger']}")


class _Stopped(Exception):
    """A fit has reached the place where it is to be stopped."""


def check_resumes(spec: Spec) -> None:
    """A fit that is stopped three times, wherever it then is, ends with the same scores and bookings as in one go."""
    found = read(results_folder() / f"{spec.id}.json")
    with tempfile.TemporaryDirectory() as folder, threads(spec.threads), patch.object(loop, "CHECKPOINT_SECONDS", -1.0):
        for stop in (2, 7, 11, None):
            reports = itertools.count(1)

            def report(what: str, done: int, total: int | None, stop: Any = stop, reports: Iterator[int] = reports) -> None:
                if next(reports) == stop:
                    raise _Stopped

            run = replace(context(spec, spec.allowed, report=report), folder=Path(folder))
            with suppress(_Stopped):
                again = [scores for _, scores in judged(spec, run)]
                break
    summary = plain(spec.task.summarise(again))
    expect(summary == found["scores"], f"{spec.id}: stopped and resumed it scored {summary}, in one go {found['scores']}")
    books = vars(run.budget), plain(run.ledger), run.curves
    expect(books == (found["budget"], found["ledger"], found["curves"]),
           f"{spec.id}: stopped and resumed it has other bookings or curves than in one go")


def check_plugins(path: Path, say: Callable[[str], None]) -> int:
    """All checks on every plug-in file at `path` (a file, or a folder with tasks/ and baselines/); the number of problems."""
    own = {kind: [item for item in plugins.find(kind).values() if item.path.resolve() == path.resolve()
                  or path.resolve() in item.path.resolve().parents] for kind in typing.get_args(plugins.Kind)}
    expect(any(own.values()), f"'{path}' holds no plug-in; a plug-in folder has tasks/ or baselines/ with one file each")
    problems = 0

    def attempt(what: str, check: Callable[[], object]) -> Any:
        nonlocal problems
        try:
            result = check()
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # SystemExit too
            problems += 1
            say(f"  FAIL  {what}: {str(error) or type(error).__name__}")
            return None
        say(f"  ok    {what}")
        return result

    for item in own["tasks"]:
        say(f"task {item.name}")
        attempt("declarations", partial(check_task, item.name))
    for item in own["baselines"]:
        say(f"method {item.name}")
        attempt("declarations", partial(check_method, item.name))
    for task, method in _pairs(own):
        say(f"{method} on {task}")
        fitted = attempt("fits at smoke scale", partial(fit_once, task, method))
        if fitted:
            attempt("scores, budget, cost", partial(check_record, *fitted))
            attempt("saved artifact scores the same", partial(check_saved, fitted[0]))
            attempt("same seed, same scores", partial(check_repeats, fitted[0]))
            attempt("stopped and resumed, same scores", partial(check_resumes, fitted[0]))
    return problems


def _pairs(own: dict[Any, list[plugins.Found]]) -> list[tuple[str, str]]:
    """New tasks with their reference; new methods on every new task they fit, else on the first task of the suite they fit.

    Plug-ins that cannot be loaded are in no pair: those under test have failed already, and others harm nobody.
    """
    tasks = [item.name for item in own["tasks"] if _loads("tasks", item.name)]
    pairs = [(task, plugins.load("tasks", task).reference) for task in tasks]
    others = [name for name in plugins.find("tasks") if _loads("tasks", name)]
    for item in own["baselines"]:
        if not _loads("baselines", item.name) or plugins.load("baselines", item.name).asks:
            continue  # for options that nobody but its user can give
        fitting = [task for task in others if fits(task, item.name)]
        pairs += [(task, item.name) for task in ([task for task in fitting if task in tasks] or fitting[:1])]
    return list(dict.fromkeys(pairs))


def _loads(kind: plugins.Kind, name: str) -> bool:
    try:
        plugins.load(kind, name)
    except UserError:
        return False
    return True


def fits(task: str, method: str) -> bool:
    """Whether the method takes what the task offers and gives what it accepts."""
    judge, plugin = plugins.load("tasks", task), plugins.load("baselines", method)
    return plugin.gives in judge.accepts and offers(judge) in plugin.takes

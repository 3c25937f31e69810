"""Fitting and judging: the artifacts of a spec with their scores, and the pictures of the last one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

from suite import record
from suite.context import Run, load
from suite.contract import Metric
from suite.spec import Spec, context

Timed = Callable[[str], AbstractContextManager[None]]


def judged(spec: Spec, run: Run, timed: Timed = lambda phase: nullcontext()) -> Iterator[tuple[Any, dict[str, float]]]:
    """The artifacts of ``fit`` with their scores. Each is a phase of its own, so that a failure after it costs no training."""
    import torch

    def fit() -> Any:
        return spec.method.fit(setting, run.for_method())

    def judge(artifact: Any) -> dict[str, float]:
        with timed("evaluate"):
            return spec.task.evaluate(artifact, run)

    def both(artifact: Any) -> tuple[Any, dict[str, float]]:
        return artifact, judge(artifact)

    torch.manual_seed(run.seed("fit"))
    with timed("fit"):
        setting = spec.task.setting(run)
        made = None if (run.folder / "fit.phase.pt").exists() else fit()
        if not isinstance(made, Iterator):
            made = run.once("fit", lambda: _given(made, spec))
    if not isinstance(made, Iterator):
        yield made, judge(made)
        return
    while True:
        torch.manual_seed(run.seed("fit", run.step))  # whatever judging the one before has drawn
        with timed("fit"):
            artifact = next(made, made)
        if artifact is made:
            return
        _given(artifact, spec)
        yield run.once(f"step-{run.step}", partial(both, artifact))
        run.step += 1


def _given(artifact: Any, spec: Spec) -> Any:
    """What fit gave; TypeError where it is not of the type that the method says it gives."""
    if spec.method.gives not in [kind.__name__ for kind in type(artifact).__mro__]:
        what = "nothing" if artifact is None else f"a {type(artifact).__name__}"
        raise TypeError(f"fit of '{spec.method_name}' gave {what}; it declares a {spec.method.gives}")
    return artifact


def checked(scores: dict[str, float], spec: Spec, metrics: Sequence[Metric]) -> dict[str, float]:
    """The scores; ValueError where one of `metrics` is missing or not finite. A step needs the primary one alone. Others that
    are no finite number are NaN, a gap in the record.
    """
    if not isinstance(scores, Mapping):
        raise TypeError(f"task '{spec.task_name}' gave a {type(scores).__name__} for its scores; give each by its name")
    numbers = {str(name): record.number(item) for name, item in scores.items()}
    for metric in metrics:
        if metric.name not in numbers:
            raise ValueError(f"task '{spec.task_name}' promises the score '{metric.name}' and gave {sorted(numbers)}")
        if numbers[metric.name] is None:
            raise ValueError(f"the score '{metric.name}' is {scores[metric.name]}: the training has diverged")
    return {name: math.nan if item is None else item for name, item in numbers.items()}


def draw(spec: Spec, artifact: Any, run: Run) -> None:
    """What the task has to show of an artifact, as PNG files in the run's folder of the cache: never beside the records."""
    for name, figure in spec.task.show(artifact, run):
        (run.folder / "figures").mkdir(exist_ok=True)
        figure.savefig(run.folder / "figures" / f"{name}.png", dpi=120)


def draw_again(spec: Spec) -> None:
    """Draw the pictures of a recorded artifact anew, without training."""
    artifact, run = load(spec.artifact), context(spec)
    if not artifact.spare:  # a network from a file of weights has not kept what judging left there
        spec.task.evaluate(artifact, run)
    draw(spec, artifact, run)

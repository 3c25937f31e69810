"""How long the runs of a plan will take, from the records of others."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import NamedTuple

from suite.plan import Plan
from suite.record import Record, value
from suite.spec import Spec


class Estimate(NamedTuple):
    """Seconds of a run; a `guess` where no run of its method at its scale is recorded and others told how long a sample takes."""

    seconds: float
    guess: bool = False


def estimate(plan: Plan, records: Sequence[Record]) -> dict[str, Estimate | None]:
    """What each missing run will take, by id: the median of recorded runs of its method at its scale.

    Else a guess: its budget at the seconds per sample of runs on the same task with the same network, those of its method where
    there are such. Else None.
    """
    done = [item for item in records if item["status"] == "done"]
    return {spec.id: _estimate(spec, [item for item in done if item["task"]["name"] == spec.task_name]) for spec in plan.missing}


def _estimate(spec: Spec, done: Sequence[Record]) -> Estimate | None:
    own = [item for item in done if item["method"]["name"] == spec.method_name]
    alike = [item["time"]["seconds"]["total"] for item in own
             if (item["scale"], item["method"]["starts"]) == (spec.scale, spec.method.starts)]
    if alike:
        return Estimate(statistics.median(alike))
    guesses = _guesses(spec, own) or _guesses(spec, done)
    return Estimate(statistics.median(guesses), guess=True) if guesses else None


def _guesses(spec: Spec, done: Sequence[Record]) -> list[float]:
    """Seconds for the samples of `spec` at the speed of each run that trained the same network on the same device, with what that
    run took besides training."""
    network = getattr(spec.method, "arch", None)
    found = []
    for item in done:
        seconds, samples = item["time"]["seconds"], item["budget"]["total"]
        alike = (value(item, "method.options.arch"), item["training"]["device"]) == (network, spec.device)
        if alike and samples and "fit" in seconds:
            found.append(seconds["total"] + seconds["fit"] * (spec.allowed / samples - 1))
    return found

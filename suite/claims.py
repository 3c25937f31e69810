"""Claims: a paper's sentences as paired tests over seeds."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from suite import plugins
from suite.contract import Claim, Side, options_of
from suite.options import build
from suite.record import Record, timing_name, value
from suite.statistics import Interval, interval, mean, paired

Finding = Literal["holds", "refuted", "inconclusive", "not decidable"]
SCALES = ("smoke", "short", "long", "full")


@dataclass(frozen=True)
class Verdict:
    """What became of a claim: the finding, why where it is not decided, each side's mean, and the paired intervals."""

    claim: Claim
    finding: Finding
    reason: str
    means: tuple[float | None, ...]
    intervals: tuple[Interval, ...]


@dataclass(frozen=True)
class SideRuns:
    """The runs that one side of a claim rests on at a scale: what to plan, and which records they are."""

    task: str
    task_options: Mapping[str, Any]
    method: str
    options: Mapping[str, Any]  # chosen for the side; the others are the method's own at that scale
    scale: str
    wanted: tuple[Any, ...]  # task version, all task options and all method options, as a record has them

    def among(self, records: Iterable[Record]) -> list[Record]:
        """Those of the finished `records` that are of exactly this configuration, whatever their data."""
        return [item for item in records if (item["status"], item["task"]["name"], item["method"]["name"], item["scale"]) ==
                ("done", self.task, self.method, self.scale)
                and (item["task"]["version"], item["task"]["options"], item["method"]["options"]) == self.wanted]


def side_runs(claim: Claim, side: Side, scale: str, load: Callable[..., Any] = plugins.load) -> SideRuns:
    """The runs of a side, for whoever makes them and whoever reads them. UserError where a plug-in or an option is unknown."""
    chosen = {**claim.options, **side.options}
    task = build(load("tasks", claim.task), claim.task, claim.task_options, scale, {})
    method = build(load("baselines", side.method), side.method, chosen, scale, task.defaults)
    wanted = (task.version, *(json.loads(json.dumps(options_of(plugin))) for plugin in (task, method)))  # tuples are lists there
    return SideRuns(claim.task, claim.task_options, side.method, chosen, scale, wanted)


def decidable(claim: Claim, scale: str) -> bool:
    """Whether a scale reaches the least one that can decide the claim."""
    return SCALES.index(scale) >= SCALES.index(claim.least_scale)


def read_value(record: Record, path: str) -> float | None:
    """A claim's value in a record: a score, ``note.<name>``, ``timing.<what>[.<items>]`` in ms, or a dotted path
    (``ledger.<name>``, ``profile.ops.<kind>``); None where there is no number.
    """
    kind, _, name = path.partition(".")
    if kind == "timing":
        found = next((item["ms"] for item in record["timings"] if timing_name(item["what"], item["items"]) == name), None)
    else:
        found = value(record, f"notes.{name}" if kind == "note" else path if name else f"scores.{path}")
    return float(found) if isinstance(found, int | float) else None


def judge(claim: Claim, sides: Sequence[Mapping[int, Record]]) -> Verdict:
    """Decide a claim from the done records of its sides, each by seed.

    Differences are paired by seed. With the 95 % t-interval of the mean difference: all of it above the margin holds, all
    below is refuted, anything else is inconclusive; so are fewer than two common seeds, and sides that were not held equal.
    ``ordered``: every step from one side to the next must hold, one refuted step refutes. ``within``: the interval must lie
    inside -margin .. margin; entirely outside refutes.
    """
    paths = [claim.value, *[claim.rival_value or claim.value] * (len(sides) - 1)]
    numbers = [{seed: found for seed, record in side.items() if (found := read_value(record, path)) is not None}
               for side, path in zip(sides, paths, strict=True)]
    means = tuple(mean(list(side.values())) for side in numbers)
    if len(sides) == 1:
        tests = [interval([found - (claim.bound or 0.0) for found in numbers[0].values()])]
    elif claim.kind == "ordered":
        tests = [paired(upper, lower) for upper, lower in pairwise(numbers)]
    else:
        tests = [paired(numbers[0], numbers[1])]
    known = tuple(test for test in tests if test)
    if len(known) < len(tests):
        return Verdict(claim, "inconclusive", "fewer than two seeds have it on both sides", means, known)
    if unequal := _unequal(claim, sides):
        return Verdict(claim, "inconclusive", unequal, means, known)
    findings = {_finding(claim, test) for test in known}
    finding: Finding = "refuted" if "refuted" in findings else "holds" if findings == {"holds"} else "inconclusive"
    return Verdict(claim, finding, "" if finding != "inconclusive" else "the interval spans the margin", means, known)


def _finding(claim: Claim, test: Interval) -> Finding:
    if claim.kind == "within":
        if -claim.margin < test.low and test.high < claim.margin:
            return "holds"
        return "refuted" if test.low > claim.margin or test.high < -claim.margin else "inconclusive"
    return "holds" if test.low > claim.margin else "refuted" if test.high < claim.margin else "inconclusive"


_PLACES = {"total": "budget.total", "final": "budget.final", "macs": "profile.macs_effective",
           "latency": "profile.latency.one.sparse.median_ms"}


def _unequal(claim: Claim, sides: Sequence[Mapping[int, Record]]) -> str:
    """Which quantity the sides should have had equal and had not; empty if none."""
    for name, tolerance in claim.held_equal:
        found = [item for side in sides for record in side.values() if (item := value(record, _PLACES[name])) is not None]
        if found and max(found) - min(found) > tolerance * max(found):
            return f"'{name}' was to be equal within {tolerance:.0%} and ranges from {min(found):g} to {max(found):g}"
    return ""

"""The claims of the methods that a report shows, judged from the records there are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from suite import plugins
from suite.claims import SCALES, Verdict, by_seed, decidable, judge, side_runs
from suite.contract import Claim
from suite.errors import UserError
from suite.looks import LOOKS
from suite.record import Record, data_of
from suite.reporting import cells
from suite.reporting.flat import text_of
from suite.reporting.rows import Group
from suite.statistics import Interval

#: Flat columns that say on what a claim was tested.
PLACE = ("task", "task_options", "source", "source_digest", "scale")
Load = Callable[[str, str], Any]  # plugins.load, remembered


@dataclass(frozen=True)
class Tested:
    """A claim with its verdict on one data source and scale; `where` says which, `place` as the `PLACE` of their flat rows."""

    method: str
    claim: Claim
    where: str
    verdict: Verdict
    place: tuple[str, ...] = ()  # () of a claim without runs that could decide it

    @property
    def texts(self) -> tuple[str, ...]:
        """The cells of a claims table, in the order of `HEADINGS`; plain text."""
        verdict = self.verdict
        return (self.method, self.claim.name, verdict.text, self.claim.sentence, self.where,
                means(verdict) or cells.MISSING, differences(verdict.intervals) + level(verdict) or cells.MISSING,
                differences(verdict.images) or cells.MISSING)


HEADINGS = ("method", "claim", "verdict", "what the paper says", "on", "means of the sides",
            "difference over seeds [interval of the look]",
            "difference over test images [95 % interval], about these networks, not about the method")


def means(verdict: Verdict, between: str = " / ") -> str:
    """Each side's mean, with the method's name where the sides are of different methods."""
    sides = verdict.claim.sides[: len(verdict.means)]
    named = len({side.method for side in sides}) > 1
    return between.join(f"{side.method} {cells.digits(item)}" if named else cells.digits(item)
                        for side, item in zip(sides, verdict.means, strict=True))


def differences(intervals: Sequence[Interval]) -> str:
    """Means with their intervals, a step each; empty of none."""
    return "; ".join(f"{cells.digits(item.mean)} [{cells.digits(item.low)}, {cells.digits(item.high)}]" for item in intervals)


def level(verdict: Verdict) -> str:
    """The level of the intervals over seeds, as words behind them: that of the look with so many seeds."""
    found = next((look.level for look in LOOKS if verdict.intervals and look.seeds == len(verdict.seeds)), None)
    return "" if found is None else f" at {100 * (1 - found):g} %"


def verdicts(records: Sequence[Record], methods: Sequence[str]) -> list[Tested]:
    """Every claim of `methods`, once per data source and scale that has runs of its sides, the decisive scales alone.

    Of each method only the records of one version of its file count, the one that ran last: `where` says if it is not the
    one that is here. A claim that nothing decides yet is listed with the reason. A method whose file is not here, or cannot
    be imported, has no claims to read and is left out.
    """
    load = cache(plugins.load)
    done: dict[str, list[Record]] = {}
    for item in records:
        if item["status"] == "done":
            done.setdefault(item["task"]["name"], []).append(item)
    here = {name: plugins.digest(item.path) for name, item in plugins.find("baselines").items()}
    found = []
    for name in methods:
        try:
            claims = load("baselines", name).claims
        except UserError:
            continue
        for claim in claims:
            try:
                found += _test(name, claim, done.get(claim.task, []), here, load) or [_untested(name, claim)]
            except UserError as error:  # a rival that cannot be imported here
                found.append(_untested(name, claim, str(error)))
    return found


#: What a finding counts as where claims are only counted.
COUNTED: dict[str, str] = {"holds": "held", "refuted": "refuted"}


def counts(tested: Iterable[Tested]) -> dict[str, int]:
    """How many claims are ``held, refuted, open``, in this order."""
    found = Counter(COUNTED.get(item.verdict.finding, "open") for item in tested)
    return {name: found[name] for name in ("held", "refuted", "open")}


def counted(tested: Iterable[Tested]) -> str:
    """``"3 held, 1 refuted, 2 open"`` without what is none; empty of no claims."""
    return ", ".join(f"{number} {name}" for name, number in counts(tested).items() if number)


def by_place(tested: Iterable[Tested]) -> dict[tuple[str, ...], dict[str, list[Tested]]]:
    """The claims that have runs, by the `PLACE` of these and by method."""
    found: dict[tuple[str, ...], dict[str, list[Tested]]] = {}
    for item in tested:
        if item.place:
            found.setdefault(item.place, {}).setdefault(item.method, []).append(item)
    return found


def beside(groups: Sequence[Group], tested: Iterable[Tested]) -> list[Group]:
    """The groups with what became of their methods' claims on their data, at their scale."""
    places = by_place(tested)
    return [replace(group, verdicts={name: counted(items) for name, items in
                                     places.get(tuple(str(group.facts[name]) for name in PLACE), {}).items()}) for group in groups]


def _test(name: str, claim: Claim, done: Sequence[Record], here: Mapping[str, str], load: Load) -> list[Tested]:
    """The claim on every kind of data and at every scale that all its sides have runs of, among those `done` on its task."""
    scales = {item["scale"] for item in done if item["scale"] in SCALES and decidable(claim, item["scale"])}
    made = []
    for scale in sorted(scales, key=SCALES.index):
        wanted = [side_runs(claim, side, scale, load) for side in claim.sides]
        sides = [[runs.among(done) for runs in side] for side in wanted]
        options = text_of(wanted[0][0].wanted[1])
        for kind, digest in sorted(set.intersection(*({data_of(item) for item in point} for side in sides for point in side))):
            chosen = _newest([[[item for item in point if data_of(item) == (kind, digest)] for point in side] for side in sides])
            where = f"{claim.task}, {kind} data, scale {scale}"
            old = {item["method"]["name"] for side in chosen for point in side for item in point
                   if item["method"]["digest"] != here.get(item["method"]["name"])}
            where += f", an earlier version of {' and '.join(sorted(old))}" if old else ""
            made.append(Tested(name, claim, where, judge(claim, [by_seed(side) for side in chosen]),
                               (claim.task, options, kind, digest, scale)))
    return made


def _newest(sides: Sequence[Sequence[Sequence[Record]]]) -> list[list[list[Record]]]:
    """The records of each point of each side, of each method only those of the version that ran last."""
    known = sorted((item for side in sides for point in side for item in point), key=lambda item: item["time"]["started"])
    version = {item["method"]["name"]: item["method"]["digest"] for item in known}
    return [[[item for item in point if item["method"]["digest"] == version[item["method"]["name"]]] for point in side]
            for side in sides]


def _untested(name: str, claim: Claim, reason: str = "") -> Tested:
    reason = reason or f"needs runs at scale {claim.least_scale} or larger: suite claims {name} --scale {claim.least_scale}"
    return Tested(name, claim, claim.task, Verdict(claim, "not decidable", f"not decidable ({reason})"))

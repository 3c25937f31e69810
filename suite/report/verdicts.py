"""The claims of the methods that a report shows, judged from the records there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from suite import plugins
from suite.claims import SCALES, Verdict, decidable, judge, side_runs
from suite.contract import Claim
from suite.errors import UserError
from suite.record import Record
from suite.report import cells

Load = Callable[[str, str], Any]  # plugins.load, remembered


@dataclass(frozen=True)
class Tested:
    """A claim with its verdict on one data source and scale; `where` says which, `seeds` those that both sides have."""

    method: str
    claim: Claim
    where: str
    seeds: tuple[int, ...]
    verdict: Verdict

    @property
    def texts(self) -> tuple[str, ...]:
        """The cells of a claims table, in the order of `HEADINGS`; plain text."""
        steps = "; ".join(f"{cells.digits(test.mean)} [{cells.digits(test.low)}, {cells.digits(test.high)}]"
                          for test in self.verdict.intervals)
        why = f" ({self.verdict.reason})" if self.verdict.reason else ""
        return (self.method, self.claim.name, self.verdict.finding + why, self.claim.sentence, self.where,
                cells.seeds(self.seeds) if self.seeds else cells.MISSING,
                " / ".join(cells.digits(item) for item in self.verdict.means) or cells.MISSING, steps or cells.MISSING)


HEADINGS = ("method", "claim", "verdict", "what the paper says", "on", "seeds", "means (ours / rival)",
            "difference [95 % interval]")


def verdicts(records: Sequence[Record], methods: Sequence[str]) -> list[Tested]:
    """Every claim of `methods`, once per data source and scale that has runs of its sides, the decisive scales alone.

    Of each method only the records of one version of its file count, the one that ran last: `where` says if it is not the
    one that is here. A claim that nothing decides yet is listed with the reason. A method whose file is not here, or cannot
    be imported, has no claims to read and is left out.
    """
    load = cache(plugins.load)
    here = {name: plugins.digest(item.path) for name, item in plugins.find("baselines").items()}
    found = []
    for name in methods:
        try:
            claims = load("baselines", name).claims
        except UserError:
            continue
        for claim in claims:
            try:
                found += _test(name, claim, records, here, load) or [_untested(name, claim)]
            except UserError as error:  # a rival that cannot be imported here
                found.append(_untested(name, claim, str(error)))
    return found


def _test(name: str, claim: Claim, records: Sequence[Record], here: Mapping[str, str], load: Load) -> list[Tested]:
    done = [item for item in records if (item["status"], item["task"]["name"]) == ("done", claim.task)]
    scales = {item["scale"] for item in done if item["scale"] in SCALES and decidable(claim, item["scale"])}
    made = []
    for scale in sorted(scales, key=SCALES.index):
        sides = [side_runs(claim, side, scale, load).among(done) for side in claim.sides]
        for kind, digest in sorted(set.intersection(*({_source(item) for item in side} for side in sides))):
            chosen = _newest([[item for item in side if _source(item) == (kind, digest)] for side in sides])
            seeds = tuple(sorted(set.intersection(*(set(side) for side in chosen))))
            where = f"{claim.task}, {kind} data, scale {scale}"
            old = {item["method"]["name"] for side in chosen for item in side.values()
                   if item["method"]["digest"] != here.get(item["method"]["name"])}
            where += f", an earlier version of {' and '.join(sorted(old))}" if old else ""
            made.append(Tested(name, claim, where, seeds, judge(claim, chosen)))
    return made


def _source(item: Record) -> tuple[str, str]:
    return item["task"]["source"]["kind"], item["task"]["source"]["digest"]


def _newest(sides: Sequence[Sequence[Record]]) -> list[dict[int, Record]]:
    """The sides by seed, of each method only the records of the version that ran last."""
    version = {item["method"]["name"]: item["method"]["digest"]
               for item in sorted((item for side in sides for item in side), key=lambda item: item["time"]["started"])}
    return [{item["seed"]: item for item in side if item["method"]["digest"] == version[item["method"]["name"]]} for side in sides]


def _untested(name: str, claim: Claim, reason: str = "") -> Tested:
    reason = reason or f"needs runs at scale {claim.least_scale} or larger: suite claims {name} --scale {claim.least_scale}"
    return Tested(name, claim, claim.task, (), Verdict(claim, "not decidable", reason, (), ()))

"""The claims of the methods that a report shows, judged from the records there are."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from suite import plugins
from suite.claims import SCALES, Verdict, decidable, judge
from suite.contract import Claim, Side, options_of
from suite.errors import UserError
from suite.options import build
from suite.record import Record
from suite.report import cells


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
        return (self.method, self.claim.name, self.claim.sentence, self.verdict.finding + why, self.where,
                cells.seeds(self.seeds) if self.seeds else cells.MISSING,
                " / ".join(cells.digits(item) for item in self.verdict.means) or cells.MISSING, steps or cells.MISSING)


HEADINGS = ("method", "claim", "what the paper says", "verdict", "on", "seeds", "means", "difference [95 % interval]")


def verdicts(records: Sequence[Record], methods: Sequence[str]) -> list[Tested]:
    """Every claim of `methods`, once per data source and scale that has runs of its sides, the decisive scales alone.

    A claim that nothing decides yet is listed with the reason. A method whose file is not here, or cannot be imported, has
    no claims to read and is left out.
    """
    found = []
    for name in methods:
        try:
            claims = plugins.load("baselines", name).claims
        except UserError:
            continue
        for claim in claims:
            try:
                found += _test(name, claim, records) or [_untested(name, claim)]
            except UserError as error:  # a rival that cannot be imported here
                found.append(_untested(name, claim, str(error)))
    return found


def _test(name: str, claim: Claim, records: Sequence[Record]) -> list[Tested]:
    done = [item for item in records if (item["status"], item["task"]["name"]) == ("done", claim.task) and item["scale"] in SCALES]
    places = {(item["task"]["source"]["kind"], item["task"]["source"]["digest"], item["scale"]) for item in done}
    made = []
    for kind, digest, scale in sorted(places, key=lambda place: (SCALES.index(place[2]), place)):
        here = [item for item in done if (item["task"]["source"]["digest"], item["scale"]) == (digest, scale)]
        sides = [_side(claim, side, scale, here) for side in claim.sides] if decidable(claim, scale) else []
        if sides and all(sides):
            seeds = tuple(sorted(set.intersection(*(set(side) for side in sides))))
            made.append(Tested(name, claim, f"{claim.task}, {kind} data, scale {scale}", seeds, judge(claim, sides)))
    return made


def _side(claim: Claim, side: Side, scale: str, records: Sequence[Record]) -> dict[int, Record]:
    """The records, by seed, of exactly the configuration that `suite claims` would run for a side."""
    task_class, method_class = plugins.load("tasks", claim.task), plugins.load("baselines", side.method)
    task = build(task_class, claim.task, {}, scale, {})
    method = build(method_class, side.method, {**claim.options, **side.options}, scale, task.defaults)
    wanted = _plain(options_of(task)), _plain(options_of(method))
    return {item["seed"]: item for item in records if item["method"]["name"] == side.method
            and item["task"]["version"] == task.version and (item["task"]["options"], item["method"]["options"]) == wanted}


def _plain(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as a record keeps them: tuples are lists."""
    return dict(json.loads(json.dumps(options)))


def _untested(name: str, claim: Claim, reason: str = "") -> Tested:
    reason = reason or f"needs runs at scale {claim.least_scale} or larger: suite claims {name} --scale {claim.least_scale}"
    return Tested(name, claim, claim.task, (), Verdict(claim, "not decidable", reason, (), ()))

"""Claims: a paper's sentences as paired tests over seeds, decided by the rule of :mod:`suite.looks`."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, Literal

from suite import plugins
from suite.contract import Claim, Side, options_of
from suite.looks import LOOKS, bounds, first_decision
from suite.options import build
from suite.outcomes import unpacked
from suite.record import Record, timing_name, value
from suite.statistics import Interval, interpolated, interval, mean

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

Finding = Literal["holds", "refuted", "inconclusive", "not decided", "not decidable"]
SCALES = ("smoke", "short", "long", "full")
BySeed = Mapping[int, Sequence[Record]]  # one side's records of each seed: one, or the points of a frontier


@dataclass(frozen=True)
class Verdict:
    """What became of a claim. Means, intervals and images are those of the look that it rests on."""

    claim: Claim
    finding: Finding
    text: str  # the finding as people read it, with its look or why there is none
    seeds: tuple[int, ...] = ()  # that it rests on
    wanted: int = 0  # seeds of the next look, counted from 0; 0 if none is to come
    means: tuple[float | None, ...] = ()  # of each side
    intervals: tuple[Interval, ...] = ()  # of the mean difference over seeds, of each step; of level 1 - the look's error
    images: tuple[Interval, ...] = ()  # 95 % intervals over test images: about these very networks, not about the method


@dataclass(frozen=True)
class SideRuns:
    """The runs that one point of a claim's side rests on at a scale: what to plan, and which records they are."""

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


def side_runs(claim: Claim, side: Side, scale: str, load: Callable[..., Any] = plugins.load) -> list[SideRuns]:
    """The runs of a side, one for each point of its grid, for whoever makes them and whoever reads them.

    UserError where a plug-in or an option is unknown.
    """
    task = build(load("tasks", claim.task), claim.task, claim.task_options, scale)
    found = []
    for point in product(*side.grid.values()):
        chosen = {**claim.options, **side.options, **dict(zip(side.grid, point, strict=True))}
        method = build(load("baselines", side.method), side.method, chosen, scale, task)
        # Tuples are lists in a record.
        wanted = (task.version, *(json.loads(json.dumps(options_of(plugin))) for plugin in (task, method)))
        found.append(SideRuns(claim.task, claim.task_options, side.method, chosen, scale, wanted))
    return found


def by_seed(points: Sequence[Sequence[Record]]) -> dict[int, list[Record]]:
    """The records of a side's points, one list a point, by seed: of the seeds that all points have."""
    numbered = [{item["seed"]: item for item in records} for records in points]
    return {seed: [point[seed] for point in numbered] for seed in sorted(set.intersection(*map(set, numbered)))}


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


def judge(claim: Claim, sides: Sequence[BySeed]) -> Verdict:
    """Decide a claim from the done records of its sides: at the first look that decides, whatever later seeds say.

    A look rests on exactly the seeds 0 .. k-1; a missing one is waited for. Sides that were not held equal, or were timed on
    different machines, decide nothing.
    """
    numbers, place = _numbers(claim, sides)
    valued = set.intersection(*map(set, numbers))
    ready = next(seed for seed in range(len(valued) + 1) if seed not in valued)
    # With too few for a look, those there are are shown.
    seeds = tuple(range(ready)) if ready >= LOOKS[0].seeds else tuple(sorted(valued))[: LOOKS[0].seeds - 1]
    differences = _differences(claim, [[side[seed] for seed in seeds] for side in numbers])
    found, at = (int(item) for item in first_decision(differences, claim.kind, claim.margin))
    if at:
        seeds, differences = seeds[: LOOKS[at - 1].seeds], differences[..., : LOOKS[at - 1].seeds]
    means = tuple(mean([side[seed] for seed in seeds]) for side in numbers)
    level = LOOKS[at - 1].level if at else 0.0
    low, high = bounds(differences, level) if at else ((), ())
    intervals = tuple(Interval(float(step.mean()), float(start), float(end), len(seeds))
                      for step, start, end in zip(differences, low, high, strict=bool(at)))
    finding, text, wanted = _finding(claim, sides, valued, seeds, found, at, place)
    return Verdict(claim, finding, text, seeds, wanted, means, intervals, _over_images(claim, sides, seeds))


def _finding(
    claim: Claim, sides: Sequence[BySeed], valued: set[int], seeds: Sequence[int], found: int, at: int, place: str
) -> tuple[Finding, str, int]:
    """The finding, how it reads, and the seeds of the look to come: from what `found` says of the look number `at`."""
    look = f"look {at} of {len(LOOKS)}, {len(seeds)} seeds{place}"
    if reason := _unequal(claim, sides, seeds) or _at_chance(claim, sides, seeds):
        return "inconclusive", f"inconclusive ({reason})", 0
    if found:
        finding: Finding = "holds" if found > 0 else "refuted"
        return finding, f"{finding} ({look})", 0
    if at == len(LOOKS):
        return "inconclusive", f"inconclusive after the last look ({len(seeds)} seeds{place})", 0
    wanted = LOOKS[at].seeds
    waiting = _waiting(claim, sides, valued, wanted)
    if at:
        return "not decided", f"not decided ({look}; {waiting})", wanted
    if seeds:
        return "not decided", f"one look, not decided ({_named(seeds)}; {waiting})", wanted
    return "not decided", f"not decided ({waiting})", wanted


def _numbers(claim: Claim, sides: Sequence[BySeed]) -> tuple[list[dict[int, float]], str]:
    """Each side's values by seed, of a frontier those of ours and the rival's, and the cost they are read off at, in words."""
    if claim.kind != "frontier":
        paths = [claim.value, *[claim.rival_value or claim.value] * (len(sides) - 1)]
        read = [{seed: read_value(records[0], path) for seed, records in side.items()}
                for side, path in zip(sides, paths, strict=True)]
        return [_known(side) for side in read], ""
    *compared, reference = sides
    # Of the first look's seeds alone: a cost that moved with later seeds could change what an earlier look has decided.
    costs = _known({seed: read_value(records[0], claim.cost) for seed, records in reference.items() if seed < LOOKS[0].seeds})
    if len(costs) < LOOKS[0].seeds:
        return [{} for _ in compared], ""
    cost = claim.share * statistics.median(costs.values())
    place = f", at {cost:.3g}{' ms' if claim.cost.endswith('_ms') else ''}"
    return [_known({seed: value_at(records, claim.cost, claim.value, cost) for seed, records in side.items()})
            for side in compared], place


def _known(found: Mapping[int, float | None]) -> dict[int, float]:
    return {seed: number for seed, number in found.items() if number is not None}


def value_at(records: Sequence[Record], cost: str, wanted: str, place: float) -> float | None:
    """The value `wanted` of a frontier's points where their `cost` is `place`; None outside of them or where one lacks a number."""
    read = [(read_value(record, cost), read_value(record, wanted)) for record in records]
    points = [(x, y) for x, y in read if x is not None and y is not None]
    return interpolated(place, [x for x, _ in points], [y for _, y in points]) if len(points) == len(read) else None


def _differences(claim: Claim, values: Sequence[Sequence[float]]) -> Array:
    """What is tested, (steps, seeds), from each side's values by seed: to the bound, or from each side to the next."""
    import numpy as np

    rows = np.array(values, dtype=float)
    return rows - (claim.bound or 0.0) if len(rows) == 1 else rows[:-1] - rows[1:]


def _over_images(claim: Claim, sides: Sequence[BySeed], seeds: Sequence[int]) -> tuple[Interval, ...]:
    """For each step the interval of the mean difference over test images, each image's a mean over `seeds`, in per cent.

    () unless every record of every side keeps outcomes of the claim's value on as many images.
    """
    import numpy as np

    if claim.kind == "frontier" or claim.rival_value or len(sides) < 2 or not seeds:
        return ()
    kept = [[unpacked(side[seed][0]["outcomes"], claim.value) for seed in seeds] for side in sides]
    found = [item for side in kept for item in side if item is not None]
    if len(found) < len(sides) * len(seeds) or len({len(item) for item in found}) > 1:
        return ()
    right = 100.0 * np.array(kept).mean(1)  # sides, images
    return tuple(made for row in right[:-1] - right[1:] if (made := interval(row.tolist())))


def _waiting(claim: Claim, sides: Sequence[BySeed], valued: set[int], wanted: int) -> str:
    """What the look at `wanted` seeds waits for: runs of some seeds, or numbers that their records lack."""
    made = set.intersection(*map(set, sides))
    lacking = [seed for seed in range(wanted) if seed in made - valued]
    missing = [seed for seed in range(wanted) if seed not in made]
    where = " at equal cost" if claim.kind == "frontier" else ""
    parts = [f"waits for {_named(missing)}"] if missing else []
    return "; ".join([*parts, f"no '{claim.value}'{where} of {_named(lacking)}"] if lacking else parts)


def _named(seeds: Sequence[int]) -> str:
    return f"seed{'' if len(seeds) == 1 else 's'} {', '.join(map(str, seeds))}"


def _at_chance(claim: Claim, sides: Sequence[BySeed], seeds: Sequence[int]) -> str:
    """That no side has a better mean score than the task's trivial predictor, where it has one; else empty."""
    records = [side[seed][0] for side in sides for seed in seeds]
    metrics = {item["name"]: item for item in value(records[0], "task.metrics") or ()} if records else {}
    chance = mean(list(_known({place: read_value(item, f"trivial_{claim.value}") for place, item in enumerate(records)}).values()))
    if chance is None or claim.value not in metrics or claim.kind == "frontier":
        return ""
    sign = 1 if metrics[claim.value]["higher_is_better"] else -1
    means = [mean(list(_known({seed: read_value(side[seed][0], claim.value) for seed in seeds}).values())) for side in sides]
    return "no side is better than chance" if all(found is not None and sign * (found - chance) <= 0 for found in means) else ""


_PLACES = {"total": "budget.total", "final": "budget.final", "macs": "profile.macs_effective",
           "latency": "profile.latency.one.sparse.median_ms"}


def _unequal(claim: Claim, sides: Sequence[BySeed], seeds: Sequence[int]) -> str:
    """Which quantity the sides should have had equal and had not, the machine of latencies included; empty if none."""
    compared = sides[:2] if claim.kind == "frontier" else sides
    for name, tolerance in claim.held_equal:
        records = [record for side in compared for seed in seeds for record in side[seed]]
        found = [item for record in records if (item := value(record, _PLACES[name])) is not None]
        if len(found) < len(records):
            return f"'{name}' was to be equal and is not known of every run"
        if found and max(found) - min(found) > tolerance * max(found):
            return f"'{name}' was to be equal within {tolerance:.0%} and ranges from {min(found):g} to {max(found):g}"
    paths = [claim.value, claim.rival_value, claim.cost, *(_PLACES[name] for name, _ in claim.held_equal)]
    if any(path.startswith("timing.") or path.endswith("_ms") for path in paths):
        records = [record for side in sides for seed in seeds for record in side.get(seed, ())]
        places = {(record["timed_on"].get("id"), value(record, "profile.kernel.version")) for record in records}
        if len(places) > 1:
            return "its times are from different machines or kernels; time them again there: suite profile RECORD --update"
    return ""

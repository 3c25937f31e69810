"""Rows of a table: the seeds of one configuration together, in the order in which papers list them."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from suite import statistics
from suite.record import timing_name
from suite.reporting.flat import Flat, grouped, labels

if TYPE_CHECKING:
    from suite.reporting.declare import Equal, Report

Place = tuple[str, str]  # machine id and kernel version: latencies compare only within one
Timing = tuple[str, int | None]  # what a task times itself, and on how many items, if on a number of them
ROLES = ("reference", "trained on", "teacher")  # of rows that the others of a table rest on or are measured by


@dataclass(frozen=True)
class Row:
    """One configuration with all its seeds; `block` heads its part of the table."""

    method: str
    arch: str  # empty where all rows of the table have the same
    options: str  # those that tell it from its neighbours
    role: str  # of `ROLES`, or empty
    block: str
    seeds: tuple[Flat, ...]
    known: dict[tuple[str, ...], Any] = field(default_factory=dict, repr=False, compare=False)  # means that were asked for

    def numbers(self, name: str, where: Callable[[Flat], bool] = lambda seed: True) -> list[float]:
        """The column's values over the seeds that have one."""
        return [seed[name] for seed in self.seeds if where(seed) and seed.get(name) is not None]

    def mean(self, name: str) -> float | None:
        """The column's mean over the seeds that have it."""
        return self._remembered(("mean", name), lambda: statistics.mean(self.numbers(name)))

    def _remembered(self, key: tuple[str, ...], make: Callable[[], Any]) -> Any:
        """What `make` gives, made once: every view of a report asks for the same means."""
        if key not in self.known:
            self.known[key] = make()
        return self.known[key]

    def deviation(self, name: str) -> float | None:
        """The column's sample deviation over seeds."""
        return statistics.deviation(self.numbers(name))

    def latency(self, threads: str, way: str, place: Place) -> float | None:
        """The mean over seeds of the median latency in ms, of seeds timed at `place` alone."""
        return self._remembered(("latency", threads, way, *place), lambda: statistics.mean(
            self.numbers(f"latency.{threads}.{way}", lambda seed: place_of(seed) == place)))

    def noisy(self, threads: str, way: str, place: Place) -> bool:
        """Whether that timing is noisy of a seed that is part of its `latency`."""
        return self._remembered(("noisy", threads, way, *place), lambda: any(
            self.numbers(f"noisy.{threads}.{way}", lambda seed: place_of(seed) == place)))

    def timing(self, timing: Timing, machine: str) -> float | None:
        """The mean over seeds of one of the task's own timings in ms, of seeds timed on `machine` alone."""
        name = f"timing.{timing_name(*timing)}"
        return statistics.mean(self.numbers(name, lambda seed: str(seed["timed_machine"]) == machine))

    def noisy_timing(self, timing: Timing, machine: str) -> bool:
        """Whether one of the task's own timings is noisy of a seed that is part of `timing`."""
        name = f"noisy.timing.{timing_name(*timing)}"
        return any(self.numbers(name, lambda seed: str(seed["timed_machine"]) == machine))

    def option(self, name: str) -> Any:
        """The value of one of the method's options; None where the method has no such option."""
        return json.loads(self.first("options")).get(name)

    def steps(self, metric: str) -> list[float | None]:
        """A score after each artifact that the method yielded, each the mean over the seeds that came so far and have one."""
        longest = max((len(seed["steps"] or ()) for seed in self.seeds), default=0)
        reached = [[seed["steps"][step].get(metric) for seed in self.seeds if step < len(seed["steps"] or ())]
                   for step in range(longest)]
        return [statistics.mean([item for item in items if item is not None]) for items in reached]

    def first(self, name: str) -> Any:
        """The column of the first seed, for facts that a configuration's seeds share."""
        return self.seeds[0].get(name)


@dataclass(frozen=True, eq=False)  # the same as itself alone, so that what is made of it can be remembered
class Group:
    """Rows that may be compared: one task, version, data source, scale, and reference network where they start from one."""

    facts: Flat  # `flat.GROUP`, metric, unit, direction; `arch` if it is one; `start`, what the rows start from, or ""
    rows: tuple[Row, ...]
    places: tuple[Place, ...]  # where latencies were measured, the commonest first
    report: Report | None = None  # the declaration that shows it, where there is one
    verdicts: Mapping[str, str] = field(default_factory=dict)  # what became of a method's claims here, counted in words
    equal: Equal | None = None  # what the rows have in common, where they were chosen for a table at equal cost

    @property
    def ranked(self) -> bool:
        """Whether the best is marked: not in a list of rows of many costs that has tables at equal cost beside it."""
        return self.equal is not None or self.report is None or not self.report.equal


def trivial(group: Group) -> float | None:
    """What a predictor that looks at nothing scores, where the task says so."""
    name = f"score.trivial_{group.facts['metric']}"
    return next((found for row in group.rows for found in row.numbers(name)), None)


def place_of(seed: Flat) -> Place:
    """Where a row's latencies were measured."""
    return str(seed["timed_machine"]), str(seed["kernel"])


def timings(group: Group) -> tuple[str, list[Timing]]:
    """The machine on which the most seeds were timed by their task, and all that was timed, items in order of number."""
    seeds = [seed for row in group.rows for seed in row.seeds if seed["timings"]]
    machines = Counter(str(seed["timed_machine"]) for seed in seeds)
    found = {(item["what"], item["items"]) for seed in seeds for item in seed["timings"]}
    machine = min(machines, key=lambda name: (-machines[name], name), default="")
    return machine, sorted(found, key=lambda timing: (timing[0], timing[1] or 0))


def groups(flats: Sequence[Flat], blocks: Sequence[str] = (), order: str = "method") -> list[Group]:
    """All rows, grouped; `blocks` names the options whose values divide each table, such as ``sparsity``: of a row the first one
    that is set.

    Within a block rows stand by method and options, or first by the mean of the column `order`: the best score, the least
    of anything else; rows without a number last.
    """
    made = []
    for key, members in grouped(flats).items():
        names, archs = labels(members), {flat["arch"] for flat in members}
        parents = {role: {flat[role.replace(" ", "_")] for flat in members} for role in ROLES}
        configs: dict[str, list[Flat]] = {}
        for flat in members:
            configs.setdefault(flat["config"], []).append(flat)
        rows = []
        for config, seeds in configs.items():
            ids = {flat["id"] for flat in seeds}
            role = next((role for role, found in parents.items() if ids & found), "")
            block = "" if role else _block(json.loads(seeds[0]["options"]), blocks)
            ordered = tuple(sorted(seeds, key=lambda flat: flat["seed"]))
            rows.append(Row(seeds[0]["method"], seeds[0]["arch"] if len(archs) > 1 else "",
                            _without(names[config], blocks, block), role, block, ordered))
        facts = members[0] | {"arch": min(archs) if len(archs) == 1 else "", "start": key[-1]}
        made.append(Group(facts, tuple(sorted(rows, key=partial(_order, order=order))), _places(members)))
    return made


def block_option(options: Mapping[str, Any], blocks: Sequence[str]) -> str:
    """Which of the options `blocks` says how far a configuration goes: the first one that is set (not 0), else the last it has."""
    known = [name for name in blocks if options.get(name) is not None]
    return next((name for name in known if options[name]), known[-1] if known else "")


def _block(options: Mapping[str, Any], blocks: Sequence[str]) -> str:
    name = block_option(options, blocks)
    return f"{name} {options[name]}" if name else ""


def _without(options: str, blocks: Sequence[str], block: str) -> str:
    """The text of `options` without those of `blocks` that do not count, as another one of them heads the row's `block`."""
    idle = {name for name in blocks if block and name != block.split()[0]}
    return " ".join(word for word in options.split(" ") if word.partition("=")[0] not in idle)


def _order(row: Row, order: str) -> tuple[Any, ...]:
    role = (*ROLES, "").index(row.role)
    number = None if order == "method" else row.mean(order)
    first = math.inf if number is None else -number if order == "score" and row.first("higher_is_better") else number
    return role, natural(row.block), first, row.method, natural(row.options), row.arch


def natural(text: str) -> tuple[tuple[int, float, str], ...]:
    """A key that sorts numbers inside text by their value: ``n=4`` before ``n=16``."""
    parts = []
    for word in text.replace("=", " ").split():
        try:
            parts.append((0, float(word), ""))
        except ValueError:
            parts.append((1, 0.0, word))
    return tuple(parts)


def _places(flats: Sequence[Flat]) -> tuple[Place, ...]:
    timed = Counter(place_of(flat) for flat in flats if flat["latency.one.sparse"] or flat["latency.one.dense"])
    return tuple(place for place, _ in sorted(timed.items(), key=lambda item: (-item[1], item[0])))

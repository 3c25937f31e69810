"""Rows of a table: the seeds of one configuration together, in the order in which papers list them."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from suite import statistics
from suite.record import timing_name
from suite.report.flat import Flat, grouped, labels

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

    def numbers(self, name: str, where: Callable[[Flat], bool] = lambda seed: True) -> list[float]:
        """The column's values over the seeds that have one."""
        return [seed[name] for seed in self.seeds if where(seed) and seed.get(name) is not None]

    def mean(self, name: str) -> float | None:
        """The column's mean over the seeds that have it."""
        return statistics.mean(self.numbers(name))

    def deviation(self, name: str) -> float | None:
        """The column's sample deviation over seeds."""
        return statistics.deviation(self.numbers(name))

    def latency(self, threads: str, way: str, place: Place) -> float | None:
        """The mean over seeds of the median latency in ms, of seeds timed at `place` alone."""
        return statistics.mean(self.numbers(f"latency.{threads}.{way}", lambda seed: place_of(seed) == place))

    def timing(self, timing: Timing, machine: str) -> float | None:
        """The mean over seeds of one of the task's own timings in ms, of seeds timed on `machine` alone."""
        name = f"timing.{timing_name(*timing)}"
        return statistics.mean(self.numbers(name, lambda seed: str(seed["timed_machine"]) == machine))

    def steps(self, metric: str) -> list[float]:
        """A score after each artifact that the method yielded, each the mean over the seeds that came so far."""
        longest = max((len(seed["steps"] or ()) for seed in self.seeds), default=0)
        reached = [[seed["steps"][step].get(metric) for seed in self.seeds if step < len(seed["steps"] or ())]
                   for step in range(longest)]
        return [statistics.mean([item for item in items if item is not None]) or 0.0 for items in reached]

    def first(self, name: str) -> Any:
        """The column of the first seed, for facts that a configuration's seeds share."""
        return self.seeds[0].get(name)


@dataclass(frozen=True)
class Group:
    """Rows that may be compared: one task, version, data source, scale, and reference network where they start from one."""

    facts: Flat  # `suite.report.flat.GROUP`, metric, unit, direction; `arch` if it is one; `start`, what the rows start from, or ""
    rows: tuple[Row, ...]
    places: tuple[Place, ...]  # where latencies were measured, the commonest first


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


def groups(flats: Sequence[Flat], blocks: str = "", order: str = "method") -> list[Group]:
    """All rows, grouped; `blocks` names the option whose values divide each table, such as ``sparsity``.

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
            block = "" if role else _block(seeds[0], blocks)
            ordered = tuple(sorted(seeds, key=lambda flat: flat["seed"]))
            rows.append(Row(seeds[0]["method"], seeds[0]["arch"] if len(archs) > 1 else "", names[config], role, block, ordered))
        facts = members[0] | {"arch": min(archs) if len(archs) == 1 else "", "start": key[-1]}
        made.append(Group(facts, tuple(sorted(rows, key=partial(_order, order=order))), _places(members)))
    return made


def _block(flat: Flat, blocks: str) -> str:
    item = json.loads(flat["options"]).get(blocks)
    return "" if item is None else f"{blocks} {item}"


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

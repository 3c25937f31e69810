"""Rows of a table: the seeds of one configuration together, in the order in which papers list them."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from suite import statistics
from suite.report.flat import Flat, grouped, labels

TIMING = re.compile(r"note\.\w+_ms(_\d+)?")  # a note of milliseconds on one thread, where it ends in a number for so many items

Place = tuple[str, str]  # machine id and kernel version: latencies compare only within one


@dataclass(frozen=True)
class Row:
    """One configuration with all its seeds. `role` is "reference", "trained on" or ""; `block` heads its part of the table."""

    method: str
    options: str  # those that tell it from its neighbours
    role: str
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

    def timing(self, name: str, machine: str) -> float | None:
        """The mean over seeds of a timing among the notes, of seeds run on `machine` alone."""
        return statistics.mean(self.numbers(f"note.{name}", lambda seed: str(seed["machine"]) == machine))

    def first(self, name: str) -> Any:
        """The column of the first seed, for facts that a configuration's seeds share."""
        return self.seeds[0].get(name)


@dataclass(frozen=True)
class Group:
    """Rows that may be compared: one task, version, data source, scale and reference network."""

    facts: Flat  # the columns of `suite.report.flat.GROUP`, metric, unit and direction
    rows: tuple[Row, ...]
    places: tuple[Place, ...]  # where latencies were measured, the commonest first


def place_of(seed: Flat) -> Place:
    """Where a row's latencies were measured."""
    return str(seed["machine"]), str(seed["kernel"])


def timings(group: Group) -> tuple[str, list[str]]:
    """The commonest machine, and the notes in which a task's own timings stand, such as ``latency_ms_100, latency_ms_300``."""
    seeds = [seed for row in group.rows for seed in row.seeds]
    machines = Counter(str(seed["machine"]) for seed in seeds)
    found = {name.removeprefix("note.") for seed in seeds for name in seed if TIMING.fullmatch(name)}
    return min(machines, key=lambda name: (-machines[name], name)), sorted(found, key=lambda name: natural(name.replace("_", " ")))


def groups(flats: Sequence[Flat], blocks: str = "", order: str = "method") -> list[Group]:
    """All rows, grouped; `blocks` names the option whose values divide each table, such as ``sparsity``.

    Within a block rows stand by method and options, or first by the mean of the column `order`: the best score, the least
    of anything else; rows without a number last.
    """
    references = {flat["reference"] for flat in flats} - {None}
    longer = {flat["trained_on"] for flat in flats} - {None, ""}
    made = []
    for members in grouped(flats).values():
        names = labels(members)
        configs: dict[str, list[Flat]] = {}
        for flat in members:
            configs.setdefault(flat["config"], []).append(flat)
        rows = []
        for config, seeds in configs.items():
            ids = {flat["id"] for flat in seeds}
            role = "reference" if ids & references else "trained on" if ids & longer else ""
            block = "" if role else _block(seeds[0], blocks)
            ordered = tuple(sorted(seeds, key=lambda flat: flat["seed"]))
            rows.append(Row(seeds[0]["method"], names[config], role, block, ordered))
        made.append(Group(dict(members[0]), tuple(sorted(rows, key=partial(_order, order=order))), _places(members)))
    return made


def _block(flat: Flat, blocks: str) -> str:
    item = json.loads(flat["options"]).get(blocks)
    return "" if item is None else f"{blocks} {item}"


def _order(row: Row, order: str) -> tuple[Any, ...]:
    role = ("reference", "trained on", "").index(row.role)
    number = None if order == "method" else row.mean(order)
    first = math.inf if number is None else -number if order == "score" and row.first("higher_is_better") else number
    return role, natural(row.block), first, row.method, natural(row.options)


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

"""A report's declaration, ``reports/<name>.toml``: which records it shows, how, and the runs it needs."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from suite.errors import UserError, nearest
from suite.record import Record, parent

ORDERS = ("method", "score", "params_nonzero", "macs_effective", "latency.one.sparse")


@dataclass(frozen=True)
class Headline:
    """Which rows compete for the first lines: those of a task whose method has a tag and whose option has a value."""

    what: str  # such as "pruning method"
    task: str
    tag: str  # the beginning of a tag, such as "cnn/pruning"
    option: str
    value: Any


@dataclass(frozen=True)
class Runs:
    """Runs that a report needs: words as after ``suite run``, so ``options = ["sparsity=0.5,0.75"]`` is a grid."""

    task: str
    methods: Sequence[str]
    options: Sequence[str] = ()
    scale: str = "short"
    seeds: int = 1


@dataclass(frozen=True)
class Report:
    """What to show: only records whose task, method, tags, scale and source match one of those listed (an empty list: all).

    ``tasks, methods, tags`` may hold ``*``. Tables never mix tasks, versions, data, scales or starting points, whatever
    is declared here.
    """

    title: str
    text: str = ""
    caption: str = ""  # below every table's own
    tasks: Sequence[str] = ()
    methods: Sequence[str] = ()
    tags: Sequence[str] = ()
    scales: Sequence[str] = ()
    sources: Sequence[str] = ()
    columns: Sequence[str] = ()  # of `suite.report.columns.KINDS`, in this order
    blocks: str = "sparsity"  # the option that divides each table
    order: str = "method"  # of `ORDERS`: rows of a block by method, the best score first, or the least cost first
    figures: Sequence[str] = ()  # of `suite.report.charts.CHARTS`
    tables: bool = True
    bench: bool = False  # whether it is the page of `suite bench`, from results*.json in its folder and no records
    claims: bool = False  # whether to test the claims of the methods shown
    headline: Headline | None = None
    runs: Sequence[Runs] = ()  # that --run-missing makes
    test: Mapping[str, str] = field(default_factory=dict)  # method -> scale: the claims whose runs --run-missing makes too

    def select(self, records: Sequence[Record]) -> list[Record]:
        """The records to show, with the references and teachers that they are compared with."""
        chosen = {item["id"]: item for item in records if self._fits(item)}
        beside = {found for item in chosen.values()
                  for found in (parent(item, "reference"), parent(item, "teacher"), item["trained_on"])}
        return [item for item in records if item["id"] in chosen or item["id"] in beside]

    def _fits(self, item: Record) -> bool:
        def among(listed: Sequence[str], *found: str) -> bool:
            return not listed or any(fnmatchcase(name, pattern) for name in found for pattern in listed)

        return (among(self.tasks, item["task"]["name"]) and among(self.methods, item["method"]["name"])
                and among(self.tags, *item["method"]["tags"]) and among(self.scales, item["scale"])
                and among(self.sources, item["task"]["source"]["kind"]))


def names(folder: Path) -> list[str]:
    """The reports declared in a folder."""
    return sorted(path.stem for path in folder.glob("*.toml"))


def load(name: str, folder: Path) -> Report:
    """The declaration ``<folder>/<name>.toml``. UserError where there is none, or it has keys that mean nothing."""
    path = folder / f"{name}.toml"
    if not path.is_file():
        raise UserError(f"There is no report '{name}' in '{folder}'{nearest(name, names(folder))}")
    try:
        found: Mapping[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        headline = {"headline": Headline(**found["headline"])} if "headline" in found else {}
        report = Report(**{**found, **headline, "runs": tuple(Runs(**item) for item in found.get("runs", ()))})
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, TypeError) as error:
        keys = ", ".join(item.name for item in fields(Report))
        raise UserError(f"'{path}' is no report ({error}); it may set {keys}.") from error
    if report.order not in ORDERS:
        raise UserError(f"'{path}' orders by '{report.order}', which is no order; choose one of {', '.join(ORDERS)}.")
    return report

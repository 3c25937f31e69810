"""A report's declaration, ``reports/<name>.toml``: which records it shows, how, and the runs it needs."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge

from suite.errors import UserError, nearest
from suite.record import Record, parent

ORDERS = ("method", "score", "params_nonzero", "macs_effective", "latency.one.sparse")


@dataclass(frozen=True)
class Headline:
    """Which rows compete for the first lines, by quality at one measured latency: those of a task whose method has a tag."""

    what: str  # such as "pruning method"
    task: str
    tag: str  # the beginning of a tag, such as "cnn/pruning"
    latency: float = 0.4  # the share of the reference's latency (dense plan, one thread) at which they are compared


@dataclass(frozen=True)
class Equal:
    """A table of the rows of one cost, with the best marked.

    `cost`: ``macs_effective`` or ``bytes_packed``, of which they have a `share` of the reference's dense one, `within` more or
    less; or one of the report's `blocks`, whose every value heads a block of the table.
    """

    title: str
    cost: str
    share: float = 0.5
    within: float = 0.01
    tags: Sequence[str] = ()  # of the methods; an empty list: all
    masked: bool = False  # whether methods that can be masked or cut stand there masked
    text: str = ""


COSTS = ("macs_effective", "bytes_packed")


@dataclass(frozen=True)
class Runs:
    """Runs that a report or a grid needs: words as after ``suite run``, so ``options = ["sparsity=0.5,0.75"]`` is a grid."""

    __pydantic_config__ = {"extra": "forbid"}  # a key that means nothing is a mistake

    task: str
    methods: Sequence[str]
    options: Sequence[str] = ()
    scale: str = "short"
    seeds: Annotated[int, Ge(1)] = 1


@dataclass(frozen=True)
class System:
    """A published system: the name of its file in ``baselines/``, and the tasks that it is to run on."""

    name: str
    title: str
    tasks: Sequence[str]


@dataclass(frozen=True)
class Family:
    """Tasks that belong together, in the order in which reports show them."""

    title: str
    tasks: Sequence[str]


@dataclass(frozen=True)
class Catalogue:
    """What the declarations of a folder say about all reports: the systems to carry, and the families of tasks."""

    systems: Sequence[System] = ()
    families: Sequence[Family] = ()

    def order(self, task: str) -> int:
        """The place of a task among those of the families; behind them all for one that is in none."""
        known = [name for family in self.families for name in family.tasks]
        return known.index(task) if task in known else len(known)


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
    columns: Sequence[str] = ()  # of `suite.reporting.columns.KINDS`, in this order
    blocks: Sequence[str] = ("macs", "sparsity")  # options that say how far a row goes, the first that is set; they divide tables
    masked: str = "masked"  # the option of rows that are not as they would be deployed
    order: str = "method"  # of `ORDERS`: rows of a block by method, the best score first, or the least cost first
    figures: Sequence[str] = ()  # of `suite.reporting.charts.CHARTS`
    tables: bool = True
    bench: bool = False  # whether it is the page of `suite bench`, from results*.json in its folder and no records
    claims: bool = False  # whether to show the claims of the methods shown
    progress: bool = False  # whether to draw how far the claims of all declared systems are
    headline: Headline | None = None
    equal: Sequence[Equal] = ()  # tables at equal cost, before all others; with a headline the one at equal latency is first
    runs: Sequence[Runs] = ()  # that --run-missing makes
    test: Mapping[str, str] = field(default_factory=dict)  # method -> scale: the claims whose runs --run-missing makes too
    systems: Sequence[System] = ()  # to list, in a table of their own instead of records
    families: Sequence[Family] = ()  # the tasks of all reports in order
    into: str = ""  # the Markdown file that has the table of systems, or the report's overview, seen from the declaration's folder
    pictures: Sequence[str] = ()  # SVG files below the overview there, seen from the declaration's folder; may hold ``*``

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


ELSEWHERE = "go to the folder of a checkout, or name the folder of declarations with --reports DIR."


def names(folder: Path) -> list[str]:
    """The reports declared in a folder."""
    return sorted(path.stem for path in folder.glob("*.toml"))


def grid(path: Path) -> tuple[Runs, ...]:
    """What ``suite run <path>`` is to make. UserError for a file that holds anything but tables ``[[runs]]``."""
    found = _read(path)
    for key in found:
        if key != "runs":
            raise UserError(f"'{path}' sets '{key}'; a grid holds tables [[runs]] alone, each with {', '.join(_keys(Runs))}.")
    if not found.get("runs"):
        raise UserError(f"'{path}' asks for no runs; write tables [[runs]], each with {', '.join(_keys(Runs))}.")
    return _runs(found["runs"], path)


def table_of(path: Path, number: int) -> str:
    """How a message names the table [[runs]] of a `number`, from 1."""
    return f"'{path}', table {number} of [[runs]]"


def _read(path: Path) -> Mapping[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"'{path}' cannot be read ({error.strerror}).") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"'{path}' is no TOML ({error}).") from error


def _runs(tables: Any, path: Path) -> tuple[Runs, ...]:
    """The tables [[runs]] of a file. UserError naming the table and the key that is wrong."""
    from pydantic import TypeAdapter, ValidationError

    if not isinstance(tables, list):
        raise UserError(f"'{path}' sets 'runs' to {tables!r:.40}; write tables that begin with [[runs]].")
    made = []
    for number, table in enumerate(tables, 1):
        try:
            made.append(TypeAdapter(Runs).validate_python(table))
        except ValidationError as error:
            fault = min(error.errors(), key=lambda item: item["type"] != "unexpected_keyword_argument")  # a typing error first
            key = str(fault["loc"][0]) if fault["loc"] else "runs"
            if fault["type"] == "missing":
                problem = f"has no '{key}'."
            elif fault["type"] == "unexpected_keyword_argument":
                problem = f"sets '{key}', which means nothing{nearest(key, _keys(Runs))}"
            elif fault["loc"]:
                problem = f"sets '{key}' to {table[key]!r:.60}: {fault['msg']}."
            else:
                problem = f"is {table!r:.60}, and no table."
            raise UserError(f"{table_of(path, number)} {problem}") from None
    return tuple(made)


def _keys(kind: type[Any]) -> list[str]:
    return [item.name for item in fields(kind)]


def load(name: str, folder: Path) -> Report:
    """The declaration ``<folder>/<name>.toml``. UserError where there is none, or it has keys that mean nothing."""
    path = folder / f"{name}.toml"
    if not path.is_file():
        raise UserError(f"There is no report '{name}' in '{folder}'{nearest(name, names(folder)) or f'; {ELSEWHERE}'}")
    found = _read(path)
    try:
        parts = {"headline": Headline(**found["headline"])} if "headline" in found else {}
        report = Report(**{**found, **parts, "runs": _runs(found.get("runs", []), path),
                           "equal": tuple(Equal(**item) for item in found.get("equal", ())),
                           "systems": tuple(System(**item) for item in found.get("systems", ())),
                           "families": tuple(Family(**item) for item in found.get("families", ()))})
    except TypeError as error:
        raise UserError(f"'{path}' is no report ({error}); it may set {', '.join(_keys(Report))}.") from error
    if report.order not in ORDERS:
        raise UserError(f"'{path}' orders by '{report.order}', which is no order; choose one of {', '.join(ORDERS)}.")
    for item in report.equal:
        if item.cost not in (*COSTS, *report.blocks):
            raise UserError(f"'{path}' has a table of equal '{item.cost}', which is neither a cost nor among 'blocks'; choose "
                            f"one of {', '.join((*COSTS, *report.blocks))}.")
    return report


def catalogue(folder: Path) -> Catalogue:
    """The systems and families of all declarations in a folder."""
    found = [load(name, folder) for name in names(folder)]
    return Catalogue([system for report in found for system in report.systems],
                     [family for report in found for family in report.families])

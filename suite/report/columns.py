"""What a table shows: its columns, what is best in each, and the footnotes that its rows refer to."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Literal, NamedTuple

from suite import plugins
from suite.contract import options_of
from suite.errors import UserError, nearest
from suite.options import build
from suite.report import cells
from suite.report.rows import Group, Place, Row, timings
from suite.report.terminal import caption

Number = Callable[[Row], float | None]
Mark = Literal["best", "second"]
#: The column groups that a declaration may name, in the order they stand in unless it says otherwise.
KINDS = ("quality", "scores", "cost", "latency", "published")


class Column(NamedTuple):
    """A heading in its group, what it measures, how it is written, and whether more is better (None: nothing is best)."""

    group: str
    heading: str
    explanation: str
    number: Number
    text: Callable[[Row], str]
    higher: bool | None = None


def columns(group: Group, kinds: Sequence[str] = ()) -> list[Column]:
    """The columns of some `KINDS` (none: all) in which some row has a number.

    Latencies are those of the group's commonest machine and kernel alone. UserError for a kind that is none.
    """
    made = {"quality": _quality, "scores": _scores, "cost": _cost, "latency": _latencies, "published": _published}
    for kind in kinds:
        if kind not in made:
            raise UserError(f"There is no column group '{kind}'{nearest(kind, KINDS)}")
    found = [column for kind in kinds or KINDS for column in made[kind](group)]
    return [column for column in found if any(column.number(row) is not None for row in group.rows)]


def _measure(name: str, unit: str) -> str:
    return cells.clean(f"{name} ({unit})" if unit else name)


def _quality(group: Group) -> list[Column]:
    facts = group.facts
    higher = bool(facts["higher_is_better"])

    def change(heading: str, name: str, what: str) -> Column:
        return Column("quality", heading, f"change of {facts['metric']} against {what}, mean over seeds",
                      lambda row: row.mean(name), lambda row: cells.change(row.mean(name)), higher)

    uneven = [Column("quality", "seeds", "how many seeds the means rest on", lambda row: float(len(row.seeds)),
                     lambda row: str(len(row.seeds)))] if len({len(row.seeds) for row in group.rows}) > 1 else []
    return [
        Column("quality", _measure(facts["metric"], facts["unit"]),
               f"mean and sample deviation over seeds; {'more' if higher else 'less'} is better", lambda row: row.mean("score"),
               lambda row: cells.spread(row.mean("score"), row.deviation("score")), higher),
        *uneven,
        change("vs reference", "change_reference", "the network that the method started from"),
        change("vs trained on", "change_trained_on", "that network trained on with the same extra budget"),
        change("vs teacher", "change_teacher", "the network that it learned to imitate"),
    ]


def _scores(group: Group) -> list[Column]:
    """The task's other metrics, in its order."""
    def one(metric: dict[str, Any]) -> Column:
        key, higher = f"score.{metric['name']}", bool(metric["higher_is_better"])
        return Column("scores", _measure(metric["name"], metric["unit"]),
                      f"mean and sample deviation over seeds; {'more' if higher else 'less'} is better",
                      lambda row: row.mean(key), lambda row: cells.spread(row.mean(key), row.deviation(key)), higher)

    return [one(metric) for metric in group.facts["metrics"] if metric["name"] != group.facts["metric"]]


def _cost(group: Group) -> list[Column]:
    def cost(heading: str, name: str, what: str) -> list[Column]:
        left = Column("cost", f"{heading} ≠ 0", what, lambda row: row.mean(name), lambda row: cells.count(row.mean(name)))
        change = Column("cost", f"{heading} change", "change against the reference (without one: against the own dense shape)",
                        lambda row: kept(row, name), lambda row: cells.reduction(1.0, kept(row, name)))
        return [left, change] if _reduced(group, name) else [left]

    return [*cost("params", "params_nonzero", "parameters that are not zero"),
            *cost("MACs", "macs_effective", "multiply-accumulates with non-zero weights, one input")]


def kept(row: Row, name: str) -> float | None:
    """What is left of ``params_nonzero`` or ``macs_effective``: a share of the reference's, else of its own dense shape's."""
    dense = name.partition("_")[0]
    whole, left = row.mean(f"reference_{dense}") or row.mean(dense), row.mean(name)
    return left / whole if whole and left is not None else None


def _reduced(group: Group, name: str) -> bool:
    """Whether anything became less; where nothing did, a column of changes says nothing."""
    return any(kept(row, name) not in (None, 1.0) for row in group.rows)


_WAYS = {"torch": "PyTorch eager, dense", "dense": "this kernel, dense weights", "sparse": "this kernel, packed weights"}


def _latencies(group: Group) -> list[Column]:
    found = []
    gains = {"dense": "how many times faster the packed weights are than dense ones in this kernel",
             "torch": "how many times faster the packed weights are than PyTorch eager"}
    for place in group.places[:1]:
        cores: int = next(flat["cores"] for row in group.rows for flat in row.seeds if str(flat["machine"]) == place[0])
        both = f" (1T: on one thread, {cores}T: on {cores})"
        for label, threads, words in (("1T", "one", "one thread"), (f"{cores}T", "all", f"{cores} threads")):
            heading = f"latency, {words}"
            for way, what in _WAYS.items():
                explained = f"median latency of one input: {what}{both}"
                found.append(_latency(heading, f"{way} {label} (ms)", explained, threads, way, place))
            for way, name in (("dense", f"gain {label}"), ("torch", f"vs torch {label}")):
                if way == "dense" and not _reduced(group, "macs_effective"):
                    continue  # a dense network against itself
                found.append(_gain(heading, name, gains[way] + both, threads, way, place))
    return found + _timings(group)


def _timings(group: Group) -> list[Column]:
    """What a task times itself: what follows the network, or a function without one."""
    machine, names = timings(group)

    def one(name: str) -> Column:
        what, _, count = name.partition("_ms")
        words = f"{count[1:]} items" if count else what.replace("_", " ")
        heading = "latency of the function" if count else "latency beside the plan"
        return Column(heading, f"{words} (ms)", "median of the task's own timing in PyTorch, one thread, mean over seeds",
                      lambda row: row.timing(name, machine), lambda row: cells.digits(row.timing(name, machine)), False)

    return [one(name) for name in names]


def _latency(group: str, heading: str, explanation: str, threads: str, way: str, place: Place) -> Column:
    def text(row: Row) -> str:
        found = row.latency(threads, way, place)
        return cells.digits(found) + ("~" if found is not None and way == "sparse" and noisy(row, threads) else "")

    higher = False if way == "sparse" else None
    return Column(group, heading, explanation, lambda row: row.latency(threads, way, place), text, higher)


def noisy(row: Row, threads: str = "one") -> bool:
    """Whether some seed's timing is noisy."""
    return any(flat[f"noisy.{threads}"] for flat in row.seeds)


def _gain(group: str, heading: str, explanation: str, threads: str, way: str, place: Place) -> Column:
    def number(row: Row) -> float | None:
        return gain(row, place, threads, way)

    return Column(group, heading, explanation, number, lambda row: cells.times(number(row)), True)


def gain(row: Row, place: Place, threads: str = "one", way: str = "dense") -> float | None:
    """How many times slower `way` is than the sparse plan; None where one of them was not measured at `place`."""
    before, sparse = row.latency(threads, way, place), row.latency(threads, "sparse", place)
    return before / sparse if before and sparse else None


def _published(group: Group) -> list[Column]:
    return [Column("published", "published", "the paper's own number for these options; never mixed with ours",
                   lambda row: row.first("published"), lambda row: cells.digits(row.first("published")))]


def marks(group: Group, column: Column) -> dict[int, Mark]:
    """The best and second best rows of a column, by their place in ``group.rows``.

    The rule: within each block; the reference takes no part; numbers equal as printed share their mark; a block in which
    all have the same number, or one row alone has any, has no best.
    """
    found: dict[int, Mark] = {}
    for block in {row.block for row in group.rows} if column.higher is not None else ():
        rivals = {place: (column.text(row).rstrip("~").split(" ± ")[0], number) for place, row in enumerate(group.rows)
                  if row.block == block and row.role != "reference" and (number := column.number(row)) is not None}
        ordered = sorted(rivals.values(), key=lambda item: item[1], reverse=bool(column.higher))
        texts = list(dict.fromkeys(text for text, _ in ordered))
        if len(texts) > 1:
            for place, (text, _) in rivals.items():
                if text in texts[:2]:
                    found[place] = "best" if text == texts[0] else "second"
    return found


def label(row: Row) -> str:
    """Method, options, role; plain text."""
    return cells.clean(f"{row.method} ({row.role})" if row.role else f"{row.method} {row.options}")


class Footnotes(NamedTuple):
    """`general` ones for the whole table, numbered `notes`, and the numbers (from 1) that each row refers to."""

    general: list[str]
    notes: list[str]
    marks: list[list[int]]

    @property
    def all(self) -> list[str]:
        """Every footnote as a line of plain text, numbered ones first."""
        return [f"{number}: {text}" for number, text in enumerate(self.notes, 1)] + self.general


def footnotes(group: Group, kinds: Sequence[str] = ()) -> Footnotes:
    """What a reader must know beside the numbers: stand-ins, layers outside the plan, places of published numbers, noise."""
    numbers: dict[str, int] = {}
    marks = [sorted(numbers.setdefault(text, len(numbers) + 1) for text in _notes(row)) for row in group.rows]
    general = ["Bold is best and underlined second best of a block; the reference takes no part."]
    if group.places and (not kinds or "latency" in kinds):
        if any(noisy(row, threads) for row in group.rows for threads in ("one", "all")):
            general.append("~ noisy timing: the 90th percentile or the drift of some seed is large.")
        if len(group.places) > 1:
            general.append("Latencies of other machines or kernel versions than the commonest are left out.")
    return Footnotes(general, list(numbers), marks)


def _notes(row: Row) -> list[str]:
    notes = [f"Stand-in in {row.method}, where its paper is silent: {text}" for text in row.first("standins")]
    if row.first("outside"):
        notes.append(f"Layers outside the kernel's plan, run in torch: {', '.join(map(str, row.first('outside')))}")
    if len({flat["method_digest"] for flat in row.seeds}) > 1:
        notes.append(f"Seeds of different versions of {row.method}.")
    if row.first("theoretical"):
        notes.append("The plan fell back to dense: the reduction of MACs is theoretical.")
    if row.first("published") is not None:
        notes.append(f"Published number: {row.first('published_where')}")
    return [cells.clean(text) for text in notes]


def legend(groups: Sequence[Group], kinds: Sequence[str] = ()) -> list[str]:
    """What the columns of some tables mean, a line per meaning: ``top1 (%), top5 (%): mean ...``; plain text."""
    headings: dict[str, dict[str, None]] = {}
    for group in groups:
        for column in columns(group, kinds):
            headings.setdefault(column.explanation, {})[column.heading] = None
    return [f"{', '.join(found)}: {explanation}" for explanation, found in headings.items()]


def title(group: Group) -> str:
    """Task, network, the task's options that are not usual at this scale, and what the numbers are."""
    facts = group.facts
    chosen = " ".join(f"{name}={item}" for name, item in _unusual(facts["task"], facts["scale"], facts["task_options"]))
    what = ", ".join(part for part in (f"{facts['task']} (version {facts['task_version']})", facts["arch"], chosen) if part)
    return cells.clean(f"{what}: {caption(group)}")


@cache
def _unusual(task: str, scale: str, text: str) -> list[tuple[str, Any]]:
    """The options, given as JSON, that differ from the task's at `scale`; all of them where its file is not here."""
    found = json.loads(text)
    try:
        usual = options_of(build(plugins.load("tasks", task), task, {}, scale, {}))
    except (UserError, KeyError):
        usual = {}
    return [(name, item) for name, item in found.items() if name not in usual or json.dumps(usual[name]) != json.dumps(item)]

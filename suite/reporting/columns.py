"""What a table shows: its columns, and what is best in each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from math import isclose
from typing import Any, Literal, NamedTuple

from suite.errors import UserError, nearest
from suite.reporting import cells
from suite.reporting.rows import Group, Place, Row, Timing, timings

Number = Callable[[Row], float | None]
#: The column groups that a declaration may name, in the order they stand in unless it says otherwise.
KINDS = ("network", "quality", "scores", "cost", "ledger", "latency", "published", "verdicts")
#: What a table on paper shows beside the method, a column each: eight at most.
PARTS = ("quality", "change", "work", "latency", "gain", "published", "verdicts")
Part = Literal["quality", "change", "work", "latency", "gain", "published", "verdicts", ""]
NOISY, PART = "~", "†"  # behind a number: a noisy timing, or a ratio with one; work of which not all could be counted


class Column(NamedTuple):
    """A heading in its group, what it measures, how it is written, and whether more is better (None: nothing is best).

    `part` is the part of a table on paper (of `PARTS`) that it can play, empty for none. `noisy` says of a row whether its number
    rests on a noisy timing: its text then carries `NOISY`, and it is never the best.
    """

    group: str
    heading: str
    explanation: str
    number: Number
    text: Callable[[Row], str]
    higher: bool | None = None
    part: Part = ""
    noisy: Callable[[Row], bool] = lambda row: False


def columns(group: Group, kinds: Sequence[str] = ()) -> list[Column]:
    """The columns of some `KINDS` (none: all) in which some row has something to say.

    Latencies are those of the group's commonest machine and kernel alone. UserError for a kind that is none.
    """
    return _columns(group, tuple(kinds))


@lru_cache(maxsize=512)  # every view of a report asks for them
def _columns(group: Group, kinds: tuple[str, ...]) -> list[Column]:
    made = {"network": _network, "quality": _quality, "scores": _scores, "cost": _cost, "ledger": _ledger,
            "latency": _latencies, "published": _published, "verdicts": _verdicts}
    for kind in kinds:
        if kind not in made:
            raise UserError(f"There is no column group '{kind}'{nearest(kind, KINDS)}")
    found = [column for kind in kinds or KINDS for column in made[kind](group)]
    return [column for column in found if any(column.text(row) not in ("", cells.MISSING) for row in group.rows)]


def measure(name: str, unit: str) -> str:
    """A metric with its unit, ``top1 (%)``."""
    return cells.clean(f"{name} ({unit})" if unit else name)


def _network(group: Group) -> list[Column]:
    return [Column("network", "arch", "architecture of the delivered network", lambda row: None, lambda row: cells.clean(row.arch))]


def _quality(group: Group) -> list[Column]:
    facts = group.facts
    higher = bool(facts["higher_is_better"])

    metric, uneven = facts["metric"], len({len(row.seeds) for row in group.rows}) > 1

    def change(heading: str, name: str, what: str, part: Part = "") -> Column:
        return Column("quality", heading, f"change of {metric} against {what}, mean over seeds",
                      lambda row: row.mean(name), lambda row: cells.change(row.mean(name)), higher, part)

    def score(row: Row) -> str:
        return cells.spread(row.mean("score"), row.deviation("score")) + (f" ({len(row.seeds)})" if uneven else "")

    return [
        Column("quality", measure(metric, facts["unit"]),
               f"mean and sample deviation over seeds{', in brackets how many' * uneven}; {'more' if higher else 'less'} is better",
               lambda row: row.mean("score"), score, higher, "quality"),
        change("vs reference", "change_reference", "the network that the method started from", "change"),
        change("vs trained on", "change_trained_on", "that network trained on with the same extra budget"),
        change("vs teacher", "change_teacher", "the network that it learned to imitate", "change"),
        Column("quality", "by step", f"{metric} after each step (session, round) of the method, mean over seeds",
               lambda row: next(reversed(row.steps(metric)), None), lambda row: _series(row.steps(metric))),
    ]


def _series(numbers: Sequence[float | None]) -> str:
    """``70.1 58.2 54.8``; of a long series the beginning and the end."""
    texts = [cells.digits(number) for number in numbers]
    return " ".join(texts if len(texts) <= 10 else [*texts[:5], "…", *texts[-4:]]) or cells.MISSING


def _scores(group: Group) -> list[Column]:
    """The task's other metrics, in its order."""
    def one(metric: dict[str, Any]) -> Column:
        key, higher = f"score.{metric['name']}", bool(metric["higher_is_better"])
        return Column("scores", measure(metric["name"], metric["unit"]),
                      f"mean and sample deviation over seeds; {'more' if higher else 'less'} is better",
                      lambda row: row.mean(key), lambda row: cells.spread(row.mean(key), row.deviation(key)), higher)

    return [one(metric) for metric in group.facts["metrics"] if metric["name"] != group.facts["metric"]]


def _cost(group: Group) -> list[Column]:
    def change(heading: str, name: str) -> list[Column]:
        return [Column("cost", f"{heading} change", "change against the reference (without one: against the own dense shape)",
                       lambda row: kept(row, name),
                       lambda row: _marked(cells.reduction(1.0, kept(row, name)), _part(row, name, "reference_uncounted")))
                ] if _reduced(group, name) else []

    ops = [name for name in names(group, "ops.") if any(_telling(row, name) for row in group.rows)]
    return [_count("cost", "params ≠ 0", "parameters that are not zero", "params_nonzero"), *change("params", "params_nonzero"),
            _count("cost", "MACs ≠ 0", "multiply-accumulates with non-zero weights, one input", "macs_effective", "work"),
            *change("MACs", "macs_effective"),
            *(_count("cost", f"{name.removeprefix('ops.')} ops", "operations of that kind, one input", name, "work")
              for name in ops),
            _count("cost", "bytes", "the weights as stored, packed, with their indices", "bytes_packed"),
            *change("bytes", "bytes_packed")]


def partial(row: Row, more: str = "uncounted") -> bool:
    """Whether not all of the row's work could be counted, or (`more`: "reference_uncounted") of its reference's."""
    return any(flat["uncounted"] or flat[more] for flat in row.seeds)


def _part(row: Row, name: str, more: str = "uncounted") -> str:
    """The mark of a count of work that is not whole."""
    return PART if name.startswith(("macs", "ops.")) and partial(row, more) else ""


def _marked(text: str, mark: str) -> str:
    return text if text == cells.MISSING else text + mark


def _count(group: str, heading: str, explanation: str, name: str, part: Part = "") -> Column:
    return Column(group, cells.clean(heading), explanation, lambda row: row.mean(name),
                  lambda row: _marked(cells.count(row.mean(name)), _part(row, name)), None, part)


def names(group: Group, beginning: str) -> list[str]:
    """The flat columns of a group's rows that begin so, such as ``"ledger."``."""
    return [name for name in _names(group) if name.startswith(beginning)]


@lru_cache(maxsize=512)
def _names(group: Group) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for row in group.rows for seed in row.seeds for name in seed))


def _telling(row: Row, name: str) -> bool:
    """Whether a number of operations says more than the MACs do: each is a multiplication and an addition."""
    number = row.mean(name) or 0.0
    return number > 0 and not any(isclose(number, row.mean(macs) or 0.0, rel_tol=1e-3) for macs in ("macs", "macs_effective"))


def _ledger(group: Group) -> list[Column]:
    """What methods asked for or sent: queries, bytes, operations."""
    what = "what the whole run spent, by the ledger's count, mean over seeds"  # "bytes" alone are those of the network
    return [_count("ledger", f"{name.removeprefix('ledger.')} spent", what, name, "work") for name in names(group, "ledger.")]


def kept(row: Row, name: str) -> float | None:
    """What is left of ``params_nonzero, macs_effective, bytes_packed``: a share of the reference's dense, else of its own."""
    dense = {"params_nonzero": "params", "macs_effective": "macs", "bytes_packed": "bytes_dense"}[name]
    whole, left = row.mean(f"reference_{dense}") or row.mean(dense), row.mean(name)
    return left / whole if whole and left is not None else None


def _reduced(group: Group, name: str) -> bool:
    """Whether anything became less; where nothing did, a column of changes says nothing."""
    return any(kept(row, name) not in (None, 1.0) for row in group.rows)


_WAYS = {"torch": "PyTorch eager, dense", "dense": "this kernel, dense weights", "sparse": "this kernel, packed weights"}


def _latencies(group: Group) -> list[Column]:
    found = []
    gains = {"dense": "how many times faster than the reference's shape with dense weights in this kernel",
             "torch": "how many times faster than the reference's shape in PyTorch eager"}
    reduced = _reduced(group, "macs_effective")
    for place in group.places[:1]:
        cores: int = next(flat["timed_cores"] for row in group.rows for flat in row.seeds if str(flat["timed_machine"]) == place[0])
        both = f" (1T: on one thread, {cores}T: on {cores})"
        for label, threads, words in (("1T", "one", "one thread"), (f"{cores}T", "all", f"{cores} threads")):
            heading, one = f"latency, {words}", threads == "one"
            for way, what in _WAYS.items():
                explained = f"median latency of one input: {what}{both}"
                found.append(_latency(heading, f"{way} {label} (ms)", explained, threads, way, place,
                                      "latency" if one and way == "sparse" else ""))
            for way, name in (("dense", f"gain {label}"), ("torch", f"vs torch {label}")):
                if way == "torch" or reduced:  # else a dense network against itself
                    found.append(_gain(group, heading, name, gains[way] + both, threads, way, place, "gain" if one else ""))
    return found + _timings(group)


def _timings(group: Group) -> list[Column]:
    """What a task times itself: what follows the network, or a function without one. That of the most items is its latency."""
    machine, found = timings(group)
    several = len({what for what, items in found if items is not None}) > 1

    def one(timing: Timing) -> Column:
        what, items = timing
        words = what.replace("_", " ") if items is None else f"{what} {items} items" if several else f"{items} items"
        heading = "latency beside the plan" if items is None else "latency of the function"

        return _timed(heading, cells.clean(f"{words} (ms)"),
                      "median of the task's own timing in PyTorch, one thread, mean over seeds",
                      lambda row: row.timing(timing, machine), cells.digits, False,
                      lambda row: row.noisy_timing(timing, machine),
                      "latency" if timing == max(found, key=lambda item: item[1] or 0) else "")

    return [one(timing) for timing in found]


def _latency(group: str, heading: str, explanation: str, threads: str, way: str, place: Place, part: Part) -> Column:
    return _timed(group, heading, explanation, lambda row: row.latency(threads, way, place), cells.digits,
                  False if way == "sparse" else None, lambda row: row.noisy(threads, way, place), part)


def _gain(group: Group, heading: str, name: str, explanation: str, threads: str, way: str, place: Place, part: Part) -> Column:
    def number(row: Row) -> float | None:
        before = dense_of(group, row, place, threads, way).latency(threads, way, place)
        after = row.latency(threads, "sparse", place)
        return before / after if before and after else None

    def noisy(row: Row) -> bool:
        return dense_of(group, row, place, threads, way).noisy(threads, way, place) or row.noisy(threads, "sparse", place)

    return _timed(heading, name, explanation, number, cells.times, True, noisy, part)


def _timed(group: str, heading: str, explanation: str, number: Number, text: Callable[[float | None], str], higher: bool | None,
           noisy: Callable[[Row], bool], part: Part) -> Column:
    return Column(group, heading, explanation, number, lambda row: _marked(text(number(row)), NOISY if noisy(row) else ""), higher,
                  part, lambda row: number(row) is not None and noisy(row))


def dense_of(group: Group, row: Row, place: Place, threads: str = "one", way: str = "dense") -> Row:
    """The row whose dense timing shows what `row` gained: itself, timed in the same rounds, if it has its reference's shape or no
    reference was timed at `place`; else the reference, of which layers or channels are gone.
    """
    reference = next((other for other in group.rows if other.role == "reference" and other.latency(threads, way, place)), None)
    return row if reference is None or row.mean("macs") == row.mean("reference_macs") else reference


def _published(group: Group) -> list[Column]:
    return [Column("published", "published", "the paper's own number for these options; never mixed with ours",
                   lambda row: row.first("published"), lambda row: cells.digits(row.first("published")), None, "published")]


def _verdicts(group: Group) -> list[Column]:
    what = "what became of the claims of the method's paper on these data at this scale; open: not decided"
    return [Column("verdicts", "claims", what,
                   lambda row: None, lambda row: cells.MISSING if row.role else group.verdicts.get(row.method) or cells.MISSING,
                   None, "verdicts")]


def name(row: Row) -> str:
    """Method, options, role: a row's first cell in plain text, beside which the architecture has a column."""
    return cells.clean(f"{row.method} ({row.role})" if row.role else f"{row.method} {row.options}")


def label(row: Row) -> str:
    """What to call a row where it stands alone: its name, and its architecture where those of its table differ."""
    return cells.clean(f"{name(row)} {row.arch}")

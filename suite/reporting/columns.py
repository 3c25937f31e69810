"""What a table shows: its columns, and what is best in each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isclose
from typing import Any, Literal, NamedTuple

from suite.errors import UserError, nearest
from suite.reporting import cells
from suite.reporting.rows import Group, Place, Row, Timing, timings

Number = Callable[[Row], float | None]
Mark = Literal["best", "second"]
#: The column groups that a declaration may name, in the order they stand in unless it says otherwise.
KINDS = ("network", "quality", "scores", "cost", "ledger", "latency", "published")
MOST = 8  # columns of a table on paper, unless its declaration names column groups
NOISY, PART = "~", "†"  # behind a number: a noisy timing, or a ratio with one; work of which not all could be counted


class Column(NamedTuple):
    """A heading in its group, what it measures, how it is written, and whether more is better (None: nothing is best).

    Where room is short those with the least `weight` stay: 0 is what a row is about, 1 its cost in short, 2 the rest. `noisy`
    says of a row whether its number rests on a noisy timing: its text then carries `NOISY`, and it is never the best.
    """

    group: str
    heading: str
    explanation: str
    number: Number
    text: Callable[[Row], str]
    higher: bool | None = None
    weight: int = 0
    noisy: Callable[[Row], bool] = lambda row: False


def shown(group: Group, kinds: Sequence[str] = ()) -> list[Column]:
    """The columns of a table on paper: all of the `kinds` that its declaration names, else the `MOST` important ones."""
    if kinds:
        return columns(group, ("network", *kinds))
    found = [column._replace(weight=0) if column.heading == _EQUAL.get(group.equal.cost if group.equal else "") else column
             for column in columns(group)]
    chosen = sorted(range(len(found)), key=lambda place: (found[place].weight, place))[:MOST]
    return [found[place] for place in sorted(chosen)]


#: The column that shows what rows at an equal cost have in common.
_EQUAL = {"macs_effective": "MACs change", "bytes_packed": "bytes change"}


def columns(group: Group, kinds: Sequence[str] = ()) -> list[Column]:
    """The columns of some `KINDS` (none: all) in which some row has something to say.

    Latencies are those of the group's commonest machine and kernel alone. UserError for a kind that is none.
    """
    made = {"network": _network, "quality": _quality, "scores": _scores, "cost": _cost, "ledger": _ledger,
            "latency": _latencies, "published": _published}
    for kind in kinds:
        if kind not in made:
            raise UserError(f"There is no column group '{kind}'{nearest(kind, KINDS)}")
    found = [column for kind in kinds or KINDS for column in made[kind](group)]
    return [column for column in found if any(column.text(row) not in ("", cells.MISSING) for row in group.rows)]


def _measure(name: str, unit: str) -> str:
    return cells.clean(f"{name} ({unit})" if unit else name)


def _network(group: Group) -> list[Column]:
    return [Column("network", "arch", "architecture of the delivered network", lambda row: None, lambda row: cells.clean(row.arch))]


def _quality(group: Group) -> list[Column]:
    facts = group.facts
    higher = bool(facts["higher_is_better"])

    def change(heading: str, name: str, what: str) -> Column:
        return Column("quality", heading, f"change of {facts['metric']} against {what}, mean over seeds",
                      lambda row: row.mean(name), lambda row: cells.change(row.mean(name)), higher)

    uneven = [Column("quality", "seeds", "how many seeds the means rest on", lambda row: float(len(row.seeds)),
                     lambda row: str(len(row.seeds)))] if len({len(row.seeds) for row in group.rows}) > 1 else []
    metric = facts["metric"]
    return [
        Column("quality", _measure(facts["metric"], facts["unit"]),
               f"mean and sample deviation over seeds; {'more' if higher else 'less'} is better", lambda row: row.mean("score"),
               lambda row: cells.spread(row.mean("score"), row.deviation("score")), higher),
        *uneven,
        change("vs reference", "change_reference", "the network that the method started from"),
        change("vs trained on", "change_trained_on", "that network trained on with the same extra budget"),
        change("vs teacher", "change_teacher", "the network that it learned to imitate"),
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
        return Column("scores", _measure(metric["name"], metric["unit"]),
                      f"mean and sample deviation over seeds; {'more' if higher else 'less'} is better",
                      lambda row: row.mean(key), lambda row: cells.spread(row.mean(key), row.deviation(key)), higher, 2)

    return [one(metric) for metric in group.facts["metrics"] if metric["name"] != group.facts["metric"]]


def _cost(group: Group) -> list[Column]:
    def change(heading: str, name: str) -> list[Column]:
        return [Column("cost", f"{heading} change", "change against the reference (without one: against the own dense shape)",
                       lambda row: kept(row, name),
                       lambda row: _marked(cells.reduction(1.0, kept(row, name)), _part(row, name, "reference_uncounted")),
                       None, 2)] if _reduced(group, name) else []

    ops = [name for name in names(group, "ops.") if any(_telling(row, name) for row in group.rows)]
    return [_count("cost", "params ≠ 0", "parameters that are not zero", "params_nonzero", 1), *change("params", "params_nonzero"),
            _count("cost", "MACs ≠ 0", "multiply-accumulates with non-zero weights, one input", "macs_effective", 1),
            *change("MACs", "macs_effective"),
            *(_count("cost", f"{name.removeprefix('ops.')} ops", "operations of that kind, one input", name)
              for name in ops),
            _count("cost", "bytes", "the weights as stored, packed, with their indices", "bytes_packed", 2),
            *change("bytes", "bytes_packed")]


def partial(row: Row, more: str = "uncounted") -> bool:
    """Whether not all of the row's work could be counted, or (`more`: "reference_uncounted") of its reference's."""
    return any(flat["uncounted"] or flat[more] for flat in row.seeds)


def _part(row: Row, name: str, more: str = "uncounted") -> str:
    """The mark of a count of work that is not whole."""
    return PART if name.startswith(("macs", "ops.")) and partial(row, more) else ""


def _marked(text: str, mark: str) -> str:
    return text if text == cells.MISSING else text + mark


def _count(group: str, heading: str, explanation: str, name: str, weight: int = 0) -> Column:
    return Column(group, cells.clean(heading), explanation, lambda row: row.mean(name),
                  lambda row: _marked(cells.count(row.mean(name)), _part(row, name)), None, weight)


def names(group: Group, beginning: str) -> list[str]:
    """The flat columns of a group's rows that begin so, such as ``"ledger."``."""
    return list(dict.fromkeys(name for row in group.rows for seed in row.seeds for name in seed if name.startswith(beginning)))


def _telling(row: Row, name: str) -> bool:
    """Whether a number of operations says more than the MACs do: each is a multiplication and an addition."""
    number = row.mean(name) or 0.0
    return number > 0 and not any(isclose(number, row.mean(macs) or 0.0, rel_tol=1e-3) for macs in ("macs", "macs_effective"))


def _ledger(group: Group) -> list[Column]:
    """What methods asked for or sent: queries, bytes, operations."""
    what = "what the whole run spent, by the ledger's count, mean over seeds"  # "bytes" alone are those of the network
    return [_count("ledger", f"{name.removeprefix('ledger.')} spent", what, name) for name in names(group, "ledger.")]


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
            heading, first = f"latency, {words}", 1 if threads == "one" else 2
            for way, what in _WAYS.items():
                explained = f"median latency of one input: {what}{both}"
                weight = first if way == "sparse" else 2
                found.append(_latency(heading, f"{way} {label} (ms)", explained, threads, way, place)._replace(weight=weight))
            for way, name in (("dense", f"gain {label}"), ("torch", f"vs torch {label}")):
                if way == "dense" and not reduced:
                    continue  # a dense network against itself
                weight = first if (way == "dense") == reduced else 2
                found.append(_gain(group, heading, name, gains[way] + both, threads, way, place)._replace(weight=weight))
    return found + _timings(group)


def _timings(group: Group) -> list[Column]:
    """What a task times itself: what follows the network, or a function without one."""
    machine, found = timings(group)
    several = len({what for what, items in found if items is not None}) > 1

    def one(timing: Timing) -> Column:
        what, items = timing
        words = what.replace("_", " ") if items is None else f"{what} {items} items" if several else f"{items} items"
        heading = "latency beside the plan" if items is None else "latency of the function"

        return _timed(heading, cells.clean(f"{words} (ms)"),
                      "median of the task's own timing in PyTorch, one thread, mean over seeds",
                      lambda row: row.timing(timing, machine), cells.digits, False, 1,
                      lambda row: row.noisy_timing(timing, machine))

    return [one(timing) for timing in found]


def _latency(group: str, heading: str, explanation: str, threads: str, way: str, place: Place) -> Column:
    return _timed(group, heading, explanation, lambda row: row.latency(threads, way, place), cells.digits,
                  False if way == "sparse" else None, 2, lambda row: row.noisy(threads, way, place))


def _gain(group: Group, heading: str, name: str, explanation: str, threads: str, way: str, place: Place) -> Column:
    def number(row: Row) -> float | None:
        before = dense_of(group, row, place, threads, way).latency(threads, way, place)
        after = row.latency(threads, "sparse", place)
        return before / after if before and after else None

    def noisy(row: Row) -> bool:
        return dense_of(group, row, place, threads, way).noisy(threads, way, place) or row.noisy(threads, "sparse", place)

    return _timed(heading, name, explanation, number, cells.times, True, 2, noisy)


def _timed(group: str, heading: str, explanation: str, number: Number, text: Callable[[float | None], str], higher: bool | None,
           weight: int, noisy: Callable[[Row], bool]) -> Column:
    return Column(group, heading, explanation, number, lambda row: _marked(text(number(row)), NOISY if noisy(row) else ""), higher,
                  weight, lambda row: number(row) is not None and noisy(row))


def noisy_columns(group: Group) -> list[str]:
    """The headings of the timings of which more than half of the numbers are noisy; ratios follow from them and are left out."""
    found = []
    for column in columns(group, ("latency",)):
        known = [row for row in group.rows if column.number(row) is not None]
        if column.heading.endswith("(ms)") and 2 * sum(map(column.noisy, known)) > len(known):
            found.append(column.heading)
    return found


def dense_of(group: Group, row: Row, place: Place, threads: str = "one", way: str = "dense") -> Row:
    """The row whose dense timing shows what `row` gained: itself, timed in the same rounds, if it has its reference's shape or no
    reference was timed at `place`; else the reference, of which layers or channels are gone.
    """
    reference = next((other for other in group.rows if other.role == "reference" and other.latency(threads, way, place)), None)
    return row if reference is None or row.mean("macs") == row.mean("reference_macs") else reference


def _published(group: Group) -> list[Column]:
    return [Column("published", "published", "the paper's own number for these options; never mixed with ours",
                   lambda row: row.first("published"), lambda row: cells.digits(row.first("published")), None, 1)]


def marks(group: Group, column: Column) -> dict[int, Mark]:
    """The best and second best rows of a column, by their place in ``group.rows``.

    The rule: within each block; references, teachers and noisy numbers take no part; numbers equal as printed share their mark; a
    block in which all have the same number, or one row alone has any, has no best; nor has a group that is not `ranked`.
    """
    found: dict[int, Mark] = {}
    for block in {row.block for row in group.rows} if column.higher is not None and group.ranked else ():
        rivals = {place: (column.text(row).split(" ± ")[0], number) for place, row in enumerate(group.rows)
                  if row.block == block and row.role not in ("reference", "teacher") and not column.noisy(row)
                  and (number := column.number(row)) is not None}
        ordered = sorted(rivals.values(), key=lambda item: item[1], reverse=bool(column.higher))
        texts = list(dict.fromkeys(text for text, _ in ordered))
        if len(texts) > 1:
            for place, (text, _) in rivals.items():
                if text in texts[:2]:
                    found[place] = "best" if text == texts[0] else "second"
    return found


def name(row: Row) -> str:
    """Method, options, role: a row's first cell in plain text, beside which the architecture has a column."""
    return cells.clean(f"{row.method} ({row.role})" if row.role else f"{row.method} {row.options}")


def label(row: Row) -> str:
    """What to call a row where it stands alone: its name, and its architecture where those of its table differ."""
    return cells.clean(f"{name(row)} {row.arch}")

"""What a report shows first of a group: its methods at one measured latency, and the rows of one cost side by side."""

from __future__ import annotations

from dataclasses import replace
from fnmatch import fnmatchcase
from typing import NamedTuple

from suite import statistics
from suite.reporting import cells
from suite.reporting.columns import NOISY, kept, partial
from suite.reporting.declare import COSTS, Equal
from suite.reporting.frontier import LEAST, Standing, behind, latency, standings
from suite.reporting.rows import Group, Row, block_option


class Front(NamedTuple):
    """A group's methods at the latency `where` in ms (None: nothing to compare at), and its tables of rows at equal cost."""

    group: Group
    where: float | None
    standings: list[Standing]
    tables: list[Group]


class Sheet(NamedTuple):
    """A small table in plain text; the cell in column 1 of row `best` is the best, if there is one."""

    title: str
    text: str
    head: list[str]
    rows: list[list[str]]
    best: int | None
    sides: str = ""  # an ``l`` or ``r`` per column, the side it keeps to; by default the first and last ``l``, others ``r``


def front(group: Group) -> Front | None:
    """What is shown first of `group`, by its report; None where nothing is."""
    report = group.report
    where = latency(group)
    found = standings(group, where) if where else []
    tables = [made for item in (report.equal if report else ()) if (made := _equal(group, item))]
    return Front(group, where, found, tables) if tables or any(item.scores for item in found) else None


def _equal(group: Group, equal: Equal) -> Group | None:
    """The rows of `group` at an equal cost, below the reference; None where there are no two to compare, or none is masked
    in a table of masked ones."""
    share = equal.cost in COSTS
    rows = [replace(row, block="" if share else f"{equal.cost} {row.option(equal.cost)}")
            for row in group.rows if not row.role and _fits(row, group, equal)]
    blocks = [row.block for row in rows]
    rows = [row for row in rows if blocks.count(row.block) > 1]
    if not rows or (equal.masked and group.report and not any(row.option(group.report.masked) is True for row in rows)):
        return None
    low, high = 100 * (equal.share - equal.within), 100 * (equal.share + equal.within)
    title = f"{equal.title} ({low:.4g} to {high:.4g} % of the reference's)" if share else equal.title
    reference = [row for row in group.rows if row.role == "reference"]
    return replace(group, rows=(*reference, *rows), equal=replace(equal, title=title))


def _fits(row: Row, group: Group, equal: Equal) -> bool:
    assert group.report
    tagged = not equal.tags or any(fnmatchcase(tag, pattern) for tag in row.first("tags") for pattern in equal.tags)
    masked = row.option(group.report.masked)
    if not tagged or masked is (not equal.masked):
        return False
    if equal.cost not in COSTS:
        return block_option({name: row.option(name) for name in group.report.blocks}, group.report.blocks) == equal.cost
    left = kept(row, equal.cost)
    whole = equal.cost != "macs_effective" or not partial(row, "reference_uncounted")
    return whole and left is not None and abs(left - equal.share) <= equal.within


def sheet(found: Front) -> Sheet | None:
    """The methods at the front's latency, the best first and of the quiet ones marked; None where none can be read there."""
    if found.where is None or not any(item.scores for item in found.standings):
        return None
    facts, where = found.group.facts, cells.digits(found.where)
    higher = bool(facts["higher_is_better"])
    read = [item for item in found.standings if item.scores]
    rows = [_row(item, read[0], higher) for item in found.standings]
    quiet = [place for place, item in enumerate(read) if not item.noisy]
    text = ("Every method as it would be deployed, on one thread at a declared share of the reference's latency in the dense plan: "
            f"each seed's score read between its timed points, of which it must have {LEAST}. Intervals are 95 %, behind the best "
            "paired by seed; one that holds 0 does not tell the two apart.")
    name = f"{facts['metric']} ({facts['unit']})" if facts["unit"] else facts["metric"]
    return Sheet(f"At equal measured latency: {where} ms", text, ["method", f"{name} at {where} ms", "interval", "seeds",
                 "behind the best", "not read"], rows, quiet[0] if quiet and len(read) > 1 else None)


def _row(item: Standing, best: Standing, higher: bool) -> list[str]:
    scores = list(item.scores.values())
    score = cells.spread(statistics.mean(scores), statistics.deviation(scores)) + (NOISY if item.noisy else "")
    less = behind(best, item, higher) if item.scores and item is not best else None
    return [item.line.name, score, between(statistics.interval(scores)), str(len(scores)),
            cells.MISSING if less is None else f"{cells.digits(less.mean)} {between(less)}", item.reason or cells.MISSING]


def between(found: statistics.Interval | None) -> str:
    """``[1.20, 2.30]``."""
    return cells.MISSING if found is None else f"[{cells.digits(found.low)}, {cells.digits(found.high)}]"

"""A report's first screen: a line per task and kind of data, with its best method, what that gains, and what became of claims."""

from __future__ import annotations

from collections.abc import Sequence

from suite.claims import SCALES
from suite.reporting import cells
from suite.reporting.columns import Column, label, measure
from suite.reporting.front import Sheet
from suite.reporting.notes import unusual
from suite.reporting.paper import shown
from suite.reporting.rows import Group, Row, trivial
from suite.reporting.verdicts import Tested, counts

ENOUGH = 3  # seeds below which a row is not the best where another one has as many
SOURCES = ("official", "subset", "embedded")  # the most telling data first

TEXT = ("A line for each task and kind of data, which are never mixed, at the largest scale that is recorded, with the task's "
        "usual options. Best is the row with the best mean of the task's primary metric, whatever its cost, as it would be "
        f"deployed: no reference, teacher or masked row, and of at least {ENOUGH} seeds where a row has them; their number "
        "stands in brackets. Change is against the network that it started from or learned from; gain is how many times faster it "
        "is than that network's shape in the same kernel, or, where nothing was removed, than itself in PyTorch (torch). Claims "
        "are of all methods on these data at this scale; open are those that the seeds so far do not decide.")


def overview(groups: Sequence[Group], tested: Sequence[Tested]) -> Sheet | None:
    """A line per task and source in the order of `groups`, the most telling source first; None where no row has a score."""
    tasks: dict[str, dict[str, list[Group]]] = {}
    for group in groups:
        tasks.setdefault(group.facts["task"], {}).setdefault(group.facts["source"], []).append(group)
    rows = [made for sources in tasks.values() for source in sorted(sources, key=_telling)
            if (made := _line(sources[source], tested))]
    return Sheet("Overview", TEXT, ["task", "data, scale", "best method", "its score (seeds)", "change", "gain",
                 "claims held / refuted / open"], rows, None, "lllrrrr") if rows else None


def _telling(source: str) -> tuple[int, str]:
    kind = source.partition(",")[0]
    return SOURCES.index(kind) if kind in SOURCES else len(SOURCES), source


def _line(groups: Sequence[Group], tested: Sequence[Tested]) -> list[str] | None:
    """The cells of one task and source."""
    scale = max((group.facts["scale"] for group in groups), key=lambda name: SCALES.index(name) if name in SCALES else -1)
    there = [group for group in groups if group.facts["scale"] == scale]
    fewest = min(_unusual(group) for group in there)
    found = _best([group for group in there if _unusual(group) == fewest])
    if not found:
        return None
    group, row = found
    facts, columns = group.facts, {column.part: column for column in shown(group)}
    judged = [item for item in tested if item.place and (item.place[0], item.place[2], item.place[4]) == (
        facts["task"], facts["source"], scale)]
    score = cells.spread(row.mean("score"), row.deviation("score"))
    best = f"not above chance: {label(row)}" if _at_chance(group, row) else label(row)
    made = [facts["task"], f"{facts['source']}, {scale}", best,
            f"{measure(facts['metric'], facts['unit'])} {score} ({len(row.seeds)})",
            columns["change"].text(row) if "change" in columns else cells.MISSING, _gain(columns.get("gain"), row),
            "/".join(map(str, counts(judged).values())) if judged else cells.MISSING]
    return [cells.clean(text) for text in made]


def _unusual(group: Group) -> int:
    return len(unusual(group.facts["task"], group.facts["scale"], group.facts["task_options"]))


def _gain(column: Column | None, row: Row) -> str:
    if column is None or column.text(row) == cells.MISSING:
        return cells.MISSING
    return column.text(row) + " (torch)" * column.heading.startswith("vs torch")


def _best(groups: Sequence[Group]) -> tuple[Group, Row] | None:
    """The best of the rows that compete; where none does, of the references and teachers."""
    known = [(group, row) for group in groups for row in group.rows if row.mean("score") is not None]
    parents = {row.first("config") for _, row in known if row.role}  # references, in whichever table they stand
    deployed = [(group, row) for group, row in known if row.first("config") not in parents and not _masked(group, row)]
    enough = [(group, row) for group, row in deployed if len(row.seeds) >= ENOUGH]
    rivals = enough or deployed or known
    sign = 1 if groups[0].facts["higher_is_better"] else -1
    return max(rivals, key=lambda pair: (sign * (pair[1].mean("score") or 0.0), -_cost(*pair)), default=None)


def _masked(group: Group, row: Row) -> bool:
    return bool(group.report and row.option(group.report.masked) is True)


def _cost(group: Group, row: Row) -> float:
    """What decides between rows of the same score: the latency, else the work."""
    timed = row.latency("one", "sparse", group.places[0]) if group.places else None
    return timed or row.mean("macs_effective") or 0.0


def _at_chance(group: Group, row: Row) -> bool:
    chance, score = trivial(group), row.mean("score")
    sign = 1 if group.facts["higher_is_better"] else -1
    return chance is not None and score is not None and sign * (score - chance) <= 0

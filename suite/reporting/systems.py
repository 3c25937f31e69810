"""The systems that the suite is to carry, by task: how far each has come, how fast it is, and what became of its claims."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from suite.claims import SCALES, Finding
from suite.record import Record, write_text
from suite.reporting import cells, verdicts
from suite.reporting.declare import Report
from suite.reporting.flat import Flat, flatten
from suite.reporting.inserted import inserted
from suite.reporting.tables import escape_markdown, markdown_table

HEADINGS = ("system", "method", "task", "scale reached", "one thread, ms", "claims")


def rows(report: Report, records: Sequence[Record], judged: Sequence[verdicts.Tested] | None = None) -> list[tuple[str, ...]]:
    """A row for each system on each of its tasks, in the order of the declaration: the cells of `HEADINGS`, plain text.

    `judged` are the verdicts on all claims, where they are known.
    """
    found = flatten(records)
    tested = verdicts.verdicts(records, [system.name for system in report.systems]) if judged is None else judged
    made: list[tuple[str, ...]] = []
    for system in report.systems:
        for task in system.tasks:
            own = [row for row in found if (row["method"], row["task"]) == (system.name, task)]
            claims = [item for item in tested if (item.method, item.claim.task) == (system.name, task)]
            made.append((system.title, system.name, task, *_reached(own), _claims(claims)))
    return made


def _reached(found: Sequence[Flat]) -> tuple[str, str]:
    """The largest scale that is recorded on any data with the most seeds of a configuration there; and the least and the greatest
    latency as deployed, of its configurations at that scale."""
    if not found:
        return cells.MISSING, cells.MISSING
    scale = max((row["scale"] for row in found), key=SCALES.index)
    there = [row for row in found if row["scale"] == scale]
    seeds = max(Counter((row["config"], row["source"]) for row in there).values())
    times = [row["latency.one.sparse"] for row in there if row.get("latency.one.sparse") is not None]
    ends = sorted({cells.digits(item) for item in (min(times), max(times))}, key=float) if times else []
    return f"{scale}, {seeds} seed{'' if seeds == 1 else 's'}", " to ".join(ends) or cells.MISSING


def _claims(tested: Sequence[verdicts.Tested]) -> str:
    counted = Counter(item.verdict.finding for item in tested)
    found = ", ".join(f"{counted[finding]} {finding}" for finding in get_args(Finding) if counted[finding])
    return found.replace("holds", "hold") or cells.MISSING


def text(report: Report, records: Sequence[Record], reports: Path,
         judged: Sequence[verdicts.Tested] | None = None) -> tuple[Path, str]:
    """The file that the table stands in, and what it should hold. UserError where it has no place for the table."""
    path = Path(os.path.normpath(reports / report.into))
    shown = [[escape_markdown(cell) for cell in row] for row in rows(report, records, judged)]
    return path, inserted(path, "systems", "\n".join(markdown_table(HEADINGS, shown, "lllrrl")))


def write(report: Report, records: Sequence[Record], reports: Path, judged: Sequence[verdicts.Tested] | None = None) -> list[Path]:
    """Put the table in its place; the path."""
    path, wanted = text(report, records, reports, judged)
    write_text(path, wanted)
    return [path]


def stale(report: Report, records: Sequence[Record], reports: Path, judged: Sequence[verdicts.Tested] | None = None) -> list[Path]:
    """The file where its table is not what the records say today."""
    path, wanted = text(report, records, reports, judged)
    return [] if path.read_text(encoding="utf-8") == wanted else [path]

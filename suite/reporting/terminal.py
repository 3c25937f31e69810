"""Tables in the terminal, from records alone: that which ends ``suite run``, and the overview of a report. No number is cut."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from suite.paths import results_folder
from suite.record import Record
from suite.reporting.cells import clean
from suite.reporting.columns import Column, label
from suite.reporting.content import Content
from suite.reporting.flat import flatten
from suite.reporting.front import Sheet
from suite.reporting.notes import caption, doubtful, footnotes, start
from suite.reporting.paper import shown
from suite.reporting.rows import Group, groups
from suite.reporting.verdicts import Tested, beside

FIRST = 18  # least width of the column of names, which fold


def run_table(records: Sequence[Record], console: Console, tested: Sequence[Tested] = ()) -> None:
    """Print a table per group of comparable records, failed and skipped runs with their reason, and where the records are.

    `tested` are verdicts on the methods' claims. Columns for which the console is too narrow are left out and named.
    """
    narrow: dict[str, None] = {}
    for group in beside(groups(flatten(records)), tested):
        chosen = shown(group)
        fitting = _fitting(group, chosen, console.width)
        narrow |= dict.fromkeys(column.heading for column in chosen if column not in fitting)
        doubts = [f"{label(row)}: {note}" for row, notes in zip(group.rows, doubtful(group), strict=True) for note in notes]
        heading = ", ".join(filter(None, (group.facts["task"], start(group))))
        console.print(_table(group, fitting, heading, "\n".join([caption(group), *doubts])))
        console.print("\n".join([*footnotes(group, fitting).general[1:], *_untimed(group)]), markup=False)
    for record in records:
        if record["status"] != "done":
            console.print(f"{record['status']}: {escape(record['id'])}: {escape(clean(record['reason']))}")
    if narrow:
        console.print(f"Left out, as {console.width} columns have no room: {', '.join(narrow)}.", markup=False)
    console.print("All columns are in the page and the CSV of: suite report leaderboard", markup=False)
    if len(records) == 1:
        console.print(f"Record: {results_folder() / records[0]['id']}.json", highlight=False, soft_wrap=True)
    else:
        console.print(f"{len(records)} records in {results_folder()}/", highlight=False, soft_wrap=True)


def _untimed(group: Group) -> list[str]:
    """Why some row has dashes in the place of latencies, a line for each reason."""
    reasons = {str(seed["untimed"]): None for row in group.rows for seed in row.seeds if seed["untimed"]}
    return [f"{', '.join(label(row) for row in group.rows if any(seed['untimed'] == reason for seed in row.seeds))}: not timed, "
            f"{clean(reason)}" for reason in reasons]


def _fitting(group: Group, chosen: Sequence[Column], width: int) -> list[Column]:
    """As many of the columns, from the first on, as have room beside the names."""
    left, found = width - FIRST, []
    for column in chosen:
        cells = [*_heading(column).split("\n"), *(word for row in group.rows for word in _lines(column, column.text(row)))]
        left -= 1 + max(map(len, cells))
        if left < 0:
            break
        found.append(column)
    return found


def _lines(column: Column, text: str) -> list[str]:
    """A cell's text in the lines that it may be broken into: counts of claims behind their commas, numbers nowhere."""
    return re.split(r"(?<=,) ", text) if column.group == "verdicts" else [text]


def _heading(column: Column) -> str:
    """A heading broken at every space, and long names behind an underscore."""
    return re.sub(r"(\w{8,}?_)(?=\w{4})", r"\1\n", column.heading.removesuffix(" (ms)").replace(" ", "\n"))


def _table(group: Group, chosen: Sequence[Column], title: str, caption: str) -> Table:
    """A table without rules between columns, so that it also fits 80 columns."""
    table = Table(title=escape(title), caption=escape(caption), title_justify="left", caption_justify="left", box=SIMPLE_HEAD,
                  padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("method", overflow="fold", min_width=FIRST)
    for column in chosen:
        table.add_column(escape(_heading(column)), justify="right", no_wrap=True)
    for row in group.rows:
        table.add_row(escape(label(row)), *(escape("\n".join(_lines(column, column.text(row)))) for column in chosen))
    return table


def overview_table(content: Content, console: Console) -> None:
    """Print a report's overview, a line or two for each task and kind of data; nothing of a report without one."""
    if not content.overview:
        return
    sheet: Sheet = content.overview
    table = Table(title=escape(content.report.title), title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for place, (head, side) in enumerate(zip(sheet.head, sheet.sides, strict=True)):
        longest = max(len(word) for row in sheet.rows for word in row[place].split())
        table.add_column(escape(head), justify="right" if side == "r" else "left", overflow="fold",
                         min_width=longest if side == "r" else 8)
    for row in sheet.rows:
        table.add_row(*map(escape, row))
    console.print(table)
    console.print("Best: the highest mean of the primary metric as deployed, whatever its cost. The whole rule stands in table.md.")

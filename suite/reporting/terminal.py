"""Tables in the terminal, from records alone: that which ends ``suite run``, and the overview of a report. No number is cut."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import accumulate

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
from suite.reporting.notes import caption, doubtful, footnotes, start
from suite.reporting.paper import shown
from suite.reporting.rows import Group, groups
from suite.reporting.verdicts import Tested, beside

LEAST = 15  # width of a column of names at the least
APART = 2  # spaces between columns


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
        below = "\n".join([f"{caption(group)}; times in ms", *doubts])
        console.print(_table(group, fitting, heading, below, console.width))
        console.print("\n".join([*footnotes(group, fitting).general[1:], *_untimed(group)]), markup=False)
    for record in records:
        if record["status"] != "done":
            console.print(f"{record['status']}: {escape(record['id'])}: {escape(clean(record['reason']))}")
    if narrow:
        console.print(f"Left out, as {console.width} columns have no room: {', '.join(narrow)}", markup=False)
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
    widths = [_widest([_heading(column), *_cells(group, column)]) for column in chosen]
    return list(chosen[:_count(widths, width - LEAST)])


def _count(widths: Sequence[int], room: int) -> int:
    """How many columns of these widths, from the first on, have room with what keeps them apart before each."""
    return sum(total <= room for total in accumulate(width + APART for width in widths))


def _cells(group: Group, column: Column) -> list[str]:
    """A column's texts, counts of claims on a line each; a number is on one line always."""
    return [column.text(row).replace(", ", ",\n") if column.group == "verdicts" else column.text(row) for row in group.rows]


def _heading(column: Column) -> str:
    """A heading on as many lines as it has words; the unit of latencies stands in the caption."""
    words = column.heading.removesuffix(" (ms)").replace("≠ ", "≠\N{NO-BREAK SPACE}").split(" ")
    return "\n".join(folded(word, 12) if "_" in word else word for word in words)


def _widest(texts: Iterable[str]) -> int:
    return max(len(line) for text in texts for line in text.split("\n"))


def folded(text: str, width: int) -> str:
    """`text` on lines of at most `width` letters, broken at spaces, and words that are longer behind ``=``, ``_`` or ``/``.

    A number is never broken, nor is a word without such a place: rich folds that.
    """
    lines = [""]
    for word in text.split():
        parts = [word] if len(word) <= width else re.split(r"(?<=[=_/])", word)
        for place, part in enumerate(parts):
            space = " " if place == 0 and lines[-1] else ""
            if len(lines[-1]) + len(space) + len(part) <= width:
                lines[-1] += space + part
            else:
                lines.append(part)
    return "\n".join(lines).removeprefix("\n")


def _plain(title: str, caption: str = "") -> Table:
    """A table without rules between columns, so that it also fits 80 columns."""
    return Table(title=escape(title), caption=escape(caption) or None, title_justify="left", caption_justify="left",
                 box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)


def _table(group: Group, chosen: Sequence[Column], title: str, caption: str, width: int) -> Table:
    """The rows of a group in so many columns of the terminal."""
    table, texts = _plain(title, caption), [_cells(group, column) for column in chosen]
    heads = [_heading(column) for column in chosen]
    left = width - sum(APART + _widest([head, *cells]) for head, cells in zip(heads, texts, strict=True))
    table.add_column("method", overflow="fold", min_width=min(left, LEAST))
    for head in heads:
        table.add_column(escape(head), justify="right", no_wrap=True)
    for row, *cells in zip(group.rows, *texts, strict=True):
        table.add_row(escape(folded(label(row), left)), *map(escape, cells))
    return table


def overview_table(content: Content, console: Console) -> None:
    """Print a report's overview, a line or two for each task and kind of data; nothing of a report without one."""
    if not content.overview:
        return
    heads = ["best method", "its score\n(seeds)", "change", "gain", "claims\nheld/\nrefuted/\nopen"]
    rows = [[f"{task}\n{data}", best, _metric_first(score), change, gain.replace(" ", "\n"), claims]
            for task, data, best, score, change, gain, claims in content.overview.rows]
    widths = [_widest([head, *(row[place] for row in rows)]) for place, head in enumerate(heads[1:], 2)]
    shown = _count(widths, console.width - 2 * LEAST - APART)
    left = console.width - APART - sum(APART + width for width in widths[:shown])
    first = min(_widest(row[0] for row in rows), max(LEAST, left // 2))
    names = left - first
    table = _plain(content.report.title)
    table.add_column("task\ndata, scale", overflow="fold", min_width=LEAST, max_width=first)
    table.add_column(heads[0], overflow="fold", min_width=LEAST, max_width=names)
    for head in heads[1:shown + 1]:
        table.add_column(head, justify="right", no_wrap=True)
    for task, best, *cells in rows:
        table.add_row(escape("\n".join(folded(line, first) for line in task.split("\n"))), escape(folded(best, names)),
                      *map(escape, cells[:shown]))
    console.print(table)
    if shown < len(widths):
        left_out = ", ".join(head.partition("\n")[0] for head in heads[shown + 1:])
        console.print(f"Left out, as {console.width} columns have no room: {left_out}")
    console.print("Best: the best mean of the primary metric as deployed, whatever its cost. The whole rule is in table.md.")


def _metric_first(score: str) -> str:
    """``"top1 (%) 76.10 ± 1.41 (3)"`` with the metric on a line, or lines, of its own."""
    metric, number = re.split(r" (?=[−\d])", score, maxsplit=1)
    return f"{folded(metric, LEAST)}\n{number}"

"""The table that ends ``suite run``: from records alone, without torch, so that it is there at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from suite.paths import results_folder
from suite.record import Record
from suite.reporting.cells import clean
from suite.reporting.columns import Column, columns, label, name
from suite.reporting.flat import flatten
from suite.reporting.notes import caption, doubtful, footnotes, start
from suite.reporting.rows import Group, Row, groups


def run_table(records: Sequence[Record], console: Console) -> None:
    """Print tables per group of comparable records, failed and skipped runs with their reason, and where the records are."""
    for group in groups(flatten(records)):
        quality = [column for column in columns(group, ("network", "quality", "cost", "ledger")) if column.weight < 2]
        latency = [column for column in columns(group, ("latency",)) if not column.heading.startswith("vs torch")]
        own = [column for column in latency if not column.group.startswith("latency, ")]
        doubts = [f"{label(row)}: {note}" for row, notes in zip(group.rows, doubtful(group), strict=True) for note in notes]
        heading = ", ".join(filter(None, (group.facts["task"], start(group))))
        console.print(_table(group, quality, heading, "\n".join([caption(group), *doubts]), name))
        if plan := [column for column in latency if column not in own]:
            console.print(_table(group, plan, "Median latency, batch 1, ms", "torch: eager; dense and sparse: this kernel"))
        if own:
            console.print(_table(group, own, "Timed by the task, ms", "PyTorch, one thread"))
        console.print("\n".join([*footnotes(group).general[1:], *_untimed(group)]), markup=False)
    for record in records:
        if record["status"] != "done":
            console.print(f"{record['status']}: {escape(record['id'])}: {escape(clean(record['reason']))}")
    if len(records) == 1:
        console.print(f"Record: {results_folder() / records[0]['id']}.json", highlight=False, soft_wrap=True)
    else:
        console.print(f"{len(records)} records in {results_folder()}/", highlight=False, soft_wrap=True)


def _untimed(group: Group) -> list[str]:
    """Why some row has dashes in the place of latencies, a line for each reason."""
    reasons = {str(seed["untimed"]): None for row in group.rows for seed in row.seeds if seed["untimed"]}
    return [f"{', '.join(label(row) for row in group.rows if any(seed['untimed'] == reason for seed in row.seeds))}: not timed, "
            f"{clean(reason)}" for reason in reasons]


def _table(group: Group, chosen: Sequence[Column], title: str, caption: str, first: Callable[[Row], str] = label) -> Table:
    """A table without rules between columns, so that it also fits 80 columns; headings break at every space."""
    table = Table(title=escape(title), caption=escape(caption), title_justify="left", caption_justify="left", box=SIMPLE_HEAD,
                  padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("method", overflow="fold", min_width=16)
    for column in chosen:
        table.add_column(escape(column.heading.removesuffix(" (ms)")).replace(" ", "\n"), justify="right", no_wrap=True)
    for row in group.rows:
        table.add_row(escape(first(row)), *(escape(column.text(row)) for column in chosen))
    return table

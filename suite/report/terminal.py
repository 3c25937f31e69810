"""The table that ends ``suite run``: from records alone, without torch, so that it is there at once."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from suite.paths import results_folder
from suite.record import Record
from suite.report.cells import MISSING, change, clean, count, digits, seeds, spread, times
from suite.report.flat import flatten
from suite.report.rows import Group, Place, Row, groups, timings


def run_table(records: Sequence[Record], console: Console) -> None:
    """Print a table per group of comparable records, failed and skipped runs with their reason, and where the records are."""
    for group in groups(flatten(records)):
        console.print(_quality(group))
        for place in group.places:
            console.print(_latency(group, place))
        if timings(group)[1]:
            console.print(_timings(group))
    for record in records:
        if record["status"] != "done":
            console.print(f"{record['status']}: {escape(record['id'])}: {escape(clean(record['reason']))}")
    if len(records) == 1:
        console.print(f"Record: {results_folder() / records[0]['id']}.json", highlight=False, soft_wrap=True)
    else:
        console.print(f"{len(records)} records in {results_folder()}/", highlight=False, soft_wrap=True)


def caption(group: Group) -> str:
    """What the numbers are: data, scale, seeds, machine."""
    facts = group.facts
    source = facts["source"]
    data = {"embedded": "embedded data", "subset": "a subset of the data", "official": "the official data"}.get(source, source)
    numbers = seeds([flat["seed"] for row in group.rows for flat in row.seeds])
    trivial = facts.get(f"score.trivial_{facts['metric']}")
    beside = "" if trivial is None else f", a trivial predictor scores {trivial:.2f}"
    machines = sorted({f"{flat['cpu']} ({flat['cores']} cores)" for row in group.rows for flat in row.seeds})
    return f"{data}, scale {facts['scale']}, seeds {numbers}{beside}, {' and '.join(machines)}"


def name(row: Row) -> str:
    """Method, options and role in one cell."""
    return escape(f"{row.method} ({row.role})" if row.role else f"{row.method} {row.options}".strip())


def _empty(title: str, caption: str) -> Table:
    """A table without rules between columns, so that it also fits 80 columns."""
    table = Table(title=title, caption=caption, title_justify="left", caption_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0),
                  pad_edge=False)
    table.add_column("method", overflow="fold", min_width=16)
    return table


def _quality(group: Group) -> Table:
    facts = group.facts
    table = _empty(", ".join(filter(None, (facts["task"], facts["arch"]))), caption(group))
    for heading in (f"{facts['metric']} {facts['unit']}", "vs\nreference", "vs\ntrained on", "params\n≠ 0", "MACs", "MACs\n≠ 0"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in group.rows:
        table.add_row(
            name(row), spread(row.mean("score"), row.deviation("score")), change(row.mean("change_reference")),
            change(row.mean("change_trained_on")), count(row.mean("params_nonzero")), count(row.mean("macs")),
            count(row.mean("macs_effective")),
        )
    return table


def _timings(group: Group) -> Table:
    """What a task times itself: post-processing, or suppression at several numbers of boxes."""
    machine, names = timings(group)
    table = _empty("Timed by the task, ms", "PyTorch, one thread")
    for item in names:
        what, _, count = item.partition("_ms")
        table.add_column(f"{what}\n{count[1:]} items" if count else what, justify="right", no_wrap=True)
    for row in group.rows:
        table.add_row(name(row), *[digits(row.timing(item, machine)) for item in names])
    return table


def _latency(group: Group, place: Place) -> Table:
    cores = group.facts["cores"]
    table = _empty("Median latency, ms, batch 1",
                   f"torch: eager; dense and sparse: kernel {place[1]} ({group.facts['simd']}); ~: noisy")
    for threads in ("1T", f"{cores}T"):
        for heading in ("torch", "dense", "sparse", "gain"):
            table.add_column(f"{threads}\n{heading}" if heading == "torch" else f"\n{heading}", justify="right", no_wrap=True)
    for row in group.rows:
        cells = []
        for threads in ("one", "all"):
            ways = [row.latency(threads, way, place) for way in ("torch", "dense", "sparse")]
            noisy = "~" if any(flat[f"noisy.{threads}"] for flat in row.seeds) else ""
            cells += [digits(item) for item in ways[:2]] + [digits(ways[2]) + noisy if ways[2] else MISSING]
            cells.append(times(ways[1] / ways[2]) if ways[1] and ways[2] else MISSING)
        table.add_row(name(row), *cells)
    return table

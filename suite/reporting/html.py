"""A table as HTML in which every cell explains itself: hints on headings, and details that open below each row's name."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from typing import Any
from urllib.parse import quote

from suite.reporting import cells
from suite.reporting.columns import NOISY, Column, columns, label
from suite.reporting.flat import Flat
from suite.reporting.front import Sheet
from suite.reporting.notes import footnotes, title
from suite.reporting.paper import marks, shown
from suite.reporting.rows import Group, Row
from suite.reporting.tables import sides_of, spans


def text(found: object) -> str:
    """Foreign text on one line as HTML that shows it and does nothing else, in elements and in quoted attributes."""
    return escape(cells.clean(found), quote=True)


def table(group: Group, kinds: Sequence[str], caption: str, back: str) -> str:
    """The table with caption and footnotes: all columns, of which those that a paper has no room for have the class ``rest``.

    What stands behind its rows lies beside it as JSON, for ``page.js`` to show where it is asked for: most of a page is that.
    `back` leads from the page to the results folder, for links to records.
    """
    chosen = columns(group, kinds and ("network", *kinds))
    notes, first = footnotes(group, chosen), {column.heading for column in shown(group, kinds)}
    ranks = [marks(group, column) for column in chosen]
    looks = [f'data-kind="{_kind(column.group)}"{"" if column.heading in first else " class=rest"}' for column in chosen]
    over = "".join(f'<th colspan="{span}" scope="colgroup" data-kind="{_kind(heading)}">{text(heading)}</th>'
                   for heading, span in spans(chosen))
    heads = "".join(f'<th scope="col" {look} title="{text(column.explanation)}">{text(column.heading)}</th>'
                    for column, look in zip(chosen, looks, strict=True))
    lines = [f'<div class="scroll" tabindex="0" role="region" aria-label="{text(title(group))}"><table class="sortable">',
             f'<thead><tr class="rest"><td></td>{over}</tr><tr><th scope="col">method</th>{heads}</tr></thead><tbody>']
    for place, row in enumerate(group.rows):
        marked = f"<sup>{','.join(map(str, notes.marks[place]))}</sup>" if notes.marks[place] else ""
        name = f'<details data-row="{place}"><summary>{text(label(row))}{marked}</summary></details>'
        made = "".join(_cell(column, row, look, rank.get(place, ""))
                       for column, look, rank in zip(chosen, looks, ranks, strict=True))
        divided = place > 0 and row.block != group.rows[place - 1].block
        kind = f"{row.role.replace(' ', '-')}{' block' if divided else ''}"
        lines.append(f'<tr class="{kind}"><th scope="row">{name}</th>{made}</tr>')
    listed = "".join(f"<li>{text(note)}</li>" for note in notes.all)
    above = [f"<p>{text(caption)}</p>"] if caption else []
    behind = [details(row, back) for row in group.rows]
    return "\n".join([*above, *lines, f'</tbody></table></div>'
                      f'<script type="application/json" class="details">{data(behind)}</script><ul class="notes">{listed}</ul>'])


def data(found: Any) -> str:
    """JSON that no HTML parser leaves: every ``<`` is written as its code point."""
    return json.dumps(found, ensure_ascii=False).replace("<", "\\u003c")


def small_table(found: Sheet) -> str:
    """A small table with its heading."""
    looks = [" class=left" if side == "l" else "" for side in sides_of(found)]
    heads = "".join(f'<th scope="col"{look}>{text(head)}</th>' for head, look in zip(found.head, looks, strict=True))
    rows = []
    for place, (first, *rest) in enumerate(found.rows):
        made = "".join(f"<td{' class=best' if (place, column) == (found.best, 1) else looks[column]}>{text(cell)}</td>"
                       for column, cell in enumerate(rest, 1))
        rows.append(f'<tr><th scope="row">{text(first)}</th>{made}</tr>')
    return (f'<h3>{text(found.title)}</h3><div class="scroll" tabindex="0" role="region" aria-label="{text(found.title)}">'
            f'<table class="sortable small"><thead><tr>{heads}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
            f'<p class="notes">{text(found.text)}</p>')


def _kind(group: str) -> str:
    return group.partition(",")[0]


def _cell(column: Column, row: Row, look: str, rank: str) -> str:
    number = column.number(row)
    value = "" if number is None else f' data-value="{number!r}"'
    marked = f'<span class="{rank}">{text(column.text(row))}</span>' if rank else text(column.text(row))
    return f"<td {look}{value}>{marked}</td>"


def details(row: Row, back: str) -> str:
    """What stands behind a row: command, paper, options, data, machine, and every seed with its record."""
    first = row.seeds[0]
    data = f"{first['source']}: {first['source_name']}, {_counts(first)}, digest {str(first['source_digest'])[:12]}"
    facts = {
        "command": f"<code>{text(first['command'])}</code>",
        "method": f"{text(first['summary'])} {link(first['paper_url'], first['paper'])}"
                  f" ({text(first['venue'])} {text(first['year'])})",
        "options": _options(first["options"]),
        "task options": _options(first["task_options"]),
        "data": text(data),
        "scale": text(f"{first['scale']}: {cells.count(row.mean('budget_total'))} of {cells.count(first['budget_allowed'])} "
                      f"samples spent, {cells.count(row.mean('budget_final'))} of them on the delivered object"),
        "starts from": text(first["starts"]),
        "stand-ins": text("; ".join(map(str, first["standins"]))),
        "timed in torch": text(", ".join(map(str, first["outside"]))),
    }
    listed = "".join(f"<dt>{name}</dt><dd>{item}</dd>" for name, item in facts.items() if item)
    return f"<dl>{listed}</dl>{_seeds(row, back)}"


def _counts(flat: Flat) -> str:
    return " and ".join(f"{count} {name}" for name, count in (flat["counts"] or {}).items())


def _options(chosen: str) -> str:
    return text(", ".join(f"{name}={':'.join(map(str, item)) if isinstance(item, list) else item}"
                          for name, item in json.loads(chosen).items() if item not in ("", None)))


def _seeds(row: Row, back: str) -> str:
    """A table of the row's seeds: every score, the timing with its interval, where it was made, and a link to the record."""
    names = [name for name in row.seeds[0] if name.startswith("score.")]
    heads = ["seed", "record", *[name.removeprefix("score.") for name in names], "sparse, one thread (ms) [95 %]", "seconds",
             "trained on", "timed on", "kernel", "code"]
    lines = []
    for flat in row.seeds:
        found = [*[cells.digits(flat.get(name)) for name in names], _timing(flat), cells.digits(flat["seconds"]),
                 f"{flat['cpu']}, {flat['cores']} cores, {_training(flat)}",
                 f"{flat['timed_cpu']}, {flat['timed_cores']} cores" if flat["timed_machine"] else cells.MISSING,
                 f"{flat['kernel']} {flat['simd']}" if flat["kernel"] else cells.MISSING,
                 f"{flat['commit'] or 'unknown'}{' and changes' if flat['dirty'] else ''}, core {flat['core'] or 'unknown'}"]
        line = "".join(f"<td>{text(item)}</td>" for item in found)
        record = f'<a href="{text(back)}/{quote(flat["id"])}.json">{text(flat["id"].rpartition("/")[2])}</a>'
        lines.append(f"<tr><td>{text(flat['seed'])}</td><td>{record}</td>{line}</tr>")
    head = "".join(f'<th scope="col">{text(name)}</th>' for name in heads)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def _training(flat: Flat) -> str:
    return f"{flat['device']}, threads {flat['threads'] or 'unknown'}, precision {flat['precision'] or 'unknown'}"


def _timing(flat: Flat) -> str:
    low, high = flat["latency.one.sparse.low"], flat["latency.one.sparse.high"]
    between = f" [{cells.digits(low)}, {cells.digits(high)}]" if low is not None and high is not None else ""
    return cells.digits(flat["latency.one.sparse"]) + (NOISY if flat["noisy.one.sparse"] else "") + between


def link(address: object, words: object) -> str:
    """A link if the address is one of the web; otherwise (``javascript:`` and the like) the words alone."""
    safe = str(address).startswith(("https://", "http://"))
    return f'<a href="{text(address)}" rel="noreferrer">{text(words)}</a>' if safe else text(words)

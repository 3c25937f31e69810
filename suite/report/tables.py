"""A group of comparable rows as Markdown, LaTeX and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable
from typing import NamedTuple

from suite.report import cells
from suite.report.rows import Group, Place, Row
from suite.report.terminal import caption

Number = Callable[[Row], float | None]


class Column(NamedTuple):
    """A heading, what it measures, how it is written, and whether more is better (None: nothing is best)."""

    heading: str
    number: Number
    text: Callable[[Row], str]
    higher: bool | None = None


def columns(group: Group) -> list[Column]:
    """Quality, change, cost, and latency where the group's commonest machine and kernel measured it."""
    facts = group.facts
    found = [
        Column(f"{facts['metric']} ({facts['unit']})", lambda row: row.mean("score"),
               lambda row: cells.spread(row.mean("score"), row.deviation("score")), bool(facts["higher_is_better"])),
        Column("seeds", lambda row: float(len(row.seeds)), lambda row: str(len(row.seeds))),
        _change("vs reference", "change_reference"),
        _change("vs trained on", "change_trained_on"),
        Column("params", lambda row: row.mean("params_nonzero"), lambda row: cells.count(row.mean("params_nonzero"))),
        Column("MACs", lambda row: row.mean("macs_effective"), lambda row: cells.count(row.mean("macs_effective"))),
        Column("MACs change", lambda row: _share(row), lambda row: cells.reduction(row.mean("macs"), row.mean("macs_effective"))),
    ]
    for place in group.places[:1]:
        for label, threads in (("1T", "one"), (f"{facts['cores']}T", "all")):
            for way in ("torch", "dense", "sparse"):
                found.append(_latency(f"{way} {label} (ms)", threads, way, place))
            found.append(_gains(f"gain {label}", threads, place))
    found.append(Column("published", lambda row: row.first("published"), lambda row: cells.digits(row.first("published"))))
    return found


def _change(heading: str, name: str) -> Column:
    return Column(heading, lambda row: row.mean(name), lambda row: cells.change(row.mean(name)))


def _gains(heading: str, threads: str, place: Place) -> Column:
    return Column(heading, lambda row: _gain(row, threads, place), lambda row: cells.times(_gain(row, threads, place)), True)


def _share(row: Row) -> float | None:
    before, after = row.mean("macs"), row.mean("macs_effective")
    return after / before - 1 if before and after is not None else None


def _latency(heading: str, threads: str, way: str, place: Place) -> Column:
    def text(row: Row) -> str:
        noisy = "~" if any(flat[f"noisy.{threads}"] for flat in row.seeds) else ""
        found = row.latency(threads, way, place)
        return cells.digits(found) + (noisy if found is not None and way == "sparse" else "")

    return Column(heading, lambda row: row.latency(threads, way, place), text, False if way == "sparse" else None)


def _gain(row: Row, threads: str, place: Place) -> float | None:
    dense, sparse = row.latency(threads, "dense", place), row.latency(threads, "sparse", place)
    return dense / sparse if dense and sparse else None


def label(row: Row) -> str:
    """Method, options, role; plain text."""
    return cells.clean(f"{row.method} ({row.role})" if row.role else f"{row.method} {row.options}")


def footnotes(group: Group) -> list[str]:
    """What a reader must know beside the numbers: noise, layers outside the plan, stand-ins."""
    notes = {f"{row.method}: {cells.clean(text)}": None for row in group.rows for text in row.first("standins")}
    outside = {f"{row.method}: outside the kernel's plan, run in torch: {', '.join(row.first('outside'))}": None
               for row in group.rows if row.first("outside")}
    theory = {f"{label(row)}: the plan fell back to dense; its MACs are theoretical": None
              for row in group.rows if row.first("theoretical")}
    other = ["Latencies of other machines or kernel versions than the commonest are left out."] if len(group.places) > 1 else []
    return ["~ noisy timing: the 90th percentile or the drift of some seed is large.", *other, *notes, *outside, *theory]


def title(group: Group) -> str:
    """Task, network, and what the numbers are."""
    facts = group.facts
    return f"{facts['task']} (version {facts['task_version']}), {facts['arch']}: {caption(group)}"


def _best(group: Group, column: Column) -> float | None:
    rows = [row for row in group.rows if row.role != "reference"]
    return None if column.higher is None else group.best(rows, column.number, column.higher)


def _table(group: Group, bold: Callable[[str], str], escape: Callable[[str], str]) -> Iterable[list[str]]:
    shown = columns(group)
    yield [escape(column.heading) for column in [Column("method", lambda row: None, label), *shown]]
    best = {column.heading: _best(group, column) for column in shown}
    for row in group.rows:
        made = [escape(label(row))]
        for column in shown:
            text, number = escape(column.text(row)), column.number(row)
            made.append(bold(text) if number is not None and number == best[column.heading] and row.role != "reference" else text)
        yield made


def markdown(group: Group) -> str:
    """A GitHub table with a heading and footnotes; the best of a column is bold."""
    head, *body = _table(group, lambda text: f"**{text}**", _markdown)
    lines = [f"## {_markdown(title(group))}", "", f"| {' | '.join(head)} |", "|---|" + "---:|" * (len(head) - 1)]
    lines += [f"| {' | '.join(row)} |" for row in body]
    return "\n".join([*lines, "", *[f"- {_markdown(note)}" for note in footnotes(group)], ""])


def _markdown(text: str) -> str:
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return "".join(f"\\{letter}" if letter in "\\`*[]|_" else letter for letter in text)


def latex(group: Group) -> str:
    """A booktabs table; needs ``\\usepackage{booktabs}`` and graphicx."""
    head, *body = _table(group, lambda text: rf"\textbf{{{text}}}", _latex)
    rows = [" & ".join(row) + r" \\" for row in body]
    notes = r" \\ ".join(_latex(note) for note in footnotes(group))
    return "\n".join([
        r"\begin{table}", r"\centering", rf"\caption{{{_latex(title(group))}}}", r"\resizebox{\textwidth}{!}{%",
        rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}", r"\toprule", " & ".join(head) + r" \\", r"\midrule", *rows,
        r"\bottomrule", r"\end{tabular}}", rf"\par\footnotesize {notes}", r"\end{table}", "",
    ])


_LATEX = {"\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
          "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}", "±": r"$\pm$",
          "−": "$-$", "×": r"$\times$", "–": "--", "≠": r"$\neq$"}


def _latex(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in text)


def comma_separated(groups: Iterable[Group]) -> str:
    """All groups as CSV, a line per configuration, numbers in full; text that a spreadsheet would run as a formula is quoted."""
    output = io.StringIO()
    writer = csv.writer(output, lineterminator="\n")
    facts = ("task", "task_version", "arch", "source", "source_digest", "scale")
    heading: list[str] = []
    for group in groups:
        shown = columns(group)
        names = [*facts, "method", "options", "role", *[column.heading for column in shown], "deviation"]
        if names != heading:
            writer.writerow(names)
            heading = names
        for row in group.rows:
            numbers = [column.number(row) for column in shown] + [row.deviation("score")]
            texts = [*[str(group.facts[name]) for name in facts], row.method, row.options, row.role]
            writer.writerow([*map(_safe, texts), *["" if number is None else repr(float(number)) for number in numbers]])
    return output.getvalue()


def _safe(text: str) -> str:
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text

"""A group of comparable rows as Markdown, LaTeX and CSV. Everything from a record is data: each format escapes it."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby, pairwise

from suite.report import cells
from suite.report.columns import Column, Mark, columns, footnotes, label, legend, marks, noisy, title
from suite.report.flat import THREADS, WAYS
from suite.report.rows import Group

Escape = Callable[[str], str]


def body(group: Group, shown: Sequence[Column], escape: Escape, styles: dict[Mark, Callable[[str], str]]) -> list[list[str]]:
    """The cells of all rows but their labels, escaped, with the best and second best in their style."""
    ranks = [marks(group, column) for column in shown]
    return [[styles[rank[place]](text) if place in rank else text
             for column, rank in zip(shown, ranks, strict=True) for text in [escape(column.text(row))]]
            for place, row in enumerate(group.rows)]


def markdown(group: Group, kinds: Sequence[str] = (), caption: str = "") -> str:
    """A GitHub table with a heading and footnotes; the best of a column is bold, the second underlined."""
    shown, notes = columns(group, kinds), footnotes(group, kinds)
    rows = body(group, shown, escape_markdown, {"best": lambda text: f"**{text}**", "second": lambda text: f"<ins>{text}</ins>"})
    names = [escape_markdown(label(row)) + (f"<sup>{','.join(map(str, mark))}</sup>" if mark else "")
             for row, mark in zip(group.rows, notes.marks, strict=True)]
    lines = [f"## {escape_markdown(title(group))}", ""] + ([escape_markdown(caption), ""] if caption else [])
    lines += markdown_table(["method", *[escape_markdown(column.heading) for column in shown]],
                            [[name, *row] for name, row in zip(names, rows, strict=True)], "l" + "r" * len(shown))
    return "\n".join([*lines, "", *[f"- {escape_markdown(note)}" for note in notes.all], ""])


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]], aligned: str) -> list[str]:
    """The lines of a table of escaped cells; `aligned` has an ``l`` or ``r`` per column."""
    rules = "|".join("---:" if side == "r" else "---" for side in aligned)
    return [f"| {' | '.join(head)} |", f"|{rules}|", *[f"| {' | '.join(row)} |" for row in rows]]


def escape_markdown(text: object) -> str:
    """Foreign text on one line in which no letter means anything to Markdown or HTML."""
    plain = cells.clean(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return "".join(f"\\{letter}" if letter in "\\`*[]|_~$#" else letter for letter in plain)


def latex(group: Group, kinds: Sequence[str] = (), caption: str = "") -> str:
    """A booktabs table with a rule between blocks, latencies in one of their own; needs ``\\usepackage{booktabs}`` and graphicx."""
    shown, notes = columns(group, kinds), footnotes(group, kinds)
    made = body(group, shown, escape_latex, {"best": lambda text: rf"\textbf{{{text}}}",
                                             "second": lambda text: rf"\underline{{{text}}}"})
    names = [escape_latex(label(row)) + (rf"\textsuperscript{{{','.join(map(str, mark))}}}" if mark else "")
             for row, mark in zip(group.rows, notes.marks, strict=True)]
    parts: dict[bool, list[int]] = {}  # latencies below the rest: all in one line would be too small to read
    for place, column in enumerate(shown):
        parts.setdefault(column.group.startswith("latency"), []).append(place)
    lines: list[str] = []
    for places in parts.values():
        over = [rf"\multicolumn{{{span}}}{{c}}{{{escape_latex(name)}}}" for name, span in spans([shown[place] for place in places])]
        rows = [" & ".join([name, *(row[place] for place in places)]) + r" \\" for name, row in zip(names, made, strict=True)]
        for place, (above, below) in reversed(list(enumerate(pairwise(group.rows), 1))):
            if above.block != below.block:
                rows.insert(place, r"\midrule")
        lines += [
            r"\resizebox{\ifdim\width>\textwidth\textwidth\else\width\fi}{!}{%", rf"\begin{{tabular}}{{l{'r' * len(places)}}}",
            r"\toprule", " & ".join(["", *over]) + r" \\",
            " & ".join(["method", *(escape_latex(shown[place].heading) for place in places)]) + r" \\", r"\midrule", *rows,
            r"\bottomrule", r"\end{tabular}}", r"\par\medskip",
        ]
    below_it = r" \\ ".join(map(escape_latex, [*notes.all, "; ".join(legend([group], kinds)) + "."]))
    return "\n".join([
        r"\begin{table}", r"\centering", rf"\caption{{{escape_latex(' '.join(filter(None, [title(group) + '.', caption])))}}}",
        *lines, rf"\raggedright\scriptsize {below_it}", r"\end{table}", "",
    ])


def spans(shown: Sequence[Column]) -> list[tuple[str, int]]:
    """The column groups in order, each with how many columns it heads."""
    return [(name, len(list(members))) for name, members in groupby(shown, lambda column: column.group)]


_LATEX = {"\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
          "~": r"$\sim$", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}", "±": r"$\pm$",
          "−": "$-$", "×": r"$\times$", "–": "--", "≠": r"$\neq$", "≤": r"$\leq$", "≥": r"$\geq$", "|": r"\textbar{}",
          '"': "''", "[": "{[}", "]": "{]}", "-": "{-}"}  # fmt: skip


def escape_latex(text: object) -> str:
    """Foreign text that sets itself and does nothing; a letter that plain pdflatex lacks becomes its code point."""
    def one(letter: str) -> str:
        known = letter.isascii() or ("À" <= letter <= "ÿ" and letter not in "ÐðÞþ÷")
        return _LATEX.get(letter) or (letter if known else f"{{[}}U+{ord(letter):04X}{{]}}")

    return "".join(map(one, cells.clean(text)))


#: Flat columns whose means over seeds stand in the CSV. Latencies follow, of the table's machine alone.
NUMBERS = ("reference_score", "change_reference", "change_trained_on", "params", "params_nonzero", "bytes_packed", "macs",
           "macs_effective")
FACTS = ("task", "task_version", "task_options", "arch", "source", "source_digest", "scale", "metric", "unit")


def comma_separated(groups: Iterable[Group]) -> str:
    """All groups as one CSV, a line per configuration, the same columns whatever the groups, numbers in full.

    Text that a spreadsheet would run as a formula is quoted; what is missing is empty.
    """
    output = io.StringIO()
    writer = csv.writer(output, lineterminator="\n")
    timings = [(threads, way) for threads in THREADS for way in WAYS]
    writer.writerow([*FACTS, "method", "options", "role", "seeds", "score", "score_deviation", *NUMBERS,
                     *[f"latency_{way}_{threads}_ms" for threads, way in timings], "noisy", "machine", "cpu", "kernel",
                     "published", "published_where"])
    for group in groups:
        place = group.places[0] if group.places else ("", "")
        for row in group.rows:
            times = [row.latency(threads, way, place) for threads, way in timings]
            known = any(number is not None for number in times)
            texts = [*[group.facts[name] for name in FACTS], row.method, row.options, row.role]
            numbers = [len(row.seeds), row.mean("score"), row.deviation("score"), *[row.mean(name) for name in NUMBERS], *times]
            noise = str(any(noisy(row, threads) for threads in THREADS)).lower() if known else ""
            where = (place[0], row.first("cpu"), place[1]) if known else ("", "", "")
            writer.writerow([*map(escape_csv, texts), *map(_number, numbers), noise, *map(escape_csv, where),
                             _number(row.first("published")), escape_csv(row.first("published_where") or "")])
    return output.getvalue()


def _number(number: float | None) -> str:
    return "" if number is None else repr(int(number) if number == int(number) else number)


_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")  # the wide ones too: some spreadsheets take them for the narrow


def escape_csv(text: object) -> str:
    """Foreign text on one line that no spreadsheet takes for a formula, also not after it has trimmed spaces."""
    plain = cells.clean(text)
    return f"'{plain}" if plain.startswith(_FORMULA) or str(text).startswith(("\t", "\r", "\n")) else plain

"""A group of comparable rows as Markdown, LaTeX and CSV. Everything from a record is data: each format escapes it."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby, pairwise

from suite.record import timing_name
from suite.report import cells
from suite.report.columns import Column, Mark, marks, name, names, noisy, shown
from suite.report.flat import GROUP, THREADS, WAYS
from suite.report.notes import footnotes, legend, title
from suite.report.rows import Group, timings

Escape = Callable[[str], str]


def body(group: Group, chosen: Sequence[Column], escape: Escape, styles: dict[Mark, Callable[[str], str]]) -> list[list[str]]:
    """The cells of all rows but their labels, escaped, with the best and second best in their style."""
    ranks = [marks(group, column) for column in chosen]
    return [[styles[rank[place]](text) if place in rank else text
             for column, rank in zip(chosen, ranks, strict=True) for text in [escape(column.text(row))]]
            for place, row in enumerate(group.rows)]


def markdown(group: Group, kinds: Sequence[str] = (), caption: str = "") -> str:
    """A GitHub table with a heading and footnotes; the best of a column is bold, the second underlined."""
    chosen, notes = shown(group, kinds), footnotes(group, kinds)
    rows = body(group, chosen, escape_markdown, {"best": lambda text: f"**{text}**", "second": lambda text: f"<ins>{text}</ins>"})
    firsts = [escape_markdown(name(row)) + (f"<sup>{','.join(map(str, mark))}</sup>" if mark else "")
             for row, mark in zip(group.rows, notes.marks, strict=True)]
    lines = [f"## {escape_markdown(title(group))}", ""] + ([escape_markdown(caption), ""] if caption else [])
    lines += markdown_table(["method", *[escape_markdown(column.heading) for column in chosen]],
                            [[first, *row] for first, row in zip(firsts, rows, strict=True)], "l" + _sides(chosen))
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
    """A booktabs table with a rule between blocks; needs ``\\usepackage{booktabs}`` and graphicx."""
    chosen, notes = shown(group, kinds), footnotes(group, kinds)
    made = body(group, chosen, escape_latex, {"best": lambda text: rf"\textbf{{{text}}}",
                                              "second": lambda text: rf"\underline{{{text}}}"})
    firsts = [escape_latex(name(row)) + (rf"\textsuperscript{{{','.join(map(str, mark))}}}" if mark else "")
              for row, mark in zip(group.rows, notes.marks, strict=True)]
    over = [rf"\multicolumn{{{span}}}{{c}}{{{escape_latex(heading)}}}" for heading, span in spans(chosen)]
    rows = [" & ".join([first, *row]) + r" \\" for first, row in zip(firsts, made, strict=True)]
    for place, (above, below) in reversed(list(enumerate(pairwise(group.rows), 1))):
        if above.block != below.block:
            rows.insert(place, r"\midrule")
    below_it = r" \\ ".join(map(escape_latex, [*notes.all, "; ".join(legend([group], kinds)) + "."]))
    return "\n".join([
        r"\begin{table}", r"\centering", rf"\caption{{{escape_latex(' '.join(filter(None, [title(group) + '.', caption])))}}}",
        r"\resizebox{\ifdim\width>\textwidth\textwidth\else\width\fi}{!}{%", rf"\begin{{tabular}}{{l{_sides(chosen)}}}",
        r"\toprule", " & ".join(["", *over]) + r" \\",
        " & ".join(["method", *(escape_latex(column.heading) for column in chosen)]) + r" \\", r"\midrule", *rows,
        r"\bottomrule", r"\end{tabular}}", r"\par\medskip", rf"\raggedright\scriptsize {below_it}", r"\end{table}", "",
    ])


def _sides(chosen: Sequence[Column]) -> str:
    """To which side columns keep: words to the left, numbers to the right."""
    return "".join("l" if column.group == "network" else "r" for column in chosen)


def spans(chosen: Sequence[Column]) -> list[tuple[str, int]]:
    """The column groups in order, each with how many columns it heads."""
    return [(heading, len(list(members))) for heading, members in groupby(chosen, lambda column: column.group)]


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
NUMBERS = ("reference_score", "change_reference", "change_trained_on", "change_teacher", "params", "params_nonzero",
           "bytes_dense", "bytes_packed", "macs", "macs_effective")
#: Flat columns of the first seed.
FACTS = ("arch", "metric", "unit", "device", "threads", "precision", "core")


def comma_separated(groups: Sequence[Group]) -> str:
    """All groups as one CSV, a line per configuration and table it stands in, numbers in full.

    Columns of single tasks and methods come last, where some row has them: other scores, operations, ledger entries and the
    task's own timings, means over seeds, and the primary score by step. Text that a spreadsheet would run as a formula is
    quoted; what is missing is empty.
    """
    output = io.StringIO()
    writer = csv.writer(output, lineterminator="\n")
    latencies = [(threads, way) for threads in THREADS for way in WAYS]
    more = sorted({name for group in groups for beginning in ("score.", "ops.", "ledger.") for name in names(group, beginning)
                   if name != f"score.{group.facts['metric']}"})
    own = sorted({timing for group in groups for timing in timings(group)[1]}, key=lambda timing: (timing[0], timing[1] or 0))
    writer.writerow([*GROUP, "start", *FACTS, "method", "options", "role", "seeds", "score", "score_deviation", *NUMBERS,
                     *[f"latency_{way}_{threads}_ms" for threads, way in latencies], "noisy", "machine", "cpu", "kernel",
                     "published", "published_where", "steps", *map(escape_csv, more),
                     *[escape_csv(f"timing.{timing_name(*timing)}") for timing in own]])
    for group in groups:
        place, machine = group.places[0] if group.places else ("", ""), timings(group)[0]
        for row in group.rows:
            times = [row.latency(threads, way, place) for threads, way in latencies]
            owned = [row.timing(timing, machine) for timing in own]
            known = any(number is not None for number in times)
            texts = [*[group.facts[name] for name in (*GROUP, "start")], *[row.first(name) for name in FACTS], row.method,
                     row.options, row.role]
            numbers = [len(row.seeds), row.mean("score"), row.deviation("score"), *[row.mean(name) for name in NUMBERS], *times]
            noise = str(any(noisy(row, threads) for threads in THREADS)).lower() if known else ""
            where = (place[0] or machine, row.first("timed_cpu"), place[1]) if known or any(owned) else ("", "", "")
            writer.writerow([
                *["" if text is None else escape_csv(text) for text in texts], *map(_number, numbers), noise,
                *map(escape_csv, where), _number(row.first("published")), escape_csv(row.first("published_where") or ""),
                " ".join(map(_number, row.steps(group.facts["metric"]))), *[_number(row.mean(name)) for name in more],
                *map(_number, owned)])
    return output.getvalue()


def _number(number: float | None) -> str:
    return "" if number is None else repr(int(number) if number == int(number) else number)


_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")  # the wide ones too: some spreadsheets take them for the narrow


def escape_csv(text: object) -> str:
    """Foreign text on one line that no spreadsheet takes for a formula, also not after it has trimmed spaces."""
    plain = cells.clean(text)
    return f"'{plain}" if plain.startswith(_FORMULA) or str(text).startswith(("\t", "\r", "\n")) else plain

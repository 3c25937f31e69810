"""A group of comparable rows as Markdown, LaTeX and CSV. Everything from a record is data: each format escapes it."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from itertools import chain, groupby, pairwise

from suite.record import timing_name
from suite.reporting import cells
from suite.reporting.columns import Column, label, name, names
from suite.reporting.flat import GROUP, THREADS, WAYS
from suite.reporting.front import Front, Sheet
from suite.reporting.frontier import behind
from suite.reporting.notes import STANDINS, STANDINS_TEXT, footnotes, legend, standins, title
from suite.reporting.paper import Mark, marks, shown
from suite.reporting.rows import Group, Row, timings
from suite.statistics import interval, mean

Escape = Callable[[str], str]


def body(group: Group, chosen: Sequence[Column], escape: Escape, styles: dict[Mark, Callable[[str], str]]) -> list[list[str]]:
    """The cells of all rows but their labels, escaped, with the best and second best in their style."""
    ranks = [marks(group, column) for column in chosen]
    return [[styles[rank[place]](text) if place in rank else text
             for column, rank in zip(chosen, ranks, strict=True) for text in [escape(column.text(row))]]
            for place, row in enumerate(group.rows)]


def caller(chosen: Sequence[Column]) -> Callable[[Row], str]:
    """What writes a row's first cell: its name, with the architecture where no column of the table has it."""
    return name if any(column.group == "network" for column in chosen) else label


def markdown(group: Group, kinds: Sequence[str] = (), caption: str = "") -> str:
    """A GitHub table with a heading and footnotes; the best of a column is bold, the second underlined."""
    chosen = shown(group, kinds)
    notes, call = footnotes(group, chosen), caller(chosen)
    rows = body(group, chosen, escape_markdown, {"best": lambda text: f"**{text}**", "second": lambda text: f"<ins>{text}</ins>"})
    firsts = [escape_markdown(call(row)) + (f"<sup>{','.join(map(str, mark))}</sup>" if mark else "")
             for row, mark in zip(group.rows, notes.marks, strict=True)]
    heading = f"### {escape_markdown(group.equal.title)}" if group.equal else f"## {escape_markdown(title(group))}"
    lines = [heading, ""] + ([escape_markdown(caption), ""] if caption else [])
    lines += markdown_table(["method", *[escape_markdown(column.heading) for column in chosen]],
                            [[first, *row] for first, row in zip(firsts, rows, strict=True)], "l" + _sides(chosen))
    return "\n".join([*lines, "", *[f"- {escape_markdown(note)}" for note in notes.all], ""])


def markdown_sheet(found: Sheet) -> str:
    """A small table with a heading below its group's."""
    rows = [[escape_markdown(cell) for cell in row] for row in found.rows]
    if found.best is not None:
        rows[found.best][1] = f"**{rows[found.best][1]}**"
    lines = markdown_table([escape_markdown(head) for head in found.head], rows, sides_of(found))
    return "\n".join([f"### {escape_markdown(found.title)}", "", escape_markdown(found.text), "", *lines])


def sides_of(found: Sheet) -> str:
    """To which side the columns of a small table keep."""
    return found.sides or "l" + "r" * (len(found.head) - 2) + "l"


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
    chosen = shown(group, kinds)
    notes, call = footnotes(group, chosen), caller(chosen)
    made = body(group, chosen, escape_latex, {"best": lambda text: rf"\textbf{{{text}}}",
                                              "second": lambda text: rf"\underline{{{text}}}"})
    firsts = [escape_latex(call(row)) + (rf"\textsuperscript{{{','.join(map(str, mark))}}}" if mark else "")
              for row, mark in zip(group.rows, notes.marks, strict=True)]
    over = [rf"\multicolumn{{{span}}}{{c}}{{{escape_latex(heading)}}}" for heading, span in spans(chosen)]
    rows = [[first, *row] for first, row in zip(firsts, made, strict=True)]
    rules = [place for place, (above, below) in enumerate(pairwise(group.rows), 1) if above.block != below.block]
    heads = [" & ".join(["", *over]), " & ".join(["method", *(escape_latex(column.heading) for column in chosen)])]
    below = [*notes.all, "; ".join(legend([group], kinds)) + "."]
    return _booktabs(" ".join(filter(None, [title(group) + ".", caption])), f"l{_sides(chosen)}", heads, rows, rules, below)


def latex_standins(groups: Sequence[Group]) -> str:
    """What methods do where their papers are silent, a paragraph each; empty where none does anything of its own."""
    found = standins(groups)
    lines = [rf"\paragraph{{{escape_latex(method)}}} {escape_latex(' '.join(texts))}" for method, texts in found.items()]
    return "\n".join([rf"\section*{{{STANDINS}}}", r"{\sloppy", STANDINS_TEXT, *lines, r"\par}", ""]) if found else ""


def latex_sheet(found: Sheet, caption: str) -> str:
    """A small booktabs table."""
    rows = [[escape_latex(cell) for cell in row] for row in found.rows]
    if found.best is not None:
        rows[found.best][1] = rf"\textbf{{{rows[found.best][1]}}}"
    head = " & ".join(map(escape_latex, found.head))
    return _booktabs(f"{': '.join(filter(None, (found.title, caption)))}.", sides_of(found), [head], rows, [], [found.text])


def _booktabs(caption: str, sides: str, heads: Sequence[str], rows: Sequence[Sequence[str]], rules: Sequence[int],
              below: Sequence[str]) -> str:
    """A table of cells that are LaTeX, with rules before some `rows`; `caption` and the lines `below` it are plain text."""
    lines, end = [" & ".join(row) + r" \\" for row in rows], r" \\ ".join(map(escape_latex, below))
    for place in reversed(rules):
        lines.insert(place, r"\midrule")
    return "\n".join([
        r"\begin{table}", r"\centering", rf"\caption{{{escape_latex(caption)}}}",
        r"\resizebox{\ifdim\width>\textwidth\textwidth\else\width\fi}{!}{%", rf"\begin{{tabular}}{{{sides}}}",
        r"\toprule", *(head + r" \\" for head in heads), r"\midrule", *lines, r"\bottomrule", r"\end{tabular}}",
        r"\par\medskip",
        rf"\raggedright\scriptsize {end}", r"\end{table}", "",
    ])


def _sides(chosen: Sequence[Column]) -> str:
    """To which side columns keep: words to the left, numbers to the right."""
    return "".join("l" if column.group in ("network", "verdicts") else "r" for column in chosen)


def spans(chosen: Sequence[Column]) -> list[tuple[str, int]]:
    """The column groups in order, each with how many columns it heads."""
    return [(heading, len(list(members))) for heading, members in groupby(chosen, lambda column: column.group)]


_LATEX = {"\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
          "~": r"$\sim$", "†": r"\dag{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}", "±": r"$\pm$",
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
    quoted; what is missing is empty. Behind each timing stands whether it is noisy.
    """
    output = io.StringIO()
    writer = csv.writer(output, lineterminator="\n")
    latencies = [(threads, way) for threads in THREADS for way in WAYS]
    more = sorted({name for group in groups for beginning in ("score.", "ops.", "ledger.") for name in names(group, beginning)
                   if name != f"score.{group.facts['metric']}"})
    own = sorted({timing for group in groups for timing in timings(group)[1]}, key=lambda timing: (timing[0], timing[1] or 0))
    writer.writerow([*GROUP, "start", *FACTS, "method", "options", "role", "seeds", "score", "score_deviation", *NUMBERS,
                     *[name for threads, way in latencies for name in (f"latency_{way}_{threads}_ms", f"noisy_{way}_{threads}")],
                     "uncounted", "machine", "cpu", "kernel", "published", "published_where", "steps", *map(escape_csv, more),
                     *[escape_csv(f"{noisy}timing.{timing_name(*timing)}") for timing in own for noisy in ("", "noisy.")]])
    for group in groups:
        place, machine = group.places[0] if group.places else ("", ""), timings(group)[0]
        for row in group.rows:
            times = [_flagged(row.latency(threads, way, place), row.noisy(threads, way, place)) for threads, way in latencies]
            owned = [_flagged(row.timing(timing, machine), row.noisy_timing(timing, machine)) for timing in own]
            known = any(number for number, _ in times)
            texts = [*[group.facts[name] for name in (*GROUP, "start")], *[row.first(name) for name in FACTS], row.method,
                     row.options, row.role]
            numbers = [len(row.seeds), row.mean("score"), row.deviation("score"), *[row.mean(name) for name in NUMBERS]]
            where = (place[0] or machine, row.first("timed_cpu"), place[1]) if known or any(ms for ms, _ in owned) else ("", "", "")
            uncounted = "; ".join(dict.fromkeys(str(what) for seed in row.seeds for what in seed["uncounted"]))
            writer.writerow([
                *["" if text is None else escape_csv(text) for text in texts], *map(_number, numbers), *chain(*times),
                escape_csv(uncounted), *map(escape_csv, where), _number(row.first("published")),
                escape_csv(row.first("published_where") or ""),
                " ".join(map(_number, row.steps(group.facts["metric"]))), *[_number(row.mean(name)) for name in more],
                *chain(*owned)])
    return output.getvalue()


def _flagged(number: float | None, noisy: bool) -> tuple[str, str]:
    """A timing and whether it is noisy, as cells."""
    return _number(number), "" if number is None else str(noisy).lower()


def comma_separated_fronts(fronts: Sequence[Front]) -> str:
    """Every method at the latency of its group's front as one CSV, numbers in full; empty where there is none."""
    output = io.StringIO()
    writer = csv.writer(output, lineterminator="\n")
    writer.writerow([*GROUP, "start", "metric", "latency_ms", "method", "seeds", "score", "low", "high", "behind", "behind_low",
                     "behind_high", "noisy", "not_read"])
    for found in fronts:
        facts = found.group.facts
        for item in found.standings:
            scores = list(item.scores.values())
            own = interval(scores)
            less = behind(found.standings[0], item, facts["higher_is_better"]) if item is not found.standings[0] else None
            numbers = [mean(scores), *(own[1:3] if own else (None, None)), *(less[:3] if less else (None, None, None))]
            writer.writerow([*[escape_csv(facts[name]) for name in (*GROUP, "start", "metric")], _number(found.where),
                             escape_csv(item.line.name), str(len(scores)), *map(_number, numbers),
                             str(item.noisy).lower() if scores else "", escape_csv(item.reason)])
    return output.getvalue()


def _number(number: float | None) -> str:
    return "" if number is None else repr(int(number) if number == int(number) else number)


_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")  # the wide ones too: some spreadsheets take them for the narrow


def escape_csv(text: object) -> str:
    """Foreign text on one line that no spreadsheet takes for a formula, also not after it has trimmed spaces."""
    plain = cells.clean(text)
    return f"'{plain}" if plain.startswith(_FORMULA) or str(text).startswith(("\t", "\r", "\n")) else plain

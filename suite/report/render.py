"""From a report's content to files: texts that are committed, and figures and a page that everybody makes anew."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from suite.record import write_text
from suite.report import figures, page, verdicts
from suite.report.content import Content
from suite.report.notes import legend
from suite.report.ranks import draw
from suite.report.tables import comma_separated, escape_csv, escape_markdown, latex, markdown, markdown_table


def texts(content: Content) -> dict[str, str]:
    """The files that are committed, by name: Markdown always; LaTeX and CSV of tables and of claims where there are any."""
    report = content.report
    made = {"table.md": _markdown(content)}
    if report.tables:
        made["table.tex"] = "\n".join(latex(group, report.columns, report.caption) for group in content.groups)
        made["table.csv"] = comma_separated(content.groups)
    if content.claims:
        made["claims.csv"] = _claims_csv(content.claims)
    return made


def write(content: Content, folder: Path, back: str) -> list[Path]:
    """Write everything to `folder`, each file by rename; the paths. `back` leads from `folder` to the results, as in a link."""
    made = texts(content)
    for name, text in made.items():
        write_text(folder / name, text)
    drawn = figures.draw_all(content.groups, content.report.figures, folder / "figures")
    diagram = draw(content.ranked, folder / "figures/ranks") if content.ranked.mean and content.report.tables else []
    write_text(folder / "index.html", page.page(content, back, *diagram[:1]))
    return [*(folder / name for name in made), *drawn, *diagram, folder / "index.html"]


def stale(made: Mapping[str, str], folder: Path) -> list[Path]:
    """The committed files in `folder` that differ from what the records say today, or should not be there, or are missing."""
    there = {path.name for pattern in ("*.md", "*.tex", "*.csv") for path in folder.glob(pattern)}
    return [folder / name for name in sorted(there | made.keys())
            if name not in made or name not in there or (folder / name).read_text(encoding="utf-8") != made[name]]


def _markdown(content: Content) -> str:
    report = content.report
    first = "\n".join(f"- {escape_markdown(sentence)}" for sentence in content.first)
    parts = [f"# {escape_markdown(report.title)}", first, report.text.strip()]
    if report.tables:
        parts += [markdown(group, report.columns, report.caption).strip() for group in content.groups]
        listed = [f"- {escape_markdown(line)}" for line in legend(content.groups, report.columns)]
        parts += ["## What the columns mean", "\n".join(listed)]
    if content.claims:
        rows = [[escape_markdown(text) for text in tested.texts] for tested in content.claims]
        parts += ["## Claims", "\n".join(markdown_table(verdicts.HEADINGS, rows, "l" * len(verdicts.HEADINGS)))]
    if content.unfinished:
        lines = ["- " + escape_markdown(f"{item['id']}: {item['status']}: {item['reason']}") for item in content.unfinished]
        parts += ["## Runs without a number", "\n".join(lines)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _claims_csv(claims: Sequence[verdicts.Tested]) -> str:
    output = io.StringIO()
    writer = csv.writer(output, lineterminator="\n")
    writer.writerow(verdicts.HEADINGS)
    writer.writerows([[escape_csv(text) for text in tested.texts] for tested in claims])
    return output.getvalue()

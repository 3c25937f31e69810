"""From a report's content to files: texts that are committed, and figures and a page that everybody makes anew."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from suite.record import write_text
from suite.reporting import figures, page, progress, verdicts
from suite.reporting.charts import charts
from suite.reporting.content import Content
from suite.reporting.declare import Report
from suite.reporting.front import Front, Sheet, sheet
from suite.reporting.inserted import table
from suite.reporting.notes import STANDINS, STANDINS_TEXT, legend, standins, title
from suite.reporting.ranks import draw
from suite.reporting.rows import Group
from suite.reporting.tables import (
    comma_separated,
    comma_separated_fronts,
    escape_csv,
    escape_markdown,
    latex,
    latex_sheet,
    latex_standins,
    markdown,
    markdown_sheet,
    markdown_table,
)

PROGRESS = "figures/progress"  # beside a report's texts, without its suffix
TEXTS = ("table.md", "table.tex", "table.csv", "front.csv", "claims.csv")


def texts(content: Content) -> dict[str, str]:
    """The files that are committed, by name: Markdown always; LaTeX and CSV of tables and of claims where there are any."""
    report = content.report
    made = {"table.md": _markdown(content)}
    if report.tables:
        fronts = [text for found in content.fronts
                  for text in _front(found, latex, lambda small, group: latex_sheet(small, title(group)))]
        first = [latex_sheet(content.overview, "")] if content.overview else []
        tables = [latex(group, report.columns, report.caption) for group in content.groups]
        made["table.tex"] = "\n".join([*first, *fronts, *tables, latex_standins(content.groups)])
        made["table.csv"] = comma_separated(content.groups)
    if content.fronts:
        made["front.csv"] = comma_separated_fronts(content.fronts)
    if content.claims:
        made["claims.csv"] = _claims_csv(content.claims)
    return made


def write(content: Content, folder: Path, back: str) -> list[Path]:
    """Write everything to `folder`, each file by rename, and remove what is no more; the paths. `back` leads from `folder` to the
    results, as in a link."""
    made = texts(content)
    for name, text in made.items():
        write_text(folder / name, text)
    drawn = figures.draw_all(content.groups, content.report.figures, folder / "figures")
    bars = progress.draw(content.progress, folder / PROGRESS) if content.progress else []
    diagram = draw(content.ranked, folder / "figures/ranks") if content.ranked.mean and content.report.tables else []
    diagrams = {what: paths[0] for what, paths in (("what became of the claims of every system", bars),
                                                 ("critical differences of the mean ranks", diagram)) if paths}
    pictures = {path.stem.removesuffix("-frontier"): path for path in drawn if path.name.endswith("-frontier.svg")}
    write_text(folder / "index.html", page.page(content, back, diagrams, pictures))
    kept = {*folder.glob("figures/*-frontier.*"), *folder.glob(f"{PROGRESS}.*")}
    gone = [folder / name for name in TEXTS if name not in made] + list(kept - {*drawn, *bars})
    for path in gone:  # committed for records that are no more
        path.unlink(missing_ok=True)
    return [*(folder / name for name in made), *drawn, *bars, *diagram, folder / "index.html"]


def stale(made: Mapping[str, str], folder: Path) -> list[Path]:
    """The committed files in `folder` that differ from what the records say today, or should not be there, or are missing."""
    there = {path.name for pattern in ("*.md", "*.tex", "*.csv") for path in folder.glob(pattern)}
    there -= {"wide.md", "wide.tex"}  # of `wide`, not committed
    return [folder / name for name in sorted(there | made.keys())
            if name not in made or name not in there or (folder / name).read_text(encoding="utf-8") != made[name]]


def wide(content: Content, kinds: Sequence[str]) -> dict[str, str]:
    """Markdown and LaTeX with the column groups `kinds` (of `columns.KINDS`), for who wants more than a paper has room for."""
    report = replace(content.report, columns=tuple(kinds))
    made = texts(replace(content, report=report))
    return {f"wide{Path(name).suffix}": made[name] for name in ("table.md", "table.tex") if name in made}


def _markdown(content: Content) -> str:
    report = content.report
    first = "\n".join(f"- {escape_markdown(sentence)}" for sentence in content.first)
    parts = [f"# {escape_markdown(report.title)}"]
    if content.overview:
        parts += ["\n".join(table(content.overview)), escape_markdown(content.overview.text)]
    if content.progress:
        parts += [escape_markdown(progress.sentence(content.progress)), f"![the claims of all systems]({PROGRESS}.svg)"]
    parts += [first, report.text.strip()]
    parts += [part.strip() for found in content.fronts for part in _front_markdown(found, report)]
    if report.tables:
        parts += [markdown(group, report.columns, report.caption).strip() for group in content.groups]
        listed = [f"- {escape_markdown(line)}" for line in legend(content.groups, report.columns)]
        parts += ["## What the columns mean", "\n".join(listed)]
        silent = ["- " + escape_markdown(f"{method}: {' '.join(found)}") for method, found in standins(content.groups).items()]
        parts += [f"## {STANDINS}", STANDINS_TEXT, "\n".join(silent)] if silent else []
    if content.claims:
        rows = [[escape_markdown(text) for text in tested.texts] for tested in content.claims]
        parts += ["## Claims", "\n".join(markdown_table(verdicts.HEADINGS, rows, "l" * len(verdicts.HEADINGS)))]
    if content.unfinished:
        lines = ["- " + escape_markdown(f"{item['id']}: {item['status']}: {item['reason']}") for item in content.unfinished]
        parts += ["## Runs without a number", "\n".join(lines)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _front_markdown(found: Front, report: Report) -> list[str]:
    picture = f"{figures.stem(found.group)}-frontier"
    drawn = report.figures and any(chart.name == "frontier" for chart in charts(found.group, set(report.figures) & {"frontier"}))
    return [f"## {escape_markdown(f'At equal cost: {title(found.group)}')}",
            f"![quality against measured latency](figures/{picture}.svg)" if drawn else "",
            *_front(found, markdown, lambda small, group: markdown_sheet(small))]


def _front(found: Front, table: Callable[..., str], small_table: Callable[[Sheet, Group], str]) -> list[str]:
    """The tables of a front, the one at equal latency first."""
    small = sheet(found)
    return [*([small_table(small, found.group)] if small else []),
            *(table(group, (), group.equal.text) for group in found.tables if group.equal)]


def _claims_csv(claims: Sequence[verdicts.Tested]) -> str:
    output = io.StringIO()
    writer = csv.writer(output, lineterminator="\n")
    writer.writerow(verdicts.HEADINGS)
    writer.writerows([[escape_csv(text) for text in tested.texts] for tested in claims])
    return output.getvalue()

"""One declared report as files, whatever kind it is."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from suite.bench import page
from suite.paths import results_folder
from suite.record import Record, read_all, write_text
from suite.reporting import render, systems
from suite.reporting.columns import KINDS
from suite.reporting.content import NO_CATALOGUE, Content, gather, judged
from suite.reporting.declare import Catalogue, Report, catalogue
from suite.reporting.inserted import front_page
from suite.reporting.verdicts import Tested


class Known(NamedTuple):
    """What all reports are made of."""

    records: Sequence[Record]
    catalogue: Catalogue
    tested: Sequence[Tested]  # the verdicts on all claims


def read_known(chosen: Iterable[Report], reports: Path) -> Known:
    """Read once for all reports of a command, which are declared in the folder `reports`; nothing where none shows records."""
    if all(report.bench for report in chosen):
        return Known((), NO_CATALOGUE, ())
    records, declared = read_all(), catalogue(reports)
    return Known(records, declared, judged(records, declared))


def write_report(
    name: str, report: Report, known: Known, reports: Path, folder: Path, columns: str | None = None
) -> tuple[list[Path], Content | None]:
    """Render the report ``<reports>/<name>.toml`` into ``<folder>/<name>``, and what it puts into other pages where
    `folder` is `reports`; with `columns`, "all" or kinds of `KINDS` separated by commas, its wide tables alone.

    Gives the files, and what of the records they show, None where that is not tables. UserError where there is nothing to show.
    """
    if report.bench:
        return page.render(reports / name, folder / name), None
    if report.systems:
        return (systems.write(report, known.records, reports, known.tested) if folder == reports else []), None
    content = gather(report, known.records, known.catalogue, known.tested)
    if columns:
        kinds = KINDS if columns == "all" else [word.strip() for word in columns.split(",")]
        texts = {folder / name / file: text for file, text in render.wide(content, kinds).items()}
        made = []
    else:
        made = render.write(content, folder / name, os.path.relpath(results_folder(), folder / name))
        texts = front_page(content, reports) if folder == reports else {}
    for path, text in texts.items():
        write_text(path, text)
    return [*made, *texts], content

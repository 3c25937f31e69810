"""One declared report as files, whatever kind it is."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from suite.bench import page
from suite.paths import results_folder
from suite.record import Record
from suite.reporting import render, systems
from suite.reporting.content import Content, gather
from suite.reporting.declare import Report


def write_report(
    name: str, report: Report, records: Sequence[Record], reports: Path, folder: Path
) -> tuple[list[Path], Content | None]:
    """Render the report ``<reports>/<name>.toml`` into ``<folder>/<name>``: the files, and what of the records they show, None
    where that is not tables. UserError where there is nothing to show."""
    if report.bench:
        return page.render(reports / name, folder / name), None
    if report.systems:
        return (systems.write(report, records, reports) if folder == reports else []), None
    content = gather(report, records)
    return render.write(content, folder / name, os.path.relpath(results_folder(), folder / name)), content

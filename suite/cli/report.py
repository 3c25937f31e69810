"""``suite report``: tables and figures from the records."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("name", default="compression")
@click.option("--reports", default="reports", show_default=True, type=click.Path(path_type=Path),
              help="The folder of declarations (NAME.toml).")
@click.option("--to", type=click.Path(path_type=Path), help="Where to write (default: a folder NAME beside the declaration).")
def command(name: str, reports: Path, to: Path | None) -> None:
    """Render the report NAME: Markdown, LaTeX (booktabs), CSV, and two figures per table as SVG and PDF."""
    from suite import record
    from suite.report.render import load, render

    for path in render(load(name, reports), record.read_all(), to or reports / name):
        click.echo(path)

"""``suite report``: tables, figures and one offline page from the records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from suite.cli import words
from suite.cli.run import engine_option
from suite.errors import UserError


@click.command()
@click.argument("names", metavar="[NAME]...", nargs=-1, shell_complete=words.reports)
@click.option("--reports", default="reports", show_default=True, type=click.Path(path_type=Path),
              help="The folder of declarations (NAME.toml).")
@click.option("--to", type=click.Path(path_type=Path), help="Where to write the folders NAME (default: beside the declarations).")
@click.option("--check", is_flag=True,
              help="Write nothing; fail where committed Markdown, LaTeX or CSV is not what the records say.")
@click.option("--run-missing", is_flag=True, help="First run what the declaration needs and the records lack.")
@click.option("--dry-run", is_flag=True, help="With --run-missing: print the plan with a time estimate, and run nothing.")
@click.option("--jobs", type=click.IntRange(1), help="Missing runs side by side (default: the physical cores).")
@click.option("--data", type=click.Path(path_type=Path),
              help="The data set of missing runs, or a folder at most two levels above it.")
@engine_option
def command(
    names: tuple[str, ...], reports: Path, to: Path | None, check: bool, run_missing: bool, dry_run: bool, jobs: int | None,
    data: Path | None, engine: str,
) -> None:
    """Render the reports NAME (default: all): Markdown, LaTeX (booktabs), CSV, figures as SVG and PDF, and index.html.

    \b
    suite report                             all tables again, where there are records for them
    suite report leaderboard                 then open reports/leaderboard/index.html
    suite report compression --run-missing   with the runs that it needs
    suite report kernel                      the page of `suite bench`, without timing
    """
    from suite.reporting import declare

    if dry_run and not run_missing:
        raise UserError("--dry-run shows what --run-missing would run; write both.")
    chosen = {name: declare.load(name, reports) for name in names or declare.names(reports)}
    if not chosen:
        raise UserError(f"There is no declaration in '{reports}'; {declare.ELSEWHERE}")
    if run_missing:
        _run(list(chosen.values()), data, dry_run, jobs, engine)
    if not dry_run:
        (_check if check else _write)(chosen, reports, to or reports, required=bool(names))


def _run(reports: list[Any], data: Path | None, dry_run: bool, jobs: int | None, engine: str) -> None:
    """Make the runs that the declarations need, those of claims included, as `suite run` and `suite claims` would."""
    from suite import plan
    from suite.cli.claims import claim_specs
    from suite.cli.run import make_plan, run, show_plan
    from suite.paths import cache_folder
    from suite.tracking import mirror

    parts = [make_plan(item.task, list(item.methods), tuple(item.options), list(range(item.seeds)), item.scale, data)
             for report in reports for item in report.runs]
    parts += [part for report in reports for name, scale in report.test.items() for part in claim_specs(name, scale, data)]
    merged = plan.merge(parts)
    if dry_run:
        return show_plan(merged, jobs)
    click.echo(mirror(run(merged, jobs, engine), None, cache_folder()), err=True)


def _write(chosen: dict[str, Any], reports: Path, folder: Path, required: bool) -> None:
    """Render; a report without records is a mistake where it was named, and passed over where all are rendered."""
    from suite import record
    from suite.reporting.content import noise
    from suite.reporting.files import write_report

    records, contents = record.read_all(), []
    for name, report in chosen.items():
        try:
            made, content = write_report(name, report, records, reports, folder)
            contents += [content] if content else []
        except UserError as error:
            if required:
                raise
            click.echo(f"{name}: {error}", err=True)
            continue
        for path in made:
            click.echo(path)
    if sentence := noise(contents):
        click.echo(sentence, err=True)


def _check(chosen: dict[str, Any], reports: Path, folder: Path, required: bool) -> None:
    """Compare what the records say today with what is committed."""
    from suite import record
    from suite.bench import page
    from suite.reporting import render, systems
    from suite.reporting.content import gather

    records = record.read_all()
    found: dict[str, list[Path]] = {}
    for name, report in chosen.items():
        if report.systems:
            found[name] = systems.stale(report, records, reports)
            continue
        try:
            texts = {"README.md": page.text(reports / name)} if report.bench else render.texts(gather(report, records))
        except UserError:
            if required:
                raise
            texts = {}
        found[name] = render.stale(texts, folder / name)
    stale = [path for paths in found.values() for path in paths]
    if stale:
        raise UserError(f"'{stale[0]}'{f' and {len(stale) - 1} more' if len(stale) > 1 else ''} is not what the records say; "
                        f"type: suite report {' '.join(name for name, paths in found.items() if paths)}")
    click.echo(f"{len(chosen)} report{'' if len(chosen) == 1 else 's'} up to date.")

"""``suite report``: tables, figures and one offline page from the records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from suite.cli import _words as words
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
@click.option("--columns", metavar="all|KIND,...",
              help="Write wide.md and wide.tex alone, with all columns or those of some kinds: quality, scores, cost, ledger, "
                   "latency, published, verdicts.")
@click.option("--data", type=click.Path(path_type=Path),
              help="The data set of missing runs, or a folder at most two levels above it.")
@engine_option
def command(
    names: tuple[str, ...], reports: Path, to: Path | None, check: bool, run_missing: bool, dry_run: bool, jobs: int | None,
    columns: str | None, data: Path | None, engine: str,
) -> None:
    """Render the reports NAME (default: all): Markdown, LaTeX (booktabs), CSV, figures as SVG and PDF, and index.html.

    \b
    suite report                             all tables again, where there are records for them
    suite report leaderboard                 then open reports/leaderboard/index.html
    suite report compression --run-missing   with the runs that it needs
    suite report compression --columns all   its tables with every column, as wide.md and wide.tex
    suite report kernel                      the page of `suite bench`, without timing
    """
    from suite.reporting import declare

    if dry_run and not run_missing:
        raise UserError("--dry-run shows what --run-missing would run; write both.")
    if check and columns:
        raise UserError("--check looks at what is committed, which --columns does not write; write one of them.")
    chosen = {name: declare.load(name, reports) for name in names or declare.names(reports)}
    if not chosen:
        raise UserError(f"There is no declaration in '{reports}'; {declare.ELSEWHERE}")
    if run_missing:
        _run(list(chosen.values()), data, dry_run, jobs, engine)
    if not dry_run:
        if check:
            _check(chosen, reports, bool(names), to or reports)
        else:
            _write(chosen, reports, bool(names), to or reports, columns)


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


def _write(chosen: dict[str, Any], reports: Path, required: bool, folder: Path, columns: str | None) -> None:
    """Render; a report without records is a mistake where it was named, and passed over where all are rendered."""
    from suite.reporting.content import noise
    from suite.reporting.files import read_known, write_report
    from suite.reporting.terminal import overview_table
    from suite.terminal import console

    known = read_known(chosen.values(), reports)
    contents = []
    for name, report in chosen.items():
        made: list[Path] = []
        try:
            made, content = write_report(name, report, known, reports, folder, columns)
            if content and required:
                overview_table(content, console())
            contents += [content] if content else []
        except UserError as error:
            if required:
                raise
            click.echo(f"{name}: {error}", err=True)
        for path in made:
            click.echo(path)
    if sentence := noise(contents):
        click.echo(sentence, err=True)


def _check(chosen: dict[str, Any], reports: Path, required: bool, folder: Path) -> None:
    """Compare what the records say today with what is committed."""
    from suite.bench import page
    from suite.reporting import render, systems
    from suite.reporting.content import gather
    from suite.reporting.files import read_known
    from suite.reporting.inserted import front_page

    records, catalogue, tested = read_known(chosen.values(), reports)
    found: dict[str, list[Path]] = {}
    for name, report in chosen.items():
        if report.systems:
            found[name] = systems.stale(report, records, reports, tested)
            continue
        pages: dict[Path, str] = {}
        try:
            if report.bench:
                texts = {"README.md": page.text(reports / name)}
            else:
                content = gather(report, records, catalogue, tested)
                texts, pages = render.texts(content), front_page(content, reports) if folder == reports else {}
        except UserError:
            if required:
                raise
            texts = {}
        found[name] = render.stale(texts, folder / name)
        found[name] += [path for path, text in pages.items() if path.read_text(encoding="utf-8") != text]
    stale = [path for paths in found.values() for path in paths]
    if stale:
        raise UserError(f"'{stale[0]}'{f' and {len(stale) - 1} more' if len(stale) > 1 else ''} is not what the records say; "
                        f"type: suite report {' '.join(name for name, paths in found.items() if paths)}")
    click.echo(f"{len(chosen)} report{'' if len(chosen) == 1 else 's'} up to date.")

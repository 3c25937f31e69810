"""``suite claims``: re-test what a method's paper claims."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from suite.cli.run import run, show_plan, training_options
from suite.errors import UserError


@click.command()
@click.argument("method")
@click.option("--scale", default="short", show_default=True, help="smoke, short, long or full.")
@click.option("--seeds", type=click.IntRange(2), help="Seeds for every claim (default: each claim's own number).")
@click.option("--data", type=click.Path(path_type=Path), help="The data set, or a folder at most two levels above it.")
@click.option("--only", help="Only claims whose name contains this text, for example 0.9 or 1a.")
@training_options
@click.option("--track", metavar="URI", help="An MLflow store or server instead of the local one.")
@click.option("--dry-run", is_flag=True, help="Print the plan with a time estimate, and run nothing.")
def command(
    method: str, scale: str, seeds: int | None, data: Path | None, only: str | None, device: str, threads: int, jobs: int | None,
    track: str | None, dry_run: bool,
) -> None:
    """Run both sides of every claim of METHOD on the same seeds and print a verdict with its numbers.

    Runs that are recorded are shared with `suite run` and not repeated. A refuted claim is a result, not a failure.
    """
    from suite import claims, plan, plugins
    from suite.paths import cache_folder
    from suite.tracking import mirror

    found = [claim for claim in plugins.load("baselines", method).claims if not only or only in claim.name]
    if not found:
        raise UserError(f"'{method}' has no claims" + (f" named '{only}'." if only else "; see its file in baselines/."))
    decidable = [claim for claim in found if claims.decidable(claim, scale)]
    merged = plan.merge([part for claim in decidable for part in _plans(claim, scale, seeds, data, device, threads)])
    if dry_run:
        return show_plan(merged, jobs)
    records = run(merged, jobs)
    sentence = mirror(records, track, cache_folder())
    verdicts = []
    for claim in decidable:
        sides = [claims.side_runs(claim, side, scale).among(records) for side in claim.sides]
        asked = range(seeds or claim.seeds)
        verdicts.append(claims.judge(claim, [{item["seed"]: item for item in side if item["seed"] in asked} for side in sides]))
    _print(verdicts, [claim for claim in found if claim not in decidable], scale)
    click.echo(sentence)


def claim_specs(method: str, scale: str, data: Path | None) -> list[Any]:
    """The plans of all sides of a method's claims that `scale` can decide, with each claim's own number of seeds."""
    from suite import claims, plugins

    return [part for claim in plugins.load("baselines", method).claims if claims.decidable(claim, scale)
            for part in _plans(claim, scale, None, data)]


def _plans(
    claim: Any, scale: str, seeds: int | None, data: Path | None, device: str = "cpu", threads: int = 1
) -> list[Any]:
    """The plan of each side of a claim."""
    from suite import claims, plan

    sides = [claims.side_runs(claim, side, scale) for side in claim.sides]
    return [plan.specs(side.task, [(side.method, side.options)], range(seeds or claim.seeds), scale, data, side.task_options,
                       device=device, threads=threads) for side in sides]


def _print(verdicts: list[Any], undecidable: list[Any], scale: str) -> None:
    from rich.markup import escape
    from rich.table import Table

    from suite.report.cells import digits
    from suite.terminal import console

    table = Table(title="difference: mean and 95 % interval, paired by seed", title_justify="left")
    table.add_column("claim", overflow="fold")
    for heading in ("verdict", "means", "difference [interval]"):
        table.add_column(heading)
    colours = {"holds": "green", "refuted": "red", "inconclusive": "yellow"}
    for verdict in verdicts:
        steps = "\n".join(f"{digits(test.mean)} [{digits(test.low)}, {digits(test.high)}] n={test.count}"
                          for test in verdict.intervals)
        table.add_row(
            escape(f"{verdict.claim.name}: {verdict.claim.sentence}"),
            f"[{colours[verdict.finding]}]{verdict.finding}[/]" + (f"\n{escape(verdict.reason)}" if verdict.reason else ""),
            "\n".join(digits(item) for item in verdict.means), steps,
        )
    for claim in undecidable:
        table.add_row(escape(f"{claim.name}: {claim.sentence}"), f"not decidable at {scale}", "", f"needs {claim.least_scale}")
    console().print(table)

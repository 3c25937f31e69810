"""``suite claims``: re-test what a method's paper claims."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from suite.cli import _words as words
from suite.cli.run import run, show_plan, training_options
from suite.errors import UserError

if TYPE_CHECKING:
    from suite.claims import Verdict
    from suite.contract import Claim
    from suite.plan import Plan


@click.command()
@click.argument("method", shell_complete=words.method)
@click.option("--scale", default="short", show_default=True, shell_complete=words.scales, help="smoke, short, long or full.")
@click.option("--seeds", type=click.IntRange(1, 9),
              help="Most seeds for a claim (default: up to the last look's 9; at long and full 1, which decides nothing).")
@click.option("--data", type=click.Path(path_type=Path), help="The data set, or a folder at most two levels above it.")
@click.option("--only", help="Only claims whose name contains this text, for example 0.9 or 1a.")
@training_options
@click.option("--track", metavar="URI", help="An MLflow store or server instead of the local one.")
@click.option("--dry-run", is_flag=True, help="Print the plan of the next look with a time estimate, and run nothing.")
def command(
    method: str, scale: str, seeds: int | None, data: Path | None, only: str | None, device: str, threads: int, jobs: int | None,
    engine: str, track: str | None, dry_run: bool,
) -> None:
    """Run both sides of every claim of METHOD on the same seeds, look by look, and print a verdict with its numbers.

    A claim is looked at with 3, 5 and 9 seeds; once it is decided, no more of its runs are made. Runs that are recorded are
    shared with `suite run` and not repeated. A refuted claim is a result, not a failure.
    """
    from suite import claims, plan, plugins
    from suite.paths import cache_folder
    from suite.tracking import mirror

    found = [claim for claim in plugins.load("baselines", method).claims if not only or only in claim.name]
    if not found:
        raise UserError(f"'{method}' has no claims" + (f" named '{only}'." if only else "; see its file in baselines/."))
    decidable = [claim for claim in found if claims.decidable(claim, scale)]
    tried: set[str] = set()
    records: dict[str, dict[str, Any]] = {}
    while True:
        looked = [_look(claim, scale, seeds, data, device, threads) for claim in decidable]
        merged = plan.merge([part for _, part in looked])
        merged.missing = [spec for spec in merged.missing if spec.id not in tried]  # what has failed is not tried twice
        for (verdict, part), claim in zip(looked, decidable, strict=True):
            if any(spec.id not in tried for spec in part.missing):
                click.echo(f"{claim.name}: {verdict.text}; planned: seeds 0 to {max(spec.seed for spec in part.wanted)}", err=True)
        if dry_run:
            _advise(method, found, scale)
            return show_plan(merged, jobs)
        if merged.missing or not tried:
            records |= {item["id"]: item for item in run(merged, jobs, engine)}
        if not merged.missing:
            break
        tried |= {spec.id for spec in merged.missing}
    _print([verdict for verdict, _ in looked], [claim for claim in found if claim not in decidable], scale)
    _advise(method, found, scale)
    click.echo(mirror(list(records.values()), track, cache_folder()))


def claim_specs(method: str, scale: str, data: Path | None) -> list[Plan]:
    """The plans of the next look at each of a method's claims that `scale` can decide and that is not decided."""
    from suite import claims, plugins

    return [_look(claim, scale, None, data)[1] for claim in plugins.load("baselines", method).claims
            if claims.decidable(claim, scale)]


def _look(
    claim: Claim, scale: str, most: int | None, data: Path | None, device: str = "cpu", threads: int = 1
) -> tuple[Verdict, Plan]:
    """What the recorded runs say of a claim, and the plan of those it rests on, or of its next look's first `most` seeds."""
    from suite import claims, plan
    from suite.looks import LOOKS

    claim = replace(claim, task_options=plan.settled(claim.task, claim.task_options, data))
    most = most or (LOOKS[-1].seeds if scale in ("smoke", "short") else 1)
    sides, parts = [], []
    for side in claim.sides:
        points = []
        for runs in claims.side_runs(claim, side, scale):
            part = plan.specs(runs.task, [(runs.method, runs.options)], range(LOOKS[-1].seeds), scale, data, runs.task_options,
                              device=device, threads=threads)
            absent = {spec.id for spec in part.missing}
            known = [plan.recorded(spec) for spec in part.wanted if spec.id not in absent]
            points.append(runs.among(item for item in known if item))
            parts.append(part)
        sides.append(claims.by_seed(points))
    verdict = claims.judge(claim, sides)
    if not verdict.wanted:
        return verdict, plan.Plan([spec for part in parts for spec in part.wanted if spec.seed in verdict.seeds], [], [])
    return verdict, plan.merge([_limited(part, min(most, verdict.wanted)) for part in parts])


def _limited(part: Plan, seeds: int) -> Plan:
    """Of a plan what the first `seeds` seeds need."""
    from suite.plan import Plan, with_prerequisites

    wanted = [spec for spec in part.wanted if spec.seed < seeds]
    needed = {item.id for spec in wanted for item in with_prerequisites(spec)}
    return Plan(wanted, [spec for spec in part.missing if spec.id in needed],
                [sentence for sentence in part.stale if sentence.partition(" ")[0] in needed])


def _advise(method: str, found: list[Claim], scale: str) -> None:
    """Say at which scale the claims can be decided that `scale` cannot decide, and what to type."""
    from suite.claims import SCALES, decidable

    left = [claim for claim in found if not decidable(claim, scale)]
    for least in [least for least in SCALES if any(claim.least_scale == least for claim in left)]:
        count = sum(claim.least_scale == least for claim in left)
        click.echo(f"{count} claim{' is' if count == 1 else 's are'} decided from scale {least} on; type: "
                   f"suite claims {method} --scale {least}")


def _print(verdicts: list[Any], undecidable: list[Any], scale: str) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    from suite.reporting.verdicts import differences, level, means
    from suite.terminal import console

    # Without rules between columns, so that all numbers have room at 80 columns.
    table = Table(title="difference over seeds: mean and interval of the look, paired by seed", title_justify="left",
                  box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column("claim", overflow="fold")
    table.add_column("verdict")
    table.add_column("means")
    table.add_column("difference")
    if imaged := any(verdict.images for verdict in verdicts):
        table.add_column("over images")
        table.caption = "Over images: the 95 % interval over the test images, about these networks, not about the method."
    colours = {"holds": "green", "refuted": "red"}
    for verdict in verdicts:
        table.add_row(
            escape(f"{verdict.claim.name}: {verdict.claim.sentence}"),
            f"[{colours.get(verdict.finding, 'yellow')}]{escape(verdict.text)}[/]",
            escape(means(verdict, "\n")),
            escape(differences(verdict.intervals).replace("; ", "\n") + level(verdict)),
            *([escape(differences(verdict.images).replace("; ", "\n"))] if imaged else []),
        )
    for claim in undecidable:
        table.add_row(escape(f"{claim.name}: {claim.sentence}"), f"not decidable at {scale}", "", f"needs {claim.least_scale}")
    console().print(table)

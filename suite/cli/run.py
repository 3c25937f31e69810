"""``suite run``: the main job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from suite.errors import UserError


def training_options(command: Any) -> Any:
    """The options of every command that trains: where, on how many threads each, and how many runs side by side."""
    for option in (
        click.option("--jobs", type=click.IntRange(1), help="Runs side by side (default: all cores); no number depends on it."),
        click.option("--threads", type=click.IntRange(1), default=1, show_default=True,
                     help="Threads of each training; part of the record, as another number gives another network."),
        click.option("--device", default="cpu", show_default=True, help="Where to train; latency is always the CPU's."),
    ):
        command = option(command)
    return command


@click.command()
@click.argument("task")
@click.argument("methods")
@click.argument("options", nargs=-1)
@click.option("--scale", default="short", show_default=True, help="smoke, short, long or full: the budget, and what shrinks.")
@click.option("--seed", type=int, help="One seed (default 0).")
@click.option("--seeds", type=click.IntRange(1), help="That many seeds: 0, 1, ...")
@click.option("--data", type=click.Path(path_type=Path), help="The data set, or a folder at most two levels above it.")
@training_options
@click.option("--track", metavar="URI", help="An MLflow store or server instead of the local one.")
@click.option("--dry-run", is_flag=True, help="Print the plan with a time estimate, and run nothing.")
@click.option("--again", is_flag=True, help="Run even what is recorded; the old record stays until the new one is done.")
def command(
    task: str, methods: str, options: tuple[str, ...], scale: str, seed: int | None, seeds: int | None, data: Path | None,
    device: str, threads: int, jobs: int | None, track: str | None, dry_run: bool, again: bool,
) -> None:
    """Run METHODS (names separated by commas) on TASK with OPTIONS (key=value; a comma makes a grid).

    \b
    suite run cifar10 one_by_n n=4 sparsity=0.5
    suite run cifar10 one_by_n,l1_filter sparsity=0.5,0.75 one_by_n.n=4 --seeds 3
    suite run imagenet one_by_n task.size=224 --data /datasets --scale full --device cuda
    """
    if seed is not None and seeds is not None:
        raise UserError("--seed and --seeds exclude each other; --seeds 3 means the seeds 0, 1 and 2.")
    numbers = list(range(seeds)) if seeds else [seed or 0]
    plan = make_plan(task, methods.split(","), options, numbers, scale, data, again, device=device, threads=threads)
    for sentence in plan.stale:
        click.echo(f"stale, will be run again: {sentence}", err=True)
    if dry_run:
        return show_plan(plan, jobs)
    records = run(plan, jobs)
    finish(records, plan, track)
    if any(item["status"] == "failed" for item in records):
        raise SystemExit(1)


def run(plan: Any, jobs: int | None) -> list[dict[str, Any]]:
    """Execute a plan, `jobs` runs at a time (default: as many as there are physical cores), telling the user on standard error."""
    import sys

    from suite.profile.machine import physical_cores
    from suite.runner import run_plan

    return run_plan(plan, say=_say, jobs=jobs or physical_cores(), show_progress=sys.stderr.isatty())


def _say(sentence: str) -> None:
    click.echo(sentence, err=True)


def make_plan(
    task: str, methods: list[str], words: tuple[str, ...], seeds: list[int], scale: str, data: Path | None, again: bool = False,
    **training: Any,
) -> Any:
    """The plan of a command line: names and options checked, the grid unfolded, the data found."""
    from suite import options, plan, plugins

    parsed = options.parse(words, methods)
    for_task = options.grid(plugins.load("tasks", task), task, [word for word in parsed if word.owner == "task"])
    wanted = []
    for name in dict.fromkeys(methods):
        own = [word for word in parsed if word.owner in ("", name)]
        own = [word for word in own if word.owner or not any(item.owner and item.key == word.key for item in own)]
        wanted += [(name, chosen) for chosen in options.grid(plugins.load("baselines", name), name, own)]
    plans = [plan.specs(task, wanted, seeds, scale, data, chosen, again, **training) for chosen in for_task]
    if note := next((spec.source.note for item in plans for spec in item.wanted), ""):
        click.echo(note, err=True)
    return plan.merge(plans)


def finish(records: list[dict[str, Any]], plan: Any, track: str | None) -> None:
    """Mirror the records of a plan into MLflow and print their table, with latencies of this machine alone."""
    from suite import record
    from suite.paths import cache_folder
    from suite.reporting.terminal import run_table
    from suite.reporting.verdicts import verdicts
    from suite.terminal import console
    from suite.timing import timed_here
    from suite.tracking import mirror

    sentence = mirror(records, track, cache_folder())
    shown = timed_here(records, plan.shown, _say)
    known = record.read_all(tasks={item["task"]["name"] for item in records})
    run_table(shown, console(), verdicts(known, sorted({item["method"]["name"] for item in records})))
    click.echo(sentence)


def show_plan(plan: Any, jobs: int | None = None) -> None:
    """Print what a plan would run, with an estimate from the records of the time that `jobs` runs side by side take."""
    from suite import record
    from suite.plan import estimate
    from suite.profile.machine import physical_cores

    guess = estimate(plan, record.read_all())
    for spec in plan.missing:
        seconds = guess[spec.id]
        note = "  (its network alone: the record stays)" if plan.into_cache(spec) else ""
        click.echo(f"{spec.id}  {spec.options}  {'?' if seconds is None else f'{seconds:.0f} s'}{note}")
    known = [seconds for seconds in guess.values() if seconds is not None]
    unknown, side_by_side = len(guess) - len(known), min(jobs or physical_cores(), max(1, len(guess)))
    minutes = sum(known) / 60 / side_by_side
    count = len(plan.missing)
    click.echo(f"{count} run{'' if count == 1 else 's'} to make, {len(plan.shown) - count} recorded; about {minutes:.0f} min"
               + (f" and {unknown} runs without an estimate (none like them is recorded)" if unknown else ""))

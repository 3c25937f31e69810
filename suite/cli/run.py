"""``suite run``: the main job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from suite.cli import _words as words
from suite.errors import UserError

engine_option = click.option(
    "--engine", default="local", show_default=True, metavar="local|ray[=ADDRESS]",
    help="Where runs are made: here, or on a Ray cluster (without ADDRESS one is started here).")


def training_options(command: Any) -> Any:
    """The options of every command that trains: where, on how many threads each, and how many runs side by side."""
    for option in (
        click.option("--jobs", type=click.IntRange(1), help="Runs side by side (default: all cores); no number depends on it."),
        click.option("--threads", type=click.IntRange(1), default=1, show_default=True,
                     help="Threads of each training; part of the record, as another number gives another network."),
        click.option("--device", default="cpu", show_default=True, help="Where to train; latency is always the CPU's."),
        engine_option,
    ):
        command = option(command)
    return command


@click.command()
@click.argument("task", metavar="TASK|GRID.toml", shell_complete=words.tasks)
@click.argument("methods", required=False, shell_complete=words.methods)
@click.argument("options", nargs=-1, shell_complete=words.options)
@click.option("--scale", shell_complete=words.scales, help="smoke, short (default), long or full: the budget, and what shrinks.")
@click.option("--seed", type=int, help="One seed (default 0).")
@click.option("--seeds", type=click.IntRange(1), help="That many seeds: 0, 1, ...")
@click.option("--data", type=click.Path(path_type=Path), help="The data set, or a folder at most two levels above it.")
@training_options
@click.option("--track", metavar="URI", help="An MLflow store or server instead of the local one.")
@click.option("--dry-run", is_flag=True, help="Print the plan with a time estimate, and run nothing.")
@click.option("--again", is_flag=True, help="Run even what is recorded; the old record stays until the new one is done.")
def command(
    task: str, methods: str | None, options: tuple[str, ...], scale: str | None, seed: int | None, seeds: int | None,
    data: Path | None, device: str, threads: int, jobs: int | None, engine: str, track: str | None, dry_run: bool, again: bool,
) -> None:
    """Run METHODS (names separated by commas) on TASK with OPTIONS (key=value; a comma makes a grid).

    `suite info NAME` tells the options of a method or a task, what they may be and what each scale sets.

    GRID.toml holds several such lines as tables [[runs]], with task, methods, options, scale and seeds; --scale, --seed and --seeds
    take the place of its own.

    \b
    suite run cifar10 one_by_n n=4 sparsity=0.5
    suite run cifar10 one_by_n,l1_filter sparsity=0.5,0.75 one_by_n.n=4 --seeds 3
    suite run imagenet one_by_n task.size=224 --data /datasets --scale full --device cuda
    suite run grid.toml --dry-run
    """
    if seed is not None and seeds is not None:
        raise UserError("--seed and --seeds exclude each other; --seeds 3 means the seeds 0, 1 and 2.")
    numbers = list(range(seeds)) if seeds else [] if seed is None else [seed]
    if task.endswith(".toml"):
        if methods:
            raise UserError(f"'{methods}' follows the grid '{task}', which names its methods and options itself; leave it out.")
        plan = grid_plan(Path(task), numbers, scale, data, again, device=device, threads=threads)
    elif methods:
        plan = make_plan(task, methods.split(","), options, numbers or [0], scale or "short", data, again, device=device,
                         threads=threads)
    else:
        raise click.UsageError("Missing argument 'METHODS'.", click.get_current_context())
    for sentence in plan.stale:
        click.echo(f"stale, will be run again: {sentence}", err=True)
    if dry_run:
        return show_plan(plan, jobs)
    records = run(plan, jobs, engine)
    finish(records, plan, track, elsewhere="=" in engine)
    if any(item["status"] == "failed" for item in records):
        raise SystemExit(1)


def run(plan: Any, jobs: int | None, engine: str = "local") -> list[dict[str, Any]]:
    """Execute a plan, `jobs` runs at a time (default: as many as there are physical cores), telling the user on standard error.

    UserError for an unknown `engine`, and for `jobs` where a cluster's CPUs decide.
    """
    import sys

    from suite.profile.machine import physical_cores

    kind, _, address = engine.partition("=")
    if kind not in ("local", "ray") or engine.endswith("=") or engine.startswith("local="):
        raise UserError(f"--engine {engine} is none; type local, ray, or ray=ADDRESS with the address of a Ray cluster.")
    if address and jobs:
        raise UserError("--jobs is for this machine: on a cluster as many runs stand side by side as it has CPUs; leave it out.")
    if kind == "ray":
        from suite.launch import on_ray

        return on_ray.run_plan(plan, address, say=_say, jobs=jobs or physical_cores())
    from suite.runner import run_plan

    return run_plan(plan, say=_say, jobs=jobs or physical_cores(), show_progress=sys.stderr.isatty())


def _say(sentence: str) -> None:
    click.echo(sentence, err=True)


def make_plan(
    task: str, methods: list[str], words: tuple[str, ...], seeds: list[int], scale: str, data: Path | None, again: bool = False,
    **training: Any,
) -> Any:
    """The plan of a command line: names and options checked, the grid unfolded, the data found."""
    from suite import options, request

    return request.make_plan(task, methods, options.parse(words, methods), seeds, scale, data, again, say=_say, **training)


def grid_plan(path: Path, seeds: list[int], scale: str | None, data: Path | None, again: bool = False, **training: Any) -> Any:
    """The plan of a file of tables [[runs]]; `seeds` and `scale`, where given, take the place of theirs."""
    from suite import plan
    from suite.reporting import declare

    plans = []
    for number, item in enumerate(declare.grid(path), 1):
        try:
            plans.append(make_plan(item.task, list(item.methods), tuple(item.options), seeds or list(range(item.seeds)),
                                   scale or item.scale, data, again, **training))
        except UserError as mistake:
            raise UserError(f"{declare.table_of(path, number)}: {mistake}") from mistake
    return plan.merge(plans)


def finish(records: list[dict[str, Any]], plan: Any, track: str | None, elsewhere: bool = False) -> None:
    """Mirror the records of a plan into MLflow and print their table, with latencies of this machine alone, or as a cluster that
    made them `elsewhere` has measured them."""
    from suite import record
    from suite.paths import cache_folder
    from suite.reporting.terminal import run_table
    from suite.reporting.verdicts import verdicts
    from suite.terminal import console
    from suite.timing import timed_here
    from suite.tracking import mirror

    sentence = mirror(records, track, cache_folder())
    shown = records if elsewhere else timed_here(records, plan.shown, _say)
    known = record.read_all(like=[f"{name}/*" for name in sorted({item["task"]["name"] for item in records})])
    run_table(shown, console(), verdicts(known, sorted({item["method"]["name"] for item in records})))
    click.echo(sentence)
    if name := _exportable(plan):
        click.echo(f"To use the network elsewhere: suite export {name} --to network.onnx")


def _exportable(plan: Any) -> str:
    """The id of the first run asked for whose network is here and can be exported; empty where there is none."""
    from suite.context import load
    from suite.plan import recorded

    for spec in plan.wanted:
        found = recorded(spec)
        if found and found["weights"] and found["profile"] and spec.artifact.exists():
            return "" if getattr(load(spec.artifact), "gradients", False) else found["id"]
    return ""


def show_plan(plan: Any, jobs: int | None = None) -> None:
    """Print what a plan would run, with an estimate from the records of the time that `jobs` runs side by side take."""
    from suite import record
    from suite.estimates import estimate
    from suite.profile.machine import physical_cores

    tasks = {spec.task_name for spec in plan.missing}
    found = estimate(plan, record.read_all(like=[f"{task}/*" for task in tasks]) if tasks else [])
    for spec in plan.missing:
        taken = found[spec.id]
        time = "?" if taken is None else f"{taken.seconds:.0f} s{', a guess' if taken.guess else ''}"
        note = "  (its network alone: the record stays)" if plan.into_cache(spec) else ""
        click.echo(f"{spec.id}  {spec.options}  {time}{note}")
    known = [taken for taken in found.values() if taken]
    side_by_side = min(jobs or physical_cores(), max(1, len(found)))
    minutes = sum(taken.seconds for taken in known) / 60 / side_by_side
    count = len(plan.missing)
    click.echo(f"{_runs(count)} to make, {len(plan.shown) - count} recorded; about {minutes:.0f} min")
    if guessed := sum(taken.guess for taken in known):
        click.echo(f"{_runs(guessed)} guessed: so many samples at the speed of recorded runs on the same task and network.")
    for spec in [spec for spec in plan.missing if not found[spec.id]][:1]:
        first = f"suite run {spec.task_name} {spec.method_name} --scale smoke"
        more = "smoke runs take seconds" if spec.scale == "smoke" else f"for a guess, first type: {first}"
        click.echo(f"{_runs(len(found) - len(known))} without an estimate, as none like them is recorded; {more}")


def _runs(count: int) -> str:
    return f"{count} run{'' if count == 1 else 's'}"

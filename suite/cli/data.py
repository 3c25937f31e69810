"""``suite data``: is a copy of the data complete and right; write the embedded data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from suite import paths, plugins
from suite.cli import _words as words
from suite.errors import UserError

if TYPE_CHECKING:
    from rich.status import Status

    from suite.data.dataset import Dataset


@click.group()
def command() -> None:
    """Check a copy of a task's data, or write the embedded data in the official layout."""


@command.command()
@click.argument("task", shell_complete=words.tasks)
@click.argument("options", nargs=-1, shell_complete=words.options)
@click.option("--data", type=click.Path(path_type=Path), help="The data or a parent folder (else SUITE_DATA, else embedded).")
def check(task: str, options: tuple[str, ...], data: Path | None) -> None:
    """Say which data TASK with its OPTIONS (task.key=value) would use, verify them, say what is missing and where it is to be had.

    \b
    suite data check cifar10 --data /datasets
    suite data check change_detection task.threshold=128 --data /datasets
    """
    from suite.data import source

    dataset = _dataset(task, options, data)
    with _busy(f"Reading {dataset.title}"):
        folder, note = source.locate_folder(dataset, data, paths.cache_folder())
        problems = dataset.check(folder)
        found = None if problems else source.source_of(dataset, folder)
    if note:
        click.echo(note)
    if not found:
        click.echo(f"{dataset.title} in '{folder}'")
        raise UserError("\n".join(problems))
    click.echo(f"{dataset.title} in '{folder}': {found.kind}, complete")
    lines = {**dataset.describe(folder), "digest": found.digest}
    for name, text in lines.items():
        click.echo(f"  {name:<{max(map(len, lines))}}  {text}")
    if found.kind != "official":
        click.echo(
            f"  These are not the official data: numbers are not comparable with published ones. For those, get "
            f"{dataset.where_to_get}."
        )


@command.command()
@click.argument("task", shell_complete=words.tasks)
@click.argument("options", nargs=-1, shell_complete=words.options)
@click.option("--to", type=click.Path(path_type=Path), help="A new folder (default: the cache, where runs look for it).")
def make(task: str, options: tuple[str, ...], to: Path | None) -> None:
    """Write the embedded data of TASK with its OPTIONS (task.key=value) in the official layout: the same on every machine."""
    from suite.data import source

    dataset = _dataset(task, options, source.EMBEDDED)
    with _busy(f"Drawing the embedded data of {dataset.title}"):
        if to is None:
            folder = source.embedded_folder(dataset, paths.cache_folder())
        else:
            source.write_embedded(dataset, to)
            folder = source.found_in(dataset, to)
    counts = ", ".join(f"{count} {split}" for split, count in dataset.counts(folder).items())
    click.echo(f"{dataset.title}, embedded, version {dataset.version}: {counts} in '{folder}'")


def _busy(what: str) -> Status:
    from suite.terminal import console

    return console(stderr=True).status(what)


def _dataset(task: str, words: tuple[str, ...], data: Path | None) -> Dataset:
    from suite import options, plan

    task_class = plugins.load("tasks", task)
    chosen = options.grid(task_class, task, options.parse(words, [task]))
    if len(chosen) > 1:
        raise UserError("The data of several options were asked for; give each option one value.")
    return task_class(**plan.settled(task, chosen[0], data)).dataset()

"""``suite list``: what there is, one line each."""

from __future__ import annotations

import dataclasses
import json
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import click

from suite import plugins
from suite.cli import _words as words
from suite.errors import UserError

if TYPE_CHECKING:
    from suite.listing import Configuration

WHATS = ("tasks", "methods", "records", "all")
FOLDERS: dict[str, plugins.Kind] = {"tasks": "tasks", "methods": "baselines"}


@click.command()
@click.argument("what", type=click.Choice(WHATS), default="all")
@click.argument("like", metavar="[PATTERN]", default="*", shell_complete=words.listed)
@click.option("--tag", metavar="PATTERN", help="Of the methods those with such a tag, for example 'cnn/pruning*'.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
def command(what: str, like: str, tag: str | None, as_json: bool) -> None:
    """List tasks, methods, or records, all or those whose name is like PATTERN. Files are parsed, not imported, so a broken
    plug-in is listed too. Of records a line has all seeds, and the options that differ from what the scale sets.

    \b
    suite list methods --tag 'cnn/pruning*'
    suite list records cifar10
    suite list records 'cifar10/*_filter/*'
    suite info NAME                          everything about one of them
    """
    if tag and what != "methods":
        raise UserError("Tags are of methods; type: suite list methods --tag PATTERN")
    if what == "records":
        return _records(like, as_json)
    listing = {kind: {name: found for name, found in plugins.find(folder).items()
                      if fnmatchcase(name, like) and (not tag or _tagged(found, tag))}
               for kind, folder in FOLDERS.items() if what in (kind, "all")}
    if as_json:
        facts = {kind: {name: _facts(item) for name, item in found.items()} for kind, found in listing.items()}
        return click.echo(json.dumps(facts, indent=1))
    for kind, found in listing.items():
        click.echo(f"{kind}:" if found else f"{kind}: none")
        width = max(map(len, found), default=0)
        for name, item in found.items():
            click.echo(f"  {name:<{width}}  {item.summary}")


def _tagged(found: plugins.Found, tag: str) -> bool:
    return any(fnmatchcase(str(item), tag) for item in found.facts.get("tags", ()))


def _facts(found: plugins.Found) -> dict[str, Any]:
    """What the JSON has of a plug-in."""
    return {"summary": found.summary, **({"tags": found.facts.get("tags", ())} if found.kind == "baselines" else {})}


def _records(like: str, as_json: bool) -> None:
    """Records by task and method, a line for each configuration."""
    from suite import record
    from suite.listing import configurations, heads

    known = heads(like)
    if as_json:
        found = {item["id"]: dataclasses.asdict(configurations([item])[0]) for item in known}
        return click.echo(json.dumps({"records": found}, indent=1))
    if not known:
        click.echo("records: none")
        there = "`suite list records` shows those there are." if record.ids(record.results_folder()) else record.absent()
        return click.echo(f"No record's id is like '{like}'; {there}", err=True)
    groups: dict[str, list[Configuration]] = {}
    for item in configurations(known):
        groups.setdefault(f"{item.task}/{item.method}", []).append(item)
    for name, items in groups.items():
        click.echo(f"{name}:")
        lines = [_cells(item) for item in items]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        for line in lines:
            click.echo("  " + "  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip())


def _cells(item: Configuration) -> tuple[str, ...]:
    """The columns of a configuration: fingerprint, scale, data, score, seeds, options."""
    from suite.reporting.cells import seeds, spread
    from suite.statistics import deviation, mean

    status = "" if item.status == "done" else f"{item.status} "
    score = f"{item.metric} {spread(mean(item.scores), deviation(item.scores))}" if item.scores else ""
    named = f"seed{'' if len(item.seeds) == 1 else 's'} {seeds(item.seeds)}"
    return item.fingerprint, item.scale, item.source, f"{status}{score}".strip(), named, item.options

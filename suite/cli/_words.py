"""What a shell completes: names of tasks, methods, options, scales and reports, from their files and without importing them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from suite import plugins
from suite.claims import SCALES
from suite.errors import UserError

Complete = Callable[[click.Context, click.Parameter, str], list[str]]


def _quiet(names: Callable[[click.Context, str], list[str]]) -> Complete:
    """A completion for click of what `names` gives: those that begin as the word does, and none where plug-ins cannot be told
    apart, which the command itself will say."""
    def complete(context: click.Context, parameter: click.Parameter, word: str) -> list[str]:
        try:
            return [name for name in names(context, word) if name.startswith(word)]
        except UserError:
            return []

    return complete


@_quiet
def tasks(context: click.Context, word: str) -> list[str]:
    return list(plugins.find("tasks"))


@_quiet
def method(context: click.Context, word: str) -> list[str]:
    return list(plugins.find("baselines"))


@_quiet
def methods(context: click.Context, word: str) -> list[str]:
    """Names with commas between them: the last one is completed."""
    before, comma, _ = word.rpartition(",")
    return [f"{before}{comma}{name}" for name in plugins.find("baselines")]


@_quiet
def scales(context: click.Context, word: str) -> list[str]:
    return list(SCALES)


@_quiet
def options(context: click.Context, word: str) -> list[str]:
    """``key=`` of the methods on the line, and ``task.key=`` of its task."""
    given: dict[str, Any] = context.params
    task = given.get("task")
    own = [f"{key}=" for name in (given.get("methods") or "").split(",") if name for key in plugins.option_names("baselines", name)]
    return list(dict.fromkeys([*own, *(f"task.{key}=" for key in (plugins.option_names("tasks", task) if task else ()))]))


@_quiet
def listed(context: click.Context, word: str) -> list[str]:
    """What the PATTERN of `suite list` may be: names of the kind that is listed, of records their tasks."""
    return list(plugins.find("baselines" if context.params.get("what") == "methods" else "tasks"))


@_quiet
def anything(context: click.Context, word: str) -> list[str]:
    """What `suite info` knows, but for the networks, whose names only importing them tells."""
    return [*plugins.find("baselines"), *plugins.find("tasks"), *_reports()]


@_quiet
def reports(context: click.Context, word: str) -> list[str]:
    return _reports()


def _reports() -> list[str]:
    from suite.reporting import declare

    return declare.names(Path("reports"))

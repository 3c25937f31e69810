"""From a request, be it a command line or a call from Python, to a plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from suite import options, plan, plugins
from suite.options import Word


def make_plan(
    task: str, methods: Sequence[str], words: Sequence[Word], seeds: Sequence[int], scale: str, data: Path | None = None,
    again: bool = False, *, say: Callable[[str], None] = lambda sentence: None, **training: Any,
) -> plan.Plan:
    """The plan of some methods on a task: names and options checked, the grid unfolded, the data found.

    `training` is what `plan.specs` takes. What the user should know of the data is told `say`. UserError for names, options and
    data that are not there.
    """
    for_task = options.grid(plugins.load("tasks", task), task, [word for word in words if word.owner == "task"])
    wanted = []
    for name in dict.fromkeys(methods):
        own = [word for word in words if word.owner in ("", name)]
        own = [word for word in own if word.owner or not any(item.owner and item.key == word.key for item in own)]
        wanted += [(name, chosen) for chosen in options.grid(plugins.load("baselines", name), name, own)]
    plans = [plan.specs(task, wanted, seeds, scale, data, chosen, again, **training) for chosen in for_task]
    if note := next((spec.source.note for item in plans for spec in item.wanted), ""):
        say(note)
    return plan.merge(plans)


def as_words(chosen: Mapping[str, Any], methods: Sequence[str]) -> list[Word]:
    """Options given as values by ``[owner.]key``, as a command line would give them; a list is a grid, a tuple one value of several
    parts. UserError for an owner that is neither 'task' nor one of `methods`."""
    words = []
    for name, found in chosen.items():
        values = [_text(item) for item in found] if isinstance(found, list) else [_text(found)]
        [word] = options.parse([f"{name}={values[0] if values else ''}"], methods)
        words.append(word._replace(values=tuple(values)))
    return words


def _text(value: Any) -> str:
    """A value as it is typed."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return ":".join(map(_text, value)) if isinstance(value, tuple) else str(value)

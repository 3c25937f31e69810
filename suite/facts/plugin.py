"""What tasks and methods have in common: what their files say, their options, and the records there are of them."""

from __future__ import annotations

import ast
import dataclasses
import typing
from collections.abc import Sequence
from typing import Any

from suite import plugins
from suite.contract import Method, Task, offers
from suite.errors import UserError
from suite.listing import Configuration, configurations, heads, scale_place
from suite.options import described


def idea(found: plugins.Found) -> list[str]:
    """The paragraphs of a file's docstring below its first line, each on one line."""
    whole = ast.get_docstring(ast.parse(found.path.read_bytes())) or ""
    return [" ".join(part.split()) for part in whole.split("\n\n")[1:]]


def options(plugin: type[Task | Method]) -> list[dict[str, Any]]:
    """The options of a plug-in: ``name, type, default, help, bounds, choices``."""
    hints, found = typing.get_type_hints(plugin), []
    for field in dataclasses.fields(plugin):  # type: ignore[arg-type]
        meta = field.metadata
        default = None if field.default is dataclasses.MISSING else field.default
        found.append({"name": field.name, "type": described(hints[field.name]), "default": default, "help": meta.get("help", ""),
                      "bounds": meta.get("bounds"), "choices": meta.get("choices")})
    return found


def records(like: str) -> list[dict[str, Any]]:
    """How many configurations and seeds of them are done, by ``task, method, scale, source``."""
    groups: dict[tuple[str, ...], list[Configuration]] = {}
    for item in configurations(heads(like)):
        if item.status == "done":
            groups.setdefault((item.task, item.method, item.scale, item.source), []).append(item)
    return [{"task": task, "method": method, "scale": scale, "source": source, "configurations": len(items),
             "seeds": max(len(item.seeds) for item in items)}
            for (task, method, scale, source), items in sorted(groups.items(), key=lambda group: _order(group[0]))]


def _order(group: Sequence[str]) -> tuple[Any, ...]:
    task, method, scale, source = group
    return task, method, scale_place(scale), source


def loaded(kind: plugins.Kind) -> dict[str, type[Any]]:
    """The plug-ins of a kind that can be imported, by name."""
    found = {}
    for name in plugins.find(kind):
        try:
            found[name] = plugins.load(kind, name)
        except UserError:  # whoever asks for that one is told
            continue
    return found


def fit(task: type[Task], method: type[Method]) -> bool:
    """Whether a task takes a method, as the plan decides it: by the setting it offers and the artifact it judges."""
    return method.gives in task.accepts and offers(task) in method.takes

"""Which kinds of thing a name is of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from suite import plugins
from suite.errors import UserError, nearest

KINDS = ("method", "task", "network", "report")


def names(reports: Path) -> dict[str, list[str]]:
    """The names of each kind, in the order of `KINDS`; `reports` is the folder of declarations. Imports the networks."""
    from suite.nn import ARCHS
    from suite.reporting import declare

    return {"method": list(plugins.find("baselines")), "task": list(plugins.find("tasks")), "network": list(ARCHS),
            "report": declare.names(reports)}


def kinds_of(name: str, reports: Path) -> list[str]:
    """The kinds that `name` is of. UserError where it is of none, with the nearest names of all kinds."""
    known = names(reports)
    found = [kind for kind, there in known.items() if name in there]
    if not found:
        each = {item for there in known.values() for item in there}
        none = "" if known["report"] else f" ('{reports}' declares no reports; --reports names a checkout's)"
        near = nearest(name, each) or "; `suite list` names tasks and methods"
        raise UserError(f"There is no method, task, network or report '{name}'{none}{near}")
    return found


def module(kind: str) -> Any:
    """The module that tells of a kind."""
    import importlib

    return importlib.import_module(f"suite.facts.{kind}")

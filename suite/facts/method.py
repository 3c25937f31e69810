"""What there is to know of a method."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from suite import plugins, record
from suite.contract import Method, Needed, Role, Task
from suite.errors import UserError
from suite.facts import plugin
from suite.facts.bibtex import entry
from suite.facts.sections import Sections, options_rows, records_rows, words
from suite.options import build

SCALE = "short"  # at which what a method needs is told, and for which commands without a scale are


def facts(name: str, reports: Path) -> dict[str, Any]:
    """Everything about a method. UserError where its file cannot be imported."""
    method, found = plugins.load("baselines", name), plugins.find("baselines")[name]
    tasks = {task: there for task, there in plugin.loaded("tasks").items() if plugin.fit(there, method)}
    records = plugin.records(f"*/{name}/*")
    return {
        "kind": "method", "name": name, "summary": found.summary, "idea": plugin.idea(found), "file": str(found.path),
        "paper": dataclasses.asdict(method.paper), "tags": method.tags, "takes": method.takes, "gives": method.gives,
        "options": plugin.options(method), "asks": method.asks, "scales": method.scales,
        "tasks": {task: _proposed(there, method) for task, there in tasks.items()},
        "starts": method.starts, "needs": _needs(name, method, tasks), "extras": method.extras, "claims": _claims(name, method),
        "published": [dataclasses.asdict(item) for item in method.published], "standins": method.standins, "records": records,
        "command": _command(name, method, list(tasks), {item["task"] for item in records}),
    }


def _proposed(task: type[Task], method: type[Method]) -> dict[str, Any]:
    """What a task proposes for the method's options, in place of their defaults."""
    own = {field.name for field in dataclasses.fields(method)}  # type: ignore[arg-type]
    return {key: item for key, item in task.defaults.items() if key in own}


def _needs(name: str, method: type[Method], tasks: Mapping[str, type[Task]]) -> list[dict[str, Any]]:
    """The recorded runs that it rests on with its usual options, on the first of its tasks where they can be told: ``task, method,
    options, role``."""
    for task_name, task_class in tasks.items():
        try:
            task = build(task_class, task_name, {}, SCALE)
            made = build(method, name, {}, SCALE, task)
            role: Role = "reference" if made.starts == "reference" else "teacher"
            own = [Needed(task_name, task.reference, task.reference_options(key), role) for key in made.references()]
            return [{"task": item.task, "method": item.method, "options": item.options, "role": item.role}
                    for item in (*own, *made.needs().values())]
        except (UserError, KeyError):  # an option must be given, or the task has no such scale
            continue
    return []


def _claims(name: str, method: type[Method]) -> list[dict[str, str]]:
    """Each claim with what the records say of it today, by the data and scale that they are of."""
    from suite.reporting.verdicts import verdicts

    if not method.claims:
        return []
    known = record.read_all(like=sorted({f"{claim.task}/{side.method}/*" for claim in method.claims for side in claim.sides}))
    return [{**{key: getattr(item.claim, key) for key in ("name", "sentence", "task", "least_scale")},
             "finding": item.verdict.finding, "verdict": item.verdict.text, "on": item.where} for item in verdicts(known, [name])]


def _command(name: str, method: type[Method], tasks: list[str], recorded: set[str]) -> str:
    """A line that runs it in seconds, on a task of which there are records where there is one."""
    task = next((task for task in tasks if task in recorded), tasks[0] if tasks else "TASK")
    return " ".join(["suite run", task, name, *(f"{key}={key.upper()}" for key in method.asks), "--scale smoke"])


def bibtex(name: str) -> str:
    """The paper of a method as an entry of BibTeX."""
    return entry(plugins.load("baselines", name).paper)


def title(found: Mapping[str, Any]) -> str:
    return f"{found['name']}, a method: {found['summary']}"


def commands(found: Mapping[str, Any]) -> list[str]:
    """Lines to copy."""
    claims = [f"suite claims {found['name']}"] if found["claims"] else []
    return [found["command"], *claims, f"suite info {found['name']} --bibtex"]


def sections(found: Mapping[str, Any]) -> Sections:
    """Everything but the title and the commands."""
    paper = found["paper"]
    return {
        "idea": "\n".join(found["idea"]),
        "paper": f"{paper['title']}. {paper['authors']}. {paper['venue']} {paper['year']}.\n{paper['url']}",
        "options, with their defaults": options_rows(found["options"]),
        "what a scale sets": [(scale, words(set_)) for scale, set_ in found["scales"].items() if set_],
        "tasks that take it": [(f"{task}, which proposes {words(proposed)}" if proposed else task,)
                               for task, proposed in found["tasks"].items()],
        "starts from, and needs": _needed_rows(found),
        f"claims, what the records say today, and from which scale{_place(found['claims'])}": _claim_rows(found["claims"]),
        "published numbers": [(f"{item['metric']} {item['value']:g}", f"{item['task']} {words(item['options'])}", item["where"])
                              for item in found["published"]],
        "stand-ins, where the paper leaves something open": [("-", item) for item in found["standins"]],
        "records": records_rows(found["records"]),
        "tags": ", ".join(found["tags"]),
    }


def _needed_rows(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    runs = [(item["role"], f"{item['task']} {item['method']} {words(item['options'])}") for item in found["needs"]]
    start = "a reference: a trained network of its task" if found["starts"] == "reference" else "scratch: nothing that is trained"
    extras = [("package", f"pip install 'suite[{name}]'") for name in found["extras"]]
    return [("start", start), *runs, *extras, *(("must be given", f"{key}=...") for key in found["asks"])]


def _place(claims: Sequence[Mapping[str, str]]) -> str:
    """What all verdicts are about, as the end of the heading, where that is one thing."""
    places = {claim["on"] for claim in claims}
    return f" ({places.pop()})" if len(places) == 1 else ""


def _claim_rows(claims: Sequence[Mapping[str, str]]) -> list[tuple[str, str, str]]:
    several = len({claim["on"] for claim in claims}) > 1
    return [(claim["finding"], claim["least_scale"],
             f"{claim['name']}: {claim['sentence']}{' (' + claim['on'] + ')' if several else ''}") for claim in claims]

"""What there is to know of a task."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from suite import plugins
from suite.contract import Task, offers
from suite.errors import UserError
from suite.facts import plugin
from suite.facts.sections import Sections, options_rows, records_rows, words


def facts(name: str, reports: Path) -> dict[str, Any]:
    """Everything about a task. UserError where its file cannot be imported."""
    task, found = plugins.load("tasks", name), plugins.find("tasks")[name]
    return {
        "kind": "task", "name": name, "title": task.title, "summary": found.summary, "idea": plugin.idea(found),
        "file": str(found.path), "version": task.version, "metrics": [dataclasses.asdict(item) for item in task.metrics],
        "offers": offers(task), "accepts": task.accepts, "data": _data(name, task), "options": plugin.options(task),
        "scales": {scale: dataclasses.asdict(item) for scale, item in task.scales.items()}, "proposes": task.defaults,
        "reference": task.reference,
        "methods": {method: plugins.find("baselines")[method].summary for method, there in plugin.loaded("baselines").items()
                    if plugin.fit(task, there)},
        "records": plugin.records(f"{name}/*"), "command": f"suite run {name} {task.reference} --scale smoke",
    }


def _data(name: str, task: type[Task]) -> dict[str, Any]:
    """The data set of a task with its usual options; what it says is wrong where it cannot be made."""
    commands = {"check": f"suite data check {name} --data DIR", "make": f"suite data make {name} --to DIR"}
    try:
        dataset = task().dataset()
        layouts = _layouts(task)
    except UserError as error:
        return {"reader": task.data, "layout": "", "where_to_get": "", "embedded": "", "wrong": str(error), **commands}
    return {"reader": type(dataset).__name__, "title": dataset.title, "layout": layouts or dataset.layout,
            "where_to_get": dataset.where_to_get,
            "embedded": f"{dataset.name}, version {dataset.version}", "wrong": "", **commands}


def _layouts(task: type[Task]) -> str:
    """The layouts among which the data of a task is found, by the value of the option that it decides; empty where there is one."""
    choices: Any = next((field.metadata["choices"] for field in dataclasses.fields(task) if field.name == task.found_by), ())  # type: ignore[arg-type]
    each = {choice: task(**{task.found_by: choice}).dataset().layout for choice in choices}
    return "; ".join(f"{task.found_by}={choice}: {layout}" for choice, layout in each.items())


def title(found: Mapping[str, Any]) -> str:
    return f"{found['name']}, a task: {found['summary']}"


def commands(found: Mapping[str, Any]) -> list[str]:
    """Lines to copy."""
    return [found["command"], found["data"]["check"], found["data"]["make"], f"suite list records {found['name']}"]


def sections(found: Mapping[str, Any]) -> Sections:
    """Everything but the title and the commands."""
    data = found["data"]
    told = {"layout": data["layout"], "to be had": data["where_to_get"], "embedded": data["embedded"], "wrong": data["wrong"]}
    return {
        "idea": "\n".join(found["idea"]),
        "metrics, the first is the primary one": [_metric(item) for item in found["metrics"]],
        "data": [("reader", data["reader"]), *((key, text) for key, text in told.items() if text)],
        "options (task.key=value), with their defaults": options_rows(found["options"]),
        "scales, budgets in samples": [_scale(name, item) for name, item in found["scales"].items()],
        "proposes to methods": words(found["proposes"]),
        "methods that it takes": list(found["methods"].items()),
        "reference": found["reference"],
        "records": records_rows(found["records"]),
    }


def _metric(item: Mapping[str, Any]) -> tuple[str, str]:
    low, high = item["bounds"]
    better = "higher is better" if item["higher_is_better"] else "lower is better"
    return item["name"], ", ".join(filter(None, (item["unit"], better, f"{low:g} to {high:g}")))


def _scale(name: str, item: Mapping[str, Any]) -> tuple[str, str]:
    parts = [f"{item['scratch']:,} from scratch, {item['extra']:,} from a reference"]
    parts += [f"sets {words({f'task.{key}': value for key, value in item['options'].items()})}"] if item["options"] else []
    parts += [f"proposes {words(item['proposes'])}"] if item["proposes"] else []
    return name, "; ".join(parts)

"""What MLflow is told of a record: the names of its run, every number, and the texts around them. Imports no MLflow."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from suite.record import Record, timing_name, value
from suite.report.tables import escape_markdown

LATENCY = "cost/latency_ms"  # of the packed plan on one thread


def name(item: Record) -> str:
    """Such as ``one_by_n n=4 sparsity=0.5 short embedded``."""
    words = [word for word in item["command"].split() if "=" in word]
    return " ".join([item["method"]["name"], *words, item["scale"], item["task"]["source"]["kind"]])


def notes(item: Record) -> dict[str, str]:
    """The description that MLflow shows on top of a run's page (Markdown), and what its columns for source and code show."""
    paper = item["method"]["paper"]
    address = re.sub(r"[^\w:/.?=&%#+~-]", "", paper["url"])
    title = f"[{escape_markdown(paper['title'])}]({address})" if address.startswith("http") else escape_markdown(paper["title"])
    reason = f"\n\n{escape_markdown(item['status'] + ': ' + item['reason'])}" if item["reason"] else ""
    return {"mlflow.note.content": f"{escape_markdown(item['method']['summary'])}\n\n{title}{reason}",
            "mlflow.source.name": item["command"], "mlflow.source.type": "LOCAL",
            "mlflow.source.git.commit": item["code"]["commit"]}


def points(item: Record) -> list[tuple[str, int, float]]:
    """Every number of a record with the name and the step that MLflow shows: (name, step, number)."""
    return [(re.sub(r"[^\w./ -]", "_", name), step, float(number)) for name, step, number in _numbers(item)]


def _numbers(item: Record) -> Iterator[tuple[str, int, float]]:
    named = {"test": item["scores"], "note": item["notes"], "ledger": item["ledger"], "cost": item["profile"] or {},
             "budget": item["budget"], "seconds": item["time"]["seconds"]}
    for kind, found in named.items():
        yield from _leaves(kind, found)
    for timing in item["timings"]:
        yield from _leaves(f"timing/{timing_name(timing['what'], timing['items']).replace('.', '/')}", timing["ms"])
    if (latency := value(item, "profile.latency.one.sparse.median_ms")) is not None:
        yield LATENCY, 0, latency
    for step, scores in enumerate(item["steps"]):
        for name, number in scores.items():
            yield f"step/{name}", step, number
    for name, curve in item["curves"].items():
        yield from ((name, int(step), number) for step, number in curve if number is not None)


def _leaves(name: str, found: Any) -> Iterator[tuple[str, int, float]]:
    """The numbers below a value of a record: those of a dict by their path, those of a list by their place as the step."""
    if isinstance(found, dict):
        for key, item in found.items():
            yield from _leaves(f"{name}/{key}", item)
    elif isinstance(found, list):
        for step, item in enumerate(found):
            if isinstance(item, int | float):
                yield name, step, item
    elif isinstance(found, int | float):
        yield name, 0, found


def times(item: Record) -> tuple[int, int]:
    """When a run began and ended, in ms since 1970."""
    start = int(datetime.strptime(item["time"]["started"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp() * 1000)
    return start, start + int(item["time"]["seconds"]["total"] * 1000)


def view(task: dict[str, Any], time: int) -> str:
    """A saved view of MLflow's list of runs: what a run is, its score and its cost, instead of source, model and data set."""
    metrics = (f"test/{task['primary']}", "cost/macs_effective", "cost/params_nonzero", LATENCY)
    columns = [*(f"params.`{name}`" for name in ("method", "arch", "source", "scale", "seed")),
               *(f"metrics.`{name}`" for name in metrics)]
    return json.dumps({"name": "suite", "createdAt": time, "updatedAt": time, "state": json.dumps({"selectedColumns": columns})})


def about(experiment: str) -> str:
    """What MLflow shows above the runs of an experiment (Markdown)."""
    address = f"#/experiments/{experiment}/runs?viewStateShareKey=suite&workflowType=machine_learning"
    return (f"[Open with score and cost as columns]({address}) (or choose suite under Views). A run per record, below a parent run "
            "per configuration with the mean over seeds and its 95 % interval. Compare only runs of one `source` and `scale`.")

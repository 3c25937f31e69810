"""What MLflow is told of a record: the names of its run, every number, and the texts around them. Imports no MLflow."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from suite.record import Record, number, timing_name, value
from suite.reporting.tables import escape_markdown

LATENCY = "cost/latency_ms"  # of the packed plan on one thread
LONGEST = 250  # letters in MLflow's names


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
    """Every number of a record with the name and the step that MLflow shows: (name, step, number).

    Names are brought to those that MLflow takes, and no two to the same one: ``acc@1`` is ``acc_1``, beside ``acc_1`` ``acc_1_2``.
    """
    shown: dict[str, str] = {}  # the name that MLflow shows by the record's
    found = []
    for name, step, given in _numbers(item):
        if name not in shown:
            shown[name] = _free(cleaned(name), set(shown.values()))
        if (made := number(given)) is not None:
            found.append((shown[name], step, made))
    return found


def cleaned(name: str) -> str:
    """A name as MLflow takes those of metrics and parameters: its letters, at most 250 of them, and a path without dots."""
    parts = re.sub(r"[^\w./ -]", "_", name).split("/")
    return "/".join("_" if part.strip(".") == "" else part for part in parts)[:LONGEST].rstrip("/")


def _free(name: str, taken: set[str]) -> str:
    """`name`, with a number behind it where it is taken."""
    made = name
    for count in range(2, len(taken) + 2):
        if made not in taken:
            break
        made = f"{name[:LONGEST - 6]}_{count}"
    return made


def _numbers(item: Record) -> Iterator[tuple[str, int, Any]]:
    named = {"test": item["scores"], "note": item["notes"], "ledger": item["ledger"], "cost": item["profile"] or {},
             "budget": item["budget"], "seconds": item["time"]["seconds"]}
    for kind, found in named.items():
        yield from _leaves(kind, found)
    for timing in item["timings"]:
        yield from _leaves(f"timing/{timing_name(timing['what'], timing['items']).replace('.', '/')}", timing["ms"])
    if (latency := value(item, "profile.latency.one.sparse.median_ms")) is not None:
        yield LATENCY, 0, latency
    for step, scores in enumerate(item["steps"]):
        for name, given in scores.items():
            yield f"step/{name}", step, given
    for name, curve in item["curves"].items():
        yield from ((name, step, given) for step, given in curve)


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


def facts(item: Record) -> dict[str, str]:
    """The texts of a record's profile by their path, such as the instruction set of ``cost.kernel.simd``."""
    return dict(_texts("cost", item["profile"] or {}))


def _texts(name: str, found: Any) -> Iterator[tuple[str, str]]:
    if isinstance(found, dict):
        for key, item in found.items():
            yield from _texts(f"{name}.{key}", item)
    elif isinstance(found, str):
        yield name, found
    elif isinstance(found, list) and found and isinstance(found[0], str):
        yield name, ", ".join(map(str, found))


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

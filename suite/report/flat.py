"""One flat row per finished record, joined with the references it stands beside. Plain dicts, without torch."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from suite.record import Record, value

Flat = dict[str, Any]

#: Column of the flat row: its place in the record.
PLACES = {
    "task": "task.name", "task_version": "task.version", "source": "task.source.kind", "source_name": "task.source.name",
    "source_digest": "task.source.digest", "metric": "task.primary", "method": "method.name",
    "method_digest": "method.digest", "starts": "method.starts", "scale": "scale", "seed": "seed",
    "budget_allowed": "budget.allowed", "budget_total": "budget.total", "budget_final": "budget.final",
    "params": "profile.params", "params_nonzero": "profile.params_nonzero", "bytes_dense": "profile.bytes_dense",
    "bytes_packed": "profile.bytes_packed", "macs": "profile.macs", "macs_effective": "profile.macs_effective",
    "kernel": "profile.kernel.version", "simd": "profile.kernel.simd", "macs_share": "profile.kernel.macs_share",
    "theoretical": "profile.kernel.theoretical", "machine": "machine.id", "cpu": "machine.cpu", "cores": "machine.cores",
    "commit": "code.commit", "dirty": "code.dirty", "seconds": "time.seconds.total", "trained_on": "trained_on",
    "reference": "parents.reference", "teacher": "parents.teacher", "command": "command", "metrics": "task.metrics",
    "summary": "method.summary",
    "paper": "method.paper.title", "paper_url": "method.paper.url", "venue": "method.paper.venue", "year": "method.paper.year",
    "curves": "curves", "counts": "task.source.counts",
}  # fmt: skip
WAYS = ("torch", "dense", "sparse")  # torch eager, our plan with dense weights, our plan with packed ones
THREADS = ("one", "all")


def flatten(records: Iterable[Record]) -> list[Flat]:
    """One row per record with status ``done``, in the order of `records`.

    Columns: ``id, config`` (the id without its seed), those of `PLACES`, ``task_options, options`` (resolved, as sorted
    JSON) and ``option.<name>``, ``arch, unit, higher_is_better, score, score.<name>, note.<name>`` (numbers only),
    ``latency.<one|all>.<torch|dense|sparse>[.low|.high]`` in ms, ``noisy.<one|all>``, ``speedup.<one|all>``,
    ``outside, standins, tags`` (tuples), ``published, published_where``; of the reference record, if there is one,
    ``reference_score, reference_macs, reference_params, change_reference``; of the reference trained on
    ``trained_on_score, change_trained_on``; of a teacher ``change_teacher``. What a record lacks is None.
    """
    done = {record["id"]: record for record in records if record["status"] == "done"}
    return [_row(record, done) for record in done.values()]


def _row(record: Record, done: dict[str, Record]) -> Flat:
    options = value(record, "method.options") or {}
    row: Flat = {"id": record["id"], "config": record["id"].rpartition("-s")[0]}
    row |= {name: value(record, place) for name, place in PLACES.items()}
    row |= {"task_options": _text(value(record, "task.options") or {}), "options": _text(options)}
    row |= {f"option.{name}": item for name, item in options.items()}
    row |= {"arch": str(options.get("arch", "")), "standins": tuple(value(record, "method.standins") or ())}
    row |= {"tags": tuple(value(record, "method.tags") or ())}
    row |= {"outside": tuple(value(record, "profile.kernel.outside") or ())}
    row |= _scores(record) | _latency(record) | _parents(row | _scores(record), done) | _published(record)
    return row


def _text(options: dict[str, Any]) -> str:
    return json.dumps(options, sort_keys=True)


def _scores(record: Record) -> Flat:
    scores, primary = record["scores"], record["task"]["primary"]
    metric: dict[str, Any] = next((item for item in record["task"]["metrics"] if item["name"] == primary), {})
    numbers = {name: item for name, item in record.get("notes", {}).items() if isinstance(item, int | float)}
    return {
        "score": scores.get(primary),
        "unit": metric.get("unit", ""),
        "higher_is_better": metric.get("higher_is_better", True),
        **{f"score.{name}": item for name, item in scores.items()},
        **{f"note.{name}": item for name, item in numbers.items()},
    }


def _latency(record: Record) -> Flat:
    row: Flat = {}
    for threads in THREADS:
        here = f"profile.latency.{threads}"
        row[f"speedup.{threads}"] = value(record, f"{here}.speedup")
        row[f"noisy.{threads}"] = any(value(record, f"{here}.{way}.noisy") for way in WAYS)
        for way in WAYS:
            row[f"latency.{threads}.{way}"] = value(record, f"{here}.{way}.median_ms")
            row[f"latency.{threads}.{way}.low"] = value(record, f"{here}.{way}.low_ms")
            row[f"latency.{threads}.{way}.high"] = value(record, f"{here}.{way}.high_ms")
    return row


def _parents(row: Flat, done: dict[str, Record]) -> Flat:
    reference, longer = done.get(row["reference"] or ""), done.get(row["trained_on"] or "")

    def score(parent: Record | None) -> float | None:
        return parent["scores"].get(row["metric"]) if parent else None

    def change(parent: Record | None) -> float | None:
        return None if row["score"] is None or score(parent) is None else row["score"] - score(parent)

    return {
        "reference_score": score(reference),
        "reference_macs": value(reference or {}, "profile.macs"),
        "reference_params": value(reference or {}, "profile.params"),
        "change_reference": change(reference),
        "trained_on_score": score(longer),
        "change_trained_on": change(longer),
        "change_teacher": change(done.get(row["teacher"] or "")),
    }


def _published(record: Record) -> Flat:
    """The paper's number for this very configuration: task and metric equal, its options all found in the record."""
    options = value(record, "method.options") or {}
    for item in record.get("published") or ():
        same = item["task"] == record["task"]["name"] and item["metric"] == record["task"]["primary"]
        if same and all(options.get(name) == wanted for name, wanted in item.get("options", {}).items()):
            return {"published": item["value"], "published_where": item["where"]}
    return {"published": None, "published_where": ""}


def mentioned(row: Flat) -> set[str]:
    """The names of the method's options that the row's command spells out."""
    words = [word.partition("=")[0] for word in (row["command"] or "").split() if "=" in word]
    owners = ("", row["method"])
    return {name.rpartition(".")[2] for name in words if name.rpartition(".")[0] in owners}


def labels(rows: Sequence[Flat]) -> dict[str, str]:
    """What to call each configuration among `rows`: options in which a method's configurations differ, or that were asked for.

    Returns ``{config: "n=4 sparsity=0.5"}``; the architecture is left out, as it heads the table.
    """
    seen: dict[tuple[str, str], set[str]] = {}
    options = {row["config"]: json.loads(row["options"]) for row in rows}
    method = {row["config"]: row["method"] for row in rows}
    for config, chosen in options.items():
        for name, item in chosen.items():
            seen.setdefault((method[config], name), set()).add(json.dumps(item))
    varying = {key for key, items in seen.items() if len(items) > 1}
    asked: dict[str, set[str]] = {}
    for row in rows:
        asked.setdefault(row["config"], set()).update(mentioned(row))
    return {
        config: " ".join(
            f"{name}={_plain(item)}"
            for name, item in chosen.items()
            if name != "arch" and ((method[config], name) in varying or name in asked[config])
        )
        for config, chosen in options.items()
    }


def _plain(item: Any) -> str:
    if isinstance(item, list | tuple):
        return ":".join(map(str, item))
    return str(item).lower() if isinstance(item, bool) else str(item)


#: What must be equal for two rows to stand in one table.
GROUP = ("task", "task_version", "task_options", "source", "source_digest", "scale", "arch")


def grouped(rows: Iterable[Flat]) -> dict[tuple[Any, ...], list[Flat]]:
    """Rows by `GROUP`: task and its version and options, data source, scale and reference network never mix."""
    groups: dict[tuple[Any, ...], list[Flat]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in GROUP), []).append(row)
    return dict(sorted(groups.items(), key=lambda item: tuple(map(str, item[0]))))

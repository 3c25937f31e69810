"""One flat row per finished record, joined with the references it stands beside. Plain dicts, without torch."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from suite import core, plugins
from suite.record import Record, data_of, parent, timing_name, value

Flat = dict[str, Any]

#: Column of the flat row: its place in the record.
PLACES = {
    "task": "task.name", "task_version": "task.version", "source_name": "task.source.name", "metric": "task.primary",
    "method": "method.name", "method_digest": "method.digest", "starts": "method.starts", "scale": "scale", "seed": "seed",
    "budget_allowed": "budget.allowed", "budget_total": "budget.total", "budget_final": "budget.final",
    "params": "profile.params", "params_nonzero": "profile.params_nonzero", "bytes_dense": "profile.bytes_dense",
    "bytes_packed": "profile.bytes_packed", "macs": "profile.macs", "macs_effective": "profile.macs_effective",
    "kernel": "profile.kernel.version", "simd": "profile.kernel.simd", "macs_share": "profile.kernel.macs_share",
    "theoretical": "profile.kernel.theoretical", "untimed": "untimed",
    "machine": "machine.id", "cpu": "machine.cpu", "cores": "machine.cores",
    "device": "training.device", "threads": "training.threads", "precision": "training.precision",
    "timed_machine": "timed_on.id", "timed_cpu": "timed_on.cpu", "timed_cores": "timed_on.cores",
    "commit": "code.commit", "dirty": "code.dirty", "core": "code.core", "seconds": "time.seconds.total",
    "trained_on": "trained_on", "command": "command", "metrics": "task.metrics", "summary": "method.summary",
    "paper": "method.paper.title", "paper_url": "method.paper.url", "venue": "method.paper.venue", "year": "method.paper.year",
    "curves": "curves", "steps": "steps", "timings": "timings", "counts": "task.source.counts",
}  # fmt: skip
WAYS = ("torch", "dense", "sparse")  # torch eager, our plan with dense weights, our plan with packed ones
THREADS = ("one", "all")


def flatten(records: Iterable[Record]) -> list[Flat]:
    """One row per record with status ``done``, in the order of `records`.

    Columns: ``id, config`` (the id without its seed), those of `PLACES`, ``source, source_digest`` (`suite.record.data_of`),
    ``task_options, options`` (resolved, as sorted JSON) and ``option.<name>``, ``arch, unit, higher_is_better, score,
    score.<name>, note.<name>`` (numbers only), ``ledger.<name>, ops.<name>``,
    ``latency.<one|all>.<torch|dense|sparse>[.low|.high]`` in ms, each with its own ``noisy.<one|all>.<torch|dense|sparse>``,
    ``timing.<what>[.<items>]`` in ms with ``noisy.timing.<what>[.<items>]``, ``outside, uncounted, standins, tags`` (tuples),
    ``published, published_where``, ``older_core, no_commit, other_start``; ``reference, teacher``: the ids of the parents in these
    roles, empty without; of the reference's record, of the same task, ``reference_score, reference_macs, reference_params,
    reference_bytes_dense, reference_uncounted, change_reference``; of the reference trained on ``trained_on_score,
    change_trained_on``; of a teacher ``change_teacher``. What a record lacks is None.
    """
    done = {record["id"]: record for record in records if record["status"] == "done"}
    current = _current()
    return [{**_row(record, done), "older_core": _older(record, current), "no_commit": not value(record, "code.commit"),
             "other_start": _other_start(record, done)} for record in done.values()]


def _current() -> Callable[[str, str], str]:
    """The digest of today's core by task and method, "" where one of their files is not here; every file is read once."""
    files = cache(plugins.find)

    @cache
    def digest(task: str, method: str) -> str:
        found, other = files("tasks").get(task), files("baselines").get(method)
        return core.digest(found.path, other.path) if found and other else ""

    return digest


def _older(record: Record, current: Callable[[str, str], str]) -> bool:
    """Whether another version of the core made a record than would make it today, or one that left no digest."""
    found = value(record, "code.core")
    return not found or found != (current(record["task"]["name"], record["method"]["name"]) or found)


def _other_start(record: Record, done: dict[str, Record]) -> bool:
    """Whether a record was made from other weights than those that a parent's record has today."""
    return any(digest != known for name, digest in record["parent_weights"].items()
               if (known := done[name]["weights"] if name in done else ""))


def _row(record: Record, done: dict[str, Record]) -> Flat:
    options = value(record, "method.options") or {}
    row: Flat = {"id": record["id"], "config": _config(record["id"])}
    row |= {name: value(record, place) for name, place in PLACES.items()}
    row["source"], row["source_digest"] = data_of(record)
    row |= {"task_options": text_of(value(record, "task.options") or {}), "options": text_of(options)}
    row |= {f"option.{name}": item for name, item in options.items()}
    row |= {"arch": str(options.get("arch", "")), "standins": tuple(value(record, "method.standins") or ())}
    row |= {"tags": tuple(value(record, "method.tags") or ())}
    row |= {"outside": tuple(value(record, "profile.kernel.outside") or ()), "uncounted": _uncounted(record)}
    row |= {f"ops.{name}": number for name, number in (value(record, "profile.ops") or {}).items()}
    row |= {f"ledger.{name}": number for name, number in record["ledger"].items()}
    row |= _scores(record) | _latency(record) | _published(record)
    return row | _parents(record, row, done)


def _uncounted(record: Record) -> tuple[str, ...]:
    """What of the network's work could not be counted, by the names of modules and operators."""
    return tuple(map(str, value(record, "profile.uncounted") or ()))


def text_of(options: Mapping[str, Any]) -> str:
    """Options as the text by which they compare."""
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
        for way in WAYS:
            row[f"noisy.{threads}.{way}"] = bool(value(record, f"{here}.{way}.noisy"))
            row[f"latency.{threads}.{way}"] = value(record, f"{here}.{way}.median_ms")
            row[f"latency.{threads}.{way}.low"] = value(record, f"{here}.{way}.low_ms")
            row[f"latency.{threads}.{way}.high"] = value(record, f"{here}.{way}.high_ms")
    for item in record["timings"]:
        name = f"timing.{timing_name(item['what'], item['items'])}"
        row |= {name: item["ms"], f"noisy.{name}": item["noisy"]}
    return row


def _parents(record: Record, row: Flat, done: dict[str, Record]) -> Flat:
    def found(name: str) -> Record | None:
        """The record of that id, if it was judged by the same task."""
        other = done.get(name)
        return other if other and other["task"]["name"] == row["task"] else None

    def score(other: Record | None) -> float | None:
        return other["scores"].get(row["metric"]) if other else None

    def change(other: Record | None) -> float | None:
        return None if row["score"] is None or score(other) is None else row["score"] - score(other)

    names = {role: parent(record, role) for role in ("reference", "teacher")}
    reference, teacher, longer = found(names["reference"]), found(names["teacher"]), found(row["trained_on"])
    return {
        **names,
        "reference_score": score(reference),
        "reference_macs": value(reference or {}, "profile.macs"),
        "reference_params": value(reference or {}, "profile.params"),
        "reference_bytes_dense": value(reference or {}, "profile.bytes_dense"),
        "reference_uncounted": _uncounted(reference or {}),
        "change_reference": change(reference),
        "trained_on_score": score(longer),
        "change_trained_on": change(longer),
        "change_teacher": change(teacher),
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

    Returns ``{config: "n=4 sparsity=0.5"}``; the architecture is left out, as it has a place of its own, and so is what is off
    (false, 0, none) without having been asked for.
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
            if name != "arch" and (name in asked[config] or (item and (method[config], name) in varying))
        )
        for config, chosen in options.items()
    }


def _plain(item: Any) -> str:
    if isinstance(item, list | tuple):
        return ":".join(map(str, item))
    return str(item).lower() if isinstance(item, bool) else str(item)


#: What must be equal for two rows to stand in one table.
GROUP = ("task", "task_version", "task_options", "source", "source_digest", "scale")


def grouped(rows: Iterable[Flat]) -> dict[tuple[Any, ...], list[Flat]]:
    """Rows by `GROUP` and the configuration of the reference that they started from, "" for those that started from none.

    The references and teachers of a table's rows stand in it too, so that a row may stand in several tables. A table of rows
    without a reference that would only repeat what others show is left out.
    """
    configs: dict[str, list[Flat]] = {}
    for row in rows:
        configs.setdefault(row["config"], []).append(row)
    tables: dict[tuple[Any, ...], dict[str, None]] = {}  # the names of configurations, in order
    for config, seeds in configs.items():
        for row in seeds:
            tables.setdefault((*_facts(row), _config(row["reference"])), {})[config] = None
    for (*facts, _), members in tables.items():
        parents = [_config(row[role]) for config in members for row in configs[config] for role in ("reference", "teacher")]
        members |= {config: None for config in parents if config in configs and _facts(configs[config][0]) == facts}
    repeated = {config for (*_, start), members in tables.items() if start for config in members}
    kept = [(key, members) for key, members in tables.items() if key[-1] or not repeated.issuperset(members)]
    return {key: [row for config in members for row in configs[config]]
            for key, members in sorted(kept, key=lambda item: tuple(map(str, item[0])))}


def _facts(row: Flat) -> list[Any]:
    return [row[name] for name in GROUP]


def _config(name: str) -> str:
    """The configuration of a record's id: the id without its seed."""
    return name.rpartition("-s")[0]

"""From a command to run specs: the grid, the references it rests on, and what is recorded already."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shlex
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from suite import plugins, record
from suite.contract import Method, Needed, Task, offers, options_of
from suite.data.dataset import digest_of
from suite.data.source import EMBEDDED, Source, embedded_folder, locate_data, source_of
from suite.errors import UserError
from suite.options import build
from suite.paths import cache_folder, run_folder


@dataclass(frozen=True)
class Spec:
    """One run to make: everything that decides its numbers."""

    task_name: str
    task: Task
    method_name: str
    method: Method
    digest: str  # of the method's file
    source: Source
    scale: str
    seed: int
    references: Mapping[str, Spec] = field(default_factory=dict)  # by architecture, or by the name it is needed under
    trained_on: Spec | None = None  # the rival that every method starting from a reference stands beside

    @property
    def fingerprint(self) -> str:
        """Twelve hex digits over task, method, options, data and scale; not over the seed. Of a file its contents count."""
        parts = [self.task_name, self.task.version, _counted(self.task), self.method_name, _counted(self.method),
                 self.source.digest, self.scale]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def id(self) -> str:
        """``task/method/fingerprint-s<seed>``: the record's path without its suffix."""
        return f"{self.task_name}/{self.method_name}/{self.fingerprint}-s{self.seed}"

    @property
    def artifact(self) -> Path:
        """Where the run's artifact is cached."""
        return run_folder(self.id) / "artifact.pt"

    @property
    def parents(self) -> dict[str, str]:
        """The ids of the references: ``"reference"`` for the network the method starts from, else by architecture."""
        if self.method.starts == "reference" and len(self.references) == 1:
            (only,) = self.references.values()
            return {"reference": only.id}
        return {arch: spec.id for arch, spec in self.references.items()}

    @property
    def command(self) -> str:
        """The line that repeats this run, given the same data: the options that differ from what the scale would set."""
        words = ["suite", "run", self.task_name, self.method_name]
        usual = build(type(self.task), self.task_name, {}, self.scale, {})
        words += [f"task.{key}={_text(item)}" for key, item in options_of(self.task).items() if item != getattr(usual, key)]
        usual = build(type(self.method), self.method_name, {}, self.scale, self.task.defaults)
        words += [f"{key}={_text(item)}" for key, item in options_of(self.method).items() if item != getattr(usual, key)]
        words += ["--scale", self.scale, "--seed", str(self.seed)]
        return shlex.join([*words, "--data", "embedded" if self.source.kind == "embedded" else self.source.name])


def _counted(plugin: Task | Method) -> dict[str, Any]:
    """Options, with the digest of each file that one of them names in the place of its name."""
    found = options_of(plugin)
    free = [item.name for item in dataclasses.fields(plugin) if not item.metadata.get("choices")]  # type: ignore[arg-type]
    files = {name: Path(found[name]) for name in free if isinstance(found[name], str) and os.path.isfile(found[name])}
    return {**found, **{name: _contents(path, path.stat().st_mtime_ns, path.stat().st_size) for name, path in files.items()}}


@cache
def _contents(path: Path, changed: int, size: int) -> str:
    """The digest of a file, read once for each state it is seen in."""
    return digest_of({"": path})


def _text(item: Any) -> str:
    return ":".join(map(str, item)) if isinstance(item, tuple) else str(item).lower() if isinstance(item, bool) else str(item)


@dataclass
class Plan:
    """What a command asks for (`wanted`), and what has to run for it, prerequisites first (`missing`)."""

    wanted: list[Spec]
    missing: list[Spec]
    stale: list[str]  # ids of records whose method or references have changed since

    @property
    def shown(self) -> list[Spec]:
        """The wanted specs with the references they are compared with, each once, prerequisites first."""
        return list({spec.id: spec for wanted in self.wanted for spec in with_prerequisites(wanted)}.values())


def with_prerequisites(spec: Spec) -> list[Spec]:
    """The references, the reference trained on, and the spec itself, in the order in which they must run."""
    before = [*spec.references.values(), *([spec.trained_on] if spec.trained_on else [])]
    return [item for part in before for item in with_prerequisites(part)] + [spec]


def specs(
    task: str,
    methods: Sequence[tuple[str, Mapping[str, Any]]],
    seeds: Sequence[int],
    scale: str,
    data: Path | None = None,
    task_options: Mapping[str, Any] | None = None,
    again: bool = False,
) -> Plan:
    """The plan of some methods, each with its chosen options, on a task. `again` runs even what is recorded.

    UserError for an unknown name, a method the task cannot judge, an unknown scale, or data that is not there.
    """
    task_class = plugins.load("tasks", task)
    if scale not in task_class.scales:
        raise UserError(f"Task '{task}' has no scale '{scale}'; it has {', '.join(task_class.scales)}.")
    judge = build(task_class, task, task_options or {}, scale, {})
    source = locate_data(judge.dataset(), data, cache_folder())
    wanted = [_spec(task, judge, method, options, source, scale, seed) for method, options in methods for seed in seeds]
    plan = Plan(list({spec.id: spec for spec in wanted}.values()), [], [])
    for spec in plan.wanted:
        _require(spec, plan, again)
    return plan


def _spec(task_name: str, task: Task, name: str, options: Mapping[str, Any], source: Source, scale: str, seed: int) -> Spec:
    method_class = plugins.load("baselines", name)
    setting = offers(task)
    if method_class.gives not in task.accepts or setting not in method_class.takes:
        raise UserError(f"'{name}' does not fit task '{task_name}': it takes {' or '.join(method_class.takes)} and gives "
                        f"{method_class.gives}, the task offers {setting} and judges {' or '.join(task.accepts)}.")
    method = build(method_class, name, options, scale, task.defaults)

    def again(**chosen: Any) -> Spec:
        return _spec(task_name, task, task.reference, chosen, source, scale, seed)

    references = {arch: again(arch=arch) for arch in method.references()}
    beside = method.starts == "reference" and name != task.reference and len(references) == 1
    trained_on = again(arch=next(iter(references)), starts="reference") if beside else None
    references |= {key: _needed(need, source, scale, seed) for key, need in {**task.needs(), **method.needs()}.items()}
    return Spec(task_name, task, name, method, plugins.digest(plugins.find("baselines")[name].path), source, scale, seed,
                references, trained_on)


def _needed(need: Needed, source: Source, scale: str, seed: int) -> Spec:
    """The run of another task that a spec on `source` rests on."""
    judge = build(plugins.load("tasks", need.task), need.task, {}, scale, {})
    if (dataset := judge.dataset()).name != source.name:
        source = source_of(dataset, embedded_folder(dataset, cache_folder()))
    return _spec(need.task, judge, need.method, need.options, source, scale, seed)


def spec_of(found: record.Record, data: Path | None = None) -> Spec:
    """The spec that a record was made from. UserError where its data is elsewhere or its code's options have changed."""
    method, task = found["method"], found["task"]
    if data is None and task["source"]["kind"] == "embedded":
        data = EMBEDDED

    def chosen(options: Mapping[str, Any]) -> dict[str, Any]:
        return {key: tuple(item) if isinstance(item, list) else item for key, item in options.items()}

    made = specs(task["name"], [(method["name"], chosen(method["options"]))], [found["seed"]], found["scale"], data,
                 chosen(task["options"]))
    spec = made.wanted[0]
    if spec.id != found["id"]:
        if task["source"]["kind"] == "embedded":
            raise UserError(f"'{found['id']}' was made on embedded data that this version no longer makes; run its command again.")
        raise UserError(f"'{found['id']}' was made on other data ({task['source']['kind']}); name its data with --data.")
    return spec


def _require(spec: Spec, plan: Plan, again: bool) -> None:
    """Add `spec`, and first what it rests on, to the missing ones if its record is absent, stale or refused by `again`."""
    if any(item.id == spec.id for item in plan.missing):
        return
    found = recorded(spec)
    if found and not again:
        if not (reason := staleness(spec, found)):
            if spec.trained_on:
                _require(spec.trained_on, plan, again=False)
            return
        plan.stale.append(f"{spec.id} ({reason})")
    for reference in spec.references.values():
        _require(reference, plan, again=not reference.artifact.exists())
    if spec.trained_on:
        _require(spec.trained_on, plan, again=False)
    plan.missing.append(spec)


def recorded(spec: Spec) -> record.Record | None:
    """The spec's record if it needs no further run: done, or skipped for a reason."""
    path = record.results_folder() / f"{spec.id}.json"
    found = record.read(path) if path.is_file() else None
    return found if found and found["status"] in ("done", "skipped") else None


def staleness(spec: Spec, found: record.Record) -> str:
    """Why a record no longer stands for its spec; empty if it does."""
    if found["method"]["digest"] != spec.digest:
        return f"the code of '{spec.method_name}' has changed"
    for parent in spec.references.values():
        known = recorded(parent)
        if known and found["parent_digests"].get(parent.id) != outcome(known):
            return f"its reference {parent.id} has been made again"
    return ""


def outcome(found: record.Record) -> str:
    """A hash of a record's method and scores: a child made from another outcome is stale."""
    text = json.dumps([found["method"]["digest"], found["scores"]], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def estimate(plan: Plan, records: Sequence[record.Record]) -> dict[str, float | None]:
    """Seconds each missing run will take by id: the median of recorded runs of its method at its scale, None if there is none."""
    def seconds(spec: Spec) -> float | None:
        times = [item["time"]["seconds"]["total"] for item in records if item["status"] == "done"
                 and (item["task"]["name"], item["method"]["name"], item["scale"]) == (spec.task_name, spec.method_name, spec.scale)
                 and item["method"]["starts"] == spec.method.starts]
        return statistics.median(times) if times else None

    return {spec.id: seconds(spec) for spec in plan.missing}


def merge(plans: Sequence[Plan]) -> Plan:
    """Several plans as one, in which nothing runs twice."""
    wanted = {spec.id: spec for plan in plans for spec in plan.wanted}
    missing = {spec.id: spec for plan in plans for spec in plan.missing}
    stale = dict.fromkeys(sentence for plan in plans for sentence in plan.stale)
    return Plan(list(wanted.values()), list(missing.values()), list(stale))

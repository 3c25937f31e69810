"""From a command to run specs: the grid, the references it rests on, and what is recorded already."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from suite import plugins, record, references
from suite.contract import Needed, Role, Task, offers, options_of, options_then
from suite.data.source import EMBEDDED, Source, layout_of, locate_data, locate_needed
from suite.errors import UserError
from suite.options import build
from suite.paths import cache_folder
from suite.spec import Spec, counted, files_of

DEEPEST = 20  # runs that rest on each other


@dataclass
class Plan:
    """What a command asks for (`wanted`), and what has to run for it, prerequisites first (`missing`)."""

    wanted: list[Spec]
    missing: list[Spec]
    stale: list[str]  # ids of records whose method or references have changed since
    again: frozenset[str] = frozenset()  # ids of those that run although they are recorded

    @property
    def shown(self) -> list[Spec]:
        """The wanted specs with the references they are compared with, each once, prerequisites first."""
        return list({spec.id: spec for wanted in self.wanted for spec in with_prerequisites(wanted)}.values())

    def into_cache(self, spec: Spec) -> bool:
        """Whether a missing run only makes a lost network again: its record stands, and stays as it is."""
        return spec.id not in self.again and not spec.artifact.exists() and standing(spec) is not None


def prerequisites(spec: Spec) -> list[Spec]:
    """What must run before a spec and its table: the runs it rests on and the reference trained on."""
    return [*spec.needs.values(), *([spec.trained_on] if spec.trained_on else [])]


def with_prerequisites(spec: Spec) -> list[Spec]:
    """All prerequisites and the spec itself, in the order in which they must run."""
    return [item for part in prerequisites(spec) for item in with_prerequisites(part)] + [spec]


@dataclass(frozen=True)
class _Conditions:
    """What all runs of a command share: where their data is looked for, and how they are trained."""

    data: Path | None
    device: str
    threads: int


def specs(
    task: str,
    methods: Sequence[tuple[str, Mapping[str, Any]]],
    seeds: Sequence[int],
    scale: str,
    data: Path | None = None,
    task_options: Mapping[str, Any] | None = None,
    again: bool = False,
    device: str = "cpu",
    threads: int = 1,
) -> Plan:
    """The plan of some methods, each with its chosen options, on a task. `again` runs even what is recorded.

    UserError for an unknown name, a method the task cannot judge, an unknown scale, needs that go in a circle, or data that is
    not there.
    """
    judge = _task(task, settled(task, task_options or {}, data), scale)
    source = locate_data(judge.dataset(), data, cache_folder())
    shared = _Conditions(data, device, threads)
    wanted = [_spec(task, judge, method, options, source, scale, seed, shared) for method, options in methods for seed in seeds]
    repeated = frozenset(spec.id for spec in wanted if again and not _half_repeated(spec))
    plan = Plan(list({spec.id: spec for spec in wanted}.values()), [], [], repeated)
    for spec in plan.wanted:
        _require(spec, plan)
    return plan


def settled(task: str, chosen: Mapping[str, Any], data: Path | None) -> dict[str, Any]:
    """The `chosen` options of a task, and the one that its data decides (`Task.found_by`) where that is left out.

    UserError where `data` holds nothing that fits, or more than one data set that does.
    """
    task_class = plugins.load("tasks", task)
    name = task_class.found_by
    if not name or name in chosen:
        return dict(chosen)
    choices = next(item.metadata["choices"] for item in dataclasses.fields(task_class) if item.name == name)
    found = layout_of({choice: task_class(**{**chosen, name: choice}).dataset() for choice in choices}, data)
    return {**chosen, name: found} if found else dict(chosen)


def _task(name: str, options: Mapping[str, Any], scale: str) -> Task:
    task_class = plugins.load("tasks", name)
    if scale not in task_class.scales:
        raise UserError(f"Task '{name}' has no scale '{scale}'; it has {', '.join(task_class.scales)}.")
    return build(task_class, name, options, scale)


def _spec(
    task_name: str, task: Task, name: str, options: Mapping[str, Any], source: Source, scale: str, seed: int,
    shared: _Conditions, above: tuple[str, ...] = (),
) -> Spec:  # fmt: skip
    """The spec of a method on a task, with all that it rests on; `above` are the runs that need it."""
    method_class = plugins.load("baselines", name)
    setting = offers(task)
    if method_class.gives not in task.accepts or setting not in method_class.takes:
        raise UserError(f"'{name}' does not fit task '{task_name}': it takes {' or '.join(method_class.takes)} and gives "
                        f"{method_class.gives}, the task offers {setting} and judges {' or '.join(task.accepts)}.")
    method = build(method_class, name, options, scale, task)
    here = f"{task_name} {name} {counted(method)}"
    if here in above:
        circle = " needs ".join(" ".join(item.split(" ")[:2]) for item in [*above[above.index(here):], here])
        raise UserError(f"The needs of these runs go in a circle: {circle}; one of them must do without.")
    if len(above) > DEEPEST:
        raise UserError(f"The needs of '{name}' on '{task_name}' do not end: {DEEPEST} runs rest on each other; "
                        "one of them must do without.")
    above = (*above, here)

    def reference(**chosen: Any) -> Spec:
        return _spec(task_name, task, task.reference, chosen, source, scale, seed, shared, above)

    wanted = {key: task.reference_options(key) for key in method.references()}
    references = {key: reference(**chosen) for key, chosen in wanted.items()}
    trained_on = None
    if (method.starts == "reference" and name != task.reference and len(references) == 1 and task.trained_on
            and "starts" in options_of(next(iter(references.values())).method)):
        trained_on = reference(**next(iter(wanted.values())), starts="reference")
    roles: dict[str, Role] = dict.fromkeys(references, "reference" if method.starts == "reference" else "teacher")
    theirs = method.needs()
    judges = task.needs() if method.gives != "Detections" else {}  # somebody's results rest on nothing of ours
    if both := sorted(theirs.keys() & judges.keys() | references.keys() & (theirs.keys() | judges.keys())):
        raise UserError(f"'{both[0]}' is needed twice, by '{task_name}' and '{name}'; one of them must call it by another name.")

    def needed(need: Needed) -> Spec:
        same = _changed(task_name, task, scale) if need.task == task_name else {}
        chosen = same if need.task_options is None else need.task_options
        return _needed(need, chosen, source, scale, seed, shared, above)

    references |= {key: needed(need) for key, need in theirs.items()}
    return Spec(
        task_name, task, name, method, plugins.digest(plugins.find("baselines")[name].path), source, scale, seed, shared.device,
        shared.threads, references, {key: needed(need) for key, need in judges.items()},
        roles | {key: need.role for key, need in {**theirs, **judges}.items()}, trained_on,
    )


def _changed(name: str, task: Task, scale: str) -> dict[str, Any]:
    """The options in which a task differs from its usual ones at a scale."""
    usual = _task(name, {}, scale)
    return {key: item for key, item in options_of(task, whole=True).items() if item != getattr(usual, key)}


def _needed(
    need: Needed, options: Mapping[str, Any], source: Source, scale: str, seed: int, shared: _Conditions, above: tuple[str, ...]
) -> Spec:
    """The recorded run that a spec on `source` rests on; `options` are its task's."""
    scale = need.scale or scale
    seed = need.seed if need.seed is not None else 0 if need.role == "judge" else seed
    task = _task(need.task, options, scale)
    if (dataset := task.dataset()).name != source.name:
        data = EMBEDDED if source.training else shared.data  # what is trained on the embedded data rests on nothing else
        source = locate_needed(dataset, data, cache_folder())
    return _spec(need.task, task, need.method, need.options, source, scale, seed, shared, above)


def spec_of(found: record.Record, data: Path | None = None) -> Spec:
    """The spec that a record was made from. UserError where its data is elsewhere or its code's options have changed."""
    method, task = found["method"], found["task"]
    if data is None and task["source"]["kind"] == "embedded":
        data = EMBEDDED

    def chosen(kind: plugins.Kind, part: Mapping[str, Any]) -> dict[str, Any]:
        options = options_then(plugins.load(kind, part["name"]), part["options"])
        return {key: tuple(item) if isinstance(item, list) else item for key, item in options.items()}

    training = found["training"]
    made = specs(task["name"], [(method["name"], chosen("baselines", method))], [found["seed"]], found["scale"], data,
                 chosen("tasks", task), device=training["device"], threads=training["threads"] or 1)
    spec = made.wanted[0]
    if spec.id != found["id"]:
        was = {name: found["notes"].get(f"{name}_sha256", digest) for name, digest in files_of(spec.method).items()}
        if was != files_of(spec.method):
            raise UserError(f"'{found['id']}' was made with a network whose file has changed since; restore the file, or run its "
                            "command again.")
        if task["source"]["kind"] == "embedded":
            raise UserError(f"'{found['id']}' was made on embedded data that this version no longer makes; run its command again.")
        raise UserError(f"'{found['id']}' was made on other data ({task['source']['kind']}); name its data with --data.")
    return spec


def _require(spec: Spec, plan: Plan, network: bool = False) -> None:
    """Add `spec`, and first what it rests on, to the missing ones if its record is absent, stale, untimed or to be made again, or
    if a missing run needs its `network`, which is neither in the cache nor in a file."""
    if any(item.id == spec.id for item in plan.missing):
        return
    found, rival = recorded(spec), spec.trained_on
    if damage := stored(spec)[1]:
        plan.stale.append(f"{spec.id} ({damage.rstrip('.')})")
    if found and spec.id not in plan.again:
        if reason := staleness(spec, found):
            plan.stale.append(f"{spec.id} ({reason})")
        elif network and not (spec.artifact.exists() or references.file_of(found)):
            rival = None  # its record stays, so nothing stands beside it
        else:
            if rival:
                _require(rival, plan)
            if waits_for_timing(spec, found):
                plan.missing.append(spec)
            return
    for parent in spec.needs.values():
        _require(parent, plan, network=True)
    if rival:
        _require(rival, plan)
    plan.missing.append(spec)


def recorded(spec: Spec) -> record.Record | None:
    """The spec's record if it needs no further training: done, or skipped for a reason."""
    found, _ = stored(spec)
    return found if found and found["status"] in ("done", "skipped") else None


def standing(spec: Spec) -> record.Record | None:
    """The spec's record if it still stands for it."""
    found = recorded(spec)
    return found if found and not staleness(spec, found) else None


def stored(spec: Spec) -> tuple[record.Record | None, str]:
    """What lies at the place of the spec's record: the record, or None and what is wrong with the file, "" where there is none.

    UserError where no record can be written there.
    """
    path = record.results_folder() / f"{spec.id}.json"
    if path.is_dir():
        raise UserError(f"The folder '{path}' is at the place of a record; remove it.")
    try:
        found = record.read(path) if path.exists() else None
    except record.Damaged as error:
        return None, str(error)
    if found and found["id"] != spec.id:
        return None, f"'{path}' is the record of '{found['id']}'."
    return found, ""


def waits_for_timing(spec: Spec, found: record.Record) -> bool:
    """Whether a recorded run, trained here, was stopped before its turn to be timed."""
    return found["untimed"] == record.WAITING and (spec.artifact.exists() or references.file_of(found) is not None)


def _half_repeated(spec: Spec) -> bool:
    """Whether the spec was run to its record and stopped before its timing, which is all that `again` has left to do."""
    found = standing(spec)
    return found is not None and waits_for_timing(spec, found)


def staleness(spec: Spec, found: record.Record) -> str:
    """Why a record no longer stands for its spec; empty if it does."""
    if found["method"]["digest"] != spec.digest:
        return f"the code of '{spec.method_name}' has changed"
    for name, parent in spec.needs.items():
        known = recorded(parent)
        if known and found["parent_digests"].get(parent.id) not in (identity(known), outcome(known)):
            return f"its {spec.needed_as[name]} {parent.id} has been made again"
    return ""


def identity(found: record.Record) -> str:
    """What a child's record says that its parent's was: the digest of the weights, of an older one its `outcome`."""
    return found["weights"] or outcome(found)


def outcome(found: record.Record) -> str:
    """A hash of a record's method and scores: a child made from another outcome is stale."""
    text = json.dumps([found["method"]["digest"], found["scores"]], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def merge(plans: Sequence[Plan]) -> Plan:
    """Several plans as one, in which nothing runs twice."""
    wanted = {spec.id: spec for plan in plans for spec in plan.wanted}
    missing = {spec.id: spec for plan in plans for spec in plan.missing}
    stale = dict.fromkeys(sentence for plan in plans for sentence in plan.stale)
    return Plan(list(wanted.values()), list(missing.values()), list(stale), frozenset().union(*(plan.again for plan in plans)))

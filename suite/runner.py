"""Executing specs: fit, evaluate, profile, and exactly one record each, whatever happens."""

from __future__ import annotations

import json
import math
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import GeneratorType
from typing import Any

from filelock import FileLock
from torch import nn

from suite import record
from suite.contract import Skip, options_of
from suite.errors import UserError
from suite.paths import cache_folder, results_folder, run_folder, timing_lock, writable
from suite.plan import Plan, Spec, outcome, recorded, staleness
from suite.record import Record
from suite.run import Budget, Run, load, save

Say = Callable[[str], None]


def run_plan(
    plan: Plan, *, say: Say = lambda sentence: None, device: str = "cpu", show_progress: bool = False
) -> list[Record]:
    """Execute what is missing; the records of everything the plan shows, in its order. A failed run stops no other."""
    if plan.missing:
        writable(results_folder(), "results")
        writable(cache_folder(), "cache")
    for number, spec in enumerate(plan.missing, 1):
        say(f"[{number}/{len(plan.missing)}] {spec.id}  {describe(spec)}")
        made = execute(spec, say=say, device=device, show_progress=show_progress)
        if made["status"] != "done":
            say(f"    {made['status']}: {made['reason']}")
    paths = [results_folder() / f"{spec.id}.json" for spec in plan.shown]
    return [record.read(path) for path in paths if path.is_file()]


def describe(spec: Spec) -> str:
    """A spec's options in one line."""
    return " ".join(f"{key}={item}" for key, item in options_of(spec.method).items()) + f" seed={spec.seed}"


def execute(spec: Spec, *, say: Say, device: str = "cpu", show_progress: bool = False) -> Record:
    """Run one spec under its lock. If another command has just finished it, that record is returned and nothing runs."""
    folder = run_folder(spec.id)
    folder.mkdir(parents=True, exist_ok=True)
    before = time.time()
    with FileLock(folder / "run.lock"):
        path = results_folder() / f"{spec.id}.json"
        found = recorded(spec)
        if found and spec.artifact.exists() and path.stat().st_mtime > before and not staleness(spec, found):
            return found
        if (folder / "digest").exists() and (folder / "digest").read_text() != spec.digest:
            for phase in folder.glob("*.pt"):  # made by another version of the method
                phase.unlink()
        record.write_text(folder / "digest", spec.digest)
        return _Execution(spec, folder, say, device, show_progress).record()


class _Execution:
    """One spec being run, with its clock."""

    def __init__(self, spec: Spec, folder: Path, say: Say, device: str, show_progress: bool) -> None:
        scale = spec.task.scales[spec.scale]
        budget = Budget(scale.extra if spec.method.starts == "reference" else scale.scratch)
        parents = {arch: parent.artifact for arch, parent in spec.references.items()}
        self.spec, self.say = spec, say
        self.run = Run(spec.seed, spec.scale, budget, folder, spec.source.folder, parents, device, show_progress)
        self.seconds: dict[str, float] = {}
        self.started = datetime.now(UTC)
        self.result: dict[str, Any] = {"scores": {}, "steps": [], "profile": None}

    def record(self) -> Record:
        """Run, and write the record of how it ended; a user's mistake leaves none, an interruption is raised again."""
        clock = time.perf_counter()
        status, reason = "done", ""
        try:
            self._work()
        except Skip as skip:
            status, reason = "skipped", str(skip)
        except UserError:
            raise
        except KeyboardInterrupt:
            record.write(self._record("interrupted", "stopped by the user; the same command goes on from here", clock))
            raise
        except Exception as error:
            record.write_text(self.run.folder / "error.txt", traceback.format_exc())
            status, reason = "failed", f"{type(error).__name__}: {error}"
        made = self._record(status, reason, clock)
        record.write(made)
        if status == "done":
            for path in [*self.run.folder.glob("*.phase.pt"), *self.run.folder.glob("*.checkpoint.pt")]:
                path.unlink()
        return made

    def _work(self) -> None:
        spec, run = self.spec, self.run
        import torch

        for parent in spec.references.values():
            if not parent.artifact.exists():
                raise RuntimeError(f"its reference {parent.id} did not finish")
        torch.manual_seed(run.seed("fit"))
        with self._timed("fit"):
            setting = spec.task.setting(run)
        last, steps = None, []
        for run.step, artifact in enumerate(self._artifacts(setting)):
            with self._timed("evaluate"):
                scores = spec.task.evaluate(artifact, run)
            steps.append(_checked(scores, spec))
            last = artifact
        if last is None:
            raise ValueError("fit gave no artifact")
        save(last, spec.artifact)
        self.result |= {"scores": spec.task.summarise(steps), "steps": steps if len(steps) > 1 else []}
        with self._timed("evaluate"):
            draw(spec, last, run)
        with self._timed("profile"):
            self.result["profile"] = profile(spec, last, run, self.say)

    def _artifacts(self, setting: Any) -> Iterator[Any]:
        """The artifacts of ``fit``, timed; a single one is a phase of its own, so a failure after it costs no training."""
        def fit() -> Any:
            return self.spec.method.fit(setting, self.run)

        with self._timed("fit"):
            path = self.run.folder / "fit.phase.pt"
            made = None if path.exists() else fit()
            single = not isinstance(made, GeneratorType)
            if single:
                made = self.run.once("fit", lambda: made)
        if single:
            yield made
            return
        while True:
            with self._timed("fit"):
                artifact = next(made, None)  # type: ignore[arg-type]
            if artifact is None:
                return
            yield artifact

    @contextmanager
    def _timed(self, phase: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[phase] = self.seconds.get(phase, 0.0) + time.perf_counter() - start

    def _record(self, status: str, reason: str, clock: float) -> Record:
        from suite.profile import commit, machine, packages

        spec, run = self.spec, self.run
        total = time.perf_counter() - clock
        seconds = {phase: round(self.seconds.get(phase, 0.0), 2) for phase in ("fit", "evaluate", "profile")}
        seconds |= {"overhead": round(total - sum(self.seconds.values()), 2), "total": round(total, 2)}
        known = {item.id: recorded(item) for item in spec.references.values()}
        return {
            "schema": 1, "id": spec.id, "status": status, "reason": reason,
            "task": {"name": spec.task_name, "version": spec.task.version, "options": options_of(spec.task),
                     "primary": spec.task.metrics[0].name,
                     "metrics": [{**vars(metric), "bounds": list(metric.bounds)} for metric in spec.task.metrics],
                     "source": {"kind": spec.source.kind, "name": spec.source.name, "digest": spec.source.digest,
                                "counts": spec.source.counts}},
            "method": {"name": spec.method_name, "digest": spec.digest, "options": options_of(spec.method),
                       "starts": spec.method.starts, "standins": list(spec.method.standins), "tags": list(spec.method.tags),
                       "paper": vars(spec.method.paper), "summary": _summary(spec.method)},
            "seed": spec.seed, "scale": spec.scale, "budget": vars(run.budget).copy(),
            "notes": run.notes, "ledger": run.ledger, "curves": run.curves, **self.result,
            "published": [{**vars(item), "options": dict(item.options)} for item in spec.method.published
                          if item.task == spec.task_name],
            "time": {"started": self.started.strftime("%Y-%m-%dT%H:%M:%SZ"), "seconds": seconds},
            "machine": machine(), "code": {**commit(Path.cwd()), "packages": packages()},
            "parents": spec.parents, "trained_on": spec.trained_on.id if spec.trained_on else "",
            "parent_digests": {name: outcome(found) for name, found in known.items() if found},
            "command": spec.command,
        }


def _summary(method: Any) -> str:
    import sys

    return (sys.modules[type(method).__module__].__doc__ or "").strip().split("\n", 1)[0]


def _checked(scores: dict[str, float], spec: Spec) -> dict[str, float]:
    for metric in spec.task.metrics:
        if metric.name not in scores:
            raise ValueError(f"task '{spec.task_name}' promises the score '{metric.name}' and gave {sorted(scores)}")
        if not math.isfinite(scores[metric.name]):
            raise ValueError(f"the score '{metric.name}' is {scores[metric.name]}: the training has diverged")
    return {name: float(item) for name, item in scores.items()}


def draw(spec: Spec, artifact: Any, run: Run) -> None:
    """What the task has to show of an artifact, as PNG files in the run's folder of the cache: never beside the records."""
    for name, figure in spec.task.show(artifact, run):
        (run.folder / "figures").mkdir(exist_ok=True)
        figure.savefig(run.folder / "figures" / f"{name}.png", dpi=120)


def profile(spec: Spec, artifact: Any, run: Run, say: Say) -> dict[str, Any] | None:
    """Cost and latency of an artifact as the record keeps them, None where the task has no probe; what else is timed is noted."""
    from suite.profile import count, network_latency

    run.note(**spec.task.timings(artifact, run))
    probe = spec.task.probe(artifact, run)
    if probe is None:
        return None
    cost = count(probe.network, probe.inputs[0])
    result = {
        "params": cost.params, "params_nonzero": cost.params_nonzero, "bytes_dense": cost.bytes_dense, "macs": cost.macs,
        "macs_effective": cost.macs_effective, "uncounted": list(cost.uncounted), "input": list(probe.inputs[0].shape[1:]),
    }
    say("    timing")
    untimed = {**result, "bytes_packed": None, "latency": None, "kernel": None}
    if not isinstance(probe.network, nn.Module):
        return untimed
    try:
        latency, kernel = network_latency(probe.network, probe.inputs, timing_lock())
    except RuntimeError as error:  # the plan's output differs from torch: a wrong kernel is not timed, and the run not lost
        say(f"    {error}")
        run.note(untimed=str(error))
        return untimed
    layers = kernel.pop("layers", [])
    record.write_text(run.folder / "layers.json", json.dumps(layers, indent=1))
    return {**result, "bytes_packed": kernel.pop("bytes", None), "latency": latency, "kernel": kernel}


def draw_again(found: Record, spec: Spec) -> None:
    """Draw the pictures of a recorded artifact anew, without training."""
    run = Run(found["seed"], found["scale"], Budget(0), spec.artifact.parent, spec.source.folder)
    draw(spec, load(spec.artifact), run)


def profile_again(found: Record, spec_folder: Path, spec: Spec, say: Say) -> Record:
    """Count and time a recorded artifact anew, without training, and update its record."""
    from suite.profile import machine

    parents = {name: parent.artifact for name, parent in spec.references.items()}
    run = Run(found["seed"], found["scale"], Budget(0), spec_folder, spec.source.folder, parents)
    made = profile(spec, load(spec.artifact), run, say)
    notes = {name: item for name, item in found["notes"].items() if name != "untimed"} | run.notes
    found = {**found, "profile": made, "notes": notes, "machine": machine()}
    record.write(found)
    return found

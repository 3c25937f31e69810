"""Executing specs: fit, evaluate, profile, and exactly one record each, whatever happens."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock

from suite import core, outcomes, record, references
from suite.context import Report, load, save
from suite.contract import Skip, options_of
from suite.errors import UserError
from suite.judging import checked, draw, judged
from suite.launch import Shown, launch
from suite.paths import cache_folder, full_disk, full_disk_named, results_folder, run_folder, writable
from suite.plan import Plan, identity, recorded, standing, stored, waits_for_timing
from suite.record import Record
from suite.spec import Spec, context, own_network
from suite.timing import counted, profile_again

Say = Callable[[str], None]


def run_plan(
    plan: Plan, *, say: Say = lambda sentence: None, jobs: int = 1, show_progress: bool = False
) -> list[Record]:
    """Execute what is missing, `jobs` at a time; the records of everything the plan shows, in its order.

    A run that fails stops no other. All timings follow the last training, alone on the machine. UserError, when all that can
    run has run, for a run that its user has to mend, and before anything runs for a device that is not there.
    """
    if plan.missing:
        for device in {spec.device for spec in plan.missing}:
            usable(device)
        writable(results_folder(), "results")
        writable(cache_folder(), "cache")
    mistakes = launch(plan.missing, partial(execute, again=plan.again), say=say, jobs=jobs, show_progress=show_progress)
    with Shown(show_progress) as shown:
        for spec in plan.missing:
            found = recorded(spec)
            if found and waits_for_timing(spec, found):
                say(f"timing {spec.id}")
                try:
                    profile_again(found, spec, shown.of(spec.id))
                except UserError as mistake:
                    mistakes.append(mistake)
    if mistakes:
        raise mistakes[0]
    return [found for spec in plan.shown if (found := stored(spec)[0])]


def usable(device: str) -> None:
    """UserError where torch cannot compute on `device`."""
    import torch

    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        kind, there = device.partition(":")[0], torch.cuda.device_count()
        if "device string" in str(error):
            what = "there is no such device; cpu, cuda and cuda:1 are names of some"
        elif kind == "cuda" and there:
            what = f"the CUDA devices here are cuda:0 to cuda:{there - 1}"
        else:
            what = f"no {kind.upper()} here; leave --device out to train on the CPU"
        raise UserError(f"--device {device} cannot be used: {what}.") from error


def execute(
    spec: Spec, *, report: Report | None = None, timing: Path | None = None, again: Collection[str] = ()
) -> Record:
    """Train and judge one spec under its lock; it is timed later. What another command has just finished is not run again.

    Of a record that stands only the network is made again, into the cache, unless the spec's id is in `again`. Then too the
    record stays until the new one is done. UserError where a run that was recorded before fails, and where the cache's
    disk is full.
    """
    with full_disk_named():
        folder = run_folder(spec.id)
        folder.mkdir(parents=True, exist_ok=True)
        return _execute(spec, folder, report, timing, again)


def _execute(spec: Spec, folder: Path, report: Report | None, timing: Path | None, again: Collection[str]) -> Record:
    before = time.time()
    with FileLock(folder / "run.lock"), threads(spec.threads):
        path = results_folder() / f"{spec.id}.json"
        found, asked = standing(spec), spec.id in again
        if found and spec.artifact.exists() and (not asked or path.stat().st_mtime > before):
            return found
        made_from = " ".join([spec.digest, *(identity(known) for parent in spec.needs.values() if (known := recorded(parent)))])
        if (folder / "digest").exists() and (folder / "digest").read_text() != made_from:
            for phase in folder.glob("*.pt"):  # made by another version of the method, or from other networks
                phase.unlink()
        record.write_text(folder / "digest", made_from)
        return _Execution(spec, folder, report, timing, None if asked else found).record()


@contextmanager
def threads(number: int) -> Iterator[None]:
    """Let torch have `number` threads inside."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Execution:
    """One spec being run, with its clock; where its record is `known`, for the sake of its network alone."""

    def __init__(self, spec: Spec, folder: Path, report: Report | None, timing: Path | None, known: Record | None) -> None:
        self.spec, self.known = spec, known
        self.run = context(spec, spec.allowed, report=report, timing=timing)
        self.seconds: dict[str, float] = {}
        self.started = datetime.now(UTC)
        self.result = self._nothing()
        self.started_from: dict[str, str] = {}  # digests of weights by the parent's id

    def _nothing(self) -> dict[str, Any]:
        return {"scores": {}, "steps": [], "outcomes": {}, "weights": "", "profile": None, "timings": [], "untimed": ""}

    def _log(self) -> None:
        """Keep the traceback of the error that is being handled beside the run's other files."""
        record.write_text(self.run.folder / "error.txt", traceback.format_exc())

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
            if not recorded(self.spec):
                record.write(self._record("interrupted", "stopped by the user; the same command goes on from here", clock))
            raise
        except BaseException as error:  # SystemExit too: a plug-in ends its own run and no other
            if full_disk(error):
                raise
            self._log()
            status, reason = "failed", f"{type(error).__name__}: {error}"
        if status == "failed" and recorded(self.spec):
            raise UserError(f"'{self.spec.id}' was run again and failed ({reason}); its record of before stays, and "
                            f"'{self.run.folder / 'error.txt'}' has the traceback.")
        made = self.known or record.plain(self._record(status, reason, clock))
        if not self.known and (wrong := record.fault(made)):  # such as a cost that a plug-in counted as no number
            self.result = self._nothing()
            status, made = "failed", record.plain(self._record("failed", f"what it recorded is wrong: {wrong}", clock))
        if not self.known:
            record.write(made)
        if status == "done":
            if not self.known:
                references.renew(made, load(self.spec.artifact))
            for path in [*self.run.folder.glob("*.phase.pt"), *self.run.folder.glob("*.checkpoint.pt")]:
                path.unlink()
        return made

    def _work(self) -> None:
        spec, run = self.spec, self.run
        for name, parent in spec.needs.items():
            self._provide(spec.needed_as[name], parent)
        artifact, steps = None, list[dict[str, float]]()
        for last, scores in judged(spec, run, self._timed):
            artifact, steps = last, [*steps, checked(scores, spec, spec.task.metrics[:1])]
        if artifact is None:
            raise ValueError("fit gave no artifact")
        scores = checked(spec.task.summarise(steps), spec, spec.task.metrics)
        self.result |= {"scores": scores, "steps": steps if len(steps) > 1 else [], "outcomes": outcomes.packed(artifact.spare)}
        with self._timed("evaluate"), self._kept(lambda reason: run.note(not_drawn=reason)):
            draw(spec, artifact, run)
        with self._timed("profile"), self._kept(lambda reason: self.result.update(untimed=reason)):
            self.result |= counted(spec, artifact, run)
        self.result["weights"] = references.digest_of(artifact)
        save(artifact, spec.artifact)  # last, so that a failure before leaves the artifact of the record that stays

    @contextmanager
    def _kept(self, tell: Callable[[str], None]) -> Iterator[None]:
        """Keep the trained run whatever fails inside, and `tell` why."""
        try:
            yield
        except UserError:
            raise
        except Exception as error:
            if full_disk(error):
                raise
            self._log()
            tell(f"{type(error).__name__}: {error}")

    def _provide(self, role: str, parent: Spec) -> None:
        """See to it that the network of a parent is in the cache, and beside its record; RuntimeError where there is none."""
        known = recorded(parent)
        if not references.provide(parent.artifact, known):
            raise RuntimeError(f"its {role} {parent.id} did not finish")
        artifact = load(parent.artifact)
        self.started_from[parent.id] = references.digest_of(artifact)
        if known:
            references.keep(known, artifact)

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
        known = {item.id: recorded(item) for item in spec.needs.values()}
        started_from = spec.method.starts == "reference" and len(spec.references) == 1
        return {
            "schema": record.SCHEMA, "id": spec.id, "status": status, "reason": reason,
            "task": {"name": spec.task_name, "version": spec.task.version, "options": options_of(spec.task),
                     "primary": spec.task.metrics[0].name,
                     "metrics": [{**vars(metric), "bounds": list(metric.bounds)} for metric in spec.task.metrics],
                     "source": spec.source.kept()},
            "method": {"name": spec.method_name, "digest": spec.digest, "options": options_of(spec.method),
                       "starts": spec.method.starts, "standins": list(spec.method.standins), "tags": list(spec.method.tags),
                       "paper": vars(spec.method.paper), "summary": _summary(spec.method)},
            "seed": spec.seed, "scale": spec.scale, "budget": vars(run.budget).copy(),
            "training": {"device": spec.device, "threads": spec.threads, "precision": run.training.get("precision", "")},
            "notes": run.notes | own_network(spec), "ledger": run.ledger, "curves": run.curves, "timed_on": {}, **self.result,
            "published": [{**vars(item), "options": dict(item.options)} for item in spec.method.published
                          if item.task == spec.task_name],
            "time": {"started": self.started.strftime("%Y-%m-%dT%H:%M:%SZ"), "seconds": seconds},
            "machine": machine(), "code": {**commit(), "packages": packages(), "core": core.digest_of(spec)},
            "parents": {"reference" if started_from and name in spec.references else name: parent.id
                        for name, parent in spec.needs.items()},
            "roles": {"reference" if started_from and name in spec.references else name: role
                      for name, role in spec.needed_as.items()},
            "trained_on": spec.trained_on.id if spec.trained_on else "",
            "parent_digests": {name: identity(found) for name, found in known.items() if found},
            "parent_weights": self.started_from,
            "command": spec.command,
        }


def _summary(method: Any) -> str:
    import sys

    return (sys.modules[type(method).__module__].__doc__ or "").strip().split("\n", 1)[0]

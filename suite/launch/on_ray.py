"""The runs of a plan on Ray: a task for each run, which waits for the tasks of those that it rests on, and one for its timing.

Scheduling, retries, resources and the way of networks between machines are Ray's. Where all workers see the cache folder, a run
whose worker is lost goes on elsewhere from its last checkpoint; where they do not, it starts again.
"""

from __future__ import annotations

import logging
import os
import pickle
import socket
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from suite import core, references
from suite.context import load
from suite.errors import UserError
from suite.launch.ray_worker import Job, Made, packed, time, train, unpack
from suite.paths import cache_folder, results_folder, writable
from suite.plan import Plan, recorded, standing, stored, waits_for_timing
from suite.profile import machine
from suite.record import Record
from suite.spec import Spec

MARK = "suite_timing"  # the resource, 1 a machine, of the nodes that time
RETRIES = 3  # of a task whose worker is lost
SHARED = ("SUITE_CACHE", "SUITE_PLUGINS")  # workers look for these folders where the command has them
Node = dict[str, Any]


def run_plan(plan: Plan, address: str, *, say: Callable[[str], None], jobs: int) -> list[Record]:
    """Execute what is missing on the Ray cluster at `address`; "" is one on this machine, with CPUs for `jobs` runs.

    The records of everything that the plan shows, in its order. UserError where Ray or the cluster is not there, or no node has
    what a run needs; and when all that can run has run, for a run that its user has to mend or that was lost.
    """
    writable(results_folder(), "results")
    writable(cache_folder(), "cache")
    mistakes = []
    if plan.missing:
        with _cluster(address, jobs * max(spec.threads for spec in plan.missing)) as nodes:
            mistakes = _Command(plan, nodes, say).mistakes()
    if mistakes:
        raise mistakes[0]
    return [found for spec in plan.shown if (found := stored(spec)[0])]


@contextmanager
def _cluster(address: str, cpus: int) -> Iterator[list[Node]]:
    """The nodes of a cluster that this process is connected to inside."""
    try:
        import ray
    except ImportError:
        raise UserError("--engine ray needs Ray, which is not installed; type: python -m pip install 'suite[ray]'") from None
    folders = {name: os.pathsep.join(map(os.path.abspath, os.environ[name].split(os.pathsep)))
               for name in SHARED if os.environ.get(name)}
    own = {"address": "local", "num_cpus": cpus, "resources": {MARK: 1}, "include_dashboard": False}
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it calls nobody
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        if port.isdigit():  # Ray itself would wait for ten minutes
            socket.create_connection((host, int(port)), timeout=10).close()
        ray.init(**({"address": address} if address else own), runtime_env={"env_vars": folders}, log_to_driver=False,
                 logging_level=logging.ERROR)
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"There is no Ray cluster at '{address}' ({str(error).splitlines()[0]}); start one with `ray start "
                        "--head`, or type --engine ray for one on this machine.") from error
    try:
        yield [node for node in ray.nodes() if node["Alive"]]
    finally:
        ray.shutdown()


class _Command:
    """A plan on its way through a cluster."""

    def __init__(self, plan: Plan, nodes: Sequence[Node], say: Callable[[str], None]) -> None:
        import ray

        self.ray, self.plan, self.say, self.name = ray, plan, say, uuid.uuid4().hex
        self.runs: dict[str, Any] = {}  # references to what is made, by the run's id
        for spec in plan.missing:
            _possible(spec, nodes)
        self.timer = self._timer([node for node in nodes if node["Resources"].get(MARK)])
        cpus, gpus = (sum(node["Resources"].get(kind, 0) for node in nodes) for kind in ("CPU", "GPU"))
        say(f"Ray: {len(plan.missing)} runs on {len(nodes)} nodes with {cpus:.0f} CPUs and {gpus:.0f} GPUs")

    def mistakes(self) -> list[UserError]:
        """Execute and time all runs, and write what arrives as soon as it does; what the user has to mend."""
        tasks = {self._run(spec): spec for spec in self.plan.missing}
        timed, untimed, mistakes, done = set[str](), list[str](), list[UserError](), 0
        while tasks:
            ready = self.ray.wait(list(tasks))[0][0]
            spec = tasks.pop(ready)
            made = self._made(spec, ready)
            if made.record and spec.id not in timed:
                done += 1
                self._write(spec, made)
                end = made.record["status"] + (f": {made.record['reason']}" if made.record["reason"] else "")
                self.say(f"[{done}/{len(self.plan.missing)}] {spec.id}  {spec.options}  {end}")
            elif made.record:
                unpack(made)
                self.say(f"timed {spec.id}")
            else:
                mistakes += [made.mistake] if made.mistake else []
                self.say(f"    not run: {made.mistake}")
            found = recorded(spec)
            if made.record and spec.id not in timed and found and waits_for_timing(spec, found):
                timed.add(spec.id)
                if self.timer:
                    tasks[self.timer.remote(self._job(spec), ready, *self._needs(spec))] = spec
                else:
                    untimed.append(spec.id)
        if untimed:
            self.say(f"{len(untimed)} runs are recorded without latency: no node has the resource '{MARK}', which is given by "
                     f"ray start --resources '{{\"{MARK}\": 1}}'. To time them here: suite profile --update {' '.join(untimed)}")
        return mistakes

    def _run(self, spec: Spec) -> Any:
        """A reference to a run: to its task, or to what is here of a record that stands with its network."""
        if spec.id not in self.runs:
            found = None if spec.id in self.plan.again else standing(spec)
            if found and references.provide(spec.artifact, found):
                self.runs[spec.id] = self.ray.put(packed(spec.id, found))
            else:
                needs = {"num_cpus": spec.threads, "num_gpus": int(_on_gpu(spec)), "max_retries": RETRIES, "name": spec.id}
                self.runs[spec.id] = self.ray.remote(train).options(**needs).remote(self._job(spec), *self._needs(spec))
        return self.runs[spec.id]

    def _needs(self, spec: Spec) -> list[Any]:
        return [self._run(parent) for parent in spec.needs.values()]

    def _job(self, spec: Spec) -> Job:
        return Job(spec.id, pickle.dumps(spec), (spec.digest, core.digest_of(spec)), stored(spec)[0],
                   spec.id in self.plan.again, self.name)

    def _timer(self, nodes: Sequence[Node]) -> Any:
        """What times a run on one of the marked `nodes`, all of whose CPUs it takes; None where there is none.

        UserError where they are of several kinds, as latencies compare only within one.
        """
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On

        asked = [self.ray.remote(machine).options(num_cpus=0, scheduling_strategy=On(node["NodeID"], soft=False)).remote()
                 for node in nodes]
        kinds = {(found["cpu"], found["id"], node["Resources"].get("CPU", 0))
                 for node, found in zip(nodes, self.ray.get(asked), strict=True)}
        if len(kinds) > 1:
            told = "; ".join(f"{cpu} ({name}), {cpus:.0f} CPUs for Ray" for cpu, name, cpus in sorted(kinds))
            raise UserError(f"The nodes with the resource '{MARK}' are of several kinds ({told}); give it to those of one kind, as "
                            "latencies compare only within one.")
        return self.ray.remote(time).options(num_cpus=kinds.pop()[2], resources={MARK: 1}, max_retries=RETRIES) if kinds else None

    def _made(self, spec: Spec, ready: Any) -> Made:
        """What a task has made; of one that Ray has given up, why."""
        try:
            return self.ray.get(ready)
        except self.ray.exceptions.RayError as error:
            reason = next(filter(None, str(error).splitlines()), type(error).__name__)
            return Made(spec.id, mistake=UserError(f"'{spec.id}' was lost ({reason}); the same command goes on."))

    def _write(self, spec: Spec, made: Made) -> None:
        """Keep a run that was made here, with the weights that lie beside records."""
        before = stored(spec)[0]
        unpack(made if made.record != before else Made(made.id, files=made.files))
        for item in [spec, *spec.needs.values()]:
            if (found := recorded(item)) and item.artifact.exists():
                keep = references.renew if item is spec and found != before else references.keep
                keep(found, load(item.artifact))


def _on_gpu(spec: Spec) -> bool:
    return spec.device.startswith("cuda")


def _possible(spec: Spec, nodes: Sequence[Node]) -> None:
    """UserError where no node has what a run needs, as Ray would wait for one that has."""
    for node in nodes:
        if node["Resources"].get("CPU", 0) >= spec.threads and node["Resources"].get("GPU", 0) >= _on_gpu(spec):
            return
    raise UserError(f"No node of the Ray cluster has {spec.threads} CPUs{' and a GPU' if _on_gpu(spec) else ''}, which "
                    f"'{spec.id}' needs; start one with `ray start`, or choose other --threads and --device.")

"""What a recorded artifact costs and how long it takes: into its record, or for a table of this machine into the cache."""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from suite import record, references
from suite.context import Report, Run, load
from suite.errors import UserError
from suite.paths import cache_folder, full_disk, full_disk_named, timing_lock
from suite.plan import recorded
from suite.record import Record
from suite.spec import Spec, context

if TYPE_CHECKING:
    from suite.profile import Measured

ELSEWHERE = "its latency is another machine's or kernel's, and its network is not in the cache here"


def counted(spec: Spec, artifact: Any, run: Run) -> dict[str, Any]:
    """The cost of an artifact as the record keeps it before it is timed."""
    from suite.profile import Measured, costs

    probe = spec.task.probe(artifact, run)
    cost = {**costs(probe), **_profiled(Measured(), artifact)} if probe else None
    return {"profile": cost, "untimed": record.WAITING}


def _profiled(measured: Measured, artifact: Any) -> dict[str, Any]:
    stored = getattr(artifact, "stored", None)  # as codes, which the kernel's plan does not hold
    return {"latency": measured.latency, "kernel": measured.kernel, "bytes_packed": stored or measured.bytes_packed}


@full_disk_named()
def profile_again(found: Record, spec: Spec, report: Report | None = None) -> Record:
    """Count and time a recorded artifact, without training, and update its record. Whatever goes wrong is its `untimed`.

    UserError where there is no such network, or the one in the cache is not the record's.
    """
    references.provide(spec.artifact, found)
    if found["weights"] and references.digest_of(load(spec.artifact)) != found["weights"]:
        raise UserError(f"The network of '{found['id']}' in the cache is another one than its record's (made again on another "
                        f"machine, say), so the record is left as it is; to make both anew: {found['command']} --again")
    run, start = context(spec, report=report), time.perf_counter()
    made = _timed(spec, run)
    if wrong := record.fault({**found, **made}):
        made |= {**counted(spec, load(spec.artifact), run), "timings": [], "untimed": f"what was measured is wrong: {wrong}"}
    seconds = {**found["time"]["seconds"], "profile": round(time.perf_counter() - start, 2)}
    found = {**found, **made, "notes": {**found["notes"], **run.notes}, "time": {**found["time"], "seconds": seconds}}
    record.write(found)
    return found


def _timed(spec: Spec, run: Run) -> dict[str, Any]:
    """The ``profile, timings, timed_on`` and ``untimed`` of the artifact in the cache."""
    from suite.profile import machine, timing

    for judge in spec.judges.values():
        references.provide(judge.artifact, recorded(judge))
    artifact = load(spec.artifact)
    cost = counted(spec, artifact, run)
    made = {**cost, "timings": [], "timed_on": machine(), "untimed": ""}
    try:
        made["timings"] = record.plain([item._asdict() for item in spec.task.timings(artifact, run)])
        if probe := spec.task.probe(artifact, run):
            measured = timing(probe, timing_lock())
            record.write_text(run.folder / "layers.json", json.dumps(measured.layers, indent=1))
            made["profile"] = {**cost["profile"], **_profiled(measured, artifact)}
            made["untimed"] = measured.untimed
    except (UserError, KeyboardInterrupt):
        raise
    except BaseException as error:  # a trained run is kept, timed or not
        if full_disk(error):
            raise
        record.write_text(run.folder / "error.txt", traceback.format_exc())
        made["untimed"] = f"{type(error).__name__}: {error}"
    return made


def timed_elsewhere(found: Record) -> bool:
    """Whether a record's latencies are another machine's, or those of another version of the kernel."""
    from suite.kernel import VERSION
    from suite.profile import machine

    if not found["timings"] and not record.value(found, "profile.latency"):
        return False
    return found["timed_on"].get("id") != machine()["id"] or record.value(found, "profile.kernel.version") not in (None, VERSION)


def timed_here(records: Sequence[Record], specs: Sequence[Spec], say: Callable[[str], None]) -> list[Record]:
    """Records with this machine's latencies alone, for the table of a run; their files stay as they are.

    Those that carry another's are timed now, once, into the cache; without a network they are untimed.
    """
    by_id = {spec.id: spec for spec in specs}
    return [_here(found, by_id[found["id"]], say) if timed_elsewhere(found) else found for found in records]


def _here(found: Record, spec: Spec, say: Callable[[str], None]) -> Record:
    path = cache_folder() / "timed" / f"{spec.id}.json"
    known = _read(path)
    if not known or known["weights"] != found["weights"] or timed_elsewhere(known):
        try:
            there, reason = references.provide(spec.artifact, found), ELSEWHERE
        except UserError as damaged:
            there, reason = False, str(damaged)
        if not there:
            profile = found["profile"] and {**found["profile"], "latency": None, "kernel": None}
            return {**found, "profile": profile, "timings": [], "timed_on": {}, "untimed": reason}
        say(f"timing {spec.id} on this machine")
        known = {**_timed(spec, context(spec)), "weights": found["weights"]}
        record.write_text(path, json.dumps(known))
    profile = found["profile"] and {**found["profile"], **{name: known["profile"][name] for name in ("latency", "kernel")}}
    return {**found, **{name: known[name] for name in ("timings", "timed_on", "untimed")}, "profile": profile}


def _read(path: Any) -> dict[str, Any] | None:
    """The timings in a cached file; None where there are none that can be read."""
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        return known if {"weights", "profile", "timings", "timed_on", "untimed"} <= known.keys() else None
    except (OSError, ValueError, AttributeError):
        return None

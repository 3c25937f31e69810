"""What a Ray worker does with a run of a plan, and how runs travel between it and the command.

A worker needs the same suite and data as the command, and no results folder: the records and networks that a run rests on come
with its task, and its own go back to the command, which writes them.
"""

from __future__ import annotations

import json
import os
import pickle
import socket
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from suite import core, plugins, record
from suite.data.source import EMBEDDED, Source, locate_data
from suite.errors import UserError
from suite.paths import cache_folder, full_disk_named, run_folder, timing_lock
from suite.record import Record
from suite.runner import execute, usable
from suite.spec import Spec
from suite.timing import profile_again


@dataclass(frozen=True)
class Job:
    """What a worker is told of a run. The spec stays packed until the folders of its plug-ins are known."""

    id: str
    spec: bytes
    version: tuple[str, str]  # digests of the method and the core, as the command has them
    known: Record | None  # the record there is
    again: bool
    command: str  # a name of the command that asks


@dataclass(frozen=True)
class Made:
    """A run as it travels: its record and files of its folder in the cache, or the user's mistake that left it without."""

    id: str
    record: Record | None = None
    files: dict[str, bytes] = field(default_factory=dict)
    mistake: UserError | None = None


def train(job: Job, *needs: Made) -> Made:
    """A run, from its last checkpoint in the cache of this worker, which others may share.

    What was finished for this command is not run again: its worker may have been lost before it could say so.
    """
    made = run_folder(job.id) / "ray.json"
    try:
        with _workplace(job, needs) as spec:
            usable(spec.device)
            known = json.loads(made.read_text(encoding="utf-8")) if made.exists() else {}
            if known.get("command") != job.command:
                timing = timing_lock().parent / job.command  # of the processes of this machine
                timing.mkdir(exist_ok=True)
                known = {"command": job.command, "record": execute(spec, timing=timing, again=[spec.id] if job.again else [])}
                record.write_text(made, json.dumps(known))
            return packed(spec.id, known["record"])
    except UserError as mistake:
        return Made(job.id, mistake=mistake)


def time(job: Job, made: Made, *needs: Made) -> Made:
    """The timing of a run that was made, on a node that has nothing else to do."""
    try:
        with _workplace(job, [*needs, made]) as spec:
            return packed(spec.id, profile_again(made.record or {}, spec))
    except UserError as mistake:
        return Made(job.id, mistake=mistake)


@contextmanager
def _workplace(job: Job, known: Sequence[Made]) -> Iterator[Spec]:
    """The spec of a job, inside a results folder of its own with the records that it needs, their networks in the cache."""
    plugins.extend_paths()
    spec = pickle.loads(job.spec)
    spec = replace(spec, source=_located(spec))
    method = plugins.find("baselines").get(spec.method_name)
    if (method and plugins.digest(method.path), core.digest_of(spec)) != job.version or spec.id != job.id:
        raise UserError(f"'{job.id}' cannot run on '{socket.gethostname()}', which has another version of the suite, of a plug-in "
                        "or of a file that an option names; install the same on all nodes.")
    before = os.environ.get("SUITE_RESULTS")
    with tempfile.TemporaryDirectory(prefix="suite-records-") as folder:
        os.environ["SUITE_RESULTS"] = folder
        try:
            for item in [Made(job.id, job.known), *known]:
                unpack(item)
            yield spec
        finally:
            del os.environ["SUITE_RESULTS"]
            os.environ.update({"SUITE_RESULTS": before} if before else {})


_here: dict[tuple[str, ...], Source] = {}  # data that this worker has compared with a command's, by its digests


def _located(spec: Spec) -> Source:
    """The data of a run as this machine has it. UserError where it has none, or other data."""
    wanted = tuple(part.digest for part in spec.source.parts)
    if wanted not in _here:
        folder = spec.source.folder if spec.source.folder.is_dir() else None
        found = locate_data(spec.task.dataset(), EMBEDDED if spec.source.kind == "embedded" else folder, cache_folder())
        if tuple(part.digest for part in found.parts) != wanted:
            raise UserError(f"'{socket.gethostname()}' has not the data of '{spec.id}', '{spec.source.name}' in "
                            f"'{spec.source.folder}'; copy it there, or set SUITE_DATA on that node to where it is.")
        _here[wanted] = found
    return _here[wanted]


def packed(run_id: str, found: Record) -> Made:
    """A record with the network of a finished run, its pictures and its layers, or with the traceback of a failed one."""
    folder = run_folder(run_id)
    names = ("artifact.pt", "layers.json", "figures/*") if found["status"] == "done" else ("error.txt",)
    paths = [path for name in names for path in folder.glob(name)]
    return Made(run_id, found, {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths})


@full_disk_named()
def unpack(made: Made) -> None:
    """Write what has arrived: the record among the results and the files into the cache, unless they are there already."""
    for name, content in made.files.items():
        path = run_folder(made.id) / name
        if not path.is_file() or path.read_bytes() != content:
            record.write_bytes(path, content)
    if made.record:
        record.write(made.record)

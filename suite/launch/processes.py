"""The runs of a plan in several processes: what others rest on first, each run as soon as all that it rests on is done.

A run's numbers depend on its seed and its threads alone, so they are the same whatever the number of processes.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import ModuleType
from typing import Any

from suite import plugins
from suite.errors import UserError
from suite.launch.display import Shown
from suite.plan import prerequisites
from suite.spec import Spec

REPORT_SECONDS = 0.2  # between two reports of a run's progress
Execute = Callable[..., dict[str, Any]]


def launch(
    specs: Sequence[Spec], execute: Execute, *, say: Callable[[str], None], jobs: int, show_progress: bool
) -> list[UserError]:
    """Execute `specs`, prerequisites first in their order, `jobs` at a time; what went wrong by their user's mistake.

    ``execute(spec, report=..., timing=...)`` makes one run and returns its record. A run whose process is lost is among them.
    """
    number, mistakes = iter(range(1, len(specs) + 1)), list[UserError]()

    def start(spec: Spec) -> None:
        say(f"[{next(number)}/{len(specs)}] {spec.id}  {spec.options}")

    def end(spec: Spec, made: dict[str, Any] | UserError | str) -> None:
        shown.end(spec.id)
        if isinstance(made, UserError):
            mistakes.append(made)
            say(f"    not run: {spec.id}: {made}")
        elif isinstance(made, str):
            mistakes.append(UserError(f"'{spec.id}' was lost: {made}"))
            say(f"    lost: {spec.id}: {made}")
        elif made["status"] != "done":
            say(f"    {made['status']}: {spec.id}: {made['reason']}")

    with Shown(show_progress) as shown:
        if min(jobs, len(specs)) > 1:
            _side_by_side(list(specs), execute, min(jobs, len(specs)), start, end, shown)
            return mistakes
        for spec in specs:
            start(spec)
            try:
                end(spec, execute(spec, report=shown.of(spec.id)))
            except UserError as mistake:
                end(spec, mistake)
    return mistakes


def _side_by_side(
    left: list[Spec], execute: Execute, jobs: int, start: Callable[[Spec], None], end: Callable[[Spec, Any], None], shown: Shown
) -> None:
    with tempfile.TemporaryDirectory(prefix="suite-plan-") as folder:
        workers = [_Worker(execute, Path(folder)) for _ in range(jobs)]
        try:
            while left or any(worker.spec for worker in workers):
                waiting = {spec.id for spec in left} | {worker.spec.id for worker in workers if worker.spec}
                for worker in workers:
                    ready = (spec for spec in left if not waiting & {item.id for item in prerequisites(spec)})
                    if not worker.spec and (spec := next(ready, None)):
                        left.remove(spec)
                        start(spec)
                        worker.give(spec)
                speaking = wait([worker.connection for worker in workers if worker.spec])
                for worker in [worker for worker in workers if worker.connection in speaking]:
                    kind, *rest = worker.receive()
                    if kind == "progress":
                        shown.update(worker.spec.id, *rest)
                    else:
                        end(worker.spec, rest[0])
                        worker.spec = None
        finally:
            for worker in workers:
                worker.stop()


class _Worker:
    """A process that executes one run after the other, and what it is at."""

    def __init__(self, execute: Execute, timing: Path) -> None:
        self.arguments = execute, timing, os.getpid()
        self.spec: Any = None
        self.start()

    def start(self) -> None:
        processes = multiprocessing.get_context("spawn")
        self.connection, theirs = processes.Pipe()
        self.process = processes.Process(target=_work, args=(theirs, *self.arguments), daemon=True)
        with _without_main():
            self.process.start()
        theirs.close()

    def give(self, spec: Spec) -> None:
        self.spec = spec
        self.connection.send_bytes(pickle.dumps(spec))

    def receive(self) -> tuple[Any, ...]:
        """Progress or a result; of a process that has died, why, and another one takes its place."""
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            self.process.join()
            code = self.process.exitcode
            self.start()
            return "done", f"its process ended with code {code}; the same command goes on from its last checkpoint"

    def stop(self) -> None:
        """End the process: now if it is idle, else when it has written how far it is (after Ctrl-C) or in five seconds."""
        self.connection.close()
        self.process.join(5 if self.spec else 0.5)
        self.process.terminate()


@contextmanager
def _without_main() -> Iterator[None]:
    """Inside, a process that is spawned does not run its parent's script again: nothing in it is needed here, and a script that
    calls `suite.run` as it stands would call it in every worker."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _work(connection: Connection, execute: Execute, timing: Path, parent: int) -> None:
    """The life of a worker: runs are received, progress and records sent."""
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    plugins.extend_paths()
    said = 0.0

    def report(what: str, done: int, total: int | None) -> None:
        nonlocal said
        if time.monotonic() - said > REPORT_SECONDS:
            said = time.monotonic()
            try:
                connection.send(("progress", what, done, total))
            except OSError:  # whoever started this process was killed: no failure of the run, which stops as if by its user
                raise KeyboardInterrupt from None

    try:
        while True:
            spec = pickle.loads(connection.recv_bytes())
            try:
                made: Any = execute(spec, report=report, timing=timing)
            except UserError as mistake:
                made = mistake
            except Exception as error:  # not of the run, whose errors are in its record: of what runs it
                made = f"{type(error).__name__}: {error}"
            connection.send(("done", made))
    except (EOFError, BrokenPipeError, KeyboardInterrupt):  # nobody is there any more, or the user stops all of us
        return


def _end_with(parent: int) -> None:
    """A worker whose parent was killed ends too: its last checkpoint is all that the next command needs."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)

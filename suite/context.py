"""What a task and a method get of one run: seeds, device, budget, ledger, log, references, and phases that survive a kill."""

from __future__ import annotations

import hashlib
import math
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from suite import record
from suite.errors import UserError
from suite.paths import cache_folder

if TYPE_CHECKING:
    import torch
    from torch import nn

    from suite.artifacts import Artifact

T = TypeVar("T")


@dataclass
class Budget:
    """Samples through forward and backward: `allowed` by the scale, spent in `total`, and on the delivered network (`final`)."""

    allowed: int
    total: int = 0
    final: int = 0

    @property
    def left(self) -> int:
        return max(0, self.allowed - self.total)

    def charge(self, samples: int, delivered: bool = True) -> None:
        """Book `samples` trained; not `delivered` for networks that only help (search candidates, peers)."""
        self.total += samples
        self.final += samples if delivered else 0


def hashed(*parts: object) -> int:
    """A seed in 0 .. 2**63 - 1 from the parts' text."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "big") >> 1


def save(value: Any, path: Path) -> None:
    """`torch.save` by rename: a kill leaves the old file or the new one."""
    import torch

    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".part-")
    try:
        with os.fdopen(handle, "wb") as file:
            torch.save(value, file)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def load(path: Path) -> Any:
    """What `save` wrote. Only for files that this suite made in its own cache: they may hold whole modules.

    UserError for a damaged one, with the command that makes it again.
    """
    import torch

    try:
        return torch.load(path, weights_only=False, map_location="cpu")
    except Exception as error:  # whatever torch's unpickler raises
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"'{path}' in the cache cannot be read ({reason[:200]}); {_mend(path)}") from error


def _mend(path: Path) -> str:
    """What to type where a file of a run's folder in the cache is damaged."""
    if path.name != "artifact.pt":  # of a run that was stopped
        return "remove this file, and the same command makes it again."
    try:
        run_id = path.parent.relative_to(cache_folder() / "runs").as_posix()
        command = record.read(record.results_folder() / f"{run_id}.json")["command"]
    except (UserError, ValueError):
        return "make it again: repeat the command of its run with --again."
    return f"make it again with: {command} --again"


#: Told what is done, how many of it are, and of how many, if that is known.
Report = Callable[[str, int, "int | None"], None]


@dataclass
class Run:
    """The context of one run. The runner makes it; ``fit``, ``setting`` and ``evaluate`` receive it."""

    number: int  # the seed the user asked for
    scale: str
    budget: Budget
    folder: Path  # phases, checkpoints and the artifact of this run
    data: Path  # the folder of the data set
    parents: dict[str, Path] = field(default_factory=dict)  # artifacts that the method needs, by name
    judges: dict[str, Path] = field(default_factory=dict)  # artifacts that the task needs, by name; ``fit`` gets a run without
    training_data: Path | None = None  # the folder that a task's ``setting`` reads; None: `data`, too
    device: torch.device | str = "cpu"
    report: Report | None = None
    timing: Path | None = None  # a folder in which every process of the plan that is timing something has a file
    step: int = 0  # which yielded artifact is being judged
    notes: dict[str, Any] = field(default_factory=dict)
    ledger: dict[str, float] = field(default_factory=dict)
    curves: dict[str, list[list[float | None]]] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)  # the precision of the forward passes
    trainings: set[str] = field(default_factory=set)  # names of those begun in this process

    def for_method(self) -> Run:
        """The run that ``fit`` gets: the same books, and nothing of what the task needs."""
        return replace(self, judges={})

    def seed(self, *parts: object) -> int:
        """A seed that depends on the run's seed and the named parts alone: ``run.seed("split")`` is every method's split."""
        return hashed(self.number, *parts)

    def generator(self, *parts: object) -> torch.Generator:
        """A fresh CPU generator seeded by `seed`."""
        import torch

        return torch.Generator().manual_seed(self.seed(*parts))

    def log(self, step: int, **values: float) -> None:
        """Add points to the run's curves; a value that is not finite becomes a gap."""
        for name, item in values.items():
            self.curves.setdefault(name, []).append([int(step), record.number(item)])

    def note(self, **values: float | str | list[float]) -> None:
        """Record findings that claims and readers use, such as ``retained_l1=0.61``: numbers, texts, and lists and mappings of
        them. What is none of these, as a set, leaves a sentence in the record that it was left out; NaN leaves a gap.
        """
        self.notes.update({name: record.plain(found) for name, found in values.items()})

    def count(self, **amounts: float) -> None:
        """Add to the ledger what was asked or sent: ``run.count(queries=100)``, bytes, operations; a gap where it is no number."""
        for name, amount in amounts.items():
            counted = record.number(amount)
            self.ledger[name] = self.ledger.get(name, 0.0) + (math.nan if counted is None else counted)

    def reference(self, name: str) -> Artifact:
        """The artifact of a recorded run that this one rests on: a network of the method's ``references()``, trained by the
        task's reference method, or a name of its ``needs()``. LookupError for anything else, such as what the task needs."""
        if name not in self.parents:
            raise LookupError(f"fit asks for '{name}'; a method may have what its own references() and needs() name "
                              f"({', '.join(self.parents) or 'nothing'}), and never what its task needs")
        return load(self.parents[name])

    def judge(self, name: str) -> Artifact:
        """The artifact of a recorded run that the task needs, for ``setting`` and ``evaluate``. LookupError in ``fit``."""
        if name not in self.judges:
            raise LookupError(f"'{name}' is nothing that this run's task needs ({', '.join(self.judges) or 'nothing'}); only a "
                              "task's setting() and evaluate() may ask for it")
        return load(self.judges[name])

    def latency(self, network: nn.Module, inputs: torch.Tensor) -> float:
        """Median ms of `network` on `inputs` (1, C, H, W) in the shared kernel, one thread: for methods that select by it.

        Measured once for each structure; the other runs of the plan stand still meanwhile.
        """
        from suite.profile import structure

        marker = self.timing / str(os.getpid()) if self.timing else None
        if marker:
            marker.touch()
        try:
            return structure.latency(network, inputs)
        finally:
            if marker:
                marker.unlink()

    def progress(self, items: Iterable[T], what: str, total: int | None = None) -> Iterator[T]:
        """The items again, reported to whoever shows progress; none is given while another run of the plan is timed."""
        for done, item in enumerate(items):
            while self.timing and any(map(_at_work, os.listdir(self.timing))):
                time.sleep(0.05)
            if self.report:
                self.report(what, done, total)
            yield item

    def state(self) -> dict[str, Any]:
        """Everything a checkpoint must hold besides weights, so that a resumed run ends with the same record."""
        return {"budget": vars(self.budget).copy(), **{name: getattr(self, name) for name in _BOOKS}}

    def restore(self, state: dict[str, Any]) -> None:
        """Back to a checkpoint's `state`; in place, as the run that ``fit`` has keeps the same books."""
        vars(self.budget).update(state["budget"])
        for name in _BOOKS:
            getattr(self, name).clear()
            getattr(self, name).update(state[name])

    def once(self, name: str, function: Callable[[], T]) -> T:
        """The result of a phase, computed once per run: a resumed run reads it, and the phase's bookings, from its folder."""
        path = self.folder / f"{name}.phase.pt"
        if path.exists():
            stored = load(path)
            self.restore(stored["state"])
            return stored["value"]
        value = function()
        save({"value": value, "state": self.state()}, path)
        return value


_BOOKS = ("notes", "ledger", "curves", "training")


def _at_work(process: str) -> bool:
    """Whether `process` is a living one that is not this one."""
    try:
        os.kill(int(process), 0)
    except OSError:
        return False
    return int(process) != os.getpid()

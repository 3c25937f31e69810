"""What a task and a method get of one run: seeds, device, budget, ledger, log, references, and phases that survive a kill."""

from __future__ import annotations

import hashlib
import math
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

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
    """What `save` wrote. Only for files that this suite made in its own cache: they may hold whole modules."""
    import torch

    return torch.load(path, weights_only=False, map_location="cpu")


@dataclass
class Run:
    """The context of one run. The runner makes it; ``fit``, ``setting`` and ``evaluate`` receive it."""

    number: int  # the seed the user asked for
    scale: str
    budget: Budget
    folder: Path  # phases, checkpoints and the artifact of this run
    data: Path  # the folder of the data set
    parents: dict[str, Path] = field(default_factory=dict)  # reference artifacts by architecture
    device: torch.device | str = "cpu"
    show_progress: bool = False
    step: int = 0  # which yielded artifact is being judged
    notes: dict[str, Any] = field(default_factory=dict)
    ledger: dict[str, float] = field(default_factory=dict)
    curves: dict[str, list[list[float | None]]] = field(default_factory=dict)

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
            self.curves.setdefault(name, []).append([step, float(item) if math.isfinite(item) else None])

    def note(self, **values: float | str | list[float]) -> None:
        """Record findings that claims and readers use, such as ``retained_l1=0.61``."""
        self.notes.update(values)

    def reference(self, name: str) -> Artifact:
        """The artifact of a recorded run that this one rests on: an architecture of the method's ``references()``, trained by
        the task's reference method, or a name of its ``needs()``; same seed, a budget of its own."""
        if name not in self.parents:
            raise KeyError(f"fit asks for '{name}', but the method's references() and needs() name {sorted(self.parents)}")
        return load(self.parents[name])

    def latency(self, network: nn.Module, inputs: torch.Tensor) -> float:
        """Median ms of `network` on `inputs` (1, C, H, W) in the shared kernel, one thread: for methods that select by it."""
        from suite.paths import timing_lock
        from suite.profile import network_latency

        timings, _ = network_latency(network, (inputs,), timing_lock())
        return timings["one"]["sparse"]["median_ms"]

    def progress(self, items: Iterable[T], what: str, total: int | None = None) -> Iterator[T]:
        """The items again, with a progress bar on a terminal."""
        if not self.show_progress:
            yield from items
            return
        from rich.console import Console
        from rich.progress import track

        yield from track(items, description=what, total=total, console=Console(stderr=True), transient=True)

    def state(self) -> dict[str, Any]:
        """Everything a checkpoint must hold besides weights, so that a resumed run ends with the same record."""
        return {"budget": vars(self.budget).copy(), "notes": self.notes, "ledger": self.ledger, "curves": self.curves}

    def restore(self, state: dict[str, Any]) -> None:
        """Back to a checkpoint's `state`."""
        vars(self.budget).update(state["budget"])
        self.notes, self.ledger, self.curves = state["notes"], state["ledger"], state["curves"]

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

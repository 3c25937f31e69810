"""Plans and peers against each other, in interleaved rounds of one process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from suite.bench.peers import Model, Peer
from suite.modes import evaluating
from suite.profile.latency import TOLERANCE, Timing, measure

if TYPE_CHECKING:
    from suite.kernel import Plan


@dataclass
class Race:
    """What came out: a timing and an output error per contender, and a sentence for each peer that did not run."""

    threads: int
    timings: dict[str, Timing] = field(default_factory=dict)
    errors: dict[str, float] = field(default_factory=dict)  # max |output - torch| / max |torch|
    precisions: dict[str, str] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)

    def fastest(self) -> str:
        """The fastest fp32 peer; empty where none ran."""
        peers = {name: self.timings[name]["median_ms"] for name, kind in self.precisions.items() if kind == "fp32"}
        return min(peers, key=peers.__getitem__, default="")

    def record(self) -> dict[str, Any]:
        """The same as plain data."""
        return {"threads": self.threads, "fastest": self.fastest(), "timings": self.timings, "errors": self.errors,
                "precisions": self.precisions, "absent": self.absent}


def race(
    model: Model,
    plans: Mapping[str, tuple[Plan, nn.Module]],
    threads: int,
    peers: Iterable[Peer],
    *,
    calls: int = 100,
    seconds: float = 2.0,
    limit: float = 60.0,
    say: Callable[[str], None] = lambda sentence: None,
) -> Race:
    """Time `plans` (each with the network it was lowered from for as many `threads`) and the installed `peers` on ``model.image``.

    A turn is two untimed calls, after which the threads of the contender before it sleep and the caches are its own, and three
    timed ones. A contender whose output is wrong is not timed but listed as absent with the reason.
    """
    found = Race(threads)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        contenders: dict[str, Callable[[], Tensor]] = {}
        for name, (plan, network) in plans.items():
            _admit(found, contenders, name, _calling(plan, model.image), _output(network, model.image), TOLERANCE)
        wanted = _output(model.network, model.image)
        for peer in peers:
            if sentence := peer.missing():
                found.absent[peer.name] = sentence
                continue
            say(f"{peer.name}, {threads} thread(s)")
            try:
                with torch.no_grad():
                    call = peer.build(model, threads)
                admitted = _admit(found, contenders, peer.name, call, wanted, peer.tolerance)
            except Exception as error:  # whatever another engine raises must not cost the other rows
                found.absent[peer.name] = f"{peer.name} failed: {_first_line(error)}"
                continue
            if admitted:
                found.precisions[peer.name] = peer.precision
        say(f"timing {len(contenders)} contenders, {threads} thread(s)")
        with torch.no_grad():
            found.timings = measure(contenders, calls=calls, seconds=seconds, limit=limit, settle=2, turn=3)
    finally:
        torch.set_num_threads(before)
    return found


def _output(network: nn.Module, image: Tensor) -> Tensor:
    with torch.no_grad(), evaluating(network):
        return network(image)


def _calling(plan: Plan, image: Tensor) -> Callable[[], Tensor]:
    return lambda: plan(image)


def _admit(found: Race, contenders: dict[str, Callable[[], Tensor]], name: str, call: Callable[[], Tensor], wanted: Tensor,
           tolerance: float) -> bool:
    with torch.no_grad():  # as when it is timed: in another mode torch.compile would compile again
        error = float((call() - wanted).abs().max() / wanted.abs().max().clamp_min(1e-30))
    found.errors[name] = error
    if not error < tolerance:  # not: NaN is wrong too
        found.absent[name] = f"{name} was not timed: its output differs from torch's by {error:.2g} (relative)"
        return False
    contenders[name] = call
    return True


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200] if lines else 'no message'}"

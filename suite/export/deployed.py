"""What is exported: a network as its task counts and times it, real inputs to check it by, and what a file says about it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from suite.artifacts import ChangeSegmenter, EpisodeSegmenter, Network
from suite.errors import UserError
from suite.export.facts import Facts, of_network, of_run
from suite.kernel import arguments, signature
from suite.modes import plain
from suite.record import Record

_BATCHES = (Network, ChangeSegmenter, EpisodeSegmenter)  # artifacts whose networks take several inputs at a time


@dataclass(frozen=True)
class Deployed:
    """A network in evaluation mode with the `inputs` that it is checked by, each the positional arguments of one call on a batch of
    one, all of the same shapes. `artifact` is what a method returned, of which the network may be a part.
    """

    name: str  # of the record or the architecture
    network: nn.Module
    inputs: list[tuple[Any, ...]]
    facts: Facts
    artifact: Any
    gradients: bool = False  # it back-propagates at inference

    @property
    def batches(self) -> bool:
        """Whether it takes more than one input at a time."""
        return isinstance(self.artifact, _BATCHES)

    def outputs(self) -> list[Any]:
        """What torch makes of each input."""
        if self.gradients:
            return [self.network(*call) for call in self.inputs]
        with torch.inference_mode():
            return [self.network(*call) for call in self.inputs]


def of_record(found: Record, data: Path | None = None) -> Deployed:
    """The network that a record was made with, on test inputs of its task. UserError where one of them is not here, and for a
    record without a network."""
    from suite import references
    from suite.context import load
    from suite.plan import recorded
    from suite.recorded import spec_with_artifact
    from suite.spec import context

    if found["status"] != "done":
        raise UserError(f"'{found['id']}' is {found['status']} and has no network: {found['reason']}.")
    spec = spec_with_artifact(found, data)
    artifact, run = load(spec.artifact), context(spec)
    for judge in spec.judges.values():
        references.provide(judge.artifact, recorded(judge))
    probe = spec.task.probe(artifact, run)
    if probe is None or not isinstance(probe.network, nn.Module):
        raise UserError(f"'{found['id']}' has no network that could be exported: its task '{spec.task_name}' times none.")
    with torch.inference_mode(False):  # what was made in inference mode cannot be traced
        calls = [tree_map_only(Tensor, Tensor.clone, arguments(item)) for item in probe.inputs]
    calls = [call for call in calls if signature(call) == signature(calls[0])]
    network = plain(probe.network.cpu())
    return Deployed(found["id"], network, calls, of_run(found, spec, artifact, calls[0]), artifact, probe.gradients)


def of_arch(arch: str, size: int | None = None, classes: int = 10) -> Deployed:
    """A network by name with random weights, for images of `size` pixels, checked on noise. UserError as `build`."""
    from suite.bench.pruned import pruned, random_network

    network, size = random_network(arch, classes, size)
    images = torch.randn(4, 3, size, size, generator=torch.Generator().manual_seed(0))
    network = pruned(network, images[:1], 1, 0.0)
    calls: list[tuple[Tensor, ...]] = [(image,) for image in images.split(1)]
    return Deployed(arch, network, list(calls), of_network(arch, classes, size), Network(network))

"""Networks by how many channels each layer keeps: one number for a block's inner layers, tenths of what they had."""

from __future__ import annotations

import copy

import torch
from suite.baselines._channels import hidden
from suite.baselines._colony import Code
from torch import Tensor, nn

from suite.nn.cut import ChannelMacs, choose_cut
from suite.nn.streams import Stream
from suite.nn.surgery import keep

TENTHS = 10


class Structures:
    """Of a trained `network`, whose filters they inherit: drawn once from a generator, so that a structure of more channels has
    those of one with fewer, or of the largest L1 norms. Normalisations are as new."""

    def __init__(self, network: nn.Module, example: Tensor, draw: torch.Generator | None) -> None:
        self.network, self.example = network, example
        self.groups = blocks(network, hidden(network, example))
        self.counted = ChannelMacs(network, example)
        self.order: dict[Stream, Tensor] = {}  # in which channels are kept
        for stream in (stream for group in self.groups for stream in group):
            norms = network.get_submodule(stream.writers[0]).weight.detach().flatten(1).abs().sum(1)
            scores = torch.rand(stream.channels, generator=draw) if draw else norms
            self.order[stream] = scores.argsort(descending=True, stable=True)

    def kept(self, code: Code) -> dict[Stream, int]:
        """How many channels stay, at least one."""
        return {stream: max(1, tenths * stream.channels // TENTHS)
                for tenths, group in zip(code, self.groups, strict=True) for stream in group}

    def macs(self, code: Code) -> int:
        """Of one input."""
        return self.counted.after({stream: stream.channels - left for stream, left in self.kept(code).items()})

    def share(self, code: Code) -> float:
        """Of the dense network's MACs."""
        return self.macs(code) / self.counted.before

    def build(self, code: Code) -> nn.Module:
        network = copy.deepcopy(self.network)
        keep(network, {stream: self.order[stream][:left].sort().values for stream, left in self.kept(code).items()})
        return renewed(network)

    def uniform(self, share: float) -> tuple[nn.Module, float]:
        """The largest network of equal shares in all layers that has `share` of the MACs at most, and the share that it has."""
        network = copy.deepcopy(self.network)
        scores = {stream.writers[0]: -order.argsort().double() for stream, order in self.order.items()}
        decision = choose_cut(network, scores, self.example, macs=share, rates=1.0)
        decision.apply(network)
        return renewed(network), decision.macs / decision.macs_before


def blocks(network: nn.Module, found: list[Stream]) -> list[list[Stream]]:
    """The layers inside one block together; in a plain sequence every layer is alone."""
    groups: dict[str, list[Stream]] = {}
    for stream in found:
        name = stream.writers[0]
        parent = name.rpartition(".")[0]
        groups.setdefault(name if isinstance(network.get_submodule(parent), nn.Sequential) else parent, []).append(stream)
    return list(groups.values())


def renewed(network: nn.Module) -> nn.Module:
    """`network` with normalisations as at the start of a training."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
    return network

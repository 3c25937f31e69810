"""FFSD's parts: attention maps and what it does with them, the fusion, the self-distillation modules, the team of all.

Feature maps are (B, C, H, W), attention maps (B, H W) float32, whatever the precision of the forward pass. Norms are those of
each sample; a map of zeros stays one.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from suite.modes import evaluating
from suite.nn import stages, tap
from suite.nn.cifar import initialise


def attention(features: Tensor) -> Tensor:
    """att(F): the mean over the channels of F^2."""
    return features.float().square().mean(1).flatten(1)


def apart(found: Tensor, wanted: Tensor) -> Tensor:
    """A(x, y) = mean over all elements of (x / |x| - y / |y|)^2, without a gradient to `wanted`; both (B, ...)."""
    return (_unit(found) - _unit(wanted.detach())).square().mean()


def attentions_apart(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
    """The sum of A(att(F), att(G)) over pairs of feature maps."""
    return torch.stack([apart(attention(ours), attention(theirs)) for ours, theirs in zip(found, wanted, strict=True)]).sum()


def reversed_attention(values: Tensor) -> Tensor:
    """rev: of attention maps (B, N) with norms r and a = values / r, a where it is below its floor(N / 3)-th lowest value, r / 2
    at that, and r - a elsewhere. r is the norm before the division, as in the authors' code, and not that of a, which is 1.
    """
    size, unit = values.norm(dim=1, keepdim=True), _unit(values)
    threshold = unit.kthvalue(max(1, unit.shape[1] // 3), dim=1, keepdim=True).values
    return (size / 2 - unit) * torch.sign(unit - threshold) + size / 2


def diversity(found: Tensor, before: Tensor) -> Tensor:
    """mean (att(F) / |att(F)| - rev(att(G)))^2 of two feature maps, without a gradient to `before`."""
    return (_unit(attention(found)) - reversed_attention(attention(before.detach()))).square().mean()


def shifted(features: Tensor) -> Tensor:
    """F + (rev(att(F)) - att(F) / r) r / C in every channel, with r = |att(F)|; without a gradient."""
    values = attention(features.detach())
    shift = (reversed_attention(values) - _unit(values)) * values.norm(dim=1, keepdim=True) / features.shape[1]
    return features.detach().float() + shift.view(len(features), 1, *features.shape[2:])


def _unit(values: Tensor) -> Tensor:
    return functional.normalize(values.float().flatten(1), dim=1, eps=1e-12)


class Seen(NamedTuple):
    """What a network says of a batch, logits (B, K), and its maps at the end of each stage, the first stage first."""

    logits: Tensor
    maps: list[Tensor]


def mixing(before: int, after: int) -> nn.Sequential:
    """A 3x3 convolution of each channel, then 1x1 over all: (B, before, H, W) -> (B, after, H, W)."""
    made = nn.Sequential(nn.Conv2d(before, before, 3, padding=1, groups=before, bias=False), nn.BatchNorm2d(before), nn.ReLU(),
                         nn.Conv2d(before, after, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU())
    initialise(made)
    return made


class Fusion(nn.Module):
    """All students' last maps (B, S C, H, W) -> logits (B, K) and the fused map U (B, C, H, W)."""

    def __init__(self, width: int, students: int, classes: int) -> None:
        super().__init__()
        self.mixing = mixing(students * width, width)
        self.fc = nn.Linear(width, classes)

    def forward(self, joined: Tensor) -> tuple[Tensor, Tensor]:
        fused = self.mixing(joined)
        return self.fc(fused.mean((2, 3))).float(), fused


class Details(nn.Module):
    """A self-distillation module: from a last map, what the stages before it might have put out, the first stage first.

    `shapes` (C, H, W) are those of all stages. Each step back is a transposed 3x3 convolution to the shape of the stage before.
    """

    def __init__(self, shapes: Sequence[Sequence[int]]) -> None:
        super().__init__()
        self.steps = nn.ModuleList(_step_back(deep, shallow) for deep, shallow in pairwise(reversed(shapes)))

    def forward(self, features: Tensor) -> list[Tensor]:
        maps = []
        for step in self.steps:
            features = step(features)
            maps.append(features)
        return maps[::-1]

    def targets(self, features: Tensor) -> list[Tensor]:
        """The same in evaluation mode, without gradients. The graph is made and dropped: weights that autocast has cast without
        gradients it would use again where they are fitted."""
        with evaluating(self):
            return [item.detach() for item in self(features.detach())]


def _step_back(deep: Sequence[int], shallow: Sequence[int]) -> nn.Sequential:
    """Between two stages' shapes (C, H, W): where the size doubles, stride 2, padding 1 and output padding 1."""
    stride, padding, more = zip(*map(_fitting, deep[1:], shallow[1:]), strict=True)
    layer = nn.ConvTranspose2d(deep[0], shallow[0], 3, stride, padding, more, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(shallow[0]), nn.ReLU())


def _fitting(before: int, after: int) -> tuple[int, int, int]:
    """Stride, padding and output padding with which 3 pixels' kernels turn `before` pixels into `after`."""
    stride = round(after / before)
    rest = after - (before - 1) * stride - 1
    return (stride, 1, rest) if rest < stride else (stride, 0, rest - 2)  # none where a stage drops an odd pixel


class Team(nn.Module):
    """The leader (first of `networks`), the students, and all that is trained beside them, for images of `shape` (C, H, W).

    `details` are the self-distillation modules of the students from the second one on, then the leader's.
    """

    def __init__(self, networks: Sequence[nn.Module], shape: Sequence[int], classes: int) -> None:
        super().__init__()
        self.leader, self.students = networks[0], nn.ModuleList(networks[1:])
        self.taps = stages(self.leader)
        with evaluating(self.leader), torch.no_grad():
            shapes = [item.shape[1:] for item in self.see(self.leader, torch.zeros(1, *shape)).maps]
        width, count = shapes[-1][0], len(self.students)
        self.fusion = Fusion(width, count, classes)
        self.head = mixing(width, count * width)
        self.details = nn.ModuleList(Details(shapes) for _ in self.students)

    def see(self, network: nn.Module, inputs: Tensor) -> Seen:
        """One forward pass of a student or the leader."""
        with tap(network, self.taps) as outputs:
            logits = network(inputs).float()
        return Seen(logits, [outputs[name] for name in self.taps])

    def named_details(self) -> list[tuple[str, Details]]:
        """The self-distillation modules by their owners' names."""
        owners = [*(f"student_{number}" for number in range(2, len(self.students) + 1)), "leader"]
        return [(f"details_{owner}", module) for owner, module in zip(owners, self.details, strict=True)]

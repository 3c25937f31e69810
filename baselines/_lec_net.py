"""LEC-Net's network: as it grows by a session's nodes, gate and head, and as it is deployed, without its closed nodes."""

from __future__ import annotations

import copy
from typing import Any

import torch
from suite.baselines._fscil import BaseNetwork, unit
from torch import Tensor, nn

CLOSED = 1e-3  # nodes with a gate below are cut out of the deployed network


class Expansion(nn.Module):
    """What a session adds: V_t, at first W_1 (`nodes`), H_t, at first `rows` (C, d), and the gate (d,) of the last step."""

    def __init__(self, nodes: nn.Linear, rows: Tensor) -> None:
        super().__init__()
        self.auxiliary = copy.deepcopy(nodes)
        self.head = nn.Linear(rows.shape[1], len(rows), bias=False, device=rows.device)
        self.head.weight.data.copy_(rows)
        self.register_buffer("gate", torch.ones_like(nodes.weight[0]))
        self.gate: Tensor

    def forward(self, features: Tensor, base: Tensor, alpha: Tensor) -> Tensor:
        """Logits (N, C) from features (N, d) and `base` (N, d), gamma u."""
        return self.head(unit(base + alpha * self.auxiliary(features)))


class ExpandingNetwork(nn.Module):
    """The base network with the expansions of later sessions: images -> logits of all classes so far."""

    def __init__(self, base: BaseNetwork, gamma: float) -> None:
        super().__init__()
        self.backbone, self.nodes, self.head = base.backbone, base.nodes, base.head
        self.width, self.gamma = base.width, gamma
        self.head.weight.data *= base.scale
        self.expansions: Any = nn.ModuleList()
        self.r = nn.Parameter(torch.zeros_like(base.nodes.weight[0, 0]), requires_grad=False)

    def expand(self, means: Tensor) -> Expansion:
        """Add a session for the classes of these mean features (C, d)."""
        length = self.head.weight.norm(dim=1).mean()
        self.expansions.append(Expansion(self.nodes, length * unit(self.nodes(means))))
        return self.expansions[-1]

    def respond(self, features: Tensor, alpha: Tensor | None = None) -> Tensor:
        """Logits of features (N, d), with the stored gates, or `alpha` in the place of the last."""
        nodes = self.nodes(features)
        gates = [item.gate for item in self.expansions]
        if alpha is not None:
            gates[-1] = alpha
        later = [item(features, self.gamma * nodes, gate) for item, gate in zip(self.expansions, gates, strict=True)]
        return torch.cat([self.head(unit(nodes)), *later], 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.respond(self.backbone(images))

    def compressed(self) -> CompressedNetwork:
        """The network to deploy, independent of this one."""
        return CompressedNetwork(copy.deepcopy(self))


class CompressedExpansion(nn.Module):
    """An expansion without its closed nodes.

    Node i is gamma u_i + alpha_i a_i. Where alpha_i is 0 its auxiliary part can be cut exactly: row i of V_t. The node itself
    stays gamma u_i, which the length of n and column i of H_t need. Open rows have their gate folded in.
    """

    def __init__(self, expansion: Expansion) -> None:
        super().__init__()
        self.register_buffer("places", torch.nonzero(expansion.gate >= CLOSED).flatten())
        self.places: Tensor
        weight = expansion.gate[self.places, None] * expansion.auxiliary.weight[self.places]
        self.auxiliary = nn.Linear(weight.shape[1], len(weight), bias=False, device=weight.device) if len(weight) else None
        if self.auxiliary:
            self.auxiliary.weight.data.copy_(weight)
        self.head = expansion.head

    def forward(self, features: Tensor, base: Tensor) -> Tensor:
        nodes = base.index_add(1, self.places, self.auxiliary(features)) if self.auxiliary else base
        return self.head(unit(nodes))


class CompressedNetwork(nn.Module):
    """Images (N, 3, H, W) -> logits (N, C) of all classes so far, as the expanded network gives them up to its `CLOSED` gates."""

    def __init__(self, network: ExpandingNetwork) -> None:
        super().__init__()
        self.backbone, self.nodes, self.head, self.gamma = network.backbone, network.nodes, network.head, network.gamma
        self.expansions = nn.ModuleList(CompressedExpansion(item) for item in network.expansions)

    def forward(self, images: Tensor) -> Tensor:
        features = self.backbone(images)
        nodes = self.nodes(features)
        later = [item(features, self.gamma * nodes) for item in self.expansions]
        return torch.cat([self.head(unit(nodes)), *later], 1)

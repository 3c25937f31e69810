"""LEC-Net: each session adds nodes beside the frozen ones (expansion) and a gate that learns to close most (compression)."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from suite.baselines._fscil import BASE, LATER, BaseNetwork, SessionMethod, class_means, features_of, train_on, unit
from torch import Tensor, nn
from torch.nn import functional

from suite.artifacts import Network
from suite.contract import Claim, Paper, Published, Side, option
from suite.run import Run
from suite.settings import SessionData, Sessions
from suite.train import Batch, Clock

OURS = Side("lec_net")
CLOSED = 1e-3  # nodes with a gate below are cut out of the deployed network


@dataclass
class LecNet(SessionMethod):
    """Session t adds auxiliary nodes V_t and a head H_t beside the base nodes u = W_1 x and their head W_2.

    a = V_t x; gate alpha = sigmoid(s mean_batch a); node vector n = gamma u + alpha a; logits z_t = H_t nrm(n), joined to those of
    the sessions before. s = 1 until epoch 20 and grows by one each epoch: the gate becomes binary. The loss is cross-entropy over
    all classes + distillation from the network before the session (temperature 2) + 0.1 R, R = relu(mean alpha - r).
    """

    paper = Paper("Learnable Expansion-and-Compression Network for Few-shot Class-Incremental Learning",
                  "Yang, Lin, Liu, Fu, Liu, Ji, Ye", "arXiv", 2021, "https://arxiv.org/abs/2104.02281")
    published = (
        Published("fscil", "accuracy", 34.73, "README of ICCV2021-LEC/LEC, CIFAR100, ResNet18, session 8 (7 has the same)"),
    )
    standins = (
        *BASE, LATER + " LEC-Net's own loop is not public; DSN's replay of Gaussian features is left out.",
        "As in DSN, V_t begins as W_1, and the rows of H_t as the base nodes' normalised response to the new classes' means.",
        "The epochs of the gate's schedule are counted by the share of the session's training that is done.",
        "Only V_t and H_t move by default, as in DSN's script for CIFAR-100: the old logits cannot change and distillation has no "
        "gradient. heads=all moves all heads.",
        "r is fixed at 0: a learned one grows until the penalty is 0 and nothing closes.",
        f"Deployed, nodes whose gate is below {CLOSED} are cut out of V_t. H_t keeps its columns: every node also carries gamma u.",
    )
    claims = (
        Claim("1 fine-tuning", "After the last session it is more accurate than a single linear head fine-tuned by cross-entropy.",
              "fscil", "accuracy", "above", (OURS, Side("finetune")), held_equal=(("total", 0.01),)),
        Claim("2a gate", "With the gate and its penalty it is no less accurate than with all auxiliary nodes open (half a point).",
              "fscil", "accuracy", "above", (OURS, Side("lec_net", {"gate": False})), margin=-0.5,
              held_equal=(("total", 0.01),)),
        Claim("2b compression", "The gate closes some of the auxiliary nodes.", "fscil", "note.closed_share", "above", (OURS,),
              bound=0.0),
        Claim("3 class means", "Counter-check, not the paper's: it is more accurate than class means on the frozen backbone.",
              "fscil", "accuracy", "above", (OURS, Side("ncm"))),
    )

    session_rate: float = option(0.1, "learning rate of the later sessions", bounds=(0, 10))
    epochs: int = option(70, "most times through a later session's images", bounds=(1, 10_000))
    gate: bool = option(True, "learn which auxiliary nodes stay; off, all do (alpha = 1)")
    gamma: float = option(0.6, "weight of the base nodes in a later session's node vector", bounds=(0, 10))
    soft_epochs: int = option(20, "epochs before the gate sharpens", bounds=(0, 10_000))
    temperature: float = option(2.0, "of the distillation", bounds=(0.1, 100))
    penalty: float = option(0.1, "weight of R", bounds=(0, 100))
    learn_r: bool = option(False, "move r by the penalty's gradient, as in the paper's code")
    heads: str = option("new", "which heads a later session moves", choices=("new", "all"))

    def fit(self, setting: Sessions, run: Run) -> Iterator[Network]:
        for session in setting:
            if session.number == 0:
                network = ExpandingNetwork(self.train_base(session, setting, run), self.gamma)
            else:
                self.learn(network, session, setting, run)
            yield Network(network.compressed())

    def learn(self, network: ExpandingNetwork, session: SessionData, setting: Sessions, run: Run) -> None:
        features = features_of(network.backbone, session, setting, run)
        before = network.respond(features.values.to(run.device))  # of the network before the session, which never moves
        new = network.expand(class_means(features, session.classes).to(run.device))
        moving = [*new.parameters(), *([network.r] if self.learn_r else [])]
        if self.heads == "all":
            moving += [network.head.weight, *(item.head.weight for item in network.expansions[:-1])]

        def loss(batch: Batch, clock: Clock) -> dict[str, Tensor]:
            alpha = new.gate
            if self.gate:
                epoch = self.epochs * clock.step / clock.steps
                alpha = gate_of(new.auxiliary(batch.inputs), 1 + max(epoch - self.soft_epochs, 0))
                new.gate.copy_(alpha.detach())
            logits = network.respond(batch.inputs, alpha)
            hard = functional.cross_entropy(logits, batch.targets)
            soft = distillation(logits, before[batch.index.to(before.device)], self.temperature)
            closing = excess(alpha, network.r) if self.gate else torch.zeros(())
            return {"loss": hard + soft + self.penalty * closing, "distillation": soft, "gate": alpha.mean()}

        train_on(features, network, moving, loss, run, name=f"session-{session.number}", rate=self.session_rate,
                 batch=self.batch, epochs=self.epochs, samples=self.share(setting, run))
        open_nodes = [int((item.gate > 0.5).sum()) for item in network.expansions]
        kept = 100 * sum(open_nodes) / (network.width * len(open_nodes))
        run.note(kept_nodes=sum(open_nodes), kept_share=kept, closed_share=100 - kept)


def gate_of(activations: Tensor, sharpness: float) -> Tensor:
    """alpha (d,) = sigmoid(s mean over the batch of a), of activations (B, d)."""
    return (sharpness * activations.mean(0)).sigmoid()


def excess(alpha: Tensor, r: Tensor) -> Tensor:
    """R = relu(mean_i |alpha_i| - r)."""
    return (alpha.abs().mean() - r).relu()


def distillation(logits: Tensor, before: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of softmax(`before` / T), (B, K), and the softmax of the first K of `logits` / T; without a factor T^2."""
    return functional.cross_entropy(logits[:, : before.shape[1]] / temperature, (before / temperature).softmax(1))


class Expansion(nn.Module):
    """What a session adds: V_t, H_t and the gate (d,) as it was at the last step, from W_1 and the new classes' `means` (C, d)."""

    def __init__(self, nodes: nn.Linear, means: Tensor) -> None:
        super().__init__()
        self.auxiliary = copy.deepcopy(nodes)
        self.head = nn.Linear(nodes.out_features, len(means), bias=False, device=means.device)
        self.head.weight.data.copy_(unit(nodes(means)))
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
        self.width, self.scale, self.gamma = base.width, base.scale, gamma
        self.expansions: Any = nn.ModuleList()
        self.r = nn.Parameter(torch.zeros_like(base.nodes.weight[0, 0]), requires_grad=False)

    def expand(self, means: Tensor) -> Expansion:
        """Add a session for the classes of these mean features (C, d)."""
        self.expansions.append(Expansion(self.nodes, means))
        return self.expansions[-1]

    def respond(self, features: Tensor, alpha: Tensor | None = None) -> Tensor:
        """Logits of features (N, d), with the stored gates, or `alpha` in the place of the last."""
        nodes = self.nodes(features)
        gates = [item.gate for item in self.expansions]
        if alpha is not None:
            gates[-1] = alpha
        later = [item(features, self.gamma * nodes, gate) for item, gate in zip(self.expansions, gates, strict=True)]
        return self.scale * torch.cat([self.head(unit(nodes)), *later], 1)

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
        self.backbone, self.nodes, self.head = network.backbone, network.nodes, network.head
        self.scale, self.gamma = network.scale, network.gamma
        self.expansions = nn.ModuleList(CompressedExpansion(item) for item in network.expansions)

    def forward(self, images: Tensor) -> Tensor:
        features = self.backbone(images)
        nodes = self.nodes(features)
        later = [item(features, self.gamma * nodes) for item in self.expansions]
        return self.scale * torch.cat([self.head(unit(nodes)), *later], 1)

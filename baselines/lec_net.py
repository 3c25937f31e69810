"""LEC-Net: each session adds nodes beside the frozen ones (expansion) and a gate that learns to close most (compression)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from suite.baselines._fscil import BASE, LATER, SessionMethod, class_means, features_of, train_on
from suite.baselines._lec_net import CLOSED, ExpandingNetwork
from torch import Tensor
from torch.nn import functional

from suite.artifacts import Network
from suite.context import Run
from suite.contract import Claim, Paper, Published, Side, option
from suite.settings import SessionData, Sessions
from suite.train import Batch, Clock

OURS = Side("lec_net")


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
        Published("fscil", "accuracy", 34.73, "README of ICCV2021-LEC/LEC, CIFAR100, session 8 (7 has the same)",
                  {"arch": "resnet18"}),
    )
    standins = (
        *BASE, "The factor then becomes a part of W_2.",
        LATER + " LEC-Net's own loop is not public; the rate is the default of its script and was the best of 0.005, 0.02 and 0.1 "
        "on held-out images of the base classes, as for fine-tuning. DSN's replay of Gaussian features is left out.",
        "As in DSN, V_t begins as W_1, and the rows of H_t as the base nodes' normalised response to the new classes' means; they "
        "get the mean length of W_2's rows, as DSN's have all the same length.",
        "The epochs of the gate's schedule are counted by the share of the session's training that is done.",
        "V_t and all heads move. With heads=new, V_t and H_t alone as in DSN's script for CIFAR-100, the old logits cannot change "
        "and distillation has no gradient.",
        "r is fixed at 0: a learned one grows until the penalty is 0 and nothing closes.",
        f"Deployed, nodes whose gate is below {CLOSED} are cut out of V_t. H_t keeps its columns: every node also carries gamma u.",
    )
    claims = (
        Claim("1 fine-tuning", "After the last session it is more accurate than a single linear head fine-tuned by cross-entropy.",
              "fscil", "accuracy", "above", (OURS, Side("finetune")), held_equal=(("total", 0.01),)),
        Claim("2a gate", "With the gate and its penalty it is no less accurate than with all auxiliary nodes open (half a point).",
              "fscil", "accuracy", "above", (OURS, Side("lec_net", {"gate": False})), margin=-0.5,
              held_equal=(("total", 0.01),)),
        # Without a penalty about half of the nodes close too: V_t begins as W_1, and half of its mean activations are negative.
        Claim("2b compression", "The penalty closes more of the auxiliary nodes than close without it.", "fscil",
              "note.closed_share", "above", (OURS, Side("lec_net", {"penalty": 0.0}))),
        Claim("3 class means", "Counter-check, not the paper's: it is more accurate than class means on the frozen backbone.",
              "fscil", "accuracy", "above", (OURS, Side("ncm"))),
    )

    session_rate: float = option(0.005, "learning rate of the later sessions", bounds=(0, 10))
    epochs: int = option(70, "most times through a later session's images", bounds=(1, 10_000))
    gate: bool = option(True, "learn which auxiliary nodes stay; off, all do (alpha = 1)")
    gamma: float = option(0.6, "weight of the base nodes in a later session's node vector", bounds=(0, 10))
    soft_epochs: int = option(20, "epochs before the gate sharpens", bounds=(0, 10_000))
    temperature: float = option(2.0, "of the distillation", bounds=(0.1, 100))
    penalty: float = option(0.1, "weight of R", bounds=(0, 100))
    learn_r: bool = option(False, "move r by the penalty's gradient, as in the paper's code")
    heads: str = option("all", "which heads a later session moves", choices=("new", "all"))

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
            soft = distillation(logits, before[batch.index], self.temperature)
            closing = excess(alpha, network.r) if self.gate else torch.zeros(())
            return {"loss": hard + soft + self.penalty * closing, "distillation": soft, "gate": alpha.mean()}

        train_on(features, network, moving, loss, run, name=f"session-{session.number}", rate=self.session_rate,
                 batch=self.batch, epochs=self.epochs, samples=self.share(setting, run))
        gates = torch.cat([item.gate for item in network.expansions])
        kept, share = int((gates > 0.5).sum()), 100 * (gates > 0.5).float().mean().item()
        run.note(kept_nodes=kept, kept_share=share, closed_share=100 - share, deployed_nodes=int((gates >= CLOSED).sum()))


def gate_of(activations: Tensor, sharpness: float) -> Tensor:
    """alpha (d,) = sigmoid(s mean over the batch of a), of activations (B, d)."""
    return (sharpness * activations.mean(0)).sigmoid()


def excess(alpha: Tensor, r: Tensor) -> Tensor:
    """R = relu(mean_i |alpha_i| - r)."""
    return (alpha.abs().mean() - r).relu()


def distillation(logits: Tensor, before: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of softmax(`before` / T), (B, K), and the softmax of the first K of `logits` / T; without a factor T^2."""
    return functional.cross_entropy(logits[:, : before.shape[1]] / temperature, (before / temperature).softmax(1))

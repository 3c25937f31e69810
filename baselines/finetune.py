"""Fine-tuning: one linear head grows by the new classes and is trained on their few images alone by cross-entropy (Ft-CNN)."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from suite.baselines._fscil import BASE, LATER, BaseNetwork, SessionMethod, features_of, train_on
from torch import Tensor, nn
from torch.nn import functional

from suite.artifacts import Network
from suite.context import Run
from suite.contract import Paper, Published, option
from suite.settings import SessionData, Sessions
from suite.train import Batch, Clock


@dataclass
class Finetune(SessionMethod):
    """Nothing keeps the old classes' rows of the head where they were: the baseline that forgets."""

    paper = Paper("Few-Shot Class-Incremental Learning", "Tao, Hong, Chang, Dong, Wei, Gong", "CVPR", 2020,
                  "https://arxiv.org/abs/2004.10956")
    standins = (
        *BASE, LATER,
        "The rate of the later sessions is the best of DSN's 0.1, 0.02, 0.005 and 0.001 on held-out images of the base classes, 40 "
        "of them as a base and 20 in sessions (seed 0: 13, 18, 37 and 63 %): with DSN's all old classes are lost.",
        "The backbone is frozen as LEC-Net's is and the head alone moves; the paper's Ft-CNN is said to be \"the baseline "
        "finetuning method with only softmax cross-entropy loss\", no more.",
    )
    published = (Published("fscil", "accuracy", 2.65, "README of xyutao/fscil, CIFAR100, row Ft-CNN, session 9",
                           {"arch": "resnet18"}),)

    session_rate: float = option(0.001, "learning rate of the later sessions", bounds=(0, 10))
    epochs: int = option(70, "most times through a later session's images", bounds=(1, 10_000))

    def fit(self, setting: Sessions, run: Run) -> Iterator[Network]:
        for session in setting:
            if session.number == 0:
                network = self.train_base(session, setting, run)
            else:
                self.learn(network, session, setting, run)
            yield Network(copy.deepcopy(network))

    def learn(self, network: BaseNetwork, session: SessionData, setting: Sessions, run: Run) -> None:
        features = features_of(network.backbone, session, setting, run)
        torch.manual_seed(run.seed("weights", session.number))
        network.head = grown(network.head, len(session.classes))

        def loss(batch: Batch, clock: Clock) -> dict[str, Tensor]:
            return {"loss": functional.cross_entropy(network.respond(batch.inputs), batch.targets)}

        train_on(features, network, network.head.parameters(), loss, run, name=f"session-{session.number}",
                 rate=self.session_rate, batch=self.batch, epochs=self.epochs, samples=self.share(setting, run))


def grown(head: nn.Linear, ways: int) -> nn.Linear:
    """A head (C + `ways`, d) with the rows of `head` (C, d) and `ways` random ones behind them."""
    made = nn.Linear(head.in_features, head.out_features + ways, bias=False, device=head.weight.device)
    made.weight.data[: head.out_features] = head.weight.data
    return made

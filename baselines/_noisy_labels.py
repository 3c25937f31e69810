"""What methods for noisy labels share: a training that looks at the clean validation images and keeps the best network too."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from suite.artifacts import Network
from suite.context import Run
from suite.metrics import accuracy
from suite.settings import Classification
from suite.train import Batch, Clock, autocast, batches, predict, steps
from suite.train.loop import Stateful

Update = Callable[[Tensor, Batch, Clock], Mapping[str, Tensor | float]]


class Best:
    """The weights of `network` that did best on the clean validation images, which it looks at `looks` times, evenly spread.

    Nothing is selected by it: networks memorise wrong labels late, and the best beside the last one shows how much.
    """

    def __init__(self, network: nn.Module, setting: Classification, run: Run, looks: int) -> None:
        self.network, self.setting, self.run, self.looks = network, setting, run, looks
        self.top1, self.weights = -1.0, network.state_dict()

    def look(self, clock: Clock) -> None:
        """Called after every step; the network is in training mode before and afterwards."""
        if (clock.step + 1) * self.looks // clock.steps == clock.step * self.looks // clock.steps:
            return
        logits = predict(self.network, self.setting.val, self.setting.normalise, self.run)
        self.network.train()
        top1 = accuracy(logits, self.setting.val.labels)
        self.run.log(clock.step + 1, val_top1=top1)
        if top1 > self.top1:
            self.top1, self.weights = top1, copy.deepcopy(self.network.state_dict())

    def state_dict(self) -> dict[str, Any]:
        return {"top1": self.top1, "weights": self.weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.top1, self.weights = state_dict["top1"], state_dict["weights"]


def train_noisy(
    network: nn.Module, setting: Classification, run: Run, keep: Mapping[str, Stateful], update: Update, *, batch: int, looks: int,
) -> Network:  # fmt: skip
    """Train `network` on all the budget there is; the last one, with the best on clean validation images in its spare.

    `update(logits, batch, clock)` does one step from the logits float32 (B, K) of a batch on the run's device and returns values
    for the curves. `keep` names what must survive a kill beside the network.
    """
    network.to(device=run.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    size, best = min(batch, len(setting.train)), Best(network, setting, run, looks)

    def step(batch: Batch, clock: Clock) -> Mapping[str, Tensor | float]:
        batch = batch.to(run.device)
        with autocast(run):
            logits = network(batch.inputs.contiguous(memory_format=torch.channels_last))
        values = update(logits.float(), batch, clock)
        best.look(clock)
        return values

    network.train()
    steps(run, "train", {"network": network, "best": best, **keep},
          lambda generator: batches(setting.train, size, setting.augment, generator), step, size=size)
    chosen = copy.deepcopy(network)
    chosen.load_state_dict(best.weights)
    return Network(network.eval(), {"best": chosen.eval()})

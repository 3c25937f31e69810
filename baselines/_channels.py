"""Channel pruning by an importance that is measured on data or learned: what is important is apart from what is cut.

How channels leave a network, in all layers that write or read them, is in `suite.nn.cut`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from suite.baselines._pruning import FineTunedMethod, recalibrate
from torch import Tensor, nn

from suite.artifacts import Network
from suite.context import Run
from suite.contract import option
from suite.metrics import accuracy
from suite.nn.cut import Cut, choose_cut
from suite.nn.streams import Stream, streams
from suite.nn.trace import Tracer
from suite.settings import Classification
from suite.train import predict


@dataclass
class ChannelPruningMethod(FineTunedMethod):
    """A method supplies `importance`; `chosen` may cut by it otherwise than to equal rates."""

    # What comes before fine-tuning leaves less than a batch of 32 of the 32 samples that imagenet has at smoke.
    scales: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        scale: {**values, "batch": 8} if scale == "smoke" else values for scale, values in FineTunedMethod.scales.items()
    }

    macs: float = option(0.5, "share of the dense MACs to cut to", bounds=(0.001, 1))

    def importance(self, network: nn.Module, setting: Classification, run: Run) -> Mapping[str, Tensor]:
        """Scores (Co,) of the output channels of each layer that may lose some, the lowest go first. `network` is a copy; what is
        trained for them is charged to the run's budget."""
        raise NotImplementedError

    def scored(self, setting: Classification, run: Run) -> tuple[nn.Module, Mapping[str, Tensor]]:
        """The network to cut, and its scores; a method whose search changes the network overrides this."""
        network = run.reference(self.arch).module
        return network, run.once("importance", lambda: dict(self.importance(copy.deepcopy(network), setting, run)))

    def chosen(self, network: nn.Module, scores: Mapping[str, Tensor], example: Tensor) -> Cut:
        """One rate for every stream, such that the MACs are met; `network` stays as it is."""
        return choose_cut(network, scores, example, macs=self.macs, rates=1.0)

    def fit(self, setting: Classification, run: Run) -> Network:
        network, scores = self.scored(setting, run)
        decision = self.chosen(network, scores, torch.zeros(1, *setting.shape))
        decision.apply(network)
        settled = copy.deepcopy(network)
        recalibrate(settled, setting, run, self.batch)
        run.note(macs_kept=decision.macs / decision.macs_before,
                 top1_recalibrated=accuracy(predict(settled, setting.val, setting.normalise, run), setting.val.labels))
        return self.finetune(network, setting, run)


def norms_behind(network: nn.Module) -> dict[str, str]:
    """The normalisation that each layer feeds, by their names."""
    found = {}
    for node in Tracer().trace(network).nodes:
        for user in node.users if node.op == "call_module" else ():
            if user.op == "call_module" and isinstance(network.get_submodule(str(user.target)), nn.BatchNorm2d):
                found[str(node.target)] = str(user.target)
    return found


def hidden(network: nn.Module, example: Tensor) -> list[Stream]:
    """The streams from one layer through an activation to one other: inside blocks, and all of a plain network's."""
    return [item for item in streams(network, example)
            if not (item.fixed or item.residual or item.gates or item.linear) and len(item.writers) == len(item.readers) == 1]

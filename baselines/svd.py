"""Low-rank decomposition: every convolution becomes two, by the singular values of its weight."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from suite.baselines._pruning import FineTunedMethod
from suite.baselines._reduced import Decision, Layer, Reduced, Reducible

from suite.artifacts import Network
from suite.context import Run
from suite.contract import Paper, option
from suite.settings import Classification


@dataclass
class SvdMethod(FineTunedMethod):
    """The same share of its MACs goes in every convolution but the first and depthwise ones: its smallest singular values."""

    paper = Paper("Exploiting Linear Structure Within Convolutional Networks for Efficient Evaluation",
                  "Denton, Zaremba, Bruna, LeCun, Fergus", "NIPS", 2014, "https://arxiv.org/abs/1404.0736")
    tags = ("cnn/low-rank",)
    standins = (*FineTunedMethod.standins,
                "One truncated decomposition of the weight as a matrix (filters, the rest) at one rate, instead of clustered and "
                "bi-clustered approximations at rates by hand, so that it stands beside collaborative_compression.")

    macs: float = option(0.5, "share of the dense MACs to cut to", bounds=(0.001, 1))

    def fit(self, setting: Classification, run: Run) -> Network:
        network, example = run.reference(self.arch).module, torch.zeros(1, *setting.shape)
        found = Reducible(network, example)

        def at(rate: float) -> Decision:
            if not rate:
                return {name: Reduced(tuple(range(layer.inputs))) for name, layer in found.layers.items()}
            return {name: Reduced(tuple(range(layer.inputs)), _rank(layer, rate)) for name, layer in found.layers.items()}

        decision = found.reach(self.macs, at, 0.0, 1.0)
        run.note(macs_kept=found.build(network, decision, example) / found.total)
        return self.finetune(network, setting, run)


def _rank(layer: Layer, rate: float) -> int:
    """The largest rank at which two layers cost no more than 1 - `rate` of the one, and at least 1."""
    return max(1, int((1 - rate) * layer.rows * layer.inputs * layer.taps / (layer.rows + layer.inputs * layer.taps) + 1e-9))

"""What the weight pruners share: one mask per layer at one rate, fine-tuning under the masks, notes for the claims."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from suite.artifacts import Network
from suite.contract import Method, option
from suite.metrics import accuracy
from suite.nn import Prunable, prunable
from suite.nn.selection import lowest
from suite.run import Run
from suite.settings import Classification
from suite.train import Recipe, predict, train


class Mask(nn.Module):
    """Multiplies a weight by a fixed 0/1 mask: removed weights stay zero and get exactly no gradient."""

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, weight: Tensor) -> Tensor:
        return weight * self.mask


@dataclass
class PruningMethod(Method):
    """One-shot pruning of a trained reference, the same share in every prunable layer, then fine-tuning.

    A pruner supplies `mask`; 1xN also rearranges filters in `prepare`. Layers: `suite.nn.prunable`.
    """

    takes: ClassVar[tuple[str, ...]] = ("Classification",)
    gives: ClassVar[str] = "Network"
    starts: ClassVar[str] = "reference"  # type: ignore[assignment]
    # The recipe of the 1xN repository shrunk to a few epochs: a rate of 0.01 would not recover in that time.
    scales: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        scale: {"rate": 0.05, "batch": batch, "weight_decay": 5e-4, "warmup": 0.1}
        for scale, batch in (("smoke", 32), ("short", 64), ("long", 128))
    }

    arch: str = option("resnet20", "network, see suite.nn.ARCHS")
    sparsity: float = option(0.5, "share removed in every prunable layer", bounds=(0, 0.999))
    rate: float = option(0.01, "peak learning rate of fine-tuning", bounds=(0, 10))
    batch: int = option(256, "images per step", bounds=(1, 65536))
    weight_decay: float = option(4e-5, "L2 penalty", bounds=(0, 1))
    warmup: float = option(5 / 180, "share of the steps with a rising rate", bounds=(0, 0.9))

    def prepare(self, network: nn.Module, layers: list[Prunable]) -> None:
        """Change the trained network before its masks are made, keeping its function."""

    def mask(self, weight: Tensor, run: Run, name: str) -> Tensor:
        """The 0/1 mask of a layer's `weight` (Co, Ci, k, k) or (Co, Ci), of the same shape."""
        raise NotImplementedError

    def fit(self, setting: Classification, run: Run) -> Network:
        network = run.reference(self.arch).module
        layers = prunable(network, torch.zeros(1, *setting.shape))
        self.prepare(network, layers)
        kept, total = 0.0, 0.0
        retained = []
        for layer in layers:
            module = network.get_submodule(layer.name)
            weight = getattr(module, layer.parameter).detach()
            mask = self.mask(weight, run, layer.name)
            parametrize.register_parametrization(module, layer.parameter, Mask(mask))
            retained.append(float((weight * mask).abs().sum() / weight.abs().sum()))
            kept, total = kept + float(mask.sum()), total + mask.numel()
        run.note(
            retained_l1=sum(retained) / len(retained), sparsity=1 - kept / total,
            top1_before_finetuning=accuracy(predict(network, setting.val, setting.normalise, run), setting.val.labels),
        )
        recipe = Recipe(rate=self.rate, batch=self.batch, weight_decay=self.weight_decay, warmup=self.warmup)
        train(network, setting.train, run, augment=setting.augment, recipe=recipe)
        for layer in layers:
            parametrize.remove_parametrizations(network.get_submodule(layer.name), layer.parameter)
        return Network(network)


def filters(scores: Tensor, weight: Tensor, share: float) -> Tensor:
    """A mask of `weight` that removes the filters (rows) with the lowest `scores` (Co,)."""
    return lowest(scores, share).view(-1, *[1] * (weight.dim() - 1)).expand_as(weight).clone()

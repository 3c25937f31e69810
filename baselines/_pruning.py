"""What the pruners share: one rate for every layer, masks or a cut, fine-tuning of what is left, notes for the claims.

What chooses channels by more than their weights is in `_channels.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from suite.artifacts import Network
from suite.context import Run
from suite.contract import Method, option
from suite.errors import UserError
from suite.metrics import accuracy
from suite.nn import Prunable, prunable
from suite.nn.cut import cut
from suite.nn.selection import lowest
from suite.settings import Classification
from suite.train import Recipe, batches, predict, train


class Mask(nn.Module):
    """Multiplies a weight by a fixed 0/1 mask: removed weights stay zero and get exactly no gradient."""

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, weight: Tensor) -> Tensor:
        return weight * self.mask


@torch.no_grad()
def recalibrate(network: nn.Module, setting: Classification, run: Run, size: int) -> None:
    """Set the statistics of all batch normalisations to the means over one pass of the training images, `size` at a time, or over
    as many as the budget allows to train on.

    Nothing is trained, and nothing charged: no gradient flows.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean of all batches
    network.train().to(run.device)
    size = min(size, len(setting.train))
    epoch = batches(setting.train, size, setting.augment, run.generator("statistics"))
    for batch in islice(epoch, max(1, run.budget.allowed // size)):
        network(batch().inputs.to(run.device))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.eval()


@dataclass
class FineTunedMethod(Method):
    """A trained reference made smaller and fine-tuned; all that do so are fine-tuned alike."""

    takes: ClassVar[tuple[str, ...]] = ("Classification",)
    gives: ClassVar[str] = "Network"
    starts: ClassVar[str] = "reference"  # type: ignore[assignment]
    standins: ClassVar[tuple[str, ...]] = (
        "Below scale full fine-tuning is a few epochs at a peak rate of 0.05 in batches of 32 to 128, a weight decay of 5e-4 "
        "and a tenth of the steps as warm-up; the 1xN recipe has 180 epochs, 0.01, 256, 4e-5 and five epochs.",
    )
    # The recipe of the 1xN repository shrunk to a few epochs: a rate of 0.01 would not recover in that time.
    scales: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        scale: {"rate": 0.05, "batch": batch, "weight_decay": 5e-4, "warmup": 0.1}
        for scale, batch in (("smoke", 32), ("short", 64), ("long", 128))
    }

    arch: str = option("resnet20", "network, see suite.nn.ARCHS")
    rate: float = option(0.01, "peak learning rate of fine-tuning", bounds=(0, 10))
    batch: int = option(256, "images per step", bounds=(1, 65536))
    weight_decay: float = option(4e-5, "L2 penalty", bounds=(0, 1))
    warmup: float = option(5 / 180, "share of the steps with a rising rate", bounds=(0, 0.9))

    def recipe(self) -> Recipe:
        return Recipe(rate=self.rate, batch=self.batch, weight_decay=self.weight_decay, warmup=self.warmup)

    def finetune(self, network: nn.Module, setting: Classification, run: Run) -> Network:
        """`network`, trained on all that the budget has left; what it was before, on `val`, is noted."""
        before = accuracy(predict(network, setting.val, setting.normalise, run), setting.val.labels)
        run.note(top1_before_finetuning=before)
        train(network, setting.train, run, augment=setting.augment, recipe=self.recipe())
        return Network(network)


@dataclass
class PruningMethod(FineTunedMethod):
    """One-shot pruning of a trained reference, the same share in every prunable layer, then fine-tuning.

    A pruner supplies `mask`; 1xN also rearranges filters in `prepare`. Layers: `suite.nn.prunable`.
    """

    sparsity: float = option(0.5, "share removed in every prunable layer", bounds=(0, 0.999))

    def prepare(self, network: nn.Module, layers: list[Prunable]) -> None:
        """Change the trained network before its masks are made, keeping its function."""

    def mask(self, weight: Tensor, run: Run, name: str) -> Tensor:
        """The 0/1 mask of a layer's `weight` (Co, Ci, k, k) or (Co, Ci), of the same shape."""
        raise NotImplementedError

    @contextmanager
    def pruned(self, network: nn.Module, layers: list[Prunable], example: Tensor, run: Run) -> Iterator[dict[str, float]]:
        """Within the context `network` is pruned and is trained so; gives what is worth noting. Behind it, it is deployed."""
        kept, total, retained = 0.0, 0.0, []
        for layer in layers:
            module = network.get_submodule(layer.name)
            weight = getattr(module, layer.parameter).detach()
            mask = self.mask(weight, run, layer.name)
            parametrize.register_parametrization(module, layer.parameter, Mask(mask))
            retained.append(float((weight * mask).abs().sum() / weight.abs().sum()))
            kept, total = kept + float(mask.sum()), total + mask.numel()
        yield {"retained_l1": sum(retained) / len(retained), "sparsity": 1 - kept / total}
        for layer in layers:
            parametrize.remove_parametrizations(network.get_submodule(layer.name), layer.parameter)

    def fit(self, setting: Classification, run: Run) -> Network:
        network = run.reference(self.arch).module
        example = torch.zeros(1, *setting.shape)
        layers = prunable(network, example)
        self.prepare(network, layers)
        with self.pruned(network, layers, example, run) as notes:
            run.note(**notes)
            return self.finetune(network, setting, run)


@dataclass
class FilterPruningMethod(PruningMethod):
    """Filters go with all that belongs to them: their normalisations, and their inputs in every layer that reads them.

    A pruner supplies `scores`. ``masked=true`` is the comparison of the 1xN paper instead: filters become zero, the same share
    in every prunable layer, and the layers that read them stay whole; nothing gets smaller.
    """

    masked: bool = option(False, "set filters to zero and cut nothing: equal layer sparsity, as in the 1xN paper's comparison")
    macs: float = option(0.0, "share of the dense MACs to cut to, whatever the sparsity; 0: cut by sparsity", bounds=(0, 1))

    def __post_init__(self) -> None:
        if self.masked and self.macs:
            raise UserError("masked=true cuts nothing, so that no share of the MACs can be reached; leave out masked or macs.")

    def scores(self, weight: Tensor, run: Run, name: str) -> Tensor:
        """The importance (Co,) of the filters of a layer's `weight`: the lowest go."""
        raise NotImplementedError

    def mask(self, weight: Tensor, run: Run, name: str) -> Tensor:
        kept = lowest(self.scores(weight, run, name), self.sparsity)
        return kept.view(-1, *[1] * (weight.dim() - 1)).expand_as(weight).clone()

    @contextmanager
    def pruned(self, network: nn.Module, layers: list[Prunable], example: Tensor, run: Run) -> Iterator[dict[str, float]]:
        if self.masked:
            with super().pruned(network, layers, example, run) as notes:
                yield notes
            return
        weights = {layer.name: network.get_submodule(layer.name).weight.detach() for layer in layers if layer.stream}
        scores = {name: self.scores(weight, run, name) for name, weight in weights.items()}
        # A share of the MACs is reached by one rate for every stream, as the sparsity is.
        found = cut(network, scores, example, macs=self.macs or None, rates=1.0 if self.macs else self.sparsity)
        left = sum(network.get_submodule(name).weight.numel() for name in weights)
        yield {"sparsity": 1 - left / sum(map(Tensor.numel, weights.values())), "macs_kept": found.macs / found.macs_before}

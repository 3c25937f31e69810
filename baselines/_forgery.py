"""What the detectors of forged faces share: the backbone by levels, where its weights come from, and the training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torchvision
from torch import Tensor, nn

from suite.context import Run
from suite.contract import Method, Needed, option
from suite.errors import UserError
from suite.nn import build
from suite.nn.pyramid import Pyramid
from suite.nn.weights import load_weights, read_weights
from suite.settings import FaceForgery
from suite.train import Batch, Recipe, autocast, batches, optimise

PAPERS = "efficientnet_b4"
LEVELS = 3  # Sec. 3: features of three scales
ENDS = (4, 6, 9)  # of the levels in EfficientNet's stages: 56, 160 and 1792 channels at strides 8, 16 and 32


class Backbone(nn.ModuleList):
    """A classifier's feature extractor in three parts, one behind the other; `widths` and `strides` are those of their maps."""

    widths: list[int]
    strides: list[int]


def levels(classifier: nn.Module) -> Backbone:
    """The parts of a classifier up to its last three scales."""
    if isinstance(classifier, torchvision.models.EfficientNet):
        stages = list(classifier.features)
        made = Backbone(nn.Sequential(*stages[start:end]) for start, end in zip((0, *ENDS), ENDS, strict=False))
        made.widths = [_width(part) for part in made]
        made.strides = [8, 16, 32]
        return made
    pyramid = Pyramid(classifier)
    first = len(pyramid.parts) - LEVELS
    parts = [nn.Sequential(*pyramid.parts[: first + 1]), *pyramid.parts[first + 1 :]]
    made = Backbone(parts)
    made.widths, made.strides = pyramid.widths[first:], pyramid.strides[first:]
    return made


def _width(part: nn.Module) -> int:
    return [module.out_channels for module in part.modules() if isinstance(module, nn.Conv2d)][-1]


def classifier_of(arch: str, classes: int) -> nn.Module:
    if arch == PAPERS:
        return torchvision.models.efficientnet_b4(weights=None, num_classes=classes)
    return build(arch, classes, 64)


@dataclass
class ForgeryMethod(Method):
    """Trains a network on a pre-trained backbone; a method says which network, and its loss."""

    takes = ("FaceForgery",)
    gives = "Network"
    scales: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "smoke": {"arch": "resnet8", "batch": 8, "rate": 1e-3},
        "short": {"arch": "resnet8", "rate": 2e-3, "batch": 16, "weight_decay": 1e-4},
        "long": {"arch": "resnet20", "rate": 1e-3},
    }

    arch: str = option(PAPERS, "the backbone", choices=(PAPERS, "resnet18", "resnet50", "resnet8", "resnet20", "resnet56"))
    weights: str = option("", "a state-dict of the backbone as a classifier, instead of the recorded one")
    rate: float = option(2e-4, "peak learning rate of Adam", bounds=(0, 1))
    batch: int = option(32, "faces per step", bounds=(2, 65536))
    weight_decay: float = option(5e-4, "L2 penalty", bounds=(0, 1))

    def needs(self) -> Mapping[str, Needed]:
        """The backbone, trained on CIFAR-10's layout or, if it is one of ImageNet's, on that."""
        if self.weights:
            return {}
        if self.arch == PAPERS:
            raise UserError(f"'{PAPERS}' has no recorded weights to start from; give torchvision's ImageNet state-dict with "
                            "weights=FILE, or another arch, such as arch=resnet20.")
        task = "imagenet" if self.arch in ("resnet18", "resnet50") else "cifar10"
        return {"backbone": Needed(task, "plain", {"arch": self.arch})}

    def backbone(self, run: Run) -> nn.Module:
        """The pre-trained classifier. UserError for a file that does not fit."""
        if not self.weights:
            return run.reference("backbone").module
        rows = [len(values) for values in read_weights(self.weights).values() if values.dim() == 2]
        network = classifier_of(self.arch, rows[-1] if rows else 1)
        load_weights(network, self.weights)
        return network

    def train(self, network: nn.Module, setting: FaceForgery, run: Run, loss: Callable[[Any, Batch, Tensor], Tensor]) -> None:
        """Train `network` in place. ``loss(what it puts out, batch, labels)``; the batch's targets are the masks.

        In float32, as traces of a forgery are in the last bits.
        """
        recipe = Recipe(rate=self.rate, batch=self.batch, weight_decay=self.weight_decay, warmup=0.05, adam=True, exact=True)
        size, labels = min(self.batch, len(setting.train)), setting.train.labels.to(run.device)
        network.to(device=run.device, memory_format=torch.channels_last)  # type: ignore[call-overload]

        def value(batch: Batch) -> Tensor:
            batch = batch.to(run.device)
            with autocast(run, recipe.exact):
                return loss(network(batch.inputs.contiguous(memory_format=torch.channels_last)), batch, labels[batch.index])

        optimise(network, lambda generator: batches(setting.train, size, setting.augment, generator), value, run,
                 recipe=recipe, size=size)

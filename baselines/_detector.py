"""What the plain detectors share: options, the pre-trained backbone, the user's weights, training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from suite.artifacts import Detector
from suite.context import Run
from suite.contract import Method, Needed, Skip, option
from suite.errors import UserError
from suite.nn import build
from suite.nn.detection import ARCHS, Body, rcnn
from suite.nn.weights import load_weights
from suite.settings import Detection
from suite.train import Recipe, train_detector


@dataclass
class DetectorMethod(Method):
    """A detector of torchvision, from a backbone that a recorded run has pre-trained, or from the user's state-dict as it is."""

    tags: ClassVar[tuple[str, ...]] = ("detector",)
    takes: ClassVar[tuple[str, ...]] = ("Detection",)
    gives: ClassVar[str] = "Detector"
    with_masks: ClassVar[bool] = False

    arch: str = option("resnet50", "backbone", choices=ARCHS)
    pretrained: bool = option(True, "start from the backbone of a recorded run on ImageNet's layout")
    weights: str = option("", "state-dict file of the whole detector, in torchvision's names; it is then not trained")
    width: int = option(256, "channels of the feature pyramid", bounds=(8, 1024))
    anchor: float = option(4.0, "side of the smallest anchors in strides", bounds=(0.5, 16))
    optimizer: Literal["sgd", "adam"] = option("sgd", "how weights are updated")
    rate: float = option(0.01, "peak learning rate", bounds=(0, 10))
    batch: int = option(16, "images per step", bounds=(1, 4096))
    weight_decay: float = option(1e-4, "L2 penalty", bounds=(0, 1))
    warmup: float = option(0.05, "share of the steps in which the rate rises", bounds=(0, 0.9))

    def __post_init__(self) -> None:
        if self.weights and not Path(self.weights).is_file():
            raise UserError(f"There is no state-dict file '{self.weights}'; name one with weights=FILE.")

    def needs(self) -> Mapping[str, Needed]:
        return {"backbone": Needed("imagenet", "plain", {"arch": self.arch})} if self.pretrained and not self.weights else {}

    def network(self, backbone: nn.Module, classes: int, size: int) -> nn.Module:
        """The detector for labels below `classes`. Called once by ``fit``."""
        raise NotImplementedError

    def train(self, network: nn.Module, setting: Detection, run: Run) -> None:
        """Train the detector in place. Called once by ``fit``, unless the user gave weights."""
        train_detector(network, setting.train, run, recipe=self.recipe(), masks=self.with_masks)

    def recipe(self) -> Recipe:
        """How it is trained; gradients longer than 10, as in the first steps, are cut."""
        return Recipe(rate=self.rate, batch=self.batch, weight_decay=self.weight_decay, warmup=self.warmup,
                      adam=self.optimizer == "adam", longest=10.0)

    def fit(self, setting: Detection, run: Run) -> Detector:
        if setting.masks and not self.with_masks:
            raise Skip("this detector gives boxes and no masks")
        torch.manual_seed(run.seed("weights", self.arch))
        backbone = run.reference("backbone").module if self.needs() else build(self.arch, 2, 64)
        network = self.network(backbone, len(setting.train.categories) + 1, setting.size)
        if self.weights:
            load_detector(network, self.weights, [item["id"] for item in setting.train.truth()["categories"]])
        else:
            self.train(network, setting, run)
        return Detector(network.eval(), Body(network).eval())


@dataclass
class TwoStageMethod(DetectorMethod):
    """Faster R-CNN, or `with_masks` Mask R-CNN."""

    scales: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "smoke": {"arch": "narrow_resnet10", "width": 16, "anchor": 4.0, "batch": 8, "regions": 16, "proposals": 20},
        "short": {"arch": "narrow_resnet10", "width": 32, "anchor": 4.0, "batch": 4, "regions": 32, "proposals": 50,
                  "optimizer": "adam", "rate": 1e-3, "weight_decay": 0.0},
        "long": {"arch": "narrow_resnet10", "width": 64, "anchor": 4.0, "batch": 8, "regions": 64, "proposals": 100,
                 "optimizer": "adam", "rate": 1e-3, "weight_decay": 0.0},
    }
    standins: ClassVar[tuple[str, ...]] = (
        "One warm-up and one cosine instead of steps, images of one size; below scale full Adam instead of SGD.",
        "The backbone is pre-trained on the suite's embedded photographs, and its normalisation is trained on.",
        "Below scale full anchors are half as large as the paper's, pyramid and heads narrower, and fewer regions are sampled.",
        "Gradients longer than 10 are cut; DeFeat's recipe cuts those longer than 35.",
    )

    anchor: float = option(8.0, "side of the anchors in strides", bounds=(0.5, 16))
    regions: int = option(512, "regions of each image that train the second stage", bounds=(4, 4096))
    proposals: int = option(1000, "regions of an image that go through the second stage at most", bounds=(1, 10_000))

    def network(self, backbone: nn.Module, classes: int, size: int) -> nn.Module:
        return rcnn(backbone, classes, size, width=self.width, anchor=self.anchor, sampled=self.regions,
                    proposals=self.proposals, masks=self.with_masks)


def load_detector(network: nn.Module, path: str, ids: list[int]) -> None:
    """Put the state-dict file `path` into `network`, of which labels 1 and up are the categories `ids`.

    The file may number its classes by category id with gaps, as torchvision's do: then their rows are picked. UserError for
    a file that is no state-dict or fits another network.
    """
    wanted = network.state_dict()
    load_weights(network, path, lambda state: {
        name: picked(item, wanted[name], [0, *ids]) if name in wanted else item for name, item in state.items()})


def picked(stored: Tensor, wanted: Tensor, rows: list[int]) -> Tensor:
    """`stored`, or of a layer with one output for each class (of several anchors or coordinates) the classes `rows`."""
    if stored.shape == wanted.shape or not stored.ndim or not wanted.ndim or stored.shape[1:] != wanted.shape[1:]:
        return stored
    each = wanted.shape[0] // len(rows)  # outputs of one class
    classes = stored.shape[0] // each if each else 0
    if each * len(rows) != wanted.shape[0] or classes * each != stored.shape[0] or max(rows) >= classes:
        return stored
    return stored.view(classes, each, *stored.shape[1:])[rows].flatten(0, 1)

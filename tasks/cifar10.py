"""CIFAR-10: ten classes of 32x32 colour images (Krizhevsky 2009)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from suite.tasks._classification import ClassificationTask

from suite.contract import Scale
from suite.data.cifar import Cifar10
from suite.settings import Augment
from suite.train import CropFlip, Normalise


@dataclass
class Cifar10Task(ClassificationTask):
    """Classification of CIFAR-10 in its official pickle layout."""

    title = "CIFAR-10 classification"
    data = "cifar10"
    version = 1
    classes = 10
    archs = ("resnet20", "resnet8", "resnet32", "resnet56", "resnet110", "cifar_vgg16")
    mean = (0.4914, 0.4822, 0.4465)
    deviation = (0.2470, 0.2435, 0.2616)
    defaults: ClassVar[Mapping[str, Any]] = {"arch": "resnet20"}
    scales: ClassVar[Mapping[str, Scale]] = {
        "smoke": Scale(scratch=512, extra=256),
        "short": Scale(scratch=140_000, extra=50_000),
        "long": Scale(scratch=3_000_000, extra=1_000_000),
        "full": Scale(scratch=9_000_000, extra=9_000_000),  # 200 epochs of 45,000 images each
    }

    def dataset(self) -> Cifar10:
        return Cifar10()

    def augment(self) -> Augment:
        return CropFlip(Normalise(self.mean, self.deviation))

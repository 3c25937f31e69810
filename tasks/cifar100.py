"""CIFAR-100: a hundred classes of 32x32 colour images (Krizhevsky 2009)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from suite.tasks._classification import ClassificationTask

from suite.contract import Scale
from suite.data.cifar import Cifar100
from suite.settings import Augment
from suite.train import CropFlip, Normalise


@dataclass
class Cifar100Task(ClassificationTask):
    """Classification of CIFAR-100 in its official pickle layout."""

    title = "CIFAR-100 classification"
    data = "cifar100"
    version = 1
    classes = 100
    archs = ("resnet20", "resnet8", "resnet32", "resnet56", "resnet110", "cifar_vgg16")
    mean = (0.5071, 0.4865, 0.4409)
    deviation = (0.2673, 0.2564, 0.2762)
    defaults: ClassVar[Mapping[str, Any]] = {"arch": "resnet20"}
    scales: ClassVar[Mapping[str, Scale]] = {
        "smoke": Scale(scratch=512, extra=256),
        "short": Scale(scratch=140_000, extra=50_000),
        "long": Scale(scratch=3_000_000, extra=1_000_000),
        "full": Scale(scratch=9_000_000, extra=9_000_000),  # 200 epochs of 45,000 images each
    }

    def dataset(self) -> Cifar100:
        return Cifar100()

    def augment(self) -> Augment:
        return CropFlip(Normalise(self.mean, self.deviation))

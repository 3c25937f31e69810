"""ImageNet-1k: photographs of a thousand classes in ILSVRC folders (Russakovsky et al. 2015)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from suite.tasks._classification import ClassificationTask

from suite.contract import Scale, option
from suite.data.imagenet import ImageNet
from suite.settings import Augment
from suite.train import Normalise, ResizedFlip


@dataclass
class ImageNetTask(ClassificationTask):
    """Classification of ``train|val/<synset>/*`` folders, at `size` pixels; as many classes as there are folders."""

    title = "ImageNet classification"
    data = "imagenet"
    version = 1
    classes = 0  # counted in the data
    archs = ("mobilenet_v2", "mobilenet_v1", "mobilenet_v3_small", "mobilenet_v3_large", "slim_resnet10", "narrow_resnet10",
             "resnet18", "resnet50", "resnet101", "vgg16", "vit_ti_16", "vit_s_16", "vit_b_16")
    mean = (0.485, 0.456, 0.406)
    deviation = (0.229, 0.224, 0.225)
    defaults: ClassVar[Mapping[str, Any]] = {"arch": "mobilenet_v2"}
    scales: ClassVar[Mapping[str, Scale]] = {
        "smoke": Scale(scratch=64, extra=32, options={"size": 32}),
        "short": Scale(scratch=40_000, extra=15_000, options={"size": 64}),
        "long": Scale(scratch=600_000, extra=200_000, options={"size": 64}),
        "full": Scale(scratch=115_305_030, extra=230_610_060),  # 90 epochs; 180 to fine-tune (1xN's recipe)
    }

    size: int = option(224, "height and width of the evaluated images in pixels; cost is counted at this size", bounds=(32, 1024))

    def side(self) -> int:
        return self.size

    def dataset(self) -> ImageNet:
        return ImageNet(self.size)

    def augment(self) -> Augment:
        return ResizedFlip(Normalise(self.mean, self.deviation))

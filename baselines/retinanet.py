"""RetinaNet: one-stage detection with a focal loss on a feature pyramid, the reference of the detection tasks."""

from __future__ import annotations

from dataclasses import dataclass

from suite.baselines._detector import DetectorMethod
from torch import nn

from suite.contract import Paper, Published, option
from suite.nn.detection import retinanet


@dataclass
class RetinaNetMethod(DetectorMethod):
    """torchvision's RetinaNet; with ``weights=FILE`` it is judged as it is."""

    paper = Paper("Focal Loss for Dense Object Detection", "Lin, Goyal, Girshick, He, Dollar", "ICCV", 2017,
                  "https://arxiv.org/abs/1708.02002")
    tags = ("detector", "reference")
    takes = ("Detection",)
    gives = "Detector"
    scales = {
        "smoke": {"arch": "narrow_resnet10", "width": 16, "first": 1, "he": True, "batch": 8},
        "short": {"arch": "narrow_resnet10", "width": 32, "first": 1, "he": True, "batch": 4, "optimizer": "adam", "rate": 1e-3,
                  "weight_decay": 0.0},
        "long": {"arch": "narrow_resnet10", "width": 64, "first": 1, "he": True, "batch": 8, "optimizer": "adam", "rate": 1e-3,
                 "weight_decay": 0.0},
    }
    published = (Published("coco_detection", "AP", 36.5, "DeFeat (CVPR 2021), abstract: RetinaNet R50", {"arch": "resnet50"}),)
    standins = (
        "One warm-up and one cosine instead of steps, images of one size; below scale full Adam instead of SGD.",
        "Below scale full the heads have an eighth or a quarter of the paper's channels and start by He's rule: with its deviation "
        "of 0.01 they do not learn eight images by heart in 200 steps (AP 10 against 96).",
        "The backbone is pre-trained on the suite's embedded photographs, and its normalisation is trained on.",
        "Gradients longer than 10 are cut; DeFeat's recipe cuts those longer than 35.",
        "Below scale full the pyramid begins at stride 4 instead of 8, and the backbone ends a stage earlier: the pictures are "
        "smaller, their objects too.",
    )

    first: int = option(2, "backbone stage of the finest level", bounds=(1, 2))
    he: bool = option(False, "the heads' weights start by He's rule instead of the paper's deviation of 0.01")

    def network(self, backbone: nn.Module, classes: int, size: int) -> nn.Module:
        return retinanet(backbone, classes, size, width=self.width, anchor=self.anchor, first=self.first, he=self.he)

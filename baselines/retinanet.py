"""RetinaNet: one-stage detection with a focal loss on a feature pyramid, the reference of the detection tasks."""

from __future__ import annotations

from dataclasses import dataclass

from suite.baselines._detector import DetectorMethod
from torch import nn

from suite.contract import Paper, Published
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
        "smoke": {"arch": "narrow_resnet10", "width": 16, "anchor": 2.0, "batch": 8},
        "short": {"arch": "narrow_resnet10", "width": 64, "anchor": 2.0, "batch": 4, "optimizer": "adamw", "rate": 1e-3,
                  "weight_decay": 0.05},
        "long": {"arch": "narrow_resnet10", "width": 128, "anchor": 2.0, "batch": 8, "optimizer": "adamw", "rate": 1e-3,
                 "weight_decay": 0.05},
    }
    published = (Published("coco_detection", "AP", 36.5, "DeFeat (CVPR 2021), abstract: RetinaNet R50", {"arch": "resnet50"}),)
    standins = (
        "One warm-up and one cosine instead of steps, images of one size; below scale full AdamW instead of SGD.",
        "The backbone is pre-trained on the suite's embedded photographs, and its normalisation is trained on.",
        "Below scale full anchors are two strides wide instead of four: the pictures are smaller, their objects too.",
    )

    def network(self, backbone: nn.Module, classes: int, size: int) -> nn.Module:
        return retinanet(backbone, classes, size, width=self.width, anchor=self.anchor)

"""Faster R-CNN: a network proposes regions, and a second stage on pooled features classifies and refines them."""

from __future__ import annotations

from dataclasses import dataclass

from suite.baselines._detector import TwoStageMethod

from suite.contract import Paper, Published


@dataclass
class FasterRCNNMethod(TwoStageMethod):
    """torchvision's Faster R-CNN on a feature pyramid; with ``weights=FILE`` it is judged as it is."""

    paper = Paper("Faster R-CNN: Towards Real-Time Object Detection with Region Proposal Networks", "Ren, He, Girshick, Sun",
                  "NeurIPS", 2015, "https://arxiv.org/abs/1506.01497")
    tags = ("detector",)
    takes = ("Detection",)
    gives = "Detector"
    published = (Published("coco_detection", "AP", 37.4, "DeFeat (CVPR 2021), abstract: Faster R-CNN R50", {"arch": "resnet50"}),)

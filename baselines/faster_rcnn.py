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
    scales = {
        "smoke": {"arch": "narrow_resnet10", "width": 16, "anchor": 4.0, "batch": 8, "regions": 16, "proposals": 20},
        "short": {"arch": "narrow_resnet10", "width": 64, "anchor": 4.0, "batch": 4, "regions": 64, "proposals": 100,
                  "optimizer": "adamw", "rate": 1e-3, "weight_decay": 0.05},
        "long": {"arch": "narrow_resnet10", "width": 128, "anchor": 4.0, "batch": 8, "regions": 128, "proposals": 300,
                 "optimizer": "adamw", "rate": 1e-3, "weight_decay": 0.05},
    }
    published = (Published("coco_detection", "AP", 37.4, "DeFeat (CVPR 2021), abstract: Faster R-CNN R50", {"arch": "resnet50"}),)
    standins = (
        "One warm-up and one cosine instead of steps, images of one size; below scale full AdamW instead of SGD.",
        "The backbone is pre-trained on the suite's embedded photographs, and its normalisation is trained on.",
        "Below scale full anchors are half as large as the paper's, and fewer regions are sampled and looked at.",
    )

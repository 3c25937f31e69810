"""Mask R-CNN: Faster R-CNN with a third head that draws a mask in each region."""

from __future__ import annotations

from dataclasses import dataclass

from suite.baselines._detector import TwoStageMethod

from suite.contract import Paper


@dataclass
class MaskRCNNMethod(TwoStageMethod):
    """torchvision's Mask R-CNN on a feature pyramid; with ``weights=FILE`` it is judged as it is."""

    paper = Paper("Mask R-CNN", "He, Gkioxari, Dollar, Girshick", "ICCV", 2017, "https://arxiv.org/abs/1703.06870")
    tags = ("detector", "masks")
    takes = ("Detection",)
    gives = "Detector"
    with_masks = True
    scales = {
        "smoke": {"arch": "narrow_resnet10", "width": 16, "anchor": 4.0, "batch": 8, "regions": 16, "proposals": 20},
        "short": {"arch": "narrow_resnet10", "width": 64, "anchor": 4.0, "batch": 4, "regions": 64, "proposals": 100,
                  "optimizer": "adamw", "rate": 1e-3, "weight_decay": 0.05},
        "long": {"arch": "narrow_resnet10", "width": 128, "anchor": 4.0, "batch": 8, "regions": 128, "proposals": 300,
                 "optimizer": "adamw", "rate": 1e-3, "weight_decay": 0.05},
    }
    standins = (
        "One warm-up and one cosine instead of steps, images of one size; below scale full AdamW instead of SGD.",
        "The backbone is pre-trained on the suite's embedded photographs, and its normalisation is trained on.",
        "Below scale full anchors are half as large as the paper's, and fewer regions are sampled and looked at.",
    )

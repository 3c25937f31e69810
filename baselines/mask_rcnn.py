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

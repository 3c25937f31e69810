"""Scores as pure functions, each tested against another implementation."""

from suite.metrics.classification import accuracy
from suite.metrics.detection import COCO_SCORES, coco_scores

__all__ = ["COCO_SCORES", "accuracy", "coco_scores"]

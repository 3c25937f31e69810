"""Scores as pure functions, each tested against another implementation."""

from suite.metrics.classification import accuracy, confusion, f1_by_class, macro_f1, recall_by_class
from suite.metrics.detection import COCO_SCORES, coco_scores

__all__ = ["COCO_SCORES", "accuracy", "coco_scores", "confusion", "f1_by_class", "macro_f1", "recall_by_class"]

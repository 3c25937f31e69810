"""Scores as pure functions, each tested against another implementation."""

from suite.metrics.classification import accuracy, confusion, f1_by_class, macro_f1, recall_by_class

__all__ = ["accuracy", "confusion", "f1_by_class", "macro_f1", "recall_by_class"]

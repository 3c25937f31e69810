"""Scores as pure functions, each tested against another implementation."""

from suite.metrics.classification import accuracy

__all__ = ["accuracy"]

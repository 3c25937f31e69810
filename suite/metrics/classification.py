"""Metrics of classification."""

from __future__ import annotations

from torch import Tensor


def accuracy(logits: Tensor, labels: Tensor, top: int = 1) -> float:
    """Percentage of rows of `logits` (N, K) whose `top` highest values hold the label (N,); ties go to the lower class."""
    best = logits.argsort(dim=1, descending=True, stable=True)[:, :top]
    return 100.0 * (best == labels.view(-1, 1)).any(1).double().mean().item()


def confusion(predictions: Tensor, labels: Tensor, classes: int) -> Tensor:
    """How often class i (row) was taken for class j (column), int64 (K, K), from `predictions` and `labels` (N,) of 0..K-1."""
    return (labels * classes + predictions).bincount(minlength=classes * classes).view(classes, classes)


def recall_by_class(matrix: Tensor) -> Tensor:
    """Per cent of each class that was found, diagonal / row sum, float64 (K,); 0 for a class that does not occur."""
    return 100.0 * matrix.diagonal().double() / matrix.sum(1).clamp(min=1)


def f1_by_class(matrix: Tensor) -> Tensor:
    """F1 of each class, 2 TP / (2 TP + FP + FN), in per cent, float64 (K,); 0 for a class that neither occurs nor is predicted."""
    return 100.0 * 2 * matrix.diagonal().double() / (matrix.sum(0) + matrix.sum(1)).clamp(min=1)


def macro_f1(matrix: Tensor) -> float:
    """The plain mean of `f1_by_class` over all K classes, the empty ones too, in per cent."""
    return f1_by_class(matrix).mean().item()

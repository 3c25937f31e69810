"""Metrics of classification."""

from __future__ import annotations

from torch import Tensor


def accuracy(logits: Tensor, labels: Tensor, top: int = 1) -> float:
    """Percentage of rows of `logits` (N, K) whose `top` highest values hold the label (N,); ties go to the lower class."""
    best = logits.argsort(dim=1, descending=True, stable=True)[:, :top]
    return 100.0 * (best == labels.view(-1, 1)).any(1).double().mean().item()

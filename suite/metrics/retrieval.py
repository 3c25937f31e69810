"""Average precision of a ranking, as searches for images are judged.

AP = sum over the relevant images of (relevant ones up to its rank) / (its rank), divided by the number of relevant images: nothing
is interpolated (Oxford's own script averages trapezoids instead). Images that count neither way are taken out before ranking.
"""

from __future__ import annotations

import numpy as np


def average_precision(scores: np.ndarray, relevant: np.ndarray, counted: np.ndarray) -> float:
    """AP of 0 to 1 of `scores` (N,) by falling score, equal ones in their order, for bool (N,) `relevant` and `counted`.

    NaN where nothing that counts is relevant.
    """
    order = np.argsort(-scores[counted], kind="stable")
    ranks = np.flatnonzero(relevant[counted][order]) + 1
    return float(np.mean(np.arange(1, len(ranks) + 1) / ranks)) if len(ranks) else float("nan")


def chance_precision(images: int, relevant: int) -> float:
    """The expectation of AP over all orders of so many `images`, of which so many are `relevant`.

    An image at rank k has (k - 1) (R - 1) / (N - 1) other relevant ones before it on average, and each rank is as likely:
    E = (H + (N - H) (R - 1) / (N - 1)) / N with the harmonic number H of N.
    """
    harmonic = float(np.sum(1 / np.arange(1, images + 1)))
    others = (relevant - 1) / (images - 1) if images > 1 else 0.0
    return (harmonic + (images - harmonic) * others) / images

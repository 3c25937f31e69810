"""Scores of detectors of forged faces, frame by frame and video by video, all in per cent."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve


def forgery_scores(forged: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """`auc`, `accuracy`, `eer` and `ap` of the probabilities `forged` (N,) that a face, or video, is forged.

    `labels` (N,) are 0 for real and 1 for forged, both of which occur. AUC is the area under the ROC; accuracy is at 0.5, which
    counts as real; AP is the area under precision and recall in steps. All are nan where a probability is.
    """
    if np.isnan(forged).any():
        return dict.fromkeys(("auc", "accuracy", "eer", "ap"), float("nan"))
    return {
        "auc": 100.0 * float(roc_auc_score(labels, forged)),
        "accuracy": 100.0 * float(((forged > 0.5) == (labels == 1)).mean()),
        "eer": equal_error_rate(forged, labels),
        "ap": 100.0 * float(average_precision_score(labels, forged)),
    }


def equal_error_rate(forged: np.ndarray, labels: np.ndarray) -> float:
    """The false-positive rate at the threshold where it and the false-negative rate are nearest (of several the highest threshold).

    50 for probabilities that are all the same, which no threshold parts.
    """
    if (forged == forged[0]).all():
        return 50.0
    false, true, _ = roc_curve(labels, forged, drop_intermediate=False)
    gaps = np.abs(1 - true - false).round(12)  # equal ones differ in their last bits
    return 100.0 * float(false[gaps.argmin()])


def by_video(forged: np.ndarray, labels: np.ndarray, videos: Sequence[Hashable]) -> tuple[np.ndarray, np.ndarray]:
    """The mean probability of each video's frames and its label, (V,) each, in the order of first frames.

    `videos` names each frame's video, its manipulation included: every manipulation has a video of the same name.
    """
    order = {video: row for row, video in enumerate(dict.fromkeys(videos))}
    rows = np.array([order[video] for video in videos])
    count = np.bincount(rows)
    kinds = np.bincount(rows, labels) / count
    if not np.isin(kinds, (0, 1)).all():
        raise ValueError("a video has real and forged frames; name videos by manipulation and id")
    return np.bincount(rows, forged) / count, kinds.astype(np.int64)

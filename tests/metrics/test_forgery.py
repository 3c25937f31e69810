"""Scores of forged faces: against scikit-learn and by counting, and videos told apart by manipulation and id."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from suite.metrics.forgery import by_video, equal_error_rate, forgery_scores


@settings(deadline=None, max_examples=40)
@example(109, 5, 10)  # two thresholds are as near
@given(st.integers(0, 999), st.integers(5, 60), st.sampled_from([2, 10, 1000]))
def test_scores_equal_scikit_learns_and_counting(seed, count, steps):
    draw = np.random.default_rng(seed)
    labels = np.concatenate([[0, 1], draw.integers(0, 2, count)])
    forged = draw.integers(0, steps, count + 2) / steps * 0.7 + 0.3 * labels
    found = forgery_scores(forged, labels)
    assert found["auc"] == pytest.approx(100 * roc_auc_score(labels, forged))
    assert found["ap"] == pytest.approx(100 * average_precision_score(labels, forged))
    real, fake = forged[labels == 0], forged[labels == 1]
    pairs = (fake[:, None] > real) + 0.5 * (fake[:, None] == real)
    assert found["auc"] == pytest.approx(100 * pairs.mean())
    assert found["accuracy"] == pytest.approx(100 * np.mean([(score > 0.5) == bool(label) for score, label in zip(forged, labels, strict=True)]))
    false, true, _ = roc_curve(labels, forged)
    if len(set(forged.tolist())) > 1:
        assert found["eer"] == pytest.approx(100 * literal_eer(forged, labels))
        nearest = np.abs(1 - true - false).round(9).argmin()
        assert abs(found["eer"] - 100 * false[nearest]) < 1e-9 or len(false) < len(set(forged.tolist())) + 1


def literal_eer(forged: np.ndarray, labels: np.ndarray) -> float:
    """The false-positive rate where it is nearest to the false-negative rate, by trying every threshold, the highest first."""
    best = None
    for threshold in [np.inf, *sorted(set(forged.tolist()), reverse=True)]:
        said = forged >= threshold
        false, missed = said[labels == 0].mean(), (~said[labels == 1]).mean()
        if best is None or abs(missed - false) < best[0] - 1e-12:
            best = abs(missed - false), false
    return best[1]


def test_by_hand():
    forged, labels = np.array([0.1, 0.6, 0.4, 0.9]), np.array([0, 0, 1, 1])
    assert forgery_scores(forged, labels) == pytest.approx({"auc": 75, "accuracy": 50, "eer": 50, "ap": 100 * (1 / 2 + 1 / 2 * 2 / 3)})
    assert forgery_scores(np.array([0.5, 0.6]), np.array([0, 1]))["accuracy"] == 100  # 0.5 counts as real


def test_a_constant_parts_nothing():
    labels = np.array([0, 1, 1, 1])
    found = forgery_scores(np.zeros(4), labels)
    assert (found["auc"], found["eer"], found["accuracy"]) == (50, 50, 25)
    assert equal_error_rate(np.ones(4), labels) == 50


def test_a_diverged_network_has_no_scores():
    found = forgery_scores(np.array([0.2, np.nan, 0.9]), np.array([0, 1, 1]))
    assert list(found) == list(forgery_scores(np.array([0.2, 0.9]), np.array([0, 1]))) and np.isnan(list(found.values())).all()


def test_videos_of_one_name_stay_apart_by_manipulation():
    videos = [("", "000"), ("", "000"), ("Deepfakes", "000_001"), ("FaceSwap", "000_001"), ("FaceSwap", "000_001")]
    means, labels = by_video(np.array([0.2, 0.4, 0.9, 0.5, 0.7]), np.array([0, 0, 1, 1, 1]), videos)
    assert means.tolist() == pytest.approx([0.3, 0.9, 0.6]) and labels.tolist() == [0, 1, 1]
    with pytest.raises(ValueError, match="real and forged"):
        by_video(np.array([0.2, 0.4]), np.array([0, 1]), ["a", "a"])

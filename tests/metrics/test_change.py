"""Scores of change masks: against scikit-learn, by hand, and where denominators vanish."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, jaccard_score, precision_score, recall_score

from suite.metrics.change import confusion, over_all, per_image

REFERENCES = {"f1": f1_score, "iou": jaccard_score, "precision": precision_score, "recall": recall_score}


def masks(seed: int, share: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Predictions and targets (5, 6, 7), a tenth of the targets not counted."""
    draw = torch.Generator().manual_seed(seed)
    guess, truth = (torch.rand(2, 5, 6, 7, generator=draw) < share).long()
    truth[torch.rand(5, 6, 7, generator=draw) < 0.1] = 255
    return guess, truth


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 999), st.sampled_from([0.0, 0.05, 0.5, 0.95, 1.0]))
def test_both_averages_agree_with_scikit_learn(seed, share):
    guess, truth = masks(seed, share)
    counts = confusion(guess, truth)
    everything, each = over_all(counts), per_image(counts)
    counted = [(t[t != 255].numpy(), g[t != 255].numpy()) for g, t in zip(guess, truth, strict=True)]
    whole = truth[truth != 255].numpy(), guess[truth != 255].numpy()
    for name, reference in REFERENCES.items():
        assert everything[f"{name}_global"] == pytest.approx(100 * reference(*whole, zero_division=0), abs=1e-9)
        mean = sum(reference(*pair, zero_division=0) for pair in counted) / len(counted)
        assert each[f"{name}_image"] == pytest.approx(100 * mean, abs=1e-4)  # the code's 1e-7 beside the denominators
    assert everything["accuracy_global"] == pytest.approx(100 * accuracy_score(*whole), abs=1e-9)
    both = jaccard_score(*whole, labels=[0, 1], average="macro", zero_division=0)
    assert everything["miou_global"] == pytest.approx(100 * both, abs=1e-9)


def test_by_hand():
    # First image: TP 2, FP 1, FN 1, TN 0. Second: TP 0, FP 0, FN 1, TN 3. All: TP 2, FP 1, FN 2, TN 3.
    guess = torch.tensor([[[1, 1], [1, 0]], [[0, 0], [0, 0]]])
    truth = torch.tensor([[[1, 1], [0, 1]], [[1, 0], [0, 0]]])
    counts = confusion(guess, truth)
    assert counts.tolist() == [[2, 1, 1, 0], [0, 0, 1, 3]]
    each, everything = per_image(counts), over_all(counts)
    assert each["f1_image"] == pytest.approx(100 * (2 / 3 + 0) / 2, abs=1e-4)
    assert each["iou_image"] == pytest.approx(100 * (2 / 4 + 0) / 2, abs=1e-4)
    assert everything["f1_global"] == pytest.approx(100 * 4 / 7)
    assert everything["iou_global"] == pytest.approx(100 * 2 / 5)
    assert everything["precision_global"] == pytest.approx(100 * 2 / 3)
    assert everything["recall_global"] == pytest.approx(50)
    assert everything["miou_global"] == pytest.approx(100 * (2 / 5 + 3 / 6) / 2)


def test_an_image_without_change_scores_nothing_per_image_and_costs_nothing_over_all():
    empty, some = torch.zeros(1, 2, 2).long(), torch.tensor([[[1, 1], [0, 0]]])
    counts = confusion(torch.cat([empty, some]), torch.cat([empty, some]))  # both predicted without an error
    assert per_image(counts)["f1_image"] == pytest.approx(50, abs=1e-3)
    assert over_all(counts)["f1_global"] == 100
    assert set(over_all(confusion(empty, empty)).values()) == {0.0, 50.0, 100.0}  # change 0, mIoU 50, accuracy 100


def test_all_change():
    full = torch.ones(2, 3, 3).long()
    counts = confusion(full, full)
    assert counts.tolist() == [[9, 0, 0, 0]] * 2
    assert all(score == pytest.approx(100, abs=1e-4) for score in per_image(counts).values())
    assert over_all(counts)["f1_global"] == 100 and over_all(counts)["miou_global"] == 50  # nothing stayed, nothing was said to
    assert over_all(confusion(1 - full, full))["recall_global"] == 0


def test_pixels_that_do_not_count_are_left_out():
    guess, truth = torch.ones(1, 2, 2).long(), torch.tensor([[[1, 255], [255, 255]]])
    assert confusion(guess, truth).tolist() == [[1, 0, 0, 0]]
    assert over_all(confusion(guess, truth * 0 + 255))["accuracy_global"] == 0

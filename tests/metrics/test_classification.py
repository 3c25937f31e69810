"""Confusion matrix, F1 and recall: by hand, and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference

from suite.metrics import confusion, f1_by_class, macro_f1, recall_by_class


def test_by_hand():
    # Class 0: one of two found, one false alarm. Class 1: one of one found, one false alarm. Class 2: missed. Class 3: absent.
    matrix = confusion(torch.tensor([0, 1, 1, 0]), torch.tensor([0, 0, 1, 2]), 4)
    assert matrix.tolist() == [[1, 1, 0, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    assert recall_by_class(matrix).tolist() == [50, 100, 0, 0]
    assert f1_by_class(matrix).tolist() == pytest.approx([50, 200 / 3, 0, 0])  # 2/(2+1+1), 2/(2+1+0)
    assert macro_f1(matrix) == pytest.approx((50 + 200 / 3) / 4)  # the absent class counts 0


def test_a_guess_of_one_class():
    matrix = confusion(torch.zeros(10, dtype=torch.int64), torch.arange(10) % 5, 5)
    assert f1_by_class(matrix).tolist() == pytest.approx([100 * 4 / 12, 0, 0, 0, 0])  # 2*2 / (2*2 + 8 + 0)
    assert macro_f1(matrix) == pytest.approx(100 * 4 / 12 / 5)


@given(st.integers(1, 8), st.integers(1, 60), st.integers(0, 999))
def test_as_scikit_learn(classes, count, seed):
    draw = np.random.default_rng(seed)
    labels, predictions = draw.integers(0, draw.integers(1, classes + 1), count), draw.integers(0, classes, count)
    names = list(range(classes))
    matrix = confusion(torch.from_numpy(predictions), torch.from_numpy(labels), classes)
    assert np.array_equal(matrix.numpy(), reference.confusion_matrix(labels, predictions, labels=names))
    for average in (None, "macro"):
        wanted = 100 * reference.f1_score(labels, predictions, labels=names, average=average, zero_division=0)
        found = macro_f1(matrix) if average else f1_by_class(matrix).numpy()
        assert np.allclose(found, wanted, atol=1e-9)
    wanted = 100 * reference.recall_score(labels, predictions, labels=names, average=None, zero_division=0)
    assert np.allclose(recall_by_class(matrix).numpy(), wanted, atol=1e-9)

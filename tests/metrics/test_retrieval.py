"""Average precision against a ranking written out, and against scikit-learn; chance against all orders."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from suite.metrics.retrieval import average_precision, chance_precision


def literal(scores: list[float], relevant: list[bool], counted: list[bool]) -> float:
    """The ranking item by item: the highest score first, of equal ones the earlier, what does not count left out."""
    left = [row for row in range(len(scores)) if counted[row]]
    ranking = []
    while left:
        best = left[0]
        for row in left:
            if scores[row] > scores[best]:
                best = row
        ranking.append(best)
        left.remove(best)
    total, hits = 0.0, 0
    for rank, row in enumerate(ranking, 1):
        if relevant[row]:
            hits += 1
            total += hits / rank
    return total / hits if hits else math.nan


ITEMS = st.lists(st.tuples(st.integers(-3, 3), st.booleans(), st.booleans()), max_size=25)


@given(ITEMS)
def test_it_is_a_literal_ranking(items):
    scores, relevant, counted = (list(column) for column in zip(*items, strict=True)) if items else ([], [], [])
    found = average_precision(np.array(scores, float), np.array(relevant, bool), np.array(counted, bool))
    assert found == pytest.approx(literal(scores, relevant, counted), nan_ok=True)


@given(st.integers(2, 40), st.integers(0, 999))
def test_without_ties_it_is_scikit_learns(count, seed):
    draw = np.random.default_rng(seed)
    scores, relevant = draw.permutation(count).astype(float), draw.random(count) < 0.4
    relevant[0] = True
    assert average_precision(scores, relevant, np.ones(count, bool)) == pytest.approx(average_precision_score(relevant, scores))


def test_by_hand_and_not_by_trapezoids():
    scores, relevant = np.array([0.9, 0.8, 0.7, 0.6]), np.array([True, False, True, False])
    assert average_precision(scores, relevant, np.ones(4, bool)) == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision(scores, relevant, np.array([False, True, True, True])) == pytest.approx(1 / 2)  # its own picture


@pytest.mark.parametrize("count, relevant", [(1, 1), (5, 1), (5, 2), (6, 3), (4, 4)])
def test_chance_is_the_mean_over_all_orders(count, relevant):
    truth, all_of = np.arange(count) < relevant, np.ones(count, bool)
    every = [average_precision(np.array(order, float), truth, all_of) for order in itertools.permutations(range(count))]
    assert chance_precision(count, relevant) == pytest.approx(np.mean(every))

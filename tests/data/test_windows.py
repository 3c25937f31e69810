"""Holding out, thinning and labelling windows: no signal on both sides, the promised numbers of each class."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from suite.data.windows import GAP, Standardise, Windows, choose_labelled, hold_out, long_tail


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def recordings(seed: int, interleaved: bool, classes: int = 3, count: int = 40) -> tuple[Windows, torch.Tensor]:
    """One recording of each class cut into half-overlapping windows of 8 samples; and the first sample (N,) of each window."""
    values, labels, starts = [], [], []
    signal = torch.randn(classes, 2, 4 * (count + 1), generator=seeded(seed))
    for label in range(classes):
        order = [*range(0, count, 2), *range(1, count, 2)] if interleaved else range(count)
        values += [signal[label, :, 4 * row : 4 * row + 8] for row in order]
        labels += [label] * count
        starts += [10_000 * label + 4 * row for row in order]
    return Windows(torch.stack(values)[:, None], torch.tensor(labels)), torch.tensor(starts)


@given(st.integers(0, 30), st.booleans(), st.sampled_from([0.1, 0.25]))
def test_without_subjects_blocks_are_held_out_and_nothing_overlaps_them(seed, interleaved, share):
    windows, starts = recordings(seed, interleaved)
    train, val = hold_out(windows, share, seeded(seed))
    assert len(val) == 3 * round(40 * share) and not set(train.tolist()) & set(val.tolist())
    apart = (starts[train][:, None] - starts[val][None]).abs()
    assert apart.min() >= 8  # no sample is in a window of either side
    if not interleaved:
        assert apart.min() >= 4 * (GAP + 1) - 4 and len(train) + len(val) >= 120 - 3 * 2 * GAP
    assert windows.labels[val].bincount().tolist() == [round(40 * share)] * 3
    for label in range(3):
        rows = val[windows.labels[val] == label]
        assert (rows.diff() == 1).all()  # one block


def test_with_subjects_whole_ones_are_held_out():
    windows, _ = recordings(0, False)
    windows.subjects = torch.arange(120) // 10  # twelve subjects of ten windows
    for seed in range(5):
        train, val = hold_out(windows, 0.1, seeded(seed))
        assert len(train) + len(val) == 120 and len(windows.subjects[val].unique()) == 1
        assert not set(windows.subjects[train].tolist()) & set(windows.subjects[val].tolist())
    assert len(hold_out(windows, 0.33, seeded()).val) == 40
    assert len(hold_out(windows, 1.0, seeded()).train) == 10  # somebody must stay


def test_one_known_subject_is_as_good_as_none():
    windows, starts = recordings(1, False)
    windows.subjects = torch.zeros(120, dtype=torch.int64)
    train, val = hold_out(windows, 0.1, seeded())
    assert len(val) == 12 and (starts[train][:, None] - starts[val][None]).abs().min() >= 8


def test_a_long_tail_by_hand():
    labels = torch.tensor([0] * 100 + [1] * 50 + [2] * 40)
    rows = long_tail(labels, 4, seeded())  # shares 1, 1/2, 1/4 by frequency; the second class allows most: 100
    assert labels[rows].bincount().tolist() == [100, 50, 25] and (rows.diff() > 0).all()
    assert labels[long_tail(labels, 1, seeded())].bincount().tolist() == [40, 40, 40]
    assert labels[long_tail(labels.flip(0) * 1, 100, seeded())].shape[0] > 0
    swapped = long_tail(2 - labels, 4, seeded())
    assert (2 - labels)[swapped].bincount().tolist() == [25, 50, 100]  # the order of the classes is kept


@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.integers(1, 120), st.booleans(), st.integers(0, 99))
def test_labels_are_for_every_class_and_as_many_as_asked(counts, wanted, balanced, seed):
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    wanted = min(wanted, len(labels))
    rows = choose_labelled(labels, wanted, balanced, seeded(seed))
    found = labels[rows].bincount(minlength=len(counts))
    assert len(set(rows.tolist())) == len(rows) and (found >= 1).all() and (found <= torch.tensor(counts)).all()
    if balanced and wanted >= len(counts):
        assert len(rows) == wanted
        short = [number for number, most in zip(found.tolist(), counts, strict=True) if number < most]
        assert not short or max(found.tolist()) - min(short) <= 1  # only a class that has no more is further behind


def test_proportional_labels_by_hand():
    labels = torch.tensor([0] * 50 + [1] * 30 + [2] * 20)
    chosen = labels[choose_labelled(labels, 13, False, seeded())]
    assert chosen.bincount().tolist() == [8, 3, 2]  # 6.5, 3.9, 2.6 rounded down, the two left over for the largest
    assert labels[choose_labelled(labels, 12, True, seeded())].bincount().tolist() == [4, 4, 4]


def test_standardising_is_by_channel():
    values = torch.tensor([[[[1.0, 3.0], [5.0, 5.0]]], [[[5.0, 7.0], [5.0, 5.0]]]])  # (2, 1, 2, 2)
    made = Standardise.fitted(Windows(values, torch.tensor([0, 1])))
    assert made.mean == pytest.approx((4, 5)) and made.deviation == pytest.approx((5**0.5, 1))  # a still channel is only shifted
    assert torch.allclose(made(values)[:, 0, 0].flatten() * 5**0.5, torch.tensor([-3.0, -1, 1, 3]))


def test_unlabelled_windows_have_no_labels_and_share_no_memory_of_them():
    windows, _ = recordings(0, False)
    hidden = windows.unlabelled()
    assert (hidden.labels == -1).all() and windows.labels.max() == 2 and len(hidden) == 120

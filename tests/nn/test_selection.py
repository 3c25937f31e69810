"""Which weights pruning removes: block geometry, score, per-layer rate."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from suite.nn.selection import block_mask, block_scores


def test_scores_are_summed_l1_norms_of_blocks_by_hand():
    weight = torch.arange(1.0, 9.0).view(4, 2)  # [[1, 2], [3, 4], [5, 6], [7, 8]]
    assert block_scores(weight, 2).tolist() == [[4, 6], [12, 14]]
    assert block_scores(-weight.view(4, 2, 1, 1).expand(4, 2, 3, 3), 4).tolist() == [[9 * 16, 9 * 20]]


def test_a_ragged_group_is_scored_per_kernel():
    weight = torch.ones(5, 1)
    assert block_scores(weight, 4).tolist() == [[4], [4]]  # one real kernel, times 4/1


@given(st.integers(1, 20), st.integers(1, 9), st.sampled_from((1, 2, 4, 8, 16, 32)), st.floats(0, 0.99), st.integers(0, 99))
def test_masks_are_whole_blocks_at_the_rate_of_the_layer(rows, columns, n, sparsity, seed):
    weight = torch.rand(rows, columns, 3, 3, generator=torch.Generator().manual_seed(seed)) + 0.1
    mask = block_mask(weight, n, sparsity)
    groups = -(-rows // n)
    kept = 0
    for g in range(groups):
        for i in range(columns):
            block = mask[g * n : (g + 1) * n, i]
            assert block.min() == block.max()
            kept += int(block.max())
    assert groups * columns - kept == int(sparsity * groups * columns + 1e-9)


def test_the_lowest_blocks_go_and_ties_are_broken_by_order():
    weight = torch.tensor([[1.0, 5.0, 1.0, 2.0], [1.0, 5.0, 1.0, 2.0]])
    assert block_mask(weight, 2, 0.25)[0].tolist() == [0, 1, 1, 1]
    assert block_mask(weight, 2, 0.75)[0].tolist() == [0, 1, 0, 0]

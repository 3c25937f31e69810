"""Packing against scipy's block-sparse rows and the paper's figure; N found from the zeros."""

import numpy as np
import pytest
import scipy.sparse
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from suite.kernel import block_width, pack

WIDTHS = (1, 2, 4, 8, 16, 32)


def blocked(rows, columns, n, share, seed):
    """A weight whose zeros are 1xN blocks, about `share` of them."""
    generator = torch.Generator().manual_seed(seed)
    keep = torch.rand(-(-rows // n), columns, generator=generator) >= share
    weight = torch.rand(rows, columns, generator=generator) + 0.5
    return weight * keep.repeat_interleave(n, 0)[:rows]


def test_the_example_of_the_papers_figure():
    weight = torch.zeros(8, 6)
    for column in (0, 2, 3, 5):
        weight[:4, column] = torch.arange(1.0, 5.0)
    for column in (1, 4):
        weight[4:, column] = 1.0
    packed = pack(weight, 4)
    assert (packed.index + 1).tolist() == [1, 3, 4, 6, 2, 5]
    assert (packed.pointer + 1).tolist() == [1, 5, 7]
    assert packed.value[0].tolist() == [1, 2, 3, 4]
    assert packed.bytes == 6 * (4 * 4 + 4) + 3 * 8


@given(st.integers(1, 6), st.integers(1, 9), st.sampled_from(WIDTHS), st.floats(0, 1), st.integers(0, 99))
def test_equals_scipys_block_rows(groups, columns, n, share, seed):
    weight = blocked(groups * n, columns, n, share, seed)
    packed = pack(weight, n)
    theirs = scipy.sparse.bsr_matrix(weight.numpy(), blocksize=(n, 1))
    theirs.eliminate_zeros()
    assert packed.pointer.tolist() == theirs.indptr.tolist()
    assert packed.index.tolist() == theirs.indices.tolist()
    assert np.array_equal(packed.value, theirs.data[:, :, 0])


def unpacked(packed):
    """The weight that was packed."""
    rows, columns, *kernel = packed.shape
    dense = torch.zeros(len(packed.pointer) - 1, packed.n, columns, int(np.prod(kernel)))
    groups = np.repeat(np.arange(len(dense)), np.diff(packed.pointer))
    dense[groups, :, packed.index, packed.tap] = torch.from_numpy(packed.value)
    return dense.flatten(0, 1)[:rows].view(packed.shape)


@given(st.integers(1, 40), st.integers(1, 5), st.sampled_from((1, 3)), st.sampled_from(WIDTHS), st.booleans())
def test_unpacks_to_the_same_weight_also_with_a_ragged_group(rows, columns, side, n, keep_zeros):
    weight = torch.randn(rows, columns, side, side) * (torch.rand(rows, columns, 1, 1) < 0.5)
    assert torch.equal(unpacked(pack(weight, n, keep_zeros)), weight)


@settings(max_examples=20)
@given(st.sampled_from((1, 2, 4, 8, 16, 32)), st.sampled_from((0.75, 0.9)), st.integers(0, 20))
def test_finds_the_width_of_the_blocks(n, share, seed):
    assert block_width(blocked(64, 64, n, share, seed)) == n


def test_a_dense_weight_runs_in_blocks_of_eight():
    assert block_width(torch.ones(64, 64)) == 8


def test_refuses_other_widths():
    with pytest.raises(ValueError, match="blocks of 3"):
        pack(torch.ones(4, 4), 3)

"""Magnitude pruning: in each layer, exactly the smallest weights go."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from suite import plugins

METHOD = plugins.load("baselines", "magnitude")


@given(st.integers(1, 12), st.integers(1, 12), st.floats(0, 0.99), st.integers(0, 99))
def test_no_kept_weight_is_smaller_than_a_removed_one(rows, columns, sparsity, seed):
    weight = torch.randn(rows, columns, 3, 3, generator=torch.Generator().manual_seed(seed))
    mask = METHOD(sparsity=sparsity).mask(weight, None, "layer")
    removed = int((mask == 0).sum())
    assert removed == int(sparsity * weight.numel() + 1e-9)
    if 0 < removed < weight.numel():
        assert weight.abs()[mask == 0].max() <= weight.abs()[mask == 1].min()

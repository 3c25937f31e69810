"""L1 filter pruning: whole filters of smallest norm go, and the next layer's inputs stay."""

import torch

from suite import plugins

METHOD = plugins.load("baselines", "l1_filter")


def test_the_filters_of_smallest_l1_norm_go():
    weight = torch.tensor([3.0, -1.0, 2.0, -4.0]).view(4, 1, 1, 1).expand(4, 2, 3, 3)
    mask = METHOD(sparsity=0.5).mask(weight, None, "layer")
    assert mask[:, 0, 0, 0].tolist() == [1, 0, 0, 1] and mask.shape == weight.shape
    assert all(row.min() == row.max() for row in mask)

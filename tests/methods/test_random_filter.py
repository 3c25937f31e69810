"""Random filter pruning: the same filters for the same seed and layer, others for another."""

from pathlib import Path

import torch

from suite import plugins
from suite.context import Budget, Run

METHOD = plugins.load("baselines", "random_filter")


def test_filters_by_seed_and_layer():
    weight = torch.randn(64, 2, 3, 3)

    def removed(seed, layer):
        run = Run(seed, "smoke", Budget(1), Path(), Path())
        mask = METHOD(sparsity=0.25).mask(weight, run, layer)
        assert all(row.min() == row.max() for row in mask) and int((mask[:, 0, 0, 0] == 0).sum()) == 16
        assert torch.equal(METHOD().scores(weight, run, layer).argsort()[:16].sort().values, (mask[:, 0, 0, 0] == 0).nonzero()[:, 0])
        return tuple(mask[:, 0, 0, 0].tolist())

    assert removed(0, "a") == removed(0, "a")
    assert len({removed(0, "a"), removed(1, "a"), removed(0, "b")}) == 3

"""1xN: block geometry, score, per-layer rate, rearrangement that keeps the function."""

from __future__ import annotations

import importlib

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from suite import plugins
from suite.nn import build, prunable

METHOD = plugins.load("baselines", "one_by_n")
module = importlib.import_module("suite.baselines.one_by_n")


def test_scores_are_summed_l1_norms_of_blocks_by_hand():
    weight = torch.arange(1.0, 9.0).view(4, 2)  # [[1, 2], [3, 4], [5, 6], [7, 8]]
    assert module.block_scores(weight, 2).tolist() == [[4, 6], [12, 14]]
    assert module.block_scores(-weight.view(4, 2, 1, 1).expand(4, 2, 3, 3), 4).tolist() == [[9 * 16, 9 * 20]]


def test_a_ragged_group_is_scored_per_kernel():
    weight = torch.ones(5, 1)
    assert module.block_scores(weight, 4).tolist() == [[4], [4]]  # one real kernel, times 4/1


@given(st.integers(1, 20), st.integers(1, 9), st.sampled_from((1, 2, 4, 8, 16, 32)), st.floats(0, 0.99), st.integers(0, 99))
def test_masks_are_whole_blocks_at_the_rate_of_the_layer(rows, columns, n, sparsity, seed):
    weight = torch.rand(rows, columns, 3, 3, generator=torch.Generator().manual_seed(seed)) + 0.1
    mask = module.block_mask(weight, n, sparsity)
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
    assert module.block_mask(weight, 2, 0.25)[0].tolist() == [0, 1, 1, 1]
    assert module.block_mask(weight, 2, 0.75)[0].tolist() == [0, 1, 0, 0]


@pytest.mark.parametrize("arch, size", [("resnet20", 32), ("mobilenet_v2", 32), ("mobilenet_v3_small", 32), ("resnet50", 32)])
def test_rearrangement_sorts_filters_and_keeps_the_function(arch, size):
    torch.manual_seed(0)
    network = build(arch, 10, size).double().eval()
    for item in network.modules():
        if isinstance(item, torch.nn.BatchNorm2d):
            item.running_mean.uniform_(-0.1, 0.1)
            item.running_var.uniform_(0.5, 1.5)
            item.weight.data.uniform_(0.5, 1.5)
    images = torch.randn(2, 3, size, size, dtype=torch.double)
    before = network(images)
    layers = prunable(network, images)
    METHOD(arch=arch).prepare(network, layers)
    assert (network(images) - before).abs().max() < 1e-5
    for layer in layers:
        if layer.rearrange:
            norms = network.get_submodule(layer.name).weight.flatten(1).abs().sum(1)
            assert (norms.diff() <= 1e-9).all(), layer.name


def test_rearranged_blocks_keep_more_l1_mass():
    torch.manual_seed(1)
    weight = torch.randn(64, 32, 3, 3) * torch.rand(64, 1, 1, 1)
    ordered = weight[weight.flatten(1).abs().sum(1).argsort(descending=True)]

    def retained(tensor):
        return float((tensor * module.block_mask(tensor, 4, 0.75)).abs().sum())

    assert retained(ordered) > 1.05 * retained(weight)


def test_the_paper_size_configuration_prunes_the_34_pointwise_layers_of_mobilenet_v2():
    task = plugins.load("tasks", "imagenet")
    from suite.options import build as resolve

    method = resolve(METHOD, "one_by_n", {}, "full", task.defaults)
    assert (method.arch, method.rate, method.batch, method.weight_decay) == ("mobilenet_v2", 0.01, 256, 4e-5)
    network = build("mobilenet_v2", 1000, 224)
    layers = prunable(network, torch.zeros(1, 3, 224, 224))
    weights = sum(network.get_submodule(layer.name).weight.numel() for layer in layers)
    assert len(layers) == 34 and round(weights / 1e6, 3) == 2.125

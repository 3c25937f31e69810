"""1xN: rearrangement that keeps the function, and which layers it prunes."""

from __future__ import annotations

import pytest
import torch

from suite import plugins
from suite.nn import build, prunable
from suite.nn.selection import block_mask

METHOD = plugins.load("baselines", "one_by_n")


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
        return float((tensor * block_mask(tensor, 4, 0.75)).abs().sum())

    assert retained(ordered) > 1.05 * retained(weight)


def test_the_paper_size_configuration_prunes_the_34_pointwise_layers_of_mobilenet_v2():
    task = plugins.load("tasks", "imagenet")
    from suite.options import build as resolve

    method = resolve(METHOD, "one_by_n", {}, "full", task(**task.scales["full"].options))
    assert (method.arch, method.rate, method.batch, method.weight_decay) == ("mobilenet_v2", 0.01, 256, 4e-5)
    network = build("mobilenet_v2", 1000, 224)
    layers = prunable(network, torch.zeros(1, 3, 224, 224))
    weights = sum(network.get_submodule(layer.name).weight.numel() for layer in layers)
    assert len(layers) == 34 and round(weights / 1e6, 3) == 2.125

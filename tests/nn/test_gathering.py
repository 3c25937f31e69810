"""A layer that reads some channels computes what it would with zeros in place of the others, in torch and in the kernel."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from suite import kernel
from suite.cost import count
from suite.nn import build, factorise, gather, widened

INDEX = [1, 2, 5, 11, 12]


def network() -> nn.Module:
    torch.manual_seed(0)
    return build("resnet8", 10, 32).eval()


@pytest.mark.parametrize("rank", [None, 4])
def test_the_other_channels_could_as_well_be_zero(rank):
    before, images = network(), torch.randn(2, 3, 32, 32)
    after = copy.deepcopy(before)
    gone = [channel for channel in range(16) if channel not in INDEX]
    before.layer2[0].conv1.weight.data[:, gone] = 0
    place = gather(after, "layer2.0.conv1", INDEX)
    if rank:
        factorise(before, "layer2.0.conv1", rank)
        factorise(after, place, rank)
    expected = before(images)
    assert (after(images) - expected).abs().max() <= 1e-5 * expected.abs().max()
    dense = 32 * 16 * 9
    left = rank * (5 * 9 + 32) if rank else 32 * 5 * 9
    assert count(network(), images[:1]).macs - count(after, images[:1]).macs == (dense - left) * 16 * 16
    wide = widened(copy.deepcopy(after))
    assert count(wide, images[:1]).macs_effective == count(after, images[:1]).macs
    assert (wide(images) - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_the_kernel_runs_it_without_a_call_of_torch_and_stores_what_is_left():
    after, images = network(), torch.randn(1, 3, 32, 32)
    whole = kernel.lower(after, images)
    gather(after, "layer2.0.conv1", INDEX)
    plan = kernel.lower(after, images)
    assert plan.outside == [] and plan.macs_share == 1.0
    assert [type(part) for part in plan.program] == [type(part) for part in whole.program]
    assert (plan(images) - after(images)).abs().max() <= 1e-5 * after(images).abs().max()
    layer = next(item for item in plan.layers if item.name == "layer2.0.conv1.1")
    assert layer.kept == 5 / 16 and layer.effective == 32 * 5 * 9 * 16 * 16
    assert sum(item.effective for item in plan.layers) == count(after, images).macs


def test_only_a_convolution_can_read_less():
    for name, index in (("fc", [0]), ("bn1", [0]), ("layer1.0.conv1", [])):
        with pytest.raises(ValueError, match=f"'{name}' is no convolution without groups that could read"):
            gather(network(), name, index)

"""Layer-wise back-propagation: the rule against sums written out, peaks, ellipses, the cost by hand, and what differs from gradients."""

from __future__ import annotations

import importlib
import math

import pytest
import torch
from torch import nn

from suite.artifacts import Probe
from suite.nn import build
from suite.profile.probe import costs

method = importlib.import_module("suite.baselines.layerwise_backprop")


@pytest.fixture
def network():
    torch.manual_seed(0)
    return build("narrow_resnet10", 10, 64).eval()


def picture(seed: int, high: int = 120, wide: int = 160) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, high // 8, wide // 8, generator=draw)
    return (255 * nn.functional.interpolate(coarse, (high, wide))[0]).to(torch.uint8)


@pytest.mark.parametrize("stride, groups", [(1, 1), (2, 1), (2, 2)])
def test_the_rule_is_the_probability_of_contributions(stride, groups):
    """Each output hands what it has to its inputs in shares of x~ relu(W), loop by loop."""
    torch.manual_seed(stride + groups)
    layer = nn.Conv2d(2, 4, 3, stride, 1, groups=groups).double()
    with torch.no_grad():
        layer.weight[1] = -layer.weight[1].abs()  # an output that nothing contributes to
    images = torch.randn(1, 2, 5, 6).double().requires_grad_()
    found = method.Layerwise(layer)(images)
    assert torch.equal(found, layer(images))  # forward is the convolution
    gradients = torch.randn_like(found)
    (back,) = torch.autograd.grad(found, images, gradients)
    shifted, wanted = images[0].detach() - images.detach().min(), torch.zeros(2, 5, 6).double()
    for out in range(4):
        for row in range(found.shape[2]):
            for column in range(found.shape[3]):
                shares = {}
                for channel in range(2 // groups):
                    source = channel + (out // (4 // groups)) * (2 // groups)
                    for down in range(3):
                        for across in range(3):
                            y, x = row * stride + down - 1, column * stride + across - 1
                            if 0 <= y < 5 and 0 <= x < 6:
                                weight = layer.weight.detach()[out, channel, down, across].clamp_min(0)
                                shares[source, y, x] = float(shifted[source, y, x] * weight)
                total = sum(shares.values())
                for place, share in shares.items():
                    wanted[place] += share / total * gradients[0, out, row, column] if total >= 1e-10 else 0.0
    assert torch.allclose(back[0], wanted, atol=1e-9)
    (plain,) = torch.autograd.grad(layer(images), images, gradients)
    assert not torch.allclose(back, plain, atol=1e-2)


def test_nothing_is_lost_on_the_way():
    """Probabilities of an output's inputs sum to 1: without normalisation and rectification what leaves a peak arrives."""
    torch.manual_seed(1)
    layers = nn.Sequential(*(method.Layerwise(nn.Conv2d(size, 8, 3, 2, 1)) for size in (3, 8, 8)))
    images = torch.rand(1, 3, 32, 32, requires_grad=True)
    response = layers(images).mean(1)[0]
    (back,) = torch.autograd.grad(response[2, 1], images)
    assert (back >= 0).all() and back.sum().item() == pytest.approx(1, abs=1e-3)


def test_the_smallest_value_is_that_of_each_picture():
    layer = method.Layerwise(nn.Conv2d(3, 4, 3, 1, 1))
    first, second = torch.randn(2, 1, 3, 6, 6).unbind(0)
    pair = torch.cat([first, second + 5]).requires_grad_()
    alone = (second + 5).requires_grad_()
    (both,), (one,) = (torch.autograd.grad(layer(images).sum(), images) for images in (pair, alone))
    assert torch.allclose(both[1:], one, atol=1e-5)


def literal_saliency(network: nn.Module, pixels: torch.Tensor, row: int, column: int) -> torch.Tensor:
    """A peak's map in one expression a layer, without the method's modules.

    A convolution's value is the ordinary one; what is differentiated is conv(x x~, W+) / Z, whose gradient is the rule. The other
    layers are written out: BN by its statistics, ReLU, max-pool and the sum of a block by autograd.
    """
    def convolved(layer: nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            shifted, positive = x - x.min(), layer.weight.clamp(min=0)
            total = nn.functional.conv2d(shifted, positive, None, layer.stride, layer.padding)
        share = nn.functional.conv2d(x * shifted, positive, None, layer.stride, layer.padding)
        share = torch.where(total < 1e-10, torch.zeros_like(total), share / (total.abs() + 1e-10))
        return layer(x).detach() + share - share.detach()

    def normed(layer: nn.BatchNorm2d, x: torch.Tensor) -> torch.Tensor:
        scale = layer.weight / (layer.running_var + layer.eps).sqrt()
        return x * scale[:, None, None] + (layer.bias - layer.running_mean * scale)[:, None, None]

    pixels = pixels.clone().requires_grad_()
    x = nn.functional.max_pool2d(normed(network.bn1, convolved(network.conv1, pixels)).clamp(min=0), 3, 2, 1)
    for stage in (network.layer1, network.layer2, network.layer3, network.layer4):
        (block,) = stage
        inner = normed(block.bn1, convolved(block.conv1, x)).clamp(min=0)
        kept = x if block.downsample is None else normed(block.downsample[1], convolved(block.downsample[0], x))
        x = (normed(block.bn2, convolved(block.conv2, inner)) + kept).clamp(min=0)
    x[0].mean(0)[row, column].backward()
    return pixels.grad[0].sum(0).clamp(min=0)


def test_saliency_of_a_whole_network_is_the_literal_one(network):
    """All convolutions follow the rule, the stem's and the shortcuts' too; BN with scales of both signs passes gradients."""
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for values, low, high in ((layer.weight.data, -1, 1.5), (layer.bias.data, -0.5, 1), (layer.running_mean, -0.3, 0.3),
                                      (layer.running_var, 0.5, 2)):
                values.uniform_(low, high)
    made = method.PeakDescriber(network, 3, 256, "all", "layerwise").double()
    network.double().requires_grad_(False)
    pixels = made.prepare(picture(2))[0].double().requires_grad_()
    response = made.response(made.map(pixels))
    peaks = method.peaks_of(response, False).tolist()
    assert len(peaks) > 1
    for row, column in peaks:
        found, wanted = made.saliency(response[row, column], pixels), literal_saliency(network, pixels.detach(), row, column)
        assert wanted.max() > 0 and torch.allclose(found / wanted.max(), wanted / wanted.max(), atol=1e-9)


def test_without_a_backward_pass_the_convolution_is_all_there_is(network):
    """A query costs one pass up to the map that is averaged: no Z, and nothing above it."""
    made, plain = (method.PeakDescriber(network, 3, 256, "mean", rule) for rule in ("layerwise", "gradient"))
    query = lambda describer: lambda boxes: describer.query(picture(1), boxes)  # noqa: E731
    boxes = torch.tensor([[5.0, 5, 60, 60]])
    cost = [importlib.import_module("suite.cost").count(query(describer), boxes).macs for describer in (made, plain)]
    with torch.no_grad():
        assert torch.equal(query(made)(boxes), query(plain)(boxes))
    assert cost[0] == cost[1] > 0
    whole = importlib.import_module("suite.baselines.global_pooling").WholeDescriber(network, 3, 256)
    assert cost[0] == importlib.import_module("suite.cost").count(query(whole), boxes).macs


def test_peaks_by_hand():
    response = torch.tensor([
        [9.0, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0],
        [0, 5, 0, 0, 2, 0],  # the second lies below the mean of the map with the borders' values
        [0, 0, 0, 0, 0, 9],
        [0, 0, 4, 4, 0, 0],  # equal neighbours: the first
        [0, 0, 0, 0, 0, 90],
    ])
    assert method.peaks_of(response, True).tolist() == [[2, 1], [4, 2]]
    response[3, 5] = 0
    assert method.peaks_of(response, False).tolist() == [[2, 1], [2, 4], [4, 2]]
    assert method.peaks_of(response - 100, False).tolist() == []  # none above 0
    assert method.peaks_of(torch.rand(2, 9), False).tolist() == []  # nothing but borders


@pytest.mark.parametrize("angle", [0, 30, 90, 135])
def test_the_box_is_that_of_an_ellipse_of_two_deviations(angle):
    """Of the pixels of a tilted bar, against the box that has its ellipse's extreme points by trying directions."""
    y, x = torch.meshgrid(torch.arange(200.0), torch.arange(300.0), indexing="ij")
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    along, aside = (x - 140) * cos + (y - 90) * sin, (y - 90) * cos - (x - 140) * sin
    saliency = torch.where((along.abs() <= 40) & (aside.abs() <= 9), 1 + 0.01 * x, 0)
    places = saliency.nonzero().double()
    spread = torch.cov(places.T, correction=0)
    directions = torch.linspace(0, 2 * math.pi, 3601).double()
    circle = torch.stack([directions.sin(), directions.cos()])
    ellipse = 2 * torch.linalg.cholesky(spread) @ circle  # all points two deviations away
    half = ellipse.amax(1)
    wanted = [140.5 - half[1], 90.5 - half[0], 140.5 + half[1], 90.5 + half[0]]
    assert method.box_of(saliency).tolist() == pytest.approx([float(item) for item in wanted], abs=0.1)


def test_boxes_keep_to_the_strongest_twentieth_and_to_the_picture():
    saliency = torch.rand(100, 100) * 0.1
    saliency[:10, :20] = 1 + torch.rand(10, 20)  # a fiftieth
    saliency[50:60, 50:80] = 0.5 + torch.rand(10, 30) * 0.1  # and 3 of 100 more
    both = method.box_of(saliency)
    saliency[80:90, 20:100] = 0.3  # more than the strongest twentieth: left out
    assert torch.allclose(method.box_of(saliency), both)
    assert both[0] == 0 and both[1] == 0
    assert method.box_of(torch.zeros(8, 8)) is None
    one = torch.zeros(30, 30)
    one[4, 7] = 1
    assert method.box_of(one).tolist() == [7, 4, 8, 5]


def test_every_region_is_a_peaks_and_a_picture_without_one_is_its_own(network):
    made = method.PeakDescriber(network, 4, 256, "mean", "layerwise")
    (batch,) = made.prepare(picture(1))
    boxes, features = made(batch)
    response = made.response(made.map(batch))
    assert len(boxes) == len(features) == len(method.peaks_of(response, True)) > 0
    with torch.no_grad():
        assert torch.allclose(features, made.described(made.map(batch), boxes, batch.shape[2:]), atol=1e-5)
    with torch.inference_mode():
        assert torch.allclose(made(batch)[0], boxes)  # whoever calls, and what was there before
    whole = method.PeakDescriber(network, 4, 64, "mean", "layerwise")  # two cells each way: all are borders
    assert whole(*whole.prepare(picture(1)))[0].tolist() == [[0, 0, 64, 48]]


def test_all_peaks_less_overlaps(network):
    made = {name: method.PeakDescriber(network, 4, 256, name, "layerwise") for name in ("mean", "all")}
    found = {name: describer(*describer.prepare(picture(3)))[0] for name, describer in made.items()}
    (batch,) = made["all"].prepare(picture(3))
    every = len(method.peaks_of(made["all"].response(made["all"].map(batch)), False))
    assert every >= len(found["mean"])
    overlap = importlib.import_module("torchvision.ops").box_iou(found["all"], found["all"]) - torch.eye(len(found["all"]))
    assert overlap.max() <= 0.3 and len(found["all"]) <= every


def test_gradients_are_another_method(network):
    made = [method.PeakDescriber(network, 4, 256, "mean", rule) for rule in ("layerwise", "gradient")]
    boxes = [describer(*describer.prepare(picture(1)))[0] for describer in made]
    assert boxes[0].shape == boxes[1].shape and not torch.allclose(boxes[0], boxes[1], atol=3)


def by_hand(describer, image: torch.Tensor) -> int:
    """The forward pass and Z of every convolution, a backward pass through all of them for each peak, and the regions' means."""
    (batch,) = describer.prepare(image)
    sizes: list[int] = []

    def listen(module, inputs, output) -> None:
        sizes.append(output.numel() * module.convolution.weight[0].numel())

    handles = [layer.register_forward_hook(listen) for layer in describer.modules() if isinstance(layer, method.Layerwise)]
    boxes, _ = describer(batch)
    for handle in handles:
        handle.remove()
    maps = describer.map(batch)
    return (2 + len(method.peaks_of(describer.response(maps), True))) * sum(sizes) + len(boxes) * maps.numel()


def test_the_cost_is_a_hand_count_averaged_over_pictures(network):
    made = method.PeakDescriber(network, 3, 256, "mean", "layerwise")
    images = [picture(seed, *size) for seed, size in enumerate([(120, 160), (160, 120), (140, 140)])]
    wanted = [by_hand(made, image) for image in images]
    assert len(set(wanted)) == 3
    found = costs(Probe(made, tuple(made.prepare(image) for image in images), gradients=True))
    assert found["macs"] == pytest.approx(sum(wanted) / 3, rel=0.01) and found["uncounted"] == []

"""Folding, factorising and dropping; the layers that pruning touches."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from suite.nn import blocks, build, drop, factorise, fold, prunable

NetworkOf = Callable[[str], nn.Module]
ImagesOf = Callable[[str], Tensor]


@pytest.mark.parametrize("arch", ["resnet8", "cifar_vgg16", "mobilenet_v1", "mobilenet_v3_small", "resnet50"])
def test_folding_is_exact_and_leaves_the_original(network_of: NetworkOf, images_of: ImagesOf, arch: str) -> None:
    network, images = network_of(arch), images_of(arch)
    before = network(images)
    folded = fold(network)
    assert (folded(images) - before).abs().max() < 1e-5
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    assert any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    assert type(folded) is type(network)


def test_a_normalisation_that_others_look_behind_is_not_folded() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)

        def forward(self, images: Tensor) -> Tensor:
            hidden = self.conv(images)
            return self.norm(hidden) + hidden

    assert isinstance(fold(Both()).norm, nn.BatchNorm2d)


def test_a_normalisation_that_is_always_behind_the_same_layer_is_folded_however_often_they_run() -> None:
    class Twice(nn.Module):
        def __init__(self, other: bool) -> None:
            super().__init__()
            self.conv, self.norm, self.other = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), other

        def forward(self, images: Tensor) -> Tensor:
            first = self.norm(self.conv(images))
            return self.norm(first if self.other else self.conv(first))

    for other in (False, True):
        network, images = Twice(other).eval(), torch.randn(2, 3, 4, 4)
        network.norm.running_mean.uniform_(-1, 1)
        network.norm.running_var.uniform_(0.5, 2)
        folded = fold(network)
        assert isinstance(folded.norm, nn.BatchNorm2d) == other
        assert (folded(images) - network(images)).abs().max() < 1e-5


@pytest.mark.parametrize(("name", "full"), [("conv1", 16), ("layer2.0.conv1", 32), ("layer2.0.conv2", 32), ("fc", 10)])
def test_factorising_at_full_rank_is_exact(network_of: NetworkOf, images_of: ImagesOf, name: str, full: int) -> None:
    network, images = copy.deepcopy(network_of("resnet8")), images_of("resnet8")
    before = network(images)
    factorise(network, name, full)
    assert (network(images) - before).abs().max() < 1e-5
    assert len(network.get_submodule(name)) == 2  # type: ignore[arg-type]


def test_factorising_is_the_best_approximation() -> None:
    layer = nn.Sequential(nn.Linear(6, 5).double())
    weight = layer[0].weight.detach()
    factorise(layer, "0", 2)
    product = layer[0][1].weight @ layer[0][0].weight  # type: ignore[index]
    error = torch.linalg.matrix_norm(product - weight)
    assert torch.isclose(error, torch.linalg.svdvals(weight)[2:].norm())  # Eckart and Young 1936


@pytest.mark.parametrize(("name", "rank"), [("fc", 0), ("fc", 11), ("bn1", 1)])
def test_factorising_refuses(name: str, rank: int) -> None:
    with pytest.raises(ValueError, match=name):
        factorise(build("resnet8", 10, 32), name, rank)


@pytest.mark.parametrize(
    ("arch", "name"),
    [
        ("resnet20", "layer1.1"),
        ("resnet50", "layer2.1"),
        ("mobilenet_v2", "features.3"),
        ("mobilenet_v3_small", "features.3"),
    ],
)
def test_a_dropped_block_is_its_shortcut(network_of: NetworkOf, images_of: ImagesOf, arch: str, name: str) -> None:
    """With its last normalisation zeroed a block is its shortcut already; dropping it then changes nothing."""
    network, images = copy.deepcopy(network_of(arch)), images_of(arch)
    block = network.get_submodule(name)
    last = [module for module in block.modules() if isinstance(module, nn.BatchNorm2d)][-1]
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    before, number = network(images), len(blocks(network))
    drop(network, name)
    assert (network(images) - before).abs().max() < 1e-5
    assert len(blocks(network)) == number - 1


@pytest.mark.parametrize(
    ("arch", "name"), [("resnet20", "layer2.0"), ("resnet18", "layer2.0"), ("mobilenet_v2", "features.2")]
)
def test_a_block_that_changes_the_shape_stays(arch: str, name: str) -> None:
    with torch.device("meta"):
        network = build(arch, 10, 32)
    with pytest.raises(ValueError, match=name):
        drop(network, name)


def test_only_residual_blocks_can_be_dropped() -> None:
    with pytest.raises(ValueError, match="not a residual block"):
        drop(build("resnet8", 10, 32), "layer1.0.conv1")


# Pruned and rearranged layers, by the 1xN paper's table; the others by our rule.
COUNTS = {
    "mobilenet_v1": (13, 13),
    "mobilenet_v2": (34, 17),
    "mobilenet_v3_large": (30 + 2 * 8, 14 + 1),
    "mobilenet_v3_small": (22 + 2 * 9, 10 + 1),
    "resnet50": (48 + 4, 32),
    "resnet18": (16 + 3, 8),
    "resnet20": (18, 9),
    "cifar_vgg16": (12, 12),
    "vgg16": (12, 12),
    "vit_ti_16": (12 * 4, 12),
}


@pytest.mark.parametrize("arch", COUNTS)
@pytest.mark.parametrize("size", [32, 224])
def test_layers_to_prune(arch: str, size: int) -> None:
    with torch.device("meta"):
        network = build(arch, 10, size)
        items = prunable(network, torch.empty(1, 3, size, size))
    assert (len(items), sum(item.rearrange for item in items)) == COUNTS[arch]
    assert all(getattr(network.get_submodule(item.name), item.parameter).ndim > 1 for item in items)
    assert all(item.stream and not item.stream.fixed for item in items if item.rearrange)
    shapes = [getattr(network.get_submodule(item.name), item.parameter).shape for item in items]
    assert all(shape[1] > 1 and shape[0] != 10 for shape in shapes)  # neither depthwise nor the classifier


@pytest.mark.parametrize(
    ("arch", "rearranged", "left"),
    [
        ("mobilenet_v2", ["features.2.conv.0.0", "features.18.0"], ["features.1.conv.1", "features.17.conv.2"]),
        (
            "mobilenet_v3_large",
            ["features.2.block.0.0", "features.16.0"],
            ["features.4.block.2.fc1", "features.4.block.2.fc2"],
        ),
        ("resnet50", ["layer1.0.conv1", "layer1.0.conv2"], ["layer1.0.conv3", "layer1.0.downsample.0"]),
    ],
)
def test_which_layers_are_rearranged(arch: str, rearranged: list[str], left: list[str]) -> None:
    with torch.device("meta"):
        items = {item.name: item.rearrange for item in prunable(build(arch, 10, 64), torch.empty(1, 3, 64, 64))}
    assert [items[name] for name in (*rearranged, *left)] == [True, True, False, False]

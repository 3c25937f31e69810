"""Networks by name: shapes, initial weights, stages and blocks."""

from __future__ import annotations

import pytest
import torch

from suite.errors import UserError
from suite.nn import ARCHS, blocks, build, stages, tap


@pytest.mark.parametrize("arch", ARCHS)
def test_every_network_maps_images_to_logits(arch: str) -> None:
    with torch.device("meta"):
        network = build(arch, 7, 64).eval()
        assert network(torch.empty(2, 3, 64, 64)).shape == (2, 7)


@pytest.mark.parametrize(
    ("arch", "size", "message"),
    [
        ("resnet21", 32, "unknown network 'resnet21'; did you mean '"),
        ("vit_b_16", 40, "needs a multiple of 16"),
        ("vgg16", 16, "needs at least 32"),
    ],
)
def test_mistakes_get_one_sentence(arch: str, size: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(arch, 10, size)


def test_the_seed_decides_the_weights() -> None:
    torch.manual_seed(1)
    one = build("resnet8", 10, 32).state_dict()
    torch.manual_seed(1)
    two = build("resnet8", 10, 32).state_dict()
    assert all(torch.equal(one[key], two[key]) for key in one)


# The side of the features at the end of each stage, at 64 pixels.
SIDES = {
    "resnet20": [64, 32, 16],
    "cifar_vgg16": [64, 32, 16, 8, 4],
    "mobilenet_v1": [32, 16, 8, 4, 2],
    "mobilenet_v2": [32, 16, 8, 4, 2],
    "mobilenet_v3_large": [32, 16, 8, 4, 2],
    "mobilenet_v3_small": [16, 8, 4, 2],
    "resnet50": [16, 8, 4, 2],
    "vgg16": [64, 32, 16, 8, 4],
}


@pytest.mark.parametrize("arch", SIDES)
def test_stages_end_where_the_resolution_changes(arch: str) -> None:
    with torch.device("meta"):
        network = build(arch, 10, 64).eval()
        with tap(network, stages(network)) as outputs:
            network(torch.empty(1, 3, 64, 64))
    assert [features.shape[-1] for features in outputs.values()] == SIDES[arch]


@pytest.mark.parametrize(
    ("arch", "number"),
    [("resnet56", 27), ("cifar_vgg16", 13), ("resnet50", 16), ("mobilenet_v2", 17), ("vit_b_16", 12)],
)
def test_blocks_are_all_there(arch: str, number: int) -> None:
    with torch.device("meta"):
        network = build(arch, 10, 32)
    assert len(blocks(network)) == number


def test_a_network_without_blocks_says_so() -> None:
    with pytest.raises(ValueError, match="block_names"):
        blocks(torch.nn.Linear(1, 1))


def test_tap_stops_listening() -> None:
    network = build("resnet8", 10, 32)
    with tap(network, ["layer1"]) as outputs:
        network(torch.zeros(2, 3, 32, 32))
    first = outputs["layer1"]
    network(torch.ones(2, 3, 32, 32))
    assert outputs["layer1"] is first and first.requires_grad

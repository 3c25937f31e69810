"""Global pooling, and what the methods for instance search share: means of regions, sizes, whitening, the user's weights."""

from __future__ import annotations

import importlib

import pytest
import torch

from suite.context import Budget, Run
from suite.errors import UserError
from suite.nn import build
from suite.settings import InstanceSearch

shared = importlib.import_module("suite.baselines._retrieval")
method = importlib.import_module("suite.baselines.global_pooling")


@pytest.fixture
def network():
    torch.manual_seed(0)
    return build("narrow_resnet10", 10, 64).eval()


def test_a_region_is_the_mean_of_what_it_covers():
    maps = torch.arange(12.0).view(1, 1, 3, 4).repeat(1, 2, 1, 1)
    maps[0, 1] = 1  # descriptors have length 1: the ratio of the two channels is the mean of the first
    boxes = torch.tensor([[0.0, 0, 64, 48], [16, 16, 32, 32], [8, 0, 32, 16], [60, 40, 61, 41]])  # cells of 16 pixels
    found = shared.region_means(maps, boxes, (48, 64))
    assert (found[:, 0] / found[:, 1]).tolist() == pytest.approx([5.5, 5, (0.5 * 0 + 1) / 1.5, 11])
    assert found.norm(dim=1).tolist() == pytest.approx([1.0] * 4)


def test_the_whole_picture_is_the_only_region(network):
    made = method.WholeDescriber(network, 4, 96)
    image = torch.randint(0, 256, (3, 60, 80), dtype=torch.uint8)
    batch, boxes = made.prepare(image)
    assert batch.shape == (1, 3, 72, 96) and boxes.tolist() == [[0, 0, 96, 72]]
    _, features = made(batch, boxes)
    wanted = torch.nn.functional.normalize(torch.nn.Sequential(*made.parts)(batch).mean((2, 3)))
    assert torch.allclose(features, wanted, atol=1e-5)
    assert torch.allclose(made.query(image, torch.tensor([[0.0, 0, 80, 60]])), features, atol=1e-5)
    inside = made.query(image, torch.tensor([[40.0, 30, 80, 60]]))
    assert torch.allclose(inside, shared.region_means(made.map(batch), torch.tensor([[48.0, 36, 96, 72]]), (72, 96)), atol=1e-5)


def test_whitening_makes_the_gallery_white(network, tmp_path):
    draw = torch.Generator().manual_seed(0)
    images = [torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8, generator=draw) for _ in range(12)]
    run = Run(0, "smoke", Budget(1), tmp_path, tmp_path)

    class Gallery(list):
        image = list.__getitem__

    plugin = method.GlobalPoolingMethod(arch="narrow_resnet10", size=64, whiten=3)
    describer = plugin.describer(network)
    mean, weights = plugin.whitened(describer, InstanceSearch(Gallery(images)), run)
    raw = torch.cat([describer(*describer.prepare(image))[1] for image in images])
    white = (raw - mean) @ weights
    assert torch.allclose(white.T @ white / 11, torch.eye(3), atol=1e-2)
    describer.whitening = mean, weights
    assert torch.allclose(describer(*describer.prepare(images[0]))[1], torch.nn.functional.normalize(white[:1]), atol=1e-4)
    with pytest.raises(UserError, match="have no 13 components; lower whiten"):
        method.GlobalPoolingMethod(whiten=13).whitened(plugin.describer(network), InstanceSearch(Gallery(images)), run)


def test_the_users_weights(network, tmp_path):
    path = tmp_path / "weights.pt"
    torch.save(network.state_dict(), path)
    plugin = method.GlobalPoolingMethod(arch="narrow_resnet10", size=64, weights=str(path))
    assert plugin.needs() == {} and method.GlobalPoolingMethod().needs()["backbone"].options == {"arch": "resnet50"}
    made = plugin.fit(InstanceSearch([]), Run(0, "smoke", Budget(1), tmp_path, tmp_path)).module
    image = torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8)
    wanted = method.WholeDescriber(network, 4, 64)
    assert torch.equal(made(*made.prepare(image))[1], wanted(*wanted.prepare(image))[1])
    with pytest.raises(UserError, match="There is no state-dict file"):
        method.GlobalPoolingMethod(weights="nowhere.pt")

"""Region and grid features of networks: which boxes, in which order, pooled as by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from suite.nn import build
from suite.nn.detection import rcnn
from suite.nn.regions import grid_features, region_features


@pytest.fixture(scope="module")
def detector() -> nn.Module:
    torch.manual_seed(0)
    return rcnn(build("narrow_resnet10", 2, 64), 7, 64, width=16, anchor=4.0, sampled=16, proposals=20, masks=False).eval()


def test_regions_are_the_best_detections_in_shares_of_the_picture(detector):
    image = torch.rand(3, 48, 80)
    with torch.inference_mode():
        (found,) = detector([image])
    features, boxes = region_features(detector, image, certain=2.0, least=6, most=50)  # no score is above 2: the least
    assert features.shape == (6, 16 + 64) and boxes.shape == (6, 4)
    assert torch.allclose(boxes * torch.tensor([80, 48, 80, 48]), found["boxes"][:6], atol=0.5)
    everything, _ = region_features(detector, image, certain=0.0, least=6, most=9)
    assert len(everything) == 9 and torch.equal(everything[:6], features)


def test_a_feature_is_the_pooled_mean_and_the_second_stages_vector(detector):
    image = torch.rand(3, 64, 64)
    features, boxes = region_features(detector, image, certain=2.0, least=3, most=50)
    with torch.inference_mode():
        batch, _ = detector.transform([image])
        pooled = detector.roi_heads.box_roi_pool(detector.backbone(batch.tensors), [boxes * 64], [(64, 64)])
        assert torch.allclose(features[:, :16], pooled.mean((2, 3)), atol=1e-5)
        assert torch.allclose(features[:, 16:], detector.roi_heads.box_head(pooled), atol=1e-5)


def test_a_picture_without_detections_is_one_region(detector, monkeypatch):
    monkeypatch.setattr(detector.roi_heads, "score_thresh", 2.0)
    features, boxes = region_features(detector, torch.rand(3, 48, 80), certain=0.2, least=10, most=50)
    assert len(features) == 1 and boxes.tolist() == [[0, 0, 1, 1]]


def test_the_grid_is_the_deepest_map_of_sixteen_pixels_a_cell():
    torch.manual_seed(0)
    network = build("narrow_resnet10", 2, 64).eval()
    image = torch.randn(1, 3, 112, 112)
    grid = grid_features(network, image)
    assert grid.shape == (49, 128)  # layer3 has 7 x 7 cells, layer4 4 x 4
    with torch.inference_mode():
        maps = network.layer3(network.layer2(network.layer1(network.maxpool(network.relu(network.bn1(network.conv1(image)))))))
    assert torch.allclose(grid[8], maps[0, :, 1, 1], atol=1e-6) and torch.allclose(grid[6], maps[0, :, 0, 6], atol=1e-6)
    for high, wide in ((24, 20), (64, 50), (230, 641)):  # the same map in every picture, enlarged in small ones
        assert grid_features(network, torch.randn(1, 3, high, wide)).shape == (49, 128)

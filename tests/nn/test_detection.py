"""Detectors: torchvision's own networks under torchvision's names, their bodies, their boxes before suppression."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torchvision.models import detection as torchvision_detection
from torchvision.models import resnet50
from torchvision.ops import batched_nms

from suite.kernel import check, lower
from suite.nn import NarrowResNet, stages, tap
from suite.nn.detection import Body, candidates, rcnn, retinanet

small_retinanet = partial(retinanet, width=8, anchor=2.0)
small_rcnn = partial(rcnn, width=8, anchor=4.0, sampled=16, proposals=10)
IMAGES = [torch.rand(3, 64, 48, generator=torch.Generator().manual_seed(0)), torch.rand(3, 50, 80, generator=torch.Generator().manual_seed(1))]


@pytest.mark.parametrize("name, make", [
    ("retinanet_resnet50_fpn", lambda body: retinanet(body, 91, 1066, width=256, anchor=4.0)),
    ("fasterrcnn_resnet50_fpn", lambda body: rcnn(body, 91, 1066, width=256, anchor=8.0, sampled=512, proposals=1000, masks=False)),
    ("maskrcnn_resnet50_fpn", lambda body: rcnn(body, 91, 1066, width=256, anchor=8.0, sampled=512, proposals=1000, masks=True)),
])
def test_the_paper_size_is_torchvisions_network(name, make):
    with torch.device("meta"):
        theirs = getattr(torchvision_detection, name)(weights=None, weights_backbone=None)
        ours = make(resnet50())
    shapes = {key: item.shape for key, item in ours.state_dict().items() if not key.endswith("num_batches_tracked")}
    assert shapes == {key: item.shape for key, item in theirs.state_dict().items() if not key.endswith("num_batches_tracked")}
    generators = [model.anchor_generator if hasattr(model, "anchor_generator") else model.rpn.anchor_generator for model in (ours, theirs)]
    assert generators[0].sizes == generators[1].sizes and generators[0].aspect_ratios == generators[1].aspect_ratios


def test_the_narrow_network_ends_its_stages_at_strides_4_to_32():
    network = NarrowResNet(10)
    with tap(network, stages(network)) as seen, torch.no_grad():
        network.eval()(torch.zeros(1, 3, 64, 64))
    assert [tuple(item.shape[1:]) for item in seen.values()] == [(32, 16, 16), (64, 8, 8), (128, 4, 4), (256, 2, 2)]


@pytest.fixture
def one_stage():
    torch.manual_seed(0)
    model = small_retinanet(NarrowResNet(2), 4, 64).eval()
    torch.nn.init.normal_(model.head.classification_head.cls_logits.weight, std=0.3)
    torch.nn.init.constant_(model.head.classification_head.cls_logits.bias, -2.0)
    torch.nn.init.normal_(model.head.regression_head.bbox_reg.weight, std=0.1)
    return model


def test_candidates_suppressed_by_torchvision_are_torchvisions_detections(one_stage):
    with torch.inference_mode():
        wanted = one_stage(IMAGES)
    for item, detections in zip(candidates(one_stage, IMAGES, one_stage.score_thresh), wanted, strict=True):
        assert len(item.scores) > len(detections["scores"]) > 0
        # Suppression is done before the boxes are scaled back, so in the network's pixels.
        rows = batched_nms(item.boxes * 64 / max(item.size), item.scores, item.labels, one_stage.nms_thresh)[:100]
        assert torch.allclose(item.boxes[rows], detections["boxes"], atol=1e-3)
        assert torch.equal(item.scores[rows], detections["scores"]) and torch.equal(item.labels[rows], detections["labels"])


def test_candidates_remember_their_anchors(one_stage):
    torch.nn.init.zeros_(one_stage.head.regression_head.bbox_reg.weight)  # then a box is its anchor, cut at the border
    for item in candidates(one_stage, IMAGES, 0.0):
        high, wide = item.size
        limit = torch.tensor([wide, high, wide, high])
        assert torch.allclose(item.boxes, item.anchors.clamp_min(0).minimum(limit), atol=1e-3)


def test_proposals_suppressed_by_torchvision_are_its_proposals():
    torch.manual_seed(0)
    model = small_rcnn(NarrowResNet(2), 4, 64, masks=False).eval()
    torch.nn.init.normal_(model.rpn.head.cls_logits.weight, std=0.5)
    model.rpn._post_nms_top_n["testing"] = 1000
    with torch.inference_mode():
        batch, _ = model.transform(IMAGES[:1])
        wanted = model.rpn(batch, model.backbone(batch.tensors))[0][0]
    (item,) = candidates(model, IMAGES[:1], 0.0)
    large = (item.boxes[:, 2:] - item.boxes[:, :2]).amin(1) >= 1e-3
    assert set(item.labels.tolist()) == {1}
    levels = torch.cat([torch.full((3 * side * side,), level) for level, side in enumerate((16, 8, 4, 2, 1))])  # torchvision: each level alone
    assert len(item.scores) == len(levels)
    order = torch.cat([rows[item.scores[rows].argsort(descending=True)] for rows in torch.arange(len(levels)).split([768, 192, 48, 12, 3])])
    rows = order[large[order]]
    kept = rows[batched_nms(item.boxes[rows], item.scores[rows], levels[rows], 0.7)]
    assert torch.allclose(item.boxes[kept].sort(0).values, wanted.sort(0).values, atol=1e-3)


@pytest.mark.parametrize("make", [small_retinanet, partial(small_rcnn, masks=False), partial(small_rcnn, masks=True)])
def test_a_body_runs_in_the_kernel_and_shares_the_weights(make):
    torch.manual_seed(0)
    model = make(NarrowResNet(2), 4, 64).eval()
    body = Body(model).eval()
    batch = body.prepare(IMAGES[:1])
    assert batch.shape == (1, 3, 64, 64)
    plan = lower(body, batch)
    assert check(plan, body, batch) < 1e-4
    assert not any("cannot be traced" in reason for reason in plan.outside)
    assert {id(item) for item in body.parameters()} == {id(item) for item in model.parameters()}


@pytest.mark.parametrize("masks", [False, True])
def test_a_body_can_have_as_many_regions_as_one_image(masks):
    torch.manual_seed(0)
    model = small_rcnn(NarrowResNet(2), 4, 64, masks=masks).eval()
    model.rpn._post_nms_top_n["testing"] = 1000
    body = Body(model).eval()
    with torch.inference_mode():
        batch, _ = model.transform(IMAGES[:1])
        features = model.backbone(batch.tensors)
        pooled = len(model.rpn(batch, features)[0][0])
        drawn = len(model(IMAGES[:1])[0]["boxes"])
        outputs = [item.numel() for part in model.rpn.head(list(features.values())) for item in part]
        found = body.seen(model, IMAGES[0])(body.prepare(IMAGES[:1]))
    assert 0 < pooled < body.proposals == 1000 and drawn > 0
    assert found.numel() == sum(outputs) + pooled * 4 * 5 + masks * drawn * 4 * 28 * 28
    assert body.regions is None  # the body itself keeps the most that may be

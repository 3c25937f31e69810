"""RetinaNet as the reference detector: its parent, its cost, the user's weights, and what it refuses."""

from __future__ import annotations

import importlib

import pytest
import torch

from suite import plugins
from suite.errors import UserError
from suite.nn import NarrowResNet
from suite.nn.detection import retinanet
from suite.plan import specs
from suite.runner import run_plan
from suite.testing.contract import fit_once

METHOD = plugins.load("baselines", "retinanet")


def test_the_backbone_is_a_recorded_parent_on_embedded_data(suite_home):
    spec, record = fit_once("coco_detection", "retinanet")
    parent = spec.references["backbone"]
    assert record["parents"] == {"backbone": parent.id} and parent.source.kind == "embedded"
    assert (parent.task_name, parent.method.arch) == ("imagenet", "narrow_resnet10")
    assert record["budget"]["total"] == 32  # pre-training has its own
    assert record["profile"]["kernel"]["macs_share"] == 1.0 and record["timings"][0]["what"] == "whole"


def test_it_gives_no_masks(suite_home, fresh_results):
    (record,) = [item for item in run_plan(specs("coco_segmentation", [("retinanet", {})], [0], "smoke"))
                 if item["task"]["name"] == "coco_segmentation"]
    assert record["status"] == "skipped" and "no masks" in record["reason"]


def test_the_users_weights_are_judged_as_they_are(tmp_path):
    ids = [2, 5, 9]  # a file in torchvision's manner: one class for each category id below 11
    torch.manual_seed(0)
    theirs = retinanet(NarrowResNet(2), 11, 64, width=8, anchor=2.0).eval()
    torch.save(theirs.state_dict(), tmp_path / "theirs.pt")
    ours = METHOD(weights=str(tmp_path / "theirs.pt"), width=8, anchor=2.0, arch="narrow_resnet10")
    assert ours.needs() == {}
    network = ours.network(NarrowResNet(2), 4, 64).eval()
    load = importlib.import_module("suite.baselines._detector").load_detector
    load(network, ours.weights, ids)
    image = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        wanted = theirs.head(list(theirs.backbone(image).values()))["cls_logits"]
        found = network.head(list(network.backbone(image).values()))["cls_logits"]
    assert torch.allclose(found, wanted[:, :, [0, *ids]], atol=1e-5) and found.std() > 0
    with pytest.raises(UserError, match="is no state-dict of this network"):
        load(ours.network(NarrowResNet(2), 30, 64), ours.weights, list(range(1, 30)))
    (tmp_path / "broken.pt").write_bytes(b"none")
    with pytest.raises(UserError, match="no state-dict"):
        load(network, str(tmp_path / "broken.pt"), ids)
    with pytest.raises(UserError, match="There is no state-dict file"):
        METHOD(weights="nowhere.pt")

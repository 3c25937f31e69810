"""The plain detector: the local relation network's backbone, pooled, and where it looks; the paper's backbone needs weights."""

from __future__ import annotations

import importlib

import pytest
import torch

from suite import plan, plugins
from suite.errors import UserError
from suite.nn import build
from suite.testing.contract import fit_once

METHOD = plugins.load("baselines", "plain_forgery")
module = importlib.import_module("suite.baselines.plain_forgery")


def test_the_logits_are_the_mean_of_the_map_of_activations():
    torch.manual_seed(0)
    network = module.PlainNetwork(build("resnet8", 10, 32)).eval()
    faces = torch.randn(2, 3, 32, 32)
    local = module.ClassActivation(network)(faces)
    assert local.shape == (2, 8, 8) and local.min() >= 0 and local.max() <= 1
    logits = network.fc(network.maps(faces).movedim(1, 3))
    assert torch.allclose(logits.mean((1, 2)), network(faces), atol=1e-5)


def test_both_detectors_start_from_one_backbone_and_train_alike(suite_home):
    spec, record = fit_once("faceforensics", "plain_forgery")
    rival = plan.specs("faceforensics", [("local_relation", {})], [spec.seed], "smoke").wanted[0]
    assert [item.id for item in rival.references.values()] == [item.id for item in spec.references.values()]
    assert spec.allowed == rival.allowed
    for name in ("rate", "batch", "weight_decay", "arch"):
        assert getattr(spec.method, name) == getattr(rival.method, name)
    assert record["profile"]["kernel"]["macs_share"] == 1.0 and record["training"]["precision"] == "float32"


def test_the_papers_backbone_asks_for_weights(tmp_path):
    with pytest.raises(UserError, match="'efficientnet_b4' has no recorded weights to start from; give torchvision's"):
        METHOD().needs()
    torch.save(build("resnet8", 7, 32).state_dict(), tmp_path / "mine.pt")
    method = METHOD(arch="resnet8", weights=str(tmp_path / "mine.pt"))
    assert method.needs() == {} and method.backbone(None).fc.out_features == 7
    with pytest.raises(UserError, match="is no state-dict of this network"):
        METHOD(arch="resnet20", weights=str(tmp_path / "mine.pt")).backbone(None)

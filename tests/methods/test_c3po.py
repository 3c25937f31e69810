"""C-3PO: the branches by hand, what swapping the pictures does, the merging of scales, the loss, the frozen statistics, the backbone."""

from __future__ import annotations

import copy
import importlib

import pytest
import torch
from torch import nn
from torch.nn import functional

from suite import plan, plugins
from suite.errors import UserError
from suite.nn import build
from suite.testing.contract import fit_once

METHOD = plugins.load("baselines", "c3po")
module = importlib.import_module("suite.baselines.c3po")
shared = importlib.import_module("suite.baselines._change")
SMALL = {"arch": "resnet8", "pretrained": "cifar10", "levels": 2, "width": 8, "head": "fcn"}


def merging(mode: str, **weights: float) -> nn.Module:
    """MTF of one channel whose 3x3 convolutions only scale."""
    made = module.MergeTimes(1, mode)
    for name, weight in weights.items():
        conv = getattr(made, name)
        conv.weight.data.zero_()[..., 1, 1] = weight
    return made


@pytest.mark.parametrize("mode, wanted", [
    # f0 = 3, f1 = 1: I = 10 * 4, D = 100 * 2, A = 0, E = 1000 * 2
    ("iade", 2240), ("iad", 240), ("iae", 2040), ("ide", 2240), ("id", 440), ("ia", 40), ("ie", 4040), ("i", 40), ("d", 200),
    ("a", 0), ("e", 2000)])
def test_every_mode_by_hand(mode, wanted):
    parts = {"information": 10.0, "one_way": 100.0, "exchange": 1000.0}
    named = {"i": ["information"], "a": ["one_way"], "d": ["one_way"], "e": ["exchange"]}
    merge = merging(mode, **{name: parts[name] for letter in mode for name in named[letter]})
    before, after = torch.full((1, 1, 5, 5), 3.0), torch.full((1, 1, 5, 5), 1.0)
    assert merge(before, after)[0, 0, 2, 2] == wanted


def test_swapping_the_pictures_swaps_appear_and_disappear():
    torch.manual_seed(0)
    before, after = torch.rand(2, 2, 4, 6, 6)
    merge = {mode: module.MergeTimes(4, mode) for mode in ("iade", "ia", "id")}
    merge["id"].load_state_dict(merge["ia"].state_dict())
    assert torch.allclose(merge["ia"](before, after), merge["id"](after, before), atol=1e-6)
    assert not torch.allclose(merge["ia"](before, after), merge["ia"](after, before), atol=1e-3)
    assert torch.allclose(merge["iade"](before, after), merge["iade"](after, before), atol=1e-5)


def test_appear_and_disappear_share_one_convolution_and_none_has_a_bias():
    assert sum(item.numel() for item in module.MergeTimes(6, "iade").parameters()) == 3 * 9 * 6 * 6
    assert sum(item.numel() for item in module.MergeTimes(6, "iad").parameters()) == 2 * 9 * 6 * 6


def test_the_scales_are_merged_from_the_top_down():
    torch.manual_seed(0)
    merge = shared.MergeScales([4, 8], 6).eval()
    fine, coarse = torch.randn(1, 4, 6, 10), torch.randn(1, 8, 3, 5)
    conv = functional.conv2d
    c = torch.relu(conv(coarse, merge.reduce[1][0].weight, merge.reduce[1][0].bias))
    f = torch.relu(conv(fine, merge.reduce[0][0].weight, merge.reduce[0][0].bias)) + c.repeat_interleave(2, 2).repeat_interleave(2, 3)
    f, c = (torch.relu(conv(x, merge.smooth[i][0].weight, merge.smooth[i][0].bias, padding=1)) for i, x in enumerate((f, c)))
    both = torch.cat([f, functional.interpolate(c, (6, 10), mode="bilinear")], 1)
    wanted = torch.relu(conv(both, merge.merge[0].weight, padding=1) / (1 + 1e-5) ** 0.5)
    assert torch.allclose(merge([fine, coarse]), wanted, atol=1e-5)


def test_the_loss_gives_the_rare_class_the_large_weight():
    logits = torch.tensor([[[[0.0, 2.0, 5.0]], [[0.0, 0.0, -5.0]]]])  # (1, 2, 1, 3)
    targets = torch.tensor([[[0, 1, 255]]])
    same, changed = torch.log(torch.tensor(2.0)), torch.log1p(torch.tensor(2.0).exp())  # cross-entropies of the two counted pixels
    wanted = (0.1 * same + 0.9 * changed) / (0.1 + 0.9)
    assert torch.isclose(shared.weighted_loss(logits, targets, 0.1), wanted)
    assert shared.weighted_loss(logits, targets * 0 + 255, 0.1) == 0


def test_the_backbones_statistics_stay_and_its_scales_learn():
    torch.manual_seed(0)
    network = METHOD(**SMALL).segmenter(build("resnet8", 10, 32)).train()
    before = copy.deepcopy(network.state_dict())
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    network(torch.randn(4, 6, 16, 16)).square().mean().backward()
    optimizer.step()
    changed = {name for name, item in network.state_dict().items() if not torch.equal(item, before[name])}
    assert not any("running" in name and name.startswith("backbone") for name in changed)
    assert any("running" in name and name.startswith("spatial") for name in changed)
    assert "backbone.parts.1.0.bn1.weight" in changed


def test_the_backbone_is_another_tasks_recorded_reference(suite_home):
    spec, record = fit_once("change_detection", "c3po")
    (parent,) = spec.references.values()
    assert record["parents"] == {"backbone": parent.id} and parent.id.startswith("cifar10/plain/")
    assert parent.seed == spec.seed and parent.source.kind == "embedded"
    assert record["budget"] == {"allowed": 48, "total": 48, "final": 48}
    assert record["scores"]["trivial_f1_image"] == 0 and record["scores"]["trivial_accuracy_global"] > 90
    assert record["profile"]["kernel"]["macs_share"] == 1.0 and record["profile"]["kernel"]["outside"] == []
    assert record["profile"]["input"] == [6, 64, 64]
    rival = plan.specs("change_detection", [("plain_change", {})], [spec.seed], "smoke").wanted[0]
    assert [item.id for item in rival.references.values()] == [parent.id]


def test_the_users_weights_replace_the_reference(tmp_path):
    classifier = build("resnet8", 7, 32)
    torch.save(classifier.state_dict(), tmp_path / "mine.pt")
    method = METHOD(**SMALL, weights=str(tmp_path / "mine.pt"))
    assert method.needs() == {}
    network = method.segmenter(shared.from_file("resnet8", method.weights))
    assert torch.equal(network.backbone.parts[0][0].weight, classifier.conv1.weight)
    with pytest.raises(UserError, match="is no state-dict of this network"):
        shared.from_file("resnet20", method.weights)
    with pytest.raises(UserError, match="'resnet8' has 4 feature maps, not 5; lower levels"):
        METHOD(**{**SMALL, "levels": 5}).segmenter(classifier)


def test_the_papers_network_is_the_same_class_with_other_options():
    method = METHOD()
    assert (method.arch, method.levels, method.width, method.head, method.rate) == ("resnet18", 4, 512, "deeplab", 1e-4)
    backbone = build("resnet18", 1000, 224)
    body = sum(item.numel() for item in backbone.parameters()) - 1000 * 513
    widths = 64, 128, 256, 512
    times = sum(27 * width**2 for width in widths)
    scales = sum(width * 512 + 512 + 9 * 512**2 + 512 for width in widths) + 9 * 4 * 512**2 + 2 * 512
    aspp = 2 * (512 * 256 + 512) + 3 * (9 * 512 * 256 + 512) + 5 * 256 * 256 + 512
    head = aspp + 9 * 256**2 + 512 + 2 * 256 + 2
    network = method.segmenter(backbone)
    assert sum(item.numel() for item in network.parameters()) == body + times + scales + head
    assert network.backbone.strides == [4, 4, 8, 16, 32]
    logits = network.train()(torch.randn(2, 6, 64, 96))
    assert logits.shape == (2, 2, 64, 96)
    logits.mean().backward()
    assert all(item.grad is not None for item in network.parameters())


def test_the_claims_limit_the_scenes_to_what_they_speak_of():
    kinds = {claim.name: claim.task_options["kinds"] for claim in METHOD.claims}
    assert kinds["disappear alone"] == "disappear" and kinds["appear needs its branch"] == "appear"
    assert all(claim.least_scale == "short" for claim in METHOD.claims)

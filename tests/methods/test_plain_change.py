"""The plain mergings: by hand, and that nothing but the merging differs from C-3PO."""

from __future__ import annotations

import importlib

import torch

from suite import plugins
from suite.nn import build
from suite.nn.pyramid import Pyramid
from suite.testing.contract import fit_once

METHOD, RIVAL = plugins.load("baselines", "plain_change"), plugins.load("baselines", "c3po")
module = importlib.import_module("suite.baselines.plain_change")
SMALL = {"arch": "resnet8", "pretrained": "cifar10", "levels": 2, "width": 8, "head": "fcn"}


def test_concatenation_by_hand():
    merge = module.Concatenation(1)
    merge.conv.weight.data = torch.tensor([2.0, -3.0]).view(1, 2, 1, 1)
    before, after = torch.full((1, 1, 2, 2), 5.0), torch.full((1, 1, 2, 2), 1.0)
    assert (merge(before, after) == 7).all() and (merge(after, before) == 0).all()  # relu(2 * 1 - 3 * 5)


def test_the_difference_sees_no_order():
    before, after = torch.randn(2, 1, 3, 4, 4)
    merge = module.Difference(3)
    assert torch.equal(merge(before, after), merge(after, before)) and merge(before, before).abs().max() == 0
    assert not list(merge.parameters())


def test_early_concatenation_of_equal_pictures_sees_what_the_classifier_saw():
    torch.manual_seed(0)
    pictures = torch.randn(2, 3, 16, 16)
    for arch in ("resnet8", "mobilenet_v2"):
        pyramid = Pyramid(build(arch, 10, 32)).eval()
        with torch.inference_mode():
            wanted = pyramid(pictures)
            found = module.six_channels(pyramid)(torch.cat([pictures, pictures], 1))
        assert all(torch.allclose(one, other, atol=1e-4) for one, other in zip(found, wanted, strict=True))


def test_only_the_merging_of_times_differs_from_c3po():
    def parts(network):
        return {name: item.shape for name, item in network.named_parameters() if not name.startswith("temporal")}

    mine, theirs = (method(**SMALL).segmenter(build("resnet8", 10, 32)) for method in (METHOD, RIVAL))
    assert parts(mine) == parts(theirs)
    early = METHOD(**SMALL, merge="early").segmenter(build("resnet8", 10, 32))
    differing = {name for name, shape in parts(early).items() if parts(mine)[name] != shape}
    assert differing == {"backbone.parts.0.0.weight"}


def test_it_is_the_reference_of_the_task_and_keeps_its_counts(suite_home):
    spec, record = fit_once("change_detection", "plain_change")
    assert plugins.load("tasks", "change_detection").reference == "plain_change"
    from suite.context import load

    counts = load(spec.artifact).spare["counts"]
    assert counts.shape == (200, 4) and (counts.sum(1) == 64 * 64).all()
    assert 0 < record["notes"]["changed_share"] < 0.2

"""White-Box: the guide by hand, the average folded exactly, one vote with a floor, labels in the forward pass alone."""

from __future__ import annotations

import importlib
from contextlib import nullcontext

import pytest
import torch
from torch import nn
from torch.nn import functional

from suite import plugins
from suite.cost import count
from suite.errors import UserError
from suite.nn import build
from suite.nn.streams import streams
from suite.testing.contract import fit_once
from suite.train import Batch

METHOD = plugins.load("baselines", "white_box")
method = importlib.import_module("suite.baselines.white_box")
module = importlib.import_module("suite.baselines._class_masks")


def masked(arch: str, before: bool, side: int = 32, classes: int = 3) -> nn.Module:
    """A network with statistics and masks of its own."""
    torch.manual_seed(0)
    network = build(arch, classes, side)
    for item in network.modules():
        if isinstance(item, nn.BatchNorm2d):
            item.running_mean.normal_(0, 0.1)
            item.running_var.uniform_(0.5, 1.5)
        if isinstance(item, nn.Conv2d) and item.bias is not None:
            item.bias.data.normal_()
    found = module.ClassMasks(network, module.inner(network, torch.zeros(1, 3, side, side)), classes, before)
    for mask in found.masks:
        mask.data.normal_(0.5, 0.3)
    return found.eval()


def test_a_samples_guide_is_its_classs_row_and_the_others_weighted_at_random():
    found = masked("resnet8", True)
    found.masks[0].data = torch.tensor([[1.0] * 16, [10.0] * 16, [100.0] * 16])
    found.labels = torch.tensor([0, 1, 2] * 400)
    guide = found.guide(0).detach()
    weights = [guide[row::3] - own for row, own in enumerate((1.0, 10.0, 100.0))]
    for rest, most in zip(weights, (110.0, 101.0, 11.0), strict=True):
        assert float(rest.min()) >= 0 and float(rest.max()) <= most
        assert float(rest.mean()) == pytest.approx(most / 2, rel=0.1)
        assert torch.equal(rest[:, 0], rest[:, 1]) and rest[:, 0].unique().numel() > 300  # by sample, not by channel
    assert not torch.equal(found.guide(0), guide)  # afresh in every layer and step
    found.labels = None
    assert (found.guide(0) == 55.5).all() and found.guide(0).shape == (1, 16)


def test_channels_are_scaled_before_the_normalisation_or_after_the_activation():
    for before in (True, False):
        found = masked("resnet8", before)
        block = found.network.layer1[0]
        images = torch.randn(2, 3, 32, 32)
        seen: dict[str, torch.Tensor] = {}
        block.bn1.register_forward_pre_hook(lambda layer, inputs, seen=seen: seen.update(norm=inputs[0]))
        block.relu.register_forward_hook(lambda layer, inputs, output, seen=seen: seen.setdefault("active", output))
        with torch.no_grad():
            found.network(images)
            plain = dict(seen)
            seen.clear()
            handles = []
            with found.attached():
                handles.append(block.conv2.register_forward_pre_hook(lambda layer, inputs, seen=seen: seen.update(read=inputs[0])))
                found.network(images)
            handles[0].remove()
        scale = found.guide(0)[:, :, None, None].detach()
        assert torch.allclose(seen["norm"], plain["norm"] * (scale if before else 1), atol=1e-5)
        if not before:
            assert torch.allclose(seen["read"], plain["active"] * scale, atol=1e-5)


@pytest.mark.parametrize("arch, before, side", [("resnet20", True, 32), ("vgg16", False, 32), ("mobilenet_v2", False, 64)])
def test_the_average_guide_is_folded_exactly(arch, before, side):
    found = masked(arch, before, side)
    images = torch.randn(2, 3, side, side)
    with torch.no_grad(), found.attached():
        wanted = found.network(images)
    with torch.no_grad():
        unscaled = found.network(images)
        found.fold()
        folded = found.network(images)
    assert float((folded - wanted).abs().max() / wanted.abs().max()) < 1e-5
    assert not torch.allclose(unscaled, wanted, rtol=1e-2)


def test_masks_lie_where_the_paper_has_them():
    widths = {arch: [item.channels for item in module.inner(build(arch, 10, side), torch.zeros(1, 3, side, side))]
              for arch, side in (("resnet20", 32), ("vgg16", 32), ("mobilenet_v2", 64), ("resnet50", 64))}
    assert widths["resnet20"] == [16] * 3 + [32] * 3 + [64] * 3
    assert widths["vgg16"] == [64, 64, 128, 128, 256, 256, 256, *[512] * 5]  # 12 of 13 convolutions
    assert len(widths["mobilenet_v2"]) == 17 and widths["mobilenet_v2"][0] == 32
    assert len(widths["resnet50"]) == 32


def test_the_sums_are_penalised_by_their_length_and_labels_reach_the_masks(monkeypatch):
    found = masked("resnet8", True)
    images, labels = torch.randn(6, 3, 32, 32), torch.tensor([0, 0, 0, 0, 0, 0])
    losses = {}
    def optimise(network, epoch_of, loss, run, **rest):
        torch.manual_seed(3)
        losses[penalty] = loss(Batch(images, labels, torch.arange(6)))

    monkeypatch.setattr(method, "optimise", optimise)
    class Run:
        device = "cpu"
        budget = type("Budget", (), {"allowed": 100})
        training: dict = {}

    class Setting:
        train, augment = range(10), None

    for penalty in (0.0, 2.0):
        METHOD(penalty=penalty).learn(found, Setting(), Run())
    lengths = sum(float(mask.detach().sum(0).norm()) for mask in found.masks)
    assert float(losses[2.0] - losses[0.0]) == pytest.approx(2 * lengths, rel=1e-3)
    # Without random weights for the others, a row of another class would get no gradient at all.
    with found.attached():
        functional.cross_entropy(found(images, labels), labels).backward()
    own, other = (found.masks[0].grad[row].abs().sum() for row in (0, 1))
    assert 0.2 < float(other / own) < 0.8


def test_one_vote_with_a_floor():
    network = build("resnet8", 10, 32)
    names = [item.writers[0] for item in module.inner(network, torch.zeros(1, 3, 32, 32))]
    scores = {name: torch.arange(16.0 * 2**row) + 1000 * (row == 2) for row, name in enumerate(names)}
    found = METHOD(macs=0.58).chosen(network, scores, torch.zeros(1, 3, 32, 32))
    kept = {stream.writers[0]: rows for stream, rows in found.kept.items()}
    assert kept[names[0]] == (11, 12, 13, 14, 15) and names[2] not in kept  # 30 % of 16, rounded up; the last layer outvotes all
    assert found.macs <= 0.58 * count(network, torch.zeros(1, 3, 32, 32)).macs


@pytest.mark.parametrize("before", [True, False])
def test_silencing_what_a_class_wants_is_felt_by_that_class(before, monkeypatch):
    found = masked("resnet8", before, classes=2)
    found.masks[-1].data = torch.zeros(2, 64)
    found.masks[-1].data[0, :6] = found.masks[-1].data[1, 6:12] = 1.0
    found.network.layer3[0].bn1.bias.data.fill_(3.0)  # a shift behind a mask that stands before it
    labels, images = torch.tensor([0, 0, 1, 1]), torch.randn(4, 3, 32, 32)
    setting = type("Setting", (), {"val": type("Images", (), {"labels": labels, "subset": lambda rows: None}), "normalise": None})

    def predict(network, data, normalise, run):
        seen = []
        handle = network.layer3[0].conv2.register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0]))
        network(images)
        handle.remove()
        silent = set((seen[0][:, :12] == 0).all(3).all(2).all(0).nonzero().flatten().tolist())
        right = torch.eye(2)[labels]
        wrong = {(): [], tuple(range(6)): [0, 1, 2], tuple(range(6, 12)): [2]}[tuple(sorted(silent))]
        right[wrong] = right[wrong].flip(1)
        return right

    monkeypatch.setattr(module, "predict", predict)
    with found.attached() if not before else nullcontext():
        # Without its channels class 0 loses all and the other half, class 1 loses half and the other nothing.
        assert module.class_drop(found, setting, None) == pytest.approx(100 * ((1.0 - 0.5) + (0.5 - 0.0)) / 2)


def test_l1_norms_rank_the_same_layers_relative_to_each(monkeypatch):
    network = build("resnet8", 10, 32)
    run = type("Run", (), {"reference": lambda self, arch: type("Artifact", (), {"module": network})})()
    setting = type("Setting", (), {"shape": (3, 32, 32)})
    scores = METHOD(arch="resnet8", score="l1", starts="reference").scored(setting, run)[1]
    assert list(scores) == [item.writers[0] for item in module.inner(network, torch.zeros(1, 3, 32, 32))]
    norms = network.layer2[0].conv1.weight.abs().sum((1, 2, 3))
    assert torch.allclose(scores["layer2.0.conv1"], norms / norms.square().mean().sqrt())
    with pytest.raises(UserError, match="add starts=reference"):
        METHOD(score="l1")


def test_what_it_cannot_do_is_said_before_anything_is_trained():
    run = type("Run", (), {"reference": lambda self, arch: type("Artifact", (), {"module": build(arch, 10, 32)})})()
    setting = type("Setting", (), {"shape": (3, 32, 32)})
    with pytest.raises(UserError, match="are wanted and .* remain"):
        METHOD(arch="resnet8", starts="reference", macs=0.2).scored(setting, run)
    with pytest.raises(UserError, match="'vit_ti_16' has no convolution between two others"):
        METHOD(arch="vit_ti_16", starts="reference").scored(setting, run)


def test_what_is_deployed_is_cut_to_the_macs_and_charged_as_its_rivals(suite_home):
    spec, record = fit_once("cifar10", "white_box", options={"arch": "resnet8", "macs": 0.6})
    _, rival = fit_once("cifar10", "l1_filter", options={"arch": "resnet8", "macs": 0.6})
    assert record["budget"]["total"] == rival["budget"]["total"]
    assert 0.58 < record["notes"]["macs_kept"] <= 0.6 and record["profile"]["kernel"]["outside"] == []
    assert {"masks_loss", "train_loss"} <= set(record["curves"]) and {"top1_of_mask_phase", "class_drop"} <= set(record["notes"])
    assert not any("masks" in name for name in torch.load(spec.artifact, weights_only=False).module.state_dict())


def test_the_cut_network_is_the_masked_one():
    found = masked("resnet20", True)
    found.fold()
    network = found.network
    names = {item.writers[0]: item.channels for item in streams(network, torch.zeros(1, 3, 32, 32)) if not item.residual}
    scores = {name: torch.rand(channels) for name, channels in names.items() if not name.startswith("fc")}
    decision = METHOD().chosen(network, scores, torch.zeros(1, 3, 32, 32))
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        with decision.masked(network):
            wanted = network(images)
        decision.apply(network)
        assert float((network(images) - wanted).abs().max() / wanted.abs().max()) < 1e-5

"""SCOP: the mixture and the scores by hand, gates alone that learn, knockoffs that know nothing of the image, the generator."""

from __future__ import annotations

import importlib

import pytest
import torch
from torch import nn

from suite import plugins
from suite.context import Budget, Run
from suite.errors import UserError
from suite.nn import build, prunable
from suite.testing.contract import fit_once
from suite.train import Batch

METHOD = plugins.load("baselines", "scop")
module = importlib.import_module("suite.baselines.scop")
dcgan = importlib.import_module("suite.baselines._dcgan")


class Squares:
    """12 grey images; image i has the grey 20 i, and label i % 2."""

    labels = torch.arange(12) % 2

    def __len__(self):
        return 12

    def batch(self, index, train, generator):
        return (20 * index).to(torch.uint8).view(-1, 1, 1, 1).repeat(1, 3, 8, 8)


class Setting:
    train = val = Squares()
    shape = (3, 8, 8)
    classes = 2

    @staticmethod
    def normalise(images):
        return images.float() / 255

    @staticmethod
    def augment(images, generator):
        return images.float() / 255


def small() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 6, 3, padding=1),
                         nn.BatchNorm2d(6), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 2))


def with_statistics(network: nn.Module) -> nn.Module:
    for item in network.modules():
        if isinstance(item, nn.BatchNorm2d):
            item.running_mean.normal_(0, 0.1)
            item.running_var.uniform_(0.5, 1.5)
            item.weight.data.uniform_(0.5, 1.5)
            item.bias.data.normal_(0, 0.1)
    return network


def run(tmp_path, allowed: int = 1000) -> Run:
    return Run(0, "smoke", Budget(allowed), tmp_path, tmp_path)


def test_real_outputs_are_mixed_with_the_knockoffs_and_those_stay():
    network = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.Identity())
    network[0].weight.data = torch.tensor([1.0, 10.0]).view(2, 1, 1, 1)
    gates = module.Gates(network, ["0"])
    assert torch.equal(gates.gates[0], torch.tensor([0.5, 0.5]))
    gates.gates[0].data = torch.tensor([0.25, 1.0])
    seen: list[torch.Tensor] = []
    network[1].register_forward_hook(lambda layer, inputs, output: seen.append(output))
    found = gates(torch.full((1, 1, 1, 1), 8.0), torch.full((1, 1, 1, 1), 4.0))
    assert found.flatten().tolist() == [0.25 * 8 + 0.75 * 4, 80.0] and len(found) == 1
    assert seen[0][1].flatten().tolist() == [4.0, 40.0]
    assert gates(torch.full((1, 1, 1, 1), 8.0)).flatten().tolist() == [2.0, 80.0]  # without the control it multiplies zero
    assert network(torch.ones(1, 1, 1, 1)).flatten().tolist() == [1.0, 10.0]  # nothing stays attached
    gates.gates[0].data = torch.tensor([-0.2, 1.3])
    gates.clip()
    assert gates.gates[0].tolist() == [0.0, 1.0]


def test_only_gates_learn_and_both_halves_are_charged(tmp_path):
    network, books = small(), run(tmp_path)
    before = {name: values.clone() for name, values in network.named_parameters()}
    found = METHOD(gate_share=0.2, gate_batch=4, knockoff="permuted").importance(network, Setting(), books)
    assert books.budget.total == 200 and len(books.curves["gates_loss"]) >= 1
    after = dict(network.named_parameters())
    assert all(torch.equal(values, after[name]) for name, values in before.items())
    assert not torch.equal(network[4].running_mean, torch.zeros(6))  # statistics are those of training
    assert set(found) == {"3"} and found["3"].shape == (6,)  # the stem is not pruned
    assert 0 <= books.notes["gates_mean"] <= 1 and books.notes["gates_mean"] != 0.5


def test_scores_are_gamma_times_what_is_preferred(tmp_path, monkeypatch):
    network = small()
    network[4].weight.data = torch.tensor([1.0, -2.0, 1.0, 1.0, 0.0, 3.0])
    preferred = torch.tensor([1.0, 0.75, 0.0, 0.5, 1.0, 0.25])
    monkeypatch.setattr(METHOD, "learn", lambda self, gates, setting, run: gates.gates[0].data.copy_(preferred))
    scored = {name: METHOD(score=name).importance(network, Setting(), run(tmp_path))["3"] for name in ("scop", "gate", "gamma", "l1")}
    assert scored["scop"].tolist() == [1.0, 1.0, -1.0, 0.0, 0.0, -1.5]
    assert scored["gate"].tolist() == [1.0, 1.5, 0.0, 0.5, 0.0, 0.75]
    assert scored["gamma"].tolist() == [1.0, 2.0, 1.0, 1.0, 0.0, 3.0]
    assert torch.allclose(scored["l1"], network[3].weight.detach().abs().sum((1, 2, 3)))


def test_a_gate_opens_where_the_real_feature_tells_the_class_and_closes_where_the_knockoff_does_as_well(tmp_path):
    """Filter 0 sees the grey that tells the class; filter 1 sees nothing, its feature is the same for all images."""
    class Bright(Squares):
        def batch(self, index, train, generator):
            return (200 * (index % 2)).to(torch.uint8).view(-1, 1, 1, 1).repeat(1, 3, 8, 8)

    class Told(Setting):
        train = val = Bright()

    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2), nn.ReLU(),
                            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2))
    network[0].weight.data = torch.eye(3).view(3, 3, 1, 1)
    network[3].weight.data = torch.tensor([[1.0, 1, 1], [0, 0, 0]]).view(2, 3, 1, 1)
    network[8].weight.data, network[8].bias.data = torch.tensor([[-2.0, 0.0], [2.0, 0.0]]), torch.tensor([1.0, -1.0])
    gates = module.Gates(network, ["3"])
    METHOD(gate_share=0.9, gate_batch=6, gate_rate=0.02, knockoff="permuted").learn(gates, Told(), run(tmp_path, 2000))
    told, untold = gates.gates[0].tolist()
    assert told > 0.9 and untold == pytest.approx(0.5, abs=0.1)


def test_a_permuted_knockoff_is_another_image_whatever_the_real_one_is(tmp_path):
    stand_in = METHOD(knockoff="permuted").knockoffs(Setting(), run(tmp_path))
    generator = torch.Generator().manual_seed(0)
    drawn = torch.cat([stand_in(6, generator)[:, 0, 0, 0] for _ in range(40)])
    assert len(drawn.unique()) == 12
    batch = Batch(torch.zeros(2, 3, 8, 8), torch.tensor([0, 1]), torch.tensor([3, 4]))
    real, knockoff = module.paired(lambda: batch, stand_in, generator).inputs
    assert torch.equal(real, batch.inputs) and knockoff.shape == real.shape


@pytest.mark.parametrize("arch, pairs", [("resnet8", {"layer2.0.conv1": "layer2.0.bn1", "layer2.0.conv2": "layer2.0.bn2"}),
                                         ("resnet18", {"layer2.0.downsample.0": "layer2.0.downsample.1"}),
                                         ("mobilenet_v2", {"features.2.conv.2": "features.2.conv.3"})])
def test_every_layer_knows_its_normalisation(arch, pairs):
    network = build(arch, 10, 64)
    found = module.norms_behind(network)
    assert pairs.items() <= found.items()
    assert all(item.name in found for item in prunable(network, torch.zeros(1, 3, 64, 64)) if item.stream)


@pytest.mark.parametrize("shape", [(3, 32, 32), (3, 48, 40), (1, 64, 64)])
def test_a_generator_of_any_size(shape):
    made = dcgan.Generator(shape)
    first, again = (made.eval().images(2, torch.Generator().manual_seed(1)) for _ in range(2))
    assert first.shape == (2, *shape) and first.dtype == torch.uint8 and torch.equal(first, again)
    assert dcgan.Discriminator(shape)(torch.zeros(2, *shape)).shape == (2,)


def test_the_generator_learns_the_greys_and_is_charged(tmp_path):
    class Grey(Squares):
        def batch(self, index, train, generator):
            return torch.full((len(index), 3, 8, 8), 230, dtype=torch.uint8)

    class Bright(Setting):
        train = Grey()

    books = run(tmp_path, 20_000)
    stand_in = METHOD(knockoff="generator", generator_share=0.12).knockoffs(Bright(), books)
    assert books.budget.total == 2400 and set(books.curves) == {"generator_loss", "generator_discriminator"}
    images = stand_in(8, torch.Generator().manual_seed(0))
    assert images.shape == (8, 3, 8, 8) and float(images.mean()) > 0.7  # 230 / 255 is 0.9; untrained about 0.5


def test_what_it_cannot_do_is_said_before_anything_is_trained():
    setting = type("Setting", (), {"shape": (3, 32, 32)})
    with pytest.raises(UserError, match="are wanted and .* remain"):
        METHOD(arch="resnet8", macs=0.001).importance(build("resnet8", 10, 32), setting, None)
    with pytest.raises(UserError, match="'vit_ti_16' has no convolution with a batch normalisation behind it"):
        METHOD(arch="vit_ti_16").importance(build("vit_ti_16", 10, 32), setting, None)
    with pytest.raises(UserError, match="gate_share=0.5 and generator_share=0.6 leave nothing to fine-tune with"):
        METHOD(knockoff="generator", gate_share=0.5, generator_share=0.6)


@pytest.mark.parametrize(("arch", "sums"), [("resnet8", False), ("resnet18", True)])
def test_the_cut_network_is_the_masked_one(arch, sums, tmp_path):
    network = with_statistics(build(arch, 2, 16))
    method = METHOD(arch=arch, score="scop", gate_batch=4)
    decision = method.chosen(network, method.importance(network, Setting(), run(tmp_path, 200)), torch.zeros(1, 3, 16, 16))
    assert any(stream.residual for stream in decision.kept) == sums
    images = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        with decision.masked(network.eval()):
            wanted = network(images)
        decision.apply(network)
        assert float((network(images) - wanted).abs().max() / wanted.abs().max()) < 1e-5


def test_rows_of_one_cost_and_one_budget(suite_home):
    found = [fit_once("cifar10", "scop", options={"arch": "resnet8", **more})[1] for more in ({}, {"score": "gamma"}, {"knockoff": "generator"})]
    totals = [item["budget"]["total"] for item in found]
    assert max(totals) - min(totals) < 32  # less than a step
    assert all(0.45 < item["notes"]["macs_kept"] <= 0.5 and item["profile"]["kernel"]["outside"] == [] for item in found)
    assert "gates_loss" in found[0]["curves"] and "gates_loss" not in found[1]["curves"] and "generator_loss" in found[2]["curves"]

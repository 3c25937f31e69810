"""Truncated decomposition: one rate for all layers, the best weights of that rank, and the MACs that were asked for."""

import copy

import pytest
import torch
from suite.baselines._reduced import Reducible

from suite import kernel, plugins
from suite.cost import count
from suite.errors import UserError
from suite.nn import build

SVD = plugins.load("baselines", "svd")
EXAMPLE = torch.zeros(1, 3, 32, 32)


class Ready:
    """A run whose reference is a random network."""

    def __init__(self, arch):
        torch.manual_seed(0)
        self.network, self.notes = build(arch, 10, 32).eval(), {}

    def reference(self, arch):
        return type("Artifact", (), {"module": copy.deepcopy(self.network)})

    def note(self, **values):
        self.notes.update(values)


def fitted(arch, monkeypatch, **options):
    run, setting = Ready(arch), type("Setting", (), {"shape": (3, 32, 32)})
    monkeypatch.setattr(SVD, "finetune", lambda self, network, setting, run: network)
    return run, SVD(arch=arch, **options).fit(setting, run)


@pytest.mark.parametrize("arch", ["resnet20", "cifar_vgg16", "mobilenet_v2"])
def test_half_of_the_macs_is_reached_from_below(arch, monkeypatch):
    run, after = fitted(arch, monkeypatch)
    share = count(after, EXAMPLE).macs / count(run.network, EXAMPLE).macs
    assert 0.49 < share <= 0.5 and run.notes == {"macs_kept": share}
    plan = kernel.lower(after, EXAMPLE)
    assert plan.outside == [] and plan.macs_share == 1.0


def test_every_layer_is_its_weight_of_largest_singular_values_at_one_rate(monkeypatch):
    run, after = fitted("resnet20", monkeypatch, macs=0.4)
    rates = []
    for name, layer in Reducible(run.network, EXAMPLE).layers.items():
        weight = run.network.get_submodule(name).weight.detach().flatten(1)
        first, second = after.get_submodule(name)
        values = torch.linalg.svdvals(weight)
        rank = first.out_channels
        assert first.kernel_size == (3, 3) and second.kernel_size == (1, 1)
        error = weight - second.weight.detach().flatten(1) @ first.weight.detach().flatten(1)
        assert float(error.square().sum()) == pytest.approx(float(values[rank:].square().sum()), rel=1e-3)
        rates.append((rank / (layer.dense / layer.positions / (layer.rows + layer.inputs * layer.taps)), 1 / rank))
    assert "layer1.0.conv1" in Reducible(run.network, EXAMPLE).layers and isinstance(after.conv1, torch.nn.Conv2d)
    assert max(rate for rate, _ in rates) - min(rate for rate, _ in rates) < 2 * max(step for _, step in rates)


def test_all_of_the_macs_leave_the_network_as_it_is(monkeypatch):
    run, after = fitted("resnet8", monkeypatch, macs=1.0)
    assert run.notes == {"macs_kept": 1.0} and [type(item) for item in after.modules()] == [type(item) for item in run.network.modules()]


def test_what_rank_one_cannot_reach_is_said(monkeypatch):
    with pytest.raises(UserError, match="are wanted and .* remain when all layers are reduced"):
        fitted("resnet8", monkeypatch, macs=0.01)
    with pytest.raises(UserError, match="'VisionTransformer' has no convolution behind its first"):
        fitted("vit_ti_16", monkeypatch)

"""LEC-Net: gate, penalty and distillation by hand, the forward pass in numpy, what moves, the cut, and resuming."""

from __future__ import annotations

import copy
import importlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from suite import plugins
from suite.context import Budget, Run
from suite.data.pictures import Stored
from suite.settings import Sessions
from suite.train import Normalise, loop

METHOD = plugins.load("baselines", "lec_net")
lec = importlib.import_module("suite.baselines.lec_net")
shared = importlib.import_module("suite.baselines._fscil")
WIDTH = 64  # of resnet8
SMALL = {"arch": "resnet8", "batch": 8, "rate": 0.05}


def sessions(ways: tuple[int, ...] = (4, 2, 2), shots: int = 4) -> Sessions:
    """`shots` images of noise of each class."""
    parts, first = [], 0
    for count in ways:
        labels = torch.arange(first, first + count).repeat(shots)
        pixels = torch.randint(0, 256, (len(labels), 3, 32, 32), generator=torch.Generator().manual_seed(first))
        parts.append((Stored(pixels.to(torch.uint8), labels), None))
        first += count
    normalise = Normalise((0.5,) * 3, (0.25,) * 3)
    return Sessions(parts, ways, shape=(3, 32, 32), augment=lambda images, _: normalise(images), normalise=normalise)


def allowed(epochs: int = 6) -> int:
    """A budget of half for the base session and half for `epochs` epochs in each of the two others."""
    return 2 * 2 * 8 * epochs


def fitted(tmp_path: Path, method, budget: int = allowed(), **more) -> tuple[list[nn.Module], Run]:
    run = Run(0, "smoke", Budget(budget), tmp_path, tmp_path, **more)
    return [artifact.module for artifact in method.fit(sessions(), run)], run


def expanded(ways: tuple[int, ...] = (2, 3)) -> nn.Module:
    """An untrained network of four base classes with expansions of random weights and gates."""
    torch.manual_seed(0)
    network = lec.ExpandingNetwork(shared.BaseNetwork("resnet8", 4, 32, 3.0), 0.6)
    network.requires_grad_(False).eval()
    for count in ways:
        item = network.expand(torch.rand(count, WIDTH))
        item.requires_grad_(False)
        item.auxiliary.weight.normal_()
        item.head.weight.normal_()
        item.gate.copy_(torch.rand(WIDTH))
    return network


# -- formulas --------------------------------------------------------------------------------------------------------------------


def test_the_gate_by_hand():
    alpha = lec.gate_of(torch.tensor([[1.0, -2.0], [3.0, 0.0]]), 3.0)  # means 2 and -1
    assert alpha.tolist() == pytest.approx([1 / (1 + np.exp(-6)), 1 / (1 + np.exp(3))])


def test_the_penalty_by_hand():
    alpha = torch.tensor([0.2, 0.6], requires_grad=True)
    assert lec.excess(alpha, torch.tensor(0.1)).item() == pytest.approx(0.3)
    assert lec.excess(alpha, torch.tensor(0.5)).item() == 0
    lec.excess(alpha, torch.tensor(0.0)).backward()
    assert alpha.grad.tolist() == [0.5, 0.5]


def test_the_distillation_by_hand():
    logits, before = np.array([[2.0, 0.0, 5.0], [1.0, 1.0, -4.0]]), np.array([[0.0, 2.0], [4.0, 0.0]])

    def soft(values):
        return np.exp(values / 2) / np.exp(values / 2).sum(1, keepdims=True)

    wanted = -(soft(before) * np.log(soft(logits[:, :2]))).sum(1).mean()  # over the old classes alone, T = 2, no T^2
    assert lec.distillation(torch.tensor(logits), torch.tensor(before), 2.0).item() == pytest.approx(wanted)


def test_the_forward_pass_in_numpy():
    network, features = expanded(), torch.randn(5, WIDTH)
    alpha = torch.rand(WIDTH)

    def direction(rows):
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    x = features.double().numpy()
    u = x @ network.nodes.weight.double().numpy().T
    parts = [direction(u) @ network.head.weight.double().numpy().T]
    base = shared.BaseNetwork("resnet8", 4, 32, 3.0)
    alone, scaled = lec.ExpandingNetwork(copy.deepcopy(base), 0.6), base.respond(features)
    assert torch.allclose(alone.respond(features), scaled, atol=1e-5)  # the base's factor has become a part of W_2
    for item, gate in zip(network.expansions, (network.expansions[0].gate, alpha), strict=True):
        a = x @ item.auxiliary.weight.double().numpy().T
        parts.append(direction(0.6 * u + gate.double().numpy() * a) @ item.head.weight.double().numpy().T)
    np.testing.assert_allclose(network.respond(features, alpha), np.concatenate(parts, 1), rtol=1e-4, atol=1e-4)
    stored = network.respond(features)
    network.expansions[1].gate.copy_(alpha)
    assert not torch.allclose(stored, network.respond(features))  # without alpha, the stored gates are used


def test_an_expansion_begins_as_the_base_nodes():
    network, means = expanded(()), torch.rand(2, WIDTH)
    new = network.expand(means)
    assert torch.equal(new.auxiliary.weight, network.nodes.weight) and new.auxiliary.weight is not network.nodes.weight
    response, length = means @ network.nodes.weight.T, network.head.weight.norm(dim=1).mean()
    assert torch.allclose(new.head.weight, length * response / response.norm(dim=1, keepdim=True), atol=1e-5)


# -- training --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("epochs, budget, wanted", [
    (8, allowed(8), [1, 1, 1, 1, 2, 3, 4, 5]), (8, allowed(4), [1, 1, 2, 4]), (4, allowed(8), [1, 1, 1, 1]),
])
def test_the_gate_sharpens_by_the_clock_and_its_last_state_is_stored(tmp_path, monkeypatch, epochs, budget, wanted):
    seen, gates = [], []

    def gate_of(activations, sharpness):
        seen.append(sharpness)
        assert len(activations) == 8  # the mean is over the batch: the whole session
        gates.append((sharpness * activations.mean(0)).sigmoid())
        return gates[-1]

    monkeypatch.setattr(lec, "gate_of", gate_of)
    method = METHOD(**SMALL, base_share=0.5, epochs=epochs, soft_epochs=3)
    walk = method.fit(sessions(), Run(0, "smoke", Budget(budget), tmp_path, tmp_path))
    next(walk)
    network = next(walk).module
    assert seen == pytest.approx(wanted)
    assert network.expansions[0].places.tolist() == torch.nonzero(gates[-1] >= lec.CLOSED).flatten().tolist()


def test_the_loss_of_the_first_step_by_hand(tmp_path):
    method = METHOD(**SMALL, base_share=0.5, epochs=1, penalty=0.1, temperature=2.0)
    run = Run(0, "smoke", Budget(allowed(1)), tmp_path, tmp_path)
    setting = sessions()
    walk = iter(setting)
    network = lec.ExpandingNetwork(method.train_base(next(walk), setting, run), 0.6)
    session = next(walk)
    features = shared.features_of(network.backbone, session, setting, run)
    start = copy.deepcopy(network)
    new = start.expand(shared.class_means(features, session.classes))
    before = network.respond(features.values)
    method.learn(network, session, setting, run)
    alpha = (features.values @ new.auxiliary.weight.T).mean(0).sigmoid()
    logits = start.respond(features.values, alpha)
    hard = nn.functional.cross_entropy(logits, features.labels)
    soft = -((before / 2).softmax(1) * (logits[:, :4] / 2).log_softmax(1)).sum(1).mean()
    ((_, loss),) = run.curves["session-1_loss"]
    assert loss == pytest.approx((hard + soft + 0.1 * alpha.mean()).item(), rel=1e-5)
    assert run.notes["kept_nodes"] == int((network.expansions[0].gate > 0.5).sum()) < run.notes["deployed_nodes"] == WIDTH
    assert run.notes["kept_share"] == pytest.approx(100 * run.notes["kept_nodes"] / WIDTH) == 100 - run.notes["closed_share"]


@pytest.mark.parametrize("heads", ["new", "all"])
def test_what_moves(tmp_path, heads):
    before, after = fitted(tmp_path, METHOD(**SMALL, base_share=0.5, heads=heads))[0][1:]
    same = {name: torch.equal(values, after.state_dict()[name]) for name, values in before.state_dict().items()}
    moved = {name for name in same if not same[name]}
    assert moved == ({"head.weight", "expansions.0.head.weight"} if heads == "all" else set())  # never the batch statistics


def test_distillation_looks_at_the_network_before_the_session(tmp_path, monkeypatch):
    shown = []

    def distillation(logits, before, temperature):
        shown.append((logits.detach()[:, : before.shape[1]].sum().item(), before.sum().item(), logits.shape[1], before.shape[1]))
        return logits.sum() * 0

    monkeypatch.setattr(lec, "distillation", distillation)
    fitted(tmp_path, METHOD(**SMALL, base_share=0.5, session_rate=0.1))
    assert [item[2:] for item in shown] == [(6, 4)] * 6 + [(8, 6)] * 6
    for steps in (shown[:6], shown[6:]):
        assert len({round(item[1], 3) for item in steps}) == 1  # the old network's logits stay
        assert len({round(item[0], 3) for item in steps}) > 1  # while the heads move


def test_r_stays_unless_it_is_learned(tmp_path):
    def kept(name: str, **options) -> dict:
        return fitted(tmp_path / name, METHOD(**SMALL, base_share=0.5, epochs=30, penalty=20, **options), allowed(30))[1].notes

    fixed, learned, free = kept("fixed"), kept("learned", learn_r=True), kept("free", gate=False)
    assert fixed["kept_share"] < learned["kept_share"] <= 100  # r rises until nothing is penalised
    assert free == {"kept_nodes": 2 * WIDTH, "kept_share": 100.0, "closed_share": 0.0, "deployed_nodes": 2 * WIDTH}


# -- the cut ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("closed", [0, 20, WIDTH])
def test_closed_nodes_are_cut_and_the_logits_stay(closed):
    network, images = expanded(), torch.randn(6, 3, 32, 32)
    for item in network.expansions:
        item.gate.clamp_(min=0.1)[torch.randperm(WIDTH)[:closed]] = 0.0
    cut = network.compressed()
    for item in cut.expansions:
        rows = item.auxiliary.weight.shape[0] if item.auxiliary else 0
        assert rows == WIDTH - closed and item.head.weight.shape[1] == WIDTH  # a node keeps gamma u, so H keeps its columns
    whole, small = network(images), cut(images)
    assert (whole - small).abs().max() < 1e-5 * whole.abs().max()
    size = sum(item.numel() for item in cut.parameters())
    assert size == sum(item.numel() for item in network.parameters()) - 1 - 2 * closed * WIDTH  # 1: r


def test_nearly_closed_nodes_cost_no_more_than_the_threshold():
    network, images = expanded(), torch.randn(6, 3, 32, 32)
    for item in network.expansions:
        item.gate[:32] = 0.99 * lec.CLOSED
        item.gate[32:] = 1.0
    cut = network.compressed()
    assert [len(item.places) for item in cut.expansions] == [32, 32]
    whole, small = network(images), cut(images)
    assert 0 < (whole - small).abs().max() < 10 * lec.CLOSED * whole.abs().max()
    network.expansions[0].head.weight.zero_()
    assert torch.equal(cut(images), small)  # the deployed network is independent of the one that learns on


def test_deployed_networks_cover_the_classes_so_far(tmp_path):
    networks = fitted(tmp_path, METHOD(**SMALL, base_share=0.5))[0]
    assert [network(torch.randn(2, 3, 32, 32)).shape[1] for network in networks] == [4, 6, 8]


# -- resuming --------------------------------------------------------------------------------------------------------------------


class Stopped(Exception):
    """Raised where a fit is to be stopped."""


@pytest.mark.parametrize("name, options", [("lec_net", {"learn_r": True}), ("finetune", {})])
def test_stopped_anywhere_it_goes_on_to_the_same_networks(tmp_path, monkeypatch, name, options):
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1.0)
    method = plugins.load("baselines", name)(**SMALL, base_share=0.5, **options)

    def outcome(folder: Path, stop: int = 0) -> Iterator[object]:
        reports = iter(range(1, 10_000))

        def report(what: str, done: int, total: int | None) -> None:
            if next(reports) == stop:
                raise Stopped

        networks, run = fitted(folder, method, allowed(3), report=report)
        return [network.state_dict() for network in networks], vars(run.budget), run.curves, run.notes, next(reports)

    whole = outcome(tmp_path / "whole")
    assert whole[1]["total"] == allowed(3) and whole[4] > 10
    for stop in range(1, whole[4]):
        with pytest.raises(Stopped):
            outcome(tmp_path / str(stop), stop)
        again = outcome(tmp_path / str(stop))
        assert again[1:4] == whole[1:4]
        for mine, other in zip(whole[0], again[0], strict=True):
            assert mine.keys() == other.keys() and all(torch.equal(mine[key], other[key]) for key in mine)

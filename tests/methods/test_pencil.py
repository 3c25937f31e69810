"""PENCIL: the losses and the gradient of a label by hand, the stages and rates by the clock, the labels' steps, and resuming."""

from __future__ import annotations

import importlib
import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from suite import plugins
from suite.artifacts import Network
from suite.context import Budget, Run
from suite.data.pictures import Stored
from suite.settings import Classification
from suite.testing import contract
from suite.train import Clock, loop

module = importlib.import_module("suite.baselines.pencil")
METHOD = plugins.load("baselines", "pencil")
K = 4


class Told(nn.Module):
    """Reads the logits off the picture: `sure` at the class that its first pixel names. One weight, so that there is a gradient."""

    def __init__(self, sure: float = 3.0) -> None:
        super().__init__()
        self.sure = nn.Parameter(torch.tensor(sure))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.sure * nn.functional.one_hot(inputs[:, 0, 0, 0].long(), K).float()


def setting(count: int = 8) -> Classification:
    """Pictures of their class; of the labels every fourth is wrong."""
    true = torch.arange(count) * 3 % K
    values = true.to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 16, 16).contiguous()
    images = Stored(values, torch.where(torch.arange(count) % 4 == 1, (true + 1) % K, true))
    return Classification(images, Stored(values, true), K, (3, 16, 16), lambda pixels, generator: pixels.float(), Tensor.float)


@pytest.fixture
def kept(monkeypatch) -> list[module.Labels]:
    """The labels that a fit makes, and `Told` as its network."""
    made = []

    class Watched(module.Labels):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            made.append(self)

    monkeypatch.setattr(module, "Labels", Watched)
    monkeypatch.setattr(module, "build", lambda *arguments: Told())
    return made


def context(folder, steps: int, size: int) -> Run:
    return Run(0, "smoke", Budget(steps * size), folder, folder)


def test_the_losses_by_hand():
    # Two classes. Image 1: f = (p, 1-p), y^d = (1/2, 1/2), label 0. Image 2: f = (1/2, 1/2), y^d = (q, 1-q), label 1.
    p, q = 1 / (1 + math.exp(-1)), 1 / (1 + math.exp(-2))
    found = module.losses(torch.tensor([[1.0, 0], [0, 0]]), torch.tensor([[0.0, 0], [2, 0]]), torch.tensor([0, 1]))
    entropy = -p * math.log(p) - (1 - p) * math.log(1 - p)
    assert float(found.entropy) == pytest.approx((entropy + math.log(2)) / 2)
    assert float(found.compatibility) == pytest.approx((math.log(2) - math.log(1 - q)) / 2)
    first, second = math.log(2) - entropy, -math.log(2) - 0.5 * math.log(q) - 0.5 * math.log(1 - q)  # the network first
    assert float(found.classification) == pytest.approx((first + second) / 2)
    twice = module.losses(torch.zeros(1, 2), torch.tensor([[2.0, 0]]), torch.tensor([1]), twice=True).compatibility
    assert float(twice) == pytest.approx(math.log(1 + math.exp(q - (1 - q))))  # at most ln(1 + e): bounded


def test_a_label_that_is_very_sure_has_finite_losses_and_gradients():
    rows = torch.tensor([[400.0, 0, -400]], requires_grad=True)
    found = module.losses(torch.tensor([[0.0, 5, 0]]), rows, torch.tensor([2]))
    sum(found).backward()
    assert torch.stack(found).isfinite().all() and rows.grad.isfinite().all() and found.compatibility.item() == 800


@pytest.mark.parametrize("twice", [False, True])
def test_the_gradient_of_a_label_by_its_formula(twice):
    draw = torch.Generator().manual_seed(0)
    logits, rows = (torch.randn(6, K, generator=draw, dtype=torch.float64) for _ in range(2))
    labels, alpha = torch.arange(6) % K, 0.3
    rows.requires_grad_()
    parts = module.losses(logits, rows, labels, twice)
    (parts.classification / K + alpha * parts.compatibility + 0.1 * parts.entropy / K).backward()
    given, network, noisy = rows.detach().softmax(1), logits.softmax(1), nn.functional.one_hot(labels, K)
    pull = given - noisy
    if twice:  # through the first softmax: diag(y) - y y^T
        outer = given.softmax(1) - noisy
        pull = given * outer - given * (given * outer).sum(1, keepdim=True)
    assert torch.allclose(rows.grad, (given - network) / (6 * K) + alpha * pull / 6)


@pytest.mark.parametrize("size", [8, 4])
def test_labels_move_in_the_second_stage_alone_and_by_the_formula(tmp_path, kept, size):
    data, run = setting(), context(tmp_path, 16 * 8 // size, size)
    method = METHOD(rate=0.0, last_rate=0.0, alpha=0.1, batch=size, pace=640.0, learned=0.25, corrected=0.625)
    found = method.fit(data, run)
    network = Told()(data.train.values.float()).softmax(1).detach()
    noisy = nn.functional.one_hot(data.train.labels, K).float()
    logits = 10 * noisy
    for _ in range(4, 10):  # of 16 epochs
        given = logits.softmax(1)  # 640 / 1280 (B K) times the gradient's 1 / (B K)
        logits = logits - 640 / 1280 * (given - network + 0.1 * K * (given - noisy))
    assert torch.allclose(kept[0].logits, logits, atol=1e-5)
    assert torch.equal(found.spare["labels"], logits.argmax(1))
    loss = [value for _, value in run.curves["train_loss"]]  # a mean over each epoch
    entropy = -(network * network.log()).sum(1).mean()
    assert loss[:4] == pytest.approx([float(-(noisy * network.log()).sum(1).mean())] * 4)
    first = (10 * noisy).log_softmax(1)
    agreement, bond = -entropy - (network * first).sum(1).mean(), -first[noisy.bool()].mean()
    assert loss[4] == pytest.approx(float(agreement / K + 0.1 * bond + 0.1 * entropy / K), rel=1e-5)
    assert loss[10:] == pytest.approx([float(-entropy - (network * logits.log_softmax(1)).sum(1).mean()) / K] * 6, rel=1e-4)


def test_wrong_labels_are_put_right_in_the_order_of_the_training_images(tmp_path, kept):
    data = setting(40)
    method = METHOD(rate=0.0, last_rate=0.0, alpha=0.01, batch=8, pace=3000.0)
    found = method.fit(data, context(tmp_path, 16 * 5, 8))
    assert not torch.equal(data.train.labels, data.val.labels) and torch.equal(found.spare["labels"], data.val.labels)
    assert found.spare["labels"].dtype == torch.int64


@pytest.mark.parametrize("twice, limit", [(False, 1 / K), (True, 2 / K)])
def test_a_label_follows_the_network_only_below_a_limit(twice, limit):
    """Without the second softmax it settles at (f / K + alpha y^) / (1 / K + alpha): the noisy one stays on top from 1 / K on."""
    for alpha, flips in ((0.8 * limit, True), (1.25 * limit, False)):
        rows = 10 * nn.functional.one_hot(torch.tensor([0]), K).float()
        for _ in range(800):
            rows.requires_grad_()
            parts = module.losses(torch.tensor([[0.0, 30, 0, 0]]), rows, torch.tensor([0]), twice)
            (gradient,) = torch.autograd.grad(parts.classification / K + alpha * parts.compatibility, rows)
            rows = (rows - 2 * gradient).detach()
        assert (int(rows.argmax()) == 1) == flips
        if not twice:
            assert float(rows.softmax(1)[0, 1]) == pytest.approx((1 / K) / (1 / K + alpha), abs=0.01)


def test_lambda_keeps_its_pace_with_other_batches_and_classes():
    method = METHOD(pace=600.0)
    assert method.step_size(128, 10) == 600
    assert method.step_size(32, 10) / (32 * 10) == method.step_size(128, 100) / (128 * 100) == pytest.approx(600 / 1280)


def test_rates_by_the_clock_and_a_momentum_that_goes_on():
    method, weight = METHOD(), nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([weight], lr=9.0, momentum=0.9)
    for epoch, rate in ((0, 0.06), (69, 0.06), (70, 0.06), (199, 0.06), (200, 0.2), (239, 0.2), (240, 0.02), (279, 0.02),
                        (280, 0.002), (319, 0.002)):
        before = weight.item()
        method._descend(optimizer, weight.sum() * (epoch == 0), Clock(epoch, 320, epoch))
        assert optimizer.param_groups[0]["lr"] == pytest.approx(rate)
        assert weight.item() < before  # by the first gradient alone, whatever the stage


def test_the_optimizer_is_the_papers(tmp_path, monkeypatch):
    given = {}
    monkeypatch.setattr(module, "train_noisy", lambda network, data, run, keep, update, **sizes: given.update(keep) or Network(network))
    METHOD(arch="resnet8").fit(setting(), context(tmp_path, 4, 8))
    usual = given["optimizer"].defaults
    assert (usual["momentum"], usual["weight_decay"], usual["nesterov"], usual["dampening"]) == (0.9, 1e-4, False, 0)


def test_a_run_killed_within_a_stage_goes_on_to_the_same_labels(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0)
    data = setting(32)

    def trained(name: str, dies_at: int = 0):
        calls = []

        def augment(pixels: Tensor, generator: torch.Generator) -> Tensor:
            calls.append(1)
            if len(calls) == dies_at:
                raise KeyboardInterrupt
            return pixels + torch.rand(pixels.shape, generator=generator)

        run = context(tmp_path / name, 12, 8)
        return METHOD(arch="resnet8", batch=8, looks=3, pace=5000.0).fit(replace(data, augment=augment), run), run

    whole, first = trained("whole")
    for dies_at in (6, 4):  # steps 5 and 7 of 12 are in the second stage, which ends behind 7.5
        with pytest.raises(KeyboardInterrupt):
            trained("killed", dies_at)
    again, second = trained("killed")
    assert torch.equal(whole.spare["labels"], again.spare["labels"])
    assert not torch.equal(whole.spare["labels"], data.train.labels)
    assert all(torch.equal(value, again.module.state_dict()[name]) for name, value in whole.module.state_dict().items())
    assert first.curves == second.curves and vars(first.budget) == vars(second.budget)


def test_the_record_has_the_share_recovered_and_the_network_alone_is_counted(suite_home):
    spec, record = contract.fit_once("noisy_labels", "pencil")
    contract.check_record(spec, record)
    contract.check_saved(spec)
    contract.check_resumes(spec)
    assert record["scores"]["clean_share"] == pytest.approx(55, abs=2) and record["scores"]["recovered"] >= 0
    assert record["budget"]["total"] == record["budget"]["final"] == 512 and record["profile"]["params"] < 100_000
    assert len(record["curves"]["val_top1"]) == 2

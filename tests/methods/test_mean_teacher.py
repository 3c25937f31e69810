"""Mean Teacher: the loss by hand, the running average, noise of its own, what the batches hold, and resuming."""

from __future__ import annotations

import copy
import importlib
import math

import pytest
import torch
from torch import nn

from suite import plugins
from suite.context import Budget, Run
from suite.data.windows import Standardise, Windows
from suite.settings import SemiSupervised
from suite.train import loop

shared = importlib.import_module("suite.baselines._mean_teacher")
METHOD = plugins.load("baselines", "mean_teacher")


def setting(labelled: int = 10, pool: int = 190) -> SemiSupervised:
    values = torch.randn(pool, 1, 9, 64, generator=torch.Generator().manual_seed(0))
    windows = Windows(values, torch.arange(pool) % 2)
    few = windows.subset(torch.arange(labelled))
    return SemiSupervised(few, windows.unlabelled(), windows.subset(torch.arange(20)), 2, (1, 9, 64),
                          Standardise((0.0,) * 9, (1.0,) * 9))


def test_the_loss_by_hand():
    # Two classes. Row 1 labelled: student 1/2, teacher (p, 1-p). Row 2 not labelled: both 1/2. Row 3: student q, teacher 1/2.
    p, q = 1 / (1 + math.exp(-1)), 1 / (1 + math.exp(-2))
    student, teacher = torch.tensor([[0.0, 0], [3, 3], [2, 0]]), torch.tensor([[1.0, 0], [0, 0], [5, 5]])
    supervised, agreement = shared.losses(student, teacher, torch.tensor([1, -1, -1]))
    assert float(supervised) == pytest.approx(math.log(2) / 3)  # divided by the whole batch, not by the one label in it
    assert float(agreement) == pytest.approx(((p - 0.5) ** 2 + (q - 0.5) ** 2) / 3, rel=1e-5)  # a mean over both classes


def test_a_batch_without_labels_has_no_supervised_loss_and_the_teacher_no_gradient():
    student, teacher = torch.randn(4, 3, requires_grad=True), torch.randn(4, 3, requires_grad=True)
    supervised, agreement = shared.losses(student, teacher, torch.full((4,), -1))
    (supervised + agreement).backward()
    assert supervised.item() == 0 and agreement.item() > 0
    assert student.grad.abs().sum() > 0 and teacher.grad is None


def test_the_average_by_hand():
    teacher, student = nn.Linear(1, 1), nn.Linear(1, 1)
    nn.init.constant_(teacher.weight, 2.0)
    nn.init.constant_(student.weight, 4.0)
    for wanted in (2.2, 2.38):  # 0.9 * 2 + 0.1 * 4, and again
        shared.follow(teacher, student, 0.9)
        assert teacher.weight.item() == pytest.approx(wanted)
    assert student.weight.item() == 4


def test_the_teacher_keeps_its_own_statistics():
    teacher, student = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    student(torch.randn(50, 2) + 7)
    before = copy.deepcopy(dict(teacher.named_buffers()))
    shared.follow(teacher, student, 0.5)
    assert all(torch.equal(before[name], values) for name, values in teacher.named_buffers())


def test_batches_are_drawn_from_everything_alike():
    data, method = setting(), METHOD(batch=100)
    drawn = [method.draw(data, torch.Generator().manual_seed(seed)) for seed in range(200)]
    assert all(len(part.targets) == len(part.inputs) == 100 for part in drawn)
    labelled = [int((part.targets >= 0).sum()) for part in drawn]
    assert abs(sum(labelled) / 200 - 100 * 10 / 200) < 0.4  # 100 * labelled / (pool + labelled), five times its deviation
    assert method.share(data) == 10 / 200
    assert min(labelled) < max(labelled)


def test_two_streams_have_a_fixed_number_of_labelled_windows():
    data, method = setting(), METHOD(batch=20, labelled=15)
    drawn = method.draw(data, torch.Generator().manual_seed(0))
    assert (drawn.targets >= 0).sum() == 15 and method.share(data) == 0.75
    rows = {row.tobytes(): label for row, label in zip(data.labelled.values.numpy(), data.labelled.labels.tolist(), strict=True)}
    for window, label in zip(drawn.inputs.numpy(), drawn.targets.tolist(), strict=True):
        assert label == -1 or rows[window.tobytes()] == label


class Listener(nn.Module):
    """A network that remembers what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(9 * 64, 2)
        self.seen: list[torch.Tensor] = []

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.seen.append(inputs.detach().clone())
        return self.fc(inputs.flatten(1))


def test_student_and_teacher_see_the_same_windows_under_noise_of_their_own(tmp_path):
    student, teacher, data = Listener(), Listener().requires_grad_(False), setting()
    method = METHOD(batch=50, noise=0.15)
    shared.train_pair(method, student, teacher, data, Run(0, "smoke", Budget(3 * 50), tmp_path, tmp_path))
    assert len(student.seen) == len(teacher.seen) == 3
    for step, (mine, other) in enumerate(zip(student.seen, teacher.seen, strict=True)):
        clean = method.draw(data, Run(0, "smoke", Budget(0), tmp_path, tmp_path).generator("draw", step)).inputs
        first, second = mine - clean, other - clean
        assert float(first.std()) == pytest.approx(0.15, rel=0.05) and float(second.std()) == pytest.approx(0.15, rel=0.05)
        assert abs(float((first * second).mean())) < 0.0015  # two draws: with the same noise it were 0.0225


def test_the_consistency_weight_by_hand(tmp_path, monkeypatch):
    # One step at t = 0 with known losses: the gradient of the agreement arrives times exp(-5) * 100 * 10 / 200.
    data, weights = setting(), []

    def losses(logits, wanted, targets):
        agreement = logits.sum() * 0 + torch.ones((), requires_grad=True)
        agreement.register_hook(lambda gradient: weights.append(float(gradient)))
        return logits.sum() * 0, agreement

    monkeypatch.setattr(shared, "losses", losses)
    student, teacher = Listener(), Listener().requires_grad_(False)
    shared.train_pair(METHOD(batch=10), student, teacher, data, Run(0, "smoke", Budget(100), tmp_path, tmp_path))
    assert weights[0] == pytest.approx(math.exp(-5) * 100 * 10 / 200) and weights[-1] == pytest.approx(5)


def test_a_killed_run_goes_on_to_the_same_weights(tmp_path, monkeypatch):
    def trained(name: str, dies_at: int = -1):
        run = Run(0, "smoke", Budget(6 * 20), tmp_path / name, tmp_path)
        method = METHOD(width=2, batch=20, decay=0.8)
        draws = []

        def draw(setting, generator):
            draws.append(1)
            if len(draws) == dies_at:
                raise KeyboardInterrupt
            return METHOD.draw(method, setting, generator)

        monkeypatch.setattr(method, "draw", draw, raising=False)
        return method.fit(setting(), run).module.state_dict(), run

    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1.0)
    whole, first = trained("whole")
    with pytest.raises(KeyboardInterrupt):
        trained("killed", dies_at=4)
    again, second = trained("killed")
    assert all(torch.equal(whole[name], again[name]) for name in whole)
    assert vars(first.budget) == vars(second.budget) and first.curves == second.curves

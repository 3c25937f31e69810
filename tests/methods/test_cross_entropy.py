"""Cross-entropy on noisy labels: the best network beside the last one, its looks, and resuming."""

from __future__ import annotations

import importlib

import pytest
import torch
from torch import nn

from suite import plugins
from suite.context import Budget, Run
from suite.data.pictures import Stored
from suite.settings import Classification
from suite.train import Clock, loop

shared = importlib.import_module("suite.baselines._noisy_labels")
METHOD = plugins.load("baselines", "cross_entropy")


def setting(count: int = 40) -> Classification:
    values = torch.randint(0, 256, (count, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images = Stored(values, torch.arange(count) % 4)
    return Classification(images, images.subset(torch.arange(20)), 4, (3, 16, 16), lambda pixels, generator: pixels / 255,
                          lambda pixels: pixels / 255)


class Scripted(nn.Module):
    """Gets the first `right` validation images right and says so in its weights."""

    def __init__(self) -> None:
        super().__init__()
        self.right = nn.Parameter(torch.zeros(()))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        labels = torch.arange(len(inputs)) % 4
        answers = torch.where(torch.arange(len(inputs)) < int(self.right), labels, (labels + 1) % 4)
        return nn.functional.one_hot(answers, 4).float()


def test_the_best_is_the_first_of_the_highest_at_its_looks(tmp_path):
    network, run = Scripted().train(), Run(0, "smoke", Budget(0), tmp_path, tmp_path)
    best = shared.Best(network, setting(), run, looks=4)
    for step, right in enumerate((0, 20, 5, 8, 0, 8, 0, 3)):  # of eight steps every second is looked at
        network.right.data.fill_(right)
        best.look(Clock(step, 8, 0))
        assert network.training
    assert run.curves["val_top1"] == [[2, 100.0], [4, 40.0], [6, 40.0], [8, 15.0]]
    assert best.top1 == 100 and best.weights["right"] == 20
    again = shared.Best(network, setting(), run, looks=4)
    again.load_state_dict(best.state_dict())
    network.right.data.fill_(10)
    again.look(Clock(7, 8, 0))
    assert again.top1 == 100 and again.weights["right"] == 20  # what was seen before the kill counts


def test_the_artifact_is_the_last_network_with_the_best_in_its_spare_also_after_a_kill(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0)
    kills = [2]

    def trained():
        network, run = Scripted(), Run(0, "smoke", Budget(4 * 10), tmp_path, tmp_path)

        def update(logits, batch, clock):
            if clock.step in kills:
                raise KeyboardInterrupt
            network.right.data.fill_((4, 16, 12, 8)[clock.step])
            assert network.training and logits.dtype == torch.float32
            return {"loss": 0.0}

        return shared.train_noisy(network, setting(), run, {}, update, batch=10, looks=4), run

    with pytest.raises(KeyboardInterrupt):
        trained()
    kills.clear()
    found, run = trained()
    assert found.module.right == 8 and found.spare["best"].right == 16
    assert not found.module.training and not found.spare["best"].training and found.spare["best"] is not found.module
    assert [top1 for _, top1 in run.curves["val_top1"]] == [20, 80, 60, 40]
    assert vars(run.budget) == {"allowed": 40, "total": 40, "final": 40}


def test_a_killed_run_goes_on_to_the_same_networks(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0)

    def trained(name: str, dies_at: int = 0):
        calls = []

        def augment(pixels, generator):
            calls.append(1)
            if len(calls) == dies_at:
                raise KeyboardInterrupt
            return pixels / 255 + torch.rand(1, generator=generator)

        run = Run(0, "smoke", Budget(8 * 16), tmp_path / name, tmp_path)
        data = setting()
        return METHOD(arch="resnet8", batch=16, looks=4).fit(type(data)(**{**vars(data), "augment": augment}), run), run

    whole, first = trained("whole")
    with pytest.raises(KeyboardInterrupt):
        trained("killed", dies_at=6)
    again, second = trained("killed")
    for one, other in ((whole.module, again.module), (whole.spare["best"], again.spare["best"])):
        assert all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())
    assert first.curves == second.curves and len(first.curves["val_top1"]) == 4 and vars(first.budget) == vars(second.budget)

"""The detectors' loop: mirrored targets, crowds left out, and a killed run that ends with the same weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from suite.context import Budget, Run
from suite.data import source
from suite.data.coco import Coco
from suite.nn import NarrowResNet
from suite.nn.detection import retinanet
from suite.paths import cache_folder
from suite.train import Recipe, loop, train_detector
from suite.train.detection import example


@pytest.fixture
def scenes(suite_home):
    dataset = Coco()
    return dataset.read(source.embedded_folder(dataset, cache_folder()), "train").subset(torch.arange(12))


def test_targets_are_mirrored_with_the_image_and_crowds_left_out(scenes):
    row = next(row for row in range(12) if scenes.target(row)["iscrowd"].any() and len(scenes.target(row)["labels"]) > 1)
    plain, mirrored = (example(scenes, row, mirror, masks=True) for mirror in (False, True))
    assert torch.equal(plain[0].flip(2), mirrored[0]) and float(plain[0].max()) <= 1
    assert len(plain[1]["labels"]) == int((scenes.target(row)["iscrowd"] == 0).sum())
    for mask, (left, top, right, bottom) in zip(mirrored[1]["masks"], mirrored[1]["boxes"].int().tolist(), strict=True):
        rows, columns = torch.nonzero(mask, as_tuple=True)
        assert [int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1] == [left, top, right, bottom]


def test_a_killed_run_goes_on_to_the_same_weights(scenes, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1.0)

    def trained(folder: str, kill_at: int) -> dict[str, torch.Tensor]:
        run = Run(0, "smoke", Budget(32), tmp_path / folder, tmp_path)
        torch.manual_seed(0)
        network = retinanet(NarrowResNet(2), 7, 64, width=8, anchor=2.0)
        calls = 0

        def loss(images, targets):
            nonlocal calls
            calls += 1
            if calls == kill_at:
                raise KeyboardInterrupt
            return sum(network(images, targets).values())

        try:
            train_detector(network, scenes, run, recipe=Recipe(rate=0.01, batch=4), masks=False, loss=loss)
        except KeyboardInterrupt:
            assert run.budget.total < 32
            return trained(folder, 0)
        assert run.budget.total == 32
        return network.state_dict()

    whole, killed = trained("whole", 0), trained("killed", 6)
    assert all(torch.isfinite(item).all() for item in whole.values())
    assert all(torch.equal(whole[name], killed[name]) for name in whole)
    assert (tmp_path / "killed" / "train.checkpoint.pt").exists()


def test_decoupled_decay_shrinks_weights_and_is_not_scaled_by_adam():
    for decoupled, wanted in ((True, 1 - 0.1 * 0.5), (False, 1 - 0.1)):  # w - rate * decay * w; Adam's first step is the whole rate
        layer = torch.nn.Linear(1, 1, bias=False)
        torch.nn.init.ones_(layer.weight)
        layer.weight.grad = torch.zeros_like(layer.weight)
        Recipe(rate=0.1, weight_decay=0.5, adam=True, decoupled=decoupled).optimizer(layer).step()
        assert layer.weight.item() == pytest.approx(wanted, abs=1e-5)

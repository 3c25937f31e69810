"""What the classification tasks score beside a method: the predictor that looks at nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from suite import plugins
from suite.artifacts import Network
from suite.context import Budget, Run
from suite.data import source
from suite.data.cifar import Cifar10


class Constant(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return torch.arange(10.0, 0.0, -1.0).expand(len(images), 10)


def test_the_trivial_predictor_names_the_most_frequent_classes(suite_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = plugins.load("tasks", "cifar10")()
    run = Run(0, "smoke", Budget(0), tmp_path, source.embedded_folder(Cifar10(), suite_home / "cache"))
    images = task.read(run, "test")
    chosen = images.subset(torch.cat([(images.labels == label).nonzero()[:count, 0] for label, count in ((0, 2), (1, 5), (2, 3))]))
    monkeypatch.setattr(type(task), "read", lambda self, run, split: chosen)
    scores = task.evaluate(Network(Constant()), run)
    assert (scores["top1"], scores["trivial_top1"], scores["trivial_top5"]) == pytest.approx((20.0, 50.0, 100.0))


def test_at_short_every_method_on_cifar_has_the_same_batches_and_crops_unless_its_user_chooses():
    from suite.options import build

    def made(name, scale, **chosen):
        return build(plugins.load("baselines", name), name, chosen, scale, build(plugins.load("tasks", "cifar10"), "cifar10", {}, scale))

    names = ("plain", "one_by_n", "l1_filter", "logit_kd", "ffsd", "mutual_learning")
    assert {made(name, "short").batch for name in names} == {32} and made("plain", "short", batch=16).batch == 16
    assert made("plain", "full").batch == 128 and made("plain", "short").rate == 0.05  # what the scale sets stays
    for name in ("cifar10", "cifar100", "noisy_labels", "fscil"):
        assert [build(plugins.load("tasks", name), name, {}, scale).padding for scale in ("short", "full")] == [2, 4]


def test_padding_is_that_of_the_augmentation():
    task = plugins.load("tasks", "cifar10")(padding=0)
    images = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    found = task.augment()(images, torch.Generator().manual_seed(0))
    still = task.augment().normalise(images)
    assert all(torch.equal(one, other) or torch.equal(one, other.flip(2)) for one, other in zip(found, still, strict=True))

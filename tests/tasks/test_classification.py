"""What the classification tasks score beside a method: the predictor that looks at nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from suite import plugins
from suite.artifacts import Network
from suite.data import source
from suite.data.cifar import Cifar10
from suite.run import Budget, Run


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

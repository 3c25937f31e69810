"""The supervised baseline: labelled windows alone, the paper's network, and what both methods of A*HAR share."""

from __future__ import annotations

import importlib
import math

import pytest
import torch
from torch import nn

from suite import plugins
from suite.context import Budget, Run
from suite.cost import count
from suite.data.windows import Standardise, Windows
from suite.nn.activity import ActivityCNN
from suite.settings import SemiSupervised

shared = importlib.import_module("suite.baselines._mean_teacher")
METHOD = plugins.load("baselines", "supervised_cnn")


def setting(labelled: int = 6, pool: int = 40) -> SemiSupervised:
    """Three classes that differ in their mean; the hundredth of a window's number is in its last sample."""
    labels = torch.arange(pool) % 3
    values = labels.view(-1, 1, 1, 1) + 0.3 * torch.randn(pool, 1, 9, 64, generator=torch.Generator().manual_seed(0))
    values[:, 0, 0, -1] = torch.arange(pool) / 100
    windows = Windows(values, labels)
    few = windows.subset(torch.arange(labelled))
    return SemiSupervised(few, windows.unlabelled(), windows, 3, (1, 9, 64), Standardise((0.0,) * 9, (1.0,) * 9))


def test_batches_hold_labelled_windows_alone():
    drawn = METHOD(batch=15).draw(setting(), torch.Generator().manual_seed(0))
    numbers = (100 * drawn.inputs[:, 0, 0, -1]).round().long()
    assert drawn.targets.tolist() == (numbers % 3).tolist()
    assert sorted(numbers.bincount().tolist()) == [2, 2, 2, 3, 3, 3]  # each as often as any other, within one


def test_the_papers_network():
    network = ActivityCNN(24)
    cost = count(network, torch.zeros(1, 1, 9, 64))
    weights = 9 * (128 + 128 * 128 + 128 * 256 + 256 * 256 + 2 * 256 * 256 + 256 * 512) + 512 * 256 + 256 * 128
    normalised = 2 * (2 * 128 + 2 * 256 + 2 * 256 + 512 + 256 + 128)
    assert cost.params == weights + normalised + 128 * 24 + 24
    macs = 9 * (9 * 64 * (128 + 128 * 128) + 9 * 32 * (128 * 256 + 256 * 256) + 9 * 16 * 2 * 256 * 256)
    assert cost.macs == macs + 7 * 6 * (9 * 256 * 512 + 512 * 256 + 256 * 128) + 128 * 24
    sizes = [tuple(layer.output[1:]) for layer in cost.layers if layer.kind == "Conv2d"]
    assert sizes == [(128, 9, 64)] * 2 + [(256, 9, 32)] * 2 + [(256, 9, 16)] * 2 + [(512, 7, 6), (256, 7, 6), (128, 7, 6)]
    assert {module.negative_slope for module in network.modules() if isinstance(module, nn.LeakyReLU)} == {0.1}
    assert [module.p for module in network.modules() if isinstance(module, nn.Dropout)] == [0.5] * 3


def test_the_papers_configuration_makes_a_step(tmp_path):
    method = METHOD(batch=4)
    assert (method.width, method.rate, method.decay, method.consistency, method.noise) == (128, 0.003, 0.999, 100, 0.15)
    run = Run(0, "full", Budget(4), tmp_path, tmp_path)
    made = method.fit(setting(), run)
    assert made.module(torch.zeros(2, 1, 9, 64)).shape == (2, 3) and not made.module.training and run.budget.total == 4


def test_the_ramps_by_hand():
    # The paper's run: 37,500 steps, up over 10,000, down over the last 6,250.
    assert shared.rise(0, 10_000) == pytest.approx(math.exp(-5)) and shared.rise(5_000, 10_000) == pytest.approx(math.exp(-1.25))
    assert shared.rise(10_000, 10_000) == shared.rise(37_499, 10_000) == 1
    assert shared.fall(31_250, 37_500, 6_250) == shared.fall(0, 37_500, 6_250) == 1
    assert shared.fall(34_375, 37_500, 6_250) == pytest.approx(math.exp(-12.5 / 4))
    assert shared.fall(37_499, 37_500, 6_250) == pytest.approx(math.exp(-12.5 * (1 - 1 / 6_250) ** 2))
    assert METHOD().rampup * 37_500 == pytest.approx(10_000) and METHOD().rampdown * 37_500 == pytest.approx(6_250)


def test_no_ramp_at_all_is_allowed():
    assert shared.rise(0, 0.0) == 1 and shared.fall(9, 10, 0.0) == 1


def test_it_learns_from_labels(tmp_path):
    run = Run(0, "smoke", Budget(48 * 16), tmp_path, tmp_path)
    data = setting(labelled=12)
    made = METHOD(width=8, batch=16, decay=0.8, dropout=0.1).fit(data, run)
    assert run.notes["val_macro_f1"] > 80 and run.notes["labelled"] == 12
    assert shared.validated(made.module, data, run) == run.notes["val_macro_f1"]

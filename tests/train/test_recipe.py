"""Schedules against torch's own, optimizers, groups, and the arithmetic of the forward pass."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from suite.context import Budget, Run
from suite.train import Recipe, autocast, precision

STEPS = 200


def rates(recipe: Recipe) -> list[float]:
    return [recipe.rate_at((step + 1) / STEPS) for step in range(STEPS)]


def torchs(make) -> list[float]:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler, found = make(optimizer), []
    for _ in range(STEPS):
        optimizer.step()
        scheduler.step()
        found.append(optimizer.param_groups[0]["lr"])
    return found


@pytest.mark.parametrize(("recipe", "make"), [
    (Recipe(warmup=0), lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, STEPS)),
    (Recipe(warmup=0, schedule="poly", power=0.9), lambda optimizer: lr_scheduler.PolynomialLR(optimizer, STEPS, 0.9)),
    (Recipe(warmup=0, schedule="linear"), lambda optimizer: lr_scheduler.LinearLR(optimizer, 1, 1e-9, STEPS)),
    (Recipe(warmup=0, schedule="constant"), lambda optimizer: lr_scheduler.ConstantLR(optimizer, 1)),
])
def test_schedules_are_torchs(recipe, make):
    assert rates(recipe) == pytest.approx(torchs(make), abs=1e-8)


def test_steps_fall_behind_their_milestones():
    # Half-way is the end of step 100 of 200: it still has the old rate, the step after it the new one.
    found = rates(Recipe(rate=1.0, warmup=0, schedule="steps", milestones=(0.5, 0.75)))
    assert found[:100] == [1.0] * 100 and found[100:150] == pytest.approx([0.1] * 50) and found[150:] == pytest.approx([0.01] * 50)


def test_one_cycle_starts_peaks_and_ends_as_torchs():
    found = rates(Recipe(rate=0.1, warmup=0.3, schedule="one-cycle"))
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler = lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=STEPS + 1, pct_start=0.3, cycle_momentum=False)
    theirs = []
    for _ in range(STEPS):
        optimizer.step()
        scheduler.step()
        theirs.append(optimizer.param_groups[0]["lr"])
    assert found == pytest.approx(theirs, abs=1.5e-3)  # torch's phases end a step earlier
    assert max(found) == pytest.approx(0.1) and found[-1] == pytest.approx(0.1 / 250_000)


def test_warm_up_rises_in_a_line_and_joins_the_schedule():
    recipe = Recipe(rate=1.0, warmup=0.25)
    assert recipe.rate_at(0.125) == 0.5 and recipe.rate_at(0.25) == 1.0 and recipe.rate_at(1.0) == pytest.approx(0.0)
    assert recipe.rate_at(0.625) == pytest.approx(0.5 * (1 + math.cos(math.pi / 2)))


def test_a_groups_scale_multiplies_its_rate():
    slow, fast = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
    recipe = Recipe(rate=0.5, warmup=0, schedule="constant", momentum=0, weight_decay=0)
    optimizer = recipe.optimizer([{"params": [slow], "scale": 0.1}, {"params": [fast]}])
    recipe.descend(optimizer, slow.sum() + fast.sum(), 0.5)
    assert float(slow) == pytest.approx(0.95) and float(fast) == pytest.approx(0.5)


def test_long_gradients_are_cut():
    weight = nn.Parameter(torch.zeros(4))
    recipe = Recipe(rate=1.0, warmup=0, schedule="constant", momentum=0, weight_decay=0, longest=1.0)
    recipe.descend(recipe.optimizer([{"params": [weight]}]), (weight * 100).sum(), 0.5)
    assert float(weight.norm()) == pytest.approx(1.0, abs=1e-4)


def test_adams_betas_and_sgds_dampening_arrive():
    network = nn.Linear(2, 2)
    assert Recipe(adam=True, betas=(0.5, 0.99)).optimizer(network).defaults["betas"] == (0.5, 0.99)
    damped = Recipe(dampening=0.5).optimizer(network).defaults
    assert damped["dampening"] == 0.5 and not damped["nesterov"]
    assert Recipe().optimizer(network).defaults["nesterov"]


@pytest.mark.parametrize(("amx", "bf16", "kind"), [
    (True, True, torch.bfloat16), (False, True, torch.bfloat16), (True, False, torch.bfloat16), (False, False, torch.float32)])
def test_precision_is_what_the_processor_multiplies_faster_and_the_run_says_which(tmp_path, monkeypatch, amx, bf16, kind):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: bf16)
    assert precision("cpu") == kind and precision("cuda") == torch.bfloat16
    run = Run(0, "smoke", Budget(0), tmp_path, tmp_path)
    with autocast(run):
        assert nn.Linear(4, 4)(torch.ones(1, 4)).dtype == kind
    assert run.training == {"precision": str(kind).removeprefix("torch.")}
    with autocast(run, exact=True):
        assert nn.Linear(4, 4)(torch.ones(1, 4)).dtype == torch.float32
    assert run.training == {"precision": "float32"}

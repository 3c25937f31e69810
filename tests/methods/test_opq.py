"""OPQ (our derivation): both allocations against a literal search, the codebook without zero, gradients straight through, bits."""

from __future__ import annotations

import importlib
import math

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from torch import nn

from suite import plugins
from suite.context import Budget, Run, load
from suite.errors import UserError
from suite.testing.contract import fit_once

METHOD = plugins.load("baselines", "opq")
module = importlib.import_module("suite.baselines.opq")


def laplace(*scales: float, count: int = 20_000) -> dict[str, torch.Tensor]:
    """Weights of layers whose density is Laplace's of these scales."""
    draw = np.random.default_rng(0)
    return {f"layer{row}": torch.from_numpy(draw.laplace(0, scale, count * (row + 1))).float() for row, scale in enumerate(scales)}


def run(tmp_path) -> Run:
    return Run(0, "smoke", Budget(0), tmp_path, tmp_path)


def test_one_threshold_is_the_least_error_at_a_given_sparsity():
    """Against other thresholds of the layers that keep as many weights."""
    weights = laplace(0.02, 0.1, 0.05)
    counts = np.array([item.numel() for item in weights.values()])
    scales = np.array([float(item.abs().mean()) for item in weights.values()])
    found = np.array([*METHOD(sparsity=0.8, ends=0.0).shares(weights).values()])
    assert (found * counts).sum() == pytest.approx(0.2 * counts.sum(), rel=1e-6)
    thresholds = -scales * np.log(found)
    assert np.ptp(thresholds) < 1e-6 * thresholds.max() and found[1] > found[2] > found[0]
    beta = brentq(lambda beta: (counts * np.exp(-beta / scales)).sum() - 0.2 * counts.sum(), 1e-6, 10)
    assert thresholds[0] == pytest.approx(beta, rel=1e-6)

    def error(betas: np.ndarray) -> float:
        x = betas / scales
        return float((counts * scales**2 * (2 - np.exp(-x) * (x**2 + 2 * x + 2))).sum())

    draw = np.random.default_rng(1)
    for _ in range(200):  # whatever two layers do, the third makes the sum what it has to be
        first, second = thresholds[:2] * draw.uniform(0.6, 1.4, 2)
        left = 0.2 * counts.sum() - (counts[:2] * np.exp(-np.array([first, second]) / scales[:2])).sum()
        if 0 < left < counts[2]:
            third = -scales[2] * math.log(left / counts[2])
            assert error(np.array([first, second, third])) >= error(thresholds) * (1 - 1e-9)


def test_the_first_and_the_last_layer_keep_their_least_and_the_sum_holds():
    weights = laplace(0.02, 0.1, 0.02)
    shares = METHOD(sparsity=0.6, ends=0.5).shares(weights)
    counts = {name: item.numel() for name, item in weights.items()}
    assert shares["layer0"] == 0.5 and shares["layer2"] == 0.5
    assert sum(shares[name] * counts[name] for name in counts) == pytest.approx(0.4 * sum(counts.values()), rel=1e-6)
    uniform = METHOD(sparsity=0.6, ends=0.0, pruned_by="uniform").shares(weights)
    assert all(share == pytest.approx(0.4) for share in uniform.values())
    with pytest.raises(UserError, match="the first and the last layer alone keep .* with ends=0.5; choose smaller ends"):
        METHOD(sparsity=0.9, ends=0.5).shares(weights)
    least = METHOD(sparsity=0.99, ends=0.0).shares({"small": weights["layer0"] / 1000, "large": weights["layer1"]})
    assert least["small"] == 1 / counts["layer0"]  # a layer never goes as a whole


def test_one_step_spends_the_bits_exactly_and_loses_least(tmp_path):
    weights = laplace(0.02, 0.1, 0.05)
    masks = {name: torch.ones_like(item) for name, item in weights.items()}
    counts = {name: item.numel() for name, item in weights.items()}
    scales = {name: float(item.abs().mean()) for name, item in weights.items()}
    def rate(steps: dict[str, float]) -> float:
        return sum(counts[name] * math.log2(2 * math.e * scales[name] / steps[name]) for name in counts) / sum(counts.values())

    found = {name: METHOD(bits=5.0, coded_by=name).steps(weights, masks) for name in ("common", "energy", "uniform", "range")}
    assert rate(found["common"]) == pytest.approx(5.0, abs=1e-9) and len(set(found["common"].values())) == 1
    bits, lost = {}, {}
    for name, steps in found.items():  # as they are stored, not as a density would have it
        coded = {layer: torch.where(item < 0, -1.0, 1.0) * (item.abs() / steps[layer]).round().clamp(min=1) for layer, item in weights.items()}
        bits[name] = sum(counts[layer] * module.entropy(item) for layer, item in coded.items())
        lost[name] = sum(float((item - coded[layer] * steps[layer]).square().sum()) for layer, item in weights.items())
    assert all(spent == pytest.approx(bits["common"], rel=1e-3) for spent in bits.values())
    assert all(lost["common"] < lost[name] for name in ("energy", "uniform", "range"))
    for name, sizes in {"energy": {layer: float(item.norm()) for layer, item in weights.items()}, "uniform": scales,
                        "range": {layer: float(item.abs().max()) for layer, item in weights.items()}}.items():
        ratios = [found[name][layer] / sizes[layer] for layer in counts]
        assert max(ratios) == pytest.approx(min(ratios))


def test_entropy_of_a_coded_laplace_density_is_what_the_allocation_takes_it_for(tmp_path):
    weights = laplace(0.05, 0.05)
    books = run(tmp_path)
    codes = METHOD(sparsity=0.0, bits=5.0, ends=0.0).codes(weights, books)
    numbers = codes["layer1"].numbers(weights["layer1"])
    assert module.entropy(numbers) == pytest.approx(5.0, abs=0.2)  # a little less, as there is no zero
    assert books.notes["pruning_error"] == 0 and books.notes["sparsity"] == 0
    lost = {name: (codes[name](weight) - weight).square() for name, weight in weights.items()}
    assert books.notes["coding_error"] == pytest.approx(float(sum(item.double().sum() for item in lost.values())), rel=1e-4)
    step, large = codes["layer1"].step, weights["layer1"].abs() > codes["layer1"].step / 2
    assert float(lost["layer1"][large].mean()) == pytest.approx(step**2 / 12, rel=0.02)


def test_codes_have_no_zero_and_gradients_go_straight_to_what_is_left():
    weight = torch.tensor([0.04, -0.04, 0.26, -0.9, 0.5, 5.0], requires_grad=True)
    code = module.Code(torch.tensor([1.0, 1, 1, 1, 0, 1]), step=0.1, levels=20)
    assert code.numbers(weight.detach()).tolist() == [1, -1, 3, -9, 0, 20]
    found = code(weight)
    assert torch.allclose(found, torch.tensor([0.1, -0.1, 0.3, -0.9, 0.0, 2.0]))
    (found * torch.arange(1.0, 7)).sum().backward()
    assert weight.grad.tolist() == [1, 2, 3, 4, 0, 6]


def test_stored_bits_by_hand():
    numbers = torch.tensor([1, 1, -1, -1, 0, 0, 0, 0], dtype=torch.int32)
    assert module.entropy(numbers) == pytest.approx(1.5)
    assert module.stored_bits(numbers) == pytest.approx(4 * 1 + 8 * 1 + 32)
    assert module.stored_bits(torch.tensor([7, 7])) == 32


def test_masks_and_steps_are_frozen_before_training(suite_home):
    spec, record = fit_once("cifar10", "opq", options={"arch": "resnet8", "sparsity": 0.8, "bits": 4.0})
    network = load(spec.artifact).module
    (parent,) = spec.references.values()
    trained = {name: item.weight.detach() for name, item in load(parent.artifact).module.named_modules()
               if isinstance(item, (nn.Conv2d, nn.Linear))}
    method = METHOD(sparsity=0.8, bits=4.0)
    shares = method.shares(trained)
    codes = method.codes(trained, Run(0, "smoke", Budget(0), spec.artifact.parent, spec.artifact.parent))
    moved = False
    for name, before in trained.items():
        after = network.get_submodule(name).weight.detach()
        assert torch.equal(after != 0, module.lowest(before.abs(), 1 - shares[name]).bool())
        levels = after / codes[name].step
        assert torch.allclose(levels, levels.round(), atol=1e-3) and float(levels.abs().max()) <= codes[name].levels + 1e-3
        moved |= not torch.equal(after, codes[name](before))
    assert moved and record["notes"]["sparsity"] == pytest.approx(0.8, abs=1e-3)
    stored = load(spec.artifact).stored
    assert record["profile"]["bytes_packed"] == stored < 0.2 * record["profile"]["bytes_dense"]
    assert record["notes"]["rate_honest"] > 5 and set(record["notes"]["bits_by_layer"]) == set(trained)

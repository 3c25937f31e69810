"""Lottery Jackpots: rates by one threshold, gradients straight through to the scores, flips in pairs, frozen weights."""

from __future__ import annotations

import importlib

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from suite import plugins
from suite.context import Budget, Run, load
from suite.nn import Prunable
from suite.testing.contract import fit_once

METHOD = plugins.load("baselines", "lottery_jackpots")
module = importlib.import_module("suite.baselines.lottery_jackpots")


def two() -> tuple[nn.Module, list[Prunable]]:
    network = nn.Sequential(nn.Conv2d(1, 4, 1, bias=False), nn.Conv2d(4, 1, 1, bias=False))
    network[0].weight.data = torch.tensor([1.0, -2.0, 30.0, 40.0]).view(4, 1, 1, 1)
    network[1].weight.data = torch.tensor([-3.0, 4.0, 5.0, 60.0]).view(1, 4, 1, 1)
    return network, [Prunable("0", False, None), Prunable("1", False, None)]


def run(tmp_path) -> Run:
    return Run(0, "smoke", Budget(100), tmp_path, tmp_path)


def test_layers_rates_by_one_threshold_or_all_the_same(tmp_path):
    network, layers = two()
    books = run(tmp_path)
    first, second = METHOD(sparsity=0.5).masks(network, layers, books)
    assert first.on.flatten().tolist() == [False, False, True, True]  # 30, 40, 60 and 5 are the four largest
    assert second.on.flatten().tolist() == [False, False, True, True]
    assert books.notes["sparsity"] == 0.5
    network, layers = two()
    masks = METHOD(sparsity=0.625).masks(network, layers, books)
    assert [mask.on.flatten().tolist() for mask in masks] == [[False, False, True, True], [False, False, False, True]]
    assert books.notes["kept_by_layer"] == {"0": 0.5, "1": 0.25}
    network, layers = two()
    masks = METHOD(sparsity=0.25, shares="uniform").masks(network, layers, books)
    assert [int(mask.on.sum()) for mask in masks] == [3, 3] and not masks[0].on[0].any()
    network, layers = two()
    masks = METHOD(sparsity=0.625, start="random").masks(network, layers, books)
    assert [int(mask.on.sum()) for mask in masks] == [2, 1]


def test_scores_begin_behind_and_get_the_gradient_of_the_product_with_the_weight():
    weight, on = torch.tensor([2.0, -3.0, 5.0]), torch.tensor([True, False, True])
    mask = module.ScoredMask(on, 0.99)
    assert torch.equal(mask.scores.detach(), torch.tensor([1.0, 0.99, 1.0]))
    found = mask(weight)
    assert found.tolist() == [2.0, 0.0, 5.0]
    (found * torch.tensor([1.0, 10.0, 100.0])).sum().backward()
    assert mask.scores.grad.tolist() == [2.0, -30.0, 500.0]  # those that are off as well


def test_flips_are_restrained_and_in_pairs():
    mask = module.ScoredMask(torch.tensor([True, True, True, False, False, False]), 0.99)
    mask.scores.data = torch.tensor([0.5, 0.2, 0.3, 0.9, 0.6, 0.8])  # all three would change sides
    assert mask.flip(0.3) == 1
    assert mask.on.tolist() == [True, False, True, True, False, False]  # the highest score in, the lowest out
    assert mask.flip(0.4) == 1
    assert mask.on.tolist() == [True, False, False, True, False, True]
    assert mask.flip(1.0) == 1 and mask.on.tolist() == [False, False, False, True, True, True]
    assert mask.flip(1.0) == 0


@given(st.lists(st.sampled_from([0.0, 0.5, 0.99, 1.0]), min_size=2, max_size=12), st.floats(0, 1), st.data())
def test_no_flip_changes_the_sparsity(scores, share, data):
    on = torch.tensor(data.draw(st.lists(st.booleans(), min_size=len(scores), max_size=len(scores))))
    mask = module.ScoredMask(on.clone(), 0.99)
    mask.scores.data = torch.tensor(scores)
    mask.flip(share)
    assert int(mask.on.sum()) == int(on.sum())
    mask.flip(1.0)
    kept, gone = mask.scores[mask.on], mask.scores[~mask.on]
    assert not len(kept) or not len(gone) or kept.min() >= gone.max()


def test_weights_are_frozen_and_zeros_deployed(suite_home):
    """What is left of the reference is exactly its weights, where nothing tunes them; statistics go on."""
    spec, record = fit_once("cifar10", "lottery_jackpots")
    (parent,) = spec.references.values()
    found, trained = (load(item.artifact).module.state_dict() for item in (spec, parent))
    assert found.keys() == trained.keys()
    zeros = 0
    for name, values in found.items():
        if name.endswith(("running_mean", "running_var", "num_batches_tracked")):
            assert name.endswith("tracked") or not torch.equal(values, trained[name])
        else:
            kept = values != 0
            assert torch.equal(values[kept], trained[name][kept])
            zeros += int((~kept).sum())
    assert record["notes"]["sparsity"] == pytest.approx(0.9, abs=1e-3) and zeros > 0.85 * sum(map(torch.numel, found.values())) * 0.9
    assert record["budget"]["total"] == 256 and {"search_loss", "search_flips"} == set(record["curves"])
    assert record["profile"]["kernel"]["outside"] == []


def test_a_tuned_one_keeps_its_mask_and_one_without_search_costs_nothing(suite_home):
    spec, record = fit_once("cifar10", "lottery_jackpots", options={"arch": "resnet8", "tuned": 0.5})
    assert record["budget"]["total"] == 256 and {"search_loss", "train_loss"} <= set(record["curves"])
    weights = load(spec.artifact).module.layer2[0].conv1.weight
    assert 0 < float((weights == 0).float().mean()) < 1
    assert fit_once("cifar10", "lottery_jackpots", options={"arch": "resnet8", "search": False})[1]["budget"]["total"] == 0


def test_the_search_finds_a_mask_for_what_the_weights_can_do(tmp_path):
    """Of three frozen weights two may stay; the largest two add up to nothing, the right two tell the classes apart."""
    class Signs:
        labels = torch.arange(32) % 2

        def __len__(self):
            return 32

        def batch(self, index, train, generator):
            return (index % 2 * 2 - 1).float().view(-1, 1, 1, 1) * torch.tensor([1.0, 1.0, 1.0]).view(1, 3, 1, 1)

    class Setting:
        train = Signs()

        @staticmethod
        def augment(images, generator):
            return images

    class Told(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 1, 1, bias=False)
            self.conv.weight.data = torch.tensor([2.0, -2.0, 1.0]).view(1, 3, 1, 1)

        def forward(self, images):
            found = self.conv(images).flatten(1)
            return torch.cat([-found, found], 1)

    network = Told()
    masks = METHOD(sparsity=0.34).masks(network, [Prunable("conv", False, None)], run(tmp_path))
    assert masks[0].on.flatten().tolist() == [True, True, False]
    METHOD(search_batch=8, search_rate=0.1).learn(network, masks, Setting(), Run(0, "smoke", Budget(640), tmp_path, tmp_path))
    assert masks[0].on.flatten().tolist() == [True, False, True]
    assert network.conv.parametrizations.weight.original.flatten().tolist() == [2.0, -2.0, 1.0]

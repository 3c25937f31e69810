"""Collaborative compression: its error, its units, what they cost, the search against the literal double loop, and what is built."""

import copy
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from suite.baselines._reduced import Reduced, Reducible
from suite.baselines._units import Units, fitted
from torch import nn
from torch.nn import functional

from suite import kernel, plugins
from suite.context import Budget
from suite.cost import count
from suite.errors import UserError
from suite.nn import build

METHOD = plugins.load("baselines", "collaborative_compression")
SHAPES = [(4, 6, 9), (12, 5, 1), (5, 4, 4)]  # wide, tall and in between


def units(rows, inputs, taps, **options):
    generator = torch.Generator().manual_seed(rows)
    weight, gradient = (torch.randn(rows, inputs, taps, dtype=torch.float64, generator=generator) for _ in range(2))
    return Units(weight, gradient, **options)


# Independent of the code under test: numpy, one weight at a time.


def squared(item, weight):
    """2.2"""
    change = weight - item.weight.numpy()
    return ((item.gradient.flatten(1).numpy() * change) ** 2).sum()


def without(item, weight, unit, width):
    """The weight without `unit`: ("channel", i), or ("rank", r), the r-th largest singular value."""
    kind, place = unit
    if kind == "channel":
        weight = weight.copy().reshape(item.rows, item.inputs, item.taps)
        weight[:, place] = 0
        return weight.reshape(item.rows, -1)
    left, values, right = np.linalg.svd(weight, full_matrices=False)
    values[[place, *range(width, len(values))]] = 0
    return (left * values) @ right


def literal(item, weight, channels, width):
    """2.6, steps 1 and 2, word by word: every unit that is left, and after it every other one."""
    names = [("channel", place) for place in channels] * item.channels + [("rank", place) for place in range(width)] * item.ranks
    backward, forward = [], []
    for unit in names:
        after = without(item, weight, unit, width)
        backward.append(squared(item, after))
        left = width - (unit[0] == "rank")
        others = [other for other in names if other[0] == "channel" and other != unit]
        others += [("rank", place) for place in range(left)] * item.ranks
        assert len(others) == len(names) - 1
        forward.append(np.mean([squared(item, without(item, after, other, left)) for other in others]))
    return np.array(backward), np.array(forward)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("channels, ranks", [(True, True), (True, False), (False, True)])
def test_the_forward_term_in_closed_form_is_the_mean_over_all_second_steps(shape, channels, ranks):
    item = units(*shape, channels=channels, ranks=ranks)
    for _ in range(3):  # also where units of both kinds are gone
        wanted = literal(item, item.current.numpy(), item.kept, item.rank)
        for found, expected in zip(item.terms(), wanted, strict=True):
            np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9)
        if channels:
            item.current = item._without_channels(item.current, [item.kept.pop(1)])
        if ranks:
            item.current, item.rank = item._without_ranks(item.current, [1]), item.rank - 1


def test_beyond_the_exact_size_only_the_spectral_part_of_channels_is_approximated():
    exact, rough = units(4, 6, 9), units(4, 6, 9, exact=5)
    (same, full), (backward, forward) = exact.terms(), rough.terms()
    assert torch.equal(same, backward) and torch.equal(full[6:], forward[6:])
    left, values, right = np.linalg.svd(rough.weight.numpy(), full_matrices=False)
    pieces = (left**2 * values**2) @ right**2
    spectral = (rough.squares.numpy() * pieces).sum()
    assert not torch.allclose(full[:6], forward[:6])
    np.testing.assert_allclose((forward - full)[:6] * 9, spectral - exact._spectral().numpy())


def test_costs_of_a_layer_rise_with_its_first_rank_units():
    item = units(4, 6, 9)
    whole = 6 * 9 * 4
    assert item.cost(6, 4) == 1 and item.cost(3, 4) == 0.5
    assert item.cost(6, 3) * whole == pytest.approx(6 * 9 * 3 + 3 * 4)
    square = units(8, 8, 1)
    assert square.cost(8, 7) == (8 * 7 + 7 * 8) / 64 > 1


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("channels, ranks", [(True, True), (True, False), (False, True)])
def test_the_search_removes_what_a_literal_search_removes(shape, channels, ranks):
    item = units(*shape, channels=channels, ranks=ranks)
    item.reduce(0.6)
    weight, kept, width, expected = item.weight.numpy(), list(range(item.inputs)), item.width, []
    while len(expected) < len(item.order):  # one unit a round, as there are fewer than two hundred
        backward, forward = literal(item, weight, kept, width)
        metric = backward + 0.9 * forward
        metric[: len(kept) * channels] += 1e9 if len(kept) == 1 else 0
        metric[len(kept) * channels :] += 1e9 if width == 1 else 0
        place = int(metric.argmin())
        if channels and place < len(kept):
            expected.append(kept.pop(place))
            weight = without(item, weight, ("channel", expected[-1]), width)
        else:
            weight = without(item, weight, ("rank", place - len(kept) * channels), width)
            width -= 1
            expected.append(-1)
    assert item.order == expected and len(expected) > 2


def test_a_layer_stops_at_its_rate_and_is_pruned_alone_where_channels_alone_reach_it():
    item = units(4, 6, 9)
    item.order = [-1, 0, -1, 3, 5]
    assert item.reduce(0.0) == Reduced((0, 1, 2, 3, 4, 5))
    assert item.reduce(0.2) == Reduced((1, 2, 3, 4, 5), 3)  # 1 - 49 * 3 / 216 = 0.32, while one channel alone is 0.167
    assert item.reduce(0.31) == Reduced((1, 2, 3, 4, 5), 3)
    assert item.reduce(1 / 6) == Reduced((0, 1, 2, 3, 4, 5), 3)
    assert item.reduce(0.6) == Reduced((1, 2, 4, 5), 2)
    item.order = [-1, 0, 1, 2]
    assert item.reduce(0.44) == Reduced((2, 3, 4, 5), 3)
    assert item.reduce(0.45) == Reduced((3, 4, 5))  # three channels of six reach it alone, whatever the rank
    square = units(8, 8, 1)  # two factors of seven cost more than one layer
    square.order = [-1, 0, 1]
    assert square.reduce(0.25) == Reduced((2, 3, 4, 5, 6, 7))


def test_a_hundredth_of_the_units_goes_in_a_round():
    item = units(120, 130, 1)
    assert item._round() and len(item.order) == 2  # of 250
    assert item._round() and len(item.order) == 4
    assert len(item.kept) + item.rank == 246


def test_the_layer_that_is_built_has_the_original_weights_at_the_rank_that_is_left():
    item = units(4, 6, 9)
    left = item.left(Reduced((0, 2, 5), 2)).view(4, 6, 9)
    part = item.weight.view(4, 6, 9)[:, [0, 2, 5]].flatten(1)
    values = torch.linalg.svdvals(part)
    assert not left[:, [1, 3, 4]].any() and torch.linalg.matrix_rank(left.flatten(1)) == 2
    assert float((left[:, [0, 2, 5]].flatten(1) - part).square().sum()) == pytest.approx(float(values[2:].square().sum()))
    assert torch.equal(item.left(Reduced((0, 2, 5))).view(4, 6, 9)[:, [0, 2, 5]].flatten(1), part)


def test_the_exponential_is_fitted_with_the_roots_of_the_errors_as_weights():
    rates = np.linspace(-0.2, 0.9, 12)
    errors = 3 * np.exp(4 * rates) * (1 + 0.2 * np.sin(9 * rates))
    kept = rates > 0
    shares = errors[kept] / errors[kept].max()
    slope, level = np.polyfit(rates[kept], np.log(shares + 1e-10), 1, w=shares**0.25)  # polyfit squares its weights
    fit = fitted(list(zip(rates.tolist(), errors.tolist(), strict=True)))
    assert fit == pytest.approx((math.exp(level), slope, errors.max()))
    assert fitted([]) == fitted([(0.5, 0.0)]) == (1e-10, 1.0, 1.0)


def test_the_curve_of_a_layer_removes_units_by_their_error_alone():
    item = units(5, 3, 4)
    matrix, alone = item.weight.numpy(), []
    for unit in [("channel", place) for place in range(3)] + [("rank", place) for place in range(5)]:
        alone.append((squared(item, without(item, matrix, unit, 5)), unit))
    weight, channels, gone, points = matrix, 3, [], []
    for _, (kind, place) in sorted(alone):
        if kind == "rank":
            gone.append(place)
            weight = without(item, weight, ("rank", place - sum(before < place for before in gone)), 5 - len(gone) + 1)
        else:
            channels, weight = channels - 1, without(item, weight, (kind, place), 5)
        now = channels * 4 * 5 if not gone else (5 - len(gone)) * (channels * 4 + 5)
        points.append((1 - now / 60, squared(item, weight)))
        if not channels or len(gone) == 5:
            break
    assert item.fit == pytest.approx(fitted(points))


# The whole network.


def random_network(arch, size=32):
    torch.manual_seed(0)
    network = build(arch, 10, size).double().eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
    return network


EXAMPLE = torch.zeros(1, 3, 32, 32, dtype=torch.float64)
RUN = SimpleNamespace(progress=lambda items, *rest, **more: items)


def searched(arch, **options):
    network = random_network(arch)
    found, method = Reducible(network, EXAMPLE), METHOD(arch=arch, **options)
    generator = torch.Generator().manual_seed(1)
    made = {}
    for place, name in enumerate(found.layers):
        weight = network.get_submodule(name).weight
        gradient = torch.randn(weight.shape, generator=generator) * (1 + place % 3)
        made[name] = method.layer_units(weight, gradient)
    return network, found, made, method.search(made, found, RUN)


@pytest.mark.parametrize("arch, options", [
    ("resnet20", {"exact": 16}), ("resnet20", {"units": "channels"}), ("resnet20", {"units": "ranks"}),
    ("resnet20", {"units": "channels", "split": "uniform"}), ("mobilenet_v2", {"exact": 0, "macs": 0.7, "units": "channels"})])
def test_the_built_network_meets_the_macs_and_computes_what_the_masked_one_does(arch, options):
    network, found, _, decision = searched(arch, **options)
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    after, masked = copy.deepcopy(network), copy.deepcopy(network)
    macs = found.build(after, decision, EXAMPLE)
    wanted = options.get("macs", 0.5)
    assert macs == count(after, EXAMPLE).macs == found.macs(decision)
    assert wanted - 0.01 <= macs / count(network, EXAMPLE).macs <= wanted
    # In the masked one rows that nobody reads stay, so its decompositions must be those of the rows that are left.
    rows = {name: torch.arange(layer.rows) for name, layer in found.layers.items()}
    for stream, kept in found._deleted(decision).items():
        rows |= {name: torch.tensor(kept) for name in stream.writers if name in rows}
    for name, reduced in decision.items():
        layer, weight = found.layers[name], masked.get_submodule(name).weight.data
        part = weight[rows[name]][:, list(reduced.kept)].flatten(1)
        if layer.factored(reduced.rank, len(reduced.kept), len(rows[name])):
            left, values, right = torch.linalg.svd(part, full_matrices=False)
            part = (left * values)[:, : reduced.rank] @ right[: reduced.rank]
        weight.zero_()
        weight[rows[name][:, None], list(reduced.kept)] = part.view(len(rows[name]), -1, *weight.shape[2:])
    expected = masked(images)
    assert (after(images) - expected).abs().max() <= 1e-5 * expected.abs().max()
    plan = kernel.lower(after.float(), images[:1].float())
    assert plan.outside == [] and plan.macs_share == 1.0
    assert (plan(images[:1].float()) - expected[:1]).abs().max() <= 1e-4 * expected.abs().max()


def test_filters_that_nobody_reads_any_more_are_gone_and_streams_with_other_readers_are_gathered():
    network, found, _, decision = searched("resnet20", units="channels")
    found.build(network, decision, EXAMPLE)
    fewer = [name for name, reduced in decision.items() if len(reduced.kept) < found.layers[name].inputs]
    assert any("conv1" in name for name in fewer) and any("conv2" in name for name in fewer)
    for stage, width in ((network.layer1, 16), (network.layer2, 32), (network.layer3, 64)):
        for block in stage:
            first = block.conv1[1] if isinstance(block.conv1, nn.Sequential) else block.conv1
            assert isinstance(block.conv2, nn.Conv2d)  # it alone reads what the first puts out: nothing to gather
            assert first.out_channels == block.bn1.num_features == block.conv2.in_channels
            assert block.conv2.out_channels == width


def slope(item, rate):
    return item.fit.a * item.fit.b * math.exp(item.fit.b * rate)


@pytest.mark.parametrize("split, power", [("global", 0), ("global_per_mac", 1)])
def test_the_rates_have_equal_slopes(split, power):
    network = random_network("resnet8")
    found, method = Reducible(network, EXAMPLE), METHOD(split=split, units="channels")
    made = {name: method.layer_units(network.get_submodule(name).weight, torch.randn(layer.rows, layer.inputs, 3, 3))
            for name, layer in found.layers.items()}
    rates, first, last = method.rates(made, found, RUN)
    assert max(rates(first)) == 0 and min(rates(last)) == pytest.approx(0.95)
    asked = dict(zip(made, rates(first + 0.6 * (last - first)), strict=True))
    free = [name for name in made if 0 < asked[name] < 0.95]
    slopes = [slope(made[name], asked[name]) / found.layers[name].dense**power for name in free]
    assert len(free) > 1 and slopes == pytest.approx([slopes[0]] * len(free))


class Pictures:
    def __init__(self, count):
        generator = torch.Generator().manual_seed(0)
        self.images = torch.randint(256, (count, 3, 32, 32), dtype=torch.uint8, generator=generator)
        self.labels = torch.randint(10, (count,), generator=generator)

    def __len__(self):
        return len(self.labels)

    def batch(self, index, train, generator):
        assert not train
        return self.images[index]


@pytest.mark.parametrize("allowed, images", [(1000, 20), (50, 10)])
def test_gradients_are_of_the_mean_loss_in_evaluation_mode_and_are_charged(allowed, images):
    network, budget = random_network("resnet8"), Budget(allowed)
    train = Pictures(20)
    setting = SimpleNamespace(train=train, normalise=lambda batch: batch.double() / 255)
    run = SimpleNamespace(budget=budget, device="cpu", progress=RUN.progress, generator=lambda *parts: torch.Generator().manual_seed(3))
    found = METHOD(arch="resnet8", batch=8).gradients(copy.deepcopy(network), ["layer1.0.conv1", "layer3.0.conv2"], setting, run)
    assert (budget.total, budget.final) == (images, 0)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(3))[:images]
    functional.cross_entropy(network(train.images[order].double() / 255), train.labels[order]).backward()
    for name, gradient in found.items():
        expected = network.get_submodule(name).weight.grad
        assert (gradient - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_what_cannot_be_reached_is_said():
    with pytest.raises(UserError, match="are wanted and .* remain when all layers are reduced"):
        searched("resnet8", units="channels", macs=0.01)

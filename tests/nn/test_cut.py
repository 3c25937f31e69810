"""Cutting: as exact as masking in every network, to the MACs that were asked for, and what was asked for is what goes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils import parametrize

from suite.cost import count
from suite.errors import UserError
from suite.nn import ARCHS, Cut, Stream, build, choose_cut, cut, keep, streams

NetworkOf = Callable[[str], nn.Module]
ImagesOf = Callable[[str], Tensor]


class Joined(nn.Module):
    """Two convolutions that write one stream, and a third before it. No activation of a removed channel is zero by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.left, self.right = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 6, 3), nn.Conv2d(4, 6, 3)
        self.norm, self.head = nn.BatchNorm2d(6), nn.Linear(6, 3)
        self.norm.running_mean.uniform_(-2, -1)

    def features(self, images: Tensor) -> Tensor:
        hidden = self.stem(images).sigmoid()
        return (self.norm(self.left(hidden)) + self.right(hidden)).sigmoid().mean((2, 3))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))


def random_scores(found: Iterable[Stream], seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.rand(stream.channels, generator=generator) for stream in found for name in stream.writers}


def zero_readers(network: nn.Module, decision: Cut) -> nn.Module:
    """Masking without hooks: no reader of a stream looks at a channel that is to go."""
    for stream, kept in decision.kept.items():
        for name, positions, offset in stream.readers:
            for channel in set(range(stream.channels)) - set(kept):
                start = offset + channel * positions
                network.get_submodule(name).weight.data[:, start : start + positions] = 0  # type: ignore[index, union-attr]
    return network


@torch.no_grad()
def assert_cut_equals_masked(network: nn.Module, images: Tensor, decision: Cut) -> float:
    """Relative to the largest logit, float32. Returns how much the mask changes."""
    before = network(images)
    with decision.masked(network):
        masked = network(images)
    assert torch.equal(network(images), before)
    largest = masked.abs().max()
    zeroed = zero_readers(copy.deepcopy(network), decision)(images)
    decision.apply(network)
    after = network(images)
    assert (after - masked).abs().max() <= 1e-5 * largest
    assert (after - zeroed).abs().max() <= 1e-5 * largest
    assert count(network, images[:1]).macs == decision.macs
    return float((masked - before).abs().max() / largest)


@pytest.mark.parametrize("arch", ARCHS)
def test_cut_equals_masked_at_half_the_macs(network_of: NetworkOf, images_of: ImagesOf, arch: str) -> None:
    network, images = copy.deepcopy(network_of(arch)).float(), images_of(arch).float()
    scores = random_scores(streams(network, images))
    decision = choose_cut(network, scores, images, macs=0.5)
    assert decision.macs_before == count(network, images[:1]).macs
    assert 0.49 <= decision.macs / decision.macs_before <= 0.5
    assert assert_cut_equals_masked(network, images, decision) > 1e-3


@settings(max_examples=15, deadline=None)
@given(data=st.data(), arch=st.sampled_from(["branches", "resnet8", "slim_resnet10", "mobilenet_v3_small"]))
def test_cut_equals_masked_whatever_is_asked_for(
    network_of: NetworkOf, images_of: ImagesOf, data: st.DataObject, arch: str
) -> None:
    network, images = copy.deepcopy(network_of(arch)).float(), images_of(arch).float()
    found = streams(network, images)
    scores = random_scores(found, data.draw(st.integers(0, 1000)))
    share, floor = data.draw(st.floats(0.4, 1)), data.draw(st.floats(0, 0.2))
    rates = data.draw(st.none() | st.floats(0.1, 1))
    decision = choose_cut(network, scores, images, macs=share, rates=rates, floor=floor)
    assert decision.macs <= share * decision.macs_before
    assert all(len(kept) >= floor * stream.channels - 1e-6 for stream, kept in decision.kept.items())
    assert_cut_equals_masked(network, images, decision)


def test_a_mask_on_the_convolutions_alone_is_not_what_is_meant(network_of: NetworkOf, images_of: ImagesOf) -> None:
    network, images = copy.deepcopy(network_of("resnet18")).float(), images_of("resnet18").float()
    decision = choose_cut(network, random_scores(streams(network, images)), images, macs=0.5)
    wrong, right = copy.deepcopy(network), copy.deepcopy(network)
    for stream, kept in decision.kept.items():
        for name in stream.writers:
            wrong.get_submodule(name).weight.data[sorted(set(range(stream.channels)) - set(kept))] = 0  # type: ignore[index, union-attr]
    decision.apply(right)
    assert (wrong(images) - right(images)).abs().max() > 1e-2 * right(images).abs().max()


def test_masked_by_hand() -> None:
    network, images = Joined().eval(), torch.randn(2, 3, 5, 5)
    decision = choose_cut(network, {"left": [1, 0, 1, 0, 0, 1]}, images, rates=0.5)
    assert [*decision.kept.values()] == [(0, 2, 5)]
    features = network.features(images)
    assert (features > 0).all()
    features[:, [1, 3, 4]] = 0
    wanted = network.head(features)
    with decision.masked(network):
        assert torch.allclose(network(images), wanted, atol=1e-6)
    decision.apply(network)
    assert torch.allclose(network(images), wanted, atol=1e-6)
    assert network.left.weight.shape == network.right.weight.shape == (3, 4, 3, 3)


def test_masked_trains_what_the_cut_network_would(network_of: NetworkOf, images_of: ImagesOf) -> None:
    masked, images = copy.deepcopy(network_of("resnet8")).float().train(), images_of("resnet8").float()
    name, before = "layer1.0.conv1", masked.state_dict().keys()
    decision = choose_cut(masked, {name: torch.arange(16.0)}, images, rates=0.5)
    smaller = copy.deepcopy(masked)
    decision.apply(smaller)
    with decision.masked(masked):
        assert masked.state_dict().keys() == before
        masked(images).square().sum().backward()
    smaller(images).square().sum().backward()
    gradients = [network.get_submodule(name).weight.grad for network in (masked, smaller)]  # type: ignore[union-attr]
    assert torch.allclose(gradients[0][8:], gradients[1], rtol=1e-4, atol=1e-6)  # type: ignore[index, arg-type]
    assert not gradients[0][:8].any()  # type: ignore[index, union-attr]


def test_the_largest_network_on_the_way_is_found(network_of: NetworkOf, images_of: ImagesOf) -> None:
    """Against cutting one channel after another and counting each time."""
    network, images = network_of("branches"), images_of("branches")
    found = streams(network, images)
    scores = {"left": [0.4, 0.1, 0.7, 0.9], "right": [0.3, 0.2, 0.8, 0.6, 0.5, 0.95], "head": [0.45, 0.35, 0.65, 0.15, 0.05]}
    order = sorted((score, name, channel) for name, values in scores.items() for channel, score in enumerate(values))
    for share in (1.0, 0.8, 0.5, 0.2):
        gone: dict[str, set[int]] = {name: set() for name in scores}
        for _, name, channel in [(0.0, "", 0), *order]:
            if name and len(gone[name]) + 1 < len(scores[name]):
                gone[name].add(channel)
            smaller = copy.deepcopy(network)
            kept = {item: [c for c in range(item.channels) if c not in gone.get(item.writers[0], ())] for item in found if not item.fixed}
            keep(smaller, kept)
            macs = count(smaller, images[:1]).macs
            if macs <= share * count(network, images[:1]).macs:
                break
        decision = choose_cut(network, scores, images, macs=share, normalise=False)
        assert decision.macs == macs
        assert decision.kept == {item: tuple(kept[item]) for item in kept if len(kept[item]) < item.channels}
        assert choose_cut(network, scores, images, macs=macs + 0.5, normalise=False) == decision


def test_equal_rates_take_the_lowest_of_every_scored_stream(network_of: NetworkOf, images_of: ImagesOf) -> None:
    network, images = network_of("resnet8"), images_of("resnet8")
    scores = {"layer1.0.conv1": [1.0] * 16, "layer2.0.conv1": [float(-c) for c in range(32)], "layer2.0.conv2": [1.0] * 32, "fc": [1.0] * 10}
    decision = choose_cut(network, scores, images, rates=0.29)
    kept = {stream.writers[0]: index for stream, index in decision.kept.items()}
    assert kept == {"layer1.0.conv1": tuple(range(4, 16)), "layer2.0.conv1": tuple(range(23))}  # the others are fixed


def test_rates_by_layer_and_in_proportion(network_of: NetworkOf, images_of: ImagesOf) -> None:
    network, images = network_of("resnet8"), images_of("resnet8")
    scores = random_scores(streams(network, images))
    rates = {"layer1.0.conv1": 0.5, "layer2.0.conv1": 0.25, "layer3.0.conv1": 0.0}

    def gone(decision: Cut) -> dict[str, float]:
        return {stream.writers[0]: 1 - len(kept) / stream.channels for stream, kept in decision.kept.items()}

    assert gone(choose_cut(network, scores, images, rates=rates)) == {"layer1.0.conv1": 0.5, "layer2.0.conv1": 0.25}
    scaled = gone(choose_cut(network, scores, images, rates=rates, macs=0.85))
    assert scaled.keys() == {"layer1.0.conv1", "layer2.0.conv1"}
    assert abs(scaled["layer1.0.conv1"] - 2 * scaled["layer2.0.conv1"]) <= 2 / 32 + 1e-6
    assert scaled["layer1.0.conv1"] not in (0, 0.5)


def test_several_writers_have_one_vote_each_and_gates_none(network_of: NetworkOf, images_of: ImagesOf) -> None:
    network, images = Joined(), torch.randn(1, 3, 5, 5)
    scores = {"left": [600.0, 500, 400, 300, 200, 100], "right": [1.0, 2, 3, 4, 5, 60]}

    def kept(**options: bool) -> list[tuple[int, ...]]:
        return [*choose_cut(network, scores, images, rates=0.5, **options).kept.values()]

    # Divided by 389.4 and 24.7: 1.58, 1.37, 1.15, 0.93, 0.72, 2.69.
    assert kept() == [(0, 1, 5)]
    assert kept(normalise=False) == [(0, 1, 2)]

    network, images = network_of("mobilenet_v3_small"), images_of("mobilenet_v3_small")
    scaled = next(stream for stream in streams(network, images) if stream.gates)
    assert not choose_cut(network, {scaled.gates[0]: [1.0] * scaled.channels}, images, rates=0.5).kept


def test_full_size_without_data() -> None:
    with torch.device("meta"):
        network, images = build("resnet50", 1000, 224), torch.empty(1, 3, 224, 224)
    scores = random_scores(streams(network, images))
    decision = cut(network, scores, images, macs=0.5, rates=1, floor=0.1)
    assert decision.macs_before == 4_089_184_256
    assert 0.495 < decision.macs / decision.macs_before <= 0.5
    assert count(network, images).macs == decision.macs
    shares = [len(kept) / stream.channels for stream, kept in decision.kept.items()]
    assert max(shares) - min(shares) <= 1 / 64


def test_refusals(network_of: NetworkOf, images_of: ImagesOf) -> None:
    network, images = copy.deepcopy(network_of("resnet8")), images_of("resnet8")
    inner = {"layer1.0.conv1": torch.rand(16)}
    with pytest.raises(ValueError, match="'macs', 'rates' or both"):
        choose_cut(network, inner, images)
    with pytest.raises(ValueError, match="written by layer9"):
        choose_cut(network, {"layer9": torch.rand(16)}, images, macs=0.5)
    with pytest.raises(ValueError, match="written by layer9"):
        choose_cut(network, inner, images, rates={"layer9": 0.5})
    for wrong in (torch.rand(15), torch.full((16,), torch.nan)):
        with pytest.raises(ValueError, match=r"'layer1.0.conv1' are not 16 finite numbers"):
            choose_cut(network, {"layer1.0.conv1": wrong}, images, macs=0.5)
    with pytest.raises(UserError, match=r"ask for a share of at least 0\.[0-9]+") as refusal:
        choose_cut(network, inner, images, macs=0.5)
    share = float(str(refusal.value).rpartition(" ")[2])
    assert [len(kept) for kept in choose_cut(network, inner, images, macs=share).kept.values()] == [1]

    parametrize.register_parametrization(network.get_submodule("layer1.0.conv1"), "weight", nn.Identity())
    with pytest.raises(ValueError, match="parametrised"):
        cut(network, inner, images, macs=0.9)

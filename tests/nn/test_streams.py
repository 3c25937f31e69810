"""Streams: found as expected, and permuting or cutting them does what it should."""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils import prune
from torch.utils.hooks import RemovableHandle

from suite.modes import plain
from suite.nn import Stream, build, keep, permute, streams

NetworkOf = Callable[[str], nn.Module]
ImagesOf = Callable[[str], Tensor]
ARCHS = ["resnet8", "cifar_vgg16", "mobilenet_v1", "mobilenet_v2", "mobilenet_v3_small", "resnet18", "resnet50"]


class Twice(nn.Module):
    """The same layer on two streams: nothing it touches may move alone."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.shared, self.last = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 2, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.last(self.shared(self.shared(self.stem(images)).relu()))


class Softmax(nn.Module):
    """An operation that mixes channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.last = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.last(self.stem(images).cumsum(1))


def zero_readers(network: nn.Module, stream: Stream, index: list[int]) -> None:
    """What cutting means: the readers see zeros in place of all channels but those of `index`."""
    gone = [channel for channel in range(stream.channels) if channel not in index]
    for name, positions, offset in stream.readers:
        for channel in gone:
            start = offset + channel * positions
            network.get_submodule(name).weight.data[:, start : start + positions] = 0  # type: ignore[index, union-attr]


@pytest.mark.parametrize("arch", [*ARCHS, "vit_ti_16", "branches"])
def test_permuting_all_free_streams_changes_nothing(network_of: NetworkOf, images_of: ImagesOf, arch: str) -> None:
    network, images = copy.deepcopy(network_of(arch)), images_of(arch)
    before = network(images)
    free = [stream for stream in streams(network, images.float()) if not stream.fixed]
    generator = torch.Generator().manual_seed(1)
    moved = 0
    for stream in free:
        order = torch.randperm(stream.channels, generator=generator)
        old = network.get_submodule(stream.writers[0]).weight.clone()  # type: ignore[operator, union-attr]
        permute(network, stream, order)
        moved += not torch.equal(old, network.get_submodule(stream.writers[0]).weight)  # type: ignore[arg-type]
    assert moved == len(free) > 0
    assert before.std() > 1e-3
    assert (network(images) - before).abs().max() < 1e-5 * before.abs().max().clamp(max=1)


@settings(max_examples=15, deadline=None)
@given(arch=st.sampled_from(["resnet8", "mobilenet_v3_small", "branches"]), data=st.data())
def test_any_order_of_any_stream_changes_nothing(
    network_of: NetworkOf, images_of: ImagesOf, arch: str, data: st.DataObject
) -> None:
    network, images = copy.deepcopy(network_of(arch)), images_of(arch)
    free = [stream for stream in streams(network, images.float()) if not stream.fixed]
    stream = data.draw(st.sampled_from(free))
    before = network(images)
    permute(network, stream, data.draw(st.permutations(range(stream.channels))))
    assert (network(images) - before).abs().max() < 1e-5


@pytest.mark.parametrize(
    "arch", ["resnet8", "cifar_vgg16", "mobilenet_v1", "mobilenet_v3_small", "resnet18", "branches"]
)
def test_keeping_equals_masking(network_of: NetworkOf, images_of: ImagesOf, arch: str) -> None:
    images = images_of(arch)
    found = [stream for stream in streams(network_of(arch), images.float()) if not stream.fixed]
    for stream in found[:: max(1, len(found) // 3)]:
        masked, cut = copy.deepcopy(network_of(arch)), copy.deepcopy(network_of(arch))
        index = list(range(stream.channels))[1::2]
        zero_readers(masked, stream, index)
        keep(cut, {stream: index})
        assert (cut(images) - masked(images)).abs().max() < 1e-5
        assert sum(p.numel() for p in cut.parameters()) < sum(p.numel() for p in masked.parameters())
        after = next(new for new in streams(cut, images.float()) if new.writers == stream.writers)
        assert after.channels == len(index)


def test_kinds_of_streams_in_an_option_a_network(network_of: NetworkOf) -> None:
    found = streams(network_of("resnet8"), torch.empty(1, 3, 32, 32))
    stem, inner = found[0], found[1]
    assert stem.writers == ("conv1", "layer1.0.conv2") and stem.residual and stem.fixed  # the zero padding fixes it
    assert inner.writers == ("layer1.0.conv1",) and not inner.residual and not inner.fixed and not inner.linear
    assert [port.name for port in inner.carriers] == ["layer1.0.bn1"]
    assert [port.name for port in inner.readers] == ["layer1.0.conv2"]
    assert found[-1].writers == ("fc",) and found[-1].fixed


def test_kinds_of_streams_in_other_networks(network_of: NetworkOf) -> None:
    found = {item.writers[0]: item for item in streams(network_of("resnet50"), torch.empty(1, 3, 32, 32))}
    joined = found["layer1.0.conv3"]
    assert joined.residual and not joined.fixed
    assert set(joined.writers) == {"layer1.0.conv3", "layer1.0.downsample.0", "layer1.1.conv3", "layer1.2.conv3"}

    found = {item.writers[0]: item for item in streams(network_of("mobilenet_v3_small"), torch.empty(1, 3, 32, 32))}
    expanded = found["features.4.block.0.0"]
    assert expanded.gates == ("features.4.block.2.fc2",) and not expanded.residual
    assert [port.name for port in expanded.readers] == ["features.4.block.2.fc1", "features.4.block.3.0"]
    assert "features.4.block.1.0" in [port.name for port in expanded.carriers]

    with torch.device("meta"):
        flat = streams(build("vgg16", 10, 224), torch.empty(1, 3, 224, 224))
    assert next(stream for stream in flat if "features.28" in stream.writers).readers == (("classifier.0", 49, 0),)


def test_concatenation_has_offsets(network_of: NetworkOf) -> None:
    left, right = streams(network_of("branches"), torch.empty(1, 3, 5, 5))[:2]
    assert left.readers == (("head", 9, 0),) and right.readers == (("head", 9, 36),)
    assert right.carriers == (("norm", 1, 4), ("slope", 1, 4))


@pytest.mark.parametrize("network", [Twice(), Softmax()])
def test_what_is_not_understood_is_fixed(network: nn.Module) -> None:
    assert all(stream.fixed for stream in streams(network, torch.empty(1, 3, 4, 4)))


Leave = Callable[[nn.Module, Tensor, Tensor], object]


class Doors(nn.Module):
    """A convolution whose channels a linear layer reads after a mean. `leave` makes the output, of both."""

    def __init__(self, leave: Leave) -> None:
        super().__init__()
        self.conv, self.norm, self.act, self.leave = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Sequential(nn.ReLU()), leave
        self.head, self.other = nn.Linear(4, 2), nn.Linear(4, 2)

    def forward(self, images: Tensor) -> object:
        features = self.act(self.norm(self.conv(images)))
        return self.leave(self, features, self.head(features.mean((2, 3))))


@dataclass
class Found:
    features: Tensor
    logits: Tensor


DOORS: dict[str, Leave] = {
    "tuple": lambda net, features, logits: (features, logits),
    "dictionary": lambda net, features, logits: {"features": features, "logits": logits},
    "nested": lambda net, features, logits: {"deeper": [{"features": features}], "logits": logits},
    "dataclass": lambda net, features, logits: Found(features, logits),
    "attribute": lambda net, features, logits: (logits, setattr(net, "last", features.sigmoid())),
    "list": lambda net, features, logits: (logits, net.__dict__.setdefault("seen", []).append(features)),
    "weight": lambda net, features, logits: (logits, net.conv.weight),
    "norm": lambda net, features, logits: logits / net.conv.weight.norm(dim=1).max(),
    "function": lambda net, features, logits: logits + nn.functional.conv2d(torch.ones(1, 3, 1, 1), net.conv.weight).mean(),
    "statistics": lambda net, features, logits: logits * net.norm.running_var[0],
    "an item": lambda net, features, logits: (logits, operator.setitem(features, 0, 1.0))[0],
    "numbers": lambda net, features, logits: logits + net.other(features.view(2, 4, -1).mean(2)),
    "number": lambda net, features, logits: logits + net.other(nn.functional.adaptive_avg_pool2d(features, 1).reshape(-1, 4)),
}


@pytest.mark.parametrize("door", DOORS)
def test_what_leaves_by_another_door_or_is_used_elsewhere_is_fixed(door: str) -> None:
    found = streams(Doors(DOORS[door]), torch.empty(2, 3, 4, 4))
    assert found[0].writers == ("conv",) and all(stream.fixed for stream in found)


@pytest.mark.parametrize("name", ["conv", "norm", "act", "act.0", "head"])
@pytest.mark.parametrize("before", [True, False])
def test_what_a_hook_sees_is_fixed_and_it_learns_nothing_of_the_look(name: str, before: bool) -> None:
    network, seen = Doors(lambda net, features, logits: logits), list[object]()
    module = network.get_submodule(name)
    register: Callable[[Any], RemovableHandle] = module.register_forward_pre_hook if before else module.register_forward_hook
    handle = register(lambda *given: seen.append(given))
    free = before and name == "conv"  # which sees the images alone
    assert [stream.fixed for stream in streams(network, torch.empty(2, 3, 4, 4))] == [not free, True]
    assert not seen or not isinstance(module, (nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.Linear))
    handle.remove()
    assert [stream.fixed for stream in streams(network, torch.empty(2, 3, 4, 4))] == [False, True]


def test_a_mask_on_a_weight_is_no_door_but_must_be_made_plain() -> None:
    network = Doors(lambda net, features, logits: logits)
    prune.l1_unstructured(network.conv, "weight", 0.5)
    stream = streams(network, torch.empty(2, 3, 4, 4))[0]
    assert not stream.fixed
    with pytest.raises(ValueError, match=r"prune\.remove"):
        keep(network, {stream: [0]})
    cut = plain(network)
    keep(cut, {stream: [0]})
    assert cut(torch.zeros(1, 3, 4, 4)).shape == (1, 2)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "leave",
    [
        lambda net, features, logits: {"logits": logits},
        lambda net, features, logits: (logits, features.shape[0] * features.size(2)),
        lambda net, features, logits: (logits, features.view(features.shape[0], features.shape[1], -1).mean(2) * 0)[0],
    ],
)
def test_sizes_fix_nothing(leave: Leave) -> None:
    assert [stream.fixed for stream in streams(Doors(leave), torch.empty(2, 3, 4, 4))] == [False, True]


def test_shared_weights_are_fixed() -> None:
    network = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(), nn.Conv2d(3, 3, 1), nn.ReLU(), nn.Conv2d(3, 2, 1))
    assert [stream.fixed for stream in streams(network, torch.empty(1, 3, 4, 4))] == [False, False, True]
    network[2].weight = network[0].weight
    assert [stream.fixed for stream in streams(network, torch.empty(1, 3, 4, 4))] == [True, True, True]


def test_channels_side_by_side_in_two_orders_are_kept_at_once() -> None:
    class Orders(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 6, 1)
            self.one, self.two = nn.Conv2d(10, 2, 1), nn.Conv2d(10, 2, 1)

        def forward(self, images: Tensor) -> Tensor:
            left, right = self.left(images).relu(), self.right(images).sigmoid()
            return self.one(torch.cat([left, right], 1)) + self.two(torch.cat([right, left], 1))

    network, images = Orders(), torch.randn(2, 3, 4, 4)
    cut, masked = copy.deepcopy(network), copy.deepcopy(network)
    kept = dict(zip(streams(network, images)[:2], ([1, 2], [0, 4, 5]), strict=True))
    for stream, index in kept.items():
        zero_readers(masked, stream, index)
    keep(cut, kept)
    assert cut.one.weight.shape[1] == cut.two.weight.shape[1] == 5
    assert (cut(images) - masked(images)).abs().max() < 1e-6


def test_looking_changes_nothing() -> None:
    network = build("resnet8", 10, 32).train()
    before = copy.deepcopy(network.state_dict())
    streams(network, torch.ones(2, 3, 32, 32))
    assert all(module.training for module in network.modules())
    assert all(torch.equal(before[key], values) for key, values in network.state_dict().items())


def test_refusals(network_of: NetworkOf) -> None:
    network = copy.deepcopy(network_of("resnet8"))
    stem, inner = streams(network, torch.empty(1, 3, 32, 32))[:2]
    with pytest.raises(ValueError, match="fixed"):
        permute(network, stem, range(16))
    with pytest.raises(ValueError, match="no permutation"):
        permute(network, inner, [0] * 16)
    with pytest.raises(ValueError, match="no channel left"):
        keep(network, {inner: []})
    nn.utils.parametrize.register_parametrization(network.layer1[0].conv1, "weight", nn.Identity())  # type: ignore[index, union-attr, arg-type]
    with pytest.raises(ValueError, match="parametrised"):
        keep(network, {inner: [0]})

"""Peers: each computes what torch computes, an absent or wrong one costs only its own row, and networks made to be timed."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from suite.bench.ceilings import ceilings
from suite.bench.layers import layer_times, openvino_layers
from suite.bench.peers import OPENVINO, PEERS, Model, Peer
from suite.bench.pruned import pruned
from suite.bench.race import race
from suite.kernel import lower
from suite.nn import build, fold, prunable

QUICK = {"calls": 2, "seconds": 0.0}


def model(arch: str = "resnet8", size: int = 32) -> Model:
    torch.manual_seed(0)
    image = torch.randn(1, 3, size, size)
    return Model(pruned(build(arch, 10, size), image, 4, 0.5), image)


def error(got: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((got - wanted).abs().max() / wanted.abs().max())


@pytest.mark.parametrize("peer", [peer for peer in PEERS if peer.name != "torch.compile"], ids=lambda peer: peer.name)
@torch.no_grad()
def test_a_peer_computes_what_torch_computes(peer: Peer) -> None:
    if peer.missing():
        pytest.skip(peer.missing())
    made = model()
    found = error(peer.build(made, 1)(), made.network(made.image))
    assert found < peer.tolerance
    if peer.precision == "fp32":
        assert found < 1e-5


@pytest.mark.parametrize(("arch", "size"), [("mobilenet_v2", 64), ("mobilenet_v3_small", 64), ("resnet18", 64), ("cifar_vgg16", 32)])
@torch.no_grad()
def test_networks_written_for_litert_compute_what_torch_computes(arch: str, size: int) -> None:
    litert = next(peer for peer in PEERS if peer.name == "xnnpack")
    if litert.missing():
        pytest.skip(litert.missing())
    made = model(arch, size)
    assert error(litert.build(made, 1)(), made.network(made.image)) < 1e-4  # as the race demands


class Shapes(nn.Module):
    """Convolutions of unusual padding, stride and dilation; a map as the output."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 6, 3, 2, 1), nn.Conv2d(6, 6, 5, 1, 2, groups=6)
        self.three, self.four = nn.Conv2d(6, 4, (1, 3), padding=(0, 1), bias=False), nn.Conv2d(4, 4, 3, padding=2, dilation=2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.four(torch.relu(self.three(nn.functional.hardswish(self.two(nn.functional.relu6(self.one(images)))))))


@torch.no_grad()
def test_litert_pads_as_torch_pads_and_gives_maps_back_channels_first() -> None:
    litert = next(peer for peer in PEERS if peer.name == "xnnpack")
    if litert.missing():
        pytest.skip(litert.missing())
    torch.manual_seed(0)
    made = Model(Shapes(), torch.randn(1, 3, 14, 11))
    wanted = made.network(made.image)
    got = litert.build(made, 1)()
    assert got.shape == wanted.shape and error(got, wanted) < 1e-5


def test_what_litert_cannot_be_given_is_said() -> None:
    pytest.importorskip("ai_edge_litert", reason="pip install 'suite[peers]'")
    from suite.bench.litert import convert

    with pytest.raises(NotImplementedError, match="softmax"):
        convert(nn.Softmax(1), torch.randn(1, 4))


def test_absent_failing_and_wrong_peers_cost_only_their_own_row() -> None:
    made = model()

    def broken(model: Model, threads: int):
        raise RuntimeError("no such kernel\nmore")

    def call(factor: float):
        return lambda model, threads: lambda: model.network(model.image) * factor

    peers = (Peer("absent", call(1), ("no_such_module",)), Peer("broken", broken), Peer("wrong", call(1.01)), Peer("nan", call(float("nan"))),
             Peer("right", call(1)), Peer("coarse", call(1.01), precision="bf16", tolerance=0.1))
    plan = lower(made.network, made.image)
    before = torch.get_num_threads()
    found = race(made, {"plan": (plan, made.network)}, 1, peers, **QUICK)
    assert torch.get_num_threads() == before
    assert set(found.timings) == {"plan", "right", "coarse"} and found.fastest() == "right", "another precision is no rival"
    assert found.absent["absent"] == "absent needs no_such_module, which is missing; type: pip install 'suite[peers]'"
    assert found.absent["broken"] == "broken failed: RuntimeError: no such kernel"
    assert "its output differs from torch's by 0.01" in found.absent["wrong"] and "by nan" in found.absent["nan"]
    assert found.record()["fastest"] == "right"


def test_a_wrong_plan_is_not_timed_either() -> None:
    made = model()
    found = race(made, {"plan": (lower(made.network, made.image), build("resnet8", 10, 32).eval())}, 1, (), **QUICK)
    assert not found.timings and "plan was not timed" in found.absent["plan"] and found.fastest() == ""


def test_pruned_copies_have_the_zeros_asked_for_and_activations_of_ordinary_size() -> None:
    torch.manual_seed(0)
    network, image = build("resnet20", 10, 32), torch.randn(1, 3, 32, 32)
    copy = pruned(network, image, 4, 0.9)
    for layer in prunable(copy, image):
        weight = getattr(copy.get_submodule(layer.name), layer.parameter)
        assert float((weight == 0).float().mean()) == pytest.approx(0.9, abs=0.02)
    assert not any((parameter == 0).all() for parameter in network.parameters() if parameter.dim() > 1), "the original is left alone"
    sizes = []
    for module in copy.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_hook(lambda module, given, made: sizes.append(float(made.std())))
    with torch.no_grad():
        copy(image)
    assert min(sizes) > 0.1 and max(sizes) < 10


def test_every_layer_is_timed_in_the_order_it_runs() -> None:
    made = model()
    found = layer_times(made.network, made.image, seconds=0)
    assert [item.name for item in found] == [name for name, module in made.network.named_modules()
                                             if isinstance(module, (nn.Conv2d, nn.Linear))]
    assert all(item.milliseconds > 0 for item in found)
    stem, second = found[:2]
    assert (stem.kind, stem.shape, stem.macs, stem.kept) == ("conv 3x3", "3-16 3x3/1 @32", 16 * 27 * 1024, 1.0)
    assert second.kept == pytest.approx(0.5) and second.effective == second.macs // 2
    assert second.bytes > 4 * (2 * 16 * 1024 + second.effective // 1024)


def test_openvino_times_the_same_layers() -> None:
    if OPENVINO.missing():
        pytest.skip(OPENVINO.missing())
    made = model()
    found = openvino_layers(made, calls=3)
    names = {name for name, module in made.network.named_modules() if isinstance(module, nn.Conv2d)}
    assert names <= set(found) and all(time > 0 for time in found.values())


def test_ceilings_are_rates_that_memory_orders() -> None:
    found = ceilings("portable", 1, 0.01)
    assert found["fma"] > 1 and found["read"]["L1"] > found["read"]["memory"] > 0.1
    with pytest.raises(ValueError, match="no SIMD path 'sse9'"):
        ceilings("sse9", 1, 0.01)


def test_the_folded_copy_is_the_peers_own() -> None:
    network = build("resnet8", 10, 32)
    made = Model(network, torch.randn(1, 3, 32, 32))
    assert network.training and any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    assert not any(isinstance(module, nn.BatchNorm2d) for module in made.network.modules())
    assert fold(network) is not made.network

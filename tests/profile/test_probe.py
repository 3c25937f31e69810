"""What a record keeps of a probe: means over its inputs, backward passes, and a reason where nothing was timed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from suite.artifacts import Probe
from suite.profile import costs, latency, timing


class Two(nn.Module):
    """A picture and its coarse copy to a dictionary of maps."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 1, bias=False)

    def forward(self, fine: torch.Tensor, coarse: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"fine": self.layer(fine), "coarse": self.layer(coarse)}


class Steep(nn.Module):
    """The gradient of an energy (one convolution, one linear layer) for the picture."""

    def __init__(self) -> None:
        super().__init__()
        self.maps, self.energy = nn.Conv2d(3, 4, 3, bias=False), nn.Linear(4 * 36, 2, bias=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        images = images.detach().requires_grad_()
        return torch.autograd.grad(self.energy(self.maps(images).flatten(1)).square().sum(), images)[0]


def test_costs_are_means_over_inputs_of_several_shapes():
    network = Two()
    network.layer.weight.data[0] = 0
    inputs = tuple((torch.ones(1, 3, side, side), torch.ones(1, 3, 2, 2)) for side in (4, 4, 7))
    found = costs(Probe(network, inputs))
    pixels = (16 + 16 + 49) / 3 + 4
    assert (found["macs"], found["macs_effective"]) == (12 * pixels, 9 * pixels) == (372, 279)
    assert found["ops"] == {"mul": 372, "add": 372, "xnor": 0} and all(isinstance(found[key], int) for key in ("macs", "macs_effective"))
    assert (found["params"], found["params_nonzero"], found["bytes_dense"], found["uncounted"]) == (12, 9, 48, [])
    assert found["input"] == [[3, 4, 4], [3, 2, 2]]
    assert costs(Probe(network.layer, (torch.ones(1, 3, 4, 5), torch.ones(1, 3, 1, 1))))["macs"] == 12 * 21 / 2
    assert costs(Probe(network.layer, (torch.ones(1, 3, 4, 5),)))["input"] == [3, 4, 5]


def test_what_is_not_counted_on_any_input_is_named():
    class Sometimes(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.cdist(images[0], images[0]) if images.shape[-1] > 2 else images

    assert costs(Probe(Sometimes(), (torch.ones(1, 2, 2), torch.ones(1, 3, 3))))["uncounted"] == ["aten::cdist_forward"]


def test_a_backward_pass_at_inference_is_counted():
    network, inputs = Steep(), (torch.randn(1, 3, 8, 8),)
    network.maps.weight.data[:, 0] = 0
    found = costs(Probe(network, inputs, gradients=True))
    convolution, linear = 4 * 3 * 9 * 36, 4 * 36 * 2
    assert found["macs"] == 2 * (convolution + linear)
    assert found["macs_effective"] == 2 * (convolution * 2 // 3 + linear)
    assert not any(parameter.grad is not None for parameter in network.parameters())


def test_gradients_of_weights_are_products_of_activations():
    class Adapted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up = nn.ConvTranspose2d(2, 3, 2, stride=2, bias=False)
            self.up.weight.data[0] = 0

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            images = images.detach().requires_grad_()
            return torch.autograd.grad(self.up(images).square().sum(), [images, self.up.weight])[1]

    found = costs(Probe(Adapted(), (torch.randn(1, 2, 5, 5),), gradients=True))
    once = 2 * 3 * 4 * 25
    assert (found["macs"], found["macs_effective"]) == (3 * once, once // 2 + once // 2 + once)


def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few calls: what is timed is not looked at."""
    spent = latency.spent
    monkeypatch.setattr(latency, "spent", lambda contenders, **options: spent(contenders, **options | {"calls": 6, "seconds": 0.01}))


@pytest.mark.parametrize("probe", [
    Probe(Two(), ((torch.randn(1, 3, 6, 6), torch.randn(1, 3, 3, 3)),) * 2),
    Probe(Two(), tuple((torch.randn(1, 3, side, 6), torch.randn(1, 3, 3, 3)) for side in (5, 6, 6))),
], ids=["of one shape", "of two shapes"])
def test_a_network_of_several_inputs_and_outputs_is_timed_in_plans_by_shape(probe, tmp_path, monkeypatch):
    quick(monkeypatch)
    found = timing(probe, tmp_path / "lock")
    assert not found.untimed and found.latency and found.kernel
    assert found.kernel["macs_share"] == 1.0 and found.kernel["relative_error"] < 1e-4
    assert found.kernel["shapes"] == len({item[0].shape for item in probe.inputs})
    assert found.bytes_packed and [layer["name"] for layer in found.layers] == ["layer", "layer"]


@pytest.mark.parametrize(("sides", "calls"), [((5, 5, 5), [5]), ((5, 6, 5), [5, 6, 5])])
def test_one_call_goes_through_all_inputs_where_their_shapes_differ(sides, calls, tmp_path, monkeypatch):
    seen: list[int] = []

    class Noting(nn.Conv2d):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            seen.append(images.shape[-1])
            return super().forward(images)

    def spent(contenders: Any, *, each: int, **options: Any) -> Any:
        seen.clear()
        contenders["torch"]()
        assert seen == calls and each == len(calls)
        return {name: [1.0, 1.0] for name in contenders}

    monkeypatch.setattr(latency, "spent", spent)
    assert timing(Probe(Noting(3, 4, 3), tuple(torch.randn(1, 3, 5, side) for side in sides)), tmp_path / "lock").untimed == ""


def test_a_network_that_back_propagates_is_timed_in_torch_with_its_backward_pass(tmp_path, monkeypatch):
    quick(monkeypatch)
    found = timing(Probe(Steep(), (torch.randn(1, 3, 8, 8),), gradients=True), tmp_path / "lock")
    assert not found.untimed and found.latency["one"]["torch"]["median_ms"] > 0
    assert "back-propagates" in found.kernel["outside"][0] and found.bytes_packed is None
    assert timing(Probe(Steep(), (torch.randn(1, 3, 8, 8),)), tmp_path / "lock").untimed  # nobody said that it does


def test_a_function_is_counted_and_timed_in_torch(tmp_path, monkeypatch):
    quick(monkeypatch)
    network = Two().eval()
    probe = Probe(lambda images: network(images, images), (torch.randn(1, 3, 5, 5),))
    assert costs(probe)["macs"] == 2 * 12 * 25 and costs(probe)["params"] == 0
    found = timing(probe, tmp_path / "lock")
    assert not found.untimed and found.kernel["outside"] and found.kernel["macs_share"] == 0


@pytest.mark.parametrize("error", [TypeError("no tensor\nbut more"), KeyError("out"), MemoryError("none left")])
def test_whatever_goes_wrong_in_timing_is_a_reason(error, tmp_path, monkeypatch):
    def fail(*arguments: Any, **options: Any) -> None:
        raise error

    monkeypatch.setattr("suite.profile.probe.network_latency", fail)
    found = timing(Probe(Two(), ()), tmp_path / "lock")
    assert found.untimed == f"{type(error).__name__}: {error}".partition("\n")[0]
    assert (found.latency, found.kernel, found.bytes_packed, found.layers) == (None, None, None, ())

"""Plans of networks with several inputs or outputs, and the gate that compares them."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import pytest
import torch
from torch import nn
from torch.nn import functional

from suite.kernel import Gate, check, lower
from suite.kernel.gate import difference


class Maps(NamedTuple):
    fine: torch.Tensor
    coarse: torch.Tensor


class Outputs(nn.Module):
    """Two layers, of which `put` makes the output."""

    def __init__(self, put: Any) -> None:
        super().__init__()
        self.first, self.second, self.put = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1), put

    def forward(self, images: torch.Tensor) -> Any:
        fine = self.first(images)
        return self.put(fine, functional.relu(self.second(functional.relu(fine)) + fine))


@pytest.mark.parametrize(("put", "parts"), [
    (lambda fine, coarse: {"fine": fine, "coarse": coarse}, lambda output: [output["fine"], output["coarse"]]),
    (lambda fine, coarse: (fine, coarse), lambda output: [*output]),
    (lambda fine, coarse: Maps(fine, coarse), lambda output: [output.fine, output.coarse]),
    (lambda fine, coarse: {"all": [(fine,), coarse, coarse]}, lambda output: [output["all"][0][0], *output["all"][1:]]),
    (lambda fine, coarse: (coarse, 3), lambda output: [output[0], torch.tensor(output[1])]),
], ids=["dictionary", "tuple", "named tuple", "nested", "with a number"])
def test_every_output_is_what_torch_gives_and_all_layers_are_in_the_plan(put, parts):
    torch.manual_seed(0)
    network, images = Outputs(put).eval(), torch.randn(1, 3, 9, 7)
    plan = lower(network, images)
    assert plan.macs_share == pytest.approx(1) and not plan.outside
    with torch.inference_mode():
        found, wanted = plan(images), network(images)
    assert all(torch.allclose(*pair, atol=1e-5) for pair in zip(parts(found), parts(wanted), strict=True))
    assert check(plan, network, images) < 1e-5


class Inputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 3)

    def forward(self, one: torch.Tensor, other: dict[str, torch.Tensor], share: float, power: int = 2) -> torch.Tensor:
        return self.layer(one) * share - self.layer(other["images"]) ** power


def test_several_positional_inputs_of_which_some_are_no_tensors():
    torch.manual_seed(0)
    network, one, other = Inputs().eval(), torch.randn(1, 3, 8, 8), torch.randn(1, 3, 8, 8)
    plan = lower(network, (one, {"images": other}, 0.25))
    assert plan.macs_share == pytest.approx(1)
    assert check(plan, network, (other, {"images": one}, 0.25)) < 1e-5
    for wrong in ((one, {"images": other}, 0.5), (one, {"images": other[..., :7]}, 0.25), (one, {"images": other}), (one,)):
        with pytest.raises(ValueError, match="the plan was lowered for inputs of"):
            plan(*wrong)  # numbers are constants of the plan


def test_a_network_that_back_propagates_runs_in_torch():
    class Steep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(3, 4, 3)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            images = images.detach().requires_grad_()
            return torch.autograd.grad(self.layer(images).square().sum(), images)[0]

    network, images = Steep().eval(), torch.randn(1, 3, 8, 8)
    plan = lower(network, images, gradients=True)
    assert "back-propagates" in plan.outside[0] and plan.macs_share == 0 and not plan.layers
    assert check(plan, network, images) == 0 and not plan(images).requires_grad


def test_every_output_is_compared_on_its_own_scale():
    large, small = torch.tensor([1e6, -1e6]), torch.tensor([1e-3, 2e-3])
    wanted = {"large": large, "rest": [small, 3, None]}
    assert difference(wanted, wanted) == 0
    assert difference({"large": large, "rest": [small * 1.01, 3, None]}, wanted) == pytest.approx(0.01, rel=1e-3)
    assert difference({"large": large + 100, "rest": [small, 3, None]}, wanted) == pytest.approx(1e-4, rel=1e-3)
    assert math.isnan(difference({"large": large, "rest": [small * math.nan, 3, None]}, wanted))


@pytest.mark.parametrize(("found", "wanted"), [
    ({"a": torch.ones(1)}, {"b": torch.ones(1)}), ([torch.ones(1)], [torch.ones(1)] * 2), (torch.ones(2), torch.ones(3)),
    (3, 4), (None, torch.ones(1)), (torch.ones(1), 1), ({"a": 1}, [1]),
], ids=str)
def test_other_parts_than_torch_gives_are_infinitely_wrong(found, wanted):
    assert difference(found, wanted) == math.inf


def test_labels_and_nothing_are_compared_too():
    assert difference(torch.tensor([1, 2]), torch.tensor([1, 4])) == 0.5
    assert difference(torch.tensor([True]), torch.tensor([False])) > 1
    assert difference(torch.ones(0, 4), torch.ones(0, 4)) == 0


class Heads(nn.Module):
    """A large and a small head, side by side in one output that `put` makes."""

    def __init__(self, put: Any) -> None:
        super().__init__()
        self.body, self.large, self.small, self.put = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 4, 1), nn.Conv2d(8, 2, 1), put
        self.large.weight.data *= 1e5
        self.large.bias.data *= 1e5

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        body = functional.relu(self.body(images))
        return self.put(self.large(body), self.small(body))


PUTS = {
    "channels": lambda large, small: torch.cat([large, small], 1),
    "columns": lambda large, small: torch.cat([large, small], 1).flatten(2).transpose(1, 2),
    "one vector": lambda large, small: torch.cat([large.flatten(), small.flatten()]),
    "logits": lambda large, small: torch.cat([large, small], 1).mean((2, 3)),
}


@pytest.mark.parametrize("put", PUTS)
def test_a_small_head_beside_a_large_one_is_held_to_the_same_relative_error(put):
    torch.manual_seed(0)
    network, images = Heads(PUTS[put]).eval(), torch.randn(1, 3, 6, 5)
    gate = Gate(network, [(images,), (torch.randn(1, 3, 6, 5),)])
    plan = lower(network, images)
    assert gate.error(plan) < 2e-5
    network.small.weight.data *= 1.001
    assert gate.error(lower(network, images)) > 1e-4, "which is 1e-8 of the large head"
    assert (gate.given, gate.mirrored) == (2, 0)


@pytest.mark.parametrize("seed", range(5))
def test_numbers_that_are_zero_but_for_rounding_refuse_no_plan(seed):
    torch.manual_seed(seed)
    layers = nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 64, 3), nn.BatchNorm2d(64)
    network = nn.Sequential(*layers, nn.Flatten(), nn.Linear(64 * 16, 1000)).eval()
    with torch.no_grad():
        network[3].weight[:8] = 0  # what is left of them is a normalised constant
        network[4].running_mean[:8] = network[3].bias[:8]
        network[6].weight[:300] -= network[6].weight[:300].mean(1, keepdim=True)
        network[6].bias.zero_()
    for part in (network, network[:5]):
        assert check(lower(part, torch.randn(1, 3, 8, 8)), part, torch.randn(1, 3, 8, 8)) < 3e-5


def test_two_different_inputs_are_compared_of_each_shape():
    network = nn.Sequential(nn.Conv2d(3, 4, 1)).eval()
    wide, tall = torch.randn(1, 3, 4, 5), torch.randn(1, 3, 5, 4)
    gate = Gate(network, [(wide,), (wide.clone(),), (tall,), (tall.flip(-1),)])
    assert (gate.given, gate.mirrored) == (3, 1)
    assert [len(calls) for calls, _, _ in gate.parts] == [2, 2] and torch.equal(gate.parts[0][0][1][0], wide.flip(-1))
    assert gate.error(lower(network, wide)) < 1e-6 > gate.error(lower(network, tall))
    assert gate.error(lower(network, torch.randn(1, 3, 4, 4))) == math.inf, "a plan for a shape that was not compared"


def test_a_plan_that_is_right_on_the_first_input_alone_is_wrong():
    class Brittle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(1, 1, 1)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.layer(images) * (2.0 if bool(images[0, 0, 0, 0] > images[0, 0, 0, -1]) else 1.0)

    network, images = Brittle().eval(), torch.tensor([[[[0.0, 1.0]]]])
    plan = lower(nn.Sequential(network.layer), images)
    assert check(plan, network, images) > 0.1

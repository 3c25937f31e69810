"""What a plan cannot take runs in torch, and the rest stays in the plan: work in place, hooks, weights that are read elsewhere."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from suite.kernel import check, lower
from suite.kernel.plan import Call, Native, Plan, Read, Write
from suite.nn import build


def calls(plan: Plan) -> list[str]:
    """What runs in torch, by the names of the operations."""
    return [part.variable.name for part in plan.program if isinstance(part, Call)]


class Network(nn.Module):
    """Two convolutions (the first with a normalisation), and any function of them and of the images."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.one, self.norm = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.two, self.act, self.function = nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(inplace=True), function
        self.norm.running_mean.uniform_(-1, 1)
        self.norm.running_var.uniform_(0.5, 4)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.function(self, images)


def in_place_module(net: Network, x: torch.Tensor) -> torch.Tensor:
    y = net.one(x)
    return net.two(net.act(y)) + y


def in_place_sum(net: Network, x: torch.Tensor) -> torch.Tensor:
    y = net.norm(net.one(x))
    z = y
    z += 1
    return net.two(y) + z


def in_place_unused(net: Network, x: torch.Tensor) -> torch.Tensor:
    y = net.one(x)
    net.act(y)
    return net.two(y)


def in_place_twice(net: Network, x: torch.Tensor) -> torch.Tensor:
    y = net.one(x)
    y.mul_(2)
    y.relu_()
    return net.two(y) - y


def in_place_then_twice_read(net: Network, x: torch.Tensor) -> torch.Tensor:
    y = net.one(x)
    before = net.two(y)
    functional.relu(y, inplace=True)
    return before + net.two(y)


def a_view_sees_it(net: Network, x: torch.Tensor) -> torch.Tensor:
    y = net.one(x)
    rows = y.view(1, 8, -1)
    net.act(y)
    return net.two(y) + rows.mean(2)[:, :, None, None]


def through_a_view(net: Network, x: torch.Tensor) -> torch.Tensor:
    y = net.norm(net.one(x))
    y[:, :4].mul_(3)
    return net.two(y) + y


def an_item_is_set(net: Network, x: torch.Tensor) -> torch.Tensor:
    y = net.act(net.one(x))
    y[:, 0] = 5
    return net.two(net.two(y))


def one_of_two_halves(net: Network, x: torch.Tensor) -> torch.Tensor:
    first, second = net.one(x).chunk(2, 1)
    first.relu_()
    return net.two(torch.cat([first, second], 1)) + torch.cat([second, first], 1)


def before_and_after_a_view(net: Network, x: torch.Tensor) -> torch.Tensor:
    y = net.one(x)
    early = net.two(y)
    y[:, 1:].add_(1)
    return early + net.two(y)


def the_input(net: Network, x: torch.Tensor) -> torch.Tensor:
    x.mul_(2)
    return net.one(x) + x


def folded_weight_elsewhere(net: Network, x: torch.Tensor) -> torch.Tensor:
    return net.norm(net.one(x)) + functional.conv2d(x, net.one.weight, padding=1)


def folded_statistics_elsewhere(net: Network, x: torch.Tensor) -> torch.Tensor:
    return net.norm(net.one(x)) * net.norm.running_var.view(1, 8, 1, 1)


def a_layer_twice(net: Network, x: torch.Tensor) -> torch.Tensor:
    return net.norm(net.one(net.one(x))) + net.two(x)


def over_its_own_source(net: Network, x: torch.Tensor) -> torch.Tensor:
    y = net.one(x).relu()
    return net.two(y) + y


def maps_flattened(net: Network, x: torch.Tensor) -> torch.Tensor:
    return functional.linear(torch.flatten(net.one(x), 1, end_dim=2), torch.ones(3, x.shape[3]))


def always_dropped(net: Network, x: torch.Tensor) -> torch.Tensor:
    return net.two(functional.dropout(net.one(x), 0.0, training=True))


FUNCTIONS = (
    in_place_module, in_place_sum, in_place_unused, in_place_twice, in_place_then_twice_read, a_view_sees_it, through_a_view,
    an_item_is_set, one_of_two_halves, before_and_after_a_view, the_input, folded_weight_elsewhere, folded_statistics_elsewhere,
    a_layer_twice, over_its_own_source, maps_flattened, always_dropped,
)


@pytest.mark.parametrize("threads", (1, 2))
@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_the_plan_agrees_with_torch_and_keeps_the_layers(function, threads):
    torch.manual_seed(0)
    network, images = Network(function).eval(), torch.randn(1, 8, 13, 11)
    plan = lower(network, images, threads=threads)
    for _ in range(2):
        assert check(plan, network, images) < 1e-5
    assert {layer.name for layer in plan.layers} >= {"one"} and not any("network" in reason for reason in plan.outside)


@pytest.mark.parametrize("function", [in_place_module, in_place_unused, in_place_then_twice_read, over_its_own_source])
def test_work_in_place_that_views_do_not_see_is_in_the_plan(function):
    assert calls(lower(Network(function).eval(), torch.randn(1, 8, 13, 11))) == []


@pytest.mark.parametrize("start", (2, -2))
def test_maps_that_are_flattened_are_rows_for_a_linear_layer(start):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.Flatten(start), nn.Linear(35, 6), nn.ReLU()).eval()
    plan, images = lower(network, torch.randn(1, 4, 7, 5)), torch.randn(1, 4, 7, 5)
    assert check(plan, network, images) < 1e-5 and plan.macs_share == pytest.approx(1)
    assert calls(plan) == ["_1"]


@pytest.mark.parametrize("options", [{"start_dim": 1}, {"start_dim": 1, "end_dim": 3}])
def test_however_flattening_is_spelt(options):
    network = Network(lambda net, x: torch.flatten(net.one(x), **options)).eval()
    assert calls(lower(network, torch.randn(1, 8, 3, 3))) == []


def hooked(name: str, kind: str, seen: list[Any]) -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 1)
    network = nn.Sequential(*layers).eval()
    module = network.get_submodule(name)
    if kind == "before":
        module.register_forward_pre_hook(lambda module, inputs: (inputs[0] + 1,))
    elif kind == "behind":
        module.register_forward_hook(lambda module, inputs, output: seen.append(output.shape) or output * 2)
    else:
        module.forward = lambda values, before=module.forward: before(values) - 1
    return network


@pytest.mark.parametrize("kind", ("before", "behind", "replaced"))
@pytest.mark.parametrize("name", ("0", "1", "2", "3", "4"))
def test_a_module_with_a_hook_runs_in_torch_with_it(name, kind):
    network, images = hooked(name, kind, []), torch.randn(1, 3, 9, 9)
    plan = lower(network, images)
    assert check(plan, network, images) < 1e-5
    assert f"_{name}" in calls(plan) and "5" in {layer.name for layer in plan.layers}
    assert {layer.name for layer in plan.layers} == {"0", "3", "5"} - {name}


def test_a_hook_on_the_network_itself_keeps_all_of_it_in_torch():
    network, images = hooked("", "behind", []), torch.randn(1, 3, 9, 9)
    plan = lower(network, images)
    assert "a hook looks at it" in plan.outside[0] and check(plan, network, images) == 0


class Counting(nn.Module):
    """Its output depends on how often it was called, by a buffer or a number."""

    def __init__(self, buffer: bool) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 3, 1)
        if buffer:
            self.register_buffer("calls", torch.zeros(1))
        else:
            self.calls = 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return self.layer(images) * self.calls


@pytest.mark.parametrize("buffer", (True, False))
def test_a_network_that_changes_itself_runs_in_torch_and_is_left_alone(buffer):
    network, images = Counting(buffer), torch.randn(1, 3, 4, 4)
    plan = lower(network, images)
    assert "it changes its own" in plan.outside[0] and int(network.calls) == 0
    assert check(plan, network, images) == 0 and int(network.calls) == 0
    assert not torch.equal(plan(images), plan(images)), "the plan has a state of its own"


@pytest.mark.parametrize(
    ("arch", "size", "layers", "steps"), [("resnet20", 32, 20, 29), ("mobilenet_v2", 224, 53, 55), ("resnet50", 224, 54, 77)])
def test_common_networks_keep_their_steps(arch, size, layers, steps):
    plan = lower(build(arch, 10, size), torch.randn(1, 3, size, size))
    kinds = [type(part) for part in plan.program]
    assert kinds == [Write, Native, Read, Native] and len(plan.layers) == layers
    assert sum(part.last - part.first for part in plan.program if isinstance(part, Native)) == steps


@pytest.mark.parametrize("product", [
    lambda x, y: x @ y, lambda x, y: x.matmul(y), lambda x, y: x.flatten(0, 1).bmm(y.flatten(0, 1)),
    lambda x, y: torch.matmul(x, y), lambda x, y: torch.einsum("nchw,ncwk->nchk", x, y),
])
def test_products_in_torch_are_named_however_they_are_called(product):
    network, images = Network(lambda net, x: net.two(net.one(x)) + product(x, x).view(x.shape)), torch.randn(1, 8, 8, 8)
    plan = lower(network, images)
    (reason,) = plan.outside
    assert "runs in torch" in reason and plan.macs_share < 1


def test_a_module_that_is_called_like_a_product_is_none():
    network = nn.Sequential()
    network.add_module("one", nn.Conv2d(8, 8, 1))
    network.add_module("mm", nn.Softsign())  # not in the kernel, and without MACs
    plan = lower(network, torch.randn(1, 8, 8, 8))
    assert plan.outside == [] and "mm" in calls(plan)

"""Counting: the reference totals to the last printed digit, non-zero weights, and what cannot be counted."""

from __future__ import annotations

import pickle
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune

from suite.cost import Cost, count
from suite.kernel import check, lower
from suite.modes import plain
from suite.nn import build

# Millions: MACs (printed digits kept), parameters.
TOTALS = {
    ("resnet18", 224): ("1814.07", "11.690"),
    ("resnet50", 224): ("4089.18", "25.557"),
    ("mobilenet_v1", 224): ("568.74", "4.23"),
    ("mobilenet_v2", 224): ("300.77", "3.505"),
    ("mobilenet_v3_large", 224): ("216.59", "5.483"),
    ("mobilenet_v3_small", 224): ("56.51", "2.543"),
    ("vgg16", 224): ("15470.26", "138.358"),
    ("vit_ti_16", 224): ("1253.7", ""),
    ("vit_s_16", 224): ("4598.9", ""),
    ("vit_b_16", 224): ("17563.8", ""),
    ("resnet20", 32): ("40.55", "0.270"),
    ("resnet32", 32): ("68.86", "0.464"),
    ("resnet56", 32): ("125.49", "0.853"),
    ("resnet110", 32): ("252.89", "1.728"),
    ("cifar_vgg16", 32): ("313.20", "14.73"),
}


def network_and_images(arch: str, size: int) -> tuple[nn.Module, Tensor]:
    with torch.device("meta"):
        return build(arch, 1000 if size == 224 else 10, size), torch.empty(1, 3, size, size)


def printed(value: float, like: str) -> str:
    return f"{value / 1e6:.{len(like.partition('.')[2])}f}"


def sums(cost: Cost, network: nn.Module) -> dict[str, float]:
    """MACs in millions by the kind of layer."""
    total = dict.fromkeys(("stem", "depthwise", "pointwise", "other", "linear", "attention"), 0.0)
    for layer in cost.layers:
        module = network.get_submodule(layer.name)
        kind = {nn.Linear: "linear", nn.MultiheadAttention: "attention"}.get(type(module), "other")  # type: ignore[arg-type]
        if isinstance(module, nn.Conv2d):
            kind = "stem" if module.in_channels == 3 else "depthwise" if module.groups > 1 else "other"
            kind = "pointwise" if kind == "other" and module.kernel_size == (1, 1) else kind
        total[kind] += layer.macs / 1e6
    return total


@pytest.mark.parametrize(("arch", "size"), TOTALS)
def test_reference_totals(arch: str, size: int) -> None:
    macs, params = TOTALS[arch, size]
    network, images = network_and_images(arch, size)
    cost = count(network, images)
    assert printed(cost.macs, macs) == macs
    assert not params or printed(cost.params, params) == params
    assert cost.params == sum(values.numel() for values in network.parameters()) == sum(i.params for i in cost.layers)
    assert cost.macs == sum(layer.macs for layer in cost.layers) == cost.macs_effective
    assert cost.bytes_dense == 4 * cost.params and not cost.uncounted


def test_parts_of_the_reference_totals() -> None:
    kinds = ("stem", "depthwise", "pointwise", "linear")
    for arch, totals in (
        ("mobilenet_v1", [10.84, 17.39, 539.49, 1.02]),
        ("mobilenet_v2", [10.84, 20.72, 267.94, 1.28]),
    ):
        network, images = network_and_images(arch, 224)
        parts = sums(count(network, images), network)
        assert [round(parts[kind], 2) for kind in kinds] == totals
    for arch, conv, linear in (("resnet50", 4087.14, 2.05), ("vgg16", 15346.63, 123.63)):
        network, images = network_and_images(arch, 224)
        parts = sums(count(network, images), network)
        assert round(parts["stem"] + parts["other"] + parts["pointwise"], 2) == conv
        assert round(parts["linear"], 2) == linear


@pytest.mark.parametrize(("arch", "macs"), [("vit_ti_16", 1074.9), ("vit_s_16", 4241.2), ("vit_b_16", 16848.5)])
def test_attention_products_are_what_the_projections_leave(arch: str, macs: float) -> None:
    network, images = network_and_images(arch, 224)
    cost = count(network, images)
    inside = [layer for layer in cost.layers if layer.kind == "MultiheadAttention"]
    width = inside[0].output[-1]
    products = sum(layer.macs - 197 * 4 * width**2 for layer in inside)
    assert len(inside) == 12 and products == 12 * 2 * 197**2 * width
    assert round((cost.macs - products) / 1e6, 1) == macs


def test_zero_weights_are_no_work() -> None:
    network = build("resnet8", 10, 32)
    dense = count(network, torch.zeros(1, 3, 32, 32))
    weight = network.layer2[0].conv1.weight  # type: ignore[index, union-attr]
    with torch.no_grad():
        weight[:, :8] = 0  # type: ignore[index, operator]
        network.fc.weight[:, ::2] = 0  # type: ignore[index, operator, union-attr]
    cost = count(network, torch.zeros(1, 3, 32, 32))
    gone = 32 * 8 * 9
    assert cost.macs == dense.macs
    assert dense.macs_effective - cost.macs_effective == gone * 16 * 16 + 320
    assert dense.params_nonzero - cost.params_nonzero == gone + 320
    assert (cost.params, cost.bytes_dense) == (dense.params, dense.bytes_dense)


class Mask(nn.Module):
    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, weight: Tensor) -> Tensor:
        return weight * self.mask


@pytest.mark.parametrize("parameter", ["in_proj_weight", "out_proj.weight"])
def test_masks_count_on_the_weight_that_results(parameter: str) -> None:
    attention = nn.MultiheadAttention(8, 2, batch_first=True)
    owner, _, name = parameter.rpartition(".")
    module = attention.get_submodule(owner)
    mask = torch.zeros_like(getattr(module, name))
    mask[:2] = 1
    parametrize.register_parametrization(module, name, Mask(mask))
    tokens = torch.randn(1, 5, 8)
    cost = count(attention, (tokens, tokens, tokens))
    zeros = (mask == 0).sum().item()
    assert cost.macs == 5 * 4 * 8 * 8 + 2 * 5 * 5 * 8
    assert cost.macs - cost.macs_effective == 5 * zeros
    assert cost.params == 4 * 8 * 8 + 4 * 8 and not cost.uncounted
    (layer,) = cost.layers
    assert layer.kind == "MultiheadAttention" and layer.nonzero == cost.params_nonzero <= cost.params - zeros


class Function(nn.Module):
    """Runs any function of its input as a network, with one weight (4, 6)."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.eye(4, 6))
        self.function = function

    def forward(self, values: Tensor) -> Tensor:
        return self.function(values, self.weight)


@pytest.mark.parametrize(
    ("function", "macs", "effective"),
    [
        (lambda x, w: F.scaled_dot_product_attention(x, x, x), 2 * 2 * 3 * 3 * 4, 2 * 2 * 3 * 3 * 4),
        (lambda x, w: x @ x.transpose(1, 2), 2 * 3 * 3 * 4, 2 * 3 * 3 * 4),
        (lambda x, w: torch.einsum("bij,jk->bik", x, w), 6 * 4 * 6, 6 * 4),
        (lambda x, w: w.t() @ x.transpose(1, 2), 2 * 6 * 4 * 3, 2 * 4 * 3),
        (lambda x, w: torch.baddbmm(torch.zeros(1), x, x.transpose(1, 2)), 2 * 3 * 3 * 4, 2 * 3 * 3 * 4),
        (lambda x, w: F.linear(x, w.t().relu()), 6 * 4 * 6, 6 * 4),
        (lambda x, w: x[0, 0] @ w, 24, 4),
        (lambda x, w: F.softmax(x * 2, -1).mean(), 0, 0),
    ],
)
def test_matrix_products_wherever_they_are(function: Any, macs: int, effective: int) -> None:
    cost = count(Function(function), torch.ones(2, 3, 4))
    assert (cost.macs, cost.macs_effective) == (macs, effective)
    assert cost.ops == {"mul": macs, "add": macs, "xnor": 0}
    assert not macs or cost.uncounted == ()


def test_transposed_and_grouped_convolutions() -> None:
    cost = count(nn.ConvTranspose2d(4, 6, 3, stride=2), torch.zeros(1, 4, 5, 5))
    assert cost.macs == cost.macs_effective == 4 * 6 * 9 * 25
    assert count(nn.Conv2d(4, 8, 3, groups=2), torch.zeros(1, 4, 5, 5)).macs == 8 * 2 * 9 * 9


class Adder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4, 3))

    def forward(self, values: Tensor) -> Tensor:
        return -torch.cdist(values, self.weight, p=1) + 0 * (values @ self.weight.t())


class Declared(Adder):
    def cost(self, inputs: tuple[Tensor, ...]) -> dict[str, int]:
        macs = inputs[0].shape[0] * self.weight.numel()
        return {"mul": 0, "add": 2 * macs, "macs": macs, "bits": 8 * self.weight.numel()}


def test_what_a_module_declares_is_taken() -> None:
    network = nn.Sequential(nn.Linear(3, 3, bias=False), Declared())
    cost = count(network, torch.ones(2, 3))
    assert cost.macs == 2 * 9 + 2 * 12
    assert cost.ops == {"mul": 18, "add": 18 + 48, "xnor": 0}
    assert cost.bytes_dense == 4 * 9 + 12 and not cost.uncounted


def test_what_is_not_counted_is_named() -> None:
    assert count(Adder(), torch.ones(2, 3)).uncounted == ("aten::cdist_forward",)
    assert count(Function(lambda x, w: x + w.sum()), torch.ones(2)).uncounted == ("Function",)
    assert not count(nn.Embedding(9, 4), torch.zeros(2, dtype=torch.long)).uncounted


def test_plain_functions_and_side_effects() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).train()
    before = {key: values.clone() for key, values in network.state_dict().items()}
    assert count(network, torch.ones(2, 3, 2, 2)).macs == 2 * 4 * 12
    assert network.training and all(torch.equal(before[key], values) for key, values in network.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
    assert torch.backends.mha.get_fastpath_enabled()
    assert count(lambda x: x @ x.t(), torch.ones(2, 3)).macs == 12


def test_shared_weights_are_held_once_and_used_twice() -> None:
    layer = nn.Linear(3, 3, bias=False)
    other = nn.Linear(3, 3, bias=False)
    other.weight = layer.weight
    cost = count(nn.Sequential(layer, other), torch.ones(1, 3))
    assert (cost.params, cost.bytes_dense, cost.macs) == (9, 36, 18)


class Parts(NamedTuple):
    scores: Tensor
    size: Any


@pytest.mark.parametrize("put", [lambda x: {"a": x}, lambda x: (x, [x, 3]), lambda x: Parts(x, None), lambda x: object()])
def test_what_a_network_puts_out_may_be_anything(put: Any) -> None:
    network = Function(lambda values, weight: put(values @ weight))
    assert count(network, torch.ones(2, 3, 4)).macs == 6 * 4 * 6
    two = count(lambda one, other: put(one @ other["right"]), (torch.ones(2, 3), {"right": torch.ones(3, 4)}))
    assert two.macs == 2 * 3 * 4 and not two.uncounted


@pytest.mark.parametrize(
    ("network", "macs"),
    [
        (nn.LSTM(9, 32, 2, batch_first=True), 64 * 4 * 32 * (9 + 32 + 32 + 32)),
        (nn.LSTM(9, 32, bidirectional=True, batch_first=True), 64 * 2 * 4 * 32 * (9 + 32)),
        (nn.LSTM(9, 32, proj_size=8, batch_first=True), 64 * (4 * 32 * (9 + 8) + 32 * 8)),
        (nn.GRU(9, 32, 2, batch_first=True), 64 * 3 * 32 * (9 + 32 + 32 + 32)),
        (nn.RNN(9, 32, batch_first=True), 64 * 32 * (9 + 32)),
    ],
    ids=lambda item: type(item).__name__,
)
def test_recurrent_layers_are_counted_and_zero_weights_are_no_work(network: nn.Module, macs: int) -> None:
    cost = count(network, torch.randn(1, 64, 9))
    assert (cost.macs, cost.macs_effective, cost.uncounted) == (macs, macs, ())
    nn.init.zeros_(network.weight_ih_l0[:5])  # type: ignore[operator, index]
    assert count(network, torch.randn(1, 64, 9)).macs_effective == macs - 64 * 5 * 9


@pytest.mark.filterwarnings("ignore")  # torch will move its quantisation elsewhere
def test_quantised_layers_are_named() -> None:
    network = torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(8, 8), nn.ReLU()), {nn.Linear}, torch.qint8)
    assert count(network, torch.randn(1, 8)).uncounted == ("quantized::linear_dynamic",)


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (lambda x, w: torch.fft.rfft(x).real, "aten::fft_r2c"),
        (lambda x, w: torch.linalg.svdvals(x), "aten::linalg_svd"),
        (lambda x, w: torch.nn.functional.bilinear(x, x, torch.ones(2, 3, 3)), "aten::trilinear"),
        (lambda x, w: torch._weight_int8pack_mm(x.bfloat16(), torch.ones(2, 3, dtype=torch.int8), torch.ones(2).bfloat16()),
         "aten::weight_int8pack_mm"),
    ],
    ids=["fft", "svd", "bilinear", "packed"],
)  # fmt: skip
def test_heavy_functions_are_named(function: Any, name: str) -> None:
    assert name in count(lambda x: function(x, None), torch.ones(2, 3)).uncounted


def test_what_no_multiplications_are_is_not_named() -> None:
    def free(x: Tensor) -> Tensor:
        maps = torch.nn.functional.interpolate(x[None, None].expand(1, 3, 2, 3), scale_factor=2, mode="bilinear")
        volume = torch.nn.functional.interpolate(maps[:, :, None], scale_factor=2, mode="trilinear")
        return torch.nn.functional.normalize(volume, dim=1).abs().lgamma().digamma()

    assert count(free, torch.ones(2, 3)).uncounted == ()


def masked(kind: str) -> nn.Module:
    """A convolution whose weight is computed: 54 of 216 stay, or all."""
    layer = nn.Conv2d(3, 8, 3)
    if kind == "pruned":
        prune.l1_unstructured(layer, "weight", 0.75)
    elif kind == "pruned twice":
        prune.l1_unstructured(layer, "weight", 0.5)
        prune.l1_unstructured(layer, "weight", 0.5)
    elif kind == "weight norm":
        prune.l1_unstructured(layer, "weight", 0.75)
        prune.remove(layer, "weight")
        nn.utils.parametrizations.weight_norm(layer)
    elif kind == "old weight norm":
        prune.l1_unstructured(layer, "weight", 0.75)
        prune.remove(layer, "weight")
        nn.utils.weight_norm(layer)
    else:
        mask = torch.zeros(8, 3, 3, 3)
        mask[:2] = 1
        parametrize.register_parametrization(layer, "weight", Mask(mask))
    return layer


@pytest.mark.filterwarnings("ignore")  # the old way is deprecated
@pytest.mark.parametrize("kind", ["pruned", "pruned twice", "weight norm", "old weight norm", "parametrised"])
def test_effective_weights_are_copied_and_counted_whatever_computes_them(kind: str) -> None:
    network = nn.Sequential(masked(kind), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 4))
    images = torch.randn(1, 3, 8, 8)
    wanted = network(images)
    wanted.sum().backward()  # as training leaves it: the weight is no leaf, and cannot be copied as it is
    before = set(network.state_dict())
    copied = plain(network)
    assert torch.allclose(copied(images), wanted)
    assert set(dict(copied.named_parameters())) == {"0.weight", "0.bias", "3.weight", "3.bias"}
    assert type(copied[0]) is nn.Conv2d and not copied[0]._forward_pre_hooks
    assert torch.allclose(pickle.loads(pickle.dumps(copied))(images), wanted)
    cost = count(network, images)
    assert (cost.params, cost.params_nonzero) == (216 + 8 + 1156, 54 + 8 + 1156) and cost.bytes_dense == 4 * cost.params
    assert (cost.macs, cost.macs_effective) == (36 * 216 + 1152, 36 * 54 + 1152)
    assert torch.allclose(network(images), wanted) and set(network.state_dict()) == before, "the network itself is left alone"
    plan = lower(network, images)
    assert plan.layers[0].effective == 36 * 54 and check(plan, network, images) < 1e-5


def test_recurrent_layers_that_are_masked_compute_the_same_as_a_copy() -> None:
    network, images = nn.LSTM(4, 4), torch.randn(5, 1, 4)
    prune.random_unstructured(network, "weight_hh_l0", 0.5)
    copied = plain(network)
    assert torch.allclose(copied(images)[0], network(images)[0]) and count(network, images).macs_effective == 5 * (64 + 32)
    assert torch.count_nonzero(copied.weight_hh_l0) == 32

"""The kernel against float64 convolutions, on every SIMD path of this machine; lowered networks against torch."""

import math
import threading
import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from suite.errors import UserError
from suite.kernel import Plan, check, lower, simd_path
from suite.kernel.emit import Emitter
from suite.kernel.graph import operation, shape_of, traced
from suite.kernel.plan import Call, engine
from suite.nn import build

PATHS = ("avx512", "avx2", "portable")


@pytest.fixture(params=PATHS)
def simd(request, monkeypatch):
    monkeypatch.setenv("SUITE_SIMD", request.param)
    try:
        simd_path()
    except UserError as error:
        pytest.skip(str(error))
    return request.param


def sparse(weight, n, share, generator):
    groups = -(-weight.shape[0] // n)
    keep = torch.rand(groups, weight.shape[1], generator=generator) >= share
    return weight * keep.repeat_interleave(n, 0)[: weight.shape[0], :, None, None]


def randomise(network, seed=0):
    """Batch-norm statistics and weights that hide no mistake."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low, high in ((module.running_mean, -0.1, 0.1), (module.running_var, 0.5, 1.5),
                                      (module.weight.data, 0.5, 1.5), (module.bias.data, -0.2, 0.2)):
                tensor.uniform_(low, high, generator=generator)
    return network.eval()


@pytest.mark.parametrize("threads", (1, 2))
def test_convolutions_equal_float64(simd, threads):
    @settings(max_examples=60, deadline=None)
    @given(
        rows=st.integers(1, 40), columns=st.integers(1, 9), kernel=st.sampled_from((1, 2, 3, 5)), stride=st.integers(1, 3),
        padding=st.integers(0, 2), dilation=st.integers(1, 2), height=st.integers(5, 12), width=st.integers(5, 20),
        n=st.sampled_from((1, 2, 4, 8, 16, 32)), share=st.sampled_from((0.0, 0.5, 0.9, 1.0)), seed=st.integers(0, 99),
    )
    def holds(rows, columns, kernel, stride, padding, dilation, height, width, n, share, seed):
        if dilation * (kernel - 1) + 1 > min(height, width) + 2 * padding:
            return
        generator = torch.Generator().manual_seed(seed)
        layer = nn.Conv2d(columns, rows, kernel, stride, padding, dilation)
        layer.weight.data = sparse(torch.randn(layer.weight.shape, generator=generator), n, share, generator)
        images = torch.randn(1, columns, height, width, generator=generator)
        plan = lower(nn.Sequential(layer), images, threads=threads)
        assert plan.macs_share == 1.0 and plan.simd == simd
        wanted = layer.double()(images.double())
        assert (plan(images) - wanted).abs().max() <= 1e-5 * max(1.0, float(wanted.detach().abs().max()))
        assert torch.equal(plan(images), plan(images))

    holds()


@pytest.mark.parametrize("threads", (1, 2))
def test_depthwise_convolutions_equal_float64(simd, threads):
    @settings(max_examples=30, deadline=None)
    @given(channels=st.integers(1, 20), kernel=st.sampled_from((1, 3, 5)), stride=st.integers(1, 3), dilation=st.integers(1, 2),
           padding=st.integers(0, 3), side=st.integers(9, 17))
    def holds(channels, kernel, stride, dilation, padding, side):
        layer = nn.Conv2d(channels, channels, kernel, stride, padding, dilation, groups=channels)
        images = torch.randn(1, channels, side, side + 2)
        plan = lower(nn.Sequential(layer), images, threads=threads)
        assert [item.kind for item in plan.layers] == [("depthwise" if channels > 1 else f"conv {kernel}x{kernel}")]
        wanted = layer.double()(images.double())
        for _ in range(2):
            assert torch.allclose(plan(images).double(), wanted, atol=1e-5)

    holds()


@pytest.mark.parametrize("threads", (1, 2))
def test_a_convolution_and_the_depthwise_one_behind_it_equal_float64(simd, threads):
    @settings(max_examples=30, deadline=None)
    @given(inputs=st.integers(1, 9), channels=st.integers(2, 40), first=st.sampled_from((1, 3)), first_stride=st.integers(1, 2),
           kernel=st.sampled_from((1, 3, 5)), stride=st.integers(1, 2), padding=st.integers(0, 2), side=st.integers(9, 40),
           n=st.sampled_from((1, 4, 8, 32)))
    def holds(inputs, channels, first, first_stride, kernel, stride, padding, side, n):
        pair = nn.Sequential(nn.Conv2d(inputs, channels, first, first_stride, first // 2), nn.ReLU6(),
                             nn.Conv2d(channels, channels, kernel, stride, padding, groups=channels), nn.ReLU())
        pair[0].weight.data = sparse(pair[0].weight.data * 9, n, 0.5, torch.Generator().manual_seed(side))
        images = torch.randn(1, inputs, side, side + 3)
        plan = lower(pair, images, threads=threads)
        assert [layer.kind for layer in plan.layers][1] == "depthwise" and plan.macs_share == 1.0
        assert len(plan.program) == 3, "one native part between writing the images and reading the output"
        wanted = pair.double()(images.double())
        for _ in range(2):
            assert torch.allclose(plan(images).double(), wanted, atol=1e-4)

    holds()


@settings(max_examples=40, deadline=None)
@given(groups=st.integers(2, 4), inputs=st.integers(1, 5), outputs=st.integers(1, 20), kernel=st.sampled_from((1, 3)),
       stride=st.integers(1, 2), n=st.sampled_from((1, 4, 8)), share=st.sampled_from((0.0, 0.5)), seed=st.integers(0, 99))
def test_convolutions_in_groups_equal_float64(groups, inputs, outputs, kernel, stride, n, share, seed):
    generator = torch.Generator().manual_seed(seed)
    layer = nn.Conv2d(groups * inputs, groups * outputs, kernel, stride, kernel // 2, groups=groups)
    layer.weight.data = sparse(layer.weight.data, n, share, generator)
    images = torch.randn(1, groups * inputs, 9, 7, generator=generator)
    plan = lower(nn.Sequential(layer), images)
    assert plan.macs_share == 1.0 and plan.outside == []
    assert torch.allclose(plan(images).double(), layer.double()(images.double()), atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(1, 70), columns=st.integers(1, 40), n=st.sampled_from((1, 2, 4, 8, 16, 32)), share=st.floats(0, 1))
def test_linear_layers_equal_float64(rows, columns, n, share):
    generator = torch.Generator().manual_seed(rows)
    layer = nn.Linear(columns, rows)
    layer.weight.data = sparse(layer.weight.data[:, :, None, None], n, share, generator)[:, :, 0, 0]
    vector = torch.randn(1, columns)
    assert torch.allclose(lower(nn.Sequential(layer), vector)(vector).double(), layer.double()(vector.double()), atol=1e-5)


@pytest.mark.parametrize(
    "arch, size",
    [("resnet8", 32), ("cifar_vgg16", 32), ("mobilenet_v1", 32), ("mobilenet_v2", 32), ("mobilenet_v2", 64),
     ("mobilenet_v3_small", 32), ("mobilenet_v3_small", 64), ("resnet18", 48), ("resnet50", 64)],
)
def test_networks_lower_completely_and_exactly(arch, size):
    torch.manual_seed(0)
    network, images = randomise(build(arch, 10, size)), torch.randn(1, 3, size, size)
    for dense in (False, True):
        plan = lower(network, images, dense=dense)
        assert plan.outside == [] and plan.macs_share == 1.0
        assert not any(isinstance(step, Call) for step in plan.program)
        assert check(plan, network, images) < 1e-4


def test_transformers_lower_their_linear_layers_and_list_the_rest():
    torch.manual_seed(0)
    network, images = build("vit_ti_16", 10, 32).eval(), torch.randn(1, 3, 32, 32)
    nn.init.normal_(network.heads.head.weight)
    for parameter in network.parameters():  # of the projections, too
        if parameter.dim() == 2:
            parameter.data *= sparse(torch.ones_like(parameter)[:, :, None, None], 4, 0.5, torch.Generator())[:, :, 0, 0]
    plan = lower(network, images)
    assert check(plan, network, images) < 1e-4
    assert [reason.split(":")[1] for reason in plan.outside] == [" runs in torch"] * 12
    assert all("scaled_dot_product_attention" in reason for reason in plan.outside)
    assert 0.99 < plan.macs_share < 1.0
    projections = [layer for layer in plan.layers if "in_proj" in layer.name]
    assert len(projections) == 12 and all(layer.n == 4 and 0.4 < layer.kept < 0.6 for layer in projections)


class Around(nn.Module):
    """Some function of a convolution's output and of tokens made of it."""

    def __init__(self, function):
        super().__init__()
        self.one, self.other = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(3, 8, 1)
        self.left, self.right = nn.Linear(8, 12), nn.Linear(8, 12)
        self.average = nn.AvgPool2d(3, 2, 1)
        self.function = function

    def forward(self, images):
        return self.function(self, images)


def tokens(images):
    return images.flatten(2).transpose(1, 2)


@pytest.mark.parametrize("function", (
    lambda net, images: net.one(images).mean((2, 3)),
    lambda net, images: net.one(images).mean(dim=(-2, -1), keepdim=True),
    lambda net, images: torch.mean(net.one(images), dim=[2, 3]),
    lambda net, images: net.one(images).mean(1),
    lambda net, images: net.one(images).mean(),
    lambda net, images: net.one(images).view(images.size(0), -1),
    lambda net, images: net.one(images) + net.other(images.mean((2, 3), keepdim=True)),
    lambda net, images: net.other(images.mean((2, 3), keepdim=True)) + net.one(images),
    lambda net, images: net.one(images) * net.other(images).mean((2, 3), keepdim=True),
    lambda net, images: torch.relu(net.left(tokens(net.one(images))) + net.right(tokens(net.other(images)))),
    lambda net, images: torch.relu(net.left(tokens(net.one(images)))).flatten(1),
    lambda net, images: net.left(tokens(net.one(images))) * net.right(tokens(net.other(images))),
    lambda net, images: torch.cat([net.one(images), net.other(images)], 1)[:, ::2],
    lambda net, images: torch.cat([net.one(images), images], dim=1),
    lambda net, images: torch.cat([net.one(images), net.other(images)], -1),
    lambda net, images: functional.interpolate(net.one(images), scale_factor=2),
    lambda net, images: net.average(net.one(images)),
    lambda net, images: functional.interpolate(net.one(images), None, 2, "bicubic"),
    lambda net, images: functional.interpolate(net.one(images), size=(14, 27), mode="nearest"),
    lambda net, images: functional.interpolate(net.one(images), size=(14, 20), mode="nearest"),
    lambda net, images: functional.interpolate(net.one(images), scale_factor=2, mode="bilinear"),
    lambda net, images: functional.interpolate(net.one(images), size=(3, 31), mode="bilinear", align_corners=False),
    lambda net, images: functional.interpolate(net.one(images), size=(20, 19), mode="bilinear", align_corners=True),
    lambda net, images: functional.interpolate(net.one(images), scale_factor=1.5, mode="bilinear"),
    lambda net, images: net.one(images) - net.other(images),
    lambda net, images: torch.maximum(net.one(images), net.other(images)) - torch.minimum(net.one(images), net.other(images)),
    lambda net, images: torch.relu(1 - net.one(images)),
    lambda net, images: functional.leaky_relu(net.one(images), 0.1) * functional.leaky_relu(net.other(images)),
    lambda net, images: functional.leaky_relu(net.one(images), negative_slope=0.3),
))
def test_whatever_surrounds_a_layer_the_plan_agrees_with_torch(function):
    torch.manual_seed(0)
    network, images = Around(function), torch.randn(1, 3, 7, 9)
    plan = lower(network, images)
    assert plan.layers and check(plan, network, images) < 1e-4
    assert network.training  # as it was


def test_a_sum_is_written_over_its_dead_part_but_not_by_a_depthwise_layer():
    class Sums(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two, self.three = (nn.Conv2d(8, 8, 1) for _ in range(3))
            self.each = nn.Conv2d(8, 8, 3, padding=1, groups=8)

        def forward(self, images):
            other = self.two(images)
            whole = self.one(images) + self.each(other * other.mean((2, 3), keepdim=True))
            return self.three(torch.relu(whole)) + whole

    network, images = Sums(), torch.randn(1, 8, 15, 7)
    for threads in (1, 2):
        assert check(lower(network, images, threads=threads), network, images) < 1e-5


def test_dead_values_leave_their_memory_to_later_ones():
    emit = Emitter(engine(1), False, {}, {})
    first = emit.write("images", (1, 8, 5, 5))
    second = emit.activate(first, "clamp", 0, 1)
    emit.recycle({second.buffer})
    held = emit.engine.bytes
    smaller = emit.write("more", (1, 4, 5, 5))
    assert emit.free == [] and emit.engine.bytes == held
    emit.recycle({second.buffer})
    emit.write("of another layout", (1, 4, 6, 5))
    assert emit.engine.bytes == held
    emit.recycle({smaller.buffer})
    emit.write("too large for what is free", (1, 40, 6, 5))
    assert emit.engine.bytes > held


def largest_live_set(network, images):
    """Bytes of the values that must exist at once, activations in place; from the traced graph alone."""
    graph = traced(network, (images,))
    modules, nodes, root = dict(graph.named_modules()), list(graph.graph.nodes), {}
    for node in nodes:
        in_place = operation(node, modules) in (nn.ReLU, nn.ReLU6, nn.Dropout, torch.flatten, functional.relu)
        root[node] = root[node.args[0]] if in_place else node
    dies = {}
    for index, node in enumerate(nodes):
        dies |= {root[item]: index for item in node.all_input_nodes}
    sizes = [sum(4 * math.prod(shape_of(item)) for item in nodes[: index + 1] if root[item] is item and dies.get(item, -1) >= index)
             + (4 * math.prod(shape_of(node)) if root[node] is node else 0) for index, node in enumerate(nodes)]
    return max(sizes)


@pytest.mark.parametrize(("arch", "size"), [("mobilenet_v2", 224), ("resnet50", 224), ("vgg16", 224), ("resnet56", 32)])
def test_a_plan_takes_little_more_memory_than_its_weights_and_the_values_that_are_alive(arch, size):
    network, images = build(arch, 10, size).eval(), torch.randn(1, 3, size, size)
    for threads in (1, 2):
        plan = lower(network, images, threads=threads)
        assert plan.bytes + plan.engine.bytes <= 1.3 * (plan.bytes + largest_live_set(network, images))


@pytest.mark.parametrize("threads", (1, 2, 3))
def test_values_that_share_memory_do_not_disturb_each_other(threads):
    torch.manual_seed(0)
    network = randomise(build("mobilenet_v3_small", 10, 224))
    plan = lower(network, torch.zeros(1, 3, 224, 224), threads=threads)
    for _ in range(3):  # a second call meets what the first one left
        assert check(plan, network, torch.randn(1, 3, 224, 224)) < 1e-5


def test_refuses_images_of_another_size_and_impossible_threads():
    plan = lower(nn.Sequential(nn.Conv2d(3, 8, 3)), torch.ones(1, 3, 8, 8))
    with pytest.raises(ValueError, match=r"inputs of \[\(1, 3, 8, 8\)\], not \[\(1, 3, 9, 8\)\]"):
        plan(torch.ones(1, 3, 9, 8))
    with pytest.raises(UserError, match="0 threads are not possible"):
        lower(nn.Sequential(nn.Conv2d(3, 8, 3)), torch.ones(1, 3, 8, 8), threads=0)


def test_a_network_that_cannot_be_traced_runs_in_torch_and_says_so():
    class Odd(nn.Module):
        def forward(self, images):
            return images.flatten(1) if float(images.sum()) > 1e9 else images.flatten(1) * 2

    plan = lower(Odd(), torch.ones(1, 3, 4, 4))
    assert torch.equal(plan(torch.ones(1, 3, 4, 4)), torch.full((1, 48), 2.0))
    assert "cannot be traced" in plan.outside[0] and plan.macs_share == 0


def test_zeros_are_not_stored_and_a_layer_of_zeros_gives_its_bias():
    layer = nn.Conv2d(8, 8, 3, padding=1)
    layer.weight.data.zero_()
    images = torch.randn(1, 8, 6, 6)
    plan = lower(nn.Sequential(layer, nn.ReLU6()), images)
    assert plan.layers[0].kept == 0 and plan.layers[0].effective == 0
    assert torch.allclose(plan(images), layer.bias.detach().clamp(0, 6).view(1, 8, 1, 1).expand(1, 8, 6, 6))


def test_two_threads_may_call_one_plan():
    torch.manual_seed(0)
    network, images = randomise(build("resnet8", 10, 32)), torch.randn(8, 1, 3, 32, 32)
    plan, found = lower(network, images[0], threads=2), [None] * 8

    def call(index):
        found[index] = plan(images[index])

    workers = [threading.Thread(target=call, args=(index,)) for index in range(8)]
    [worker.start() for worker in workers]
    [worker.join() for worker in workers]
    with torch.inference_mode():
        assert all(torch.allclose(got, network(image), atol=1e-4) for got, image in zip(found, images, strict=True))


def median(plan: Plan, images, calls=40):
    times = []
    for _ in range(calls):
        start = time.perf_counter()
        plan(images)
        times.append(time.perf_counter() - start)
    return sorted(times)[calls // 2]


def test_ninety_percent_zeros_in_blocks_of_four_are_faster_than_none():
    layer, images = nn.Conv2d(128, 128, 3, padding=1), torch.randn(1, 128, 28, 28)
    layer.weight.data = sparse(layer.weight.data, 4, 0.9, torch.Generator().manual_seed(0))
    assert median(lower(nn.Sequential(layer), images), images) < 0.5 * median(
        lower(nn.Sequential(layer), images, dense=True), images)


def test_an_unknown_simd_path_is_one_sentence(monkeypatch):
    monkeypatch.setenv("SUITE_SIMD", "sse9")
    with pytest.raises(UserError, match="SUITE_SIMD is 'sse9'; it may be avx512, avx2 or portable"):
        simd_path()

"""What of a network becomes native steps: as little as possible may run in torch between them."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from suite.kernel import check, lower
from suite.kernel.plan import Call, Native, Read, Write
from suite.nn import build


class Siamese(nn.Module):
    """Two pictures through one backbone, and their difference."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1))

    def forward(self, images):
        return self.backbone(images) - self.backbone(functional.relu(images))


class Pyramid(nn.Module):
    """A coarse map is resized to the size of a fine one, as feature pyramids do."""

    def __init__(self):
        super().__init__()
        self.fine, self.coarse = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(3, 8, 3, stride=2, padding=1)

    def forward(self, images):
        fine = self.fine(images)
        return functional.interpolate(self.coarse(images), size=fine.shape[-2:], mode="nearest") + fine


class Subsampled(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 4, 3, padding=1)

    def forward(self, images):
        return self.second(functional.max_pool2d(self.first(images), kernel_size=1, stride=2, padding=0))


class Regions(nn.Module):
    """The second stage of a detector: a head over many regions of one picture."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(12, 16), nn.Linear(16, 5)

    def forward(self, images):
        return self.second(functional.relu(self.first(images.reshape(9, 12))))


@pytest.mark.parametrize("network", (Siamese(), Pyramid(), Subsampled(), Regions()), ids=lambda network: type(network).__name__)
def test_nothing_between_the_layers_runs_in_torch(network):
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-1, 1)
            module.running_var.uniform_(0.5, 2)
    images = torch.randn(1, 3, 6, 6)
    plan = lower(network.eval(), images)
    native = [row for row, part in enumerate(plan.program) if isinstance(part, Native)]
    between = [part for part in plan.program[native[0] : native[-1]] if not isinstance(part, Native)]
    assert not [part for part in between if isinstance(part, Call) or (isinstance(part, Read) and part.variable is not plan.output)]
    assert len([part for part in between if isinstance(part, Write)]) <= 1  # a second view of the images
    assert check(plan, network, images) < 1e-5
    assert plan.macs_share == pytest.approx(1)


def test_a_number_that_depends_on_shapes_is_a_constant():
    class Rows(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Conv2d(3, 4, 1)

        def forward(self, images):
            maps = self.layer(images)
            batch, channels, height, width = maps.shape
            return maps.view(batch, channels, height * width).permute(0, 2, 1) / maps.size(1)

    network, images = Rows().eval(), torch.randn(1, 3, 4, 5)
    plan = lower(network, images)
    names = [str(part.variable.target) for part in plan.program if isinstance(part, Call)]
    assert names == ["view", "permute", "<built-in function truediv>"]
    assert check(plan, network, images) < 1e-6


class Block(nn.Module):
    """A pooled map of whole vectors, in memory that held another layout, which the block's sum is written over."""

    def __init__(self):
        super().__init__()
        self.stem, self.first, self.second = (nn.Conv2d(*channels, 3, padding=1) for channels in ((3, 8), (8, 8), (8, 8)))

    def forward(self, images):
        pooled = functional.max_pool2d(self.stem(images), 2)
        return functional.relu(self.second(functional.relu(self.first(pooled))) + pooled)


@pytest.mark.parametrize("threads", (1, 2))
@pytest.mark.parametrize("side", (8, 16, 24, 32, 64))
def test_a_second_writer_does_not_excuse_the_first_from_its_zeros(side, threads):
    network = nn.Sequential(nn.Conv2d(3, 3, 5, stride=2, padding=2), *(Block() if not row else nn.Identity() for row in range(2))).eval()
    images = torch.randn(1, 3, 4 * side, 4 * side)
    plan = lower(network, images, threads=threads)
    for _ in range(2):
        assert check(plan, network, images) < 1e-5


@pytest.mark.parametrize("arch", ("resnet20", "resnet18", "mobilenet_v2"))
def test_sums_and_activations_are_part_of_a_layers_store(arch):
    plan = lower(build(arch, 10, 32).eval(), torch.randn(1, 3, 32, 32))
    last = max(part.last for part in plan.program if isinstance(part, Native))
    assert last <= len(plan.layers) + {"resnet20": 10, "resnet18": 8, "mobilenet_v2": 14}[arch]  # shortcuts, pools, means, zeros

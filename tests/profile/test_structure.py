"""Latency for methods that select by it: one number for one structure, a new one for another."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from suite import kernel
from suite.nn import build
from suite.nn.selection import block_mask
from suite.paths import cache_folder
from suite.profile import structure
from suite.profile.structure import latency


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SUITE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("suite.paths.timing_lock", lambda: tmp_path / "lock")
    monkeypatch.setattr(structure, "SECONDS", 0.05)
    return tmp_path / "cache"


def network(width: int = 8, share: float = 0.0, seed: int = 0, kernel_size: int = 3) -> nn.Module:
    torch.manual_seed(seed)
    made = nn.Sequential(nn.Conv2d(3, width, kernel_size), nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, 8, 3))
    if share:
        made[3].weight.data.mul_(block_mask(made[3].weight, 4, share))
    return made


IMAGES = torch.randn(1, 3, 16, 16)


def test_equal_structures_have_one_number_whatever_the_weights(cache):
    first = latency(network(), IMAGES)
    assert first > 0 and latency(network(seed=1).train(), torch.zeros(1, 3, 16, 16)) == first
    (path,) = (cache_folder() / "latency").iterdir()
    assert json.loads(path.read_text())["kernel"] == kernel.VERSION
    path.write_text(json.dumps({"median_ms": 7.5}))
    assert latency(network(seed=2), IMAGES) == 7.5


def test_another_structure_is_measured_anew(cache):
    others = [(network(), IMAGES), (network(4), IMAGES), (network(), IMAGES[..., :12]), (network(share=0.5), IMAGES),
              (network(share=0.75), IMAGES), (network(kernel_size=5), IMAGES), (network()[:2], IMAGES), (nn.Sequential(network(), nn.ReLU()), IMAGES)]
    for made, images in others:
        latency(made, images)
    assert len(list((cache_folder() / "latency").iterdir())) == len(others)
    latency(network(share=0.5, seed=3), IMAGES)  # as many blocks, at other places
    assert len(list((cache_folder() / "latency").iterdir())) == len(others)


def test_another_kernel_version_is_measured_anew(cache, monkeypatch):
    latency(network(), IMAGES)
    monkeypatch.setattr(kernel, "VERSION", "next")
    latency(network(), IMAGES)
    assert len(list((cache_folder() / "latency").iterdir())) == 2


@pytest.mark.parametrize("arch", ["resnet8", "mobilenet_v2"])
def test_two_builds_of_a_network_are_one_structure(arch):
    images = (torch.randn(1, 3, 32, 32),)
    assert len({structure.structure(build(arch, 10, 32).eval(), images) for _ in range(2)}) == 1


class Odd(nn.Module):
    """Cannot be traced."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer, self.times = nn.Linear(6, width), 2

    def forward(self, rows: torch.Tensor, others: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"sum": self.layer(rows) * self.times if float(rows.sum()) > 0 else self.layer(others)}


def test_what_no_plan_can_take_is_measured_in_torch(cache):
    call = (torch.ones(1, 6), torch.zeros(1, 6))
    assert latency(Odd(4), call) == latency(Odd(4), call) > 0
    odd = Odd(4)
    odd.times = 3
    assert len({structure.structure(made, call) for made in (Odd(4), Odd(5), odd)}) == 3


def test_a_plan_that_is_wrong_or_fails_is_not_measured(cache, monkeypatch):
    called = []
    monkeypatch.setattr("suite.kernel.Plan.__call__", lambda plan, *inputs: called.append(plan) or torch.zeros(1, 8, 12, 12))
    assert latency(network(), IMAGES) > 0 and len(called) == 2  # by the gate, on the images and their mirror image

    def fail(*arguments, **options):
        raise RuntimeError("no plan")

    monkeypatch.setattr(kernel, "lower", fail)
    assert latency(network(4), IMAGES) > 0


def test_weights_that_are_computed_have_a_structure():
    made = network()
    parametrize.register_parametrization(made[3], "weight", nn.Identity())
    assert structure.structure(made.eval(), (IMAGES,)) == structure.structure(made.eval(), (IMAGES,))

"""Deep Mutual Learning: the loss by hand, whom it moves, networks alone at weight 0, and which one is deployed."""

from __future__ import annotations

import importlib
import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from suite import plugins
from suite.context import Budget, Run
from suite.errors import UserError
from suite.nn import build
from suite.options import build as build_options
from suite.settings import Classification
from suite.testing import contract
from suite.train import Normalise

METHOD = plugins.load("baselines", "mutual_learning")
module = importlib.import_module("suite.baselines.mutual_learning")
online = importlib.import_module("suite.baselines._online")
NORMALISE = Normalise((0.5,) * 3, (0.25,) * 3)


class Pictures:
    """Random pictures of two classes."""

    def __init__(self, count: int) -> None:
        generator = torch.Generator().manual_seed(0)
        self.pixels = torch.randint(0, 256, (count, 3, 32, 32), generator=generator).to(torch.uint8)
        self.labels = torch.arange(count) % 2

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, index, train, generator):
        return self.pixels[index]


def setting(count: int = 40) -> Classification:
    return Classification(Pictures(count), Pictures(10), 2, (3, 32, 32), lambda images, generator: NORMALISE(images), NORMALISE)


def test_the_soft_loss_by_hand():
    # Two classes, T = 2: target 1 / (1 + e^-1) and its rest, found 1/2 each; KL = ln 2 - H(target), times T^2.
    p = 1 / (1 + math.exp(-1))
    logits, target = torch.zeros(1, 2, requires_grad=True), torch.tensor([[2.0, 0.0]], requires_grad=True)
    found = online.soft(logits, target, 2.0)
    assert float(found.detach()) == pytest.approx(4 * (math.log(2) + p * math.log(p) + (1 - p) * math.log(1 - p)), rel=1e-5)
    found.backward()
    assert target.grad is None and logits.grad.tolist()[0] == pytest.approx([2 * (0.5 - p), 2 * (p - 0.5)], rel=1e-5)


def test_agreement_is_a_mean_over_the_others():
    logits = [torch.randn(6, 4, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]
    total = 0.0
    for number in (0, 2):
        p, q = (logits[number] / 3).softmax(1), (logits[1] / 3).softmax(1)
        total += 9 * float((p * (p / q).log()).sum(1).mean()) / (3 - 1)
    assert float(online.agreement(logits, 1, 3.0)) == pytest.approx(total, rel=1e-5)
    assert float(online.agreement(logits[:1] * 3, 1, 3.0)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("weight", [0.0, 1.0, 0.5])
def test_one_step_against_the_same_networks_by_hand(weight, tmp_path, monkeypatch):
    """Two students, one step: each moves by its own loss alone, from the same forward pass."""
    method = METHOD(arch="resnet8", batch=20, weight=weight, rate=10.0, weight_decay=0.0)  # the only step is behind both milestones
    monkeypatch.setattr(online, "autocast", lambda run: torch.autocast("cpu", enabled=False))
    students, data = [], setting(20)
    monkeypatch.setattr(METHOD, "networks", lambda self, *given: students.extend(original(self, *given)) or students)
    run = Run(0, "smoke", Budget(40), tmp_path, tmp_path)
    method.fit(data, run)
    expected = []
    for number in range(2):
        torch.manual_seed(run.seed("weights", "resnet8", number) if number else run.seed("weights", "resnet8"))
        expected.append(build("resnet8", 2, 32).to(memory_format=torch.channels_last).train())
    order = torch.randperm(20, generator=run.generator("online", "epoch", 0))
    inputs, targets = NORMALISE(data.train.pixels[order]).contiguous(memory_format=torch.channels_last), data.train.labels[order]
    logits = [network(inputs) for network in expected]
    for number, network in enumerate(expected):
        own, other = (logits[number] / 2).log_softmax(1), (logits[1 - number].detach() / 2).softmax(1)
        loss = functional.cross_entropy(logits[number], targets) + weight * 4 * (other * (other.log() - own)).sum(1).mean()
        loss.backward()
        with torch.no_grad():
            for weights in network.parameters():
                weights -= 0.1 * 1.9 * weights.grad  # the first step of Nesterov's momentum
    for network, wanted in zip(students, expected, strict=True):
        for (name, found), values in zip(network.named_parameters(), wanted.parameters(), strict=True):
            assert torch.allclose(found, values, atol=2e-5), name


original = METHOD.networks


def test_the_best_on_the_validation_images_is_deployed(tmp_path, monkeypatch):
    students: list[nn.Module] = []
    monkeypatch.setattr(METHOD, "networks", lambda self, *given: students.extend(original(self, *given)) or students)
    monkeypatch.setattr(module, "validated", lambda networks, setting, run: [50.0, 70.0, 70.0])
    run = Run(0, "smoke", Budget(3 * 20), tmp_path, tmp_path)
    made = METHOD(arch="resnet8", students=3, batch=20).fit(setting(20), run)
    assert made.module is students[1] and not made.module.training  # the first of equals
    assert run.notes == {"val_top1": 70.0, "val_top1_of_all": [50.0, 70.0, 70.0], "deployed": 2}
    assert vars(run.budget) == {"allowed": 60, "total": 60, "final": 20}  # three networks, one of them delivered


def test_the_first_network_starts_as_plain_does_and_the_others_elsewhere(tmp_path):
    run = Run(3, "smoke", Budget(0), tmp_path, tmp_path)
    first, second = METHOD(arch="resnet8").networks(setting(), run, 2)
    torch.manual_seed(run.seed("weights", "resnet8"))
    assert torch.equal(first.conv1.weight, build("resnet8", 2, 32).conv1.weight)
    assert not torch.equal(first.conv1.weight, second.conv1.weight)


def test_one_student_is_refused():
    with pytest.raises(UserError, match=r"^students=1 is out of range for 'mutual_learning'; students lies in 2 to 16\.$"):
        build_options(METHOD, "mutual_learning", {"students": 1}, "short")


def test_a_stopped_run_goes_on_to_the_same_record(suite_home):
    spec, record = contract.fit_once("cifar100", "mutual_learning", options={"students": 3})
    assert record["budget"] == {"allowed": 512, "total": 480, "final": 160}  # as FFSD's leader with two students
    contract.check_record(spec, record)
    contract.check_resumes(spec)

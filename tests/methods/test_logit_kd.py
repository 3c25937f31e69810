"""Logit distillation: the loss by hand, its limits, and the teacher path."""

import importlib
import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from suite import plugins
from suite.testing.contract import fit_once

METHOD = plugins.load("baselines", "logit_kd")
loss = importlib.import_module("suite.baselines.logit_kd").distillation_loss


def test_the_loss_by_hand():
    # Two classes, T = 2: teacher probabilities 1/(1+e^-1), student 1/2 each; KL = ln 2 - H(teacher).
    p = 1 / (1 + math.exp(-1))
    soft = math.log(2) + p * math.log(p) + (1 - p) * math.log(1 - p)
    wanted = 0.1 * math.log(2) + 0.9 * 4 * soft
    found = loss(torch.zeros(1, 2), torch.tensor([[2.0, 0.0]]), torch.tensor([0]), 2.0, 0.9)
    assert abs(float(found) - wanted) < 1e-6


@given(st.floats(0.5, 10), st.integers(0, 99))
def test_a_student_equal_to_its_teacher_has_no_soft_loss(temperature, seed):
    logits = torch.randn(5, 10, generator=torch.Generator().manual_seed(seed))
    assert abs(float(loss(logits, logits, torch.zeros(5, dtype=torch.long), temperature, 1.0))) < 1e-4


def test_the_teacher_is_a_recorded_reference_and_stays_out_of_the_budget(suite_home):
    spec, record = fit_once("cifar10", "logit_kd")
    assert record["parents"] == {"resnet20": spec.references["resnet20"].id}
    assert record["budget"]["total"] == 512 and record["profile"]["params"] < 100_000  # the student's alone

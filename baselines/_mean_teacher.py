"""What the two methods of A*HAR share: a student trained by gradients, a teacher that is its running average, their loss.

Narasimman, Lu, Raja, Foo, Aly, Lin, Chandrasekhar: "A*HAR: A New Benchmark towards Semi-supervised learning for
Class-imbalanced Human Activity Recognition", arXiv 2101.04859, 2021, and its public code; the teacher is that of Tarvainen
and Valpola, "Mean teachers are better role models", NIPS 2017. The two methods differ in the batches they draw alone.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from suite.artifacts import Network
from suite.context import Run
from suite.contract import Method, Paper, option
from suite.metrics import confusion, macro_f1
from suite.nn.activity import ActivityCNN
from suite.settings import SemiSupervised
from suite.train import Clock, Recipe, autocast, predict, steps

CHECKS = 5  # times that a run looks at the validation windows; nothing is selected


class Drawn(NamedTuple):
    """A batch as the data have it: `inputs` (B, 1, C, T), not normalised yet, and `targets` int64 (B,), -1 without label."""

    inputs: Tensor
    targets: Tensor


@dataclass
class TeacherMethod(Method):
    """The paper's network and schedule; a method says in `draw` what its batches are made of."""

    paper: ClassVar[Paper] = Paper(
        "A*HAR: A New Benchmark towards Semi-supervised learning for Class-imbalanced Human Activity Recognition",
        "Narasimman, Lu, Raja, Foo, Aly, Lin, Chandrasekhar", "arXiv", 2021, "https://arxiv.org/abs/2101.04859")
    takes: ClassVar[tuple[str, ...]] = ("SemiSupervised",)
    gives: ClassVar[str] = "Network"
    standins: ClassVar[tuple[str, ...]] = (
        "Plain batch normalisation instead of weight normalisation with mean-only batch normalisation and data-dependent "
        "initialisation; the teacher keeps running statistics of its own activations.",
        "The ramps are the paper's shares of the whole training instead of numbers of steps; at short rate and consistency rise in "
        "a twentieth of the steps instead of 27 %.",
        "The teacher forgets faster where there are few steps: a decay of 0.8 at smoke and of 0.99 at short instead of 0.999.",
        "Below scale full the network is narrower: 4, 16 or 64 channels in its first block instead of 128.",
    )
    # The average must forget within the steps there are: 0.999 remembers the last thousand. In 800 steps a ramp over a quarter
    # of them leaves too few at the full rate.
    scales: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "smoke": {"width": 4, "batch": 32, "decay": 0.8},
        "short": {"width": 16, "decay": 0.99, "rampup": 0.05},
        "long": {"width": 64},
    }

    width: int = option(128, "channels of the first block", bounds=(1, 1024))
    dropout: float = option(0.5, "share of the activations dropped behind each block", bounds=(0, 0.99))
    batch: int = option(100, "windows per step", bounds=(1, 65536))
    rate: float = option(0.003, "peak learning rate of Adam", bounds=(0, 1))
    decay: float = option(0.999, "of the teacher's running average, per step", bounds=(0, 1))
    consistency: float = option(100.0, "weight of the consistency if all windows were labelled", bounds=(0, 1e6))
    noise: float = option(0.15, "deviation of the noise on normalised inputs, drawn anew for the teacher", bounds=(0, 10))
    rampup: float = option(10_000 / 37_500, "share of the steps in which rate and consistency rise", bounds=(0, 1))
    rampdown: float = option(6_250 / 37_500, "share of the steps in which the rate falls", bounds=(0, 1))

    def draw(self, setting: SemiSupervised, generator: Generator) -> Drawn:
        """A batch of `batch` windows. Called at every step with a generator of the step's own."""
        raise NotImplementedError

    def share(self, setting: SemiSupervised) -> float:
        """The part of labelled windows in the pool, where they are with a label and without; it scales `consistency`."""
        return len(setting.labelled) / (len(setting.unlabelled) + len(setting.labelled))

    def fit(self, setting: SemiSupervised, run: Run) -> Network:
        torch.manual_seed(run.seed("weights"))
        student = ActivityCNN(setting.classes, self.width, self.dropout)
        teacher = copy.deepcopy(student).requires_grad_(False)
        train_pair(self, student, teacher, setting, run)
        return Network(teacher.eval())  # the teacher is what the paper evaluates


def train_pair(method: TeacherMethod, student: nn.Module, teacher: nn.Module, setting: SemiSupervised, run: Run) -> None:
    """Train `student` in place on all the budget there is, and `teacher` after it; charges the student's samples.

    All randomness of a step is derived from the run's seed and its number.
    """
    most = method.consistency * method.share(setting)
    run.note(labelled=len(setting.labelled), unlabelled=len(setting.unlabelled))
    for network in (student, teacher):
        network.to(device=run.device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    optimizer = Recipe(rate=method.rate, weight_decay=0.0, adam=True).optimizer(student)

    def epoch_of(generator: Generator) -> Iterator[Callable[[], Drawn]]:
        return (partial(method.draw, setting, run.generator("draw", step)) for step in count())  # one epoch, without end

    def update(drawn: Drawn, clock: Clock) -> None:
        clean, targets = setting.normalise(drawn.inputs).to(run.device), drawn.targets.to(run.device)
        torch.manual_seed(run.seed("noise and dropout", clock.step))
        rising = rise(clock.step, method.rampup * clock.steps)
        falling = fall(clock.step, clock.steps, method.rampdown * clock.steps)
        optimizer.param_groups[0].update(lr=method.rate * rising * falling, betas=(0.5 + 0.4 * falling, 0.999))
        with autocast(run):
            logits = student(disturbed(clean, method.noise)).float()
            with torch.no_grad():  # the same windows under noise and dropout of its own
                wanted = teacher(disturbed(clean, method.noise)).float()
        supervised, agreement = losses(logits, wanted, targets)
        optimizer.zero_grad()
        (supervised + rising * most * agreement).backward()
        optimizer.step()
        follow(teacher, student, method.decay)
        if (clock.step + 1) * CHECKS // clock.steps > clock.step * CHECKS // clock.steps:
            score = validated(teacher, setting, run)
            run.log(clock.step + 1, supervised=supervised.item(), agreement=agreement.item(), val_macro_f1=score)
            run.note(val_macro_f1=score)

    keep = {"student": student, "teacher": teacher, "optimizer": optimizer}
    steps(run, "pair", keep, epoch_of, update, size=method.batch)


def losses(logits: Tensor, wanted: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy where there is a label, and the squared distance of student's and teacher's probabilities.

    `logits`, `wanted` (B, K) of student and teacher, `targets` (B,). Both are sums over windows divided by the whole batch: few
    labels in a batch weigh little, which is part of the method. The distance is a mean over the classes, of all windows.
    """
    supervised = functional.cross_entropy(logits, targets, ignore_index=-1, reduction="sum") / len(targets)
    apart = logits.softmax(1) - wanted.detach().softmax(1)
    return supervised, apart.square().mean(1).sum() / len(targets)


def follow(teacher: nn.Module, student: nn.Module, decay: float) -> None:
    """One step of the average: weights = decay * weights + (1 - decay) * the student's.

    Batch normalisation's statistics are left alone: the teacher sees every batch in training mode and so has those of its
    own activations. The student's would not fit its weights while these lag behind (macro-F1 of 32 instead of 42 % after 300
    steps of `supervised_cnn` on embedded data).
    """
    with torch.no_grad():
        for mine, other in zip(teacher.parameters(), student.parameters(), strict=True):
            mine.lerp_(other, 1 - decay)


def rise(step: int, length: float) -> float:
    """exp(-5 (1 - t / length)^2) before `length` steps, then 1."""
    return math.exp(-5 * (1 - step / length) ** 2) if step < length else 1.0


def fall(step: int, steps: int, length: float) -> float:
    """exp(-12.5 (1 - (steps - t) / length)^2) in the last `length` of `steps`, 1 before."""
    left = steps - step
    return math.exp(-12.5 * (1 - left / length) ** 2) if left < length else 1.0


def disturbed(inputs: Tensor, deviation: float) -> Tensor:
    """`inputs` with normal noise added."""
    return (inputs + deviation * torch.randn_like(inputs)).contiguous(memory_format=torch.channels_last)


def some(count: int, wanted: int, generator: Generator) -> Tensor:
    """`wanted` of the rows 0 .. count-1 in random order, int64; none a second time before all were drawn once."""
    rounds = [torch.randperm(count, generator=generator) for _ in range(-(-wanted // count))]
    return torch.cat([torch.empty(0, dtype=torch.int64), *rounds])[:wanted]


def validated(network: nn.Module, setting: SemiSupervised, run: Run) -> float:
    """Macro-F1 of `network` on the validation windows; it is in training mode again afterwards."""
    predictions = predict(network, setting.val, setting.normalise, run).argmax(1)
    network.train()
    return macro_f1(confusion(predictions, setting.val.labels, setting.classes))

"""What methods share whose networks teach each other while they are trained: the networks, the soft loss, the step.

A step has one forward pass of everything. From it come the losses of all learners, each with gradients to its own learner
alone; then every learner is moved by an optimizer of its own. No network is run again after another one has moved.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from suite.context import Run
from suite.contract import Method, option
from suite.metrics import accuracy
from suite.nn import build
from suite.settings import Augment, Classification
from suite.train import Batch, Clock, CropFlip, Recipe, autocast, batches, predict, steps


class Learner(NamedTuple):
    """A network, or a module that is trained beside networks, with its own optimizer."""

    part: nn.Module
    recipe: Recipe
    optimizer: torch.optim.Optimizer


#: From inputs (B, C, H, W), labels (B,) and the share of the training that is done: each learner's loss, in the order of steps.
Losses = Callable[[Tensor, Tensor, float], Mapping[str, Tensor]]

_SHORTER: Mapping[str, Any] = {"schedule": "cosine", "weight_decay": 5e-4, "reflect": False}  # the recipe of `plain`


@dataclass
class OnlineMethod(Method):
    """Networks of one architecture that start from different random weights and see the same batches."""

    takes: ClassVar[tuple[str, ...]] = ("Classification",)
    gives: ClassVar[str] = "Network"
    scales: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "smoke": {**_SHORTER, "arch": "resnet8", "batch": 16, "rate": 0.05},
        "short": {**_SHORTER, "batch": 64, "rate": 0.05}, "long": _SHORTER,
    }

    arch: str = option("resnet20", "architecture of every network, see suite.nn.ARCHS")
    students: int = option(2, "networks that teach each other", bounds=(2, 16))
    temperature: float = option(2.0, "T of the softened classes", bounds=(0.1, 100))
    rate: float = option(0.1, "peak learning rate", bounds=(0, 10))
    batch: int = option(128, "images per step", bounds=(1, 65536))
    weight_decay: float = option(1e-4, "L2 penalty on the networks", bounds=(0, 1))
    schedule: Literal["steps", "cosine"] = option("steps", "rate x0.1 at 1/2 and 3/4 of the steps, or a warm-up and a cosine")
    reflect: bool = option(True, "pad by reflection where the task crops padded images")

    def networks(self, setting: Classification, run: Run, count: int) -> list[nn.Module]:
        """`count` networks in training mode on the run's device; the first has the random weights that `plain` starts from."""
        made = []
        for number in range(count):
            torch.manual_seed(run.seed("weights", self.arch, number) if number else run.seed("weights", self.arch))
            network = build(self.arch, setting.classes, setting.shape[1])
            made.append(network.to(device=run.device, memory_format=torch.channels_last).train())  # type: ignore[call-overload]
        return made

    def learner(self, part: nn.Module, **changes: Any) -> Learner:
        """`part` with a fresh optimizer; `changes` are fields of the recipe that differ from the networks'."""
        recipe = Recipe(rate=self.rate, batch=self.batch, weight_decay=self.weight_decay)
        if self.schedule == "steps":
            recipe = replace(recipe, warmup=0.0, schedule="steps", milestones=(0.5, 0.75))
        recipe = replace(recipe, **changes)
        return Learner(part, recipe, recipe.optimizer(part))

    def learn(self, setting: Classification, run: Run, learners: Mapping[str, Learner], losses: Losses, helpers: int) -> None:
        """Train all `learners` in place on all the budget there is; `helpers` networks of them are not delivered."""
        size, augment = min(self.batch, len(setting.train)), reflecting(setting.augment) if self.reflect else setting.augment

        def update(batch: Batch, clock: Clock) -> Mapping[str, Tensor]:
            batch = batch.to(run.device)
            with autocast(run):
                found = losses(batch.inputs.contiguous(memory_format=torch.channels_last), batch.targets, clock.progress)
            for name, loss in found.items():
                learners[name].recipe.descend(learners[name].optimizer, loss, clock.progress)
            return found

        keep = {f"{name} {key}": getattr(item, key) for name, item in learners.items() for key in ("part", "optimizer")}
        steps(run, "online", keep, lambda generator: batches(setting.train, size, augment, generator), update,
              size=size, helpers=helpers)
        for item in learners.values():
            item.part.eval()


def reflecting(augment: Augment) -> Augment:
    """A task's augmentation with reflected pixels in place of zeros where it pads; any other as it is."""
    return replace(augment, mode="reflect") if isinstance(augment, CropFlip) else augment


def soft(logits: Tensor, target: Tensor, temperature: float) -> Tensor:
    """T^2 KL(softmax(target / T) || softmax(logits / T)), a mean over the batch, without a gradient to `target`; both (B, K)."""
    found, wanted = (logits / temperature).log_softmax(1), (target.detach() / temperature).log_softmax(1)
    return temperature**2 * functional.kl_div(found, wanted, reduction="batchmean", log_target=True)


def agreement(logits: Sequence[Tensor], number: int, temperature: float) -> Tensor:
    """T^2 / (S - 1) sum over the others j of KL(softmax(z_j / T) || softmax(z_number / T)), for S `logits` (B, K)."""
    others = [soft(logits[number], item, temperature) for place, item in enumerate(logits) if place != number]
    return torch.stack(others).mean()


def validated(networks: Sequence[nn.Module], setting: Classification, run: Run) -> list[float]:
    """Top-1 of each network on the validation images in per cent."""
    return [accuracy(predict(network, setting.val, setting.normalise, run), setting.val.labels) for network in networks]

"""What the methods of few-shot class-incremental learning share: the base network, its training, features, training on them.

The network is LEC-Net's before its first expansion (Yang et al., arXiv 2104.02281): a backbone's pooled features x go through
base nodes u = W_1 x and a head on their direction, z = scale W_2 nrm(u), both without bias. Every method trains it with the same
seed on the same share of the budget, so that all go on from the same weights; from then on the backbone is frozen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor, nn

from suite.context import Run
from suite.contract import Method, option
from suite.data.pictures import Stored
from suite.nn import build
from suite.settings import SessionData, Sessions
from suite.train import Batch, Clock, Recipe, batches, predict, steps, train

LOGGED = 10  # points of a session's curves
BASE = (
    "The base session trains with one warm-up and one cosine instead of steps, as `plain` does; a tenth of its images is held "
    "out, crops are padded by 4 instead of 8 pixels, values normalised by CIFAR-100's own mean and deviation.",
    "Logits are multiplied by 16 in the base session, as in DSN (Yang-Bob/DSN on GitHub): with LEC-Net's 1 random weights hardly "
    "begin to learn (resnet8 on embedded data: loss 4.08 instead of 3.05 after 336 steps).",
)
LATER = ("Later sessions train as in DSN, the closest public loop: SGD with momentum 0.9, dampening 0.5 and no weight decay, 70 "
         "epochs at a constant rate, on features that are computed once, without augmentation.")


@dataclass
class SessionMethod(Method):
    """What all have in common: the options of the base session."""

    tags: ClassVar[tuple[str, ...]] = ("few-shot", "incremental")
    takes: ClassVar[tuple[str, ...]] = ("Sessions",)
    gives: ClassVar[str] = "Network"
    scales: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "smoke": {"arch": "resnet8", "batch": 32},
        "short": {"arch": "resnet20", "batch": 64, "rate": 0.05},
        "long": {"arch": "resnet20"},
    }

    arch: str = option("resnet18", "backbone", choices=("resnet8", "resnet20", "resnet32", "resnet56", "resnet18"))
    batch: int = option(128, "images per step", bounds=(1, 65536))
    rate: float = option(0.1, "first learning rate of the base session", bounds=(0, 10))
    weight_decay: float = option(5e-4, "L2 penalty of the base session", bounds=(0, 1))
    scale: float = option(16.0, "factor of the base network's logits, 16 in DSN and 1 in LEC-Net's code", bounds=(0.1, 100))
    base_share: float = option(0.9, "share of the budget for the base session", bounds=(0.1, 0.99))

    def train_base(self, session: SessionData, setting: Sessions, run: Run) -> BaseNetwork:
        """The network of the base session, frozen, in evaluation mode."""
        torch.manual_seed(run.seed("weights", self.arch))
        network = BaseNetwork(self.arch, len(session.classes), setting.shape[1], self.scale)
        recipe = Recipe(rate=self.rate, batch=self.batch, weight_decay=self.weight_decay)
        samples = int(self.base_share * run.budget.allowed)
        train(network, session.train, run, augment=setting.augment, recipe=recipe, samples=samples, name="base")
        return network.requires_grad_(False)

    def share(self, setting: Sessions, run: Run) -> int:
        """The samples that each session behind the base may train on."""
        return (run.budget.allowed - int(self.base_share * run.budget.allowed)) // (len(setting) - 1)


class BaseNetwork(nn.Module):
    """Images (N, 3, size, size) -> logits (N, classes). `width` is d, the length of features and node vectors."""

    def __init__(self, arch: str, classes: int, size: int, scale: float) -> None:
        super().__init__()
        self.backbone: Any = build(arch, classes, size)
        self.width: int = self.backbone.fc.in_features
        self.backbone.fc = nn.Identity()
        self.scale = scale
        self.nodes = nn.Linear(self.width, self.width, bias=False)
        self.head = nn.Linear(self.width, classes, bias=False)

    def respond(self, features: Tensor) -> Tensor:
        """Logits (N, classes) of features (N, d)."""
        return self.scale * self.head(unit(self.nodes(features)))

    def forward(self, images: Tensor) -> Tensor:
        return self.respond(self.backbone(images))


def unit(values: Tensor) -> Tensor:
    """nrm: the rows of `values` (N, d) divided by their lengths (plus 1e-6, as LEC-Net's code has it)."""
    return values / (values.norm(dim=1, keepdim=True) + 1e-6)


def features_of(backbone: nn.Module, session: SessionData, setting: Sessions, run: Run) -> Stored:
    """The features float32 (N, d) of a session's training images, computed once, with their labels."""

    def compute() -> Stored:
        found = predict(backbone, session.train, setting.normalise, run)
        return Stored(found.clone(), session.train.labels)  # a clone: autograd takes no tensor of the inference mode

    return run.once(f"features-{session.number}", compute)


def class_means(features: Stored, classes: Iterable[int]) -> Tensor:
    """The mean feature of each class, (C, d)."""
    return torch.stack([features.values[features.labels == label].mean(0) for label in classes])


def train_on(
    features: Stored, network: nn.Module, moving: Iterable[nn.Parameter], loss: Callable[[Batch, Clock], Mapping[str, Tensor]],
    run: Run, *, name: str, rate: float, batch: int, epochs: int, samples: int,
) -> None:  # fmt: skip
    """Move the parameters `moving` of `network`, and no others, down the first of the values that `loss` gives.

    `epochs` times through the features, as far as `samples` go.
    """
    recipe = Recipe(rate=rate, dampening=0.5, weight_decay=0.0, warmup=0, schedule="constant")
    optimizer = recipe.optimizer([{"params": [item.requires_grad_() for item in moving]}])
    size = min(batch, len(features))

    def epoch_of(generator: Generator) -> list[Callable[[], Batch]]:
        passes = max(1, epochs // LOGGED)  # a curve's point is the mean over this many
        return [call for _ in range(passes) for call in batches(features, size, lambda values, _: values, generator)]

    def update(batch: Batch, clock: Clock) -> Mapping[str, Tensor]:
        values = loss(batch.to(run.device), clock)
        recipe.descend(optimizer, next(iter(values.values())), clock.progress)
        return values

    samples = min(samples, epochs * len(features))
    steps(run, name, {"network": network, "optimizer": optimizer}, epoch_of, update, size=size, samples=samples)
    network.requires_grad_(False)

"""The training loop of all methods: SGD or Adam with one warm-up and one cosine, charged to the run's budget.

It checkpoints at epoch ends, and all its randomness is derived from the run's seed and the epoch, so a run killed at any
moment continues to the same weights. On a CPU with AMX `train` runs its forward pass in bfloat16 autocast, channels last.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from suite.run import Run, load, save
from suite.settings import Augment, Images, PairAugment, Pairs

CHECKPOINT_SECONDS = 20.0
Item = TypeVar("Item")


class Batch(NamedTuple):
    """inputs float32 (B, C, H, W) normalised, targets int64 (B,) or (B, H, W), index int64 (B,) into the data."""

    inputs: Tensor
    targets: Tensor
    index: Tensor  # type: ignore[assignment]


@dataclass(frozen=True)
class Recipe:
    """SGD with Nesterov momentum, or Adam (its betas torch's, `weight_decay` an L2 penalty in both), or AdamW (`decoupled`).

    The rate rises linearly to `rate` for `warmup` of all steps and falls to 0 by a cosine.
    """

    rate: float = 0.1
    batch: int = 128
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warmup: float = 0.2
    smoothing: float = 0.0  # of the labels, 0..1
    adam: bool = False
    decoupled: bool = False  # Adam's weight decay, beside the step instead of in the gradient
    longest: float = 0.0  # length that longer gradients are cut to; 0 cuts none

    def optimizer(self, network: nn.Module) -> torch.optim.Optimizer:
        """A fresh optimizer of the network's parameters."""
        if self.adam and self.decoupled:
            return torch.optim.AdamW(network.parameters(), lr=self.rate, weight_decay=self.weight_decay, fused=True)
        if self.adam:
            return torch.optim.Adam(network.parameters(), lr=self.rate, weight_decay=self.weight_decay)
        return torch.optim.SGD(
            network.parameters(), lr=self.rate, momentum=self.momentum, weight_decay=self.weight_decay, nesterov=True
        )

    def rate_at(self, progress: float) -> float:
        """The learning rate at `progress` 0..1 of the run."""
        if progress < self.warmup:
            return self.rate * progress / self.warmup
        return self.rate * 0.5 * (1 + math.cos(math.pi * (progress - self.warmup) / (1 - self.warmup)))


def batches(data: Images | Pairs, size: int, augment: Augment | PairAugment, generator: Generator) -> Iterator[Batch]:
    """One epoch in random order, whole batches only (one short batch if `data` is smaller than `size`).

    Where targets move with the pixels, `augment` gives both.
    """
    order = torch.randperm(len(data), generator=generator)
    for index in order.split(size):
        if len(index) == size or len(order) < size:
            drawn = augment(data.batch(index, True, generator), generator)
            inputs, targets = drawn if isinstance(drawn, tuple) else (drawn, data.labels[index])  # type: ignore[union-attr]
            yield Batch(inputs, targets, index)


def precision(device: torch.device | str) -> torch.dtype:
    """The type of the forward pass: bfloat16 where the hardware multiplies it faster (AMX, CUDA), else float32."""
    if torch.device(device).type == "cuda":
        return torch.bfloat16
    return torch.bfloat16 if torch.cpu._is_amx_tile_supported() else torch.float32


def train(
    network: nn.Module,
    data: Images | Pairs,
    run: Run,
    *,
    augment: Augment | PairAugment,
    recipe: Recipe,
    loss: Callable[[Tensor, Batch], Tensor] | None = None,
    samples: int | None = None,
    name: str = "train",
) -> None:
    """Train `network` in place on `samples` (default: all the run has left), charging the run's budget.

    `loss(logits, batch)` defaults to cross-entropy with the recipe's label smoothing. `name` keeps the checkpoints of
    several trainings in one run apart. The weights are those after the last step: nothing is selected here.
    """
    size = min(recipe.batch, len(data))
    kind = precision(run.device)
    run.note(precision=str(kind).removeprefix("torch."))
    network.to(device=run.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    loss = loss or (lambda logits, batch: functional.cross_entropy(logits, batch.targets, label_smoothing=recipe.smoothing))

    def value(batch: Batch) -> Tensor:
        batch = Batch(*(item.to(run.device) for item in batch))
        with torch.autocast(torch.device(run.device).type, dtype=kind, enabled=kind != torch.float32):
            logits = network(batch.inputs.contiguous(memory_format=torch.channels_last))
        return loss(logits.float(), batch)

    optimise(network, lambda generator: batches(data, size, augment, generator), value, run,
             recipe=recipe, size=size, samples=samples, name=name)


def optimise(
    network: nn.Module,
    epoch_of: Callable[[Generator], Iterable[Item]],
    loss: Callable[[Item], Tensor],
    run: Run,
    *,
    recipe: Recipe,
    size: int,
    samples: int | None = None,
    name: str = "train",
) -> None:
    """The loop itself: minimise ``loss(batch)`` by the parameters of `network`, which is on the run's device.

    `epoch_of(generator)` gives one epoch's batches of `size` samples each. Everything else as in `train`.
    """
    optimizer = recipe.optimizer(network)
    path = run.folder / f"{name}.checkpoint.pt"
    step, epoch, steps = 0, 0, (run.budget.left if samples is None else samples) // size
    if path.exists():
        stored = load(path)
        network.load_state_dict(stored["network"])
        optimizer.load_state_dict(stored["optimizer"])
        run.restore(stored["state"])
        step, epoch, steps = stored["step"], stored["epoch"], stored["steps"]
    saved = time.monotonic()
    network.train()
    bar = iter(run.progress(range(step, steps), f"{name} ({steps * size:,} samples)", total=steps - step))
    while step < steps:
        generator = run.generator(name, "epoch", epoch)
        torch.manual_seed(run.seed(name, "dropout", epoch))
        total = torch.zeros((), device=run.device)
        first = step
        for batch in epoch_of(generator):
            if step == steps:
                break
            next(bar)
            optimizer.param_groups[0]["lr"] = recipe.rate_at((step + 1) / steps)
            value = loss(batch)
            optimizer.zero_grad()
            value.backward()
            if recipe.longest:
                nn.utils.clip_grad_norm_(network.parameters(), recipe.longest)
            optimizer.step()
            run.budget.charge(size)
            total += value.detach()
            step += 1
        run.log(step, **{f"{name}_loss": float(total) / (step - first)})
        epoch += 1
        if time.monotonic() - saved > CHECKPOINT_SECONDS or step == steps:
            save({"network": network.state_dict(), "optimizer": optimizer.state_dict(), "step": step, "epoch": epoch,
                  "steps": steps, "state": run.state()}, path)
            saved = time.monotonic()
    for _ in bar:  # lets the progress bar close
        pass
    network.eval()


@torch.inference_mode()
def predict(network: nn.Module, data: Images, normalise: Callable[[Tensor], Tensor], run: Run, size: int = 250) -> Tensor:
    """Logits float32 (N, classes) on the CPU, in eval mode and full precision."""
    network.eval().to(run.device)
    logits = []
    for index in run.progress(torch.arange(len(data)).split(size), "evaluate", total=-(-len(data) // size)):
        inputs = normalise(data.batch(index, False, run.generator("evaluate"))).to(run.device)
        logits.append(network(inputs.contiguous(memory_format=torch.channels_last)).float().cpu())
    return torch.cat(logits)

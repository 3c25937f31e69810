"""How weights are moved: optimizers, schedules of the learning rate, the arithmetic of the forward pass."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from suite.context import Run

Schedule = Literal["cosine", "constant", "linear", "steps", "poly", "one-cycle"]


@dataclass(frozen=True)
class Recipe:
    """SGD with momentum, or Adam (`weight_decay` an L2 penalty in both), or AdamW (`decoupled`).

    The rate rises linearly to `rate` for `warmup` of all steps, then follows `schedule`: falls to 0 by a ``cosine``, in a line
    (``linear``) or by a power of what is left (``poly``), stays (``constant``), or is multiplied by `factor` behind each of the
    `milestones` (``steps``). ``one-cycle`` rises from a 25th of `rate` and falls to a 250,000th of it, both by a cosine
    (Smith and Topin, arXiv 1708.07120, in torch's form).
    """

    rate: float = 0.1
    batch: int = 128
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warmup: float = 0.2  # share of the steps
    smoothing: float = 0.0  # of the labels, 0..1
    adam: bool = False
    decoupled: bool = False  # Adam's weight decay, beside the step instead of in the gradient
    longest: float = 0.0  # length that longer gradients are cut to; 0 cuts none
    schedule: Schedule = "cosine"
    milestones: tuple[float, ...] = ()  # shares of the steps, for "steps"
    factor: float = 0.1  # for "steps"
    power: float = 0.9  # for "poly"
    betas: tuple[float, float] = (0.9, 0.999)  # of Adam
    dampening: float = 0.0  # of SGD's momentum; it excludes Nesterov's
    exact: bool = False  # float32 whatever the hardware (restoration, codecs, encryption)

    def optimizer(self, what: nn.Module | Iterable[dict[str, Any]]) -> torch.optim.Optimizer:
        """A fresh optimizer of a network's parameters, or of torch's parameter groups. A group's ``scale`` multiplies its rate."""
        parameters = what.parameters() if isinstance(what, nn.Module) else what
        if self.adam and self.decoupled:
            return torch.optim.AdamW(parameters, lr=self.rate, betas=self.betas, weight_decay=self.weight_decay, fused=True)
        if self.adam:
            return torch.optim.Adam(parameters, lr=self.rate, betas=self.betas, weight_decay=self.weight_decay)
        return torch.optim.SGD(parameters, lr=self.rate, momentum=self.momentum, weight_decay=self.weight_decay,
                               dampening=self.dampening, nesterov=self.momentum > 0 and not self.dampening)

    def rate_at(self, progress: float) -> float:
        """The learning rate at `progress` 0..1 of the training."""
        if progress < self.warmup:
            rising = progress / self.warmup
            return self.rate * (_cosine(1 / 25, 1, rising) if self.schedule == "one-cycle" else rising)
        after = (progress - self.warmup) / (1 - self.warmup) if self.warmup < 1 else 1.0
        match self.schedule:
            case "cosine":
                return self.rate * 0.5 * (1 + math.cos(math.pi * after))
            case "one-cycle":
                return self.rate * _cosine(1, 1 / 250_000, after)
            case "linear":
                return self.rate * (1 - after)
            case "poly":
                return self.rate * (1 - after) ** self.power
            case "steps":
                return self.rate * self.factor ** sum(milestone < progress for milestone in self.milestones)
        return self.rate

    def descend(self, optimizer: torch.optim.Optimizer, loss: Tensor, progress: float) -> None:
        """One step of `optimizer` down the gradient of `loss`, at the rate of `progress` 0..1."""
        for group in optimizer.param_groups:
            group["lr"] = self.rate_at(progress) * group.get("scale", 1.0)
        optimizer.zero_grad()
        loss.backward()
        if self.longest:
            nn.utils.clip_grad_norm_([item for group in optimizer.param_groups for item in group["params"]], self.longest)
        optimizer.step()


def _cosine(start: float, end: float, share: float) -> float:
    """From `start` to `end` by half a cosine, at `share` 0..1 of the way."""
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * share))


def precision(device: torch.device | str) -> torch.dtype:
    """The type of the forward pass: bfloat16 where the hardware multiplies it faster (CUDA, AMX, AVX-512 BF16), else float32."""
    quick = torch.device(device).type == "cuda" or torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return torch.bfloat16 if quick else torch.float32


@contextmanager
def autocast(run: Run, exact: bool = False) -> Iterator[None]:
    """Forward passes in the type that `precision` chooses, float32 if `exact`; the record says which."""
    kind = torch.float32 if exact else precision(run.device)
    run.training["precision"] = str(kind).removeprefix("torch.")
    with torch.autocast(torch.device(run.device).type, dtype=kind, enabled=kind != torch.float32):
        yield

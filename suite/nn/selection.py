"""Which weights pruning removes: those of the lowest scores, one by one or in 1xN blocks."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def lowest(scores: Tensor, share: float) -> Tensor:
    """A 0/1 mask of `scores`' shape without its floor(share * size) lowest entries; among equals the first goes first."""
    mask = torch.ones(scores.numel(), device=scores.device)
    # An exact decimal such as 0.29 * 100 must not lose one to binary rounding, hence the last digit of slack.
    mask[scores.flatten().argsort(stable=True)[: int(share * scores.numel() + 1e-9)]] = 0
    return mask.view(scores.shape)


def block_scores(weight: Tensor, n: int) -> Tensor:
    """L1 norms (ceil(Co / n), Ci) of the 1xN blocks of a weight (Co, Ci, ...): n kernels in a row that read one input channel.

    The last group's are multiplied by n/r where it has only r < n kernels. Source: Lin et al., "1xN Pattern for Pruning
    Convolutional Neural Networks", IEEE TPAMI 2023, Sec. 3.
    """
    kernels = weight.flatten(2).abs().sum(2) if weight.dim() > 2 else weight.abs()
    ragged = -len(kernels) % n
    scores = functional.pad(kernels, (0, 0, 0, ragged)).view(-1, n, kernels.shape[1]).sum(1)
    if ragged:
        scores[-1] *= n / (n - ragged)
    return scores


def block_mask(weight: Tensor, n: int, share: float) -> Tensor:
    """A 0/1 mask of the shape of `weight` (Co, Ci, ...) without the floor(share * G * Ci) 1xN blocks of lowest score."""
    blocks = lowest(block_scores(weight, n), share)
    rows = blocks.repeat_interleave(n, 0)[: len(weight)]
    return rows.view(*rows.shape, *[1] * (weight.dim() - 2)).expand_as(weight).clone()

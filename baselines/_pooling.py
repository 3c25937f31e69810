"""What the max-pooling suppressions share: kernels by anchor shape, channels, and the maxima of pooling windows.

A box lies in a cell of a score map of stride beta, and in a channel (scale s, ratio r) of an anchor with area A_s and height
over width rho_r: w = sqrt(A_s / rho_r), h = w rho_r. Pooling has a kernel, equal to its stride, of alpha times the anchor.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from suite.artifacts import Candidates

PICTURE = 640  # pixels of the longer side that anchors and beta are given for


class Maps(NamedTuple):
    """The score maps: anchor sides and beta in pixels of a picture whose longer side is `PICTURE`; they scale with it."""

    sides: tuple[int, ...]
    ratios: tuple[float, ...]
    alpha: float
    beta: float

    def kernels(self) -> Tensor:
        """int64 (scales, ratios, 2): width and height of each channel's window in cells, k = max(1, round(alpha side / beta))."""
        sizes = [[(side / math.sqrt(ratio), side * math.sqrt(ratio)) for ratio in self.ratios] for side in self.sides]
        return (torch.tensor(sizes) * self.alpha / self.beta + 0.5).floor().long().clamp_min(1)

    def cells(self, boxes: Tensor, size: tuple[int, int]) -> Tensor:
        """int64 (n, 2): the cell X, Y of each box's centre, floor(c / beta)."""
        beta = self.beta * max(size) / PICTURE
        return ((boxes[:, :2] + boxes[:, 2:]) / (2 * beta)).floor().long().clamp_min(0)

    def channels(self, boxes: Tensor, size: tuple[int, int], raw: bool = False) -> tuple[Tensor, Tensor]:
        """int64 (n,) each: the nearest scale by log side and the nearest ratio by log ratio.

        With `raw` the pair with the least (area - A_s)^2 + (ratio - rho_r)^2 in pixels, where the area decides alone.
        """
        scale = PICTURE / max(size)
        wide, high = ((boxes[:, 2:] - boxes[:, :2]) * scale).clamp_min(1e-3).unbind(1)
        sides, ratios = torch.tensor(self.sides, dtype=torch.float32), torch.tensor(self.ratios)
        if raw:
            area = (wide * high)[:, None] - sides**2
            ratio = (high / wide)[:, None] - ratios
            nearest = (area[:, :, None] ** 2 + ratio[:, None] ** 2).flatten(1).argmin(1)
            return nearest // len(ratios), nearest % len(ratios)
        by_side = ((wide * high).sqrt().log()[:, None] - sides.log()).abs().argmin(1)
        return by_side, ((high / wide).log()[:, None] - ratios.log()).abs().argmin(1)


class Placed(NamedTuple):
    """Where candidates lie: class, scale and ratio (n,) and cell (n, 2), all int64, with their scores (n,)."""

    scores: Tensor
    labels: Tensor
    scale: Tensor
    ratio: Tensor
    cell: Tensor

    def at(self, rows: Tensor) -> Placed:
        return Placed(*(item[rows] for item in self))


def place(item: Candidates, maps: Maps, *, channel: Tensor, cell: Tensor, raw: bool = False) -> Placed:
    """The candidates' places, the channel by the boxes `channel` and the cell by the boxes `cell`, (n, 4) each."""
    return Placed(item.scores, item.labels, *maps.channels(channel, item.size, raw), maps.cells(cell, item.size))


def survivors(placed: Placed, kernels: Tensor, steps: Sequence[str], shift: bool) -> Tensor:
    """Rows int64 that are maxima of their windows in every step, each step among those that the step before left.

    "single" pools each channel by itself, "ratios" all ratios of a scale together, "scales" all scales of a ratio, "all" every
    channel; together the smallest of their kernels counts. Boxes of one cell and channel share all windows, so the first step keeps
    the highest alone, as a map of scores would. With `shift` a box has to be the maximum on a grid offset by half a
    kernel too.
    """
    rows = torch.arange(len(placed.scores))
    for step in steps:
        alive = placed.at(rows)
        group, kernel = pooled(alive, kernels, step)
        kept = maxima(alive.scores, windows(alive, group, alive.cell // kernel))
        if shift:
            kept &= maxima(alive.scores, windows(alive, group, (alive.cell + kernel - (kernel + 1) // 2) // kernel))
        rows = rows[kept]
    return rows


def pooled(placed: Placed, kernels: Tensor, step: str) -> tuple[Tensor, Tensor]:
    """What a step pools together: a number (n,) for each group of channels, and the group's kernel (n, 2)."""
    if step == "single":
        return placed.scale * kernels.shape[1] + placed.ratio, kernels[placed.scale, placed.ratio]
    if step == "ratios":
        return placed.scale, kernels.amin(1)[placed.scale]
    if step == "scales":
        return placed.ratio, kernels.amin(0)[placed.ratio]
    return torch.zeros_like(placed.scale), kernels.amin((0, 1)).expand(len(placed.scale), 2)


def windows(placed: Placed, group: Tensor, window: Tensor) -> Tensor:
    """One number for each class, group of channels and window (n, 2), so that all are pooled at once."""
    if not len(group):
        return group
    across, down = window.amax(0) + 1
    return ((placed.labels * (group.max() + 1) + group) * down + window[:, 1]) * across + window[:, 0]


def maxima(scores: Tensor, ids: Tensor) -> Tensor:
    """bool (n,): the highest of `scores` (n,) among those of the same number `ids` (n,), of equal ones the first."""
    if not len(scores):
        return torch.zeros(0, dtype=torch.bool)
    count, table = len(scores), int(ids.max()) + 1
    top = scores.new_full((table,), -math.inf).scatter_reduce_(0, ids, scores, "amax")
    order = torch.where(scores == top[ids], torch.arange(count), count)
    first = torch.full((table,), count).scatter_reduce_(0, ids, order, "amin")
    return first[ids] == torch.arange(count)

"""Compression units of one layer, input channels and singular values: what removing them does to the loss, and in which order.

Sections 2.2 to 2.7 are those of the method's description (see `collaborative_compression`). A weight W (Co, Ci, taps) is the matrix
(Co, Ci * taps); G are the squares of its mean gradient. The error of a weight V in its place is E(V) = sum of G * (V - W)^2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import torch
from suite.baselines._reduced import Reduced
from torch import Tensor

RATE = 0.95  # the largest share of a layer's MACs that may go
ROUNDS = 100  # of the units, one in so many goes in a round
CHUNK = 16  # channels whose weights are decomposed together


class Fit(NamedTuple):
    """The error e(c) = a * exp(b * c) of a layer of which the share c of the MACs is gone, relative to its `largest`."""

    a: float
    b: float
    largest: float


def decompose(weight: Tensor) -> tuple[Tensor, Tensor]:
    """U (m, m) and S V^T (m, n) of matrices (..., m, n), the largest singular values first. Meant for m <= n: the squares m x m are
    decomposed, in which the pieces, and all that is computed from them here, are the same."""
    left = torch.linalg.eigh(weight @ weight.mT)[1].flip(-1)
    return left, left.mT @ weight


@dataclass
class Units:
    """A layer's `weight` and mean `gradient` (Co, Ci, taps) float64, and which kinds of units may go.

    Where it has more than `exact` inputs, the forward term of a channel takes Q of the current weight instead of that without the
    channel.
    """

    weight: Tensor
    gradient: Tensor
    channels: bool = True
    ranks: bool = True
    gamma: float = 0.9
    exact: int = 64
    order: list[int] = field(default_factory=list)  # of removal, as far as it is known: a channel, or -1 for a rank unit

    def __post_init__(self) -> None:
        self.rows, self.inputs, self.taps = self.weight.shape
        self.weight = self.weight.flatten(1)
        self.squares = self.gradient.flatten(1).square()
        self.width = min(self.weight.shape)  # rank units
        self.current, self.kept, self.rank = self.weight, list(range(self.inputs)), self.width

    def error(self, weight: Tensor) -> float:
        """2.2: E of a weight (Co, Ci * taps)."""
        return float((self.squares * (weight - self.weight).square()).sum())

    def cost(self, inputs: int, rank: int) -> float:
        """2.4: the share of the layer's MACs: two layers, if any rank unit is gone, cost more than one at first."""
        columns, whole = inputs * self.taps, self.inputs * self.taps * self.rows
        return (columns * self.rows if rank == self.width else rank * (columns + self.rows)) / whole

    # 2.5: how sensitive the layer is.

    @cached_property
    def fit(self) -> Fit:
        """Units go by the error that each makes alone, the least first; the errors of what is then left are fitted."""
        alone = [(float(error), 0, unit) for unit, error in enumerate(self._by_channel(self.weight.square()))] * self.channels
        alone += [(float(error), 1, unit) for unit, error in enumerate(self._by_rank(self.weight, {})[1])] * self.ranks
        alone.sort()
        size = max(1, len(alone) // ROUNDS)  # beyond two hundred units a hundredth at a time
        weight, inputs, gone, points = self.weight, self.inputs, list[int](), list[tuple[float, float]]()
        for start in range(0, len(alone), size):
            chunk = alone[start : start + size]
            channels, ranks = ([unit for _, kind, unit in chunk if kind == wanted] for wanted in (0, 1))
            weight = self._without_channels(weight, channels)
            # A unit's present place is that among those that are left.
            weight = self._without_ranks(weight, [unit - sum(before < unit for before in gone) for unit in ranks])
            inputs, gone = inputs - len(channels), gone + ranks
            points.append((1 - self.cost(inputs, self.width - len(gone)), self.error(weight)))
            if not inputs or len(gone) == self.width:
                break
        return fitted(points)

    # 2.6: the multi-step heuristic.

    def reduce(self, rate: float) -> Reduced:
        """What is left when the share `rate` of the layer's MACs is gone; the search goes on only as far as it has to.

        If the channels among the units removed reach it alone, no rank unit goes.
        """
        most, inputs, rank, place = 1 - min(rate, RATE) + 1e-12, self.inputs, self.width, 0
        while self.cost(inputs, rank) > most < self.cost(inputs, self.width):
            if place == len(self.order) and not self._round():
                break
            inputs, rank = (inputs, rank - 1) if self.order[place] < 0 else (inputs - 1, rank)
            place += 1
        if self.cost(inputs, self.width) <= most:
            rank = self.width
        gone = {*self.order[:place]}
        return Reduced(tuple(channel for channel in range(self.inputs) if channel not in gone), rank * (rank < self.width))

    def _round(self) -> bool:
        """Remove a hundredth of the units, those of least metric, one after the other; whether any could go."""
        before, ranks = len(self.order), list[int]()
        units = self._metric()
        for _, channel, rank in units[: max(1, (self.inputs + self.width) // ROUNDS)]:
            if channel >= 0 and len(self.kept) > 1:
                self.kept.remove(channel)
                self.current = self._without_channels(self.current, [channel])
                self.order.append(channel)
            elif channel < 0 and self.rank > 1:
                self.current = self._without_ranks(self.current, [rank - sum(other < rank for other in ranks)])
                self.rank, ranks = self.rank - 1, [*ranks, rank]
                self.order.append(-1)
        return len(self.order) > before

    def _metric(self) -> list[tuple[float, int, int]]:
        """(metric, channel or -1, place of the rank unit) of all units that are left, the least first."""
        backward, forward = self.terms()
        values = (backward + self.gamma * forward).tolist()
        names = [(channel, 0) for channel in self.kept] * self.channels + [(-1, rank) for rank in range(self.rank)] * self.ranks
        return sorted((value, *name) for value, name in zip(values, names, strict=True))

    def terms(self) -> tuple[Tensor, Tensor]:
        """backward(u) and forward(u) of all units that are left: channels, then rank units.

        With D = W_u - W, backward is sum G D^2; forward, the mean over what may go next, is by the sums of their pieces
        backward - 2 k/m sum G D W_u + 1/m sum G (W_u^2 + Q_u) for k kinds of units of which m are left; without channels there is
        no W_u^2, without ranks no Q_u.
        """
        change, current = self.current - self.weight, self.current
        parts = {"back": change.square(), "cross": change * current, "square": current.square()}
        total = {name: (self.squares * part).sum() for name, part in parts.items()}
        by_rank, piece = self._by_rank(current, {"change": change, "current": current})
        left = len(self.kept) * self.channels + self.rank * self.ranks - 1
        found = list[tuple[Tensor, ...]]()
        if self.channels:
            column = {name: self._by_channel(part)[self.kept] for name, part in parts.items()}
            spectral = self._spectral() if self.ranks and self.inputs <= self.exact else piece.sum().expand(len(self.kept))
            back = total["back"] - column["back"] + self._by_channel(self.weight.square())[self.kept]
            found.append((back, total["cross"] - column["cross"], total["square"] - column["square"], spectral))
        if self.ranks:
            back = total["back"] - 2 * by_rank["change"] + piece
            cross = total["cross"] - by_rank["change"] - by_rank["current"] + piece
            square = total["square"] - 2 * by_rank["current"] + piece
            found.append(tuple(item[: self.rank] for item in (back, cross, square, piece.sum() - piece)))
        back, cross, square, spectral = (torch.cat(items) for items in zip(*found, strict=True))
        after = (square * self.channels + spectral * self.ranks - 2 * (self.channels + self.ranks) * cross) / max(1, left)
        return back, back + after

    def _by_channel(self, values: Tensor) -> Tensor:
        """Sums of G * `values` (Co, Ci * taps) over each channel, (Ci,)."""
        return (self.squares * values).reshape(self.rows, self.inputs, self.taps).sum((0, 2))

    def _by_rank(self, weight: Tensor, factors: dict[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
        """For every piece P of rank one of `weight`: sum G * factor * P of each factor, and sum G * P^2."""
        tall = self.rows > self.inputs * self.taps
        weight, squares = (item.mT if tall else item for item in (weight, self.squares))
        left, right = decompose(weight)
        sums = {name: ((left.mT @ (squares * (item.mT if tall else item))) * right).sum(1)
                for name, item in factors.items()}
        return sums, ((left.square().mT @ squares) * right.square()).sum(1)

    def _spectral(self) -> Tensor:
        """sum G * Q_u for every channel that is left: Q_u are the squared pieces of the current weight without it."""
        found = []
        for chunk in torch.tensor(self.kept).split(CHUNK):
            without = self.current.reshape(self.rows, self.inputs, self.taps).expand(len(chunk), -1, -1, -1).clone()
            without[torch.arange(len(chunk)), :, chunk] = 0
            weight, squares = without.flatten(2), self.squares
            if self.rows > self.inputs * self.taps:
                weight, squares = weight.mT, squares.mT
            try:
                left, right = decompose(weight)
                found.append(((left.square().mT @ squares) * right.square()).sum((1, 2)))
            except torch.linalg.LinAlgError:
                found.append((squares * weight.square()).sum((1, 2)))
        return torch.cat(found)

    def _without_channels(self, weight: Tensor, channels: Sequence[int]) -> Tensor:
        weight = weight.clone(memory_format=torch.contiguous_format)
        weight.view(self.rows, self.inputs, self.taps)[:, channels] = 0
        return weight

    def _without_ranks(self, weight: Tensor, ranks: Sequence[int]) -> Tensor:
        if not ranks:
            return weight
        if self.rows > self.inputs * self.taps:
            left, right = decompose(weight.mT)
            return weight - (left[:, ranks] @ right[ranks]).mT
        left, right = decompose(weight)
        return weight - left[:, ranks] @ right[ranks]

    def left(self, reduced: Reduced) -> Tensor:
        """2.7: the weight (Co, Ci * taps) of the layer as built: the original's channels that stay, of the rank that stays."""
        weight = self.weight.view(self.rows, self.inputs, self.taps)[:, reduced.kept].flatten(1)
        if reduced.rank:
            left, values, right = torch.linalg.svd(weight, full_matrices=False)
            weight = (left[:, : reduced.rank] * values[: reduced.rank]) @ right[: reduced.rank]
        whole = torch.zeros(self.rows, self.inputs, self.taps, dtype=weight.dtype)
        whole[:, reduced.kept] = weight.view(self.rows, -1, self.taps)
        return whole.flatten(1)


def fitted(points: Sequence[tuple[float, float]]) -> Fit:
    """2.5 d, e: of (rate, error) with a rate above zero, weighted least squares of ln(e / max + 1e-10), weights the roots of e."""
    rates, errors = torch.tensor([point for point in points if point[0] > 0], dtype=torch.float64).view(-1, 2).unbind(1)
    largest = float(errors.max()) if len(errors) else 0.0
    if largest > 0:
        shares = errors / largest
        weights, logs = shares.sqrt() / shares.sqrt().sum(), (shares + 1e-10).log()
        mean, level = float((weights * rates).sum()), float((weights * logs).sum())
        spread = float((weights * (rates - mean).square()).sum())
        slope = float((weights * (rates - mean) * (logs - level)).sum()) / spread if spread else 0.0
        if slope > 0:
            return Fit(math.exp(level - slope * mean), slope, largest)
    return Fit(1e-10, 1.0, largest or 1.0)  # no gradient reaches the layer: it costs nothing to reduce it

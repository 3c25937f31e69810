"""Windows of body-worn sensor signals: how they are held, standardised, held out, thinned and labelled in part."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from suite.data.pictures import Stored, one_value

if TYPE_CHECKING:
    from torch import Generator, Tensor

GAP = 2  # windows left out on either side of a held-out block; neighbours overlap by half, so one would do


@dataclass
class Windows(Stored):
    """Windows of equal length: `values` float32 (N, 1, C, T), `labels` int64 (N,), -1 where there is none.

    `subjects` int64 (N,) says who wore the sensors, None where nobody wrote it down.
    """

    subjects: Tensor | None = None

    def subset(self, index: Tensor) -> Windows:
        """A copy of the windows at `index`, in that order."""
        return replace(super().subset(index), subjects=None if self.subjects is None else self.subjects.index_select(0, index))

    def is_constant(self, row: int) -> bool:
        """Whether no sensor shows any change over time."""
        return one_value(self.values[row], 1)

    def joined(self, others: Windows) -> Windows:
        """These windows and then `others`."""
        import torch

        worn = None if self.subjects is None or others.subjects is None else torch.cat([self.subjects, others.subjects])
        return Windows(torch.cat([self.values, others.values]), torch.cat([self.labels, others.labels]), worn)

    def unlabelled(self) -> Windows:
        """The same windows without labels: all -1."""
        import torch

        return replace(self, labels=torch.full_like(self.labels, -1))


@dataclass(frozen=True)
class Standardise:
    """Windows (B, 1, C, T) with each of the C channels shifted by `mean` and divided by `deviation`."""

    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    @classmethod
    def fitted(cls, windows: Windows) -> Standardise:
        """To mean 0 and variance 1 over `windows`; a channel that never changes is only shifted."""
        values = windows.values.double()
        deviation = values.std((0, 1, 3), correction=0)
        return cls(tuple(values.mean((0, 1, 3)).tolist()), tuple((deviation + (deviation == 0)).tolist()))

    def __call__(self, values: Tensor) -> Tensor:
        shift = values.new_tensor(self.mean).view(1, 1, -1, 1)
        return (values - shift) / values.new_tensor(self.deviation).view(1, 1, -1, 1)


class Parts(NamedTuple):
    """Two disjoint lists of rows, int64, ascending."""

    train: Tensor
    val: Tensor


def hold_out(windows: Windows, share: float, generator: Generator) -> Parts:
    """About `share` (0..1) of `windows` for selection, so that no signal is on both sides.

    Whole subjects where they are known and there are two or more. Else one block of consecutive windows of every class
    (classes may lie in the file one after the other), from a random start; `GAP` neighbours on either side are on
    neither, nor is any window that has a half in common with a held-out one: files that list all even windows of a
    recording before the odd ones put overlapping windows far apart.
    """
    import torch

    if windows.subjects is not None and len(names := windows.subjects.unique()) > 1:
        order = names[torch.randperm(len(names), generator=generator)]
        sizes = torch.stack([(windows.subjects == name).sum() for name in order]).cumsum(0)
        count = 1 + int((sizes[:-1] - share * len(windows)).abs().argmin())
        held = torch.isin(windows.subjects, order[:count])
        return Parts(torch.nonzero(~held).flatten(), torch.nonzero(held).flatten())
    held, near = torch.zeros(2, len(windows), dtype=torch.bool)
    for label in windows.labels.unique():
        rows = torch.nonzero(windows.labels == label).flatten()
        length = round(share * len(rows))
        start = int(torch.randint(len(rows) - length + 1, (), generator=generator))
        held[rows[start : start + length]] = True
        near[rows[max(0, start - GAP) : start + length + GAP]] = length > 0
    kept = ~near & ~_sharing(windows.values, held)
    return Parts(torch.nonzero(kept).flatten(), torch.nonzero(held).flatten())


def _sharing(values: Tensor, held: Tensor) -> Tensor:
    """Which windows (N,) have the first or second half of a `held` (N,) window as one of their own halves."""
    import torch

    half = values.shape[-1] // 2
    sides = [[side.tobytes() for side in np.ascontiguousarray(part.numpy())] for part in (values[..., :half], values[..., half:])]
    known = {side for part in sides for side, is_held in zip(part, held.tolist(), strict=True) if is_held}
    return torch.tensor([first in known or second in known for first, second in zip(*sides, strict=True)])


def long_tail(labels: Tensor, ratio: float, generator: Generator) -> Tensor:
    """Rows of `labels` (N,), ascending, drawn so that the most frequent class is `ratio` times the rarest one.

    Classes keep their order by frequency (ties: the lower label first). Of K classes the i-th is to keep
    ``ratio ** (-i / (K - 1))`` of the most that every class can follow; 1 gives equal classes.
    """
    import torch

    counts = labels.bincount()
    order = [label for label in counts.argsort(descending=True, stable=True).tolist() if counts[label]]
    wanted = [ratio ** (-rank / max(1, len(order) - 1)) for rank in range(len(order))]
    most = min(int(counts[label]) / part for label, part in zip(order, wanted, strict=True))
    rows = []
    for label, part in zip(order, wanted, strict=True):
        own = torch.nonzero(labels == label).flatten()
        rows.append(own[torch.randperm(len(own), generator=generator)[: max(1, int(most * part + 1e-9))]])
    return torch.cat(rows).sort().values


def choose_labelled(labels: Tensor, count: int, balanced: bool, generator: Generator) -> Tensor:
    """`count` rows of `labels` (N,), ascending, that keep their labels; at least one, at most all, of every class.

    `balanced`: as nearly the same number of every class as there are windows, what is left over going to the rarer
    ones. Else in proportion to the classes, the remainder going to the largest, as the A*HAR repository does.
    """
    import torch

    counts = labels.bincount()
    quota = torch.zeros_like(counts)
    if balanced:
        rare_first = [label for label in counts.argsort(stable=True).tolist() if counts[label]]
        for place, label in enumerate(rare_first):
            fair = -(-(count - int(quota.sum())) // (len(rare_first) - place))
            quota[label] = fair
            quota.clamp_(max=counts)
    else:
        quota = counts * count // len(labels)
        quota[counts.argmax()] += count - quota.sum()
    quota = torch.minimum(quota.clamp(min=1), counts)
    rows = []
    for label, number in enumerate(quota.tolist()):
        own = torch.nonzero(labels == label).flatten()
        rows.append(own[torch.randperm(len(own), generator=generator)[:number]])
    return torch.cat(rows).sort().values

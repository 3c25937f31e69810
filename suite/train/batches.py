"""Batches: what an epoch is made of.

An epoch is a list of calls that make a batch each, in order: a resumed training skips those that it has seen without making
them, and a thread makes one ahead while the network learns from the one before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Generator, Tensor
from torch.utils._pytree import tree_map_only

from suite.settings import Augment as ImageAugment
from suite.settings import Images, PairAugment, Pairs
from suite.train.mix import Mix

Item = TypeVar("Item")
Epoch = Iterable[Callable[[], Item]]
#: Turns what ``data.batch`` gives into network inputs, or into (inputs, targets) where targets move with the pixels.
Augment = ImageAugment | PairAugment


class Batch(NamedTuple):
    """What a network learns from at once.

    `inputs` are normalised float32 (B, C, H, W), or a tuple of such: several views, a low and a high resolution. `targets` are
    int64 (B,) or (B, H, W), or whatever the augmentation gives (soft labels, dictionaries). `index` int64 (B,) are the rows
    of the data.
    """

    inputs: Any
    targets: Any
    index: Tensor  # type: ignore[assignment]

    def to(self, device: torch.device | str) -> Batch:
        """The batch on `device`, whatever it is made of."""
        return Batch(*tree_map_only(Tensor, lambda item: item.to(device), tuple(self)))


class Stream(NamedTuple):
    """One of several data sets that are drawn from at once, `size` samples a step."""

    data: Images | Pairs
    size: int
    augment: Augment
    views: int = 1
    mix: Mix | None = None


def batches(
    data: Images | Pairs, size: int, augment: Augment, generator: Generator, views: int = 1, mix: Mix | None = None
) -> Epoch[Batch]:
    """One epoch in random order, whole batches only (one short batch if `data` is smaller than `size`).

    With several `views` the augmentation is drawn that often for each image and the batch's inputs are a tuple. `mix` (mixup,
    CutMix) comes after the augmentation.
    """
    order = torch.randperm(len(data), generator=generator)
    rows = [index for index in order.split(size) if len(index) == size or len(order) < size]
    return [partial(_batch, Stream(data, size, augment, views, mix), index, generator) for index in rows]


def streams(parts: list[Stream], generator: Generator) -> Epoch[tuple[Batch, ...]]:
    """Batches of several data sets side by side, such as labelled and unlabelled ones, at the ratio of their sizes.

    An epoch is one of the last part; of the others as many rows are drawn as go with it, each in a new random order
    whenever it is used up. ValueError where the last part is smaller than its own batch.
    """
    steps = len(parts[-1].data) // parts[-1].size
    if not steps:
        raise ValueError(f"a stream of {len(parts[-1].data)} samples has no batch of {parts[-1].size}")
    rows = [_repeated(len(part.data), steps * part.size, generator).split(part.size) for part in parts]

    def together(indices: tuple[Tensor, ...]) -> tuple[Batch, ...]:
        return tuple(_batch(part, index, generator) for part, index in zip(parts, indices, strict=True))

    return [partial(together, indices) for indices in zip(*rows, strict=True)]


def _repeated(count: int, wanted: int, generator: Generator) -> Tensor:
    """`wanted` of the rows 0 .. count-1, none again before all have been drawn as often."""
    return torch.cat([torch.randperm(count, generator=generator) for _ in range(-(-wanted // count))])[:wanted]


def _batch(part: Stream, index: Tensor, generator: Generator) -> Batch:
    drawn: list[Any] = [part.augment(part.data.batch(index, True, generator), generator) for _ in range(part.views)]
    if part.views > 1:
        return Batch(tuple(drawn), part.data.labels[index], index)  # type: ignore[union-attr]
    if part.mix:
        return Batch(*part.mix(drawn[0], part.data.labels[index], generator), index)  # type: ignore[union-attr]
    inputs, targets = drawn[0] if isinstance(drawn[0], tuple) else (drawn[0], part.data.labels[index])  # type: ignore[union-attr]
    return Batch(inputs, targets, index)


def ahead(epoch: Iterator[Callable[[], Item]], generator: Generator) -> Iterator[tuple[Item, Tensor]]:
    """Each batch with the state of `generator` behind it, made by one background thread while the one before is in use."""
    def make() -> tuple[Item, Tensor] | None:
        call = next(epoch, None)
        return None if call is None else (call(), generator.get_state())

    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(make)
        while (made := coming.result()) is not None:
            coming = thread.submit(make)
            yield made

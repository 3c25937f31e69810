"""Episodes of few-shot segmentation: folds of classes, and which pictures are queries and support.

Sources: Shaban et al., "One-Shot Learning for Semantic Segmentation", BMVC 2017 (PASCAL-5i); Nguyen and Todorovic, "Feature
Weighting and Boosting for Few-Shot Segmentation", ICCV 2019 (COCO-20i); and the code of PANet, PFENet and HSNet for protocols.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Generator, Tensor
from torch.nn import functional

from suite.data.segmented import NOT_COUNTED, SegmentedPictures
from suite.errors import UserError
from suite.settings import EpisodeBatch

FOLDS = 4
ORDERS = ("blocks", "interleaved")
PADDING = (124, 116, 104)  # the mean colour of ImageNet, which normalises to about 0
JITTER = (0.9, 1.1)  # of a training picture's size, as PFENet's on PASCAL


def fold_classes(classes: int, fold: int, order: str) -> list[int]:
    """The numbers, from 1, of the classes that a fold tests: the fold's quarter of them in ``blocks`` (PASCAL-5i, PANet's
    COCO-20i), or each fourth, ``interleaved`` (COCO-20i of FWB, PFENet and HSNet). UserError where that is none, or all of them.
    """
    first, last = fold * classes // FOLDS + 1, (fold + 1) * classes // FOLDS
    found = list(range(fold + 1, classes + 1, FOLDS) if order == "interleaved" else range(first, last + 1))
    if len(found) in (0, classes):
        raise UserError(f"Of the data's {classes} classes fold {fold} tests {len(found)}, and there must be some on both sides; "
                        f"choose another task.fold, or data with {FOLDS} classes or more.")
    return found


class Episode(NamedTuple):
    """Rows of pictures, and the class by number."""

    label: int
    query: int
    support: tuple[int, ...]


class Fitted(NamedTuple):
    """A picture uint8 (3, S, S) at the left top of a square, and its mask uint8 (S, S)."""

    pixels: Tensor
    mask: Tensor


class Protocol(NamedTuple):
    """How test episodes are drawn: so many for each of `seeds`.

    `draws` are ``query`` (a picture, then one of its classes), ``class`` (a class, then a picture with it) or ``pair`` (picture and
    class, cycled in the order of the list; fewer episodes than pairs take evenly spaced ones). `stretched`: pictures are squares of
    the network's size, and so are the masks judged; else they keep their proportions, and predictions are judged at the size of the
    masks on disk.
    """

    episodes: int
    seeds: tuple[int, ...]
    draws: str = "query"
    stretched: bool = False


#: By name and layout. The random numbers are the suite's own, so that an episode is not the same as in the authors' code.
PROTOCOLS: Mapping[str, Mapping[str, Protocol]] = {
    "suite": dict.fromkeys(("voc", "coco"), Protocol(1000, (0, 1, 2, 3, 4))),
    "hsnet": {"voc": Protocol(1000, (0,), "pair", True), "coco": Protocol(1000, (0,), "class", True)},
    "pfenet": {"voc": Protocol(5000, (321,)), "coco": Protocol(20_000, (321,))},
    "panet": dict.fromkeys(("voc", "coco"), Protocol(1000, (1234, 1235, 1236, 1237, 1238), "class")),
}


@dataclass
class EpisodePool:
    """Pictures and the rows that show each class well enough (:class:`suite.settings.Episodes`)."""

    pictures: SegmentedPictures
    rows: Mapping[int, Sequence[int]]  # of each class
    shots: int
    size: int
    stretched: bool = False

    def __post_init__(self) -> None:
        self.queries = sorted({row for found in self.rows.values() for row in found})
        self.labels: dict[int, list[int]] = {row: [] for row in self.queries}
        for label, found in self.rows.items():
            for row in found:
                self.labels[row].append(label)

    def __len__(self) -> int:
        return len(self.queries)

    def batch(self, index: Tensor, train: bool, generator: Generator) -> EpisodeBatch:
        rows = [self.queries[row] for row in index.tolist()]
        return self.stacked([self.episode(row, _one_of(self.labels[row], generator), generator) for row in rows], train, generator)

    def episode(self, query: int, label: int, generator: Generator) -> Episode:
        """With other pictures than `query` as support, each once."""
        others = [row for row in self.rows[label] if row != query]
        chosen = torch.randperm(len(others), generator=generator)[: self.shots].tolist()
        return Episode(label, query, tuple(others[place] for place in chosen))

    def test_episodes(self, count: int, draws: str, generator: Generator) -> Iterator[Episode]:
        """`count` episodes by a `Protocol`."""
        pairs = [(row, label) for label, found in self.rows.items() for row in found]
        order = torch.randperm(len(self.queries), generator=generator).tolist()
        for number in range(count):
            if draws == "pair":
                query, label = pairs[number % len(pairs) if count >= len(pairs) else number * len(pairs) // count]
            elif draws == "class":
                label = _one_of(sorted(self.rows), generator)
                query = _one_of(self.rows[label], generator)
            else:  # each query once before any comes again
                query = self.queries[order[number % len(order)]]
                label = _one_of(self.labels[query], generator)
            yield self.episode(query, label, generator)

    def stacked(self, episodes: Sequence[Episode], train: bool, generator: Generator) -> EpisodeBatch:
        """The pictures of `episodes`; for training each at a size, at a place and in a mirror image of its own."""
        fit: Callable[[int, int], Fitted] = (lambda row, label: self.varied(row, label, generator)) if train else (
            lambda row, label: self.fitted(row))
        queries = [fit(item.query, item.label) for item in episodes]
        support = [[fit(row, item.label) for row in item.support] for item in episodes]
        labels = torch.tensor([item.label for item in episodes])
        return EpisodeBatch(
            torch.stack([item.pixels for item in queries]),
            torch.stack([binary(item.mask, label) for item, label in zip(queries, labels.tolist(), strict=True)]),
            torch.stack([torch.stack([item.pixels for item in items]) for items in support]),
            torch.stack([torch.stack([binary(item.mask, label) for item in items])
                         for items, label in zip(support, labels.tolist(), strict=True)]), labels)

    def judged(self, episode: Episode, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Prediction and target (1, H, W) of an episode's query from logits (2, S, S): at the size of its mask on disk, or of the
        square where that is stretched."""
        if self.stretched:
            mask = self.fitted(episode.query).mask
        else:
            mask, (high, wide) = self.pictures.mask(episode.query), self.sides(episode.query)
            logits = functional.interpolate(logits[None, :, :high, :wide], mask.shape, mode="bilinear", align_corners=False)[0]
        return logits.argmax(0)[None], binary(mask, episode.label)[None]

    def sides(self, row: int, scale: float = 1.0) -> tuple[int, int]:
        """Height and width of a picture whose longer side is `size` times `scale`."""
        sides = self.pictures.mask(row).shape
        high, wide = (max(1, round(self.size * scale * (1.0 if self.stretched else side / max(sides)))) for side in sides)
        return high, wide

    def fitted(self, row: int, scale: float = 1.0, place: tuple[float, float] = (0.0, 0.0)) -> Fitted:
        """A picture whose longer side is `size` times `scale`; of what is larger than the square, `place` (0 to 1) is cut out."""
        pixels, mask = self.pictures.image(row), self.pictures.mask(row)
        pixels, mask = resized(pixels, mask, *self.sides(row, scale))
        top, left = (round(share * max(0, side - self.size)) for share, side in zip(place, mask.shape, strict=True))
        window = slice(top, top + self.size), slice(left, left + self.size)
        pixels, mask = pixels[:, *window], mask[window]
        high, wide = mask.shape
        square = torch.tensor(PADDING, dtype=torch.uint8).view(3, 1, 1).repeat(1, self.size, self.size)
        around = torch.full((self.size, self.size), NOT_COUNTED, dtype=torch.uint8)
        square[:, :high, :wide], around[:high, :wide] = pixels, mask
        return Fitted(square, around)

    def varied(self, row: int, label: int, generator: Generator) -> Fitted:
        """A picture for training; as it is where the class would be cut off."""
        scale, top, left, mirrored = torch.rand(4, generator=generator).tolist()
        found = self.fitted(row, JITTER[0] + (JITTER[1] - JITTER[0]) * scale, (top, left))
        if not (found.mask == label).any():
            found = self.fitted(row)
        return Fitted(found.pixels.flip(2), found.mask.flip(1)) if mirrored < 0.5 else found


@dataclass
class Unlabelled:
    """Pictures of a pool without their masks (:class:`suite.settings.Images`), stretched to fill the square: what lies beside a
    picture would be alike in all of them. All labels are -1."""

    pool: EpisodePool
    rows: Sequence[int]

    @property
    def labels(self) -> Tensor:
        return torch.full((len(self.rows),), -1)

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, index: Tensor, train: bool, generator: Generator) -> Tensor:
        pool = replace(self.pool, stretched=True)
        return torch.stack([pool.fitted(self.rows[row]).pixels for row in index.tolist()])

    def subset(self, index: Tensor) -> Unlabelled:
        return replace(self, rows=[self.rows[row] for row in index.tolist()])


def binary(mask: Tensor, label: int) -> Tensor:
    """A mask of class numbers as 1 where `label` is, 0 elsewhere, 255 where nothing counts."""
    return torch.where(mask == NOT_COUNTED, NOT_COUNTED, (mask == label).to(torch.uint8))


def resized(pixels: Tensor, mask: Tensor, high: int, wide: int) -> tuple[Tensor, Tensor]:
    """uint8 (3, H, W) smoothly and (H, W) by the nearest pixel at another size."""
    if mask.shape == (high, wide):
        return pixels, mask
    smooth = functional.interpolate(pixels[None].float(), (high, wide), mode="bilinear", antialias=True, align_corners=False)[0]
    nearest = functional.interpolate(mask[None, None].float(), (high, wide), mode="nearest-exact")[0, 0]
    return smooth.round().clamp(0, 255).to(torch.uint8), nearest.to(torch.uint8)


def _one_of(items: Sequence[int], generator: Generator) -> int:
    return items[int(torch.randint(len(items), (), generator=generator))]

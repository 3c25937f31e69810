"""Momentum contrast: an encoder learns from images without labels which two views are of one image, or of one patch of it.

He et al., "Momentum Contrast for Unsupervised Visual Representation Learning", CVPR 2020, and MoCo v2 (Chen et al., arXiv
2003.04297): a second encoder follows the first as a running average and makes the keys, a queue holds those of earlier batches as
negatives, and the loss is InfoNCE. The local part does the same with patches, whose vectors are means over a label map that is
warped with the image.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from suite.baselines._mean_teacher import follow
from torch import Generator, Tensor, nn
from torch.nn import functional

from suite.context import Run
from suite.settings import Images
from suite.train import Clock, Compose, Recipe, autocast, steps
from suite.train.augment import rectangles
from suite.train.transforms import Blur, Colour, Grayscale

#: MoCo v2's changes of colour, on uint8 images.
COLOURS = Compose((Colour(0.4, 0.4, 0.4, 0.1, probability=0.8), Grayscale(0.2), Blur((0.1, 2.0), probability=0.5)))


def info_nce(queries: Tensor, keys: Tensor, negatives: Tensor, temperature: float, among: bool = False) -> Tensor:
    """The mean of -log exp(<q, k+> / t) / (exp(<q, k+> / t) + sum of exp(<q, k-> / t) over the negatives), unit vectors all.

    `queries` (N, D) belong to `keys` (N, D) of the same row; negatives are `negatives` (M, D) and, if `among`, the keys of all
    other rows as well.
    """
    others = queries @ negatives.T
    if among:
        logits, targets = torch.cat([queries @ keys.T, others], 1), torch.arange(len(queries), device=queries.device)
    else:
        logits = torch.cat([(queries * keys).sum(1, keepdim=True), others], 1)
        targets = torch.zeros(len(queries), dtype=torch.long, device=queries.device)
    return functional.cross_entropy(logits / temperature, targets)


class Queue(nn.Module):
    """The last `length` keys, the oldest replaced first; random unit vectors at the beginning, as in MoCo's code."""

    keys: Tensor
    place: Tensor

    def __init__(self, length: int, width: int) -> None:
        super().__init__()
        self.register_buffer("keys", functional.normalize(torch.randn(length, width), dim=1))
        self.register_buffer("place", torch.zeros((), dtype=torch.long))

    def push(self, keys: Tensor) -> None:
        """Take in `keys` (N, D), of more than `length` the last ones."""
        keys = keys[-len(self.keys) :]
        where = (int(self.place) + torch.arange(len(keys), device=keys.device)) % len(self.keys)
        self.keys[where] = keys.detach().to(self.keys.dtype)
        self.place += len(keys)
        self.place %= len(self.keys)


class Projected(nn.Module):
    """An encoder (images -> maps (N, `channels`, h, w)) with MoCo v2's head on the maps' mean, and one on every place of them."""

    def __init__(self, encoder: nn.Module, channels: int, width: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.whole = nn.Sequential(nn.Linear(channels, channels), nn.ReLU(), nn.Linear(channels, width))
        self.dense = nn.Sequential(nn.Conv2d(channels, channels, 1), nn.ReLU(), nn.Conv2d(channels, width, 1))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Unit vectors (N, D) of the images, and vectors (N, D, h, w) of their places."""
        maps = self.encoder(images)
        return functional.normalize(self.whole(maps.mean((2, 3))), dim=1), self.dense(maps)


class View(NamedTuple):
    """Images as seen once, uint8 (B, 3, H, W), and their patches as seen with them, (B, H, W): numbers from 0, 255 for none."""

    images: Tensor
    patches: Tensor


class Contrast(nn.Module):
    """Momentum contrast of `encoder` with the losses in `parts`: ``whole`` images, ``local`` patches."""

    def __init__(self, encoder: nn.Module, channels: int, *, parts: tuple[str, ...] = ("whole",), width: int = 128,
                 length: int = 65_536, momentum: float = 0.999, temperature: float = 0.2) -> None:  # fmt: skip
        super().__init__()
        self.online = Projected(encoder, channels, width)
        self.average = copy.deepcopy(self.online).requires_grad_(False)
        self.queues = nn.ModuleDict({part: Queue(length, width) for part in parts})
        self.momentum, self.temperature = momentum, temperature

    def losses(self, first: Tensor, second: Tensor, patches: tuple[Tensor, Tensor] | None = None) -> dict[str, Tensor]:
        """Each part's loss on two views (B, 3, H, W) of the same images, and, for ``local``, their patches; the queues go on."""
        vector, places = self.online(first)
        with torch.no_grad():
            key, key_places = self.average(second)
        found: dict[str, Tensor] = {}
        if "whole" in self.queues:
            found["whole"] = self._loss("whole", vector.float(), key.float(), False)
        if "local" in self.queues and patches is not None:
            pairs = patch_pairs(places.float(), key_places.float(), *patches)
            found["local"] = self._loss("local", *pairs, True) if len(pairs[0]) else places.sum() * 0
        return found

    def _loss(self, part: str, queries: Tensor, keys: Tensor, among: bool) -> Tensor:
        queue = self.queues[part]
        loss = info_nce(queries, keys, queue.keys.clone(), self.temperature, among)
        queue.push(keys)
        return loss

    def follow(self) -> None:
        """The average's step, after the optimizer's."""
        follow(self.average, self.online, self.momentum)


def patch_pairs(first: Tensor, second: Tensor, patches: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Unit vectors (P, D) of the patches that both views show, in both: means of `first` and `second` (B, D, h, w) over them.

    `patches`, `others` (B, H, W) are numbers below 255 or 255. A map's place belongs to the patch of the pixel that it looks
    around, those in the corners to the corners' patches; a patch of fewer pixels than a place stands for is not seen.
    """
    (vectors, seen), (keys, also) = (_patch_means(*item) for item in ((first, patches), (second, others)))
    both = seen & also
    return functional.normalize(vectors[both], dim=1), functional.normalize(keys[both], dim=1)


def _patch_means(maps: Tensor, patches: Tensor) -> tuple[Tensor, Tensor]:
    """The mean (B, 255, D) of `maps` over each patch, and whether it is seen, bool (B, 255)."""
    rows, columns = (torch.linspace(0, side - 1, places, device=maps.device).round().long()
                     for side, places in zip(patches.shape[1:], maps.shape[2:], strict=True))
    numbers = patches.long()
    inside = functional.one_hot(numbers[:, rows][:, :, columns].flatten(1), 256)[..., :255].to(maps.dtype)  # (B, hw, 255)
    count = inside.sum(1)
    pixels = numbers.new_zeros(len(numbers), 256).scatter_add_(1, numbers.flatten(1), torch.ones_like(numbers.flatten(1)))[:, :255]
    large = pixels * inside.shape[1] >= numbers[0].numel()  # than a place
    return inside.transpose(1, 2) @ maps.flatten(2).transpose(1, 2) / count.clamp_min(1)[..., None], (count > 0) & large


def seen_once(images: Tensor, patches: Tensor, generator: Generator, area: tuple[float, float] = (0.2, 1.0)) -> View:
    """A random crop of each image (a share `area` of it) at the image's own size, mirrored or not, with the very same warp of its
    patches by the nearest pixel; then MoCo's changes of colour."""
    high, wide = images.shape[2:]
    drawn = rectangles(images, area, (3 / 4, 4 / 3), generator)
    heights, widths = (torch.where(side > 0, side, whole) for side, whole in zip(drawn, (high, wide), strict=True))
    shares = torch.stack([widths / wide, heights / high], 1).float()
    middle = (torch.rand((len(images), 2), generator=generator) * 2 - 1) * (1 - shares)
    signs = torch.where(torch.rand(len(images), generator=generator) < 0.5, -1.0, 1.0)
    warp = torch.zeros(len(images), 2, 3)
    warp[:, 0, 0], warp[:, 1, 1], warp[:, :, 2] = shares[:, 0] * signs, shares[:, 1], middle
    grid = functional.affine_grid(warp, [len(images), 1, high, wide], align_corners=False)
    smooth = functional.grid_sample(images.float(), grid, "bilinear", "border", align_corners=False)
    nearest = functional.grid_sample(patches[:, None].float(), grid, "nearest", "border", align_corners=False)[:, 0]
    return View(COLOURS(smooth.round().clamp(0, 255).to(torch.uint8), generator), nearest.to(torch.uint8))


class Superpixels:
    """SLIC's segments of images (Achanta et al., PAMI 2012), about `segments` each; they are kept once they were asked for.

    Called with int64 rows (B,) it gives uint8 (B, H, W): numbers below 255.
    """

    def __init__(self, images: Images, segments: int) -> None:
        self.images, self.segments = images, segments
        self.kept: dict[int, Tensor] = {}

    def __call__(self, rows: Tensor) -> Tensor:
        return torch.stack([self._one(row) for row in rows.tolist()])

    def _one(self, row: int) -> Tensor:
        from skimage.segmentation import slic

        if row not in self.kept:
            pixels = self.images.batch(torch.tensor([row]), False, torch.Generator())[0].permute(1, 2, 0).numpy()
            numbers = slic(pixels, n_segments=self.segments, compactness=10, start_label=0)
            self.kept[row] = torch.from_numpy(numbers).clamp(max=255).to(torch.uint8)
        return self.kept[row]


def train_contrast(
    contrast: Contrast, images: Images, patches: Callable[[Tensor], Tensor], run: Run, *, normalise: Callable[[Tensor], Tensor],
    recipe: Recipe, samples: int, name: str = "contrast",
) -> None:  # fmt: skip
    """Train `contrast` in place on `samples` of `images`; ``patches(rows)`` are theirs, uint8 (B, H, W).

    The budget is charged for the online encoder. ValueError as of `suite.train.steps`.
    """
    contrast.to(device=run.device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    optimizer, size = recipe.optimizer(contrast.online), min(recipe.batch, len(images))

    def views(rows: Tensor, generator: Generator) -> tuple[View, View]:
        pixels, labels = images.batch(rows, True, generator), patches(rows)
        return seen_once(pixels, labels, generator), seen_once(pixels, labels, generator)

    def epoch_of(generator: Generator) -> list[Callable[[], tuple[View, View]]]:
        order = torch.randperm(len(images), generator=generator)
        return [partial(views, rows, generator) for rows in order.split(size) if len(rows) == size]

    def update(pair: tuple[View, View], clock: Clock) -> dict[str, Tensor]:
        first, second = (normalise(item.images).to(run.device) for item in pair)
        with autocast(run):
            found = contrast.losses(first, second, (pair[0].patches.to(run.device), pair[1].patches.to(run.device)))
        recipe.descend(optimizer, torch.stack(list(found.values())).sum(), clock.progress)
        contrast.follow()
        return found

    steps(run, name, {"contrast": contrast, "optimizer": optimizer}, epoch_of, update, size=size, samples=samples)
    contrast.eval()

"""ISTR's network: image-conditioned queries that look at the picture again and again through the boxes they predicted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import clip_boxes_to_image

from suite.nn.detection import pyramid, resizing

STRIDES = (4, 8, 16, 32)  # P2 .. P5
REGION = 7  # pooled pixels of a region on each side
HEADS = 8
DETECTIONS = 100
SCALES = (2.0, 2.0, 1.0, 1.0)  # of the box deltas x, y, w, h
LARGEST = math.log(1e5 / 16)  # of a logarithm of growth


class Found(NamedTuple):
    """What the queries of a batch predict at one stage."""

    logits: Tensor  # (B, N, K), one sigmoid for each class
    boxes: Tensor  # (B, N, 4) xyxy in pixels of the scaled images
    raw: Tensor  # (B, N, d) embeddings of the masks, or (B, N, S * S) logits of direct ones


class Istr(nn.Module):
    """A detector after torchvision's convention; `decode` turns a stage's ``raw`` into masks (..., S * S) of 0 to 1.

    The first box of each query is learned; all start as the whole picture or, `on_grid`, side by side.
    """

    def __init__(
        self, backbone: nn.Module, classes: int, size: int, decode: nn.Module, raw: int, *, queries: int, stages: int, width: int,
        on_grid: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.transform = resizing(size)
        self.backbone = pyramid(backbone, 1, 4, width, pooled=True)
        whole = torch.tensor([0.5, 0.5, 1.0, 1.0])  # cx, cy, w, h in an image of size 1
        self.boxes = nn.Parameter(grid(queries) if on_grid else whole.repeat(queries, 1))
        self.embeddings = nn.Parameter(torch.randn(queries, width))
        self.queries = queries
        self.stages = nn.ModuleList(Stage(width, classes, raw) for _ in range(stages))
        self.decode = decode

    def features(self, batch: Tensor) -> list[Tensor]:
        """The maps P2 .. P5 of a batch (B, 3, h, w)."""
        return list(self.backbone(batch).values())[: len(STRIDES)]

    def first_queries(self, features: Sequence[Tensor]) -> Tensor:
        """(B, N, C): what each query has learned, plus the mean of the picture's features, summed over levels."""
        means = torch.stack([level.mean((2, 3)) for level in features]).sum(0)
        return means[:, None] + self.embeddings[None]

    def predict(self, images: list[Tensor]) -> tuple[list[Found], list[tuple[int, int]]]:
        """Of images (3, H, W) of 0 to 1 each stage's predictions, and the height and width to which each was scaled."""
        batch, _ = self.transform(images)
        features = self.features(batch.tensors)
        queries = self.first_queries(features)
        sizes = torch.tensor([[wide, high, wide, high] for high, wide in batch.image_sizes], device=queries.device)
        boxes = corners(self.boxes) * sizes[:, None]
        found = []
        for stage in self.stages:
            queries = stage.refine(queries, pooled(features, boxes))
            boxes = moved(boxes, stage.move(queries))
            if stage.classify is not None:
                found.append(Found(stage.classify(queries), boxes, stage.draw(queries)))
            boxes = boxes.detach()  # each stage answers for its own step alone
        return found, batch.image_sizes

    def keep_last(self) -> None:
        """Leave out the towers that only training needs: classes and masks of all stages but the last."""
        for stage in self.stages[:-1]:
            stage.classify = stage.draw = None

    def forward(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
        """Boxes, labels, scores and masks of each image: the last stage's best, no two of them compared."""
        stages, sizes = self.predict(images)
        return [self.detections(stages[-1], row, size, images[row].shape[1:]) for row, size in enumerate(sizes)]

    def detections(self, found: Found, row: int, scaled: tuple[int, int], size: Sequence[int]) -> dict[str, Tensor]:
        """The `DETECTIONS` highest of all scores of all queries for the image `row`, of `size` height and width before scaling."""
        classes = found.logits.shape[2]
        scores, best = found.logits[row].sigmoid().flatten().topk(min(DETECTIONS, found.logits[row].numel()))
        queries = best // classes
        grown = torch.tensor([size[1] / scaled[1], size[0] / scaled[0]] * 2, device=scores.device)
        boxes = clip_boxes_to_image(found.boxes[row][queries] * grown, (int(size[0]), int(size[1])))
        masks = pasted(self.decode(found.raw[row][queries]), boxes, size)
        return {"boxes": boxes, "labels": best % classes + 1, "scores": scores, "masks": masks[:, None]}


class Stage(nn.Module):
    """One refinement: the queries look at each other and each at its region; then towers for class, box and mask."""

    def __init__(self, width: int, classes: int, raw: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, HEADS, batch_first=True)
        self.interaction = Interaction(width)
        self.forward_layers = nn.Sequential(nn.Linear(width, 8 * width), nn.ELU(), nn.Linear(8 * width, width))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.classify, self.move, self.draw = tower(width, classes), tower(width, 4), tower(width, raw)
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.xavier_uniform_(parameter)
        nn.init.constant_(self.classify[-1].bias, -math.log((1 - 0.01) / 0.01))  # every score starts at 0.01

    def refine(self, queries: Tensor, regions: Tensor) -> Tensor:
        """Queries (B, N, C) for the next stage, given those of the last and their regions (B * N, 49, C)."""
        queries = self.norms[0](queries + self.attention(queries, queries, queries, need_weights=False)[0])
        queries = self.norms[1](queries + self.interaction(queries, regions))
        return self.norms[2](queries + self.forward_layers(queries))


class Interaction(nn.Module):
    """Each query makes the two 1x1 layers through which its own region goes: C to C / 4 channels, and back."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.shapes = (width, width // 4), (width // 4, width)
        self.generate = nn.Linear(width, 2 * width * (width // 4))
        self.norms = nn.ModuleList(nn.LayerNorm(size) for size in (width // 4, width, width))
        self.collect = nn.Linear(REGION * REGION * width, width)

    def forward(self, queries: Tensor, regions: Tensor) -> Tensor:
        """(B, N, C) of queries (B, N, C) and regions (B * N, 49, C)."""
        kernels = self.generate(queries).flatten(0, 1).unflatten(1, (2, -1))
        for row, shape in enumerate(self.shapes):
            kernel = kernels[:, row].unflatten(1, shape)
            regions = functional.elu(self.norms[row](torch.bmm(regions, kernel)))
        collected = self.collect(regions.flatten(1).unflatten(0, queries.shape[:2]))
        return functional.elu(self.norms[2](collected))


def tower(width: int, outputs: int) -> nn.Sequential:
    """Three layers without bias, each normalised, and a last one."""
    hidden = [(nn.Linear(width, width, bias=False), nn.LayerNorm(width), nn.ELU()) for _ in range(3)]
    return nn.Sequential(*(module for layer in hidden for module in layer), nn.Linear(width, outputs))


def grid(count: int) -> Tensor:
    """`count` boxes (count, 4) cx, cy, w, h in an image of size 1: cells of the smallest square grid row by row, twice as large."""
    side = math.ceil(math.sqrt(count))
    cells = torch.arange(count)
    middles = torch.stack([cells % side, cells // side], dim=1) + 0.5
    return torch.cat([middles / side, torch.full((count, 2), 2 / side)], dim=1)


def corners(boxes: Tensor) -> Tensor:
    """cx, cy, w, h (..., 4) as x1, y1, x2, y2."""
    middle, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat([middle - half, middle + half], dim=-1)


def moved(boxes: Tensor, deltas: Tensor) -> Tensor:
    """Boxes (..., 4) xyxy after the steps x, y in their own sizes and w, h in logarithms of growth, (..., 4)."""
    sizes = boxes[..., 2:] - boxes[..., :2]
    deltas = deltas / torch.tensor(SCALES, device=deltas.device)
    middle = boxes[..., :2] + sizes / 2 + deltas[..., :2] * sizes
    return corners(torch.cat([middle, sizes * deltas[..., 2:].clamp_max(LARGEST).exp()], dim=-1))


def pooled(features: Sequence[Tensor], boxes: Tensor) -> Tensor:
    """The regions (B * N, 49, C) inside `boxes` (B, N, 4), each from the level of its size: P4 at 224 pixels (FPN, Eq. 1).

    RoIAlign with 2 x 2 samples in each of 7 x 7 pixels (He et al., "Mask R-CNN", Sec. 3), aligned with pixels, which torchvision's
    pooling over levels is not: a sample is a mean of four pixels, so that a pooled pixel is a weighted bag of sixteen rows of a
    table of all levels' pixels. On a CPU the gradient takes a fifth of the time of torchvision's ``roi_align``.
    """
    boxes = boxes.detach()
    image = torch.arange(len(boxes), device=boxes.device).repeat_interleave(boxes.shape[1])
    flat = boxes.flatten(0, 1)
    sides = ((flat[:, 2:] - flat[:, :2]).clamp_min(0).prod(1)).sqrt()
    levels = (2 + torch.log2(sides / 224 + 1e-8)).floor().clamp(0, len(STRIDES) - 1).long()
    high, wide = torch.tensor([level.shape[2:] for level in features], device=boxes.device)[levels].T
    counts = torch.tensor([level[:, 0].numel() for level in features], device=boxes.device)
    first = (counts.cumsum(0) - counts)[levels] + image * high * wide  # the row of the top left pixel of each region's map
    places = flat / torch.tensor(STRIDES, device=boxes.device)[levels, None] - 0.5
    y, down = samples(places[:, 1], places[:, 3], high)
    x, across = samples(places[:, 0], places[:, 2], wide)
    rows = (first[:, None, None] + y * wide[:, None, None])[:, :, None, :, None] + x[:, None, :, None, :]
    weights = down[:, :, None, :, None] * across[:, None, :, None, :]
    table = torch.cat([level.permute(0, 2, 3, 1).flatten(0, 2) for level in features])
    bags = functional.embedding_bag(rows.reshape(-1, 16), table, mode="sum", per_sample_weights=weights.reshape(-1, 16))
    return bags.unflatten(0, (len(flat), REGION * REGION))


def samples(starts: Tensor, ends: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
    """Along one side of regions from `starts` to `ends` (n,) in pixels of maps `length` (n,) long: the pixels int64 (n, 7, 4) that
    make each pooled pixel, the neighbours of two samples, and their weights (n, 7, 4).

    A sample up to a pixel outside of the map is moved to its border, and counts as 0 further away.
    """
    steps = (torch.arange(2 * REGION, dtype=starts.dtype, device=starts.device) + 0.5) / (2 * REGION)
    places, last = torch.lerp(starts[:, None], ends[:, None], steps), length[:, None] - 1
    inside = (places >= -1) & (places <= last + 1)
    places = places.clamp_min(0).minimum(last)
    low = places.floor()
    share = torch.stack([low + 1 - places, places - low], dim=2) * inside[:, :, None] / 2
    pixels = torch.stack([low, (low + 1).minimum(last)], dim=2).long()
    return pixels.unflatten(1, (REGION, 2)).flatten(2), share.unflatten(1, (REGION, 2)).flatten(2)


def pasted(masks: Tensor, boxes: Tensor, size: Sequence[int]) -> Tensor:
    """Masks (n, S * S) drawn into their boxes (n, 4) xyxy on pictures of `size` height and width: (n, H, W), 0 outside.

    Bilinear at the pixels' centres, the mask's border repeated up to the box's: one matrix for the rows and one for the columns.
    """
    side = math.isqrt(masks.shape[1])
    rows = tents(boxes[:, 1], boxes[:, 3], int(size[0]), side)
    columns = tents(boxes[:, 0], boxes[:, 2], int(size[1]), side)
    return rows @ masks.unflatten(1, (side, side)) @ columns.transpose(1, 2)


def tents(starts: Tensor, ends: Tensor, length: int, side: int) -> Tensor:
    """(n, length, side): how much each pixel takes of each of the `side` mask pixels between its start and end."""
    pixels = torch.arange(length, dtype=starts.dtype, device=starts.device) + 0.5
    places = (pixels - starts[:, None]) / (ends - starts)[:, None].clamp_min(1e-6) * side
    near = (places - 0.5).clamp(0, side - 1)[:, :, None] - torch.arange(side, dtype=starts.dtype, device=starts.device)
    inside = (places > 0) & (places < side)
    return (1 - near.abs()).clamp_min(0) * inside[:, :, None]


class IstrBody(nn.Module):
    """What of it runs on fixed shapes (:class:`suite.artifacts.Detector`): all but pooling, moving boxes and drawing.

    The regions are copies of one corner of the finest map: pooling has no MACs.
    """

    def __init__(self, detector: Istr) -> None:
        super().__init__()
        self.detector = detector

    def prepare(self, images: list[Tensor]) -> Tensor:
        """The normalised, scaled, padded batch (B, 3, h, w) of images (3, H, W)."""
        return self.detector.transform(images)[0].tensors

    def forward(self, batch: Tensor) -> Tensor:
        """All raw outputs for a batch (1, 3, h, w) in one vector."""
        features = self.detector.features(batch)
        queries = self.detector.first_queries(features)
        corner = features[0][:, :, :REGION, :REGION].flatten(2).transpose(1, 2)
        regions = corner.expand(self.detector.queries, -1, -1)
        outputs = []
        for stage in self.detector.stages:
            queries = stage.refine(queries, regions)
            outputs.append(stage.move(queries).flatten())
        last = self.detector.stages[-1]
        return torch.cat([*outputs, last.classify(queries).flatten(), self.detector.decode(last.draw(queries)).flatten()])

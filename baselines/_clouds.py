"""How lidar scans are varied in training: pasted objects of other scans, mirrored, turned and scaled scenes."""

from __future__ import annotations

import math
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Generator, Tensor

from suite.errors import UserError
from suite.metrics.rotated import ground_overlap
from suite.settings import Clouds
from suite.train.batches import Epoch

LEAST_POINTS = 5  # of an object that may be pasted
Examples = tuple[list[Tensor], list[dict[str, Tensor]]]


class Cutting(NamedTuple):
    """An object with its points, to be pasted."""

    box: Tensor  # (7,)
    points: Tensor  # (n, 4)


def inside(points: Tensor, boxes: Tensor) -> Tensor:
    """Which points (n, 4) lie in which boxes (m, 7), bool (n, m)."""
    away = points[:, None, :3] - boxes[None, :, :3]
    cos, sin = boxes[:, 6].cos(), boxes[:, 6].sin()
    along, across = cos * away[..., 0] + sin * away[..., 1], cos * away[..., 1] - sin * away[..., 0]
    return (2 * along.abs() <= boxes[:, 3]) & (2 * across.abs() <= boxes[:, 4]) & (2 * away[..., 2].abs() <= boxes[:, 5])


def cuttings(data: Clouds) -> dict[int, list[Cutting]]:
    """The objects of `data` that have enough points, by label."""
    found: dict[int, list[Cutting]] = {label: [] for label in range(1, len(data.categories) + 1)}
    for row in range(len(data)):
        points, target = data.points(row), data.target(row)
        for box, label, own in zip(target["boxes"], target["labels"].tolist(), inside(points, target["boxes"]).T, strict=True):
            if own.sum() >= LEAST_POINTS:
                found[label].append(Cutting(box, points[own]))
    return found


def epoch(data: Clouds, size: int, store: dict[int, list[Cutting]], count: int, generator: Generator) -> Epoch[Examples]:
    """Batches of `size` scans in random order, whole ones only, each varied, with up to `count` objects of each class pasted."""
    order = torch.randperm(len(data), generator=generator)
    return [partial(_examples, data, index, store, count, generator) for index in order.split(size) if len(index) == size]


def _examples(data: Clouds, index: Tensor, store: dict[int, list[Cutting]], count: int, generator: Generator) -> Examples:
    made = [varied(*pasted(data.points(row), data.target(row), store, count, generator), generator) for row in index.tolist()]
    return [points for points, _ in made], [target for _, target in made]


def pasted(
    points: Tensor, target: dict[str, Tensor], store: dict[int, list[Cutting]], count: int, generator: Generator
) -> tuple[Tensor, dict[str, Tensor]]:
    """A scan with up to `count` objects of each class put where they were cut out, if no object stands there; what the scan has in
    their boxes goes."""
    drawn = [(label, store[label][int(row)]) for label in store if store[label]
             for row in torch.randint(len(store[label]), (count,), generator=generator)]
    taken, fitting = torch.cat([target["boxes"], target["others"]]).numpy(), []
    for label, item in drawn:
        if (ground_overlap(item.box.numpy(), taken) < 1e-6).all():
            fitting.append((label, item))
            taken = np.concatenate([taken, item.box.numpy()[None]])
    if not fitting:
        return points, target
    boxes = torch.stack([item.box for _, item in fitting])
    points = torch.cat([points[~inside(points, boxes).any(1)], *(item.points for _, item in fitting)])
    labels = torch.cat([target["labels"], torch.tensor([label for label, _ in fitting])])
    return points, {**target, "boxes": torch.cat([target["boxes"], boxes]), "labels": labels}


def varied(points: Tensor, target: dict[str, Tensor], generator: Generator) -> tuple[Tensor, dict[str, Tensor]]:
    """A scan mirrored left to right half of the time, turned by up to 45 degrees, scaled by up to 5 %, its points in any order."""
    draw = torch.rand(3, generator=generator).tolist()
    points, boxes = points[torch.randperm(len(points), generator=generator)], target["boxes"].clone()
    if draw[0] < 0.5:
        points[:, 1], boxes[:, 1], boxes[:, 6] = -points[:, 1], -boxes[:, 1], -boxes[:, 6]
    angle, scale = (draw[1] - 0.5) * math.pi / 2, 0.95 + 0.1 * draw[2]
    turn = scale * torch.tensor([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    for places in (points, boxes):
        places[:, :2] = places[:, :2] @ turn
        places[:, 2] *= scale
    boxes[:, 3:6] *= scale
    boxes[:, 6] += angle
    return points, {"boxes": boxes, "labels": target["labels"]}


def chosen(data: Clouds, only: str, count: int, generator: Generator) -> Clouds:
    """The frames of `data` that are `only` of one kind ("" for all), as many as `count` (0 for all), drawn at random."""
    rows = [row for row in torch.randperm(len(data), generator=generator).tolist() if only in ("", *data.attributes(row).values())]
    if len(rows) < max(1, count):
        raise UserError(f"There are {len(rows)} training frames{f' of the kind {only!r}' if only else ''}, fewer than the "
                        f"{max(1, count)} asked for; give frames= a smaller number, or 0 for all.")
    return data.subset(torch.tensor(rows[: count or len(rows)]))

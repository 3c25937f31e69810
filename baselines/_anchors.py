"""Anchors in lidar scans: where they stand, which objects they answer for, how boxes are told from them, the loss, suppression.

Boxes are x, y, z of the middle, length, width, height and angle (n, 7).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torchvision.ops import box_iou, sigmoid_focal_loss

from suite.metrics.rotated import pairs_bev


class Anchor(NamedTuple):
    """A class's anchor: length, width, height and bottom in metres. What it overlaps by `match` is its own, below `miss` not."""

    length: float
    width: float
    height: float
    bottom: float
    match: float
    miss: float


ANCHORS = {
    "Car": Anchor(3.9, 1.6, 1.56, -1.78, 0.6, 0.45),
    "Pedestrian": Anchor(0.8, 0.6, 1.73, -0.6, 0.5, 0.35),
    "Cyclist": Anchor(1.76, 0.6, 1.73, -0.6, 0.5, 0.35),
}
ANGLES = (0.0, math.pi / 2)
OFFSET = math.pi / 4  # where the two bins of headings meet
LOCATION, CLASS, DIRECTION = 2.0, 1.0, 0.2  # weights of the loss


def anchors_on(rows: int, columns: int, stride: float, side: float, kinds: Sequence[str]) -> Tensor:
    """Boxes (rows * columns * kinds * angles, 7), in that order, in the middles of cells of `stride` metres, y from -`side` on."""
    x = (torch.arange(columns) + 0.5) * stride
    y = (torch.arange(rows) + 0.5) * stride - side
    shapes = [ANCHORS[kind] for kind in kinds]
    each = torch.tensor([(item.bottom + item.height / 2, item.length, item.width, item.height, angle)
                         for item in shapes for angle in ANGLES])
    boxes = torch.zeros(rows, columns, len(each), 7)
    boxes[..., 0], boxes[..., 1], boxes[..., 2:] = x[None, :, None], y[:, None, None], each
    return boxes.view(-1, 7)


def encoded(boxes: Tensor, anchors: Tensor) -> Tensor:
    """How `boxes` differ from their `anchors` (n, 7): offsets over the anchor's diagonal and height, log ratios, angles."""
    diagonal = torch.hypot(anchors[:, 3], anchors[:, 4])[:, None]
    return torch.cat([(boxes[:, :2] - anchors[:, :2]) / diagonal, (boxes[:, 2:3] - anchors[:, 2:3]) / anchors[:, 5:6],
                      (boxes[:, 3:6] / anchors[:, 3:6]).log(), boxes[:, 6:] - anchors[:, 6:]], dim=1)


def decoded(codes: Tensor, anchors: Tensor, directions: Tensor) -> Tensor:
    """The boxes (n, 7) that `encoded` gave `codes`; of the two headings that of the greater of `directions` (n, 2)."""
    diagonal = torch.hypot(anchors[:, 3], anchors[:, 4])[:, None]
    angle = codes[:, 6] + anchors[:, 6] - OFFSET
    heading = angle - (angle / math.pi).floor() * math.pi + OFFSET + math.pi * directions.argmax(1)
    return torch.cat([codes[:, :2] * diagonal + anchors[:, :2], codes[:, 2:3] * anchors[:, 5:6] + anchors[:, 2:3],
                      codes[:, 3:6].clamp(max=3).exp() * anchors[:, 3:6], heading[:, None]], dim=1)


def bins(angles: Tensor) -> Tensor:
    """The bin of headings, 0 or 1: which half turn from `OFFSET` on an angle lies in."""
    return ((angles - OFFSET) / math.pi).floor().long() % 2


def upright(boxes: Tensor) -> Tensor:
    """x1, y1, x2, y2 on the ground of boxes turned to the nearest axis, (n, 4)."""
    across = (boxes[:, 6].sin().abs() > math.sqrt(0.5))[:, None]
    half = torch.where(across, boxes[:, [4, 3]], boxes[:, [3, 4]]) / 2
    return torch.cat([boxes[:, :2] - half, boxes[:, :2] + half], dim=1)


def matched(anchors: Tensor, kinds: Sequence[str], boxes: Tensor, labels: Tensor) -> Tensor:
    """For each anchor the row of the object that it answers for, -1 for none, -2 where it is not asked (n,).

    Among its own class: those of at least the class's overlap once both are turned to the nearest axis, and each object's best.
    """
    found = torch.full((len(anchors),), -1)
    kind_of = torch.arange(len(kinds)).repeat_interleave(len(ANGLES)).repeat(len(anchors) // (len(kinds) * len(ANGLES)))
    for number, kind in enumerate(kinds):
        own, objects = torch.where(kind_of == number)[0], torch.where(labels == number + 1)[0]
        if not len(objects):
            continue
        overlaps = box_iou(upright(anchors[own]), upright(boxes[objects]))
        best, which = overlaps.max(1)
        rows = torch.where(best >= ANCHORS[kind].match, objects[which], -1)
        rows[(best >= ANCHORS[kind].miss) & (rows < 0)] = -2
        most = overlaps.max(0).values
        chosen, column = torch.where((overlaps == most) & (most > 0))
        rows[chosen] = objects[column]
        found[own] = rows
    return found


def detection_loss(
    outputs: tuple[Tensor, Tensor, Tensor], anchors: Tensor, kinds: Sequence[str], targets: Sequence[dict[str, Tensor]]
) -> Tensor:
    """The mean over scans of the three weighted losses, each over the number of anchors with an object.

    `outputs` are scores (B, n, classes), codes (B, n, 7) and directions (B, n, 2).
    """
    total = outputs[0].new_zeros(())
    for scores, codes, directions, target in zip(*outputs, targets, strict=True):
        boxes, labels = target["boxes"], target["labels"]
        rows = matched(anchors.cpu(), kinds, boxes.cpu(), labels.cpu()).to(scores.device)
        own, asked = rows >= 0, rows > -2
        wanted = functional.one_hot(functional.pad(labels, (1, 0))[rows.clamp(min=-1) + 1], len(kinds) + 1)[:, 1:].to(scores)
        value = CLASS * sigmoid_focal_loss(scores[asked], wanted[asked], alpha=0.25, gamma=2.0, reduction="sum")
        if own.any():
            goal = boxes[rows[own]]
            value = value + LOCATION * location_loss(codes[own], encoded(goal, anchors[own]))
            value = value + DIRECTION * functional.cross_entropy(directions[own], bins(goal[:, 6]), reduction="sum")
        total = total + value / own.sum().clamp(min=1)
    return total / len(targets)


def location_loss(codes: Tensor, wanted: Tensor) -> Tensor:
    """Smooth L1 (beta 1/9), summed, the angles' difference by its sine, to which a half turn is nothing."""
    angle, goal = codes[:, 6:], wanted[:, 6:]
    codes = torch.cat([codes[:, :6], angle.sin() * goal.cos()], dim=1)
    wanted = torch.cat([wanted[:, :6], angle.cos() * goal.sin()], dim=1)
    return functional.smooth_l1_loss(codes, wanted, beta=1 / 9, reduction="sum")


def suppressed(boxes: Tensor, scores: Tensor, overlap: float, most: int) -> Tensor:
    """Rows of at most `most` boxes by falling score, none of which overlaps a better one by more than `overlap` on the ground."""
    order = scores.argsort(descending=True, stable=True)
    sorted_boxes = boxes[order].double().cpu().numpy()
    reach = np.hypot(sorted_boxes[:, 3], sorted_boxes[:, 4]) / 2
    left, kept = np.ones(len(order), bool), []
    for row in range(len(order)):
        if not left[row] or len(kept) == most:
            continue
        kept.append(row)
        away = np.hypot(*(sorted_boxes[:, :2] - sorted_boxes[row, :2]).T)
        near = np.flatnonzero(left & (np.arange(len(order)) > row) & (away < reach + reach[row]))
        rivals = sorted_boxes[near]
        left[near] = pairs_bev(rivals, np.broadcast_to(sorted_boxes[row], rivals.shape)) <= overlap
    return order[torch.tensor(kept, dtype=torch.int64, device=order.device)]

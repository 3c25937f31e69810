"""ISTR's set loss: predictions matched one to one with objects by class, box and mask embedding, and what is then minimised."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from suite.baselines._istr import Found
from suite.baselines._mask_embedding import MaskEmbedding
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import generalized_box_iou, generalized_box_iou_loss, sigmoid_focal_loss

ALPHA, GAMMA = 0.25, 2.0  # of the focal terms
CLASS, BOX, OVERLAP, MASK, REGRESSION, DICE = 2.0, 5.0, 2.0, 2.0, 2.0, 2.0  # weights of the terms, v1


class Objects(NamedTuple):
    """The objects of one picture; boxes are relative to its width and height."""

    labels: Tensor  # (n,) int64 from 0
    boxes: Tensor  # (n, 4) xyxy of 0 to 1
    masks: Tensor  # (n, S * S) of 0 and 1, inside the boxes
    codes: Tensor | None  # (n, d), the masks' embeddings, where the head predicts such
    size: Tensor  # (4,) width, height, width, height of the scaled picture


def costs(logits: Tensor, boxes: Tensor, raw: Tensor, objects: Objects) -> Tensor:
    """(N, n): what it costs to take the prediction of a row for the object of a column.

    2 C_cls + 5 |b - b'|_1 - 2 GIoU + 2 C_mask; C_cls is what the focal loss gains by the class, and C_mask minus the cosine of
    the embeddings, moved to -1 .. 0; a direct mask has none.
    """
    positive, negative = focal_sides(logits)
    cost = CLASS * (positive - negative)[:, objects.labels]
    cost = cost + BOX * torch.cdist(boxes / objects.size, objects.boxes, p=1)
    cost = cost - OVERLAP * generalized_box_iou(boxes, objects.boxes * objects.size)
    if objects.codes is not None:
        alike = functional.normalize(raw, dim=1) @ functional.normalize(objects.codes, dim=1).T
        cost = cost - MASK * (alike + 1) / 2
    return cost


def focal_sides(logits: Tensor) -> tuple[Tensor, Tensor]:
    """What the focal loss is for each logit where the class is there, and where it is not."""
    p = logits.sigmoid()
    return ALPHA * (1 - p) ** GAMMA * functional.softplus(-logits), (1 - ALPHA) * p**GAMMA * functional.softplus(logits)


@torch.no_grad()
def match(logits: Tensor, boxes: Tensor, raw: Tensor, objects: Objects) -> tuple[Tensor, Tensor]:
    """The cheapest one-to-one matching of a picture's predictions (N, ...) with its objects: rows and columns, int64 (k,)."""
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(costs(logits, boxes, raw, objects).cpu().numpy())
    return torch.as_tensor(rows, device=logits.device), torch.as_tensor(columns, device=logits.device)


def set_loss(stages: Sequence[Found], batch: Sequence[Objects], decode: nn.Module) -> Tensor:
    """The sum over stages, each matched anew, over the number of objects in the batch."""
    count = max(1, sum(len(objects.labels) for objects in batch))
    return torch.stack([stage_loss(found, batch, decode) for found in stages]).sum() / count


def stage_loss(found: Found, batch: Sequence[Objects], decode: nn.Module) -> Tensor:
    """2 L_focal over all queries + 5 L_L1 + 2 L_GIoU + 2 L_emb + 2 L_dice over matched pairs, summed over the batch.

    A query without an object has no class to predict. `decode` makes masks of the predictions, as in :class:`Istr`.
    """
    rows, columns, sizes, first = [], [], [], 0
    for image, objects in enumerate(batch):
        own, theirs = match(*(part[image] for part in found), objects)
        rows.append(image * found.logits.shape[1] + own)
        columns.append(first + theirs)
        sizes.append(objects.size.expand(len(own), 4))
        first += len(objects.labels)
    chosen, wanted, size = torch.cat(rows), torch.cat(columns), torch.cat(sizes)

    def of_objects(name: str) -> Tensor:
        return torch.cat([getattr(objects, name) for objects in batch])[wanted]

    logits, (boxes, raw) = found.logits.flatten(0, 1), (part.flatten(0, 1)[chosen] for part in found[1:])
    classes = torch.zeros_like(logits)
    classes[chosen, of_objects("labels")] = 1
    loss = CLASS * sigmoid_focal_loss(logits, classes, ALPHA, GAMMA, reduction="sum")
    loss = loss + BOX * (boxes / size - of_objects("boxes")).abs().sum()
    loss = loss + OVERLAP * generalized_box_iou_loss(boxes, of_objects("boxes") * size, reduction="sum")
    loss = loss + DICE * dice(decode(raw), of_objects("masks").to(raw.dtype)).sum()  # without objects 0, and the graph is whole
    if isinstance(decode, MaskEmbedding):
        loss = loss + REGRESSION * (raw - of_objects("codes")).square().mean(1).sum()
    return loss


def dice(masks: Tensor, wanted: Tensor) -> Tensor:
    """1 - 2 sum(m m') / (sum(m^2) + sum(m'^2) + 1e-5) of each pair of masks (n, S * S) of 0 to 1: (n,)."""
    shared = (masks * wanted).sum(1)
    return 1 - 2 * shared / (masks.square().sum(1) + wanted.square().sum(1) + 1e-5)

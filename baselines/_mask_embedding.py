"""ISTR's mask embedding: whitened principal components of soft logits of masks, and the fixed linear decoder they give."""

from __future__ import annotations

from typing import Any

import torch
from torch import Generator, Tensor, nn
from torchvision.ops import roi_align

from suite.context import Run
from suite.errors import UserError
from suite.settings import Scenes

SIDE = 28  # pixels of a mask inside its box
LEAST, MOST = 0.01, 0.05  # of how far the soft masks stay from 0 and 1
BATCH = 1024  # masks of one step of the incremental analysis
NUMERICAL_RANK = 1e-6  # components below this share of the first one's variance are noise


class MaskEmbedding(nn.Module):
    """Masks (n, S * S) of 0 and 1 as vectors (n, d), and back. Nothing of it is trained.

    z = (y - mu) W^T / sqrt(lam) of the soft logits y, and y' = (z sqrt(lam)) W + mu: `mean` (S * S,), `components` (d, S * S)
    with orthonormal rows, `variances` (d,), largest first.
    """

    def __init__(self, mean: Tensor, components: Tensor, variances: Tensor) -> None:
        super().__init__()
        deviations = variances.sqrt()[:, None]
        self.register_buffer("mean", mean)
        self.register_buffer("whitening", components / deviations)
        self.decoder = nn.Linear(*components.shape)
        self.decoder.weight = nn.Parameter((components * deviations).T.contiguous(), requires_grad=False)
        self.decoder.bias = nn.Parameter(mean.clone(), requires_grad=False)

    @property
    def size(self) -> int:
        """d, the length of an embedding."""
        return self.decoder.in_features

    def encode(self, masks: Tensor, generator: Generator | None = None) -> Tensor:
        """(n, d) of masks (n, S * S) of 0 and 1."""
        return (soft_logits(masks, generator) - self.mean) @ self.whitening.T

    def forward(self, codes: Tensor) -> Tensor:
        """Masks (..., S * S) of 0 to 1 from embeddings (..., d)."""
        return self.decoder(codes).sigmoid()

    def first(self, size: int) -> MaskEmbedding:
        """The embedding that keeps only the `size` largest components."""
        deviations = self.decoder.weight[:, :size].norm(dim=0)
        return MaskEmbedding(self.mean, self.decoder.weight.T[:size] / deviations[:, None], deviations**2)


def soft_logits(masks: Tensor, generator: Generator | None = None) -> Tensor:
    """log(m / (1 - m)) of masks of 0 and 1 moved inwards to m = u or 1 - u, u = max(0.01, 0.05 U(0, 1)) for each pixel."""
    moved = (MOST * torch.rand(masks.shape, generator=generator, device=masks.device)).clamp_min(LEAST)
    soft = torch.where(masks > moved, 1 - moved, moved)
    return (soft / (1 - soft)).log()


def fit_embedding(masks: Tensor, size: int, generator: Generator) -> MaskEmbedding:
    """The embedding with `size` components, or as many as the masks uint8 (n, S * S) have. UserError for fewer than two masks."""
    from sklearn.decomposition import IncrementalPCA

    if len(masks) < 2:
        raise UserError(f"The training pictures have {len(masks)} masks, and a mask embedding needs at least 2; name other data.")
    size = min(size, len(masks) - 1, masks.shape[1])
    analysis: Any = IncrementalPCA(size, whiten=True, batch_size=max(BATCH, size)).fit(soft_logits(masks, generator).numpy())
    variances = torch.from_numpy(analysis.explained_variance_).float()
    kept = variances > NUMERICAL_RANK * variances[0]
    components = torch.from_numpy(analysis.components_).float()
    return MaskEmbedding(torch.from_numpy(analysis.mean_).float(), components[kept], variances[kept])


def crops(masks: Tensor, boxes: Tensor) -> Tensor:
    """uint8 (n, S * S): each of the masks (n, H, W) of 0 and 1 inside its box (n, 4) xyxy in pixels, half covered pixels set."""
    if not len(masks):
        return torch.zeros((0, SIDE * SIDE), dtype=torch.uint8, device=masks.device)
    rows = torch.arange(len(masks), dtype=boxes.dtype, device=boxes.device)[:, None]
    inside = roi_align(masks[:, None].to(boxes.dtype), torch.cat([rows, boxes], dim=1), SIDE, aligned=True)
    return (inside >= 0.5).flatten(1).to(torch.uint8)


def mask_crops(data: Scenes, most: int, run: Run) -> Tensor:
    """The `crops` of the first `most` objects of `data` that are no crowds, uint8 (n, S * S)."""
    found: list[Tensor] = []
    count = 0
    for row in run.progress(range(len(data)), "masks", total=len(data)):
        target = data.target(row, with_masks=True)
        single = target["iscrowd"] == 0
        found.append(crops(target["masks"][single], target["boxes"][single]))
        count += len(found[-1])
        if count >= most:
            break
    return torch.cat(found)[:most]


def reconstruction_iou(embedding: MaskEmbedding, masks: Tensor, generator: Generator) -> float:
    """Mean intersection over union of masks uint8 (n, S * S) and what the decoder makes of their embeddings, 0..1."""
    again = embedding(embedding.encode(masks, generator)) > 0.5
    wanted = masks > 0
    return float(((again & wanted).sum(1) / (again | wanted).sum(1).clamp_min(1)).mean())

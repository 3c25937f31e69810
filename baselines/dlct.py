"""DLCT: regions and grid cells that know where they lie, and look only at those of the other kind that they cover.

Luo et al., AAAI 2021; the steps as in the official code (``image-captioning-DLCT``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from suite.baselines._caption_layers import Encoded, EncoderLayer, Inputs
from suite.baselines._caption_network import CaptionNetwork
from suite.baselines._captioner import CaptionMethod
from torch import Tensor, nn

from suite.contract import Claim, Paper, Published, Side, option
from suite.settings import Captioning, FeatureBatch

EQUAL = (("total", 0.01),)


@dataclass
class DlctMethod(CaptionMethod):
    """Comprehensive relation attention in each kind, then locality-constrained cross attention between the two."""

    paper = Paper("Dual-Level Collaborative Transformer for Image Captioning", "Luo, Ji, Sun, Cao, Wu, Huang, Lin, Ji", "AAAI",
                  2021, "https://arxiv.org/abs/2101.06462")
    tags = ("captions", "transformer", "geometry", "region and grid features")
    takes = ("Captioning",)
    gives = "Captioner"
    published = (Published("coco_captioning", "CIDEr-D", 133.82, "official README, Karpathy split"),)
    claims = (
        Claim("over_regions", "Regions and grid say more than regions alone in a plain Transformer of as many layers.",
              "coco_captioning", "CIDEr-D", "above", (Side("dlct"), Side("caption_transformer", {"kinds": "regions"})),
              held_equal=EQUAL),
        Claim("over_grid", "Regions and grid say more than the grid alone in a plain Transformer of as many layers.",
              "coco_captioning", "CIDEr-D", "above", (Side("dlct"), Side("caption_transformer", {"kinds": "grid"})),
              held_equal=EQUAL),
        Claim("plain", "It says more than the plain Transformer on both kinds.", "coco_captioning", "CIDEr-D", "above",
              (Side("dlct"), Side("caption_transformer", {"kinds": "both"})), held_equal=EQUAL),
        Claim("aligned", "Looking at covered cells alone is better than looking at all.", "coco_captioning", "CIDEr-D", "above",
              (Side("dlct", {"aligned": True}), Side("dlct", {"aligned": False})), held_equal=EQUAL),
    )
    standins: ClassVar[tuple[str, ...]] = (
        *CaptionMethod.standins,
        "A layer attends within each kind and across, so an encoder of as many layers is about four times the plain one's size.",
    )

    kinds: Literal["both", "regions", "grid"] = option("both", "features that it reads: regions, the grid, or both")
    aligned: bool = option(True, "cross attention between regions and the cells they cover alone, not all")

    def network(self, setting: Captioning, sizes: FeatureBatch) -> CaptionNetwork:
        return self.decoder(setting, DualEncoder(self, sizes))


class DualEncoder(nn.Module):
    """Self-attention in each kind, then cross attention both ways at once; all biased by the boxes' relations."""

    def __init__(self, method: DlctMethod, sizes: FeatureBatch) -> None:
        super().__init__()
        self.kinds, self.aligned = method.kinds, method.aligned
        self.inputs = Inputs(sizes, method.kinds, method.width, method.dropout)
        self.relation = nn.Linear(64, method.heads)  # shared by all layers and kinds of attention
        names = ["regions", "grid"] if method.kinds == "both" else [method.kinds]
        names += ["region_cross", "grid_cross"] if method.kinds == "both" else []
        self.layers = nn.ModuleList(
            nn.ModuleDict({name: EncoderLayer(method.width, method.heads, method.hidden, method.dropout) for name in names})
            for _ in range(method.layers))

    def forward(self, features: FeatureBatch) -> Encoded:
        found = self.inputs(features)
        count = features.regions.shape[1] if self.kinds != "grid" else 0
        cells = found.tokens.shape[1] - count
        boxes = torch.cat([features.boxes[:, :count], cell_boxes(cells, features.boxes).expand(len(found.tokens), -1, -1)], dim=1)
        bias = self.relation(relations(boxes)).relu().clamp_min(1e-6).log().permute(0, 3, 1, 2)
        own = bias.masked_fill(~found.present[:, None, None], -torch.inf)
        both = bias.masked_fill(~self.allowed(features, found, count)[:, None], -torch.inf) if count and cells else bias
        parts = {"regions": slice(0, count), "grid": slice(count, None)}
        tokens, positions = found.tokens, found.positions
        for layer in self.layers:
            each = [layer[name](tokens[:, part], positions[:, part], own[:, :, part, part])
                    for name, part in parts.items() if name in layer]
            tokens = torch.cat(each, dim=1)
            if count and cells:  # both read the same tokens
                tokens = torch.cat([layer[name](tokens[:, part], positions[:, part], both[:, :, part], (tokens, positions))
                                    for name, part in zip(("region_cross", "grid_cross"), parts.values(), strict=True)], dim=1)
        return found._replace(tokens=tokens)

    def allowed(self, features: FeatureBatch, found: Encoded, count: int) -> Tensor:
        """(B, N, N) of regions and cells: each looks at itself, which padding needs too, and across at what it covers or all."""
        everything = found.present[:, None] & torch.ones_like(found.present)[:, :, None]
        itself = torch.eye(found.present.shape[1], dtype=torch.bool, device=found.present.device)
        if not self.aligned:
            return everything | itself
        graph = covered(features.boxes, found.present.shape[1] - count) & features.present[:, :, None]
        across = torch.zeros_like(everything)
        across[:, :count, count:], across[:, count:, :count] = graph, graph.transpose(1, 2)
        return across | itself


def cell_boxes(cells: int, like: Tensor) -> Tensor:
    """(cells, 4) x1, y1, x2, y2 of a square grid's cells, row by row, in shares of width and height."""
    side = round(cells**0.5)
    row, column = torch.meshgrid(*[torch.arange(side, dtype=like.dtype, device=like.device)] * 2, indexing="ij")
    return torch.stack([column, row, column + 1, row + 1], dim=2).flatten(0, 1) / max(side, 1)


def covered(boxes: Tensor, cells: int) -> Tensor:
    """bool (B, R, cells): the cells from the one where a box (B, R, 4) begins to the last one that begins within it."""
    side = round(cells**0.5)
    places = torch.arange(side, device=boxes.device)
    first = (boxes[:, :, :2] * side).floor().clamp_max(side - 1)
    inside = (places >= first[..., None]) & (places / side <= boxes[:, :, 2:, None])  # (B, R, 2, side): columns, rows
    return (inside[:, :, 1, :, None] & inside[:, :, 0, None]).flatten(2)


def relations(boxes: Tensor) -> Tensor:
    """(B, N, N, 64): sines and cosines of log-distances and log-ratios of sizes between boxes (B, N, 4)."""
    low, high = boxes.split(2, dim=2)
    middle, size = (low + high) / 2, high - low + 1  # the code's "+ 1", of pixels, stays with shares
    distance = (middle[:, :, None] - middle[:, None]).abs() / size[:, :, None]
    delta = torch.cat([distance.clamp_min(1e-3).log(), (size[:, :, None] / size[:, None]).log()], dim=3)
    rates = 1000 ** -(torch.arange(8, dtype=boxes.dtype, device=boxes.device) / 8)
    angles = (100 * delta[..., None] * rates).flatten(3)
    return torch.cat([angles.sin(), angles.cos()], dim=3)

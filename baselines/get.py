"""GET: a token for the whole picture that every layer enriches, that an LSTM fuses over layers, and that guides each word.

Ji et al., AAAI 2021. The steps as in the code released beside DLCT's (``models/GET``), which does not run as it is.
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


@dataclass
class GetMethod(CaptionMethod):
    """Global-enhanced encoder, and a decoder with the fused token as one more key (`mac`) or behind a gate (`gate`)."""

    paper = Paper("Improving Image Captioning by Leveraging Intra- and Inter-layer Global Representation in Transformer Network",
                  "Ji, Luo, Sun, Chen, Luo, Wu, Gao, Ji", "AAAI", 2021, "https://arxiv.org/abs/2012.07061")
    tags = ("captions", "transformer", "global feature")
    takes = ("Captioning",)
    gives = "Captioner"
    published = (Published("coco_captioning", "CIDEr-D", 131.6, "Karpathy split, table in GRIT's README (third party)"),)
    claims = (
        Claim("plain", "It says more than the plain Transformer of the same depth and width.", "coco_captioning", "CIDEr-D",
              "above", (Side("get"), Side("caption_transformer")), held_equal=(("total", 0.01),), options={"kinds": "regions"}),
        Claim("global_token", "A global token, fused over the layers, helps.", "coco_captioning", "CIDEr-D", "above",
              (Side("get", {"token": True}), Side("get", {"token": False})), held_equal=(("total", 0.01),)),
        Claim("fusion", "Fusing the global tokens of all layers helps.", "coco_captioning", "CIDEr-D", "above",
              (Side("get", {"fused": True}), Side("get", {"fused": False})), held_equal=(("total", 0.01),)),
    )
    standins: ClassVar[tuple[str, ...]] = (
        *CaptionMethod.standins,
        "Positions of boxes are added to queries and keys, as in DLCT; the released code reads no boxes.",
        "Tokens are fused, which the released script leaves switched off.",
        "The gate is beta = sigma(w [t; g] + b), context a + beta g; the paper gives no formula that could be read.",
    )

    kinds: Literal["both", "regions", "grid"] = option("regions", "features that it reads: regions, the grid, or both")
    token: bool = option(True, "a token for the whole picture; without it nothing is fused, and all else stays")
    fused: bool = option(True, "an LSTM over the layers' global tokens gives the last one")
    controller: Literal["mac", "gate"] = option("mac", "how words use it: as one more key, or by a gate")

    def network(self, setting: Captioning, sizes: FeatureBatch) -> CaptionNetwork:
        return self.decoder(setting, GlobalEncoder(self, sizes), gated=True, whole=self.token and self.controller == "gate")


class GlobalEncoder(nn.Module):
    """Layers over [g; V] whose attention ends in a gated linear unit."""

    def __init__(self, method: GetMethod, sizes: FeatureBatch) -> None:
        super().__init__()
        self.token, self.apart = method.token, method.token and method.controller == "gate"
        self.inputs = Inputs(sizes, method.kinds, method.width, method.dropout)
        self.layers = nn.ModuleList(EncoderLayer(method.width, method.heads, method.hidden, method.dropout, gated=True)
                                    for _ in range(method.layers))
        self.fuse = nn.LSTM(method.width, method.width, batch_first=True) if method.token and method.fused else None

    def forward(self, features: FeatureBatch) -> Encoded:
        found = self.inputs(features)
        tokens, positions, present, _ = found
        if self.token:
            tokens = torch.cat([self.first(features)[:, None], tokens], dim=1)
            positions = nn.functional.pad(positions, (0, 0, 1, 0))
            present = nn.functional.pad(present, (1, 0), value=True)  # the global token is always one
        each = []
        for layer in self.layers:
            tokens = layer(tokens, positions, present[:, None, None])
            each.append(tokens[:, 0])
        if self.fuse is not None:
            _, (last, _) = self.fuse(torch.stack(each, dim=1))  # over layers, in their order
            tokens = torch.cat([last[0][:, None], tokens[:, 1:]], dim=1)
        if self.apart:
            return Encoded(tokens[:, 1:], found.positions, found.present, tokens[:, :1])
        return Encoded(tokens, positions, present)

    def first(self, features: FeatureBatch) -> Tensor:
        """(B, d): the mean of the features before they are projected, of those regions that are there."""
        if self.inputs.regions is None:
            return self.inputs.grid(features.grid.mean(1))
        return self.inputs.regions(features.regions.sum(1) / features.present.sum(1, keepdim=True))

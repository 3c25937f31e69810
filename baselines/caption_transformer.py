"""The plain Transformer on region and grid features side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from suite.baselines._caption_layers import Encoded, EncoderLayer, Inputs
from suite.baselines._caption_network import CaptionNetwork
from suite.baselines._captioner import CaptionMethod
from torch import nn

from suite.contract import Paper, option
from suite.settings import Captioning, FeatureBatch


@dataclass
class CaptionTransformerMethod(CaptionMethod):
    """Every token looks at every other one; `kinds` says of which there are."""

    paper = Paper("Attention Is All You Need", "Vaswani, Shazeer, Parmar, Uszkoreit, Jones, Gomez, Kaiser, Polosukhin", "NeurIPS",
                  2017, "https://arxiv.org/abs/1706.03762")
    tags = ("captions", "transformer", "reference")
    takes = ("Captioning",)
    gives = "Captioner"

    kinds: Literal["both", "regions", "grid"] = option("both", "features that it reads: regions, the grid, or both")

    def network(self, setting: Captioning, sizes: FeatureBatch) -> CaptionNetwork:
        return self.decoder(setting, PlainEncoder(self, sizes))


class PlainEncoder(nn.Module):
    """Layers of self-attention over the tokens of all `kinds`; padding is no key."""

    def __init__(self, method: CaptionTransformerMethod, sizes: FeatureBatch) -> None:
        super().__init__()
        self.inputs = Inputs(sizes, method.kinds, method.width, method.dropout)
        self.layers = nn.ModuleList(EncoderLayer(method.width, method.heads, method.hidden, method.dropout)
                                    for _ in range(method.layers))

    def forward(self, features: FeatureBatch) -> Encoded:
        found = self.inputs(features)
        tokens = found.tokens
        for layer in self.layers:
            tokens = layer(tokens, found.positions, found.present[:, None, None])
        return found._replace(tokens=tokens)

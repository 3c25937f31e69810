"""Layers of the Transformers that caption: features as tokens, attention, encoder and decoder layers."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from suite.contract import Skip
from suite.settings import FeatureBatch


class Encoded(NamedTuple):
    """An encoder's output: what words are made from."""

    tokens: Tensor  # (B, M, d)
    positions: Tensor  # (B, M, d), added to keys
    present: Tensor  # (B, M) bool, false where a token is padding
    whole: Tensor | None = None  # (B, 1, d) of the whole picture, where a decoder takes it apart from the tokens


class Memory(NamedTuple):
    """`Encoded` as the decoder's layers use it: computed once for a picture."""

    present: Tensor  # (B, 1, 1, M)
    parts: list[tuple[Tensor, Tensor]]  # of each layer keys and values (B, heads, M, d / heads)
    whole: Tensor | None = None

    def repeated(self, times: int) -> Memory:
        """Each picture so many times in a row."""
        parts = [(keys.repeat_interleave(times, 0), values.repeat_interleave(times, 0)) for keys, values in self.parts]
        whole = None if self.whole is None else self.whole.repeat_interleave(times, 0)
        return Memory(self.present.repeat_interleave(times, 0), parts, whole)


class Attention(nn.Module):
    """Multi-head attention; `gated` halves a doubled output and multiplies one half by the other's logistic function (GLU)."""

    def __init__(self, width: int, heads: int, dropout: float, gated: bool = False) -> None:
        super().__init__()
        self.heads, self.dropout, self.gated = heads, dropout, gated
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, 2 * width if gated else width)

    def memory(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values (B, heads, M, d / heads) of tokens (B, M, d)."""
        return self._split(self.key(keys)), self._split(self.value(values))

    def forward(self, query: Tensor, memory: tuple[Tensor, Tensor], mask: Tensor | None) -> Tensor:
        """(B, Q, d); `mask` (B, heads, Q, M), all but M may be 1, is true where a key may be looked at, or added to the scores."""
        dropout = self.dropout if self.training else 0.0
        found = functional.scaled_dot_product_attention(self._split(self.query(query)), *memory, attn_mask=mask, dropout_p=dropout)
        found = self.out(found.transpose(1, 2).flatten(2))
        return functional.glu(found) if self.gated else found

    def _split(self, items: Tensor) -> Tensor:
        return items.unflatten(2, (self.heads, -1)).transpose(1, 2)


class FeedForward(nn.Sequential):
    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__(nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, width))


class EncoderLayer(nn.Module):
    """Attention of tokens to tokens (these or others), then a feed-forward network, each with its residual and LayerNorm."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float, gated: bool = False) -> None:
        super().__init__()
        self.attention = Attention(width, heads, dropout, gated)
        self.feed = FeedForward(width, hidden, dropout)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.drop = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, positions: Tensor, mask: Tensor, others: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """`others` are tokens and positions to look at; positions are added to queries and keys, never to values."""
        seen, places = others or (tokens, positions)
        found = self.attention(tokens + positions, self.attention.memory(seen + places, seen), mask)
        tokens = self.norm1(tokens + self.drop(found))
        return self.norm2(tokens + self.drop(self.feed(tokens)))


class DecoderLayer(nn.Module):
    """Words look at the words before them, then at the picture."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float, gated: bool = False, whole: bool = False) -> None:
        super().__init__()
        self.own, self.cross = Attention(width, heads, dropout), Attention(width, heads, dropout, gated)
        self.feed = FeedForward(width, hidden, dropout)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.drop = nn.Dropout(dropout)
        self.gate = nn.Linear(2 * width, 1) if whole else None

    def forward(self, words: Tensor, past: tuple[Tensor, Tensor], causal: Tensor | None, memory: Memory, number: int) -> Tensor:
        """`past` are keys and values of all words so far, these too."""
        words = self.norms[0](words + self.drop(self.own(words, past, causal)))
        found = self.cross(words, memory.parts[number], memory.present)
        if self.gate is not None:  # beta = sigma(w [t; g] + b), context a + beta g
            whole = memory.whole.expand_as(words)
            found = found + torch.sigmoid(self.gate(torch.cat([words, whole], dim=2))) * whole
        words = self.norms[1](words + self.drop(found))
        return self.norms[2](words + self.drop(self.feed(words)))


class Projection(nn.Sequential):
    """Features as tokens: LN(dropout(relu(linear)))."""

    def __init__(self, size: int, width: int, dropout: float) -> None:
        super().__init__(nn.Linear(size, width), nn.ReLU(), nn.Dropout(dropout), nn.LayerNorm(width))


class Inputs(nn.Module):
    """Features of `kinds` (regions, grid or both), of which `sizes` is a batch of one picture, as tokens with positions: of a
    region its box through a linear layer, of a cell the sines of its row and column."""

    def __init__(self, sizes: FeatureBatch, kinds: str, width: int, dropout: float) -> None:
        super().__init__()
        self.regions = Projection(sizes.regions.shape[2], width, dropout) if kinds != "grid" else None
        self.box = nn.Linear(4, width) if kinds != "grid" else None
        self.grid = Projection(sizes.grid.shape[2], width, dropout) if kinds != "regions" else None

    def of_regions(self, features: FeatureBatch) -> Encoded:
        tokens = self.regions(features.regions) * features.present[:, :, None]  # padding is no longer 0 behind a LayerNorm
        return Encoded(tokens, self.box(features.boxes), features.present)

    def of_grid(self, features: FeatureBatch) -> Encoded:
        if not features.grid.shape[1]:
            raise Skip("the features hold no grids; type kinds=regions")
        tokens = self.grid(features.grid)
        return Encoded(tokens, grid_positions(tokens).expand_as(tokens), tokens.new_ones(tokens.shape[:2], dtype=torch.bool))

    def forward(self, features: FeatureBatch) -> Encoded:
        """Regions first."""
        found = [self.of_regions(features)] if self.regions is not None else []
        found += [self.of_grid(features)] if self.grid is not None else []
        return Encoded(*(torch.cat(parts, dim=1) for parts in zip(*(item[:3] for item in found), strict=True)))


def grid_positions(tokens: Tensor) -> Tensor:
    """(cells, d) for cells (B, cells, d) of a square: sines of row and column as shares of a turn, half of the channels each."""
    cells, width = tokens.shape[1:]
    side = round(cells**0.5)
    if side * side != cells:
        raise Skip(f"the features have a grid of {cells} cells, which is no square")
    places = torch.arange(1, side + 1, dtype=torch.float32, device=tokens.device) * (2 * torch.pi / side)
    lines = waves(places, width // 2)
    return torch.cat([lines[:, None].expand(-1, side, -1), lines[None].expand(side, -1, -1)], dim=2).flatten(0, 1)


def waves(values: Tensor, width: int, most: float = 10_000.0) -> Tensor:
    """Sine and cosine of `values` (...) at `width` / 2 frequencies, by turns, (..., width)."""
    rates = most ** -(torch.arange(0, width, 2, dtype=torch.float32, device=values.device) / width)
    angles = values[..., None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)

"""A Transformer that captions: any encoder of features, a decoder of words with its cache, beam search."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby

import torch
from suite.baselines._caption_layers import DecoderLayer, Encoded, Memory, waves
from torch import Tensor, nn

from suite.settings import FeatureBatch

PAD, START, END, UNKNOWN = range(4)  # numbers of what is no word; words follow
SPECIAL = 4
PLACES = 54  # positions that words have at least, so that training sees captions that are longer than the search makes them


class CaptionNetwork(nn.Module):
    """An encoder of features and a decoder of words; called with the parts of a `FeatureBatch` it gives captions."""

    def __init__(
        self, encoder: nn.Module, words: Sequence[str], *, width: int, heads: int, hidden: int, layers: int, dropout: float,
        longest: int, beams: int, gated: bool = False, whole: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.words, self.longest, self.beams = tuple(words), longest, beams
        self.encoder = encoder
        self.embedding = nn.Embedding(len(words) + SPECIAL, width, padding_idx=PAD)
        self.register_buffer("places", waves(torch.arange(max(longest + 1, PLACES), dtype=torch.float32), width), persistent=False)
        self.layers = nn.ModuleList(DecoderLayer(width, heads, hidden, dropout, gated, whole) for _ in range(layers))
        self.drop = nn.Dropout(dropout)
        self.classify = nn.Linear(width, len(words) + SPECIAL, bias=False)
        for name, parameter in self.named_parameters():
            if parameter.ndim > 1 and "embedding" not in name:
                nn.init.xavier_uniform_(parameter)

    def remember(self, *features: Tensor) -> Memory:
        """What the decoder needs of pictures, once for each."""
        found: Encoded = self.encoder(FeatureBatch(*features))
        keys = found.tokens + found.positions
        return Memory(found.present[:, None, None], [layer.cross.memory(keys, found.tokens) for layer in self.layers], found.whole)

    def logits(self, words: Tensor, memory: Memory) -> Tensor:
        """(B, T, words) for what follows each of `words` int64 (B, T)."""
        causal = torch.ones(words.shape[1], words.shape[1], dtype=torch.bool, device=words.device).tril()
        found, _ = self._decoded(words, memory, [None] * len(self.layers), causal)
        return found

    def following(self, words: Tensor, memory: Memory, cache: Sequence[tuple[Tensor, Tensor] | None]) -> tuple[Tensor, list]:
        """(B, words) for what follows the last word int64 (B, 1), whose predecessors `cache` holds; and the cache with it."""
        found, cache = self._decoded(words, memory, cache, None)
        return found[:, 0], cache

    def _decoded(self, words: Tensor, memory: Memory, cache: Sequence, causal: Tensor | None) -> tuple[Tensor, list]:
        before = 0 if cache[0] is None else cache[0][0].shape[2]
        found = self.drop(self.embedding(words) + self.places[before : before + words.shape[1]])
        kept = []
        for number, layer in enumerate(self.layers):
            past = layer.own.memory(found, found)
            if cache[number] is not None:
                past = tuple(torch.cat(pair, dim=2) for pair in zip(cache[number], past, strict=True))
            kept.append(past)
            found = layer(found, past, causal, memory, number)
        return self.classify(found), kept

    @torch.no_grad()
    def forward(self, *features: Tensor) -> list[str]:
        memory = self.remember(*features)
        found, _ = search(self, memory, self.beams)
        return [" ".join(word for word, _ in groupby(self.spelled(row))) for row in found[:, 0].tolist()]  # "the the": said once

    def spelled(self, numbers: Sequence[int]) -> list[str]:
        """The words up to the end."""
        ended = numbers.index(END) if END in numbers else len(numbers)
        return [self.words[number - SPECIAL] for number in numbers[:ended] if number >= SPECIAL]


@torch.no_grad()
def search(network: CaptionNetwork, memory: Memory, beams: int) -> tuple[Tensor, Tensor]:
    """The `beams` likeliest captions of each picture that a beam search finds, the likeliest first: words int64 (B, beams, T),
    padded behind their end, and their log-likelihoods (B, beams). A caption holds no padding, no start and no unknown word."""
    count, device = memory.present.shape[0], memory.present.device
    memory = memory.repeated(beams)
    scores = torch.full((count, beams), -math.inf, device=device)
    scores[:, 0] = 0  # all beams begin alike
    words = torch.full((count * beams, 1), START, device=device)
    done = torch.zeros(count * beams, dtype=torch.bool, device=device)
    cache: list = [None] * len(network.layers)
    for _ in range(network.longest):
        logits, cache = network.following(words[:, -1:], memory, cache)
        logits[:, [PAD, START, UNKNOWN]] = -math.inf
        chances = logits.float().log_softmax(1)
        chances[done] = -math.inf
        chances[done, PAD] = 0
        scores, best = (scores[:, :, None] + chances.view(count, beams, -1)).flatten(1).topk(beams)
        rows = (torch.arange(count, device=device)[:, None] * beams + best // chances.shape[1]).flatten()
        words = torch.cat([words[rows], (best % chances.shape[1]).view(-1, 1)], dim=1)
        cache = [tuple(item[rows] for item in pair) for pair in cache]
        done = done[rows] | (words[:, -1] == END)
        if done.all():
            break
    return words[:, 1:].view(count, beams, -1), scores

"""Features and settings for the captioning methods' tests."""

from __future__ import annotations

import torch

from suite.data.features import Featured
from suite.metrics.captions import CiderD
from suite.settings import Captioning, FeatureBatch, PictureFeatures

WORDS = ["a", "and", "cat", "dog", "red", "two"]


def features(counts: tuple[int, ...] = (3, 1), size: int = 6, cells: int = 9, seed: int = 0) -> FeatureBatch:
    """A batch of pictures with so many regions, padded with zeros."""
    draw = torch.Generator().manual_seed(seed)
    most = max(counts)
    present = torch.arange(most)[None] < torch.tensor(counts)[:, None]
    low = torch.rand(len(counts), most, 2, generator=draw) * 0.6
    boxes = torch.cat([low, low + 0.05 + 0.3 * torch.rand(len(counts), most, 2, generator=draw)], dim=2)
    regions = torch.randn(len(counts), most, size, generator=draw)
    grid = torch.randn(len(counts), cells, size + 2, generator=draw)
    return FeatureBatch(regions * present[..., None], boxes * present[..., None], present, grid)


def setting(count: int = 8) -> Captioning:
    """Pictures whose first region says which animal and whose grid says whether it is red."""
    pictures, references = {}, []
    for row in range(count):
        animal, red = row % 2, row // 2 % 2
        regions = torch.nn.functional.one_hot(torch.tensor([animal]), 6).float()
        pictures[row] = PictureFeatures(regions, torch.tensor([[0.1, 0.1, 0.5, 0.5]]), torch.full((9, 8), float(red)))
        noun = ("cat", "dog")[animal]
        references.append([f"a red {noun}" if red else f"a {noun}"] * 2)
    data = Featured(list(range(count)), references, pictures)
    return Captioning(data, data, WORDS, CiderD(references), 6)

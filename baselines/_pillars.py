"""PointPillars' network: points in vertical pillars, their features on a map, a body of 2D convolutions and its heads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional


class Grid(NamedTuple):
    """The map: cells of `cell` metres over x from 0 to `ahead` and y from -`side` to `side`; points between `low` and `high`."""

    ahead: float
    side: float
    low: float
    high: float
    cell: float

    @property
    def size(self) -> tuple[int, int]:
        """Cells along y and along x."""
        return round(2 * self.side / self.cell), round(self.ahead / self.cell)

    def inside(self, points: Tensor) -> Tensor:
        """Which points (n, 3 or more) lie in it, bool (n,)."""
        x, y, z = points[:, 0], points[:, 1], points[:, 2]
        return (x >= 0) & (x < self.ahead) & (y >= -self.side) & (y < self.side) & (z >= self.low) & (z < self.high)


class Pillars(NamedTuple):
    """The points of each cell that has some: `points` (P, N, 4), 0 behind the first `count` (P,); `place` (P,) is y * nx + x."""

    points: Tensor
    count: Tensor
    place: Tensor


def pillars(points: Tensor, grid: Grid, most: int, each: int) -> Pillars:
    """Sort points (n, 4) into at most `most` pillars of at most `each` points; of more the first ones stay."""
    points = points[grid.inside(points)]
    rows, columns = grid.size
    x = (points[:, 0] / grid.cell).long().clamp(max=columns - 1)
    y = ((points[:, 1] + grid.side) / grid.cell).long().clamp(max=rows - 1)
    place, pillar, count = torch.unique(y * columns + x, return_inverse=True, return_counts=True)
    order = pillar.argsort(stable=True)
    starts = count.cumsum(0) - count
    rank = torch.arange(len(points), device=points.device) - starts[pillar[order]]
    table = points.new_zeros(len(place), each, points.shape[1])
    kept = rank < each
    table[pillar[order][kept], rank[kept]] = points[order][kept]
    chosen = order[starts].argsort()[:most].sort().values  # by their first points
    return Pillars(table[chosen], count.clamp(max=each)[chosen], place[chosen])


class PillarEncoder(nn.Module):
    """Scans (n, 4) to a pseudo-image (B, width, ny, nx): a linear layer, normalisation and ReLU for each point, and the greatest of
    each pillar at its place, zeros elsewhere. `handmade`: simple statistics of each pillar instead, nothing learned.
    """

    def __init__(self, grid: Grid, width: int, most: int, each: int, handmade: bool) -> None:
        super().__init__()
        self.grid, self.width, self.most, self.each, self.handmade = grid, width, most, each, handmade
        if not handmade:
            self.linear = nn.Linear(10, width, bias=False)
            self.norm = nn.BatchNorm1d(width, eps=1e-3, momentum=0.01)

    def forward(self, scans: Sequence[Tensor]) -> Tensor:
        found = [pillars(scan, self.grid, self.most, self.each) for scan in scans]
        rows, columns = self.grid.size
        place = torch.cat([item.place + number * rows * columns for number, item in enumerate(found)])
        together = Pillars(torch.cat([item.points for item in found]), torch.cat([item.count for item in found]), place)
        image = scatter(self.features(together), place, len(scans) * rows * columns)
        return image.view(self.width, len(scans), rows, columns).transpose(0, 1).contiguous()

    def features(self, item: Pillars) -> Tensor:
        """(P, width)."""
        if self.handmade:
            return functional.pad(statistics(item), (0, self.width))[:, : self.width]
        values = self.linear(decorated(item, self.grid))
        normed = self.norm(values.flatten(0, 1)).view_as(values)
        return normed.relu().amax(1)


def decorated(item: Pillars, grid: Grid) -> Tensor:
    """x, y, z, reflectance, and x, y, z from the mean of the pillar's points and from its middle (P, N, 10); absent ones are 0."""
    rows, columns = grid.size
    present = torch.arange(item.points.shape[1], device=item.points.device) < item.count[:, None]
    place = item.points[..., :3]
    mean = place.sum(1, keepdim=True) / item.count[:, None, None]
    cell = item.place % (rows * columns)
    middle = torch.stack([(cell % columns + 0.5) * grid.cell, (cell // columns + 0.5) * grid.cell - grid.side,
                          torch.full_like(cell, 0.5, dtype=place.dtype) * (grid.low + grid.high)], dim=1)
    return torch.cat([item.points, place - mean, place - middle[:, None]], dim=2) * present[..., None]


def statistics(item: Pillars) -> Tensor:
    """Occupied, how many points, highest, lowest and mean height, mean and greatest reflectance of each pillar, (P, 7)."""
    present = torch.arange(item.points.shape[1], device=item.points.device) < item.count[:, None]
    z, shine = item.points[..., 2], item.points[..., 3]
    high, low = (torch.where(present, z, torch.full_like(z, outside)) for outside in (-9.0, 9.0))
    return torch.stack([torch.ones_like(z[:, 0]), item.count.to(z).log1p() / 3, high.amax(1), low.amin(1),
                        z.sum(1) / item.count, shine.sum(1) / item.count, shine.amax(1)], dim=1)


def scatter(features: Tensor, place: Tensor, cells: int) -> Tensor:
    """`features` (P, C) at their places in a map of zeros (C, cells)."""
    return features.new_zeros(features.shape[1], cells).index_copy(1, place, features.t())


class Trunk(nn.Module):
    """The backbone and its heads on a pseudo-image (B, width, ny, nx): (B, anchors * (classes + 7 + 2), ny / first, nx / first).

    Three blocks at strides `first`, 2 and 2, each a convolution with its stride and `depths` more, of `width`, 2 and 4 times that;
    each is brought to the first one's size with 2 `width` channels, and the heads see them side by side.
    """

    def __init__(self, width: int, depths: Sequence[int], first: int, anchors: int, classes: int) -> None:
        super().__init__()
        self.blocks, self.ups = nn.ModuleList(), nn.ModuleList()
        before = width
        for level, depth in enumerate(depths):
            here = width * 2**level
            layers = [_conv(before, here, first if level == 0 else 2), *(_conv(here, here, 1) for _ in range(depth))]
            self.blocks.append(nn.Sequential(*layers))
            up = nn.ConvTranspose2d(here, 2 * width, 2**level, 2**level, bias=False)
            self.ups.append(nn.Sequential(up, nn.BatchNorm2d(2 * width, eps=1e-3, momentum=0.01), nn.ReLU()))
            before = here
        together = 2 * width * len(depths)
        self.scores = nn.Conv2d(together, anchors * classes, 1)
        self.boxes = nn.Conv2d(together, anchors * 7, 1)
        self.directions = nn.Conv2d(together, anchors * 2, 1)
        nn.init.constant_(self.scores.bias, -4.595)  # a probability of 0.01, as in focal losses
        nn.init.normal_(self.boxes.weight, std=1e-3)

    def forward(self, image: Tensor) -> Tensor:
        levels = []
        for block, up in zip(self.blocks, self.ups, strict=True):
            image = block(image)
            levels.append(up(image))
        features = torch.cat(levels, dim=1)
        return torch.cat([self.scores(features), self.boxes(features), self.directions(features)], dim=1)


def _conv(before: int, here: int, stride: int) -> nn.Sequential:
    conv = nn.Conv2d(before, here, 3, stride, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(here, eps=1e-3, momentum=0.01), nn.ReLU())


class PillarBody(nn.Module):
    """What of the detector runs on fixed shapes (:class:`suite.artifacts.CloudDetector`): the trunk; its input is the encoder's."""

    def __init__(self, encoder: PillarEncoder, trunk: Trunk) -> None:
        super().__init__()
        self.encoder, self.trunk = encoder, trunk

    @torch.no_grad()
    def prepare(self, scans: Sequence[Tensor]) -> Tensor:
        return self.encoder(scans)

    def forward(self, image: Tensor) -> Tensor:
        return self.trunk(image)

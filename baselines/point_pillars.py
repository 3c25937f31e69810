"""PointPillars: lidar points in vertical pillars become a picture, on which a 2D detector finds turned boxes.

Lang, Vora, Caesar, Zhou, Yang, Beijbom, CVPR 2019. Points are sorted into pillars (Sec. 2.1), a small network gives each pillar its
features, which are scattered onto a map; three blocks of convolutions and their upsampling (Sec. 2.2) and an SSD-like head on
anchors (Sec. 2.3) follow. The losses are SECOND's (Sec. 3.1). Where the paper and OpenPCDet differ this is OpenPCDet's, whose
numbers are quoted.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from suite.baselines._anchors import ANGLES, anchors_on, decoded, detection_loss, suppressed
from suite.baselines._clouds import Examples, chosen, cuttings, epoch
from suite.baselines._pillars import Grid, PillarBody, PillarEncoder, Trunk
from torch import Tensor, nn

from suite.artifacts import CloudDetector
from suite.context import Run
from suite.contract import Claim, Method, Paper, Published, Side, option
from suite.errors import UserError
from suite.nn.weights import load_weights
from suite.settings import CloudDetection
from suite.train import Recipe, optimise

FRAMES = 120  # of each side of a claim: as many as there are of any kind


@dataclass
class PointPillarsMethod(Method):
    """All on whatever device the run has; suppression on the CPU. With ``weights=FILE`` it is judged as it is."""

    paper = Paper("PointPillars: Fast Encoders for Object Detection from Point Clouds", "Lang, Vora, Caesar, Zhou, Yang, Beijbom",
                  "CVPR", 2019, "https://arxiv.org/abs/1812.05784")
    tags = ("detector", "lidar", "reference")
    takes = ("CloudDetection",)
    gives = "CloudDetector"
    scales = {
        "smoke": {"width": 8, "depths": (1, 1, 1), "ahead": 25.6, "side": 12.8, "cell": 0.64, "points": 8,
                  "pillars": 400, "pasted": 1},
        "short": {"width": 16, "depths": (1, 2, 2), "ahead": 25.6, "side": 12.8, "cell": 0.32, "first": 1, "points": 16,
                  "pillars": 4000, "pasted": 3},
        "long": {"width": 32, "depths": (3, 5, 5), "ahead": 25.6, "side": 12.8, "cell": 0.32, "first": 1, "points": 16,
                 "pillars": 4000, "pasted": 3},
    }

    published = (Published("astar_3d", "car_3d_moderate_r11", 77.28, "OpenPCDet, README: PointPillar, KITTI val, not A*3D"),)
    claims = (
        Claim("density", "At as many training frames, frames of any density beat sparse ones alone, on frames of any density.",
              "astar_3d", "car_3d_moderate_r40", "above",
              (Side("point_pillars", {"frames": FRAMES}), Side("point_pillars", {"frames": FRAMES, "only": "low"}))),
        Claim("day_to_night", "Trained by day alone, a detector is worse by night than by day.", "astar_3d",
              "car_3d_moderate_r40_day", "above",
              (Side("point_pillars", {"frames": FRAMES, "only": "day"}), Side("point_pillars", {"frames": FRAMES, "only": "day"})),
              rival_value="car_3d_moderate_r40_night"),
        Claim("both_times", "At as many training frames, day and night together are better by night than day alone.", "astar_3d",
              "car_3d_moderate_r40_night", "above",
              (Side("point_pillars", {"frames": FRAMES}), Side("point_pillars", {"frames": FRAMES, "only": "day"}))),
        Claim("learned_features", "Learned features of pillars beat simple statistics of them below the same backbone.",
              "astar_3d", "car_3d_moderate_r40", "above",
              (Side("point_pillars"), Side("point_pillars", {"features": "handmade"})), held_equal=(("total", 0.01),)),
    )
    standins = (
        "OpenPCDet's recipe (AdamW, one cycle) without the cycle of its momentum, and from a 25th of the rate on, not a tenth.",
        "Anchors stand in the middles of the map's cells; OpenPCDet spreads them from edge to edge.",
        "Below scale full the map is 25.6 m by 25.6 m with cells of 0.32 m, the network has a quarter or half of the channels, its "
        "first block keeps the map's size, as the paper's for pedestrians does, and three objects of a class are pasted, not 15.",
        "The attribute claims are A*3D's findings with PointRCNN, F-PointNet and AVOD; here this detector stands for them.",
        "MACs are the convolutions'; the linear layer of the encoder runs on as many pillars as a scan has, and is timed with it.",
    )

    only: Literal["", "day", "night", "low", "high"] = option("", "train on frames of this time of day or density alone")
    frames: int = option(0, "train on so many frames, drawn at random; 0 is all", bounds=(0, 1_000_000))
    features: Literal["learned", "handmade"] = option("learned", "the pillars' features: a network's, or simple statistics")
    weights: str = option("", "state-dict file of the whole detector; it is then not trained")
    ahead: float = option(69.12, "metres ahead that are looked at", bounds=(1, 500))
    side: float = option(39.68, "metres to either side", bounds=(1, 500))
    cell: float = option(0.16, "metres of a pillar's sides", bounds=(0.01, 10))
    points: int = option(32, "points of a pillar", bounds=(1, 1000))
    pillars: int = option(16_000, "pillars of a scan in training, and 2.5 times as many in evaluation", bounds=(1, 1_000_000))
    width: int = option(64, "channels of the pillars' features and of the first block", bounds=(4, 1024))
    depths: tuple[int, ...] = option((3, 5, 5), "convolutions of the three blocks behind their first", bounds=(0, 20))
    first: int = option(2, "stride of the first block", bounds=(1, 2))
    pasted: int = option(15, "objects of each class pasted into a scan", bounds=(0, 100))
    rate: float = option(3e-3, "peak learning rate", bounds=(0, 1))
    batch: int = option(4, "scans per step", bounds=(1, 1024))

    def __post_init__(self) -> None:
        if self.weights and not Path(self.weights).is_file():
            raise UserError(f"There is no state-dict file '{self.weights}'; name one with weights=FILE.")
        if any(size % (4 * self.first) for size in self.grid.size):
            raise UserError(f"A map of {self.grid.size[1]} x {self.grid.size[0]} cells cannot be halved {self.first + 1} times; "
                            f"give ahead= and side= that are multiples of {4 * self.first * self.cell:g} m.")

    @property
    def grid(self) -> Grid:
        return Grid(self.ahead, self.side, -3.0, 1.0, self.cell)

    def fit(self, setting: CloudDetection, run: Run) -> CloudDetector:
        torch.manual_seed(run.seed("weights"))
        network = PointPillars(self, tuple(setting.train.categories))
        if self.weights:
            load_weights(network, self.weights)
        else:
            self.train(network, setting, run)
        return CloudDetector(network.eval(), network.body)

    def train(self, network: PointPillars, setting: CloudDetection, run: Run) -> None:
        """Train in place on all the run has left."""
        data = chosen(setting.train, self.only, self.frames, run.generator("frames"))
        size = min(self.batch, len(data))
        store = cuttings(data) if self.pasted else {}
        recipe = Recipe(rate=self.rate, batch=size, weight_decay=0.01, warmup=0.4, adam=True, decoupled=True, longest=10.0,
                        schedule="one-cycle", betas=(0.9, 0.99))
        network.to(run.device)

        def value(batch: Examples) -> Tensor:
            scans, targets = batch
            targets = [{key: item.to(run.device) for key, item in target.items()} for target in targets]
            return network.loss([scan.to(run.device) for scan in scans], targets)

        run.note(training_frames=len(data))
        optimise(network, partial(epoch, data, size, store, self.pasted), value, run, recipe=recipe, size=size)


class PointPillars(nn.Module):
    """Scans (n, 4) to boxes, labels and scores (:class:`suite.artifacts.CloudDetector`)."""

    least, candidates, overlap, most = 0.1, 4096, 0.01, 500  # score, boxes before suppression, IoU that suppresses, boxes kept

    def __init__(self, options: PointPillarsMethod, kinds: tuple[str, ...]) -> None:
        super().__init__()
        self.kinds, self.grid = kinds, options.grid
        each = len(kinds) * len(ANGLES)
        encoder = PillarEncoder(self.grid, options.width, options.pillars, options.points, options.features == "handmade")
        self.body = PillarBody(encoder, Trunk(options.width, options.depths, options.first, each, len(kinds)))
        rows, columns = (size // options.first for size in self.grid.size)
        self.pillars = options.pillars
        self.register_buffer("anchors", anchors_on(rows, columns, options.cell * options.first, options.side, kinds),
                             persistent=False)

    def train(self, mode: bool = True) -> PointPillars:
        self.body.encoder.most = self.pillars if mode else 5 * self.pillars // 2
        return super().train(mode)

    def outputs(self, scans: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Scores (B, n, classes), codes (B, n, 7) and directions (B, n, 2) in the anchors' order."""
        raw = self.body(self.body.encoder(scans)).permute(0, 2, 3, 1)
        parts = raw.split([len(self.kinds) * 2 * size for size in (len(self.kinds), 7, 2)], dim=3)
        scores, codes, directions = (part.reshape(len(scans), -1, size)
                                     for part, size in zip(parts, (len(self.kinds), 7, 2), strict=True))
        return scores, codes, directions

    def loss(self, scans: list[Tensor], targets: list[dict[str, Tensor]]) -> Tensor:
        kept = [{key: target[key][self.grid.inside(target["boxes"])] for key in ("boxes", "labels")} for target in targets]
        return detection_loss(self.outputs(scans), self.anchors, self.kinds, kept)

    @torch.no_grad()
    def forward(self, scans: list[Tensor]) -> list[dict[str, Tensor]]:
        return [self.found(*parts) for parts in zip(*self.outputs(scans), strict=True)]

    def found(self, scores: Tensor, codes: Tensor, directions: Tensor) -> dict[str, Tensor]:
        """The boxes of one scan behind suppression, which all classes share."""
        best, which = scores.sigmoid().max(1)
        rows = torch.where(best > self.least)[0]
        rows = rows[best[rows].argsort(descending=True, stable=True)[: self.candidates]]
        boxes = decoded(codes[rows], self.anchors[rows], directions[rows])
        kept = suppressed(boxes, best[rows], self.overlap, self.most)
        return {"boxes": boxes[kept], "labels": which[rows][kept] + 1, "scores": best[rows][kept]}

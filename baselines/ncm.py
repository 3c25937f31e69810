"""Nearest class mean: the base session's backbone, frozen, and the mean feature of each class; the most similar by cosine wins."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from suite.baselines._fscil import BASE, SessionMethod, class_means, features_of, unit
from torch import Tensor, nn

from suite.artifacts import Network
from suite.context import Run
from suite.contract import Paper
from suite.settings import Sessions


@dataclass
class NearestClassMean(SessionMethod):
    """Nothing is trained behind the base session, and nothing forgotten but what new classes take from old ones."""

    paper = Paper("Few-Shot Incremental Learning with Continually Evolved Classifiers", "Zhang, Song, Lin, Zheng, Pan, Xu", "CVPR",
                  2021, "https://arxiv.org/abs/2104.03047")
    standins = (*BASE, "The backbone is trained with base nodes and head, which are then left out.")

    def fit(self, setting: Sessions, run: Run) -> Iterator[Network]:
        means = []
        for session in setting:
            if session.number == 0:
                backbone = self.train_base(session, setting, run).backbone
            means.append(class_means(features_of(backbone, session, setting, run), session.classes))
            yield Network(NearestMean(backbone, torch.cat(means)))


class NearestMean(nn.Module):
    """Images (N, 3, H, W) -> cosines (N, C) of their features and the class `means` (C, d)."""

    def __init__(self, backbone: nn.Module, means: Tensor) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(means.shape[1], len(means), bias=False, device=means.device)
        self.head.weight.data.copy_(unit(means))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(unit(self.backbone(images)))

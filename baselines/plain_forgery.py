"""Forged faces by an ordinary classifier: a pre-trained backbone, average pooling, two classes, cross-entropy.

The way of FaceForensics++'s own strongest detector (Rössler et al., ICCV 2019: a network pre-trained on ImageNet, fine-tuned on
face crops), on the backbone, with the data and the training of `local_relation`, whose reference it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from suite.baselines._forgery import ForgeryMethod, levels
from torch import Tensor, nn
from torch.nn import functional

from suite.artifacts import Network
from suite.context import Run
from suite.contract import Paper, Published
from suite.settings import FaceForgery


@dataclass
class PlainForgeryMethod(ForgeryMethod):
    """One stream of colours; nothing is learned from masks."""

    paper = Paper("FaceForensics++: Learning to Detect Manipulated Facial Images",
                  "Rössler, Cozzolino, Verdoliva, Riess, Thies, Nießner", "ICCV", 2019, "https://arxiv.org/abs/1901.08971")
    tags = ("reference",)
    standins = (
        "The backbone of local_relation instead of Xception, and its training, so that both rows differ in the method alone.",
        "At smoke and short a CIFAR ResNet-8 that the suite has pre-trained on embedded data, at a larger learning rate.",
    )
    published = (Published("faceforensics", "auc", 96.3, "PeerJ-CS 10.7717/peerj-cs.1959, Table 2: Xception, c23"),)

    def fit(self, setting: FaceForgery, run: Run) -> Network:
        classifier = self.backbone(run)
        torch.manual_seed(run.seed("weights", self.arch))
        network = PlainNetwork(classifier)
        self.train(network, setting, run, lambda logits, batch, labels: functional.cross_entropy(logits.float(), labels))
        return Network(network, {"local_map": ClassActivation(network)})


class PlainNetwork(nn.Module):
    """Normalised faces (N, 3, S, S) -> logits (N, 2): real, forged."""

    def __init__(self, classifier: nn.Module) -> None:
        super().__init__()
        self.levels = levels(classifier)
        self.fc = nn.Linear(self.levels.widths[-1], 2)

    def maps(self, faces: Tensor) -> Tensor:
        for part in self.levels:
            faces = part(faces)
        return faces

    def forward(self, faces: Tensor) -> Tensor:
        return self.fc(self.maps(faces).mean((2, 3)))


class ClassActivation(nn.Module):
    """Where a face looks forged, (N, H, W) of 0 to 1: the classifier at each place of the last map (Zhou et al., CVPR 2016)."""

    def __init__(self, network: PlainNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, faces: Tensor) -> Tensor:
        return self.network.fc(self.network.maps(faces).movedim(1, 3)).softmax(3)[..., 1]

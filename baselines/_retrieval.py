"""What the methods for instance search share: the recorded classifier, the means of regions, whitening, and how a picture is read.

A picture is resized so that its longer side has `size` pixels; a region's descriptor is the mean of a stage's map in its box, of
length 1 (Babenko and Lempitsky, ICCV 2015, of the whole picture; Tolias et al., ICLR 2016, of windows).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from suite.baselines._change import from_file
from torch import Tensor, fx, nn
from torch.nn import functional

from suite.artifacts import Retriever
from suite.context import Run
from suite.contract import Method, Needed, option
from suite.errors import UserError
from suite.nn.detection import ARCHS
from suite.nn.pyramid import Pyramid
from suite.settings import InstanceSearch
from suite.train import Normalise

NORMALISE = Normalise((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def region_means(maps: Tensor, boxes: Tensor, size: Sequence[int]) -> Tensor:
    """The means (n, C) of `maps` (1, C, h, w) in `boxes` (n, 4) x1, y1, x2, y2 in a picture of `size` H, W, of length 1.

    A cell weighs as much as the box covers of it.
    """
    (high, wide), (rows, columns) = size, maps.shape[2:]
    down = _covered(boxes[:, 1], boxes[:, 3], rows, high / rows)
    across = _covered(boxes[:, 0], boxes[:, 2], columns, wide / columns)
    weights = (down[:, :, None] * across[:, None, :]).flatten(1)
    return functional.normalize(weights @ maps[0].flatten(1).T)


def _covered(starts: Tensor, ends: Tensor, cells: int, side: float) -> Tensor:
    """The shares (n, cells) that cells of `side` pixels have of the intervals, which lie in them and are not empty."""
    edges = torch.arange(cells, dtype=starts.dtype, device=starts.device) * side
    over = (ends[:, None].minimum(edges + side) - starts[:, None].maximum(edges)).clamp_min(0)
    return over / over.sum(1, keepdim=True).clamp_min(1e-12)


fx.wrap("region_means")  # one call in the plan of a network


class Describer(nn.Module):
    """A picture as regions with descriptors (:class:`suite.artifacts.Retriever`): means of the map of ``layer<layer>``.

    Subclasses say where the regions are.
    """

    whitening: tuple[Tensor, Tensor] | None = None  # what is taken off a descriptor, and what it is multiplied by

    def __init__(self, network: nn.Module, layer: int, size: int) -> None:
        super().__init__()
        self.parts, self.size = Pyramid(copy.deepcopy(network)).parts[: layer + 1], size
        self.eval().requires_grad_(False)

    def regions(self, high: int, wide: int) -> Tensor:
        """The boxes (n, 4) float32 that every prepared picture of this size has. Called for each picture."""
        raise NotImplementedError

    def prepare(self, image: Tensor) -> tuple[Tensor, ...]:
        batch = self.resized(image)
        return batch, self.regions(*batch.shape[2:]).to(batch.device)

    def forward(self, batch: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        return boxes, self.described(self.map(batch), boxes, batch.shape[2:])

    def query(self, image: Tensor, boxes: Tensor) -> Tensor:
        batch = self.resized(image)
        return self.described(self.map(batch), scaled(boxes, image.shape[1:], batch.shape[2:]), batch.shape[2:])

    def resized(self, image: Tensor) -> Tensor:
        """uint8 (3, H, W) as the network takes it: normalised (1, 3, h, w), the longer side of `size` pixels."""
        sides = [max(1, side * self.size // max(image.shape[1:])) for side in image.shape[1:]]
        resized = functional.interpolate(image[None].float(), sides, mode="bilinear", antialias=True, align_corners=False)
        return NORMALISE(resized)

    def map(self, batch: Tensor) -> Tensor:
        for part in self.parts:
            batch = part(batch)
        return batch

    def described(self, maps: Tensor, boxes: Tensor, size: Sequence[int]) -> Tensor:
        """The descriptors (n, D) of `boxes` in a picture of `size` H, W with the map `maps`, whitened where that is asked for."""
        features = region_means(maps, boxes, size)
        if self.whitening is None:
            return features
        mean, weights = (item.to(features.device) for item in self.whitening)
        return functional.normalize((features - mean) @ weights)


def scaled(boxes: Tensor, before: Sequence[int], after: Sequence[int]) -> Tensor:
    """Boxes (n, 4) of a picture of the size `before`, H and W, in that of the size `after`."""
    return boxes * boxes.new_tensor([after[1] / before[1], after[0] / before[0]] * 2)


@dataclass
class RetrievalMethod(Method):
    """Nothing is trained: a recorded classifier, or the user's, describes pictures.

    Layer and size below scale full were chosen on collages of other objects, which no score is taken from: 100 of ``val_gallery``
    and the 80 ``val_queries`` of :mod:`suite.data.embedded.collages`, seed 0 of the classifier, each method for itself.
    """

    tags: ClassVar[tuple[str, ...]] = ("instance search", "training-free")
    takes: ClassVar[tuple[str, ...]] = ("InstanceSearch",)
    gives: ClassVar[str] = "Retriever"
    gradients: ClassVar[bool] = False  # whether describing a picture back-propagates
    scales: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "smoke": {"arch": "narrow_resnet10", "size": 128, "layer": 3},
        "short": {"arch": "narrow_resnet10", "size": 384, "layer": 3},
        "long": {"arch": "narrow_resnet10", "size": 384, "layer": 3},
    }

    arch: str = option("resnet50", "the classifier", choices=ARCHS)
    weights: str = option("", "state-dict file of the classifier, in torchvision's names, instead of the recorded one")
    size: int = option(512, "pixels of the longer side that a picture is resized to", bounds=(64, 4096))
    layer: int = option(4, "stage whose map is averaged", choices=(3, 4))
    whiten: int = option(0, "components of whitening, fitted on the gallery's descriptors; 0 is none", bounds=(0, 4096))

    def __post_init__(self) -> None:
        if self.weights and not Path(self.weights).is_file():
            raise UserError(f"There is no state-dict file '{self.weights}'; name one with weights=FILE.")

    def needs(self) -> Mapping[str, Needed]:
        return {} if self.weights else {"backbone": Needed("imagenet", "plain", {"arch": self.arch})}

    def describer(self, network: nn.Module) -> Describer:
        """The network that describes pictures, on a classifier. Called once by ``fit``."""
        raise NotImplementedError

    def fit(self, setting: InstanceSearch, run: Run) -> Retriever:
        made = self.describer(from_file(self.arch, self.weights) if self.weights else run.reference("backbone").module)
        made.to(run.device)
        if self.whiten:
            made.whitening = self.whitened(made, setting, run)
        return Retriever(made, self.gradients)

    def whitened(self, made: Describer, setting: InstanceSearch, run: Run) -> tuple[Tensor, Tensor]:
        """Principal components of the descriptors of the gallery, each divided by its deviation."""
        from sklearn.decomposition import PCA  # seconds, which nothing else here needs

        rows = run.progress(range(len(setting.gallery)), "whitening", total=len(setting.gallery))
        features = torch.cat([made(*made.prepare(setting.gallery.image(row).to(run.device)))[1].cpu() for row in rows])
        if self.whiten > min(features.shape):
            raise UserError(f"{len(features)} descriptors of {features.shape[1]} numbers have no {self.whiten} components; lower "
                            "whiten.")
        found = PCA(self.whiten, random_state=0, svd_solver="full").fit(features.numpy())
        weights = torch.from_numpy(found.components_ / np.sqrt(found.explained_variance_ + 1e-12)[:, None])
        return torch.from_numpy(found.mean_).float(), weights.T.float().contiguous()

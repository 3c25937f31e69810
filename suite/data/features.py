"""Region and grid features of pictures in the HDF5 layout that captioning shares.

A picture ``<id>`` has the data sets ``<id>_features`` (n, D), ``<id>_boxes`` (n, 4) in pixels, ``<id>_size`` (height, width) and
``<id>_grids`` (cells, G), as the code of DLCT (arXiv 2101.06462) reads them; a file without any grids serves regions alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from suite.data.files import shown
from suite.errors import UserError
from suite.settings import FeatureBatch, PictureFeatures

if TYPE_CHECKING:
    from torch import Tensor

KINDS = ("features", "boxes", "size")


class Source(Protocol):
    """Features by image id."""

    def __getitem__(self, image: int, /) -> PictureFeatures: ...


@dataclass
class Featured:
    """Pictures as features of `source`, with their captions as tokens (:class:`suite.settings.CaptionedFeatures`)."""

    ids: list[int]
    references: list[list[str]]
    source: Source

    def __len__(self) -> int:
        return len(self.ids)

    def features(self, index: Tensor) -> FeatureBatch:
        return padded([self.source[self.ids[row]] for row in index.tolist()])

    def subset(self, index: Tensor) -> Featured:
        rows = index.tolist()
        return replace(self, ids=[self.ids[row] for row in rows], references=[self.references[row] for row in rows])


def padded(pictures: Sequence[PictureFeatures]) -> FeatureBatch:
    """A batch with as many rows for regions as the picture with most of them has."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    counts = torch.tensor([len(item.regions) for item in pictures])
    regions, boxes = (pad_sequence([item[kind] for item in pictures], batch_first=True) for kind in (0, 1))
    present = torch.arange(regions.shape[1])[None] < counts[:, None]
    return FeatureBatch(regions, boxes, present, torch.stack([item.grid for item in pictures]))


class FeatureFile:
    """The features of `ids` in an HDF5 file, read when asked for, at most `most` regions of a picture.

    UserError where the file cannot be read, lacks a picture, or has arrays that do not belong together.
    """

    def __init__(self, path: str, ids: Sequence[int], most: int) -> None:
        try:
            import h5py
        except ImportError:
            raise UserError("Feature files are HDF5, which needs h5py; type: pip install 'suite[captions]'.") from None
        self.path, self.most = Path(path), most
        self.sizes: tuple[int, ...] = ()  # D, cells and G of the first picture that was read
        if not self.path.is_file():
            raise UserError(f"There is no feature file '{path}'; name one with task.features=FILE.hdf5.")
        try:
            self.file = h5py.File(path, "r")
        except OSError as error:
            raise UserError(f"'{shown(self.path)}' is no HDF5 file ({str(error).splitlines()[0]}); name one with "
                            "task.features=FILE.hdf5.") from None
        self.grids = any(f"{image}_grids" in self.file for image in ids)
        for image in ids:
            for kind in (*KINDS, "grids")[: 4 if self.grids else 3]:
                if f"{image}_{kind}" not in self.file:
                    raise UserError(f"'{shown(self.path)}' lacks '{image}_{kind}', which image {image} of the captions needs; "
                                    "give a file with the features of every image.")

    def __getitem__(self, image: int) -> PictureFeatures:
        """Of one picture: its most certain regions (those that come first), with boxes in shares of its width and height."""
        import torch

        try:
            found = {kind: torch.from_numpy(self.file[f"{image}_{kind}"][()].astype("float32", casting="same_kind"))
                     for kind in (*KINDS, "grids")[: 4 if self.grids else 3]}
            regions, boxes, size = found["features"][: self.most], found["boxes"][: self.most], found["size"]
        except (OSError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise UserError(f"In '{shown(self.path)}' image {image} has what is no array of numbers ({error}); extract its "
                            "features again.") from None
        grid = found.get("grids", torch.zeros(0, regions.shape[-1]))
        if problem := _problem(regions, boxes, size, grid) or self.unlike(regions, grid):
            raise UserError(f"In '{shown(self.path)}' image {image} has {problem}; extract its features again.")
        high, wide = size.tolist()
        return PictureFeatures(regions, boxes / torch.tensor([wide, high, wide, high]), grid)

    def unlike(self, regions: Tensor, grid: Tensor) -> str:
        """How the arrays differ from those of the first picture that was read; empty if they do not."""
        sizes = (regions.shape[1], *grid.shape)
        self.sizes = self.sizes or sizes
        return "" if sizes == self.sizes else f"(D, cells, G) {sizes}, and others of the file have {self.sizes}"


def _problem(regions: Tensor, boxes: Tensor, size: Tensor, grid: Tensor) -> str:
    """What is wrong with the arrays of a picture; empty if nothing is."""
    shapes: dict[str, Any] = {"features": tuple(regions.shape), "boxes": tuple(boxes.shape), "size": tuple(size.shape),
                              "grids": tuple(grid.shape)}
    if regions.ndim != 2 or boxes.shape != (len(regions), 4) or size.shape != (2,) or grid.ndim != 2 or not len(regions):
        return f"arrays of the shapes {shapes}, expected features (n, D), boxes (n, 4), size (2,) and grids (cells, G), n from 1"
    if not all(item.isfinite().all() for item in (regions, boxes, size, grid)) or size.min() <= 0:
        return "values that are not finite, or a size of 0"
    if boxes.max() <= 1:
        return "boxes within the first pixel, as if divided by its size, expected pixels"
    if (boxes[:, 2:] < boxes[:, :2]).any():
        return "boxes that end before they begin, as if x, y, width, height, expected x1, y1, x2, y2"
    if boxes.min() < -1 or (boxes[:, 2:] > size.flip(0) + 1).any():
        return f"boxes outside its {size[1]:g} x {size[0]:g} pixels"
    return ""

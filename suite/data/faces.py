"""Face crops out of frames of videos, real and forged, with the masks of what is forged, decoded when they are asked for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from suite.data import videos
from suite.data.files import readable, shown
from suite.data.pictures import PictureCache, Pictures, decoded, one_value
from suite.errors import UserError

if TYPE_CHECKING:
    from PIL import Image
    from torch import Generator, Tensor

FORM = '{"0000": [left, top, right, bottom]}'
LEAST = 8  # pixels of a face's side; boxes in parts of the frame give less
LARGEST = 1e6  # pixels, of a box's ends
Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels


class Still(NamedTuple):
    """A picture file, or a frame (from 0) of a video file."""

    path: Path
    frame: int | None = None

    def image(self, mode: str = "RGB") -> Image.Image:
        return decoded(self.path, mode) if self.frame is None else videos.frame(self.path, self.frame).convert(mode)

    def named(self) -> str:
        return shown(self.path) if self.frame is None else f"frame {self.frame} of {shown(self.path)}"


class FaceFrame(NamedTuple):
    """A frame of a video. `method` is how it was forged, "" for an original; `name` is the frame's within the video."""

    method: str
    video: str
    name: str
    picture: Still
    mask: Still | None  # of an original, or where none is known: None
    box: Box | None  # around the face, where it is given


class Cropping(NamedTuple):
    """How a frame becomes a face: `how` is "boxes" (given ones, else those that the cascade finds) or "whole" (it is one already);
    a box's longer side times `margin` is the side of the square that is scaled to `size` pixels.
    """

    size: int
    margin: float = 1.3
    how: str = "boxes"


@dataclass
class FaceFrames(Pictures):
    """Faces (:class:`suite.settings.Faces`); `files` are of type `FaceFrame`. `without_face` has the names of frames, decoded so
    far, in which no face was found and whose central square was taken."""

    without_face: set[str]

    @property
    def frames(self) -> Sequence[FaceFrame]:
        return self.files

    @property
    def labels(self) -> Tensor:
        import torch

        return torch.tensor([int(bool(frame.method)) for frame in self.frames], dtype=torch.int64)

    @property
    def masked(self) -> bool:
        return all(frame.mask is not None for frame in self.frames if frame.method)

    def batch(self, index: Tensor, train: bool, generator: Generator) -> Tensor:
        import torch

        return torch.stack([self.image(row) for row in index.tolist()])

    def subset(self, index: Tensor) -> FaceFrames:
        return replace(self, files=[self.files[row] for row in index.tolist()])

    def inputs(self, row: int) -> tuple[Path, ...]:
        return (self.frames[row].picture.path,)

    def is_constant(self, row: int) -> bool:
        return one_value(self.image(row)[:3], 2)


def face_frames(frames: Sequence[FaceFrame], cropping: Cropping) -> FaceFrames:
    """`frames` as faces of one size."""
    without: set[str] = set()
    return FaceFrames(frames, PictureCache(partial(_decoded, cropping=cropping, without=without), len(frames)), without)


def _decoded(frame: FaceFrame, cropping: Cropping, without: set[str]) -> Tensor:
    """uint8 (4, S, S): RGB, and the mask, cut out and scaled exactly as the picture. UserError where the sizes differ."""
    import torch
    from PIL import Image

    picture = frame.picture.image()
    if frame.mask is None:
        mask = Image.new("L", picture.size)
    else:
        mask = frame.mask.image("L")
        if mask.size != picture.size:
            sizes = [f"{item.width}x{item.height}" for item in (mask, picture)]
            raise UserError(f"The mask '{frame.mask.named()}' has {sizes[0]} pixels and its frame '{frame.picture.named()}' has "
                            f"{sizes[1]}; they must have one size, so extract both again.")
        if frame.mask.frame is None and mask.getextrema()[1] == 1:  # compression leaves a 1 in videos
            raise UserError(f"The mask '{frame.mask.named()}' has no value but 0 and 1, which is next to black; save what is "
                            "forged as 255.")
    side = cropping.size
    square = (0, 0, *picture.size) if cropping.how == "whole" else _square(picture, frame, cropping.margin, without)
    both = [item.resize((side, side), Image.Resampling.BILINEAR, square) for item in (picture, mask)]
    return torch.from_numpy(np.concatenate([np.asarray(item).reshape(side, side, -1) for item in both], 2)).permute(2, 0, 1).clone()


def _square(picture: Image.Image, frame: FaceFrame, margin: float, without: set[str]) -> tuple[int, int, int, int]:
    """The square around a face, cut off at the frame's sides, as FaceForensics++'s own code has it."""
    box = frame.box or videos.largest_face(picture)
    if box is None:
        without.add(frame.picture.named())
        side = min(picture.size)
        box, margin = (0, 0, *picture.size), side / max(picture.size)
    left, top, right, bottom = box
    inside = 0 <= left + right <= 2 * picture.width and 0 <= top + bottom <= 2 * picture.height  # the middle is
    side = int(max(right - left, bottom - top) * margin)
    x, y = (max(int((low + high) // 2) - side // 2, 0) for low, high in ((left, right), (top, bottom)))
    side = min(side, picture.width - x, picture.height - y)
    if frame.box and (side < LEAST or not inside):
        what = f"cuts less than {LEAST}x{LEAST} pixels out of" if inside else "lies outside"
        raise UserError(f"The box {', '.join(f'{end:g}' for end in box)} of '{frame.picture.named()}' {what} the frame of "
                        f"{picture.width}x{picture.height} pixels; give left, top, right and bottom in pixels of this frame.")
    return x, y, x + side, y + side


def read_boxes(path: Path) -> dict[str, Box]:
    """The boxes in a JSON file, ``{frame's name: [left, top, right, bottom]}``. UserError for anything else."""
    try:
        with readable():
            content = json.loads(path.read_bytes().decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"'{shown(path)}' is no readable JSON ({error}); expected {FORM}.") from None
    entries = content.items() if isinstance(content, dict) else [("", content)]
    for name, box in entries:
        numbers = isinstance(box, list) and len(box) == 4 and all(type(end) in (int, float) and abs(end) < LARGEST for end in box)
        if not name or not numbers or not (box[0] < box[2] and box[1] < box[3]):
            raise UserError(f"'{shown(path)}' has {json.dumps(box)[:60]} for the box of frame '{name}'; expected {FORM} in "
                            "pixels.")
    return {name: tuple(box) for name, box in content.items()}

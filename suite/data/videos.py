"""Single frames of videos, and faces found in pictures: both by OpenCV, an optional package."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any

import numpy as np

from suite.data.files import readable, shown
from suite.errors import UserError

if TYPE_CHECKING:
    from PIL import Image

ENDINGS = (".mp4", ".avi", ".mkv", ".mov", ".webm")
SCALE, NEIGHBOURS, SMALLEST = 1.1, 5, 0.1  # of the cascade: step between sizes, hits around a face, least share of the shorter side
_ALONE = RLock()  # pictures are decoded in threads; neither OpenCV's import nor its cascade is safe in several


def opencv(what: str, instead: str) -> Any:
    """The module cv2. UserError, which says `what` needs it and what to do `instead`, where it is not installed."""
    try:
        with _ALONE:
            import cv2
    except ImportError:
        raise UserError(f"{what} needs OpenCV; install it with: pip install 'suite[video]', or {instead}.") from None
    return cv2


def frame_count(path: Path) -> int:
    """How many frames a video has. UserError where it cannot be read or has none."""
    video, cv2 = _opened(path)
    try:
        count = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
    finally:
        video.release()
    if count < 1:
        raise UserError(f"The video '{shown(path)}' has no frames; copy it again.")
    return count


def frame(path: Path, number: int) -> Image.Image:
    """Frame `number` (from 0) of a video, RGB. UserError where it cannot be read."""
    from PIL import Image

    video, cv2 = _opened(path)
    try:
        video.set(cv2.CAP_PROP_POS_FRAMES, number)
        there, pixels = video.read()
    finally:
        video.release()
    if not there:
        raise UserError(f"Frame {number} of the video '{shown(path)}' cannot be decoded; copy it again.")
    return Image.fromarray(np.ascontiguousarray(pixels[:, :, ::-1]))


def _opened(path: Path) -> tuple[Any, Any]:
    cv2 = opencv(f"The video '{shown(path)}'", "extract its frames as PNG files to the folder 'frames' beside 'videos'")
    with readable():
        path.open("rb").close()
    video = cv2.VideoCapture(str(path))
    if not video.isOpened():
        raise UserError(f"'{shown(path)}' is not a readable video; copy it again.")
    return video, cv2


def largest_face(image: Image.Image) -> tuple[float, float, float, float] | None:
    """Left, top, right and bottom in pixels of the largest frontal face that the cascade finds (Viola and Jones, CVPR 2001, with
    OpenCV's trained cascade); None where it finds none.
    """
    least = max(1, round(SMALLEST * min(image.size)))
    with _ALONE:
        found = _cascade().detectMultiScale(np.asarray(image.convert("L")), SCALE, NEIGHBOURS, minSize=(least, least))
    if not len(found):
        return None
    left, top, wide, high = max(found.tolist(), key=lambda box: (box[2] * box[3], -box[0], -box[1]))
    return left, top, left + wide, top + high


@cache
def _cascade() -> Any:
    cv2 = opencv("Finding faces in frames without given boxes",
                 "give boxes ('boxes/<video>.json' in the sequence's folder), or task.crop=whole for frames that are faces already")
    return cv2.CascadeClassifier(str(Path(cv2.data.haarcascades) / "haarcascade_frontalface_default.xml"))

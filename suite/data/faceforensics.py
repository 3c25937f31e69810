"""FaceForensics++ in its official layout, as videos or as extracted frames.

Source: Rössler et al., "FaceForensics++: Learning to Detect Manipulated Facial Images", ICCV 2019, and the authors' repository.

========================================================  ===========================================================
``original_sequences/youtube/c23/videos/000.mp4``         an original; c0 (also called raw), c23 and c40 are compressions
``manipulated_sequences/Deepfakes/c23/videos/000_003``    the video 000 with the face of 003
``manipulated_sequences/Deepfakes/masks/videos/000_003``  what is forged there
``.../frames/000_003/0000.png`` in place of ``videos``    extracted frames (the folder may be called images as well)
``.../boxes/000_003.json`` beside or above these          faces, ``{"0000": [left, top, right, bottom]}``, in pixels
``train.json``, ``val.json``, ``test.json``               pairs ``["000", "003"]``, at the top or in ``splits/``
========================================================  ===========================================================

Both originals and both forgeries of a pair belong to its split.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from suite.data import videos
from suite.data.dataset import MARK, Dataset
from suite.data.embedded import forged_faces
from suite.data.embedded.jpeg import recoded
from suite.data.embedded.writing import png
from suite.data.faces import Box, Cropping, FaceFrame, FaceFrames, Still, face_frames, read_boxes
from suite.data.files import readable, shown
from suite.data.pictures import picture_files
from suite.errors import UserError

MANIPULATIONS = forged_faces.KINDS
COMPRESSIONS = {"c0": ("c0", "raw"), "c23": ("c23",), "c40": ("c40",)}
PICTURES = ("frames", "images")
SPLITS = ("train", "test", "val")
ORIGINAL = "original"  # what messages and files of scores call the method of an original video


@dataclass
class FaceForensics(Dataset):
    """The reader. Of a video it takes `frames`, equally spaced (``linspace(0, n - 1, count)``), or all where it has fewer."""

    compression: str = "c23"
    manipulations: tuple[str, ...] = MANIPULATIONS
    frames: tuple[int, int] = (8, 32)  # of a training video, of another
    cropping: Cropping = field(default_factory=lambda: Cropping(256))

    name = "faceforensics"
    title = "FaceForensics++"
    version = forged_faces.VERSION
    items = "frames"
    layout = "a folder with original_sequences/, manipulated_sequences/ and train.json, val.json and test.json"
    where_to_get = ("FaceForensics++ by the form in its authors' repository ondyari/FaceForensics, videos and masks, and its "
                    "dataset/splits/*.json")

    def matches(self, folder: Path) -> bool:
        """By its folders. UserError for embedded faces of which options ask more than they have: nothing is damaged there."""
        if (folder / MARK).is_file():
            lacking = [name for name in self.manipulations if name not in forged_faces.KINDS]
            if lacking or self.compression not in forged_faces.QUALITIES:
                there = ", ".join((*forged_faces.QUALITIES, *forged_faces.KINDS))
                raise UserError(f"The embedded faces have no '{(lacking or [self.compression])[0]}', only {there}; choose among "
                                "these with task.compression and task.manipulations, or name your own data with --data.")
        return any((folder / name).is_dir() for name in ("original_sequences", "manipulated_sequences"))

    def splits(self, folder: Path) -> Sequence[str]:
        return SPLITS

    def make(self, folder: Path) -> None:
        """Write the embedded faces as extracted frames in both compressions, with masks and boxes."""
        (folder / MARK).write_text(f"embedded faces, version {self.version}\n", encoding="utf-8")
        (folder / "splits").mkdir()
        for split in forged_faces.PEOPLE:
            people: set[int] = set()
            for sequence in forged_faces.draw_sequences(split):
                _write(folder, sequence)
                people.add(sequence.person)
            pairs = [[f"{person:03d}", f"{person + 1:03d}"] for person in sorted(people)[::2]]
            (folder / "splits" / f"{split}.json").write_text(json.dumps(pairs) + "\n", encoding="utf-8")

    def is_official(self, folder: Path) -> bool:
        """By the numbers of original videos."""
        return {split: len(_named(folder, split)) for split in SPLITS} == {"train": 720, "val": 140, "test": 140}

    def files(self, folder: Path) -> dict[str, Path]:
        found = [_list(folder, split) for split in SPLITS]
        for split in SPLITS:
            for method, video in self._videos(folder, split):
                boxed = _boxes(self._homes(folder, method), video)
                found += [boxed] if boxed else []
                for frame in self._frames(folder, method, video, split):
                    found += [still.path for still in (frame.picture, frame.mask) if still]
        return {path.relative_to(folder).as_posix(): path for path in found}

    def parts(self, folder: Path) -> Iterable[Callable[[], object]]:
        """Every video of all splits, so that each damaged one is named, and the splits as a whole."""
        whole = [partial(self.read, folder, split) for split in SPLITS]
        try:
            wanted = [(method, video, split) for split in SPLITS for method, video in self._videos(folder, split)]
        except UserError:
            return whole
        return [*(partial(self._frames, folder, *item) for item in wanted), *whole]

    def summary(self, found: FaceFrames, names: Sequence[str]) -> str:
        methods = [frame.method or ORIGINAL for frame in found.frames]
        each = ", ".join(f"{methods.count(name)} {name}" for name in (ORIGINAL, *self.manipulations))
        return f"{len(found)} frames of {len({frame[:2] for frame in found.frames})} videos in {self.compression}: {each}"

    def read(self, folder: Path, split: str) -> FaceFrames:
        """The frames of a split, originals first. UserError for a missing file, a damaged one, one that contradicts another, and
        for a manipulation whose masks are all empty.
        """
        frames = [frame for method, video in self._videos(folder, split) for frame in self._frames(folder, method, video, split)]
        for method in self.manipulations:
            masks = [frame.mask for frame in frames if frame.method == method and frame.mask]
            if masks and not any(map(_may_show, masks)):
                raise UserError(f"Nothing is forged in any of the {len(masks)} masks of '{method}' in '{split}'; extract them "
                                "again, 255 where a face is forged, or delete its folder 'masks'.")
        return face_frames(frames, self.cropping)

    def _videos(self, folder: Path, split: str) -> list[tuple[str, str]]:
        """The method ("" of an original) and the name of each video of a split. UserError where two splits share a person."""
        owners: dict[str, str] = {}
        for other in SPLITS:
            for video in _named(folder, other):
                if owners.setdefault(video, other) != other:
                    raise UserError(f"The video '{video}' is in both {owners[video]}.json and {other}.json, so that a person would "
                                    "be trained on and tested on; take its pair out of one of them.")
        own = _named(folder, split)
        forged = [f"{first}_{second}" for pair in zip(own[::2], own[1::2], strict=True) for first, second in (pair, pair[::-1])]
        return [("", video) for video in own] + [(method, video) for method in self.manipulations for video in forged]

    def _frames(self, folder: Path, method: str, video: str, split: str) -> list[FaceFrame]:
        homes = self._homes(folder, method)
        stills = _stills(homes[1], video)
        if stills is None:
            raise UserError(f"'{split}.json' names the video '{video}', which is not in '{shown(homes[1])}' (frames/{video}/ or "
                            f"videos/{video}.mp4); copy it, or take its pair off the list.")
        masks = _masks(homes, video) if method else None
        boxed = _boxes(homes, video)
        boxes = read_boxes(boxed) if boxed else None
        count = min(self.frames[split != "train"], len(stills))
        names = [list(stills)[row] for row in np.linspace(0, len(stills) - 1, count).round().astype(int)]
        for name in names:
            if masks is not None and name not in masks:
                raise UserError(f"The frame '{stills[name].named()}' has no mask among the {len(masks)} of its video; extract the "
                                "same frames of both.")
            if boxed and boxes is not None and name not in boxes:
                raise UserError(f"'{shown(boxed)}' has no box for the frame '{name}'; add it, or delete the file so that faces are "
                                "looked for.")
        return [FaceFrame(method, video, name, stills[name], masks[name] if masks else None, boxes[name] if boxes else None)
                for name in names]

    def _homes(self, folder: Path, method: str) -> tuple[Path, Path]:
        """The folder of a method's sequences, and in it that of the compression. UserError where one is missing."""
        place = folder / "manipulated_sequences" / method if method else folder / "original_sequences" / "youtube"
        if not place.is_dir():
            advice = f", or leave '{method}' out of task.manipulations" if method else ""
            raise UserError(f"The folder '{shown(place)}' is missing; copy it{advice}.")
        names = COMPRESSIONS[self.compression]
        home = next((place / name for name in names if (place / name).is_dir()), None)
        if home is None:
            raise UserError(f"'{shown(place)}' has no folder {' or '.join(names)}; copy that compression, or choose another with "
                            "task.compression.")
        return place, home


def _masks(homes: tuple[Path, Path], video: str) -> Mapping[str, Still] | None:
    """The masks of a forged video by frame; None where its method has no masks at all."""
    there = [place / "masks" for place in homes if (place / "masks").is_dir()]
    for place in there:
        found = _pictures(place / video) if (place / video).is_dir() else _stills(place, video)
        if found is not None:
            return found
    if there:
        raise UserError(f"'{shown(there[0])}' has no mask of the video '{video}'; copy it again.")
    return None


def _may_show(mask: Still) -> bool:
    """Whether a pixel of a mask is forged, or the mask cannot be read, which is said elsewhere."""
    try:
        return bool(np.asarray(mask.image("L")).any())
    except UserError:
        return True


def _boxes(homes: tuple[Path, Path], video: str) -> Path | None:
    """The file of a video's boxes, if there is one."""
    return next((path for place in homes[::-1] if (path := place / "boxes" / f"{video}.json").is_file()), None)


def _stills(home: Path, video: str) -> dict[str, Still] | None:
    """The frames of a video by name, in order: pictures, or of a video file by number. None where there is neither."""
    for name in PICTURES:
        if (home / name / video).is_dir():
            return _pictures(home / name / video)
    for ending in videos.ENDINGS:
        if (path := home / "videos" / f"{video}{ending}").is_file():
            return {f"{number:04d}": Still(path, number) for number in range(videos.frame_count(path))}
    return None


def _pictures(folder: Path) -> dict[str, Still]:
    """The pictures in a folder by name, those with padded and unpadded numbers in their order. UserError for none and for two of
    one name.
    """
    with readable():
        paths = sorted(picture_files(folder), key=_place)
    found: dict[str, Still] = {}
    for path in paths:
        if (other := found.setdefault(path.stem, Still(path)).path) != path:
            raise UserError(f"'{shown(folder)}' has the frame '{path.stem}' as '{other.name}' and as '{path.name}'; delete one.")
    if not found:
        raise UserError(f"The folder '{shown(folder)}' has no frames (PNG or JPEG files); extract them again.")
    return found


def _place(path: Path) -> list[str | int]:
    """What sorts names by their numbers: 9 stands before 10."""
    return [int(part) if row % 2 else part for row, part in enumerate(re.split(r"(\d+)", path.stem))]


def _list(folder: Path, split: str) -> Path:
    for path in (folder / f"{split}.json", folder / "splits" / f"{split}.json"):
        if path.is_file():
            return path
    raise UserError(f"'{folder.name}' has no '{split}.json' (at the top or in 'splits/'); get it from dataset/splits of the "
                    "repository ondyari/FaceForensics.")


def _named(folder: Path, split: str) -> list[str]:
    """The originals of a split, pair by pair. UserError for a list of another form, an empty one, and a video named twice."""
    path = _list(folder, split)
    try:
        with readable():
            pairs = json.loads(path.read_bytes().decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"'{shown(path)}' is no readable JSON ({error}); expected pairs of videos, [[\"000\", \"003\"]].") from None
    right = isinstance(pairs, list) and all(isinstance(pair, list) and len(pair) == 2 and all(
        isinstance(name, str) and name.isalnum() for name in pair) for pair in pairs)
    if not right or not pairs:
        what = "is not of the form" if pairs else "is empty"
        raise UserError(f"'{shown(path)}' {what}; expected pairs of videos, [[\"000\", \"003\"]].")
    names = [name for pair in pairs for name in pair]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"'{shown(path)}' names the video '{twice[0]}' {names.count(twice[0])} times; each belongs to one pair.")
    return names


def _write(folder: Path, sequence: forged_faces.Sequence) -> None:
    """One embedded video."""
    place = folder / "manipulated_sequences" / sequence.kind if sequence.kind else folder / "original_sequences" / "youtube"
    video = f"{sequence.person:03d}" + (f"_{sequence.source:03d}" if sequence.kind else "")
    versions = {f"{name}/frames": recoded(sequence.frames, quality) for name, quality in forged_faces.QUALITIES.items()}
    if sequence.kind:
        versions["masks/frames"] = sequence.masks
    for name, pictures in versions.items():
        where = place / name / video
        where.mkdir(parents=True)
        for number, pixels in enumerate(pictures):
            (where / f"{number:04d}.png").write_bytes(png(pixels))
    boxes: dict[str, Box] = {f"{number:04d}": tuple(box) for number, box in enumerate(sequence.boxes.tolist())}
    (place / "boxes").mkdir(exist_ok=True)
    (place / "boxes" / f"{video}.json").write_text(json.dumps(boxes) + "\n", encoding="utf-8")

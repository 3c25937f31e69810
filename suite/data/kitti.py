"""KITTI's object data in its official layout, and A*3D or anything else in the same one: clouds, pictures, calibrations, labels.

Source: Geiger et al., CVPR 2012, and the object development kit: ``training/{velodyne,image_2,calib,label_2}``, frames by number.
Which frames are trained on and which are judged say lists of numbers, ``ImageSets/train.txt`` and ``val.txt``, as everybody who
works with KITTI has them (Chen et al., "3D Object Proposals for Accurate Object Class Detection", NeurIPS 2015). A*3D (Pham et al.,
ICRA 2020) is read from ``Trainval/`` with pictures as .jpg. Frames of one kind are listed the same way: ``day.txt``, ``night.txt``;
``sun.txt``, ``cloud.txt``, ``rain.txt``. How dense a frame is, its labels tell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from suite.data.calibration import Calibration, read_calibration, write_calibration
from suite.data.dataset import MARK, Dataset
from suite.data.embedded import street_clouds
from suite.data.embedded.writing import png
from suite.data.files import lines_of, readable, readable_name, shown
from suite.data.kitti_labels import JUDGED, Objects, read_labels, write_labels
from suite.data.pictures import ENDINGS, PictureCache, Pictures, pixels_of, stored
from suite.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

FOLDERS = ("training", "Trainval")  # KITTI's, A*3D's
ATTRIBUTES = {"time": ("day", "night"), "weather": ("sun", "cloud", "rain"), "density": ("low", "high")}
LEAST = 50  # frames that there are to train on, or none
DENSE = 10  # more objects of the judged classes make a frame dense
PARTS = {"velodyne": "bin", "calib": "txt", "label_2": "txt"}
VISIBLE = (0.8, 0.5, 0.2)  # share of an embedded object: below each it is hidden one level more
HIDDEN, HITS = 0.05, 5  # below these an embedded object is only a region
NO_PLACE = (-1, -1, -10, 0, 0, 0, 0, -1, -1, -1, -1000, -1000, -1000, -10, 1)  # of a DontCare region
TOLERANCE = 1.0  # pixels that a box may reach beyond the image


@dataclass(frozen=True)
class KittiFrame:
    """What a frame has beside its cloud; `size` is the picture's height and width."""

    number: str
    picture: Path
    size: tuple[int, int]
    calibration: Calibration
    truth: Objects
    attributes: Mapping[str, str]


@dataclass
class KittiFrames(Pictures):
    """Clouds with their annotations (:class:`suite.settings.Clouds`); `files` are those of the clouds."""

    frames: list[KittiFrame]
    categories: Sequence[str] = JUDGED

    @property
    def ids(self) -> list[str]:
        return [frame.number for frame in self.frames]

    def points(self, row: int) -> Tensor:
        return self.cache[self.files[row]]

    def image(self, row: int) -> Tensor:
        """The camera's picture, uint8 (3, H, W)."""
        return pixels_of(self.frames[row].picture)

    def target(self, row: int) -> dict[str, Tensor]:
        import torch

        frame = self.frames[row]
        truth = frame.truth[np.isin(frame.truth.kinds, self.categories)]
        labels = [list(self.categories).index(kind) + 1 for kind in truth.kinds]
        others = frame.truth[~np.isin(frame.truth.kinds, (*self.categories, "DontCare"))]
        boxes, taken = (torch.from_numpy(frame.calibration.lidar_boxes(item)).float() for item in (truth, others))
        return {"boxes": boxes, "labels": torch.tensor(labels, dtype=torch.int64), "others": taken}

    def attributes(self, row: int) -> Mapping[str, str]:
        return self.frames[row].attributes

    def subset(self, index: Tensor) -> KittiFrames:
        rows = index.tolist()
        return replace(self, files=[self.files[row] for row in rows], frames=[self.frames[row] for row in rows])

    def is_constant(self, row: int) -> bool:
        return False

    def parts(self) -> list[Callable[[], object]]:
        return [*super().parts(), *(partial(pixels_of, frame.picture) for frame in self.frames)]


@dataclass
class Kitti(Dataset):
    """The reader. Where train.txt lists fewer than `LEAST` frames there is no training part, and all frames are judged."""

    name = "kitti"
    title = "KITTI 3D objects"
    version = street_clouds.VERSION
    layout = "a folder with training/velodyne, training/image_2, training/calib, training/label_2 and ImageSets/"
    where_to_get = ("KITTI's archives data_object_velodyne, image_2, calib and label_2, and lists train.txt and val.txt of "
                    "frames in ImageSets/")
    items = "frames"
    official_counts = ({"train": 3712, "test": 3769},)

    parsed: dict[tuple[Path, str], KittiFrames] = field(default_factory=dict, repr=False)

    def matches(self, folder: Path) -> bool:
        return any((folder / name / "velodyne").is_dir() for name in FOLDERS)

    def trains(self, folder: Path) -> bool:
        return len(_listed(folder, "train")) >= LEAST

    def splits(self, folder: Path) -> Sequence[str]:
        return ("train", "test") if self.trains(folder) else ("test",)

    def make(self, folder: Path) -> None:
        """Write the embedded scenes, numbered through, the test frames behind the others."""
        (folder / MARK).write_text(f"embedded street scenes, version {self.version}\n", encoding="utf-8")
        for part in ("ImageSets", *(f"training/{part}" for part in (*PARTS, "image_2"))):
            (folder / part).mkdir(parents=True)
        lists: dict[str, list[str]] = {}
        number = 0
        for split, name in (("train", "train"), ("test", "val")):
            for scene in street_clouds.draw_scenes(split):
                _write(folder / "training", f"{number:06d}", scene)
                for value in (name, scene.attributes["time"], scene.attributes["weather"]):
                    lists.setdefault(value, []).append(f"{number:06d}\n")
                number += 1
        for name, numbers in lists.items():
            (folder / "ImageSets" / f"{name}.txt").write_text("".join(numbers), encoding="utf-8")

    def files(self, folder: Path) -> dict[str, Path]:
        home, lists = _home(folder), [readable_name(path) for path in sorted((folder / "ImageSets").glob("*.txt"))]
        frames = [frame for split in self.splits(folder) for frame in self.read(folder, split).frames]
        found = [path for frame in frames for path in
                 (frame.picture, *(home / part / f"{frame.number}.{end}" for part, end in PARTS.items()))]
        return {path.relative_to(folder).as_posix(): path for path in (*lists, *found)}

    def parts(self, folder: Path) -> Iterable[Callable[[], object]]:
        """Every frame of both lists, so that each damaged one is named, and the lists themselves."""
        try:
            splits, attributes = self.splits(folder), _attributes(folder)
            numbers = [number for split in splits for number in self._numbers(folder, split)]
        except UserError:
            return [partial(self.read, folder, "test")]
        return [partial(_frame, _home(folder), number, attributes) for number in numbers]

    def summary(self, found: KittiFrames, names: Sequence[str]) -> str:
        kinds = [kind for frame in found.frames for kind in frame.truth.kinds]
        each = ", ".join(f"{kinds.count(kind)} {kind}" for kind in (*JUDGED, "DontCare"))
        values = [value for frame in found.frames for value in frame.attributes.values()]
        listed = ", ".join(f"{values.count(value)} {value}" for group in ATTRIBUTES.values() for value in group if value in values)
        return f"{len(found)} frames, {each}; {listed}"

    def class_names(self, folder: Path) -> list[str]:
        return list(JUDGED)

    def read(self, folder: Path, split: str) -> KittiFrames:
        """The frames of a split by number. UserError for a missing file, a damaged one, or one that contradicts another."""
        if (folder, split) not in self.parsed:
            home, attributes = _home(folder), _attributes(folder)
            frames = [_frame(home, number, attributes) for number in self._numbers(folder, split)]
            files = [home / "velodyne" / f"{frame.number}.bin" for frame in frames]
            known = dict(zip(files, frames, strict=True))
            cache = PictureCache(lambda path: _seen_points(path, known[path]), len(files))
            self.parsed[folder, split] = KittiFrames(files, cache, frames)
        return self.parsed[folder, split]

    def _numbers(self, folder: Path, split: str) -> list[str]:
        """The frames of a split; UserError for one that is in both lists, and where there is nothing to train on or to judge."""
        train, val = _listed(folder, "train"), _listed(folder, "val")
        if both := sorted(set(train) & set(val)):
            raise UserError(f"Frame '{both[0]}' is in both ImageSets/train.txt and ImageSets/val.txt; take it out of one.")
        if split == "train" and not self.trains(folder):
            raise UserError(f"'{shown(folder / 'ImageSets' / 'train.txt')}' lists {len(train)} frames, and at least {LEAST} are "
                            "needed to train; list more there, or train on the embedded scenes.")
        judged = val if self.trains(folder) else train + val
        if not judged:
            raise UserError(f"'{shown(folder / 'ImageSets' / 'val.txt')}' lists no frame to judge; write the numbers of "
                            "some there, one a line.")
        return train if split == "train" else judged


def _write(home: Path, number: str, scene: street_clouds.StreetScene) -> None:
    """One embedded frame. Of an object that is all but hidden, or hit by fewer than `HITS` rays, the label is a DontCare region."""
    calibration = Calibration(street_clouds.PROJECTION, street_clouds.FORWARD)
    size = scene.picture.shape[0], scene.picture.shape[1]
    truth = calibration.labels(scene.boxes, np.array(scene.kinds, dtype=object), np.ones(len(scene.kinds)), size)
    truth.values[:, 1] = (scene.visible[:, None] < VISIBLE).sum(1)
    unclear = (scene.visible < HIDDEN) | (scene.visible * scene.hits < HITS)
    truth.kinds[unclear] = "DontCare"
    truth.values[unclear] = np.where([False] * 3 + [True] * 4 + [False] * 8, truth.values[unclear], NO_PLACE)
    write_labels(truth, home / "label_2" / f"{number}.txt")
    write_calibration(calibration, home / "calib" / f"{number}.txt")
    (home / "image_2" / f"{number}.png").write_bytes(png(scene.picture))
    (home / "velodyne" / f"{number}.bin").write_bytes(scene.points.astype("<f4").tobytes())


def _home(folder: Path) -> Path:
    return next(folder / name for name in FOLDERS if (folder / name / "velodyne").is_dir())


def _listed(folder: Path, name: str) -> list[str]:
    """The frames of a list in ImageSets, each once."""
    path = folder / "ImageSets" / f"{name}.txt"
    if not path.is_file():
        raise UserError(f"The list of frames '{shown(path)}' is missing; write the numbers of its frames there, one a line.")
    numbers = lines_of(path)
    for number in numbers:
        if "/" in number or "\\" in number or number.startswith("."):
            raise UserError(f"'{shown(path)}' names the frame '{number}'; expected a number such as 000012.")
    if repeated := {number for number in numbers if numbers.count(number) > 1} if len(set(numbers)) < len(numbers) else set():
        raise UserError(f"'{shown(path)}' names the frame '{min(repeated)}' more than once; name each frame once.")
    return numbers


def _attributes(folder: Path) -> dict[str, dict[str, str]]:
    """The time of day and the weather of frames, by number, as far as lists tell; UserError for a frame on two of one kind."""
    found: dict[str, dict[str, str]] = {}
    for attribute in ("time", "weather"):
        for value in ATTRIBUTES[attribute]:
            if not (folder / "ImageSets" / f"{value}.txt").is_file():
                continue
            for number in _listed(folder, value):
                own = found.setdefault(number, {})
                if own.setdefault(attribute, value) != value:
                    raise UserError(f"Frame '{number}' is in both ImageSets/{own[attribute]}.txt and ImageSets/{value}.txt; "
                                    "take it out of one.")
    return found


def _frame(home: Path, number: str, attributes: Mapping[str, Mapping[str, str]]) -> KittiFrame:
    for part, ending in PARTS.items():
        if part != "calib" and not (home / part / f"{number}.{ending}").is_file():
            raise UserError(f"'{home.name}/{part}/{number}.{ending}' is missing, and a list in ImageSets names frame '{number}'; "
                            "copy the folder again, or take the frame off the list.")
    calibration = read_calibration(home / "calib" / f"{number}.txt")
    truth = read_labels(home / "label_2" / f"{number}.txt")
    picture = _picture(home, number)
    high, wide = _size(picture)
    for line, (kind, box) in enumerate(zip(truth.kinds, truth.image_boxes, strict=True), 1):
        if (box[:2] < -TOLERANCE).any() or (box[2:] > np.array([wide, high]) + TOLERANCE).any():
            raise UserError(f"Line {line} of 'label_2/{number}.txt' has the {kind} at {', '.join(f'{side:g}' for side in box)}, "
                            f"outside its image of {wide} x {high} pixels; cut the box off at the image's sides, or copy picture "
                            "and labels again from one release.")
    density = ATTRIBUTES["density"][int(np.isin(truth.kinds, JUDGED).sum() > DENSE)]
    return KittiFrame(number, picture, (high, wide), calibration, truth, {**attributes.get(number, {}), "density": density})


def _size(picture: Path) -> tuple[int, int]:
    """Height and width by the file's head alone; UserError where it is damaged."""
    from PIL import Image

    try:
        with Image.open(picture) as image:
            return image.height, image.width
    except Exception:  # Pillow's formats raise nearly anything
        return stored(picture).height, stored(picture).width


def _picture(home: Path, number: str) -> Path:
    for ending in ENDINGS:
        if (path := home / "image_2" / f"{number}{ending}").is_file():
            return path
    raise UserError(f"The picture '{home.name}/image_2/{number}.png' is missing; copy the folder image_2 again: what lies outside "
                    "of a picture is not judged.")


def read_points(path: Path) -> np.ndarray:
    """The points of a scan float32 (n, 4): x, y, z in metres, and the reflectance. UserError for a damaged file."""
    with readable():
        content = path.read_bytes()
    if not content:
        raise UserError(f"The cloud '{shown(path)}' is empty; copy the file again, or take its frame off the lists.")
    if len(content) % 16:
        raise UserError(f"The cloud '{shown(path)}' has {len(content)} bytes, expected 16 for each point (x, y, z and reflectance "
                        "as 32-bit numbers); copy the file again.")
    points = np.frombuffer(content, "<f4").reshape(-1, 4)
    if not (finite := np.isfinite(points).all(1)).all():
        row = int((~finite).argmax())
        raise UserError(f"Point {row} of the cloud '{shown(path)}' is {', '.join(f'{item:g}' for item in points[row])}, expected "
                        "finite numbers; copy the file again, or take its frame off the lists.")
    return points


def _seen_points(path: Path, frame: KittiFrame) -> Any:
    """Those points of a scan that lie in the camera's image, where objects are annotated, as a tensor (n, 4)."""
    import torch

    points = read_points(path)
    return torch.from_numpy(points[frame.calibration.seen(points[:, :3], frame.size)])

"""PASCAL VOC's segmentation in its official layout, and any other pictures in the same layout.

Source: Everingham et al., "The PASCAL Visual Object Classes Challenge", IJCV 2010, and the development kit of 2012:
``JPEGImages/<name>.jpg``, ``SegmentationClass/<name>.png`` with a class number for each pixel (255: not counted), names by split in
``ImageSets/Segmentation/``. The masks of SBD (Hariharan et al., ICCV 2011) come with VOC's as ``SegmentationClassAug/``, which is
read where it is there. The training list is the first there is of `LISTS`; PFENet's lists, two paths a line, may be copied in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

from suite.data.dataset import MARK, Dataset, near
from suite.data.embedded import shapes
from suite.data.embedded.writing import png
from suite.data.episodes import FOLDS
from suite.data.files import below, lines_of, shown
from suite.data.segmented import SegmentedFile, SegmentedPictures, mask_in_file, segmented_pictures
from suite.errors import UserError

CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog", "horse",
    "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)
LISTS = {"train": ("voc_sbd_merge_noduplicate", "trainaug", "train_aug", "train"), "test": ("val",)}
MASKS = ("SegmentationClassAug", "SegmentationClass")
ENDINGS = (".jpg", ".jpeg", ".png")
PAIRS = {"train": "trn", "test": "val"}  # HSNet's names of the splits


class Voc(Dataset):
    """A set of pictures with masks of 20 classes; ``"test"`` is the official validation set."""

    name = "voc"
    title = "PASCAL VOC 2012 segmentation"
    version = shapes.VERSION
    layout = ("a folder with JPEGImages, masks in SegmentationClass or SegmentationClassAug, and ImageSets/Segmentation; COCO is "
              "read with task.layout=coco")
    where_to_get = "VOCtrainval_11-May-2012.tar from the PASCAL VOC page (host.robots.ox.ac.uk), for SBD with SegmentationClassAug"
    official_counts: Sequence[Mapping[str, int]] = tuple({"train": count, "test": 1449} for count in (5953, 1464, 10582))

    def matches(self, folder: Path) -> bool:
        return (folder / "JPEGImages").is_dir() and any((folder / name).is_dir() for name in MASKS)

    def make(self, folder: Path) -> None:
        """Write the embedded pictures and masks as PNG files without compression: every byte is the same everywhere."""
        (folder / MARK).write_text(f"embedded shapes, version {self.version}\n", encoding="utf-8")
        for name in ("JPEGImages", MASKS[1], "ImageSets/Segmentation"):
            (folder / name).mkdir(parents=True)
        for split, listed in LISTS.items():
            names = []
            for number, (pixels, mask) in enumerate(shapes.draw_pictures(split)):
                names.append(f"{split}_{number:05d}")
                (folder / "JPEGImages" / f"{names[-1]}.png").write_bytes(png(pixels))
                (folder / MASKS[1] / f"{names[-1]}.png").write_bytes(png(mask))
            text = "".join(f"{name}\n" for name in names)
            (folder / "ImageSets" / "Segmentation" / f"{listed[-1]}.txt").write_text(text, encoding="utf-8")

    def class_names(self, folder: Path) -> list[str]:
        return list(shapes.CLASSES if self.is_embedded(folder) else CLASSES)

    def is_embedded(self, folder: Path) -> bool:
        return (folder / MARK).is_file()

    def summary(self, found: SegmentedPictures, names: Sequence[str]) -> str:
        present = [item.areas.keys() for item in found.counted()]
        return f"{len(found)} images, {len(set().union(*present))} classes, up to {max(map(len, present))} in an image"

    def files(self, folder: Path) -> dict[str, Path]:
        files = [file for split in LISTS for file in self.read(folder, split).files]
        paths = [path for file in files for path in (file.image, file.mask)] + list(self._pair_lists(folder))
        return {path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name: path for path in paths}

    def read(self, folder: Path, split: str) -> SegmentedPictures:
        """The pictures of a list, in its order; UserError where it or one of their files is missing."""
        path = self._list(folder, split)
        masks = next(name for name in MASKS if (folder / name).is_dir())
        files = [self._file(folder, line, masks, path) for line in dict.fromkeys(lines_of(path))]
        if not files:
            raise UserError(f"The list '{shown(path)}' is empty; get {self.where_to_get} again.")
        names = self.class_names(folder)
        return segmented_pictures(files, names, partial(mask_in_file, classes=len(names)))

    def _list(self, folder: Path, split: str) -> Path:
        lists = [folder / "ImageSets" / "Segmentation" / f"{name}.txt" for name in LISTS[split]]
        found = next((path for path in lists if path.is_file()), None)
        if found is None:
            raise UserError(f"'{shown(lists[-1])}' is missing; write it with the name of a picture on each line.")
        return found

    def _file(self, folder: Path, line: str, masks: str, said_by: Path) -> SegmentedFile:
        """What a line names: a picture by its name, or picture and mask by their paths."""
        words = line.split()
        if len(words) == 2:
            image, mask = (below(folder, word, said_by) for word in words)
        else:
            image = next((path for ending in ENDINGS if (path := below(folder, f"JPEGImages/{line}{ending}", said_by)).is_file()),
                         folder / "JPEGImages" / f"{line}.jpg")
            mask = below(folder, f"{masks}/{line}.png", said_by)
        for path in (image, mask):
            if not path.is_file():
                raise UserError(f"'{shown(path)}' is missing, but '{shown(said_by)}' names it; copy it again, or take it off the "
                                "list.")
        return SegmentedFile(image.stem, image, mask)

    def pairs(self, folder: Path, split: str, fold: int) -> list[tuple[str, int]] | None:
        """HSNet's (picture, class), if its lists lie near the data (``splits/pascal/{trn,val}/fold<i>.txt``, each of the fold's own
        classes): for the test those of `fold`, for training those of all other folds.

        UserError where only some of these lists are there, and for a line that is not ``<picture>__<class>``.
        """
        wanted = [fold] if split == "test" else [other for other in range(FOLDS) if other != fold]
        paths = [self._pair_list(folder, split, other) for other in wanted]
        lacking = [other for other, path in zip(wanted, paths, strict=True) if path is None]
        if lacking and len(lacking) < len(wanted):
            raise UserError(f"The list 'splits/pascal/{PAIRS[split]}/fold{lacking[0]}.txt' is missing near '{shown(folder)}', and "
                            f"others of its kind are there; copy all {FOLDS} from the repository juhongm999/hsnet.")
        return None if lacking else [pair for path in paths if path for pair in _pairs_in(path)]

    def _pair_list(self, folder: Path, split: str, fold: int) -> Path | None:
        return near(folder, f"splits/pascal/{PAIRS[split]}/fold{fold}.txt")

    def _pair_lists(self, folder: Path) -> Iterable[Path]:
        found = (self._pair_list(folder, split, fold) for split in PAIRS for fold in range(FOLDS))
        return (path for path in found if path)


def _pairs_in(path: Path) -> Iterable[tuple[str, int]]:
    for line in lines_of(path):
        name, _, number = line.rpartition("__")
        if not name or not number.isdecimal() or not 0 < int(number) <= len(CLASSES):
            raise UserError(f"'{shown(path)}' has the line '{line}', expected <picture>__<class of 1 to {len(CLASSES)}>; copy the "
                            "list from the repository juhongm999/hsnet again.")
        yield name, int(number)

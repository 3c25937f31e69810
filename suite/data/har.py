"""A*HAR in the layout of its repository: all windows of both splits in one file, ``HAR_DATA.npz``.

Source: the public code of Narasimman et al., "A*HAR: A New Benchmark towards Semi-supervised learning for
Class-imbalanced Human Activity Recognition", arXiv 2101.04859. Two spellings of the keys are around: ``trainx, trainy,
testx, testy``, and with an underscore (``train_x``). x is (N, 9, 64) or (N, 9, 64, 1), y (N,). Read as well where they
are there: ``train_subject`` and ``test_subject`` (N,), who wore the sensors, ``class_names`` (K,), and with keys of the same
form a third part ``unlabelled``, whose labels no method is shown.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np

from suite.data.dataset import Dataset
from suite.data.embedded import motion
from suite.data.windows import Windows
from suite.errors import UserError, nearest

FILE = "HAR_DATA.npz"
SPLITS = ("train", "test")
UNLABELLED = "unlabelled"  # a further part that a file may have
MOST_CLASSES = 1000  # a larger label is a mistake


class AstarHar(Dataset):
    """Nine channels of body-worn sensors in windows of 64 samples that overlap by half."""

    name = "astar_har"
    title = "A*HAR"
    version = motion.VERSION
    layout = f"the file {FILE} with train_x, train_y, test_x and test_y"
    where_to_get = f"{FILE} of the repository I2RDL2/ASTAR-HAR on GitHub"
    landmarks = (FILE,)
    items = "windows"
    embedded_classes = tuple(motion.ACTIVITIES)
    # Training windows and classes of the two releases that the repository's logs and notebooks describe; no digest is known.
    releases: ClassVar[tuple[tuple[int, int], ...]] = ((17_383, 24), (21_387, 20))

    def __init__(self, unlabelled: int = 0) -> None:
        """`unlabelled` is the number of people in the embedded data whose windows are a part without labels."""
        self.unlabelled = unlabelled

    @property
    def variant(self) -> str:
        return f"-unlabelled-{self.unlabelled}" if self.unlabelled else ""

    def make(self, folder: Path) -> None:
        """Write the embedded data to `folder`."""
        content: dict[str, np.ndarray] = {"class_names": np.array(list(motion.ACTIVITIES))}
        for split in (*SPLITS, UNLABELLED) if self.unlabelled else SPLITS:
            values, labels, subjects = motion.recordings(split, self.unlabelled)
            content |= {f"{split}_x": values[..., None], f"{split}_y": labels, f"{split}_subject": subjects}
        np.savez(folder / FILE, **content)  # type: ignore[arg-type]

    def splits(self, folder: Path) -> Sequence[str]:
        try:
            with zipfile.ZipFile(folder / FILE) as packed:
                names = packed.namelist()
        except (OSError, zipfile.BadZipFile):  # `read` says what is wrong with it
            return SPLITS
        return (*SPLITS, UNLABELLED) if any(name.startswith(UNLABELLED) for name in names) else SPLITS

    def parts(self, folder: Path) -> Iterable[Callable[[], object]]:
        """Each split, whether a subject is in the test split and in another one, and the classes' names."""
        return [*super().parts(folder), partial(self._apart, folder), partial(self.class_names, folder)]

    def _apart(self, folder: Path) -> None:
        worn = {split: self.read(folder, split).subjects for split in self.splits(folder)}
        tested = worn.pop("test")
        for split, subjects in worn.items():
            if subjects is not None and tested is not None and len(both := np.intersect1d(subjects, tested)):
                raise self.damaged(f"Subject {both[0]} is in the {split} and in the test split of '{FILE}', so test scores would "
                                   "be too high")

    def summary(self, found: Windows, names: Sequence[str]) -> str:
        each = np.bincount(found.labels)
        worn = "" if found.subjects is None else f", {len(found.subjects.unique())} subjects"
        return (f"{len(found)} windows of {motion.CHANNELS} x {motion.LENGTH}, labels {found.labels.min()} to "
                f"{found.labels.max()}, {each[each > 0].min()} to {each.max()} windows of each class{worn}")

    def is_official(self, folder: Path) -> bool:
        """By the number of training windows and classes."""
        labels = self.read(folder, "train").labels
        return (len(labels), int(labels.max()) + 1) in self.releases

    def digest(self, folder: Path) -> str:
        """SHA-256 over names, types, shapes and values of the arrays: how the file is compressed does not matter."""
        total = hashlib.sha256()
        for key, array in sorted(self.load_arrays(folder / FILE).items()):
            total.update(f"{key}\0{array.dtype.str}\0{array.shape}\n".encode() + np.ascontiguousarray(array).tobytes())
        return total.hexdigest()

    def read(self, folder: Path, split: str) -> Windows:
        """The windows of a split in the file's order: one recording's are neighbours, or as far apart as all even ones are long.

        UserError for missing keys, wrong shapes or types, NaN, unequal lengths, labels out of range.
        """
        import torch

        if split not in (*SPLITS, UNLABELLED):
            raise UserError(f"There is no split '{split}' of {self.title}{nearest(split, (*SPLITS, UNLABELLED))}.")
        arrays, shown = self.load_arrays(folder / FILE), f"in '{FILE}'"
        values = self._values(arrays, split)
        labels = self.whole_numbers(self._column(arrays, split, "y"), f"'{split}_y' {shown}", len(values), MOST_CLASSES)
        if split != "train" and len(unknown := np.setdiff1d(labels, self._column(arrays, "train", "y"))):
            raise self.damaged(f"Label {unknown[0]} is in the {split} split of '{FILE}' and not in the training split")
        if split == "train" and (empty := set(range(labels.max())) - set(labels.tolist())):
            raise UserError(f"No training window of '{FILE}' has label {min(empty)}, and there are labels {labels.min()} to "
                            f"{labels.max()}; number the classes from 0 without a gap in both splits"
                            f"{', here by taking 1 from each label' if labels.min() == 1 else ''}.")
        worn = None
        if (key := f"{split}_subject") in arrays:
            worn = torch.from_numpy(self.whole_numbers(arrays[key], f"'{key}' {shown}", len(values), 1 << 62))
        return Windows(torch.from_numpy(values[:, None]), torch.from_numpy(labels), worn)

    def class_names(self, folder: Path) -> list[str]:
        """The classes' names by label; empty where the file does not tell. UserError where they are not one for each class."""
        if (names := self.load_arrays(folder / FILE).get("class_names")) is None:
            return []
        classes = int(self.read(folder, "train").labels.max()) + 1
        if names.shape != (classes,):
            raise self.damaged(f"'class_names' in '{FILE}' has the shape {names.shape} for {classes} classes")
        return [str(name) for name in names]

    def _values(self, arrays: Mapping[str, np.ndarray], split: str) -> np.ndarray:
        found = self._column(arrays, split, "x")
        shape = (motion.CHANNELS, motion.LENGTH)
        if found.dtype.kind != "f" or found.shape[1:] not in (shape, (*shape, 1)):
            raise self.damaged(f"The windows of the {split} split in '{FILE}' are {found.dtype} {found.shape}, expected float32 "
                               "(N, 9, 64) or (N, 9, 64, 1): nine channels, 64 samples")
        if not len(found):
            raise self.damaged(f"The {split} split in '{FILE}' holds no windows")
        values = np.ascontiguousarray(found.reshape(-1, *shape), np.float32)
        if not (finite := np.isfinite(values)).all():
            window, channel, sample = np.argwhere(~finite)[0]
            raise self.damaged(f"Window {window} of the {split} split in '{FILE}' is {values[window, channel, sample]} in channel "
                               f"{channel} at sample {sample}, expected finite numbers")
        return values

    def _column(self, arrays: Mapping[str, np.ndarray], split: str, what: str) -> np.ndarray:
        for key in (f"{split}_{what}", f"{split}{what}"):
            if key in arrays:
                return arrays[key]
        keys = ", ".join(f"'{key}'" for key in sorted(arrays)) or "nothing"
        raise self.damaged(f"'{FILE}' holds {keys}, expected '{split}_{what}' or '{split}{what}' as well")

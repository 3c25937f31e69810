"""A*HAR in the layout of its repository: all windows of both splits in one file, ``HAR_DATA.npz``.

Source: the public code of Narasimman et al., "A*HAR: A New Benchmark towards Semi-supervised learning for
Class-imbalanced Human Activity Recognition", arXiv 2101.04859. Two spellings of the keys are around: ``trainx, trainy,
testx, testy``, and with an underscore (``train_x``). x is (N, 9, 64) or (N, 9, 64, 1), y (N,). Read as well where they
are there: ``train_subject`` and ``test_subject`` (N,), who wore the sensors, and ``class_names`` (K,).
"""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np

from suite.data import motion
from suite.data.source import Dataset, Kind, Split
from suite.data.windows import Windows
from suite.errors import UserError, nearest

FILE = "HAR_DATA.npz"
SPLITS: tuple[Split, ...] = ("train", "test")
MOST_CLASSES = 1000  # a larger label is a mistake


class _Part(NamedTuple):
    """One split: `values` float32 (N, 9, 64), `labels` int64 (N,), `subjects` int64 (N,) or None."""

    values: np.ndarray
    labels: np.ndarray
    subjects: np.ndarray | None


class AstarHar(Dataset):
    """Nine channels of body-worn sensors in windows of 64 samples that overlap by half."""

    name = "astar_har"
    title = "A*HAR"
    version = motion.VERSION
    layout = f"the file {FILE} with train_x, train_y, test_x and test_y"
    where_to_get = f"{FILE} of the repository I2RDL2/ASTAR-HAR on GitHub"
    # Training windows and classes of the two releases that the repository's logs and notebooks describe; no digest is known.
    releases: ClassVar[tuple[tuple[int, int], ...]] = ((17_383, 24), (21_387, 20))

    def matches(self, folder: Path) -> bool:
        return (folder / FILE).is_file()

    def make(self, folder: Path) -> None:
        """Write the embedded data to `folder`."""
        content: dict[str, np.ndarray] = {"class_names": np.array(list(motion.ACTIVITIES))}
        for split in SPLITS:
            values, labels, subjects = motion.recordings(split)
            content |= {f"{split}_x": values[..., None], f"{split}_y": labels, f"{split}_subject": subjects}
        np.savez(folder / FILE, **content)  # type: ignore[arg-type]

    def check(self, folder: Path) -> list[str]:
        """The problems of each split, and subjects that are in both."""
        problems = []
        for split in SPLITS:
            try:
                self._part(folder, split)
            except UserError as error:
                problems.append(str(error))
        if problems:
            return problems
        train, test = (self._part(folder, split).subjects for split in SPLITS)
        if train is not None and test is not None and len(both := np.intersect1d(train, test)):
            problems.append(f"Subject {both[0]} is in both splits of '{FILE}', so test scores would be too high; {self._again}")
        return problems

    def describe(self, folder: Path) -> dict[str, str]:
        """A line for each split, and the classes' names if the file has them."""
        lines: dict[str, str] = {}
        for split in SPLITS:
            values, labels, subjects = self._part(folder, split)
            each = np.bincount(labels)
            worn = "" if subjects is None else f", {len(np.unique(subjects))} subjects"
            lines[split] = (f"{len(values)} windows of {motion.CHANNELS} x {motion.LENGTH}, labels {labels.min()} to "
                            f"{labels.max()}, {each[each > 0].min()} to {each.max()} windows of each class{worn}")
        names = self.class_names(folder)
        return lines | ({"classes": ", ".join(names)} if names else {})

    def classify(self, folder: Path) -> Kind:
        """Embedded by the classes' names, official by the number of training windows and classes, a subset otherwise."""
        if self.class_names(folder) == list(motion.ACTIVITIES):
            return "embedded"
        labels = self._part(folder, "train").labels
        return "official" if (len(labels), int(labels.max()) + 1) in self.releases else "subset"

    def counts(self, folder: Path) -> dict[str, int]:
        return {split: len(self._part(folder, split).labels) for split in SPLITS}

    def digest(self, folder: Path) -> str:
        """SHA-256 over names, types, shapes and values of the arrays: how the file is compressed does not matter."""
        total = hashlib.sha256()
        for key, array in sorted(self._arrays(folder).items()):
            total.update(f"{key}\0{array.dtype.str}\0{array.shape}\n".encode() + np.ascontiguousarray(array).tobytes())
        return total.hexdigest()

    def read(self, folder: Path, split: Split) -> Windows:
        """The windows of a split in the file's order: one recording's are neighbours, or as far apart as all even ones are long."""
        import torch

        values, labels, subjects = self._part(folder, split)
        worn = None if subjects is None else torch.from_numpy(subjects)
        return Windows(torch.from_numpy(values[:, None]), torch.from_numpy(labels), worn)

    def class_names(self, folder: Path) -> list[str]:
        """The classes' names by label; empty where the file does not tell."""
        names = self._arrays(folder).get("class_names")
        return [] if names is None else [str(name) for name in names]

    def _part(self, folder: Path, split: Split) -> _Part:
        """One split; UserError for missing keys, wrong shapes or types, NaN, unequal lengths, labels out of range."""
        if split not in SPLITS:
            raise UserError(f"There is no split '{split}' of {self.title}{nearest(split, SPLITS)}.")
        arrays = self._arrays(folder)
        values = self._values(arrays, split)
        labels = self._whole(arrays, split, "y", len(values))
        if split == "test" and len(unknown := np.setdiff1d(labels, self._column(arrays, "train", "y"))):
            raise UserError(f"Label {unknown[0]} is in the test split of '{FILE}' and not in the training split; {self._again}")
        worn = self._whole(arrays, split, "subject", len(values)) if f"{split}_subject" in arrays else None
        return _Part(values, labels, worn)

    def _values(self, arrays: Mapping[str, np.ndarray], split: str) -> np.ndarray:
        found = self._column(arrays, split, "x")
        shape = (motion.CHANNELS, motion.LENGTH)
        if found.dtype.kind != "f" or found.shape[1:] not in (shape, (*shape, 1)):
            raise UserError(
                f"The windows of the {split} split in '{FILE}' are {found.dtype} {found.shape}, expected float32 (N, 9, 64) or "
                f"(N, 9, 64, 1): nine channels, 64 samples; {self._again}"
            )
        if not len(found):
            raise UserError(f"The {split} split in '{FILE}' holds no windows; {self._again}")
        values = np.ascontiguousarray(found.reshape(-1, *shape), np.float32)
        if not (finite := np.isfinite(values)).all():
            window, channel, sample = np.argwhere(~finite)[0]
            raise UserError(
                f"Window {window} of the {split} split in '{FILE}' is {values[window, channel, sample]} in channel {channel} at "
                f"sample {sample}, expected finite numbers; leave that window out or {self._again}"
            )
        return values

    def _whole(self, arrays: Mapping[str, np.ndarray], split: str, what: str, count: int) -> np.ndarray:
        """A column of whole numbers, one for each of `count` windows, as int64."""
        found, shown = self._column(arrays, split, what), f"'{split}_{what}' in '{FILE}'"
        if found.ndim != 1 or found.dtype.kind not in "iu":
            raise UserError(f"{shown} is {found.dtype} {found.shape}, expected whole numbers (N,); {self._again}")
        if len(found) != count:
            raise UserError(f"{shown} has {len(found)} entries for {count} windows; {self._again}")
        if what == "y" and (wrong := (found < 0) | (found >= MOST_CLASSES)).any():
            row = int(wrong.argmax())
            raise UserError(f"{shown} is {found[row]} in row {row}, expected 0 to {MOST_CLASSES - 1}; {self._again}")
        return found.astype(np.int64)

    def _column(self, arrays: Mapping[str, np.ndarray], split: str, what: str) -> np.ndarray:
        for key in (f"{split}_{what}", f"{split}{what}"):
            if key in arrays:
                return arrays[key]
        keys = ", ".join(f"'{key}'" for key in sorted(arrays)) or "nothing"
        raise UserError(f"'{FILE}' holds {keys}, expected '{split}_{what}' or '{split}{what}' as well; {self._again}")

    def _arrays(self, folder: Path) -> dict[str, np.ndarray]:
        """All arrays of the file; pickled objects are refused, as they could run code."""
        if not (folder / FILE).is_file():
            raise UserError(f"'{FILE}' is missing in '{folder}'; {self._again}")
        try:
            with np.load(folder / FILE, allow_pickle=False) as stored:
                return {key: stored[key] for key in stored.files}
        except (OSError, EOFError, ValueError, TypeError, zipfile.BadZipFile, zlib.error) as error:
            reason = str(error).strip().split("\n")[0]
            raise UserError(f"'{FILE}' is no complete npz file of plain arrays ({reason}); {self._again}") from None

    @property
    def _again(self) -> str:
        return f"get {self.where_to_get} again."

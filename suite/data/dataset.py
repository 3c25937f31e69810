"""What a data set is: the base class of every reader, which does all that readers have in common."""

from __future__ import annotations

import hashlib
import itertools
import os
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from suite.data.files import readable, size_of, sum_of
from suite.data.overlap import TOLERATED, Comparable, shared
from suite.data.pictures import Pictures
from suite.errors import UserError

Kind = Literal["embedded", "subset", "official"]

MANY = 20_000  # more files are digested by names and sizes
MARK = "embedded.txt"  # says in the embedded data's folder what it is, where the classes' names do not


class Dataset:
    """A data set's official layout on disk, and the embedded data in the same layout.

    A reader gives the attributes without a value, ``make`` and ``read``, and whatever else its layout needs; what is below
    rests on these. `matches`, `counts` and `read` are all that finding the data and running a task take.
    """

    name: str
    title: str
    version: int  # of the embedded data; every change of their bytes gets a new one
    layout: str  # the files that make a folder this data set, for messages
    where_to_get: str  # a noun phrase: what to obtain, and from whom

    landmarks: ClassVar[Sequence[str]] = ()  # files of which any one makes a folder this data set
    items: ClassVar[str] = "images"  # what there are so and so many of
    official_counts: Sequence[Mapping[str, int]] = ()  # of each official release, by split
    md5: ClassVar[Mapping[str, str]] = {}  # sums of official files, by their names in `files`
    embedded_classes: Sequence[str] = ()  # names of classes that nothing but the embedded data has

    @property
    def variant(self) -> str:
        """The end of the name of the embedded data's folder, where options of a task make more of them than usual."""
        return ""

    def make(self, folder: Path) -> None:
        """Write the embedded data below the existing, empty `folder`: the same bytes on every machine."""
        raise NotImplementedError

    def read(self, folder: Path, split: str) -> Any:
        """What a split holds, something with a length; UserError where the data cannot be read."""
        raise NotImplementedError

    def matches(self, folder: Path) -> bool:
        """Whether `folder` itself looks like this data set, complete or not."""
        return any((folder / name).is_file() for name in self.landmarks)

    def splits(self, folder: Path) -> Sequence[str]:
        """The names of the splits, ``"train"`` first and ``"test"`` next where there are such."""
        return ("train", "test")

    def trains(self, folder: Path) -> bool:
        """Whether the data in `folder` has a training part. Without one it is tested on, and methods train on the embedded data."""
        return True

    def class_names(self, folder: Path) -> list[str]:
        """The classes' names by label; empty where there are none."""
        return []

    def files(self, folder: Path) -> dict[str, Path]:
        """What the digest covers, by name: the landmarks, and the pictures of all splits."""
        files = {name: folder / name for name in self.landmarks}
        for split in self.splits(folder):
            found = self.read(folder, split)
            if isinstance(found, Pictures):
                files |= {path.relative_to(folder).as_posix(): path for path in found.files}
        return files

    def summary(self, found: Any, names: Sequence[str]) -> str:
        """One line about what `read` gave, for people; `names` are the classes'."""
        if not names:
            return f"{len(found)} {self.items}"
        labels = np.asarray(found.labels)
        each = np.bincount(labels, minlength=len(names))
        filled = f"{each.min()} to {each.max()}" if each.min() < each.max() else each.min()
        return f"{len(found)} {self.items}, labels {labels.min()} to {labels.max()}, {filled} images of each class"

    def parts(self, folder: Path) -> Iterable[Callable[[], object]]:
        """What `check` calls first: each raises UserError where a part of the data is wrong."""
        return [partial(self.read, folder, split) for split in self.splits(folder)]

    @readable()
    def check(self, folder: Path) -> list[str]:
        """All that is wrong with the data in `folder`, a sentence each; empty for complete data.

        Where every part can be read the pictures are decoded; where that is well the parts are compared with one another, and
        where the counts are official the sums with the official ones.
        """
        if problems := refusals(self.parts(folder)):
            return problems
        found = [self.read(folder, split) for split in self.splits(folder)]
        problems = refusals(part for images in found if isinstance(images, Pictures) for part in images.parts())
        if not problems and self.counts(folder) in self.official_counts:
            problems = [f"'{folder.name}/{name}' is complete but its MD5 sum is not the official {self.md5[name]}; "
                        f"get {self.where_to_get} again." for name in self.unofficial(folder)]
        return problems or self.overlaps(folder)

    def overlaps(self, folder: Path) -> list[str]:
        """A sentence for each two splits that have more than one in `TOLERATED` items of the later one in common, by their bytes.

        Official releases are as they are: those known by their sums, and those too large to read once more.
        """
        if self.is_official(folder) and (self.md5 or len(self.files(folder)) > MANY):
            return []
        sentences = []
        for first, second in itertools.combinations(self.splits(folder), 2):
            others, found = self.read(folder, first), self.read(folder, second)
            both = shared(found, others) if isinstance(found, Comparable) and isinstance(others, Comparable) else []
            if len(both) * TOLERATED > len(found):
                example = f"'{found.item_name(both[0].row)}' is '{others.item_name(both[0].other)}'"
                sentences.append(f"{len(both)} of the {len(found)} {self.items} of '{second}' are also in '{first}' ({example}), "
                                 "so scores would be too high; take them out of one of the two.")
        return sentences

    def describe(self, folder: Path) -> dict[str, str]:
        """Counts, shapes and label ranges by split, for people; UserError where the data cannot be read."""
        names = self.class_names(folder)
        lines = {split: self.summary(self.read(folder, split), names) for split in self.splits(folder)}
        more = f" and {len(names) - 10} more" if len(names) > 10 else ""
        return lines | ({"classes": ", ".join(names[:10]) + more} if names else {})

    def classify(self, folder: Path) -> Kind:
        """Whether the files are the official ones, our embedded ones, or any others in the layout."""
        if self.is_embedded(folder):
            return "embedded"
        return "official" if self.is_official(folder) else "subset"

    def is_embedded(self, folder: Path) -> bool:
        """By the classes' names, or by the mark."""
        if self.embedded_classes:
            return self.class_names(folder) == list(self.embedded_classes)
        return (folder / MARK).is_file()

    def is_official(self, folder: Path) -> bool:
        """By the counts, and the MD5 sums as far as they are known."""
        return self.counts(folder) in self.official_counts and not self.unofficial(folder)

    def unofficial(self, folder: Path) -> list[str]:
        """The names of the files whose MD5 sum is not the official one."""
        files = self.files(folder) if self.md5 else {}
        algorithm = partial(hashlib.md5, usedforsecurity=False)
        return [name for name, md5 in self.md5.items() if sum_of(files[name], algorithm) != md5]

    def counts(self, folder: Path) -> dict[str, int]:
        """The number of items of each split; UserError where the data cannot be read."""
        return {split: len(self.read(folder, split)) for split in self.splits(folder)}

    def digest(self, folder: Path) -> str:
        """SHA-256 over the contents of `files` (over names and sizes where there are more than `MANY`), in hex."""
        files = self.files(folder)
        return digest_of(files, contents=len(files) <= MANY)

    def damaged(self, what: str) -> UserError:
        """The error that says `what` is wrong and where to get the data again."""
        return UserError(f"{what}; get {self.where_to_get} again.")

    def whole_numbers(self, values: Any, what: str, count: int, below: int) -> np.ndarray:
        """`values` as int64 (N,); UserError, calling them `what`, unless they are `count` whole numbers of 0 to `below` - 1."""
        try:
            found = np.asarray(values)
        except ValueError:  # lists of different lengths
            found = np.asarray([""])
        if found.dtype.kind not in "iufb":
            raise self.damaged(f"{what} is not a list of integers")
        if found.ndim != 1 or found.dtype.kind not in "iu":
            raise self.damaged(f"{what} is {found.dtype} {found.shape}, expected whole numbers (N,)")
        if len(found) != count:
            raise self.damaged(f"{what} has {len(found)} entries for {count} {self.items}")
        if (wrong := (found < 0) | (found >= below)).any():
            row = int(wrong.argmax())
            raise self.damaged(f"{what} is {found[row]} in row {row}, expected 0 to {below - 1}")
        return found.astype(np.int64)

    def load_arrays(self, path: Path) -> dict[str, np.ndarray]:
        """All arrays of an npz file; UserError for a damaged one and for pickled objects, as they could run code."""
        if not path.is_file():
            raise self.damaged(f"'{path.name}' is missing in '{path.parent}'")
        try:
            with np.load(path, allow_pickle=False) as stored:
                return {key: stored[key] for key in stored.files}
        except (OSError, EOFError, ValueError, TypeError, zipfile.BadZipFile, zlib.error) as error:
            reason = str(error).strip().split("\n")[0]
            raise self.damaged(f"'{path.name}' is no complete npz file of plain arrays ({reason})") from None


def refusals(calls: Iterable[Callable[[], object]]) -> list[str]:
    """The sentences of those `calls` that raise UserError, each once, in order. They run on all processors."""

    def refusal(call: Callable[[], object]) -> str:
        try:
            with readable():
                call()
        except UserError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        return [sentence for sentence in dict.fromkeys(threads.map(refusal, calls)) if sentence]


def near(folder: Path, name: str) -> Path | None:
    """The file or folder `name` in `folder` or one of the two above it, or in a folder in these, or in ``data/`` of any.

    The nearest one; UserError where two are equally near.
    """
    for home in (folder, *folder.absolute().parents[:2]):
        for pattern in (name, f"data/{name}", f"*/{name}", f"*/data/{name}"):
            found = sorted(home.glob(pattern))
            if len(found) > 1:
                raise UserError(f"'{home}' holds '{name}' more than once: '{found[0]}' and '{found[1]}'; leave only one there.")
            if found:
                return found[0]
    return None


def digest_of(files: Mapping[str, Path], contents: bool = True) -> str:
    """SHA-256 over the sorted names of `files` with their contents, or with their sizes alone, in hex."""
    total = hashlib.sha256()
    for name in sorted(files):
        part = sum_of(files[name]) if contents else str(size_of(files[name]))
        total.update(f"{name}\0{part}\n".encode())
    return total.hexdigest()

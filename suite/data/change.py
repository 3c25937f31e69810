"""Pairs of pictures with change masks, in the layouts of LEVIR-CD, VL-CMU-CD and PCD.

Sources: Chen and Shi, "A Spatial-Temporal Attention-Based Method and a New Dataset for Remote Sensing Image Change
Detection", Remote Sensing 2020 (LEVIR-CD); Alcantarilla et al., "Street-View Change Detection with Deconvolutional
Networks", RSS 2016 (VL-CMU-CD); Sakurada and Okatani, "Change Detection from a Street Image Pair using CNN Features and
Superpixel Segmentation", BMVC 2015 (PCD: TSUNAMI and GSV); and the repository of C-3PO for their processed forms.

=========  ==========================================================================================================
``levir``  ``A/``, ``B/``, ``label/`` and file names by split in ``list/<split>.txt``, or ``<split>/{A,B,label}/``
``street`` ``<split>/{t0,t1,mask}/``, as VL-CMU-CD-binary255 and the cross-validation patches of PCD come
``pcd``    ``{t0,t1,mask}/`` with numbered files; pair i is a test pair of fold k where 2k <= i mod 10 < 2k + 2
=========  ==========================================================================================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

from suite.data.dataset import MARK, Dataset
from suite.data.embedded import street
from suite.data.embedded.writing import png
from suite.data.files import below, lines_of
from suite.data.pairs import CHANGED, Greys, Pair, PairImages, pair_images, read_mask
from suite.data.pictures import picture_files
from suite.errors import UserError, nearest

LAYOUTS = ("street", "levir", "pcd")
CHANGES = ("layout", "white", "black", "classes")


class Roles(NamedTuple):
    """The folders of a layout's earlier pictures, later pictures and masks."""

    first: str
    second: str
    mask: str


class ChangeData(Dataset):
    """A set of pairs. `change` says which grey of a mask is change (``"layout"``: as usual there), `ignore` which greys count
    neither way, `threshold` from which on a grey is white (0: 0 and 255 alone are read), `fold` which fifth of a ``pcd`` set is
    tested, `kinds` what happens in the embedded scenes.
    """

    title = "change detection pairs"
    version = street.VERSION
    items = "pairs"
    where_to_get = (
        "LEVIR-CD from its authors' page (justchenhao.github.io/LEVIR), or VL-CMU-CD, TSUNAMI or GSV from their authors on "
        "request, in the processed form that the repository DoctorKey/C-3PO describes"
    )
    roles: ClassVar[Mapping[str, Roles]] = {
        "street": Roles("t0", "t1", "mask"), "levir": Roles("A", "B", "label"), "pcd": Roles("t0", "t1", "mask")}
    official: ClassVar[Mapping[str, Sequence[Mapping[str, int]]]] = {
        "levir": ({"train": 445, "val": 64, "test": 128}, {"train": 7120, "val": 1024, "test": 2048}),  # whole; in 16 squares each
        "street": ({"train": 98, "test": 54},), "pcd": (),
    }
    layouts: ClassVar[Mapping[str, str]] = {
        "street": "the folders train and test with t0, t1 and mask in each",
        "levir": "the folders A, B and label with list/train.txt, or train and test with A, B and label in each",
        "pcd": "the folders t0, t1 and mask",
    }

    def __init__(
        self, layout: str = "street", change: str = "layout", ignore: Sequence[int] = (), fold: int = 0,
        kinds: tuple[str, ...] = street.KINDS, threshold: int = 0,
    ) -> None:
        self.style, self.fold, self.kinds = layout, fold, kinds
        self.usual = "black" if layout == "pcd" else "white"
        self.change = self.usual if change == "layout" else change
        self.greys = Greys(self.change, tuple(ignore), threshold)
        if threshold and change == "classes":
            raise UserError("A threshold leaves two greys and no classes; leave out task.threshold or task.change=classes.")
        self.layout, self.official_counts = self.layouts[layout], self.official[layout]
        self.name = "-".join([f"change_{layout}", *(kinds if kinds != street.KINDS else ())])

    def matches(self, folder: Path) -> bool:
        """By the layout's folders; two of three are enough, so that an incomplete copy is recognised as well."""
        def two_of(where: Path) -> bool:
            return sum((where / name).is_dir() for name in self.roles[self.style]) >= 2

        if self.style == "pcd":
            return two_of(folder) and not (folder / "list").is_dir()
        split = any(two_of(folder / name) for name in ("train", "test"))
        return split or (self.style == "levir" and two_of(folder) and (folder / "list" / "train.txt").is_file())

    def make(self, folder: Path) -> None:
        """Write the embedded pairs as PNG files, masks with the layout's usual greys."""
        roles = self.roles[self.style]
        (folder / MARK).write_text(f"embedded pairs, version {self.version}: {', '.join(self.kinds)}\n", encoding="utf-8")
        for split in street.COUNTS:
            where = folder / split if self.style == "street" else folder
            for role in roles:
                (where / role).mkdir(parents=True, exist_ok=True)
            names: list[str] = []
            for chunk in street.draw_pairs(split, self.kinds):
                for first, second, mask in zip(*chunk, strict=True):
                    names.append(f"{self._numbered(split, len(names))}.png")
                    drawn = (first, second, mask if self.usual == "white" else 255 - mask)
                    for role, pixels in zip(roles, drawn, strict=True):
                        (where / role / names[-1]).write_bytes(png(pixels))
            if self.style == "levir":
                (folder / "list").mkdir(exist_ok=True)
                (folder / "list" / f"{split}.txt").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")

    def _numbered(self, split: str, number: int) -> str:
        """The name of an embedded pair: sequence_view_rotation, or a number whose fold 0 is the test part."""
        if self.style == "pcd":
            tens, rest = divmod(number, 2 if split == "test" else 8)
            return f"{10 * tens + rest + (0 if split == 'test' else 2):05d}"
        return f"{number:05d}_00_0" if self.style == "street" else f"{split}_{number:05d}"

    def summary(self, found: PairImages, names: Sequence[str]) -> str:
        return f"{len(found)} pairs, {found.sizes()}, {found.changed():.1%} of the pixels changed"

    def is_official(self, folder: Path) -> bool:
        """By the numbers of pairs (LEVIR-CD) or sequences (VL-CMU-CD); of PCD no count is known for certain."""
        if self.style != "street":
            return super().is_official(folder)
        sequences = {split: {pair.name.partition("_")[0] for pair in self.pairs(folder, split)} for split in ("train", "test")}
        return {split: len(names) for split, names in sequences.items()} in self.official_counts

    def counts(self, folder: Path) -> dict[str, int]:
        return {split: len(self.pairs(folder, split)) for split in self.splits(folder)}

    def files(self, folder: Path) -> dict[str, Path]:
        return {f"{split}/{path.relative_to(folder).as_posix()}": path
                for split in self.splits(folder) for pair in self.pairs(folder, split) for path in pair[1:]}

    def read(self, folder: Path, split: str) -> PairImages:
        """The pairs of a split, sorted by name (in the order of a list); UserError where nothing changes in any of them."""
        if self.is_embedded(folder) and self.change != self.usual:
            raise UserError(f"The embedded '{self.name}' masks have {self.usual} as change, not '{self.change}'; leave task.change "
                            "out, or name your own data with --data.")
        if not self.is_embedded(folder) and self.kinds != street.KINDS:
            raise UserError(f"Only the embedded scenes can be limited to {' and '.join(self.kinds)}; leave task.kinds out for "
                            f"'{folder.name}'.")
        pairs = self.pairs(folder, split)
        if not any(self._may_show_change(pair) for pair in pairs):
            uncounted = f" and {', '.join(map(str, self.greys.ignore))} is not counted" if self.greys.ignore else ""
            raise UserError(f"Nothing changes in any of the {len(pairs)} pairs of '{split}' in '{folder.name}', so nothing can be "
                            f"judged; look at the masks, where {self.change} is change{uncounted}: task.change and task.threshold "
                            "set that.")
        return pair_images(pairs, self.greys)

    def _may_show_change(self, pair: Pair) -> bool:
        """Whether a pixel of the mask is changed, or the mask cannot be read, which is said elsewhere."""
        try:
            return bool((read_mask(pair.mask, self.greys) == CHANGED).any())
        except UserError:
            return True

    def splits(self, folder: Path) -> list[str]:
        """The names of the splits there are, train and test first (named even where they are missing)."""
        found: set[str] = set()
        if self.style == "levir" and (folder / "list").is_dir():
            found = {path.stem for path in (folder / "list").glob("*.txt")}
        elif self.style != "pcd":
            found = {path.name for path in folder.iterdir() if (path / self.roles[self.style].mask).is_dir()}
        return ["train", "test", *sorted({"val"} & found)]

    def pairs(self, folder: Path, split: str) -> list[Pair]:
        """The files of a split; UserError for an unknown split and for a pair that lacks a picture or its mask."""
        roles = self.roles[self.style]
        if split not in (known := self.splits(folder)):
            raise UserError(f"'{folder.name}' has no split '{split}'{nearest(split, known)}")
        if self.style == "pcd":
            pairs = self._matched(folder, folder.name)
            tested = range(2 * self.fold, 2 * self.fold + 2)
            pairs = [pair for pair in pairs if (_number(pair) % 10 in tested) == (split == "test")]
        elif self.style == "levir" and (folder / "list").is_dir():
            pairs = self._listed(folder, split)
        else:
            pairs = self._matched(folder / split, f"{folder.name}/{split}")
        if not pairs:
            raise UserError(f"The split '{split}' of '{folder.name}' has no pairs ({roles.first}, {roles.second}, {roles.mask}); "
                            "copy the data again.")
        return pairs

    def _listed(self, folder: Path, split: str) -> list[Pair]:
        path = folder / "list" / f"{split}.txt"
        if not path.is_file():
            raise UserError(f"'{folder.name}/list/{split}.txt' is missing; write it with the file name of a pair on each line.")
        names = dict.fromkeys(lines_of(path))  # a pair that is named twice counts once
        pairs = [Pair(Path(name).stem, *(below(folder / role, name, path) for role in self.roles[self.style])) for name in names]
        for pair in pairs:
            for file in pair[1:]:
                if not file.is_file():
                    raise UserError(f"'{folder.name}/{file.parent.name}/{file.name}' is missing, but list/{split}.txt names it; "
                                    "copy it again, or take it off the list.")
        return pairs

    def _matched(self, where: Path, shown: str) -> list[Pair]:
        """The files of equal stems in the three folders below `where`."""
        roles = self.roles[self.style]
        folders = [_pictures(where / role, f"{shown}/{role}") for role in roles]
        for stem in sorted(set().union(*folders)):
            for role, files in zip(roles, folders, strict=True):
                if stem not in files:
                    other = next(name for name, there in zip(roles, folders, strict=True) if stem in there)
                    raise UserError(f"'{shown}/{role}' has no '{stem}', which is in '{other}'; copy it again, or delete the "
                                    "others.")
        return [Pair(stem, *(files[stem] for files in folders)) for stem in sorted(folders[0])]


def _pictures(folder: Path, shown: str) -> dict[str, Path]:
    """The pictures in a folder by stem; UserError where it does not exist, and where two have one."""
    if not folder.is_dir():
        raise UserError(f"The folder '{shown}' is missing; copy the data again.")
    found: dict[str, Path] = {}
    for path in picture_files(folder):
        if (other := found.setdefault(path.stem, path)) != path:
            raise UserError(f"'{shown}' holds '{other.name}' and '{path.name}', of which only one belongs to the pair; delete the "
                            "other.")
    return found


def _number(pair: Pair) -> int:
    if not pair.name.isdecimal():
        raise UserError(f"'{pair.first.name}' has no number for a name, by which task.layout=pcd makes its folds; "
                        "use task.layout=street for pairs in train and test folders.")
    return int(pair.name)

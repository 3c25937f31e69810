"""Pictures to be searched for one object, and queries with a box: INSTRE as its authors give it, and anything else as two tables.

INSTRE (Wang and Jiang, ACM TOMM 2015) has its pictures in ``INSTRE-S1/<class>/``, ``INSTRE-S2/<class>/`` and ``INSTRE-M/<class>/``,
each with its boxes beside it in a text of the same name, a line ``x y width height`` for each object; a picture of M has two, of
the classes of S1 whose names begin with its number and a, and its number and b. Which pictures are queries, which are searched and
which hold a query's object says ``gnd_instre.mat`` (Iscen et al., CVPR 2017: ``qimlist``, ``imlist``, ``gnd.ok`` counted from 1).

The files of Instance-160 and Instance-335 (Xiao et al., ACM TOMM 2022) are described nowhere. Put them into this layout: two tables
of comma-separated values, ``queries.csv`` and ``gallery.csv``, with the columns ``image,x,y,width,height,object``: a path below the
folder, a box in pixels from the top left corner, and the object's name. A query without a box is a crop: all of the picture. A
picture of the gallery has a line for each object in it; one without any has one with all but the image empty.
"""

from __future__ import annotations

import csv
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from suite.data.dataset import MANY, MARK, Dataset
from suite.data.embedded import collages
from suite.data.embedded.writing import png
from suite.data.files import below, lines_of, readable, readable_name, shown
from suite.data.overlap import TOLERATED, shared
from suite.data.pictures import PictureCache, Pictures, pixels_of
from suite.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

COLUMNS = ("image", "x", "y", "width", "height", "object")
INSTRE = "gnd_instre.mat"
SLACK = 1.0  # pixels that a box may reach beyond its picture
Box = tuple[float, float, float, float]  # x, y, width, height in pixels


class Sighting(NamedTuple):
    """An object in a picture; the box is None where all of the picture, or nobody knows which part, is it."""

    file: Path
    name: str
    box: Box | None


#: A query, the rows of the gallery that hold its object with its boxes there, and the row that is its own picture.
Found = tuple[Sighting, dict[int, list[Box]], "int | None"]


@dataclass
class Queries(Pictures):
    """What is looked for: of each query the picture, and the object's box in it."""

    names: Sequence[str]
    boxes: Sequence[Box | None]
    relevant: Sequence[Mapping[int, Sequence[Box]]]  # rows of the gallery that hold it, with its boxes there as far as known
    own: Sequence[int | None]  # the row of the gallery that is the query's own picture, and counts neither way

    def box(self, row: int) -> Tensor:
        """(1, 4) float32 x1, y1, x2, y2, cut off at the picture's border."""
        high, wide = self.image(row).shape[1:]
        return corners([self.boxes[row] or (0.0, 0.0, wide, high)], high, wide)


@dataclass
class Instances(Dataset):
    """The reader; the splits are what is searched, ``gallery``, and the ``queries``."""

    name = "instances"
    title = "instance search"
    version = collages.VERSION
    layout = f"a folder with queries.csv and gallery.csv, or INSTRE's folders with {INSTRE}"
    where_to_get = ("INSTRE from its authors with gnd_instre.mat, or any pictures with queries.csv and gallery.csv of the columns "
                    f"{','.join(COLUMNS)}")
    landmarks = (INSTRE, "queries.csv", "gallery.csv")
    official_counts = ({"gallery": 27293, "queries": 1250},)

    parsed: dict[Path, tuple[list[Path], list[Found]]] = field(default_factory=dict, repr=False)

    def splits(self, folder: Path) -> Sequence[str]:
        return ("gallery", "queries")

    def make(self, folder: Path) -> None:
        """Write the embedded collages."""
        (folder / MARK).write_text(f"embedded collages, version {self.version}\n", encoding="utf-8")
        for split in ("gallery", "queries"):
            (folder / split).mkdir()
            lines: list[tuple[str, ...]] = [COLUMNS]
            for number, made in enumerate(collages.draw_collages(split)):
                name = f"{split}/{number:04d}.png"
                (folder / name).write_bytes(png(made.pixels))
                objects = made.objects if split == "gallery" else made.objects[:1]
                lines += [(name, *map(str, box), f"object {item:02d}") for item, box in objects] or [(name, *[""] * 5)]
            (folder / f"{split}.csv").write_text("".join(f"{','.join(line)}\n" for line in lines), encoding="utf-8")

    def files(self, folder: Path) -> dict[str, Path]:
        found = {name: folder / name for name in self.landmarks if (folder / name).is_file()}
        for split in self.splits(folder):
            for path in self.read(folder, split).files:
                found[path.relative_to(folder).as_posix()] = path
                if (text := path.with_suffix(".txt")).is_file():
                    found[text.relative_to(folder).as_posix()] = text
        return found

    def summary(self, found: Pictures, names: Sequence[str]) -> str:
        if not isinstance(found, Queries):
            return f"{len(found)} pictures to be searched"
        each = [len(rows) for rows in found.relevant]
        return f"{len(found)} queries of {len(set(found.names))} objects, {min(each)} to {max(each)} pictures hold one"

    def read(self, folder: Path, split: str) -> Pictures:
        """What is searched, or the `Queries`. UserError for anything that is missing or contradicts the pictures."""
        if folder not in self.parsed:
            with readable():
                self.parsed[folder] = (_instre if (folder / INSTRE).is_file() else _tables)(folder)
        gallery, found = self.parsed[folder]
        if not gallery:
            raise UserError(f"The gallery of '{shown(folder)}' is empty; list the pictures that are to be searched.")
        if split == "gallery":
            return Pictures(gallery, PictureCache(pixels_of, len(gallery)))
        if not found:
            raise UserError(f"'{shown(folder)}' has no query; list at least one picture with the box of its object.")
        for query, rows, own in found:
            if not set(rows) - {own}:
                raise UserError(f"No picture of the gallery but the query's own holds '{query.name}', the object of the query "
                                f"'{shown(query.file)}'; list one that does, or take the query out.")
        return Queries([query.file for query, _, _ in found], PictureCache(pixels_of, len(found)),
                       names=[query.name for query, _, _ in found], boxes=[query.box for query, _, _ in found],
                       relevant=[rows for _, rows, _ in found], own=[own for _, _, own in found])

    def overlaps(self, folder: Path) -> list[str]:
        """A sentence where pictures of the gallery are there twice, and where a query's is there under another name: neither is a
        search.
        """
        gallery, queries = self.read(folder, "gallery"), self.read(folder, "queries")
        if len(gallery) > MANY or not isinstance(queries, Queries):
            return []
        sentences = []
        twice = [item for item in shared(gallery, gallery) if item.row != item.other]
        copied = [item for item in shared(queries, gallery) if item.other != queries.own[item.row]]
        for found, pictures, what in ((twice, gallery, "pictures of the gallery are in it once more"),
                                      (copied, queries, "queries are in the gallery under another name")):
            if len(found) * TOLERATED > len(pictures):
                names = pictures.item_name(found[0].row), gallery.item_name(found[0].other)
                sentences.append(f"{len(found)} of the {len(pictures)} {what} ('{names[0]}' is '{names[1]}'), so they would be "
                                 "found by their bytes; leave one of each.")
        return sentences


def _tables(folder: Path) -> tuple[list[Path], list[Found]]:
    listed, queries = (list(_rows(folder, f"{split}.csv")) for split in ("gallery", "queries"))
    gallery = list(dict.fromkeys(item.file for item in listed))
    rows = {file: row for row, file in enumerate(gallery)}
    holds: dict[str, dict[int, list[Box]]] = {}
    for item in listed:
        if item.name and item.box is None:
            raise UserError(f"'gallery.csv' has no box for '{item.name}' in '{shown(item.file)}'; give x,y,width,height in pixels.")
        if item.box is not None:
            boxes = holds.setdefault(item.name, {}).setdefault(rows[item.file], [])
            if item.box in boxes:
                raise UserError(f"'gallery.csv' has the same box of '{item.name}' in '{shown(item.file)}' twice; leave one.")
            boxes.append(item.box)
    for item in queries:
        if not item.name:
            raise UserError(f"'queries.csv' names no object for '{shown(item.file)}'; write its name into the column object.")
    if twice := [item for item, count in Counter(queries).items() if count > 1]:
        raise UserError(f"'queries.csv' asks for '{twice[0].name}' in '{shown(twice[0].file)}' twice; leave one line.")
    return gallery, [(item, holds.get(item.name, {}), rows.get(item.file)) for item in queries]


def _rows(folder: Path, name: str) -> Iterator[Sighting]:
    """The lines of a table; a box is in its picture, or an error says so."""
    path = folder / name
    if not path.is_file():
        raise UserError(f"'{shown(path)}' is missing; write it with the columns {','.join(COLUMNS)}.")
    lines = lines_of(path)
    if not lines or tuple(cell.strip() for cell in lines[0].split(",")) != COLUMNS:
        raise UserError(f"'{shown(path)}' begins with '{lines[0] if lines else ''}'; expected the line {','.join(COLUMNS)}.")
    for line in lines[1:]:  # each for itself: a quotation mark left open would take in all that follow
        try:
            cells = next(csv.reader([line], strict=True))
        except csv.Error as error:
            raise UserError(f"'{shown(path)}' has the line '{line[:80]}', whose cells cannot be told apart ({error}); write names "
                            "with quotation marks as \"5\"\" nail\".") from None
        if len(cells) != len(COLUMNS):
            raise UserError(f"'{shown(path)}' has a line of {len(cells)} cells, '{','.join(cells)[:80]}'; expected "
                            f"{','.join(COLUMNS)}.")
        image, *numbers, thing = (cell.strip() for cell in cells)
        file = _picture(folder, image, path)
        yield Sighting(file, thing, _box(numbers, file, path) if any(numbers) else None)


def _picture(folder: Path, name: str, said_by: Path) -> Path:
    file = readable_name(below(folder, name, said_by))
    if not file.is_file():
        raise UserError(f"'{shown(said_by)}' names the picture '{name}', which is missing; copy it again, or take its lines out.")
    return file


def _box(numbers: Sequence[str], file: Path, said_by: Path) -> Box:
    """x, y, width, height. UserError unless they are numbers, above 0 where they are lengths, and in the picture `file`."""
    try:
        x, y, wide, high = map(float, numbers)
    except ValueError:
        raise UserError(f"'{shown(said_by)}' has the box '{' '.join(numbers)}' for '{shown(file)}'; expected x, y, width and "
                        "height in pixels.") from None
    width, height = _size(file)
    box = f"'{shown(said_by)}' has the box {x:g}, {y:g}, {wide:g}, {high:g} for '{shown(file)}'"
    if not (wide >= 1 and high >= 1):  # also where one is NaN
        raise UserError(f"{box}, which holds no object; expected x, y, width and height in pixels, the latter from 1.")
    if not (x >= -SLACK and y >= -SLACK and x + wide <= width + SLACK and y + high <= height + SLACK):
        raise UserError(f"{box} of {width} x {height} pixels, outside of it; expected x, y, width and height, not two corners.")
    return x, y, wide, high


def _size(file: Path) -> tuple[int, int]:
    """Width and height. UserError for a damaged picture."""
    from PIL import Image

    try:
        with Image.open(file) as image:
            return image.size
    except Exception:  # Pillow's formats raise nearly anything on damaged bytes
        high, wide = pixels_of(file).shape[1:]  # says what is wrong with it
        return wide, high


def _instre(folder: Path) -> tuple[list[Path], list[Found]]:
    from scipy.io import loadmat

    path = folder / INSTRE
    try:
        content = loadmat(str(path), squeeze_me=True, struct_as_record=False)
        searched, asked, truth = ([*map(_plain, _many(content[key]))] for key in ("imlist", "qimlist", "gnd"))
        held = [[int(row) - 1 for row in _many(item.ok)] for item in truth]
        if odd := [name for name in (*searched, *asked) if not isinstance(name, str)]:
            raise TypeError(f"{odd[0]} is no picture's name")
    except Exception as error:  # of a damaged file scipy raises nearly anything
        reason = (str(error).strip() or type(error).__name__).split("\n")[0]
        raise UserError(f"'{shown(path)}' is no INSTRE truth of imlist, qimlist and gnd ({reason[:100]}); copy it again.") from None
    if len(asked) != len(held) or any(not 0 <= row < len(searched) for rows in held for row in rows):
        raise UserError(f"'{shown(path)}' has {len(asked)} queries and {len(held)} truths, or rows beyond its {len(searched)} "
                        "pictures; copy it again.")
    gallery = [_picture(folder, name, path) for name in searched]
    rows = {file: row for row, file in enumerate(gallery)}
    found = []
    for name, holding in zip(asked, held, strict=True):
        file = _picture(folder, name, path)
        boxes = {row: _instre_boxes(gallery[row], file.parent.name) for row in holding}
        found.append((Sighting(file, f"{file.parent.parent.name}/{file.parent.name}",
                               next(iter(_instre_boxes(file, file.parent.name)), None)), boxes, rows.get(file)))
    return gallery, found


def _many(values: Any) -> list[Any]:
    import numpy as np

    return list(np.atleast_1d(values))


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, str) else value


def _instre_boxes(file: Path, wanted: str) -> list[Box]:
    """The boxes of the class `wanted` in a picture: the one or all of its own class, in M one box around both; of a picture of
    another class the line that belongs to `wanted`, or none where the names do not tell.
    """
    path = file.with_suffix(".txt")
    if not path.is_file():
        raise UserError(f"'{shown(path)}' with the boxes of '{shown(file)}' is missing; copy INSTRE again.")
    boxes = [_box(line.split(), file, path) for line in lines_of(path)]
    if file.parent.name != wanted:
        number = re.match(r"\d+", file.parent.name)
        letter = re.match(rf"{number[0]}([ab])", wanted) if number else None
        place = "ab".index(letter[1]) if letter else len(boxes)
        return boxes[place : place + 1]
    if file.parent.parent.name.upper() == "INSTRE-M" and boxes:
        left, top = min(box[0] for box in boxes), min(box[1] for box in boxes)
        return [(left, top, max(box[0] + box[2] for box in boxes) - left, max(box[1] + box[3] for box in boxes) - top)]
    return boxes


def corners(boxes: Iterable[Box], high: float = math.inf, wide: float = math.inf) -> Tensor:
    """x, y, width, height as float32 (n, 4) x1, y1, x2, y2, cut off at the border of a picture."""
    import torch

    found = [(max(0.0, x), max(0.0, y), min(wide, x + width), min(high, y + height)) for x, y, width, height in boxes]
    return torch.tensor(found, dtype=torch.float32).reshape(-1, 4)

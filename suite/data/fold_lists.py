"""Which pictures serve for which classes in episodes: by their masks, or by the lists that HSNet's authors give."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from suite.data.segmented import SegmentedPictures
from suite.errors import UserError

VISIBLE = 64  # pixels, a cell of a network's maps; of small squares a 128th


def rows_by_class(
    pictures: SegmentedPictures, labels: Sequence[int], least: int, size: int, without: Collection[int] = ()
) -> dict[int, list[int]]:
    """The rows with at least `least` pixels of each of `labels`, numbers from 1, and none of the classes `without`.

    `VISIBLE` pixels must be left when a picture is made as large as `size`: of a class that vanishes nothing can be learned.
    """
    found: dict[int, list[int]] = {label: [] for label in labels}
    for row, (areas, longest) in enumerate(pictures.counted()):
        if areas.keys().isdisjoint(without):
            for label in areas.keys() & found.keys():
                if areas[label] >= least and areas[label] * (size / longest) ** 2 >= min(VISIBLE, size**2 // 128):
                    found[label].append(row)
    return found


def listed_rows(
    pictures: SegmentedPictures, labels: Sequence[int], pairs: Sequence[tuple[str, int]], without: Collection[int], where: str
) -> dict[int, list[int]]:
    """The rows that `pairs` of a picture's name and a class name, `labels` being all that may be there.

    UserError for a class that the fold has on its other side, an unknown picture, and one without a pixel of its class; `where`
    says whose list it is.
    """
    known, counted = {file.name: row for row, file in enumerate(pictures.files)}, pictures.counted()
    found: dict[int, list[int]] = {label: [] for label in labels}
    for name, label in dict.fromkeys(pairs):
        said = f"The list of {where} has '{name}__{label:02d}'"
        if label not in found:
            raise UserError(f"{said}, but '{pictures.classes[label - 1]}' belongs to the other part of the fold: what is tested is "
                            "never trained on; copy the lists again, each fold's from its own file.")
        if name not in known:
            raise UserError(f"{said}, but there is no such picture; copy the pictures or the list again.")
        if label not in counted[known[name]].areas:
            raise UserError(f"{said}, but that picture's mask has no pixel of '{pictures.classes[label - 1]}'; copy the masks or "
                            "the list again.")
        if counted[known[name]].areas.keys().isdisjoint(without):
            found[label].append(known[name])
    return found

"""KITTI's label files: the objects of a frame, as annotated or, with a score behind each line, as somebody's detector found them.

Source: Geiger et al., "Are we ready for Autonomous Driving? The KITTI Vision Benchmark Suite", CVPR 2012, and the object
development kit's description. Camera coordinates have x right, y down, z forward; an object's place is the middle of its bottom.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from suite.data.files import lines_of, shown
from suite.errors import UserError

JUDGED = ("Car", "Pedestrian", "Cyclist")
#: KITTI's types, and those that A*3D has beside them.
KINDS = (*JUDGED, "Van", "Truck", "Person_sitting", "Tram", "Misc", "DontCare", "Bus", "Motorcyclist")
FIELDS = ("type", "truncated", "occluded", "alpha", "left", "top", "right", "bottom", "height", "width", "length", "x", "y", "z",
          "rotation_y", "score")  # fmt: skip


@dataclass(frozen=True)
class Objects:
    """The objects of a frame: `kinds` (n,) text, and `values` float64 (n, 15), the other `FIELDS`; the score of truth is 1."""

    kinds: np.ndarray
    values: np.ndarray

    def __len__(self) -> int:
        return len(self.kinds)

    def __getitem__(self, rows: np.ndarray) -> Objects:
        return Objects(self.kinds[rows], self.values[rows])

    def field(self, name: str) -> np.ndarray:
        """One of `FIELDS` but the type, (n,)."""
        return self.values[:, FIELDS.index(name) - 1]

    @property
    def image_boxes(self) -> np.ndarray:
        """Left, top, right, bottom in pixels, (n, 4)."""
        return self.values[:, 3:7]

    @property
    def boxes(self) -> np.ndarray:
        """(n, 7) as :mod:`suite.metrics.rotated` has them, in the camera's place: x right, y forward, z up."""
        high, wide, long, x, y, z, turn = self.values[:, 7:14].T
        return np.stack([x, z, high / 2 - y, long, wide, high, -turn], axis=1)


def objects(kinds: Sequence[str], values: np.ndarray) -> Objects:
    """`values` (n, 14), or (n, 15) with scores."""
    values = np.asarray(values, float) if len(kinds) else np.zeros((0, len(FIELDS) - 1))
    if values.shape[1] == len(FIELDS) - 2:
        values = np.column_stack([values, np.ones(len(values))])
    return Objects(np.array(kinds, dtype=object), values)


def read_labels(path: Path, scored: bool = False) -> Objects:
    """The objects in a file; with `scored` each line ends with a score.

    UserError for a file that cannot be read and for the first line that is not of the form.
    """
    lines = [line.split() for line in lines_of(path)]
    wanted = len(FIELDS) - (not scored)
    for number, words in enumerate(lines, 1):
        if problem := _problem(words, wanted):
            raise UserError(f"Line {number} of '{shown(path)}' {problem}; expected {' '.join(FIELDS[:wanted])}.")
    values = np.array([[float(word) for word in words[1:]] for words in lines]).reshape(len(lines), wanted - 1)
    return objects([words[0] for words in lines], values)


def write_labels(found: Objects, path: Path, scored: bool = False) -> None:
    """Write objects as KITTI does, numbers with two decimals and scores with six."""
    lines = []
    for kind, row in zip(found.kinds, found.values.tolist(), strict=True):
        words = [kind, f"{row[0]:.2f}", f"{row[1]:.0f}", *(f"{item:.2f}" for item in row[2:14])]
        lines.append(" ".join(words + [f"{row[14]:.6f}"] * scored) + "\n")
    path.write_text("".join(lines), encoding="utf-8")


def _problem(words: Sequence[str], wanted: int) -> str:
    """What is wrong with a line; empty if nothing is."""
    if len(words) != wanted:
        return f"has {len(words)} fields instead of {wanted}"
    if words[0] not in KINDS:
        return f"has the type '{words[0]}', which is none of {', '.join(KINDS)}"
    for name, word in zip(FIELDS[1:], words[1:], strict=False):
        try:
            finite = np.isfinite(float(word))
        except ValueError:
            finite = False
        if not finite:
            return f"has '{word}' as its {name}, which is no finite number"
    numbers = dict(zip(FIELDS[1:], map(float, words[1:]), strict=False))
    if numbers["left"] >= numbers["right"] or numbers["top"] >= numbers["bottom"]:
        return "has the box {:g}, {:g}, {:g}, {:g}".format(*(numbers[name] for name in ("left", "top", "right", "bottom")))
    sizes = [numbers[name] for name in ("height", "width", "length")]
    if words[0] != "DontCare" and min(sizes) <= 0:
        return "has the size {:g} x {:g} x {:g} m".format(*sizes)
    return ""

"""KITTI's average precision of boxes in the image, on the ground and in space, and its average orientation similarity, by the rules
of its development kit.

Of a class and a difficulty only objects that are large, visible and whole enough count; others of the class, and those of its
neighbour (Van for Car, Person_sitting for Pedestrian), are neutral: finding them is neither right nor wrong. So is what is found
with too low a box in the image, whatever its class. A detection in a DontCare region is not wrong, in the image alone: in space
such a region has no place. An overlap counts if it is above the limit, not at it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from suite.metrics.rotated import iou_3d, iou_bev

if TYPE_CHECKING:
    from suite.data.kitti_labels import Objects

View = Literal["2d", "bev", "3d", "aos"]  # the last is "2d" with each right box worth (1 + cos of its error in alpha) / 2


class Level(NamedTuple):
    """A difficulty: an object counts whose box in the image is higher than `height` pixels, with at most the others' values."""

    height: float
    occluded: int
    truncated: float


LEVELS = {"easy": Level(40, 0, 0.15), "moderate": Level(25, 1, 0.30), "hard": Level(25, 2, 0.50)}
OVERLAP = {"Car": 0.7, "Pedestrian": 0.5, "Cyclist": 0.5}  # in all views
NEIGHBOUR = {"Car": "Van", "Pedestrian": "Person_sitting"}
POINTS = 41  # of recall, 0 to 1 in steps of 1/40
NO_ALPHA = -10  # what results files say for a direction that is not known


class Precision(NamedTuple):
    """Average precision in per cent over the recalls 0, 0.1 .. 1 (`r11`) and 1/40, 2/40 .. 1 (`r40`, KITTI's since 2019)."""

    r11: float
    r40: float


@dataclass(frozen=True)
class Frame:
    """What is in a frame and what was found in it, with scores."""

    truth: Objects
    found: Objects
    cases: dict[tuple[str, View, str], _Case] = field(default_factory=dict, repr=False)  # that have been judged

    def case(self, kind: str, view: View, level: str) -> _Case:
        """The frame as a class at a difficulty sees it, worked out once."""
        if (kind, view, level) not in self.cases:
            self.cases[kind, view, level] = _case(self, kind, view, LEVELS[level])
        return self.cases[kind, view, level]

    @cached_property
    def overlaps(self) -> dict[View, np.ndarray]:
        """Intersection over union of what was found and what is there, (found, truth)."""
        first, second = self.found.boxes, self.truth.boxes
        image = _image_overlap(self.found.image_boxes, self.truth.image_boxes)
        return {"2d": image, "bev": iou_bev(first, second), "3d": iou_3d(first, second), "aos": image}

    @cached_property
    def likeness(self) -> np.ndarray:
        """How alike the directions are of what was found and what is there, 0 (turned round) to 1: (found, truth)."""
        return (1 + np.cos(self.found.field("alpha")[:, None] - self.truth.field("alpha"))) / 2


@dataclass(frozen=True)
class _Case:
    """A frame as one class at one difficulty sees it: rows that take no part are left out."""

    overlaps: np.ndarray  # (found, truth)
    least: float  # overlap, which must be above it
    worth: np.ndarray  # of finding it, (found, truth), 0 to 1
    neutral: np.ndarray  # of the truth, bool
    low: np.ndarray  # of what was found, bool
    scores: np.ndarray  # of what was found
    excused: np.ndarray  # of what was found, whether it lies in a DontCare region

    @cached_property
    def taken(self) -> list[float]:
        """The scores of the detections that counted objects take, in the order of the file, each the best free one."""
        free, taken = np.ones(len(self.scores), bool), []
        for overlaps, neutral in zip(self.overlaps.T, self.neutral, strict=True):
            fitting = free & (overlaps > self.least)
            if fitting.any():
                row = int(np.where(fitting, self.scores, -np.inf).argmax())
                free[row] = False
                if not neutral and not self.low[row]:
                    taken.append(float(self.scores[row]))
        return taken

    @cached_property
    def counts(self) -> np.ndarray:
        """Right and wrong detections and the worth of the right ones where only the first 0, 1, .. by falling score are seen:
        (found + 1, 3)."""
        order = np.argsort(-self.scores, kind="stable")
        return np.array([_right_and_wrong(self, order[:count]) for count in range(len(order) + 1)])

    def at(self, thresholds: np.ndarray) -> np.ndarray:
        """The `counts` among those of at least each of `thresholds`: (thresholds, 3)."""
        return self.counts[(self.scores >= thresholds[:, None]).sum(1)]


def average_precision(frames: Sequence[Frame], kind: str, view: View, level: str) -> Precision | None:
    """The average precision of a class over `frames`; None where no object of it counts at that difficulty, and for
    "aos" where a detection has no direction.

    Each counted object takes the detection of highest score that overlaps it enough; the scores taken give at most 41 thresholds
    of equal steps in recall. At each threshold objects take the detection that overlaps them most, and the precision is what is
    right of what is left. A precision is raised to the highest at any greater recall.
    """
    cases = [frame.case(kind, view, level) for frame in frames]
    count = sum(int((~case.neutral).sum()) for case in cases)
    directed = view != "aos" or all((frame.found.field("alpha") != NO_ALPHA).all() for frame in frames)
    if not count or not directed:
        return None
    chosen = np.array(thresholds(np.array([score for case in cases for score in case.taken]), count))
    right, wrong, worth = sum((case.at(chosen) for case in cases), np.zeros((len(chosen), 3))).T
    precisions = np.zeros(POINTS)
    precisions[: len(chosen)] = worth / np.maximum(1, right + wrong)
    raised = np.maximum.accumulate(precisions[::-1])[::-1]
    return Precision(100 * float(raised[::4].mean()), 100 * float(raised[1:].mean()))


def thresholds(scores: np.ndarray, count: int) -> list[float]:
    """Of the `scores` of found ones among `count` objects those at which recall is nearest to 0, 1/40, 2/40 ..., falling."""
    chosen: list[float] = []
    ordered = np.sort(scores)[::-1]
    recall = 0.0
    for row, score in enumerate(ordered.tolist(), 1):
        last = row == len(ordered)
        if not last and (row + 1) / count - recall < recall - row / count:
            continue
        chosen.append(score)
        recall += 1 / (POINTS - 1)
    return chosen


def _case(frame: Frame, kind: str, view: View, level: Level) -> _Case:
    truth, found = frame.truth, frame.found
    height = truth.field("bottom") - truth.field("top")
    hard = (truth.field("occluded") > level.occluded) | (truth.field("truncated") > level.truncated) | (height <= level.height)
    own = truth.kinds == kind
    there = own | (truth.kinds == NEIGHBOUR.get(kind, ""))
    low = np.abs(found.field("bottom") - found.field("top")) < level.height
    judged = (found.kinds == kind) | low
    excused = np.zeros(len(found), bool)
    if view in ("2d", "aos") and (regions := truth.image_boxes[truth.kinds == "DontCare"]).size:
        excused = np.any(_image_overlap(found.image_boxes, regions, of_first=True) > OVERLAP[kind], axis=1)
    overlaps = frame.overlaps[view][judged][:, there]
    worth = frame.likeness[judged][:, there] if view == "aos" else np.ones(overlaps.shape)
    return _Case(overlaps, OVERLAP[kind], worth, (hard | ~own)[there], low[judged], found.field("score")[judged], excused[judged])


def _right_and_wrong(case: _Case, seen: np.ndarray) -> tuple[int, int, float]:
    """Among the rows `seen` of what was found, and the worth of the right ones. A low one is taken where no other fits."""
    free = np.zeros(len(case.scores), bool)
    free[seen] = True
    right, worth = 0, 0.0
    for overlaps, worths, neutral in zip(case.overlaps.T, case.worth.T, case.neutral, strict=True):
        fitting = free & (overlaps > case.least)
        if not fitting.any():
            continue
        high = fitting & ~case.low
        row = int(np.where(high, overlaps, 0).argmax()) if high.any() else int(fitting.argmax())
        free[row] = False
        if not neutral and not case.low[row]:
            right, worth = right + 1, worth + float(worths[row])
    return right, int((free & ~case.low & ~case.excused).sum()), worth


def _image_overlap(first: np.ndarray, second: np.ndarray, of_first: bool = False) -> np.ndarray:
    """Intersection over union of boxes in the image, or over the area `of_first`: (n, m)."""
    wide, high = (np.minimum(first[:, None, end], second[:, end]) - np.maximum(first[:, None, start], second[:, start])
                  for start, end in ((0, 2), (1, 3)))
    both = wide.clip(0) * high.clip(0)
    areas = [(boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) for boxes in (first, second)]
    whole = areas[0][:, None] + np.zeros_like(both) if of_first else areas[0][:, None] + areas[1] - both
    return np.divide(both, whole, out=np.zeros_like(both), where=both > 0)

"""KITTI's average precision against the rules written out word by word, one object after the other, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from shapely.geometry import Polygon

from suite.data.kitti_labels import Objects, objects
from suite.metrics.kitti import LEVELS, Frame, Precision, average_precision, thresholds

# --- the rules, literally: the development kit's evaluate_object.cpp told in plain Python, with shapely's polygons ---

MIN_HEIGHT, MAX_OCCLUSION, MAX_TRUNCATION = (40, 25, 25), (0, 1, 2), (0.15, 0.3, 0.5)
MIN_OVERLAP = {"Car": 0.7, "Pedestrian": 0.5, "Cyclist": 0.5}
NO_DETECTION = -10000000


def rows(found: Objects) -> list[dict]:
    names = ("truncated", "occluded", "alpha", "left", "top", "right", "bottom", "height", "width", "length", "x", "y", "z",
             "rotation_y", "score")
    return [{"type": kind, **dict(zip(names, row, strict=True))} for kind, row in zip(found.kinds, found.values.tolist(), strict=True)]


def ground(item: dict) -> Polygon:
    """The box in the camera's x-z plane: a corner (l, w) goes to x = cos l + sin w, z = -sin l + cos w (the kit's rotation about y)."""
    cos, sin = np.cos(item["rotation_y"]), np.sin(item["rotation_y"])
    half = item["length"] / 2, item["width"] / 2
    return Polygon([(item["x"] + cos * a * half[0] + sin * b * half[1], item["z"] - sin * a * half[0] + cos * b * half[1])
                    for a, b in ((1, 1), (1, -1), (-1, -1), (-1, 1))])


def overlap(view: str, det: dict, gt: dict, over_det: bool = False) -> float:
    if view in ("2d", "aos"):
        wide = min(det["right"], gt["right"]) - max(det["left"], gt["left"])
        high = min(det["bottom"], gt["bottom"]) - max(det["top"], gt["top"])
        if wide <= 0 or high <= 0:
            return 0.0
        a, b = ((item["right"] - item["left"]) * (item["bottom"] - item["top"]) for item in (det, gt))
        return wide * high / (a if over_det else a + b - wide * high)
    one, other = ground(det), ground(gt)
    both = one.intersection(other).area
    if view == "bev":
        return both / (one.area + other.area - both)
    both *= max(0, min(det["y"], gt["y"]) - max(det["y"] - det["height"], gt["y"] - gt["height"]))
    return both / (one.area * det["height"] + other.area * gt["height"] - both)


def clean(gts: list[dict], dets: list[dict], kind: str, level: int) -> tuple[list[int], list[int], int]:
    ignored_gt, ignored_det, count = [], [], 0
    for gt in gts:
        valid = -1
        if gt["type"] == kind:
            valid = 1
        elif (kind == "Pedestrian" and gt["type"] == "Person_sitting") or (kind == "Car" and gt["type"] == "Van"):
            valid = 0
        height = gt["bottom"] - gt["top"]
        ignore = gt["occluded"] > MAX_OCCLUSION[level] or gt["truncated"] > MAX_TRUNCATION[level] or height <= MIN_HEIGHT[level]
        if valid == 1 and not ignore:
            ignored_gt.append(0)
            count += 1
        elif valid == 0 or (ignore and valid == 1):
            ignored_gt.append(1)
        else:
            ignored_gt.append(-1)
    for det in dets:
        if abs(det["bottom"] - det["top"]) < MIN_HEIGHT[level]:
            ignored_det.append(1)
        elif det["type"] == kind:
            ignored_det.append(0)
        else:
            ignored_det.append(-1)
    return ignored_gt, ignored_det, count


def statistics(gts, dets, ignored_gt, ignored_det, kind, view, compute_fp, threshold=0.0):
    assigned = [False] * len(dets)
    below = [compute_fp and det["score"] < threshold for det in dets]
    tp = fp = 0
    similarity = 0.0
    scores = []
    for i, gt in enumerate(gts):
        if ignored_gt[i] == -1:
            continue
        chosen, valid, best, assigned_ignored = -1, NO_DETECTION, 0.0, False
        for j, det in enumerate(dets):
            if ignored_det[j] == -1 or assigned[j] or below[j]:
                continue
            value = overlap(view, det, gt)
            if not value > MIN_OVERLAP[kind]:
                continue
            if not compute_fp:
                if det["score"] > valid:
                    chosen, valid = j, det["score"]
            elif (value > best or assigned_ignored) and ignored_det[j] == 0:
                best, chosen, valid, assigned_ignored = value, j, 1, False
            elif valid == NO_DETECTION and ignored_det[j] == 1:
                chosen, valid, assigned_ignored = j, 1, True
        if valid == NO_DETECTION:
            continue
        if ignored_gt[i] == 1 or ignored_det[chosen] == 1:
            assigned[chosen] = True
        else:
            tp += 1
            similarity += (1 + np.cos(gt["alpha"] - dets[chosen]["alpha"])) / 2
            scores.append(dets[chosen]["score"])
            assigned[chosen] = True
    if compute_fp:
        for j in range(len(dets)):
            if not (assigned[j] or ignored_det[j] != 0 or below[j]):
                fp += 1
        if view in ("2d", "aos"):
            for gt in gts:
                if gt["type"] == "DontCare":
                    for j, det in enumerate(dets):
                        if not (assigned[j] or ignored_det[j] != 0 or below[j]) and overlap(view, det, gt, True) > MIN_OVERLAP[kind]:
                            assigned[j] = True
                            fp -= 1
    return tp, fp, similarity, scores


def literal(frames: list[Frame], kind: str, view: str, level: int) -> tuple[float, float] | None:
    cleaned, scores, total = [], [], 0
    for frame in frames:
        gts, dets = rows(frame.truth), rows(frame.found)
        ignored_gt, ignored_det, count = clean(gts, dets, kind, level)
        cleaned.append((gts, dets, ignored_gt, ignored_det))
        total += count
        scores += statistics(*cleaned[-1], kind, view, False)[3]
    if total == 0:
        return None
    scores.sort(reverse=True)
    chosen, recall = [], 0.0
    for i, score in enumerate(scores):
        left = (i + 1) / total
        right = (i + 2) / total if i < len(scores) - 1 else left
        if right - recall < recall - left and i < len(scores) - 1:
            continue
        chosen.append(score)
        recall += 1 / 40
    precision = [0.0] * 41
    for place, threshold in enumerate(chosen):
        sums = [statistics(*item, kind, view, True, threshold)[:3] for item in cleaned]
        tp, fp, similarity = (sum(item[place] for item in sums) for place in range(3))
        precision[place] = (similarity if view == "aos" else tp) / (tp + fp) if tp + fp else 0.0
    raised = [max(precision[place:]) for place in range(41)]
    return 100 * sum(raised[0:41:4]) / 11, 100 * sum(raised[1:]) / 40


# --- random scenes ---

SIZES = {"Car": (1.5, 1.6, 3.9), "Van": (2.0, 1.9, 4.8), "Pedestrian": (1.75, 0.6, 0.8), "Person_sitting": (1.3, 0.6, 0.8), "Cyclist": (1.7, 0.6, 1.8)}


def scene(seed: int) -> list[Frame]:
    """Frames crowded enough that every rule decides something: neighbours, levels at their limits, double and low detections."""
    draw = np.random.default_rng(seed)
    frames = []
    for _ in range(draw.integers(2, 14)):
        kinds, truth = [], []
        for _ in range(draw.integers(0, 8)):
            kind = draw.choice([*SIZES, "Car", "Car", "DontCare"])
            left, top = draw.uniform(0, 400), draw.uniform(0, 100)
            wide, high = draw.uniform(20, 200), draw.choice([20, 25, 30, 40, 41, 80])
            image = [left, top, left + wide, top + high]
            if kind == "DontCare":
                truth.append([-1, -1, -10, *image, -1, -1, -1, -1000, -1000, -1000, -10])
            else:
                truth.append([draw.choice([0, 0.15, 0.2, 0.3, 0.5, 0.6]), draw.integers(0, 4), draw.uniform(-3, 3), *image, *SIZES[kind],
                              draw.uniform(-4, 4), draw.uniform(1, 2), draw.uniform(5, 12), draw.uniform(-3, 3)])
            kinds.append(kind)
        found_kinds, found = [], []
        for kind, row in zip(kinds, truth, strict=True):
            for _ in range(draw.integers(0, 4)):
                spread = draw.choice([0.01, 0.1, 0.3])
                copied = np.array(row) + np.concatenate([np.zeros(2), draw.normal(0, 1, 1), draw.normal(0, 60 * spread, 4), np.zeros(3), draw.normal(0, spread, 4)])
                if kind == "DontCare":
                    copied[7:14] = [*SIZES["Car"], draw.uniform(-4, 4), 1.5, draw.uniform(5, 12), 0]
                found.append([*copied, draw.choice([0.3, 0.5, draw.uniform(0, 1)])])
                likely = kind if kind in MIN_OVERLAP else {"Person_sitting": "Pedestrian"}.get(kind, "Car")
                found_kinds.append(likely if draw.uniform() < 0.85 else draw.choice(list(MIN_OVERLAP)))
        order = draw.permutation(len(found))
        frames.append(Frame(objects(kinds, np.array(truth).reshape(-1, 14)),
                            objects([found_kinds[row] for row in order], np.array(found).reshape(-1, 15)[order])))
    return frames


@pytest.mark.parametrize("first", range(0, 60, 20))
def test_random_scenes_score_as_the_rules_say(first: int) -> None:
    decided = 0
    for seed in range(first, first + 20):
        frames = scene(seed)
        for kind in MIN_OVERLAP:
            for view in ("2d", "bev", "3d", "aos"):
                for number, level in enumerate(LEVELS):
                    found, wanted = average_precision(frames, kind, view, level), literal(frames, kind, view, number)
                    assert found == (None if wanted is None else pytest.approx(wanted, abs=1e-9)), (seed, kind, view, level)
                    decided += wanted is not None and 0 < wanted[1] < 100
    assert decided > 50


# --- by hand ---


def car(x: float = 0.0, score: float | None = None, kind: str = "Car", high: float = 50.0, occluded: int = 0, z: float = 10.0) -> tuple:
    row = [0, occluded, 0, 100 + 40 * x, 100, 180 + 40 * x, 100 + high, 1.5, 1.6, 4.0, x, 1.6, z, 0.0]
    return kind, row if score is None else [*row, score]


def frame(truth: list[tuple], found: list[tuple]) -> Frame:
    return Frame(objects([kind for kind, _ in truth], np.array([row for _, row in truth]).reshape(-1, 14)),
                 objects([kind for kind, _ in found], np.array([row for _, row in found]).reshape(-1, 15)))


def test_a_perfect_and_an_empty_answer() -> None:
    truth = [car(8 * place) for place in range(4)]
    perfect = frame(truth, [car(8 * place, 0.9 - 0.1 * place) for place in range(4)])
    # four objects give four thresholds, so the curve ends after 3/40: KITTI's interpolation is generous and short
    assert average_precision([perfect], "Car", "3d", "easy") == pytest.approx((100 / 11, 100 * 3 / 40))
    many = [frame([car()], [car(0, 0.001 * number)]) for number in range(1, 401)]
    assert average_precision(many, "Car", "3d", "easy") == pytest.approx((100, 100))
    assert average_precision([frame(truth, [])], "Car", "3d", "easy") == Precision(0, 0)
    assert average_precision([frame([], [car(0, 0.9)])], "Car", "3d", "easy") is None


def test_a_car_seen_from_behind_and_said_to_come_is_worth_nothing() -> None:
    def judged(turn: float) -> Precision | None:
        kind, row = car(0, 0.5)
        row[2] += turn
        return average_precision([frame([car()], [(kind, row)]) for _ in range(80)], "Car", "aos", "easy")

    assert judged(0) == pytest.approx((100, 100)) and judged(np.pi) == pytest.approx((0, 0))
    assert judged(2 * np.pi - np.pi / 2) == pytest.approx((50, 50))
    assert judged(-10) is None  # KITTI's "not known"


def test_half_of_what_is_found_is_wrong() -> None:
    frames = [frame([car()], [car(0, 0.5), car(30, 0.5)]) for _ in range(80)]
    assert average_precision(frames, "Car", "bev", "easy") == pytest.approx((50, 50))


def test_an_overlap_at_the_limit_does_not_count() -> None:
    def judged(found: float) -> Precision | None:
        inside = ("Car", [0, 0, 0, 0, 0, 100, found, 1.5, 1.6, 4.0, 0, 1.6, 10, 0, 0.9])
        truth = ("Car", [0, 0, 0, 0, 0, 100, 100, 1.5, 1.6, 4.0, 0, 1.6, 10, 0])
        return average_precision([frame([truth], [inside])] * 80, "Car", "2d", "easy")

    assert judged(70.0).r40 == 0 and judged(70.1).r40 > 90


def test_an_overlap_at_the_limit_neither_sets_a_threshold_nor_is_right() -> None:
    """Beside frames of better overlap, whose scores set thresholds at which those at the limit are seen, and the other way round."""
    truth = ("Car", [0, 0, 0, 0, 0, 100, 100, 1.5, 1.6, 4.0, 0, 1.6, 10, 0])
    at, good = (("Car", [0, 0, 0, 0, 0, 100, wide, 1.5, 1.6, 4.0, 0, 1.6, 10, 0]) for wide in (70, 100))
    for first, last in ((at, good), (good, at)):
        frames = [frame([truth], [(kind, [*row, score])]) for (kind, row), score in ((first, 0.9), (last, 0.5)) for _ in range(40)]
        found = average_precision(frames, "Car", "2d", "easy")
        # of 80 objects 40 are found: 21 thresholds, recalls 0 to 20/40, where half or all of what is seen is right
        share = 0.5 if first is at else 1.0
        assert found == pytest.approx((100 * share * 6 / 11, 100 * share * 20 / 40))


def test_boxes_stand_on_their_place() -> None:
    """A box of 1.4 times the height on the same ground overlaps by 1 / 1.4, and one that stands 0.3 m higher by 1.2 / 1.8."""
    for high, y, wanted in ((2.1, 1.6, 1 / 1.4), (1.5, 1.3, 1.2 / 1.8), (2.1, 2.2, 1.5 / 2.1)):
        kind, row = car(0, 0.9)
        row[7], row[11] = high, y
        assert frame([car()], [(kind, row)]).overlaps["3d"] == pytest.approx(wanted)


@pytest.mark.parametrize(("truth", "found", "level", "counted", "wrong"), [
    (car(kind="Van"), car(0, 0.9), "easy", 0, 0),  # the neighbour's class
    (car(kind="Truck"), car(0, 0.9), "easy", 0, 1),
    (car(occluded=1), car(0, 0.9), "easy", 0, 0),
    (car(high=40), car(0, 0.9), "easy", 0, 0),  # not higher than 40 pixels
    (car(high=40.1), car(0, 0.9), "easy", 1, 0),
    (car(), car(30, 0.9, high=39.9), "easy", 1, 0),  # a low detection is not wrong
    (car(), car(30, 0.9, high=40), "easy", 1, 1),
    (car(), car(30, 0.9, high=24), "hard", 1, 0),
])
def test_what_counts(truth: tuple, found: tuple, level: str, counted: int, wrong: int) -> None:
    """Each beside eighty plain frames, of whose precision something wrong takes a share."""
    plain = [frame([car()], [car(0, 0.5)]) for _ in range(80)]
    score = average_precision([*plain, frame([truth], [found])], "Car", "3d", level)
    right = 80 + (counted and found[1][10] == 0)
    assert score.r40 == pytest.approx(100 * right / (right + wrong), abs=1e-9)
    assert (average_precision([frame([truth], [found])], "Car", "3d", level) is None) == (not counted)


def test_a_region_excuses_in_the_image_alone() -> None:
    region = ("DontCare", [-1, -1, -10, 600, 0, 900, 300, -1, -1, -1, -1000, -1000, -1000, -10])
    frames = [frame([car(), region], [car(0, 0.5), ("Car", [0, 0, 0, 650, 100, 750, 200, 1.5, 1.6, 4.0, 9, 1.6, 30, 0, 0.5])])] * 80
    assert average_precision(frames, "Car", "2d", "easy").r40 == pytest.approx(100)
    assert average_precision(frames, "Car", "3d", "easy").r40 == pytest.approx(50)


def test_thresholds_step_through_recall() -> None:
    assert thresholds(np.linspace(0, 1, 41), 41) == pytest.approx(np.linspace(1, 0, 41).tolist())
    assert thresholds(np.array([0.2, 0.9]), 2) == [0.9, 0.2]
    assert thresholds(np.array([]), 5) == []
    assert len(thresholds(np.random.default_rng(0).uniform(size=1000), 1000)) == 41

"""COCO scores: equal to pycocotools used directly from files, and right by hand for crowds, ignored and empty cases."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from suite.data import masks
from suite.data.embedded import outlines
from suite.metrics import COCO_SCORES, coco_scores


def mask(x: int, y: int, wide: int, high: int) -> dict[str, Any]:
    drawn = np.zeros((100, 100), bool)
    drawn[y : y + high, x : x + wide] = True
    return outlines.runs(drawn)


def truth(*objects: tuple[int, tuple[int, int, int, int], int, int], images: int = 2) -> dict[str, Any]:
    """`objects` are (image, box x y w h, category, crowd)."""
    return {
        "images": [{"id": number, "width": 100, "height": 100, "file_name": f"{number}.png"} for number in range(1, images + 1)],
        "categories": [{"id": 3, "name": "one"}, {"id": 7, "name": "other"}],
        "annotations": [{"id": number, "image_id": image, "category_id": category, "iscrowd": crowd, "bbox": list(box),
                         "area": float(box[2] * box[3]), "segmentation": mask(*box)}
                        for number, (image, box, category, crowd) in enumerate(objects, 1)],
    }


def result(image: int, box: tuple[int, int, int, int], score: float, category: int = 3) -> dict[str, Any]:
    return {"image_id": image, "category_id": category, "bbox": list(box), "score": score}


@pytest.mark.parametrize("kind", ["bbox", "segm"])
@pytest.mark.parametrize("seed", range(3))
def test_equal_to_pycocotools_used_directly(kind: str, seed: int, tmp_path: Path) -> None:
    draw = random.Random(seed)

    def box() -> tuple[int, int, int, int]:
        wide, high = draw.randint(3, 60), draw.randint(3, 60)
        return draw.randint(0, 99 - wide), draw.randint(0, 99 - high), wide, high

    objects = truth(*[(draw.randint(1, 7), box(), draw.choice((3, 7)), int(draw.random() < 0.15)) for _ in range(40)], images=9)
    results = []
    for item in objects["annotations"] * 2:
        x, y, wide, high = item["bbox"]
        moved = (max(0, x - draw.randint(0, 3)), max(0, y - draw.randint(0, 3)), wide, high) if draw.random() < 0.8 else box()
        found = result(item["image_id"], moved, draw.random(), draw.choice((3, item["category_id"])))
        if kind == "segm":
            coded = masks.encode(mask(*moved), 100, 100)
            found = {**found, "segmentation": {**coded, "counts": coded["counts"].decode()}}
            del found["bbox"]
        results.append(found)
    (tmp_path / "truth.json").write_text(json.dumps(objects))
    (tmp_path / "results.json").write_text(json.dumps(results))
    direct = COCO(str(tmp_path / "truth.json"))
    judge = COCOeval(direct, direct.loadRes(str(tmp_path / "results.json")), kind)
    judge.evaluate()
    judge.accumulate()
    judge.summarize()
    before = json.dumps([objects, results])
    found = coco_scores(objects, results, kind)
    assert json.dumps([objects, results]) == before, "the arguments were changed"
    for name, value in zip(COCO_SCORES, judge.stats, strict=True):
        assert abs(found[name] - (100 * value if value >= 0 else -1)) < 1e-9
    assert 5 < found["AP"] < 95


def test_perfect_boxes_score_a_hundred_and_sizes_without_objects_minus_one() -> None:
    found = coco_scores(truth((1, (10, 10, 20, 20), 3, 0)), [result(1, (10, 10, 20, 20), 0.3)])
    assert [found[name] for name in ("AP", "AP_small", "AR_1")] == pytest.approx([100] * 3)
    assert found["AP_medium"] == found["AP_large"] == found["AR_large"] == -1


def test_a_false_alarm_above_the_hit_halves_the_precision() -> None:
    found = coco_scores(truth((1, (10, 10, 20, 20), 3, 0)), [result(1, (10, 10, 20, 20), 0.3), result(2, (0, 0, 9, 9), 0.9)])
    assert found["AP"] == pytest.approx(50) and found["AR_100"] == pytest.approx(100)


def test_boxes_in_a_crowd_are_neither_right_nor_wrong() -> None:
    objects = truth((1, (10, 10, 20, 20), 3, 0), (1, (50, 50, 40, 40), 3, 1))
    inside = [result(1, (52 + 5 * step, 55, 8, 8), 0.9) for step in range(5)]
    assert coco_scores(objects, [result(1, (10, 10, 20, 20), 0.3), *inside])["AP"] == pytest.approx(100)
    outside = [result(2, (52, 55, 8, 8), 0.9)]
    assert coco_scores(objects, [result(1, (10, 10, 20, 20), 0.3), *outside])["AP"] == pytest.approx(50)


def test_nothing_found_scores_zero_and_nothing_to_find_minus_one() -> None:
    assert coco_scores(truth((1, (10, 10, 20, 20), 3, 0)), [])["AP"] == 0
    assert set(coco_scores(truth(), []).values()) == {-1.0}
    assert set(coco_scores(truth(), [result(1, (1, 1, 5, 5), 0.5)]).values()) == {-1.0}
    assert coco_scores(truth((1, (10, 10, 20, 20), 3, 1)), [result(1, (10, 10, 20, 20), 0.5)])["AP"] == -1  # crowds alone


def test_without_categories_a_wrong_class_counts() -> None:
    objects, found = truth((1, (10, 10, 20, 20), 3, 0)), [result(1, (10, 10, 20, 20), 0.3, category=7)]
    assert coco_scores(objects, found)["AP"] == 0
    assert coco_scores(objects, found, by_category=False)["AP"] == pytest.approx(100)

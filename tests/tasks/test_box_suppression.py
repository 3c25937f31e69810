"""Box suppression: the same frozen candidates for everybody, from a detector or a file, and a curve of latency."""

from __future__ import annotations

import importlib
import json
import math

import pytest
import torch
from click.testing import CliRunner

from suite.artifacts import Candidates
from suite.cli.profile import command as profile
from suite.data import source
from suite.data.coco import Coco
from suite.errors import UserError
from suite.paths import cache_folder
from suite.plan import specs
from suite.runner import profile_again, run_plan
from suite.testing.contract import fit_once

task = importlib.import_module("suite.tasks.box_suppression")


def test_candidates_are_frozen_beside_the_detector(suite_home):
    first, record = fit_once("box_suppression", "greedy_nms")
    detector = first.judges["detector"]
    assert record["parents"] == {"detector": detector.id} and detector.task_name == "coco_detection"
    stored = sorted(detector.artifact.parent.glob("candidates-*.pt"))
    assert len(stored) == 2  # to select on, and to judge on
    before = [path.stat().st_mtime_ns for path in stored]
    _, other = fit_once("box_suppression", "psrr_maxpool_nms")
    assert [path.stat().st_mtime_ns for path in sorted(detector.artifact.parent.glob("candidates-*.pt"))] == before
    assert other["notes"]["candidates_per_image"] == record["notes"]["candidates_per_image"] > other["notes"]["kept_per_image"]
    assert [(item["what"], item["items"]) for item in other["timings"]] == [("latency", 100), ("latency", 200)]
    first, second = (math.log(item["ms"]) for item in other["timings"])
    assert other["notes"]["latency_exponent"] == pytest.approx((second - first) / math.log(2))


def test_the_profile_of_a_suppression_is_its_timings(suite_home):
    _, record = fit_once("box_suppression", "greedy_nms")
    done = CliRunner().invoke(profile, [record["id"], "--update"])
    assert done.exit_code == 0 and done.exception is None, done.output
    assert "latency of 100 " in done.output and "latency of 200 " in done.output


def test_a_recorded_suppression_is_timed_again_as_long_as_its_detector_is_there(suite_home):
    spec, record = fit_once("box_suppression", "greedy_nms")
    stale = {**record, "timings": []}
    again = profile_again(stale, spec)
    assert again["timings"][0]["ms"] > 0 and again["notes"]["kept_per_image"] == record["notes"]["kept_per_image"]
    detector = spec.judges["detector"].artifact
    aside = detector.rename(detector.with_suffix(".aside"))
    try:
        with pytest.raises(UserError, match=f"train it again: .*suite show {detector.parent.name}"):
            profile_again(stale, spec)
    finally:
        aside.rename(detector)


def test_proposals_are_of_one_class(suite_home):
    (record,) = [item for item in run_plan(specs("box_suppression", [("greedy_nms", {})], [0], "smoke", task_options={"stage": "proposals"}))
                 if item["task"]["name"] == "box_suppression"]
    assert record["status"] == "done" and record["parents"]["detector"].startswith("coco_detection/faster_rcnn/")
    assert record["notes"]["candidates_per_image"] > 100 and record["scores"]["AR_100"] > 0


def test_candidates_from_a_file(suite_home, tmp_path):
    dataset = Coco()
    truth = dataset.read(source.embedded_folder(dataset, cache_folder()), "test").truth()
    found = []
    for item in truth["annotations"]:
        if not item["iscrowd"]:
            x, y, wide, high = item["bbox"]
            same = {"image_id": item["image_id"], "category_id": item["category_id"]}
            found.append({**same, "bbox": [x, y, wide, high], "score": 0.9})
            found.append({**same, "bbox": [x + 0.04 * wide, y, wide, high], "score": 0.95})  # a double, and a better score
            found.append({**same, "bbox": [x, y + 0.03 * high, wide, high], "score": 0.8})
    (tmp_path / "candidates.json").write_text(json.dumps(found))
    options = {"file": str(tmp_path / "candidates.json"), "images": 20}
    records = run_plan(specs("box_suppression", [("greedy_nms", {}), ("maxpool_nms", {}), ("psrr_maxpool_nms", {})], [0], "smoke", task_options=options))
    greedy, maxpool, psrr = sorted(records, key=lambda item: item["method"]["name"])
    assert greedy["parents"] == {} and maxpool["status"] == "skipped" and "results file" in maxpool["reason"]
    assert 60 < greedy["scores"]["AP"] < 95 and psrr["scores"]["AP"] > 50  # the double's own box is a little off
    assert greedy["notes"]["kept_per_image"] < 0.4 * greedy["notes"]["candidates_per_image"]
    with pytest.raises(UserError, match="There is no results file"):
        specs("box_suppression", [("greedy_nms", {})], [0], "smoke", task_options={"file": "nowhere.json"})


def test_rows_are_checked():
    item = Candidates(torch.zeros(3, 4), torch.tensor([0.1, 0.3, 0.2]), torch.ones(3, dtype=torch.int64), (9, 9))
    assert task.checked(torch.tensor([0, 2, 1]), item).tolist() == [1, 2, 0]
    for rows in ([0, 0], [3], [-1]):
        with pytest.raises(ValueError, match="different rows"):
            task.checked(torch.tensor(rows), item)


def test_piles_have_the_count_asked_for():
    item = Candidates(torch.rand(7, 2).repeat(1, 2) * 5 + torch.tensor([0.0, 0, 3, 3]), torch.rand(7), torch.ones(7, dtype=torch.int64), (9, 9))
    for count in (3, 7, 50):
        made = task.pile([item], count, torch.Generator().manual_seed(0))
        assert len(made.boxes) == len(made.scores) == count and made.anchors is None
        assert made.boxes.min() >= 0 and made.boxes.max() <= 9

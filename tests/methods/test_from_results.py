"""Results of somebody's detector: scored as pycocotools does, and refused in one sentence where they are damaged."""

from __future__ import annotations

import json

import pytest

from suite import plugins
from suite.data import find, source
from suite.data.results import read_results
from suite.errors import UserError
from suite.paths import cache_folder
from suite.plan import specs
from suite.runner import run_plan
from suite.testing.contract import check_record, check_repeats, check_saved, fit_once

METHOD = plugins.load("baselines", "from_results")


@pytest.fixture
def truth(suite_home):
    dataset = find("coco")
    return dataset.read(source.embedded(dataset, cache_folder()), "test").truth()


def entries(truth, *keys):
    return [{**{key: item[key] for key in ("image_id", "category_id", *keys)}, "score": 0.9} for item in truth["annotations"]
            if not item["iscrowd"] and (keys == ("bbox",) or isinstance(item["segmentation"], dict))]


def test_the_truth_itself_is_perfect(truth, tmp_path):
    (tmp_path / "results.json").write_text(json.dumps(entries(truth, "bbox")))
    spec, record = fit_once("coco_detection", "from_results", options={"file": str(tmp_path / "results.json")})
    check_record(spec, record)
    check_saved(spec)
    check_repeats(spec)
    assert record["scores"]["AP"] > 99.9 and record["scores"]["AR_100"] > 99.9
    assert record["profile"] is None and len(record["notes"]["file_digest"]) == 16


def test_boxes_are_no_masks(truth, tmp_path):
    (tmp_path / "results.json").write_text(json.dumps(entries(truth, "bbox")))
    (record,) = run_plan(specs("coco_segmentation", [("from_results", {"file": str(tmp_path / "results.json")})], [0], "smoke"))
    assert record["status"] == "skipped" and "no masks" in record["reason"]


DAMAGED = {
    "{": "no readable JSON",
    "{}": "holds a dict",
    '[{"image_id": 1}]': "Entry 0 of .* is not of the form",
    '[{"image_id": 1, "category_id": 3, "score": 1, "bbox": [1, 2, 3, 4]}]': "category id 3",
    '[{"image_id": 1, "category_id": 1, "score": NaN, "bbox": [1, 2, 3, 4]}]': "the score nan",
    '[{"image_id": 1, "category_id": 1, "score": 1, "bbox": [1, 2, -3, 4]}]': "the box",
    '[{"image_id": 1, "category_id": 1, "score": 1}]': "neither bbox nor segmentation",
}


@pytest.mark.parametrize("text", DAMAGED)
def test_damaged_files_get_one_sentence(text, tmp_path):
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(UserError, match=DAMAGED[text]) as found:
        read_results(str(tmp_path / "results.json"), {1, 2})
    assert "\n" not in str(found.value)


def test_a_file_must_be_named():
    assert METHOD.asks == ("file",)
    with pytest.raises(UserError, match="add file=RESULTS.json"):
        METHOD().fit(None, None)
    with pytest.raises(UserError, match="There is no results file"):
        read_results("nowhere.json", {1})

"""Results of somebody's detector: scored as pycocotools does, and refused in one sentence where they are damaged."""

from __future__ import annotations

import contextlib
import io
import json

import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from suite import plugins
from suite.data import masks, source
from suite.data.coco import Coco
from suite.data.results import read_results
from suite.errors import UserError
from suite.metrics import COCO_SCORES
from suite.paths import cache_folder
from suite.plan import specs
from suite.runner import run_plan
from suite.testing.contract import check_record, check_repeats, check_saved, fit_once

METHOD = plugins.load("baselines", "from_results")


@pytest.fixture
def truth(suite_home):
    dataset = Coco()
    return dataset.read(source.embedded_folder(dataset, cache_folder()), "test").truth()


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


@pytest.mark.parametrize(("task", "kind"), [("coco_detection", "bbox"), ("coco_segmentation", "segm")])
def test_a_run_scores_what_pycocotools_does_from_the_files(suite_home, truth, tmp_path, task, kind):
    found = [{**item, "score": 1 / number, **({"segmentation": compressed(item["segmentation"])} if kind == "segm" else {})}
             for number, item in enumerate(entries(truth, "bbox", "segmentation") if kind == "segm" else entries(truth, "bbox"), 2)]
    for number, item in enumerate(found):  # some a little off, some of another class or in another image
        item["bbox"] = [item["bbox"][0] + number % 5, *item["bbox"][1:]]
        if number % 7 == 0:
            item["category_id"] = 11
        if number % 11 == 0 and kind == "bbox":
            item["image_id"] = truth["images"][number % 13]["id"]
    (tmp_path / "results.json").write_text(json.dumps(found))
    (record,) = run_plan(specs(task, [("from_results", {"file": str(tmp_path / "results.json")})], [0], "smoke",
                               task_options={"images": 0}))
    with contextlib.redirect_stdout(io.StringIO()):
        objects = COCO(str(source.embedded_folder(Coco(), cache_folder()) / "annotations" / "instances_val2017.json"))
        judged = objects.loadRes([{key: item[key] for key in item if kind != "segm" or key != "bbox"} for item in found])
        judge = COCOeval(objects, judged, kind)
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    assert [record["scores"][name] for name in COCO_SCORES] == pytest.approx([100 * value for value in judge.stats], abs=1e-9)
    assert 10 < record["scores"]["AP"] < 95


def test_masks_alone_give_boxes_too(truth, tmp_path):
    found = entries(truth, "segmentation")
    assert all("bbox" not in item for item in found) and any(isinstance(item["segmentation"]["counts"], list) for item in found)
    half = [{**item, "segmentation": compressed(item["segmentation"])} for item in found[::2]]
    (tmp_path / "results.json").write_text(json.dumps([*half, *found[1::2]]))
    for task, score in (("coco_detection", "AR_100"), ("coco_segmentation", "box_AP")):
        (record,) = run_plan(specs(task, [("from_results", {"file": str(tmp_path / "results.json")})], [0], "smoke",
                                   task_options={"images": 0}))
        assert record["status"] == "done", record["reason"]
        assert 0 < record["scores"][score] < 100 and record["notes"]["results_elsewhere"] == 0
        assert record["notes"]["detections_per_image"] == pytest.approx(len(found) / len(truth["images"]))
    pictures = sorted((cache_folder() / "runs" / record["id"] / "figures").glob("*.png"))
    assert len(pictures) == 8


def compressed(runs):
    coded = masks.encode(runs, *runs["size"])
    return {**coded, "counts": coded["counts"].decode()}


def test_a_file_that_has_changed_is_scored_again(truth, tmp_path):
    path = tmp_path / "results.json"

    def scored():
        (record,) = run_plan(specs("coco_detection", [("from_results", {"file": str(path)})], [0], "smoke"))
        return record["scores"]["AR_100"]

    path.write_text(json.dumps(entries(truth, "bbox")))
    assert scored() > 99.9
    path.write_text(json.dumps([{**item, "bbox": [0, 0, 1, 1]} for item in entries(truth, "bbox")]))
    assert scored() < 1
    path.write_text(json.dumps(entries(truth, "bbox")))
    path = path.rename(tmp_path / "other.json")
    assert not specs("coco_detection", [("from_results", {"file": str(path)})], [0], "smoke").missing, "another name, the same file"


def test_a_mask_of_another_size_gets_one_sentence(truth, tmp_path):
    (tmp_path / "results.json").write_text(json.dumps([{
        "image_id": truth["images"][0]["id"], "category_id": 1, "score": 1, "segmentation": {"size": [5, 7], "counts": [5, 30]}}]))
    with pytest.raises(UserError, match="a mask of 7 x 5 pixels in image 100001, which is") as found:
        run_plan(specs("coco_segmentation", [("from_results", {"file": str(tmp_path / "results.json")})], [0], "smoke"))
    assert "\n" not in str(found.value)


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
    '[{"image_id": "1", "category_id": 1, "score": 1, "bbox": [1, 2, 3, 4]}]': "the image id '1', which is no whole number",
    '[{"image_id": 1, "category_id": 1, "score": 1, "segmentation": [[1, 2, 3, 4, 5, 6]]}]': "no run lengths",
    '[{"image_id": 1, "category_id": 1, "score": 1, "segmentation": {"size": [4, 5], "counts": [5, 16]}}]': "do not fill 5 x 4 pixels",
    '[{"image_id": 1, "category_id": 1, "score": 1, "segmentation": {"size": [4, 5], "counts": ""}}]': "do not fill 5 x 4 pixels",
    '[{"image_id": 1, "category_id": 1, "score": 1, "segmentation": {"size": [4, 5], "counts": "PPPP"}}]': "do not fill 5 x 4 pixels",
    '[{"image_id": 1, "category_id": 1, "score": 1, "segmentation": {"size": [4], "counts": "d0"}}]': "as its segmentation",
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

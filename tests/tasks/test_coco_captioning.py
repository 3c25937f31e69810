"""Captioning: features made once, scores and what stands beside them, somebody's captions, feature files, the Karpathy split."""

from __future__ import annotations

import importlib
import json
import math
import re
import shutil
from collections import Counter

import numpy as np
import pytest
import torch

from suite.context import load
from suite.data import source
from suite.data.captions import CocoCaptions
from suite.errors import UserError
from suite.metrics.captions import caption_scores
from suite.metrics.tokens import tokens
from suite.paths import cache_folder
from suite.plan import specs
from suite.runner import run_plan
from suite.settings import FeatureBatch
from suite.spec import context
from suite.testing.contract import check_record, check_repeats, check_saved, fit_once

task = importlib.import_module("suite.tasks.coco_captioning")


@pytest.fixture
def test_part(suite_home):
    dataset = CocoCaptions()
    return dataset.read(source.embedded_folder(dataset, cache_folder()), "test")


def test_features_are_made_once_and_kept_beside_the_detector(suite_home):
    spec, record = fit_once("coco_captioning", "caption_transformer")
    detector = spec.judges["detector"]
    assert record["parents"] == {"detector": detector.id, "backbone": spec.judges["backbone"].id}
    assert detector.id.startswith("coco_detection/faster_rcnn/") and record["roles"] == {"detector": "backbone", "backbone": "backbone"}
    stored = sorted(detector.artifact.parent.glob("features-*.pt"))
    assert len(stored) == 2  # of the training and of the test pictures
    before = [path.stat().st_mtime_ns for path in stored]
    fit_once("coco_captioning", "get")
    assert [path.stat().st_mtime_ns for path in sorted(detector.artifact.parent.glob("features-*.pt"))] == before
    found = load(stored[0])
    assert all(item.regions.isfinite().all() and item.grid.shape[0] == 49 for item in found.values())
    assert all(1 <= len(item.regions) <= 50 and item.boxes.min() >= 0 and item.boxes.max() <= 1 for item in found.values())


def test_the_setting_has_no_test_picture_and_words_of_the_training_captions_alone(suite_home):
    spec, _ = fit_once("coco_captioning", "caption_transformer")
    run = context(spec, 10)
    setting = spec.task.setting(run)
    assert len(setting.train) == 54 and len(setting.val) == 6 and not set(setting.train.ids) & set(setting.val.ids)
    assert not (set(setting.train.ids) | set(setting.val.ids)) & set(spec.task.test(run).ids)
    words = [word for sentences in setting.train.references for sentence in sentences for word in sentence.split()]
    assert setting.words == sorted(set(words))
    few = spec.task.__class__(images=8, pictures=60, backbone="narrow_resnet10", least=50).setting(run)
    assert few.words == sorted(word for word in set(words) if words.count(word) >= 50)
    assert setting.reward.references is setting.train.references  # frequencies are those of the training captions
    assert setting.reward([setting.train.references[3][0]], [3])[0] > setting.reward([setting.train.references[4][0]], [3])[0]


def test_scores_and_what_stands_beside_them(suite_home, test_part):
    spec, record = fit_once("coco_captioning", "caption_transformer")
    artifact = load(spec.artifact)
    references = [[tokens(caption) for caption in captions] for captions in test_part.captions[:8]]
    said = [item["caption"] for item in artifact.spare["results"]]
    assert [item["image_id"] for item in artifact.spare["results"]] == test_part.ids[:8]
    for name, score in caption_scores(said, references).items():
        assert record["scores"][name] == pytest.approx(score)
    captions = CocoCaptions().read(spec.source.folder, "train").captions
    usual, _ = Counter(tokens(caption) for sentences in captions for caption in sentences).most_common(1)[0]
    for name, score in caption_scores([usual] * 8, references).items():
        assert record["scores"][f"trivial_{name}"] == pytest.approx(score)
    assert record["scores"]["SPICE"] is None and "SPICE" in record["notes"]["not_measured"]
    assert record["scores"]["shuffled_CIDEr-D"] is not None


def test_a_caption_costs_the_encoder_once_and_a_step_for_each_word(suite_home):
    spec, record = fit_once("coco_captioning", "caption_transformer")
    artifact, steps = load(spec.artifact), record["notes"]["steps_per_caption"]
    run = context(spec)
    test = spec.task.featured(spec.task.test(run), run)
    encoders = [task.count(artifact.encoder, tuple(test.features(torch.tensor([row])))).macs for row in range(4)]
    batch = test.features(torch.tensor([0]))
    step = task.count(artifact.step, artifact.step.prepare(batch, steps // 2)).macs
    assert record["notes"]["macs_per_step"] == step
    assert record["profile"]["macs"] > sum(encoders) / 4 + (steps - 1) * step
    assert record["profile"]["uncounted"] == [] and [item["what"] for item in record["timings"]] == ["step", "caption"]


def test_other_pictures_features_are_shuffled_without_a_fixed_point(suite_home):
    """A captioner that names its picture says the others' names when features are shuffled."""
    spec, _ = fit_once("coco_captioning", "caption_transformer")
    run = context(spec)
    references = [[tokens(caption) for caption in captions] for captions in spec.task.test(run).captions]

    class Knowing(torch.nn.Module):
        def forward(self, *features):
            batch, test = FeatureBatch(*features), spec.task.featured(spec.task.test(run), run)
            known = {tuple(test.features(torch.tensor([row])).grid[0, 0].tolist()): row for row in range(len(test))}
            return [references[known[tuple(item[0].tolist())]][0] for item in batch.grid]

    found = spec.task.evaluate(task.Captioner(Knowing()), run)
    own = [sentences[0] for sentences in references]
    assert found["CIDEr-D"] == pytest.approx(caption_scores(own, references)["CIDEr-D"])
    assert found["shuffled_CIDEr-D"] == pytest.approx(caption_scores(own[4:] + own[:4], references)["CIDEr-D"])


def results(pictures, count: int) -> list[dict]:
    return [{"image_id": image, "caption": captions[0], "score": 1} for image, captions
            in zip(pictures.ids[:count], pictures.captions[:count], strict=True)]


def test_anybodys_captions_are_scored(suite_home, test_part, tmp_path):
    (tmp_path / "captions.json").write_text(json.dumps(results(test_part, 20)))  # of more images than are judged
    spec, record = fit_once("coco_captioning", "from_results", options={"file": str(tmp_path / "captions.json")})
    for check in (check_saved, check_repeats):
        check(spec)
    check_record(spec, record)
    references = [[tokens(caption) for caption in captions] for captions in test_part.captions[:8]]
    wanted = caption_scores([tokens(captions[0]) for captions in test_part.captions[:8]], references)
    assert record["scores"]["CIDEr-D"] == pytest.approx(wanted["CIDEr-D"]) and record["scores"]["BLEU-4"] > 50
    assert record["profile"] is None and len(record["notes"]["file_digest"]) == 16
    assert not spec.needs and "shuffled_CIDEr-D" not in record["scores"]  # and no network of ours, nor features


def test_few_pictures_are_tested_on_by_what_the_embedded_ones_taught(suite_home, test_part, tmp_path):
    """As the real subset: detector, backbone and captioner are those of the embedded data."""
    (tmp_path / "annotations").mkdir()
    shutil.copytree(test_part.files[0].parent, tmp_path / "val2017", ignore=lambda _, names: sorted(names)[9:])
    content = {"images": [{"id": image, "file_name": file.name} for image, file in zip(test_part.ids[:9], test_part.files[:9], strict=True)],
               "annotations": [{"id": 5 * row + number, "image_id": test_part.ids[row], "caption": caption}
                               for row in range(9) for number, caption in enumerate(test_part.captions[row])]}
    (tmp_path / "annotations" / "captions_val2017.json").write_text(json.dumps(content))
    usual, _ = fit_once("coco_captioning", "dlct")
    plan = specs("coco_captioning", [("dlct", {})], [0], "smoke", data=tmp_path)
    (spec,) = plan.wanted
    assert {name: item.id for name, item in spec.judges.items()} == {name: item.id for name, item in usual.judges.items()}
    *_, record = run_plan(plan)
    assert record["status"] == "done" and record["task"]["source"]["counts"] == {"test": 9}
    assert record["task"]["source"]["trained_on"]["kind"] == "embedded" and record["id"] != usual.id
    artifact, expected = load(spec.artifact), load(usual.artifact)
    assert artifact.spare["results"] == expected.spare["results"]  # of the same pictures, trained alike


@pytest.mark.parametrize("change, sentence", [
    (lambda items: items[0].update(image_id=5), "a caption for image 5, which is not among the 500 test images"),
    (lambda items: items.pop(3), "no caption for image 300004 (and 0 others of the 8 judged ones)"),
    (lambda items: items[2].update(image_id=300_001), "Entry 2 of '{}' is a second one for image 300001"),
    (lambda items: items[2].update(caption=" "), "Entry 2 of '{}' has the caption ' ', which says nothing"),
    (lambda items: items[2].update(caption=3), "Entry 2 of '{}' has the caption 3, expected text"),
    (lambda items: items[2].pop("caption"), "Entry 2 of '{}' is {{'image_id': "),
    (lambda items: items[2].update(image_id="300003"), "Entry 2 of '{}' is {{'image_id': '300003', "),
])
def test_wrong_results_are_told_in_one_sentence(suite_home, test_part, tmp_path, change, sentence):
    items, path = results(test_part, 8), tmp_path / "captions.json"
    change(items)
    path.write_text(json.dumps(items))
    with pytest.raises(UserError, match=re.escape(sentence.format(path))) as told:
        run_plan(specs("coco_captioning", [("from_results", {"file": str(path)})], [0], "smoke"))
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("content, sentence", [
    (b'[{"image_id": 1, "caption": "caf\xe9"}]', "is not UTF-8 text"), (b"[", "is no readable JSON"), (b"{}", "holds a dict"),
])
def test_files_that_are_no_results(suite_home, tmp_path, content, sentence):
    (tmp_path / "captions.json").write_bytes(content)
    with pytest.raises(UserError, match=sentence):
        run_plan(specs("coco_captioning", [("from_results", {"file": str(tmp_path / "captions.json")})], [0], "smoke"))


def write_features(path, ids, skip: int = -1) -> str:
    h5py = pytest.importorskip("h5py")
    draw = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        for image in ids:
            if image != skip:
                file[f"{image}_features"] = draw.normal(size=(3, 12)).astype(np.float32)
                file[f"{image}_boxes"] = np.float32([[1, 2, 30, 40]] * 3)
                file[f"{image}_size"] = np.int64([100, 120])
                file[f"{image}_grids"] = draw.normal(size=(49, 10)).astype(np.float32)
    return str(path)


def test_a_feature_file_takes_the_place_of_the_recorded_networks(suite_home, test_part, tmp_path):
    train = CocoCaptions().read(source.embedded_folder(CocoCaptions(), cache_folder()), "train")
    path = write_features(tmp_path / "features.hdf5", [*train.ids[:60], *test_part.ids[:8]])
    plan = specs("coco_captioning", [("dlct", {})], [0], "smoke", task_options={"features": path})
    assert [spec.task_name for spec in plan.missing] == ["coco_captioning"]
    (record,) = run_plan(plan)
    assert record["status"] == "done" and record["parents"] == {} and record["profile"]["input"][0] == [3, 12]
    path = write_features(tmp_path / "less.hdf5", [*train.ids[:60], *test_part.ids[:8]], skip=train.ids[7])
    with pytest.raises(UserError, match=f"lacks '{train.ids[7]}_features', which image {train.ids[7]} of the captions needs"):
        run_plan(specs("coco_captioning", [("dlct", {})], [0], "smoke", task_options={"features": path}))


def test_the_karpathy_split_is_judged_on_given_features(suite_home, tmp_path):
    with pytest.raises(UserError, match=r"give features made without them with task.features=FILE.hdf5"):
        specs("coco_captioning", [("get", {})], [0], "smoke", task_options={"split": "karpathy"})
    splits = ["train"] * 5 + ["restval"] * 3 + ["val"] * 2 + ["test"] * 4
    images = [{"filename": f"{row}.jpg", "filepath": "val2014", "cocoid": row, "split": split,
               "sentences": [{"raw": f"A {noun} on a mat."} for noun in ("cat", "dog", "rug", "hat", "pig")[row % 3 :]]}
              for row, split in enumerate(splits)]
    (tmp_path / "dataset_coco.json").write_text(json.dumps({"images": images}))
    path = write_features(tmp_path / "features.hdf5", range(14))
    (record,) = run_plan(specs("coco_captioning", [("get", {})], [0], "smoke", data=tmp_path,
                               task_options={"split": "karpathy", "features": path}))
    assert record["status"] == "done" and record["task"]["source"]["counts"] == {"train": 8, "val": 2, "test": 4}
    assert record["task"]["source"]["name"] == "coco_karpathy" and not math.isnan(record["scores"]["CIDEr-D"])


def test_pictures_show_what_was_said(suite_home):
    spec, _ = fit_once("coco_captioning", "caption_transformer")
    figures = list(spec.task.show(load(spec.artifact), context(spec)))
    assert len(figures) == 8 and figures[0].name == "000000300001"
    (text,) = figures[0].figure.axes[1].texts
    assert text.get_text().startswith("said: ") and text.get_text().count("\n- ") == 5

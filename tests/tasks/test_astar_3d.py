"""A*3D's task: what it hands out, its scores by attribute, results of somebody's detector, pictures, what it counts and times."""

from __future__ import annotations

import importlib
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from suite.artifacts import Detections
from suite.context import Budget, Run
from suite.data import source
from suite.data.kitti import Kitti
from suite.data.kitti_labels import JUDGED, write_labels
from suite.data.kitti_results import of_frames, read_cloud_results
from suite.errors import UserError
from suite.paths import cache_folder
from suite.testing.contract import check_record, check_repeats, check_saved, fit_once

task = importlib.import_module("suite.tasks.astar_3d")


@pytest.fixture
def folder(suite_home) -> Path:
    return source.embedded_folder(Kitti(), cache_folder())


@pytest.fixture
def run(folder, tmp_path) -> Run:
    return Run(0, "smoke", Budget(0), tmp_path, folder)


def zipped(folder: Path, path: Path, change=lambda number, labels: labels, frames: int | None = None) -> Path:
    """The truth of the test frames as results."""
    test = Kitti().read(folder, "test")
    with zipfile.ZipFile(path, "w") as archive:
        for frame in test.frames[:frames]:
            labels = frame.truth[np.isin(frame.truth.kinds, JUDGED)]
            write_labels(change(frame.number, labels), path.with_name("labels.txt"), scored=True)
            archive.write(path.with_name("labels.txt"), f"data/{frame.number}.txt")
    return path


def test_the_truth_itself_is_perfect(folder, tmp_path):
    file = zipped(folder, tmp_path / "results.zip")
    spec, record = fit_once("astar_3d", "from_results", options={"file": str(file)})
    check_record(spec, record)
    check_saved(spec)
    check_repeats(spec)
    assert record["profile"] is None and record["scores"]["trivial_car_3d_moderate_r40"] == 0
    whole = task.Astar3dTask().evaluate(Detections(read_cloud_results(str(file))), Run(0, "short", Budget(0), tmp_path, folder))
    assert all(whole[f"car_{view}_{level}_r40"] == pytest.approx(100) for view in ("2d", "bev", "3d") for level in ("easy", "moderate", "hard"))
    assert whole["pedestrian_3d_moderate_r11"] == pytest.approx(100)


def test_scores_by_attribute_are_those_of_its_frames(folder, run, tmp_path):
    """Nothing is found by night, and boxes lie too far to the side in dense frames."""
    known = {frame.number: frame.attributes for frame in Kitti().read(folder, "test").frames}

    def worse(number, labels):
        labels.values[:, 10] += 0.8 * (known[number]["density"] == "high")
        return labels if known[number]["time"] == "day" else labels[:0]

    found = Detections(read_cloud_results(str(zipped(folder, tmp_path / "results.zip", worse))))
    scores = task.Astar3dTask().evaluate(found, run)
    assert scores["car_3d_moderate_r40_night"] == 0 < scores["car_3d_moderate_r40_day"] < 100
    assert scores["car_3d_moderate_r40_high"] < scores["car_3d_moderate_r40_low"]
    assert {"sun", "cloud", "rain"} < set(run.notes["by_attribute"])
    assert run.notes["by_attribute"]["day"]["car_bev_hard_r11"] >= run.notes["by_attribute"]["day"]["car_3d_hard_r11"]
    assert run.notes["frames_by_attribute"]["day"] + run.notes["frames_by_attribute"]["night"] == 120


def test_training_and_selection_are_apart_and_the_test_frames_elsewhere(run):
    setting = task.Astar3dTask().setting(run)
    ids = [set(part.ids) for part in (setting.train, setting.val, task.Astar3dTask().test(run))]
    assert [len(part) for part in ids] == [288, 32, 120] and not ids[0] & ids[1] and not ids[2] & (ids[0] | ids[1])
    target = setting.train.target(0)
    assert target["boxes"].dtype == torch.float32 and target["boxes"].shape == (len(target["labels"]), 7)
    assert len(task.Astar3dTask(frames=6).test(run)) == 6


def test_pictures_show_boxes_from_above_with_their_heading(folder, run, tmp_path):
    found = Detections(read_cloud_results(str(zipped(folder, tmp_path / "results.zip", frames=6))))
    judge = task.Astar3dTask(frames=6)
    judge.evaluate(found, run)
    drawn = list(judge.show(found, run))
    test = judge.test(run)
    assert [name for name, _ in drawn] == test.ids
    for row, (_, canvas) in enumerate(drawn):
        picture, above = canvas.axes
        count = len(test.target(row)["labels"])
        assert len(picture.patches) == 2 * count and len(above.lines) == 4 * count
        outline = np.array(above.lines[0].get_xydata())
        assert np.abs(outline[:4].mean(0) - test.target(row)["boxes"][0, :2].numpy()).max() < 0.02
        ends = np.array([above.get_xlim(), above.get_ylim()]).T
        places = test.target(row)["boxes"][:, :2].numpy()
        assert (places > ends[0]).all() and (places < ends[1]).all()  # all boxes are seen, and seen from near
        assert (ends[1] - ends[0] <= np.maximum(20, np.ptp(places, axis=0) + 8.1)).all()
        assert np.hypot(*(above.lines[1].get_xydata()[1] - outline[[0, 3]].mean(0))) < 0.02  # the stroke ends in the middle of the front


@pytest.mark.parametrize(("make", "sentence"), [
    (lambda path: None, "There is no results file '.*'; give the path of a zip archive"),
    (lambda path: path.mkdir(), "is a folder; pack its files with 'zip -r results.zip"),
    (lambda path: path.write_text("[]"), "is no readable zip archive"),
    (lambda path: _archive(path, {"readme.md": "no"}), "holds no .txt file"),
    (lambda path: _archive(path, {"000001.txt": "Car 0 0 0 1 1 2 2 1 1 1 0 0 9 0"}), "Line 1 of 'results/results.zip/000001.txt' has 15 fields instead of 16; expected type"),
    (lambda path: _archive(path, {"a/000001.txt": "", "b/000001.txt": ""}), "holds '000001.txt' more than once"),
    (lambda path: _archive(path, {"000001.txt": "Car 0 0 0 1 1 2 2 1 1 1 0 0 9 0 inf"}), "has 'inf' as its score, which is no finite number"),
    (lambda path: _archive(path, {"cafe.txt": ""}) or _flagged(path), "is no readable zip archive"),
    (lambda path: _archive(path, {"../../000001.txt": "Kar"}), "Line 1 of 'results/results.zip/000001.txt' has 1 fields"),
])
def test_bad_results_get_one_sentence(tmp_path, make, sentence):
    path = tmp_path / "results.zip"
    make(path)
    with pytest.raises(UserError, match=sentence) as found:
        read_cloud_results(str(path))
    assert "\n" not in str(found.value)


def _archive(path: Path, files: dict[str, str]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)


def _flagged(path: Path) -> None:
    """Give the names of an archive bytes that are not UTF-8 and the flag that says they are."""
    content = bytearray(path.read_bytes().replace(b"cafe", b"caf\xe9"))
    for beginning, place in ((b"PK\3\4", 7), (b"PK\1\2", 9)):
        content[content.find(beginning) + place] |= 8
    path.write_bytes(content)


def test_what_macos_adds_is_not_read(tmp_path):
    _archive(tmp_path / "a.zip", {"data/000001.txt": "", "__MACOSX/data/._000001.txt": "\0\5\26\7"})
    assert [item["frame"] for item in read_cloud_results(str(tmp_path / "a.zip"))] == ["000001"]


def test_each_judged_frame_needs_a_file(tmp_path):
    _archive(tmp_path / "a.zip", {"000001.txt": "", "000009.txt": "Van 0 0 0 1 1 2 2 1 1 1 0 0 9 0 0.5"})
    entries = read_cloud_results(str(tmp_path / "a.zip"))
    assert [len(item) for item in of_frames(entries, ["000009", "000001"])] == [0, 0]  # a class that is not judged
    with pytest.raises(UserError, match="The results lack 1 of the 2 judged frames, '000002.txt' for one; give a file for each"):
        of_frames(entries, ["000001", "000002"])
    assert len(of_frames(entries, ["000001"])) == 1  # another frame's results do not count


def test_what_is_counted_and_timed(suite_home):
    spec, record = fit_once("astar_3d", "point_pillars")
    assert {item["what"] for item in record["timings"]} == {"whole", "encode", "postprocess"}
    assert record["profile"]["input"] == [8, 40, 40] and record["profile"]["macs"] > 0
    parameters = sum(item.numel() for item in torch.load(spec.artifact, weights_only=False).module.parameters())
    assert record["profile"]["params"] == parameters
    assert record["profile"]["kernel"]["relative_error"] < 1e-4
    assert record["profile"]["kernel"]["macs_share"] > 0.7


def test_data_of_three_frames_is_judged_behind_training_elsewhere(folder, tmp_path):
    few = tmp_path / "object"
    (few / "ImageSets").mkdir(parents=True)
    (few / "training").symlink_to(folder / "training")
    for name, numbers in (("train", "000000\n000001"), ("val", "000002")):
        (few / "ImageSets" / f"{name}.txt").write_text(numbers)
    found = source.locate_data(Kitti(), few, cache_folder())
    assert found.counts == {"test": 3} and found.training.folder == folder and "has no training part" in found.note
    judge, run = task.Astar3dTask(), Run(0, "smoke", Budget(0), tmp_path, found.folder, training_data=found.training.folder)
    assert len(judge.setting(run).train) == 288 and judge.test(run).ids == ["000000", "000001", "000002"]


def test_real_frames_are_scored(real_data, tmp_path):
    folder = source.found_in(Kitti(), real_data)
    if Kitti().trains(folder):
        pytest.skip("a set to train on")
    file = zipped(folder, tmp_path / "results.zip")
    scores = task.Astar3dTask().evaluate(Detections(read_cloud_results(str(file))), Run(0, "short", Budget(0), tmp_path, folder))
    assert scores["car_3d_moderate_r40_night"] == -1  # no list tells the time
    assert scores["pedestrian_3d_easy_r11"] == pytest.approx(100 / 11) and scores["cyclist_3d_hard_r40"] == -1  # hidden too much

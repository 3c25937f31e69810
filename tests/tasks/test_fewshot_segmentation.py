"""The task fewshot_segmentation: what is tested is never trained on, selection, errors, scores, pictures, real layouts."""

from __future__ import annotations

import importlib
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from suite import plugins
from suite.artifacts import EpisodeSegmenter
from suite.context import Budget, Run
from suite.data import source
from suite.errors import UserError
from suite.paths import run_folder
from suite.testing.contract import fit_once

TASK = plugins.load("tasks", "fewshot_segmentation")
module = importlib.import_module("suite.tasks.fewshot_segmentation")


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    """A VOC folder whose masks have class k on the left and class k + 5 (or k - 15) on the right; four pictures of each k and split."""
    folder = tmp_path / "kept" / "VOC2012"  # lists are looked for two folders above
    lists = folder / "ImageSets" / "Segmentation"
    for path in (lists, folder / "JPEGImages", folder / "SegmentationClass"):
        path.mkdir(parents=True)
    for split, name in (("train", "train"), ("test", "val")):
        names = [f"{split}_{label:02d}_{number}" for label in range(1, 21) for number in range(4)]
        for row, item in enumerate(names):
            pixels = np.full((12, 16, 3), row + 100 * (split == "test"), np.uint8)
            pixels[:, 8:] //= 2
            Image.fromarray(pixels).save(folder / "JPEGImages" / f"{item}.png")
            mask = np.full((12, 16), row // 4 + 1, np.uint8)
            mask[:, 8:] = (row // 4 + 5) % 20 + 1
            Image.fromarray(mask).save(folder / "SegmentationClass" / f"{item}.png")
        (lists / f"{name}.txt").write_text("".join(f"{item}\n" for item in names))
    return folder


def run_on(folder: Path, tmp_path: Path, number: int = 0) -> Run:
    return Run(number, "smoke", Budget(0), tmp_path, folder)


def small(**options) -> object:
    return TASK(size=32, least=4, episodes=20, **options)


class Knows(torch.nn.Module):
    """Puts out one constant class, or the left half."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what = what

    def forward(self, query, support, masks):
        found = torch.zeros(len(query), *query.shape[2:])
        if self.what == "left":
            found[:, :, : query.shape[3] // 2] = 1
        if self.what == "all":
            found[:] = 1
        return torch.stack([1 - found, found], 1)


@pytest.mark.parametrize("fold", [0, 3])
@pytest.mark.parametrize("novel", ["background", "exclude"])
def test_classes_of_the_fold_are_never_in_training_episodes(voc, tmp_path, fold, novel):
    task = small(fold=fold, novel=novel)
    run = run_on(voc, tmp_path)
    setting, tested = task.setting(run), {*range(5 * fold + 1, 5 * fold + 6)}
    seen: set[int] = set()
    for episodes in (setting.train, setting.val):
        for seed in range(4 if len(episodes) else 0):
            batch = episodes.batch(torch.arange(len(episodes)), True, torch.Generator().manual_seed(seed))
            seen |= set(batch.labels.tolist())
    assert not seen & tested and len(seen) >= 10
    test = task.pool(run, "test")
    assert set(test.rows) == tested and set(test.batch(torch.arange(len(test)), False, torch.Generator()).labels.tolist()) <= tested
    novel_pixels = [set(item.areas) & tested for row, item in enumerate(setting.train.pictures.counted()) if row in setting.train.labels]
    assert any(novel_pixels) == (novel == "background")
    assert not set(setting.train.queries) & set(setting.val.queries)
    assert set(setting.unlabelled.rows) == set(setting.train.queries) and (setting.unlabelled.labels == -1).all()


def test_selection_depends_on_the_seed_alone(voc, tmp_path):
    held = [small().setting(run_on(voc, tmp_path, number)).val.queries for number in (0, 0, 1)]
    assert held[0] == held[1] != held[2]


def test_scores_of_constant_predictors_are_the_trivial_ones(voc, tmp_path):
    task, run = small(), run_on(voc, tmp_path)
    everything, nothing, left = (task.evaluate(EpisodeSegmenter(Knows(what)), run) for what in ("all", "none", "left"))
    assert everything["miou"] == pytest.approx(everything["trivial_miou"]) == pytest.approx(50) and nothing["miou"] == 0
    assert nothing["fb_iou"] == pytest.approx(25) == pytest.approx(everything["trivial_fb_iou"])
    assert 20 < left["miou"] < 80 and left["trivial_miou"] == pytest.approx(50)
    assert set(run.notes["iou_by_class"]) == {"aeroplane", "bicycle", "bird", "boat", "bottle"}
    assert run.notes["test_left_out"] == "" and run.notes["miou_deviation_of_rounds"] >= 0


def test_test_episodes_do_not_depend_on_the_seed_of_the_run(voc, tmp_path):
    scores = [small().evaluate(EpisodeSegmenter(Knows("left")), run_on(voc, tmp_path, number)) for number in (0, 1)]
    assert scores[0] == scores[1]


@pytest.mark.parametrize("options, sentence", [
    ({"least": 150}, "None of the 5 classes has enough pictures with 150 pixels of it in 'test' of 'VOC2012', and an episode of 1 shot needs 2"),
    ({"shots": 8}, "None of the 5 classes has enough pictures .* and an episode of 8 shots needs 9; lower task.least or task.shots"),
])
def test_too_few_pictures_for_an_episode(voc, tmp_path, options, sentence):
    with pytest.raises(UserError, match=sentence):
        TASK(**{"size": 32, "least": 4, **options}).pool(run_on(voc, tmp_path), "test")


def test_a_class_with_too_few_pictures_is_left_out_only_if_wanted(voc, tmp_path):
    listed = voc / "ImageSets" / "Segmentation" / "val.txt"
    listed.write_text("".join(f"{line}\n" for line in listed.read_text().split() if not line.startswith(("test_02", "test_17"))))
    run = run_on(voc, tmp_path)
    with pytest.raises(UserError, match=r"'bicycle' has 0 picture\(s\) with 4 pixels of it in 'test' of 'VOC2012', and .* type task.leave_out=true "
                                        "to go on without this class"):
        small().pool(run, "test")
    assert set(small(leave_out=True).pool(run, "test").rows) == {1, 3, 4, 5} and run.notes["test_left_out"] == "bicycle"


def test_classes_that_the_tenth_for_selection_leaves_too_few_of_are_named(voc, tmp_path, monkeypatch):
    run, task = run_on(voc, tmp_path), small(leave_out=True)
    whole = task.pool(run, "train")
    names = {label: whole.pictures.classes[label - 1] for label in whole.rows}
    enough = TASK._enough

    def fewer(self, rows, classes, where):
        if "without the tenth" in where:
            rows = {**rows, min(rows): rows[min(rows)][:1]}
        return enough(self, rows, classes, where)

    monkeypatch.setattr(TASK, "_enough", fewer)
    task.setting(run)
    assert run.notes["train_left_out"] == names[min(names)]


def test_hsnets_lists_decide_under_its_protocol(voc, tmp_path):
    lists = voc.parent / "splits" / "pascal"
    for split, part in (("trn", "train"), ("val", "test")):
        (lists / split).mkdir(parents=True)
        for fold in range(4):  # each of its own classes, as the authors' are
            names = [f"{part}_{label:02d}_{number}__{label:02d}" for label in range(5 * fold + 1, 5 * fold + 6) for number in (1, 3)]
            (lists / split / f"fold{fold}.txt").write_text("\n".join(names))
    run = run_on(voc, tmp_path)
    pool = small(protocol="hsnet").pool(run, "test")
    assert pool.rows[2] == [5, 7] and pool.stretched and run.notes["test_pictures_by"] == "HSNet's list"
    assert {4, 5, 6, 7} < set(small().pool(run, "test").rows[2]) and run.notes["test_pictures_by"] == "pixels"
    train = small(protocol="hsnet").pool(run, "train").rows
    assert set(train) == {*range(6, 21)} and train[6] == [21, 23]
    with (lists / "trn" / "fold2.txt").open("a") as file:
        file.write("\ntrain_01_0__01")
    with pytest.raises(UserError, match="'train_01_0__01', but 'aeroplane' belongs to the other part of the fold: what is tested is never"):
        small(protocol="hsnet").pool(run, "train")
    assert set(small(protocol="hsnet", fold=2).pool(run, "train").rows) == {*range(1, 11), *range(16, 21)}
    (lists / "trn" / "fold3.txt").unlink()
    with pytest.raises(UserError, match="The list 'splits/pascal/trn/fold3.txt' is missing near '.*VOC2012', and others of its kind are there"):
        small(protocol="hsnet").pool(run, "train")


def test_orders_of_folds():
    assert small().tested(20) == [1, 2, 3, 4, 5] and small(layout="coco").tested(80)[:3] == [1, 5, 9]
    assert small(layout="coco", order="blocks", fold=1).tested(80) == [*range(21, 41)]


def test_pictures_of_episodes(suite_home):
    _, record = fit_once("fewshot_segmentation", "gqnet")
    assert Image.open(run_folder(record["id"]) / "figures" / "episodes.png").size[0] > 500
    assert record["profile"]["input"] == [[3, 45, 45], [1, 3, 45, 45], [1, 45, 45]]
    picture = torch.full((3, 1, 2), 100, dtype=torch.uint8)
    picture[0] = 130
    assert module.tinted(picture, {module.RIGHT: torch.tensor([[True, False]])})[0].tolist() == [[44, 164, 44], [110, 110, 110]]
    assert module.tinted(picture, {})[0].tolist() == [[130, 100, 100]] * 2


@pytest.mark.parametrize("layout, name", [("voc", "voc_layout_from_coco"), ("coco", "coco")])
def test_real_subsets_are_complete_and_judged_whole(real_data, layout, name, tmp_path):
    task = TASK(layout=layout, size=64, least=200, episodes=10, leave_out=True, fold=2)
    folder = source.found_in(task.dataset(), real_data / name)
    assert task.dataset().check(folder) == []
    run = run_on(folder, tmp_path)
    scores = task.evaluate(EpisodeSegmenter(Knows("all")), run)
    assert 0 < scores["miou"] == scores["trivial_miou"] and run.notes["test_left_out"]
    setting = task.setting(run)
    assert setting.train.batch(torch.arange(1), True, torch.Generator()).query.shape == (1, 3, 64, 64)


def test_damaged_copies_are_refused(voc, tmp_path):
    shutil.rmtree(voc / "SegmentationClass")
    with pytest.raises(UserError, match="'voc' was looked for.*COCO is read with task.layout=coco"):
        source.found_in(TASK().dataset(), voc)

"""The task change_detection: splits, augmentation, overlays, and pictures drawn anew."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from suite import plan, plugins
from suite.cli import command
from suite.context import Budget, Run
from suite.contract import options_of
from suite.data import source
from suite.errors import UserError
from suite.paths import cache_folder, run_folder
from suite.testing.contract import fit_once

TASK = plugins.load("tasks", "change_detection")
module = importlib.import_module("suite.tasks.change_detection")


def test_pictures_and_mask_are_mirrored_together():
    pixels = torch.randint(0, 256, (64, 7, 4, 6), dtype=torch.uint8)
    pixels[:, 6] = pixels[:, 0] % 2
    inputs, targets = module.Mirror(lambda pictures: pictures)(pixels, torch.Generator().manual_seed(0))
    assert torch.equal(targets, inputs[:, 0].long() % 2) and targets.dtype == torch.int64
    mirrored = torch.tensor([torch.equal(one, other) for one, other in zip(inputs, pixels[:, :6].flip(3), strict=True)])
    assert 16 < mirrored.sum() < 48 and torch.equal(inputs[~mirrored], pixels[~mirrored][:, :6])


def test_pairs_of_one_sequence_stay_together(tmp_path):
    for split, sequences in (("train", 12), ("test", 1)):
        for number in range(sequences):
            for view in range(3):
                for role in ("t0", "t1", "mask"):
                    path = tmp_path / "vl" / split / role / f"{number:03d}_{view:02d}_0.png"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(np.full((8, 8), 255 * (role == "mask"), np.uint8)).save(path)
    task = TASK(crop=4)
    train, val = task._split(Run(0, "smoke", Budget(0), tmp_path, tmp_path / "vl"))
    held = {pair.name[:3] for pair in val.pairs}
    assert len(held) == 1 and len(val) == 3 and held.isdisjoint(pair.name[:3] for pair in train.pairs) and len(train) == 33
    setting = task.setting(Run(0, "smoke", Budget(0), tmp_path, tmp_path / "vl"))
    assert setting.shape == (6, 4, 4) and len(setting.train) == 33 * 4


def test_the_overlay_tells_right_false_and_missed_apart():
    picture = np.full((1, 5, 3), 100, np.uint8)
    guess, mask = torch.tensor([[1, 1, 0, 0, 1]]), torch.tensor([[1, 0, 1, 0, 255]])
    found = module.overlay(picture, guess, mask)[0].tolist()
    assert found == [[40, 160, 40], [178, 40, 40], [40, 88, 193], [100, 100, 100], [116, 116, 116]]


def test_the_threshold_reaches_the_reader_and_its_default_no_fingerprint():
    assert TASK(threshold=128).dataset().greys.threshold == 128 and options_of(TASK(threshold=128))["threshold"] == 128
    assert TASK().threshold == 0 and "threshold" not in options_of(TASK())  # records from before it stay


@pytest.fixture
def copies(tmp_path):
    """A folder with a set in each of two layouts, of two test and two training pairs."""
    for name in ("pcd/{}/00000.png", "pcd/{}/00002.png", "street/train/{}/0_0.png", "street/test/{}/1_0.png"):
        for grey, role in enumerate(("t0", "t1", "mask")):
            path = tmp_path / name.format(role)
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.full((8, 8), 20 * grey + len(name), np.uint8)
            pixels[:] = np.eye(8) * 255 if role == "mask" else pixels
            Image.fromarray(pixels).save(path)
    return tmp_path


def settled(data, **options):
    return plan.settled("change_detection", options, data)


def test_the_layout_is_the_one_that_lies_there_and_a_typed_one_wins(copies, monkeypatch):
    monkeypatch.delenv("SUITE_DATA", raising=False)
    assert settled(copies / "pcd") == {"layout": "pcd"} and settled(copies / "street", fold=1) == {"layout": "street", "fold": 1}
    assert settled(copies / "pcd", layout="levir") == {"layout": "levir"}
    assert settled(source.EMBEDDED) == settled(None) == {}
    monkeypatch.setenv("SUITE_DATA", str(copies / "pcd"))
    assert settled(None) == {"layout": "pcd"} and settled(source.EMBEDDED) == {}
    monkeypatch.setenv("SUITE_DATA", str(copies / "pcd" / "mask"))
    assert settled(None) == {}


def test_several_layouts_and_none_get_a_sentence(copies):
    with pytest.raises(UserError, match=r"holds 2 data sets: '.*pcd' \(pcd\), '.*street' \(street\); name the folder of one"):
        settled(copies)
    with pytest.raises(UserError, match=r"hold no change detection pairs in a known layout \(street: .*; levir: .*; pcd: .*\); get"):
        settled(copies / "pcd" / "t0")


def test_a_layout_that_was_found_gives_the_run_that_typing_it_gives(copies, suite_home):
    def made(data, **options):
        return plan.specs("change_detection", [("plain_change", {})], [0], "smoke", data, options).wanted[0]

    found = made(copies / "pcd")
    assert found.id == made(copies / "pcd", layout="pcd").id and "task.layout=pcd" in found.command
    assert made(None).id == made(None, layout="street").id and "task.layout" not in made(None).command


def test_no_change_beside_the_scores():
    counts = torch.tensor([[2, 1, 3, 4], [0, 5, 0, 5]])
    assert module.without_change(counts).tolist() == [[0, 0, 5, 5], [0, 0, 0, 10]]
    trivial = module.scores(module.without_change(counts))
    assert trivial["f1_global"] == trivial["f1_image"] == 0 and trivial["accuracy_global"] == pytest.approx(75)
    assert trivial["miou_global"] == pytest.approx(100 * (0 + 15 / 20) / 2)


def test_pictures_are_drawn_anew_from_the_cached_artifact(suite_home):
    _, record = fit_once("change_detection", "plain_change")
    picture = run_folder(record["id"]) / "figures" / "overlays.png"
    picture.unlink()
    shown = CliRunner().invoke(command, ["show", record["id"], "--pictures"])
    assert shown.exit_code == 0 and shown.output.strip() == str(picture)
    assert Image.open(picture).size[0] > 1000
    assert cache_folder() in picture.parents  # and nowhere near the records
    assert "trivial_f1_image" in CliRunner().invoke(command, ["show", record["id"]]).output


@pytest.mark.parametrize("layout", ["levir", "street"])
def test_real_subsets_are_complete_and_judged_whole(real_data, layout, tmp_path):
    from suite.artifacts import ChangeSegmenter

    task = TASK(layout=layout, crop=32)
    folder = source.found_in(task.dataset(), real_data / "change_detection")
    assert task.dataset().check(folder) == []

    class Nothing(torch.nn.Module):
        def forward(self, pairs):
            return torch.stack([pairs[:, 0] * 0 + 1, pairs[:, 0] * 0], 1)

    run = Run(0, "smoke", Budget(0), tmp_path, folder)
    scores = task.evaluate(ChangeSegmenter(Nothing()), run)
    assert scores["f1_global"] == 0 and scores["accuracy_global"] == scores["trivial_accuracy_global"] > 50
    assert len(task.setting(run).train) > 100

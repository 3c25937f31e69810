"""The task faceforensics: balance, the unseen manipulation, augmentation, videos, trivial scores, anybody's scores, pictures."""

from __future__ import annotations

import importlib
import json

import numpy as np
import pytest
import torch

from suite import plugins
from suite.artifacts import Detections, Network
from suite.context import Budget, Run
from suite.data import source
from suite.errors import UserError
from suite.paths import cache_folder, run_folder
from suite.testing.contract import check_record, check_repeats, check_saved, fit_once

TASK = plugins.load("tasks", "faceforensics")
module = importlib.import_module("suite.tasks.faceforensics")
SMALL = {"size": 16, "train_frames": 1, "test_frames": 2}


@pytest.fixture
def run(suite_home, tmp_path):
    return Run(0, "smoke", Budget(0), tmp_path, source.embedded_folder(TASK(**SMALL).dataset(), cache_folder()))


class Says(torch.nn.Module):
    """Forged by the brightness of the first pixel."""

    def forward(self, faces):
        return torch.stack([0 * faces[:, 0, 0, 0], faces[:, 0, 0, 0]], 1)


def test_classes_weigh_alike_in_training_and_the_unseen_is_not_there(run):
    setting = TASK(**SMALL).setting(run)
    assert setting.train.labels.double().mean() == 0.5 and setting.val.labels.double().mean() == 0.8
    assert len(setting.train) == 160 * 8
    without = TASK(**SMALL, unseen="FaceSwap").setting(run)
    for faces in (without.train, without.val):
        assert {frame.method for frame in faces.frames} == {"", "Deepfakes", "Face2Face", "NeuralTextures"}
    assert without.train.labels.double().mean() == 0.5
    test = TASK(**SMALL, unseen="FaceSwap").test(run)
    assert {frame.method for frame in test.frames} == {"", "FaceSwap"}


def test_no_original_goes_where_forgeries_are_fewer(run, monkeypatch):
    seen = TASK.seen

    def fewer(task, frames):
        frames = seen(task, frames)
        real, forged = (torch.nonzero(frames.labels == label)[:, 0] for label in (0, 1))
        return frames.subset(torch.cat([real, forged[: len(real) - 1]]))

    monkeypatch.setattr(TASK, "seen", fewer)
    labels = TASK(**SMALL).setting(run).train.labels
    assert (labels == 0).sum() == (labels == 1).sum() + 1


def test_an_unseen_manipulation_must_be_one_of_several():
    with pytest.raises(UserError, match="There is no manipulation 'Faceswap' for task.unseen; did you mean 'FaceSwap'"):
        TASK(unseen="Faceswap")
    with pytest.raises(UserError, match="there is none to train on"):
        TASK(manipulations=("FaceSwap",), unseen="FaceSwap")


@pytest.mark.parametrize("names", [("FaceSwap", "FaceSwap"), ("..",), ("a/b",), ("original",), ("FaceSwap", "")])
def test_manipulations_are_different_folders(names):
    with pytest.raises(UserError, match=f"'{names[-1]}' in task.manipulations is no name of a folder"):
        TASK(manipulations=names)


def test_face_and_mask_move_together():
    pixels = torch.zeros(64, 4, 32, 32, dtype=torch.uint8)
    pixels[:, :, 8:20, 4:14] = 255
    faces, masks = module.Augment(10.0)(pixels, torch.Generator().manual_seed(0))
    assert faces.shape == (64, 3, 32, 32) and masks.shape == (64, 1, 32, 32) and masks.min() >= 0 and masks.max() == 1
    assert ((faces[:, :1] > 0) == (masks > 0.5)).float().mean() > 0.99
    mirrored = masks[:, 0, :, :16].mean((1, 2)) < masks[:, 0, :, 16:].mean((1, 2))
    assert 16 < mirrored.sum() < 48 and len({mask.numpy().tobytes() for mask in masks}) > 20, "some are rotated"
    still, _ = module.Augment(0.0)(pixels, torch.Generator().manual_seed(0))
    assert len({face.numpy().tobytes() for face in still > 0}) == 2


def test_scores_of_frames_and_videos_beside_all_real(run):
    task = TASK(**SMALL)
    artifact = Network(Says())
    scores = task.evaluate(artifact, run)
    test = task.test(run)
    assert len(test) == 60 * 5 * 2 and scores["trivial_accuracy"] == pytest.approx(20) and scores["trivial_video_accuracy"] == pytest.approx(20)
    assert scores["trivial_auc"] == scores["trivial_eer"] == scores["trivial_video_auc"] == 50
    forged = 1 / (1 + np.exp(-(test.batch(torch.arange(len(test)), False, torch.Generator())[:, 0, 0, 0].numpy() / 127.5 - 1)))
    assert np.allclose(artifact.spare["forged"], forged, atol=1e-6)
    means = {}
    for frame, score in zip(test.frames, forged, strict=True):
        means.setdefault((frame.method, frame.video), []).append(score)
    assert len(means) == 300 and {len(item) for item in means.values()} == {2}
    said = [np.mean(item) for item in means.values()]
    from sklearn.metrics import roc_auc_score
    assert scores["video_auc"] == pytest.approx(100 * roc_auc_score([int(bool(method)) for method, _ in means], said), abs=1e-3)
    assert {name for name in scores if name.startswith("auc_")} == {f"auc_{name}" for name in module.MANIPULATIONS}


def test_somebodys_scores_are_judged_frame_by_frame(suite_home, run, tmp_path):
    frames = TASK(size=32, train_frames=1, test_frames=1).test(run).frames
    entries = [{"method": frame.method or "original", "video": frame.video, "frame": frame.name, "score": 0.9 if frame.method else 0.2}
               for frame in frames]
    (tmp_path / "scores.json").write_text(json.dumps(entries))
    spec, record = fit_once("faceforensics", "from_results", options={"file": str(tmp_path / "scores.json")})
    check_record(spec, record)
    check_saved(spec)
    check_repeats(spec)
    assert record["scores"]["auc"] == record["scores"]["video_accuracy"] == 100 and record["scores"]["eer"] == 0
    with pytest.raises(UserError, match=rf"none for original/{frames[0].video}/0000 \(and 1 others of the 300 judged"):
        TASK(size=32, train_frames=1, test_frames=1).evaluate(Detections(entries[1:-1]), run)


def test_maps_are_drawn(suite_home):
    _, record = fit_once("faceforensics", "plain_forgery")
    assert (run_folder(record["id"]) / "figures" / "maps.png").is_file() and "not_drawn" not in record["notes"]

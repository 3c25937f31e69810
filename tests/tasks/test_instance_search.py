"""Instance search: scores against a ranking written out, a query's own picture, overlaps, the probe, and pictures."""

from __future__ import annotations

import csv
import importlib
import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from suite.artifacts import Retriever
from suite.context import Budget, Run
from suite.data.instances import COLUMNS
from suite.errors import UserError
from suite.testing.contract import fit_once

task = importlib.import_module("suite.tasks.instance_search")


class Colours(nn.Module):
    """Describes the left and the right half of a picture by their mean colours."""

    def prepare(self, image):
        batch = torch.nn.functional.interpolate(image[None].float(), scale_factor=0.5)
        _, _, high, wide = batch.shape
        return batch, torch.tensor([[0.0, 0, wide / 2, high], [wide / 2, 0, wide, high]])

    def forward(self, batch, boxes):
        halves = batch[0].tensor_split(2, 2)
        return boxes, nn.functional.normalize(torch.stack([half.mean((1, 2)) for half in halves]))

    def query(self, image, boxes):
        left, top, right, bottom = boxes[0].int().tolist()
        return nn.functional.normalize(image[:, top:bottom, left:right].float().mean((1, 2))[None])


RED, GREEN, BLUE, GREY = (250, 5, 5), (5, 250, 5), (5, 5, 250), (90, 90, 90)


@pytest.fixture
def run(tmp_path):
    """Six pictures of two colours; red is the object: its own picture, three that hold it, one faint, and two that do not."""
    halves = [(RED, GREY), (GREY, RED), (GREEN, BLUE), (RED, BLUE), (GREY, GREY), ((150, 90, 90), GREEN)]
    for number, colours in enumerate(halves):
        pixels = np.zeros((20, 40, 3), np.uint8)
        pixels[:, :20], pixels[:, 20:] = colours
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    gallery = [(f"{number}.png", *("" for _ in range(5))) for number in range(6)]
    gallery[0], gallery[1] = ("0.png", 0, 0, 20, 20, "red"), ("1.png", 20, 0, 20, 20, "red")
    gallery[3], gallery[4] = ("3.png", 0, 0, 20, 10, "red"), ("4.png", 0, 0, 10, 20, "red")
    for name, rows in (("gallery", gallery), ("queries", [("0.png", 0, 0, 20, 20, "red")])):
        with (tmp_path / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([COLUMNS, *rows])
    return Run(0, "smoke", Budget(1), tmp_path, tmp_path)


def test_scores_by_hand(run):
    """By the largest cosine with red: 0 (its own, left out), 1 and 3 equal, 5 (pale red), 4 (grey), 2. Relevant are 1, 3 and 4."""
    artifact = Retriever(Colours())
    scores = task.InstanceSearchTask().evaluate(artifact, run)
    assert scores["mAP"] == pytest.approx(100 * (1 / 1 + 2 / 2 + 3 / 4) / 3)
    assert scores["iou"] == pytest.approx(100 * (1 + 0.5 + 0.5) / 3) == scores["best_iou"]
    assert artifact.spare["ranks"][0][0] == [1, 3, 5, 4, 2] and run.notes["regions_per_image"] == 2
    assert 50 < scores["trivial_mAP"] < 80 and math.isnan(run.notes["deviation_of_mAP"] or math.nan)


def test_fewer_pictures_are_searched_for_what_they_hold(run):
    assert task.InstanceSearchTask(images=2).evaluate(Retriever(Colours()), run)["mAP"] == 100
    with pytest.raises(UserError, match="The first 1 pictures hold the object of none of the 1 queries; raise task.images"):
        task.InstanceSearchTask(images=1).evaluate(Retriever(Colours()), run)


def test_a_retriever_gives_a_region_and_lengths_of_one(run):
    class Long(Colours):
        def forward(self, batch, boxes):
            return boxes, 2 * super().forward(batch, boxes)[1]

    class Blind(Colours):
        def forward(self, batch, boxes):
            return boxes[:0], super().forward(batch, boxes)[1][:0]

    for module in (Long(), Blind()):
        with pytest.raises(ValueError, match="as many boxes as descriptors of length 1"):
            task.InstanceSearchTask().evaluate(Retriever(module), run)


def test_a_descriptor_of_nothing_resembles_nothing(run):
    """A black half has length 0, which is no fault of the method; its picture ranks by a cosine of 0."""
    Image.fromarray(np.zeros((20, 40, 3), np.uint8)).save(run.data / "2.png")
    artifact = Retriever(Colours())
    assert task.InstanceSearchTask().evaluate(artifact, run)["mAP"] == pytest.approx(100 * (1 / 1 + 2 / 2 + 3 / 4) / 3)
    assert artifact.spare["regions"][2].features.norm() == 0


def test_probed_pictures_have_the_gallerys_sizes(run):
    """Of equally many regions, the pictures of either shape are counted in their share."""
    for row in (1, 3, 5):
        Image.fromarray(np.zeros((30, 40, 3), np.uint8)).save(run.data / f"{row}.png")
    artifact = Retriever(Colours())
    plugin = task.InstanceSearchTask()
    plugin.evaluate(artifact, run)
    assert {tuple(batch.shape[2:]) for batch, _ in plugin.probe(artifact, run).inputs} == {(10, 20), (15, 20)}
    assert run.notes["pixels_per_probed_image"] == run.notes["pixels_per_image"] == 250


def test_pictures_are_probed_over_the_numbers_of_regions_and_shown(run):
    plugin, artifact = task.InstanceSearchTask(), Retriever(Colours(), gradients=True)
    plugin.evaluate(artifact, run)
    probe = plugin.probe(artifact, run)
    assert probe.gradients and len(probe.inputs) == task.PROBED and run.notes["regions_per_probed_image"] == 2
    (figure,) = plugin.show(artifact, run)
    assert figure.name == "query-0000" and len(figure.figure.axes) == 1 + task.FIRST == 6


def test_its_methods_search_what_was_recorded(suite_home):
    for name in ("layerwise_backprop", "global_pooling"):
        _, record = fit_once("instance_search", name)
        assert record["budget"] == {"allowed": 32, "total": 0, "final": 0}
        assert [item.split("/")[:2] for item in record["parents"].values()] == [["imagenet", "plain"]]
        assert [item["what"] for item in record["timings"]] == ["describe", "search"]
        outside = record["profile"]["kernel"]["outside"]
        if name == "layerwise_backprop":  # the whole of it runs in torch, and the record says why
            assert any("back-propagates" in item for item in outside) and record["profile"]["kernel"]["macs_share"] == 0
            wanted = record["profile"]["macs"]
        else:
            assert record["profile"]["kernel"]["macs_share"] > 0.95 and record["profile"]["macs"] < wanted / 2

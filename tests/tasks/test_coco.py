"""Pictures of the tasks on COCO's layout: a colour for each category, masks where masks are judged, found boxes in their place."""

from __future__ import annotations

import importlib

import pytest

from suite.artifacts import Detector, Timed
from suite.context import Budget, Run
from suite.data import source
from suite.data.coco import Coco
from suite.nn import NarrowResNet
from suite.nn.detection import Body, retinanet
from suite.paths import cache_folder

task = importlib.import_module("suite.tasks._coco")


@pytest.fixture
def scenes(suite_home):
    dataset = Coco()
    return dataset.read(source.embedded_folder(dataset, cache_folder()), "test")


@pytest.mark.parametrize("masks", [False, True])
def test_pictures_show_boxes_and_where_they_are_judged_masks(scenes, masks):
    results = [{**item, "score": 0.9} for item in scenes.truth()["annotations"] if not item["iscrowd"]]
    results.append({**results[0], "score": task.SHOWN_SCORE - 0.01})  # too unsure to be shown
    drawn = list(task.pictures(scenes, results, masks))
    assert [name for name, _ in drawn] == [f"{identity:012d}" for identity in scenes.ids[: task.PICTURES]]
    for row, (_, canvas) in enumerate(drawn):
        objects = scenes.annotations.get(scenes.ids[row], [])
        left, right = canvas.axes
        for axes, items in ((left, objects), (right, [item for item in objects if not item["iscrowd"]])):
            assert len(axes.images) == 1 + masks * len(items)
            found = [(patch.get_x() + 0.5, patch.get_y() + 0.5, patch.get_width(), patch.get_height()) for patch in axes.patches]
            assert found == [tuple(item["bbox"]) for item in items]
            assert all(text.get_text().startswith(scenes.categories[[item["id"] for item in scenes.classes].index(item["category_id"])])
                       for text, item in zip(axes.texts, items, strict=True))


def test_every_category_has_a_colour_of_its_own(scenes):
    results = []
    drawn = task.pictures(scenes, results, masks=False)
    colours = {text.get_text(): patch.get_edgecolor() for _, canvas in drawn
               for text, patch in zip(canvas.axes[0].texts, canvas.axes[0].patches, strict=True)}
    hues = sorted(colours.values())
    assert len(colours) >= 4 and all(max(abs(a - b) for a, b in zip(one, other, strict=True)) > 0.25
                                     for place, one in enumerate(hues) for other in hues[:place])


@pytest.mark.parametrize(("whole", "wanted"), [(5.0, 3.0), (1.5, 0.0)])
def test_post_processing_is_what_the_whole_takes_beside_the_body(scenes, monkeypatch, tmp_path, whole, wanted):
    body = retinanet(NarrowResNet(2), 3, 64, width=8, anchor=4.0, first=1)
    detector, run = Detector(body, Body(body)), Run(0, "smoke", Budget(0), tmp_path, scenes.files[0].parents[1])
    medians = {"whole": {"median_ms": whole, "noisy": False}, "body": {"median_ms": 2.0, "noisy": True}}
    monkeypatch.setattr(task, "call_latency", lambda contenders, lock: {name: medians[name] for name in contenders})
    found = task.CocoTask().timings(detector, run)
    assert found == (Timed("whole", whole), Timed("postprocess", wanted, noisy=True))  # less than nothing is noise

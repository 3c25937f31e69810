"""The readers on real images, where ``SUITE_DATA`` names a folder of them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from suite.data import source
from suite.data.captions import CocoCaptions
from suite.data.cifar import Cifar10, Cifar100
from suite.data.cifar10n import Cifar10N
from suite.data.coco import Coco
from suite.data.dataset import Dataset
from suite.data.har import AstarHar
from suite.data.imagenet import ImageNet
from suite.data.kitti import JUDGED, Kitti
from suite.errors import UserError

STANDING = os.environ.get("SUITE_DATA", "")
DATASETS: tuple[Dataset, ...] = (AstarHar(), Cifar10(), Cifar10N(), Cifar100(), Coco(), CocoCaptions(), ImageNet(64), Kitti())


def real(dataset: Dataset) -> source.Source:
    """The user's copy; the test is skipped where there is none."""
    if not STANDING:
        pytest.skip("SUITE_DATA names no folder of real data")
    try:
        return source.source_of(dataset, source.found_in(dataset, Path(STANDING)))
    except UserError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("dataset", DATASETS, ids=lambda dataset: dataset.name)
def test_a_real_copy_is_complete(dataset: Dataset) -> None:
    found = real(dataset)
    assert found.kind in ("subset", "official")
    assert dataset.check(found.folder) == []


def test_cifar10_labels_fit_the_pictures() -> None:
    found = real(Cifar10())
    images = Cifar10().read(found.folder, "train")
    assert len(images) == found.counts["train"]
    blue_minus_red = (images.values[:, 2].float() - images.values[:, 0].float()).mean((1, 2))
    by_class = [blue_minus_red[images.labels == label].mean().item() for label in range(10)]
    assert {by_class.index(value) for value in sorted(by_class)[-2:]} == {0, 8}  # airplanes and ships: sky and sea


def test_imagenet_images_are_pictures() -> None:
    found = real(ImageNet(64))
    images = ImageNet(64).read(found.folder, "test")
    batch = images.batch(torch.arange(8), False, torch.Generator())
    assert batch.shape == (8, 3, 64, 64)
    assert batch.float().std((1, 2, 3)).min() > 10


def test_coco_boxes_are_those_of_the_masks() -> None:
    found = real(Coco())
    images = Coco().read(found.folder, "test")
    targets = [images.target(row, with_masks=True) for row in range(len(images))]
    assert any(target["iscrowd"].any() for target in targets)
    errors = []
    for target in targets:
        for drawn, box in zip(target["masks"], target["boxes"], strict=True):
            rows, columns = torch.nonzero(drawn, as_tuple=True)
            tight = torch.stack([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]).float()
            errors.append((tight - box).abs().max())
    assert (torch.stack(errors) <= 2).float().mean() > 0.95  # pixels; a few of the official boxes are loose


def test_kitti_boxes_meet_points_and_pictures() -> None:
    """Where a label is, the lidar has points; and its corners, through the calibration, are where its box in the picture is."""
    found = real(Kitti())
    images = Kitti().read(found.folder, "test")
    for row, frame in enumerate(images.frames):
        truth = frame.truth[np.isin(frame.truth.kinds, JUDGED)]
        points, boxes = images.points(row).numpy(), frame.calibration.lidar_boxes(truth)
        for box in boxes:
            away = points[:, :3] - box[:3]
            assert (np.abs(away) < box[3:6].max() / 2).all(1).sum() > 5
        drawn = frame.calibration.labels(boxes, truth.kinds, np.ones(len(truth)), frame.size)
        assert np.abs(drawn.values[:, 7:14] - truth.values[:, 7:14]).max() < 1e-6
        assert np.abs(drawn.image_boxes - truth.image_boxes).max() < 12  # a walker's legs reach out of a box by as much

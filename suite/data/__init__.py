"""Readers of official data layouts and the embedded data that stands in where a user has none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from suite.errors import UserError, nearest

if TYPE_CHECKING:
    from suite.data.source import Dataset

NAMES = ("astar_har", "cifar10", "cifar100", "coco", "imagenet")


def find(name: str) -> Dataset:
    """The data set called `name`, with its default options; UserError for an unknown name."""
    if name == "imagenet":
        from suite.data.imagenet import ImageNet

        return ImageNet()
    if name == "astar_har":
        from suite.data.har import AstarHar

        return AstarHar()
    if name == "coco":
        from suite.data.coco import Coco

        return Coco()
    from suite.data.cifar import Cifar10, Cifar100

    if name == "cifar10":
        return Cifar10()
    if name == "cifar100":
        return Cifar100()
    raise UserError(f"There is no data set '{name}'{nearest(name, NAMES)}")

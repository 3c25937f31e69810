"""CIFAR-10: ten classes of 32x32 colour images (Krizhevsky 2009)."""

from __future__ import annotations

from dataclasses import dataclass

from suite.tasks._cifar import CifarTask

from suite.data.cifar import Cifar10


@dataclass
class Cifar10Task(CifarTask):
    """Classification of CIFAR-10 in its official pickle layout."""

    title = "CIFAR-10 classification"
    data = "cifar10"
    version = 1
    classes = 10
    mean = (0.4914, 0.4822, 0.4465)
    deviation = (0.2470, 0.2435, 0.2616)

    def dataset(self) -> Cifar10:
        return Cifar10()

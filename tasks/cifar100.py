"""CIFAR-100: a hundred classes of 32x32 colour images (Krizhevsky 2009)."""

from __future__ import annotations

from dataclasses import dataclass

from suite.tasks._cifar import CifarTask

from suite.data.cifar import Cifar100


@dataclass
class Cifar100Task(CifarTask):
    """Classification of CIFAR-100 in its official pickle layout."""

    title = "CIFAR-100 classification"
    data = "cifar100"
    version = 1
    classes = 100
    mean = (0.5071, 0.4865, 0.4409)
    deviation = (0.2673, 0.2564, 0.2762)

    def dataset(self) -> Cifar100:
        return Cifar100()

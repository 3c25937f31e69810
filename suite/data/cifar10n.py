"""CIFAR-10N: labels that people gave to CIFAR-10's training images, beside a CIFAR-10 folder.

Source: Wei et al., "Learning with Noisy Labels Revisited: A Study Using Real-World Human Annotations", ICLR 2022, and its
repository UCSC-REAL/cifar-10-100n: ``data/CIFAR-10_human.pt`` is a dictionary of arrays (N,) in the order of
``data_batch_1`` to ``data_batch_5``. ``clean_label`` are CIFAR-10's own labels, ``random_label1`` to ``random_label3`` one
person's each, ``aggre_label`` their majority, ``worse_label`` a wrong one wherever there is one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import numpy as np

from suite.data.cifar import Cifar10
from suite.data.dataset import near
from suite.data.files import shown
from suite.data.pickles import load_pickle
from suite.errors import UserError

FILE = "CIFAR-10_human.pt"
LABELS = ("clean_label", "worse_label", "aggre_label", "random_label1", "random_label2", "random_label3")


class Cifar10N(Cifar10):
    """The CIFAR-10 folder that has the label file near it; `read` gives CIFAR-10's own labels. There is no embedded form."""

    name = "cifar10n"
    title = "CIFAR-10N"
    layout = f"the folder {Cifar10.archive_folder} with {FILE} or data/{FILE} beside it or in a folder beside it"
    where_to_get = f"data/{FILE} of the repository UCSC-REAL/cifar-10-100n on GitHub, and {Cifar10.where_to_get}"
    md5 = Cifar10.md5 | {FILE: "96644db5574813cae939af5f7f2a0aec"}

    def matches(self, folder: Path) -> bool:
        return super().matches(folder) and near(folder, FILE) is not None

    def make(self, folder: Path) -> None:
        raise UserError(f"The labels that people gave cannot be made up, so {self.title} has no embedded form; get "
                        f"{self.where_to_get}, and name a folder that holds both with --data.")

    def files(self, folder: Path) -> dict[str, Path]:
        return super().files(folder) | {FILE: near(folder, FILE) or folder / FILE}

    def parts(self, folder: Path) -> Iterable[Callable[[], object]]:
        return [*super().parts(folder), partial(self.label_sets, folder)]

    def label_sets(self, folder: Path) -> dict[str, np.ndarray]:
        """The labels int64 (N,) of the training images by the names of `LABELS`.

        UserError for a damaged file, another number of labels than of images, and where ``clean_label`` are not the images'.
        """
        path = self.files(folder)[FILE]
        content = load_pickle(path, shown(path), LABELS)
        true = self.read(folder, "train").labels.numpy()
        sets = {name: self.whole_numbers(content[name], f"'{name}' in '{shown(path)}'", len(true), self.classes) for name in LABELS}
        if len(rows := np.flatnonzero(sets["clean_label"] != true)):
            raise self.damaged(f"'clean_label' in '{shown(path)}' is {sets['clean_label'][rows[0]]} in row {rows[0]} and the image "
                               f"in '{folder.name}' is of class {true[rows[0]]}: these are other images, or in another order")
        return sets

    def describe(self, folder: Path) -> dict[str, str]:
        """Beside the images' lines the share of labels that are not the clean ones."""
        sets = self.label_sets(folder)
        wrong = [f"{name} {(labels != sets['clean_label']).mean():.2%}" for name, labels in sets.items()]
        return super().describe(folder) | {"wrong": ", ".join(wrong[1:])}

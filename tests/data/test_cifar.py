"""The CIFAR readers: right data read right, wrong data refused with a sentence."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from suite.data import source
from suite.data.cifar import Cifar10, Cifar100
from suite.data.embedded import procedural
from suite.data.embedded.writing import pickled
from suite.errors import UserError

CIFAR10, CIFAR100 = Cifar10(), Cifar100()


def test_reads_pixels_and_labels_in_the_files_order(cifar10: Path) -> None:
    images = CIFAR10.read(cifar10, "train")
    assert images.labels.tolist() == [row % 10 for row in range(20)] * 5
    expected = np.arange(20 * 3072).reshape(20, 3, 32, 32) % 251
    picked = images.batch(torch.tensor([21, 3]), True, torch.Generator())
    assert picked.dtype == torch.uint8
    assert np.array_equal(picked.numpy(), expected[[1, 3]])
    part = images.subset(torch.tensor([5, 99]))
    assert len(part) == 2 and part.labels.tolist() == [5, 9]
    assert len(CIFAR10.read(cifar10, "test")) == 20


def test_describes_a_subset(cifar10: Path) -> None:
    assert CIFAR10.check(cifar10) == []
    assert CIFAR10.classify(cifar10) == "subset"
    assert CIFAR10.counts(cifar10) == {"train": 100, "test": 20}
    assert CIFAR10.describe(cifar10)["test"].startswith("20 images of 3 x 32 x 32, labels 0 to 9, 2 images")


def edit(path: Path, **changes: object) -> None:
    """Replace entries of a pickled dictionary; None removes one."""
    content = pickle.loads(path.read_bytes(), encoding="latin1") | changes
    path.write_bytes(pickle.dumps({key: value for key, value in content.items() if value is not None}))


class Payload:
    def __reduce__(self):
        return os.system, ("true",)


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


BREAKS: dict[str, Callable[[Path], None]] = {
    "'cifar-10-batches-py/data_batch_3' is not a complete pickle": shorten,
    "'cifar-10-batches-py/data_batch_3' wants to run code .*system": lambda path: edit(path, data=Payload()),
    "'cifar-10-batches-py/data_batch_3' is missing": lambda path: path.unlink(),
    "'cifar-10-batches-py/data_batch_3' lacks 'labels'": lambda path: edit(path, labels=None),
    "'cifar-10-batches-py/data_batch_3' holds no images": lambda path: edit(path, data=np.empty((0, 3072), np.uint8)),
    "'cifar-10-batches-py/data_batch_3' holds a 'list'": lambda path: path.write_bytes(pickle.dumps([1])),
    r"is uint8 \(20, 1024\), expected uint8 \(N, 3072\)": lambda path: edit(path, data=np.zeros((20, 1024), np.uint8)),
    r"is float32 \(20, 3072\), expected": lambda path: edit(path, data=np.zeros((20, 3072), np.float32)),
    "'data' in '.*data_batch_3' is list": lambda path: edit(path, data=[1, 2]),
    "has 19 entries for 20 images": lambda path: edit(path, labels=[0] * 19),
    "is 10 in row 7, expected 0 to 9": lambda path: edit(path, labels=[0] * 7 + [10] * 13),
    "is -1 in row 19, expected 0 to 9": lambda path: edit(path, labels=[0] * 19 + [-1]),
    "is not a list of integers": lambda path: edit(path, labels=["cat"] * 20),
    "'labels' in '.*data_batch_3' is not a list": lambda path: edit(path, labels=[[1], [1, 2]] * 10),
}


@pytest.mark.parametrize("sentence", BREAKS)
def test_a_broken_batch_gives_one_sentence(cifar10: Path, sentence: str) -> None:
    BREAKS[sentence](cifar10 / "data_batch_3")
    before = sorted(path.name for path in cifar10.iterdir())
    with pytest.raises(UserError, match=sentence) as caught:
        source.locate_data(CIFAR10, cifar10, cifar10.parent / "cache")
    assert "\n" not in str(caught.value)
    assert "official" in str(caught.value)  # where to get it
    assert CIFAR10.check(cifar10) == [str(caught.value)]
    assert sorted(path.name for path in cifar10.iterdir()) == before
    assert not (cifar10.parent / "cache").exists()


def test_broken_names_give_a_sentence(cifar10: Path) -> None:
    edit(cifar10 / "batches.meta", label_names=["cat"])
    assert "has 1 entries, expected 10 names" in CIFAR10.check(cifar10)[0]


def test_check_names_every_problem(cifar10: Path) -> None:
    (cifar10 / "data_batch_2").unlink()
    shorten(cifar10 / "test_batch")
    assert len(CIFAR10.check(cifar10)) == 2


def test_cifar100_checks_both_labels(tmp_path: Path) -> None:
    fine = [row % 100 for row in range(200)]
    for value, name in enumerate(("train", "test")):
        content = {"data": np.full((200, 3072), value, np.uint8), "fine_labels": fine, "coarse_labels": [x // 5 for x in fine]}
        (tmp_path / name).write_bytes(pickled(content))
    names = {"fine_label_names": ["x"] * 100, "coarse_label_names": ["y"] * 20}
    (tmp_path / "meta").write_bytes(pickled(names))
    assert CIFAR100.check(tmp_path) == []
    assert CIFAR100.read(tmp_path, "train").labels.tolist() == fine
    edit(tmp_path / "train", coarse_labels=[20] * 200)
    with pytest.raises(UserError, match=r"'coarse_labels' in .* is 20 in row 0, expected 0 to 19"):
        CIFAR100.read(tmp_path, "train")


def test_a_full_set_with_a_wrong_digest_is_not_the_official_one(cifar10: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(CIFAR10), "official_counts", ({"train": 100, "test": 20},))
    assert CIFAR10.classify(cifar10) == "subset"
    problems = CIFAR10.check(cifar10)
    assert len(problems) == 7
    assert "its MD5 sum is not the official c99cafc152244af753f735de768cd75f" in problems[0]


def test_the_official_digests_make_it_official(cifar10: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import hashlib

    sums = {path.name: hashlib.md5(path.read_bytes()).hexdigest() for path in cifar10.iterdir()}
    monkeypatch.setattr(type(CIFAR10), "md5", sums)
    monkeypatch.setattr(type(CIFAR10), "official_counts", ({"train": 100, "test": 20},))
    assert CIFAR10.classify(cifar10) == "official"


def test_embedded_names_are_told_from_others(cifar10: Path) -> None:
    edit(cifar10 / "batches.meta", label_names=procedural.class_names(10))
    assert CIFAR10.classify(cifar10) == "embedded"

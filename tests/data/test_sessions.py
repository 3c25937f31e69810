"""CIFAR-100 in sessions: by lists, which are checked, and without lists by the labels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from suite.data import source
from suite.data.cifar import Cifar100
from suite.data.embedded.writing import pickled
from suite.data.sessions import Cifar100Sessions, Session, made_sessions
from suite.errors import UserError

DATASET = Cifar100Sessions()


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Row r of 300 training images and of 200 test images is of class r mod 100."""
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    for name, count in (("train", 300), ("test", 200)):
        fine = [row % 100 for row in range(count)]
        content = {"data": np.full((count, 3072), count % 256, np.uint8), "fine_labels": fine, "coarse_labels": [x // 5 for x in fine]}
        (folder / name).write_bytes(pickled(content))
    (folder / "meta").write_bytes(pickled({"fine_label_names": ["x"] * 100, "coarse_label_names": ["y"] * 20}))
    return folder


@pytest.fixture
def lists(images: Path) -> Path:
    """Three sessions, the base of classes 0 to 9, then classes 10 and 11, then class 12."""
    folder = images.parent / "fscil" / "data" / "index_list" / "cifar100"
    folder.mkdir(parents=True)
    for number, (train, test) in enumerate([(range(10), range(10)), ([111, 10, 211], [10, 111]), ([12], [112, 12])], 1):
        write(folder / f"session_{number}.txt", train)
        write(folder / f"test_{number}.txt", test)
    return folder


def write(path: Path, rows) -> None:
    path.write_text("".join(f"{row}\n" for row in rows))


def plain(sessions: list[Session]) -> list[tuple[list[int], list[int], tuple[int, ...]]]:
    return [(session.train.tolist(), session.test.tolist(), session.classes) for session in sessions]


def test_reads_the_lists(images: Path, lists: Path) -> None:
    sessions = DATASET.sessions(images)
    assert plain(sessions) == [
        (list(range(10)), list(range(10)), tuple(range(10))), ([111, 10, 211], [10, 111], (10, 11)), ([12], [112, 12], (12,))]
    assert sessions[1].train.dtype == torch.int64
    assert DATASET.read(images, "train").subset(sessions[1].train).labels.tolist() == [11, 10, 11]
    assert DATASET.check(images) == []


def test_the_digest_covers_the_lists_and_is_that_of_cifar100_without(images: Path, lists: Path) -> None:
    before = DATASET.digest(images)
    write(lists / "session_3.txt", [212])
    assert DATASET.digest(images) != before
    lists.rename(lists.with_name("cub200"))
    assert DATASET.digest(images) == Cifar100().digest(images)


def test_without_lists_sessions_are_made_of_the_labels(images: Path) -> None:
    sessions = Cifar100Sessions(base=60, ways=5, shots=2).sessions(images)
    assert [len(session.classes) for session in sessions] == [60] + [5] * 8
    assert [len(session.train) for session in sessions] == [180] + [10] * 8 and {len(session.test) for session in sessions[1:]} == {10}
    assert sessions[1].classes == (60, 61, 62, 63, 64) and sessions[1].train.tolist() == [60, 160, 61, 161, 62, 162, 63, 163, 64, 164]
    everything = torch.cat([session.train for session in sessions])
    assert len(everything.unique()) == len(everything)
    assert torch.cat([session.test for session in sessions]).sort().values.tolist() == list(range(200))
    assert plain(sessions) == plain(Cifar100Sessions(60, 5, 2).sessions(images))


@pytest.mark.parametrize("base, ways, shots", [(60, 7, 2), (100, 5, 2), (0, 5, 2), (60, 5, 4)])
def test_sessions_that_do_not_come_out_even_give_one_sentence(base: int, ways: int, shots: int) -> None:
    labels = {"train": torch.arange(300) % 100, "test": torch.arange(100)}
    with pytest.raises(UserError, match="There are 100 classes with 3 images or more, not a base of .* choose task.base"):
        made_sessions(labels, base, ways, shots)


BREAKS: dict[str, Callable[[Path], object]] = {
    "'index_list/cifar100/session_2.txt' names '300', expected rows of 0 to 299": lambda lists: write(lists / "session_2.txt", [10, 300]),
    "'index_list/cifar100/test_2.txt' names '200', expected rows of 0 to 199": lambda lists: write(lists / "test_2.txt", [200]),
    "session_2.txt' names '-1', expected": lambda lists: write(lists / "session_2.txt", [-1]),
    "session_2.txt' names 'a.jpg', expected": lambda lists: write(lists / "session_2.txt", ["a.jpg"]),
    "The list 'index_list/cifar100/test_3.txt' is empty": lambda lists: write(lists / "test_3.txt", []),
    "Row 5 is in 'index_list/cifar100/session_2.txt' and in 'session_1.txt'": lambda lists: write(lists / "session_2.txt", [10, 5]),
    "Row 10 is in 'index_list/cifar100/session_2.txt' and in 'session_2.txt'": lambda lists: write(lists / "session_2.txt", [10, 10]),
    "Row 3 is in 'index_list/cifar100/test_2.txt' and in 'test_1.txt'": lambda lists: write(lists / "test_2.txt", [10, 3]),
    "'index_list/cifar100/session_2.txt' is missing, and sessions count from 1": lambda lists: (lists / "session_2.txt").unlink(),
    "'index_list/cifar100/test_3.txt' is missing": lambda lists: (lists / "test_3.txt").unlink(),
    "'index_list/cifar100/session_3.txt' is missing": lambda lists: (lists / "session_3.txt").rename(lists / "session_4.txt"),
    "'index_list/cifar100/session_1.txt' is missing": lambda lists: [path.unlink() for path in lists.iterdir()],
    "Class 5 is new in '.*session_2.txt' and was in an earlier session": lambda lists: write(lists / "session_2.txt", [10, 105]),
    "Class 20 is in '.*test_2.txt' and not in session_2.txt": lambda lists: write(lists / "test_2.txt", [10, 20]),
}


@pytest.mark.parametrize("sentence", BREAKS)
def test_wrong_lists_give_one_sentence(images: Path, lists: Path, sentence: str) -> None:
    BREAKS[sentence](lists)
    with pytest.raises(UserError, match=sentence) as caught:
        DATASET.sessions(images)
    assert "\n" not in str(caught.value) and "xyutao/fscil" in str(caught.value)
    assert DATASET.check(images) == [str(caught.value)]


@pytest.mark.parametrize("coding, read", [("utf-8-sig", True), ("utf-16", False)])
def test_lists_are_utf8_with_or_without_a_mark(images: Path, lists: Path, coding: str, read: bool) -> None:
    path = lists / "session_2.txt"
    path.write_text(path.read_text(), encoding=coding)
    if read:
        assert DATASET.sessions(images)[1].train.tolist() == [111, 10, 211]
    else:
        assert ["session_2.txt' is not UTF-8 text; save it as UTF-8" in sentence for sentence in DATASET.check(images)] == [True]


def test_the_embedded_data_is_cifar100s_in_nine_sessions(cache: Path) -> None:
    folder = source.embedded_folder(DATASET, cache)
    assert folder == source.embedded_folder(Cifar100(), cache) and DATASET.classify(folder) == "embedded"
    sessions = DATASET.sessions(folder)
    assert [len(session.train) for session in sessions] == [6000] + [25] * 8
    assert [len(session.test) for session in sessions] == [1200] + [100] * 8

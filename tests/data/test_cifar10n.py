"""CIFAR-10N: labels read in the images' order from a file that torch wrote, found beside the images, and checked against them."""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from suite.data import source
from suite.data.cifar import Cifar10
from suite.data.cifar10n import FILE, LABELS, Cifar10N
from suite.errors import UserError

DATASET = Cifar10N()


def label_sets(**changes: object) -> dict[str, object]:
    """Label sets for the tiny folder of 100 images; None leaves one out."""
    clean = np.array([row % 10 for row in range(20)] * 5)
    found: dict[str, object] = {name: (clean + place * (np.arange(100) < place)) % 10 for place, name in enumerate(LABELS)}
    return {name: labels for name, labels in (found | changes).items() if labels is not None}


@pytest.fixture
def cifar10(cifar10: Path, tmp_path: Path) -> Path:
    """One folder deeper: the label files of other tests are then out of reach."""
    (tmp_path / "home").mkdir()
    return Path(shutil.move(cifar10, tmp_path / "home"))


@pytest.fixture
def people(cifar10: Path) -> Path:
    """The label file of the tiny CIFAR-10 folder, in the repository's place, beside it."""
    path = cifar10.parent / "cifar-10-100n" / "data" / FILE
    path.parent.mkdir(parents=True)
    torch.save(label_sets(), path)
    return path


def test_reads_the_label_sets(cifar10: Path, people: Path, tmp_path: Path) -> None:
    found = source.locate_data(DATASET, tmp_path, tmp_path / "cache")
    assert found.folder == cifar10 and found.name == "cifar10n" and found.kind == "subset"
    sets = DATASET.label_sets(cifar10)
    assert list(sets) == list(LABELS) and all(labels.dtype == np.int64 and labels.shape == (100,) for labels in sets.values())
    assert np.array_equal(sets["clean_label"], DATASET.read(cifar10, "train").labels)
    assert [int((labels != sets["clean_label"]).sum()) for labels in sets.values()] == [0, 1, 2, 3, 4, 5]
    assert DATASET.check(cifar10) == []
    assert DATASET.describe(cifar10)["wrong"].startswith("worse_label 1.00%, aggre_label 2.00%, random_label1")


def test_the_digest_covers_the_labels(cifar10: Path, people: Path) -> None:
    before = DATASET.digest(cifar10)
    torch.save(label_sets(worse_label=np.zeros(100, int)), people)
    assert DATASET.digest(cifar10) != before and Cifar10().digest(cifar10) != before


@pytest.mark.parametrize("place", [f"cifar-10-batches-py/{FILE}", FILE, f"data/{FILE}", f"other/{FILE}", f"other/data/{FILE}"])
def test_is_found_with_its_labels_near(cifar10: Path, people: Path, tmp_path: Path, place: str) -> None:
    people.unlink()
    assert not DATASET.matches(cifar10)
    path = tmp_path / "home" / place
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(label_sets(), path)
    assert source.found_in(DATASET, cifar10) == source.found_in(DATASET, tmp_path) == cifar10


def test_siblings_two_levels_up(cifar10: Path, people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    (home / "cifar10").mkdir()
    shutil.move(cifar10, home / "cifar10")
    shutil.move(people.parents[1], home / "cifar10n")
    (home / "cifar10n" / "full").mkdir()
    torch.save({"other": np.zeros(3)}, home / "cifar10n" / "full" / FILE)
    monkeypatch.setenv("SUITE_DATA", str(home))
    assert DATASET.check(source.locate_data(DATASET, None, tmp_path / "cache").folder) == []


def test_absent_labels_give_one_sentence(cifar10: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"'cifar10n' was looked for in .* get data/CIFAR-10_human.pt of .*UCSC-REAL"):
        source.locate_data(DATASET, cifar10, tmp_path / "cache")
    monkeypatch.setenv("SUITE_DATA", str(tmp_path))
    for data in (None, source.EMBEDDED):
        with pytest.raises(UserError, match="CIFAR-10N has no embedded form; get data/CIFAR-10_human.pt") as caught:
            source.locate_data(DATASET, data, tmp_path / "cache")
        assert "\n" not in str(caught.value)


class Payload:
    def __reduce__(self):
        return os.system, ("true",)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:3000])


def two(path: Path) -> None:
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("other/data.pkl", b"")


BREAKS: dict[str, Callable[[Path], object]] = {
    "'cifar-10-100n/data/CIFAR-10_human.pt' is not a complete pickle": cut,
    "CIFAR-10_human.pt' is not a complete pickle .*too many values": two,
    "CIFAR-10_human.pt' wants to run code .*system": lambda path: torch.save(label_sets(worse_label=Payload()), path),
    "CIFAR-10_human.pt' lacks 'aggre_label' and 'worse_label'": lambda path: torch.save(
        label_sets(worse_label=None, aggre_label=None), path),
    "CIFAR-10_human.pt' holds a 'list', expected a dictionary": lambda path: torch.save([1, 2], path),
    "'random_label2' in .* has 99 entries for 100 images": lambda path: torch.save(label_sets(random_label2=np.zeros(99, int)), path),
    r"'random_label2' in .* is float64 \(100,\), expected whole": lambda path: torch.save(label_sets(random_label2=np.zeros(100)), path),
    "'worse_label' in .* is 10 in row 0, expected 0 to 9": lambda path: torch.save(label_sets(worse_label=np.full(100, 10)), path),
    "'clean_label' in .* is 1 in row 0 and the image in 'cifar-10-batches-py' is of class 0: these are other": lambda path: torch.save(
        label_sets(clean_label=np.ones(100, int)), path),
}


@pytest.mark.parametrize("sentence", BREAKS)
def test_a_broken_label_file_gives_one_sentence(cifar10: Path, people: Path, sentence: str) -> None:
    BREAKS[sentence](people)
    with pytest.raises(UserError, match=sentence) as caught:
        DATASET.label_sets(cifar10)
    assert "\n" not in str(caught.value)
    assert DATASET.check(cifar10) == [str(caught.value)]

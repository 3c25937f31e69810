"""Where data is found, and how the embedded data comes to be: whole or not at all."""

from __future__ import annotations

import errno
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from suite import plan
from suite.data import source
from suite.data.cifar import Cifar10, Cifar100
from suite.data.embedded.writing import pickled
from suite.errors import UserError
from suite.spec import context

CIFAR10 = Cifar10()


def test_found_itself_and_up_to_two_folders_down(cifar10: Path, tmp_path: Path) -> None:
    home = tmp_path / "x" / "y"
    home.mkdir(parents=True)
    cifar10 = Path(shutil.move(cifar10, home / cifar10.name))
    for given in (cifar10, home, home.parent):
        found = source.locate_data(CIFAR10, given, tmp_path / "cache")
        assert found.folder == cifar10 and found.kind == "subset" and found.counts == {"train": 100, "test": 20}
    deep = tmp_path / "a" / "b" / "c"
    deep.mkdir(parents=True)
    shutil.move(cifar10, deep / cifar10.name)
    with pytest.raises(UserError, match=r"'cifar10' was looked for in .* cifar-10-batches-py with .* get the official"):
        source.locate_data(CIFAR10, tmp_path / "a", tmp_path / "cache")


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no such folder"):
        source.locate_data(CIFAR10, tmp_path / "none", tmp_path)


def test_two_matches_are_an_error(cifar10: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(cifar10, tmp_path / "again")
    with pytest.raises(UserError, match=r"holds 'cifar10' more than once: .*again' and .*; name one"):
        source.locate_data(CIFAR10, tmp_path, tmp_path / "cache")
    monkeypatch.setenv("SUITE_DATA", str(tmp_path))
    with pytest.raises(UserError, match="more than once"):
        source.locate_data(CIFAR10, None, tmp_path / "cache")


def test_the_standing_folder(cifar10: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUITE_DATA", str(tmp_path))
    assert source.locate_data(CIFAR10, None, cache).folder == cifar10
    assert source.locate_data(CIFAR10, source.EMBEDDED, cache).kind == "embedded"
    found = source.locate_data(Cifar100(), None, cache)
    assert found.kind == "embedded" and "SUITE_DATA holds no 'cifar100'" in found.note
    monkeypatch.delenv("SUITE_DATA")
    assert source.locate_data(Cifar100(), None, cache).note == ""


def test_digest_follows_the_contents_not_the_place(cifar10: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(cifar10, tmp_path / "copy")
    assert CIFAR10.digest(copy) == CIFAR10.digest(cifar10)
    raw = bytearray((copy / "test_batch").read_bytes())
    raw[5000] ^= 1
    (copy / "test_batch").write_bytes(raw)
    assert CIFAR10.digest(copy) != CIFAR10.digest(cifar10)


class TestedOnly(Cifar10):
    """As three frames of KITTI: nothing to train on."""

    def trains(self, folder: Path) -> bool:
        return self.is_embedded(folder)


def test_data_without_a_training_part_is_tested_on_and_the_embedded_data_trained_on(cifar10: Path, tmp_path: Path, cache: Path) -> None:
    dataset = TestedOnly()
    mine = shutil.copytree(cifar10, tmp_path / "mine")
    (mine / "batches.meta").write_bytes(pickled({"label_names": [f"class {label}" for label in range(10)]}))
    found, whole = source.locate_data(dataset, mine, cache), source.locate_data(dataset, source.EMBEDDED, cache)
    assert found.kind == "subset" and found.training == whole and found.parts == [found, whole] and whole.parts == [whole]
    assert "has no training part: methods are trained on the embedded 'cifar10' and tested on it" in found.note and not whole.note
    specs = [plan.specs("cifar10", [("plain", {})], [0], "smoke", mine).wanted[0]]
    specs += [replace(specs[0], source=other) for other in (found, whole)]
    assert len({spec.fingerprint for spec in specs}) == 3, "trained elsewhere is another run"
    run = context(specs[1])
    assert (run.data, run.training_data) == (found.folder, whole.folder) and context(specs[2]).training_data == whole.folder


class Slow(type(CIFAR10)):  # type: ignore[misc]
    """Writes a part and then fails as told."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def make(self, folder: Path) -> None:
        (folder / "data_batch_1").write_bytes(b"half")
        raise self.error


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt(), ValueError()])
def test_nothing_is_left_of_a_failed_make(tmp_path: Path, error: BaseException) -> None:
    expected = UserError if isinstance(error, OSError) else type(error)
    with pytest.raises(expected) as caught:
        source.locate_data(Slow(error), None, tmp_path)
    if expected is UserError:
        assert "(No space left on device); free some space" in str(caught.value)
    assert [path.name for path in (tmp_path / "data").iterdir() if not path.name.endswith(".lock")] == []


KILLED = """
import sys, time
from pathlib import Path
from suite.data import source
from suite.data.cifar import Cifar10
dataset = Cifar10()
def make(folder):
    (folder / "data_batch_1").write_bytes(b"half")
    print("writing", flush=True)
    time.sleep(600)
type(dataset).make = lambda self, folder: make(folder)
source.locate_data(dataset, None, Path(sys.argv[1]))
"""


def test_a_kill_leaves_nothing_that_is_used(cifar10: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "cache"
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(cache)], stdout=subprocess.PIPE)
    assert process.stdout and process.stdout.readline() == b"writing\n"
    home = cache / "data" / f"cifar10-v{CIFAR10.version}"
    assert not home.exists()
    process.kill()
    process.wait()
    assert list(home.parent.glob(".*.making-*"))
    monkeypatch.setattr(type(CIFAR10), "make", lambda self, folder: shutil.copytree(cifar10, folder / cifar10.name))
    assert source.locate_data(CIFAR10, None, cache).folder == home / cifar10.name
    assert not list(home.parent.glob(".*.making-*"))


def test_two_at_once_make_it_once(cifar10: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from concurrent.futures import ThreadPoolExecutor

    calls = []

    def make(self: object, folder: Path) -> None:
        calls.append(folder)
        time.sleep(0.2)
        shutil.copytree(cifar10, folder / cifar10.name)

    monkeypatch.setattr(type(CIFAR10), "make", make)
    with ThreadPoolExecutor(2) as threads:
        found = list(threads.map(lambda _: source.embedded_folder(CIFAR10, tmp_path / "cache"), range(2)))
    assert len(calls) == 1 and found[0] == found[1]


def test_damaged_embedded_data_says_how_to_mend_it(cifar10: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(CIFAR10), "make", lambda self, folder: shutil.copytree(cifar10, folder / cifar10.name))
    folder = source.embedded_folder(CIFAR10, tmp_path / "cache")
    (folder / "test_batch").unlink()
    with pytest.raises(UserError, match=r"embedded data is damaged; delete '.*cifar10-v1' and it is made again"):
        source.locate_data(CIFAR10, None, tmp_path / "cache")


def test_make_refuses_a_full_folder_and_fills_an_empty_one(cifar10: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(type(CIFAR10), "make", lambda self, folder: (folder / "done").touch())
    with pytest.raises(UserError, match="is not empty; name a new folder"):
        source.write_embedded(CIFAR10, cifar10)
    for name in ("new", "empty"):
        (tmp_path / "empty").mkdir(exist_ok=True)
        source.write_embedded(CIFAR10, tmp_path / name)
        assert [path.name for path in (tmp_path / name).iterdir()] == ["done"]
    assert not list(tmp_path.glob(".*"))


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(UserError, match=r"cache folder .* cannot be written .* SUITE_CACHE"):
        source.locate_data(CIFAR10, None, tmp_path / "cache")

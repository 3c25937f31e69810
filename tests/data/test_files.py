"""Files that cannot be read, names that are no text, and lists: one sentence each, whatever the reader."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from suite.data import files, source
from suite.data.cifar import Cifar10
from suite.data.imagenet import ImageNet
from suite.errors import UserError


def test_names_that_are_not_utf8_are_refused(folders: Path) -> None:
    place = folders / "train" / "n01440000"
    (place / "40.JPEG").rename(place / os.fsdecode(b"caf\xe9.JPEG"))
    assert ImageNet(32).check(folders) == [r"The name 'train/n01440000/caf\udce9.JPEG' is not UTF-8; rename it."]
    (place / os.fsdecode(b"caf\xe9.JPEG")).rename(place / "40.JPEG")
    for split in ("train", "val"):
        (folders / split / "n01440000").rename(folders / split / os.fsdecode(b"caf\xe9"))
    assert ImageNet(32).check(folders) == [rf"The name 'images/{split}/caf\udce9' is not UTF-8; rename it." for split in ("train", "val")]


def test_the_system_s_refusals_are_sentences(cifar10: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "loop").symlink_to("loop")
    for call in (files.sum_of, files.size_of, files.lines_of):
        with pytest.raises(UserError, match=r"loop' cannot be read \(.*symbolic links\); copy it again, or check its permissions"):
            call(tmp_path / "loop")
    assert source.found_in(Cifar10(), tmp_path) == cifar10  # and finding the data is not hindered by it

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied", str(cifar10 / "secret"))

    monkeypatch.setattr(Cifar10, "digest", refuse)
    with pytest.raises(UserError, match="cifar-10-batches-py/secret' cannot be read .Permission denied.; copy it again, or check"):
        source.locate_data(Cifar10(), cifar10, tmp_path / "cache")
    monkeypatch.setattr(Cifar10, "parts", refuse)
    with pytest.raises(UserError, match="secret' cannot be read"):
        Cifar10().check(cifar10)
    monkeypatch.setattr(Cifar10, "matches", refuse)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(UserError, match="was looked for in .*, but it may not be read"):
        source.found_in(Cifar10(), tmp_path)


@pytest.mark.parametrize("content, lines", [
    (b"a\r\n\n b \n", ["a", "b"]), (b"\xef\xbb\xbfa", ["a"]), ("é".encode(), ["é"]), (b"", []),
    ("a".encode("utf-16"), None), ("ab".encode("utf-16-le"), None), (b"caf\xe9", None)])
def test_lines_are_of_utf8(tmp_path: Path, content: bytes, lines: list[str] | None) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(content)
    if lines is not None:
        assert files.lines_of(path) == lines
        return
    with pytest.raises(UserError, match="list.txt' is not UTF-8 text; save it as UTF-8"):
        files.lines_of(path)

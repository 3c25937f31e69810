"""What every reader inherits, on the reader of suite/data/README.md; and what lies beside a data set's folder."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import torch

from suite.data import pictures, source
from suite.data.dataset import Dataset, near, refusals
from suite.data.embedded.writing import png
from suite.errors import UserError

README = Path(__file__).parents[2] / "suite" / "data" / "README.md"


@pytest.fixture
def kodak() -> Dataset:
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.S)
    names: dict = {}
    exec(code, names)
    return names["Kodak"]()


def test_the_readers_of_the_page_work(kodak: Dataset, tmp_path: Path) -> None:
    found = source.locate_data(kodak, source.EMBEDDED, tmp_path)
    assert found.kind == "embedded" and found.counts == {"test": 24} and found.name == "kodak"
    assert kodak.check(found.folder) == [] and kodak.describe(found.folder) == {"test": "24 images"}
    copy = shutil.copytree(found.folder, tmp_path / "copy")
    (copy / "embedded.txt").unlink()
    assert source.locate_data(kodak, tmp_path / "copy", tmp_path).kind == "official"  # by its counts
    assert kodak.digest(copy) == found.digest
    (copy / "kodim07.png").write_bytes(b"no")
    assert kodak.digest(copy) != found.digest
    (problem,) = kodak.check(copy)
    assert "copy/kodim07.png' is not a readable image" in problem
    for path in copy.glob("kodim*"):
        path.unlink()
    assert kodak.check(copy) == ["'copy' holds no pictures kodimNN.png; get kodim01.png to kodim24.png of the Kodak Lossless True "
                                 "Color Image Suite again."]


def test_pictures_are_kept_where_they_fit_and_the_same_where_not(kodak: Dataset, tmp_path: Path, monkeypatch) -> None:
    folder = source.embedded_folder(kodak, tmp_path)
    images = kodak.read(folder, "test")
    first = images.image(0)
    assert first.dtype == torch.uint8 and first.shape[0] == 3 and images.image(0) is first and len(images.cache.kept) == 1
    monkeypatch.setattr(pictures, "MEMORY", 24 * first.nbytes)
    images = kodak.read(folder, "test")
    assert torch.equal(images.image(0), first) and images.image(0) is not first and not images.cache.kept


def test_grey_and_other_pictures_become_what_is_asked_for(tmp_path: Path) -> None:
    pixels = torch.arange(12, dtype=torch.uint8).reshape(3, 4)
    (tmp_path / "grey.png").write_bytes(png(pixels.numpy()))
    assert torch.equal(pictures.pixels_of(tmp_path / "grey.png", "L"), pixels[None])
    assert torch.equal(pictures.pixels_of(tmp_path / "grey.png"), pixels.expand(3, 3, 4))
    (tmp_path / ".hidden.png").touch()
    (tmp_path / "notes.txt").touch()
    assert pictures.picture_files(tmp_path) == [tmp_path / "grey.png"]


def test_refusals_are_in_order_and_each_once() -> None:
    def refuse(what: str) -> None:
        if what:
            raise UserError(what)

    assert refusals(lambda what=what: refuse(what) for what in ("b", "", "a", "b")) == ["b", "a"]
    with pytest.raises(ZeroDivisionError):  # a bug stays one
        refusals([lambda: 1 // 0])


def test_the_nearest_of_a_name_counts_and_two_equally_near_are_an_error(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "images"
    folder.mkdir(parents=True)
    assert near(folder, "x.txt") is None
    for place in ("b/data/x.txt", "b/x.txt", "a/other/x.txt", "a/images/x.txt"):  # from far to near
        path = tmp_path / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        assert near(folder, "x.txt") == path
    (folder / "x.txt").unlink()
    (tmp_path / "a" / "third").mkdir()
    (tmp_path / "a" / "third" / "x.txt").touch()
    with pytest.raises(UserError, match=r"a' holds 'x.txt' more than once: .*other/x.txt' and .*third/x.txt'; leave only one"):
        near(folder, "x.txt")


def test_the_generators_know_no_reader() -> None:
    for path in (README.parent / "embedded").glob("*.py"):
        for module in re.findall(r"^\s*(?:from|import) (suite[\w.]*)", path.read_text(encoding="utf-8"), re.M):
            assert module.startswith("suite.data.embedded"), f"{path.name} imports {module}"

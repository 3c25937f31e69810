"""Instance search: the embedded collages, both layouts, and what the reader refuses."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from suite.data import source
from suite.data.embedded import collages
from suite.data.instances import COLUMNS, Instances
from suite.errors import UserError

# Of version 1, over every file. Another digest means other data: raise collages.VERSION with it.
DIGEST = "8f2adff8cf0b33eca048726f3192deee76107d4786aca97310367a5a9be3c550"


@pytest.fixture(scope="module")
def embedded(cache: Path) -> source.Source:
    return source.source_of(Instances(), source.embedded_folder(Instances(), cache))


def test_bytes_never_change_without_a_new_version(embedded: source.Source) -> None:
    assert collages.VERSION == 1
    assert embedded.kind == "embedded" and embedded.counts == {"gallery": 320, "queries": 80}
    assert embedded.digest == DIGEST
    assert Instances().check(embedded.folder) == []


def test_every_object_is_asked_for_and_seldom_enough(embedded: source.Source) -> None:
    queries = Instances().read(embedded.folder, "queries")
    assert sorted(queries.names) == sorted(f"object {number:02d}" for number in range(collages.OBJECTS) for _ in range(2))
    held = [len(rows) for rows in queries.relevant]
    assert min(held) >= 8 and max(held) < 40 and set(queries.own) == {None}
    boxes = np.array([box for rows in queries.relevant for found in rows.values() for box in found])
    sides = np.sqrt(boxes[:, 2] * boxes[:, 3])
    assert np.quantile(sides, 0.9) > 1.6 * np.quantile(sides, 0.1)  # all scales
    box = queries.box(0)
    assert box.shape == (1, 4) and (box[0, 2:] > box[0, :2]).all()


def test_an_object_is_rigid() -> None:
    """Drawn twice it has the same parts; two objects differ."""
    first, again, other = (collages._thing(collages.Draw(collages.VERSION, 335, number)) for number in (3, 3, 4))
    grid = np.meshgrid(*(np.linspace(-1, 1, 64, dtype=np.float32),) * 2)
    pictures = [np.concatenate([part.ravel() for part in collages._painted(thing, *grid)]) for thing in (first, again, other)]
    assert np.array_equal(pictures[0], pictures[1]) and not np.allclose(pictures[0], pictures[2], atol=0.1)


def test_settings_are_chosen_on_other_objects_and_other_pictures() -> None:
    things = {val: [part.colours[0].tobytes() for thing in collages.thing_list(val) for part in thing.body] for val in (False, True)}
    assert len(set(things[False]) | set(things[True])) == 2 * 2 * collages.OBJECTS
    first = {split: next(collages.draw_collages(split, 1)).pixels.tobytes() for split in collages.SPLITS}
    assert len(set(first.values())) == 4
    assert Instances().splits(Path()) == ("gallery", "queries")  # no score is taken from them


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three pictures to search, of which one is also a query, and one more query."""
    home = tmp_path / "set"
    (home / "images").mkdir(parents=True)
    for number in range(4):
        pixels = np.random.default_rng(number).integers(0, 256, (40, 60, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(home / "images" / f"{number}.png")
    write(home, "gallery", [("images/0.png", 1, 2, 20, 30, "cup"), ("images/1.png", 0, 0, 10, 10, "cup"),
                            ("images/1.png", 20, 5, 10, 10, "cup"), ("images/2.png", "", "", "", "", "")])
    write(home, "queries", [("images/0.png", 1, 2, 20, 30, "cup"), ("images/3.png", "", "", "", "", "cup")])
    return home


def write(home: Path, name: str, rows: list[tuple]) -> None:
    with (home / f"{name}.csv").open("w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *rows])


def test_tables(folder: Path) -> None:
    dataset = Instances()
    assert dataset.matches(folder) and dataset.check(folder) == [] and dataset.classify(folder) == "subset"
    assert [path.name for path in dataset.read(folder, "gallery").files] == ["0.png", "1.png", "2.png"]
    queries = dataset.read(folder, "queries")
    assert queries.relevant[0] == {0: [(1, 2, 20, 30)], 1: [(0, 0, 10, 10), (20, 5, 10, 10)]}
    assert queries.own == [0, None]
    assert queries.box(0).tolist() == [[1, 2, 21, 32]] and queries.box(1).tolist() == [[0, 0, 60, 40]]  # a crop: all of it
    assert dataset.describe(folder)["queries"] == "2 queries of 1 objects, 2 to 2 pictures hold one"


def test_a_byte_order_mark_is_not_a_column(folder: Path) -> None:
    path = folder / "gallery.csv"
    path.write_text(path.read_text(), encoding="utf-8-sig")
    assert Instances().check(folder) == []


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "an empty gallery": (lambda home: write(home, "gallery", []), "The gallery of '.*set' is empty"),
    "no query": (lambda home: write(home, "queries", []), "has no query"),
    "a table that is missing": (lambda home: (home / "gallery.csv").unlink(), "'.*gallery.csv' is missing; write it with the columns"),
    "another header": (lambda home: (home / "queries.csv").write_text("image,object\n"), "begins with 'image,object'; expected the line"),
    "a short line": (lambda home: write(home, "queries", [("images/0.png", "cup")]), "a line of 2 cells"),
    "a picture that is missing": (lambda home: write(home, "queries", [("images/9.png", 1, 1, 5, 5, "cup")]), "'images/9.png', which is missing"),
    "a picture elsewhere": (lambda home: write(home, "queries", [("../0.png", 1, 1, 5, 5, "cup")]), "leaves the folder"),
    "an object nobody has": (lambda home: write(home, "queries", [("images/3.png", 1, 1, 5, 5, "dog")]), "holds 'dog', the object of the query"),
    "an object only its own picture has": (
        lambda home: (write(home, "gallery", [("images/0.png", 1, 2, 20, 30, "cup"), ("images/1.png", 0, 0, 9, 9, "dog")]),
                      write(home, "queries", [("images/0.png", 1, 2, 20, 30, "cup")])), "but the query's own holds 'cup'"),
    "an object without a name": (lambda home: write(home, "queries", [("images/3.png", 1, 1, 5, 5, "")]), "names no object"),
    "a box outside": (lambda home: write(home, "queries", [("images/3.png", 50, 1, 20, 5, "cup")]), "of 60 x 40 pixels, outside of it"),
    "two corners": (lambda home: write(home, "queries", [("images/3.png", 20, 20, 58, 38, "cup")]), "not two corners"),
    "an empty box": (lambda home: write(home, "queries", [("images/3.png", 5, 5, 0, 5, "cup")]), "which holds no object"),
    "shares of the picture": (lambda home: write(home, "queries", [("images/3.png", 0.1, 0.1, 0.5, 0.5, "cup")]), "which holds no object"),
    "a box of words": (lambda home: write(home, "queries", [("images/3.png", "a", 1, 1, 1, "cup")]), "'a 1 1 1'.*expected x, y, width"),
    "a box that is missing": (lambda home: write(home, "gallery", [("images/0.png", "", "", "", "", "cup")]), "no box for 'cup'"),
    "a box twice": (lambda home: write(home, "gallery", [("images/0.png", 1, 1, 5, 5, "cup")] * 2), "the same box of 'cup' .* twice"),
    "a query twice": (lambda home: write(home, "queries", [("images/3.png", 1, 1, 5, 5, "cup")] * 2), "asks for 'cup' .*3.png' twice"),
    "a box of no numbers": (lambda home: write(home, "queries", [("images/3.png", "nan", 1, 5, 5, "cup")]), "outside of it"),
    "a box without end": (lambda home: write(home, "queries", [("images/3.png", 1, 1, "inf", 5, "cup")]), "outside of it"),
    "a table in UTF-16": (lambda home: (home / "queries.csv").write_text((home / "queries.csv").read_text(), encoding="utf-16"), "is not UTF-8"),
    "a quotation mark left open": (  # which would take in the second query and more
        lambda home: (home / "queries.csv").write_text(
            f"{','.join(COLUMNS)}\nimages/3.png,1,1,5,5,\"cup\nimages/3.png,1,1,6,6,cup\n"), "has the line 'images/3.png,1,1,5,5,.cup'"),
    "a name without end": (lambda home: write(home, "queries", [("images/3.png", 1, 1, 5, 5, "c" * 200_000)]), "cannot be told apart"),
    "a damaged picture": (lambda home: (home / "images" / "3.png").write_bytes(b"no"), "3.png' is not a readable image"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_refused(folder: Path, what: str) -> None:
    damage, sentence = BROKEN[what]
    damage(folder)
    with pytest.raises(UserError, match=sentence):
        for split in ("gallery", "queries"):
            found = Instances().read(folder, split)
            [found.image(row) for row in range(len(found))]
    assert len(Instances().check(folder)) == 1


def test_copies_are_found_by_their_bytes(folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "images" / "1.png", folder / "images" / "2.png")
    (sentence,) = Instances().check(folder)
    assert "1 of the 3 pictures of the gallery are in it once more" in sentence and "2.png" in sentence
    shutil.copy(folder / "images" / "0.png", folder / "images" / "2.png")
    shutil.copy(folder / "images" / "1.png", folder / "images" / "3.png")
    assert "1 of the 2 queries are in the gallery under another name" in Instances().check(folder)[1]
    with pytest.raises(UserError, match="found by their bytes"):
        source.locate_data(Instances(), folder, tmp_path / "cache")


@pytest.fixture
def instre(tmp_path: Path) -> Path:
    home = tmp_path / "instre"
    boxes = {"INSTRE-S1/01a_cup/001": ["1 2 20 30"], "INSTRE-S1/01a_cup/002": ["3 4 10 10"], "INSTRE-S1/01b_book/001": ["5 5 20 20"],
             "INSTRE-S2/02_cat/001": ["0 0 60 40"], "INSTRE-M/01_cup_book/001": ["1 1 10 10", "30 20 20 15"],
             "INSTRE-M/01_cup_book/002": ["2 2 10 10", "31 21 20 15"]}
    for number, (name, lines) in enumerate(boxes.items()):
        path = home / f"{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (40, 60, 3), dtype=np.uint8)).save(path)
        path.with_suffix(".txt").write_text("".join(f"{line}\n" for line in lines))
    truth(home)
    return home


def truth(home: Path, cup: tuple[int, ...] = (1, 3)) -> None:
    gallery = ["INSTRE-S1/01a_cup/002.jpg", "INSTRE-S1/01b_book/001.jpg", "INSTRE-M/01_cup_book/001.jpg", "INSTRE-S2/02_cat/001.jpg"]
    queries = ["INSTRE-S1/01a_cup/001.jpg", "INSTRE-M/01_cup_book/002.jpg"]
    gnd = np.zeros(2, [("ok", object), ("bbx", object)])
    for row, ok in enumerate((cup, (3,))):
        gnd[row] = (np.array(ok), np.array([1.0, 2, 21, 32]))
    savemat(home / "gnd_instre.mat", {"imlist": np.array(gallery, object), "qimlist": np.array(queries, object), "gnd": gnd})


def test_instre(instre: Path) -> None:
    dataset = Instances()
    assert dataset.check(instre) == [] and dataset.counts(instre) == {"gallery": 4, "queries": 2}
    queries = dataset.read(instre, "queries")
    assert queries.names == ["INSTRE-S1/01a_cup", "INSTRE-M/01_cup_book"]
    assert queries.relevant[0] == {0: [(3, 4, 10, 10)], 2: [(1, 1, 10, 10)]}  # of the pair, the line of the cup
    assert queries.relevant[1] == {2: [(1, 1, 49, 34)]}  # both
    assert queries.box(0).tolist() == [[1, 2, 21, 32]] and queries.box(1).tolist() == [[2, 2, 51, 36]]
    assert "INSTRE-S1/01a_cup/001.txt" in dataset.files(instre)


@pytest.mark.parametrize("damage, sentence", [
    (lambda home: (home / "gnd_instre.mat").write_bytes(b"MATLAB"), "is no INSTRE truth of imlist, qimlist and gnd"),
    (lambda home: truth(home, (1, 9)), "or rows beyond its 4 pictures"),
    (lambda home: savemat(home / "gnd_instre.mat", {"imlist": [1.0, 2.0], "qimlist": [3.0], "gnd": np.zeros(1, [("ok", object)])}),
     "is no INSTRE truth of imlist, qimlist and gnd"),
    (lambda home: truth(home, ()), "but the query's own holds 'INSTRE-S1/01a_cup'"),
    (lambda home: (home / "INSTRE-S1/01a_cup/002.txt").unlink(), "with the boxes of '.*002.jpg' is missing"),
    (lambda home: (home / "INSTRE-S1/01a_cup/001.txt").write_text("1 2 90 30"), "outside of it"),
    (lambda home: (home / "INSTRE-S2/02_cat/001.jpg").unlink(), "'INSTRE-S2/02_cat/001.jpg', which is missing"),
])
def test_what_is_refused_of_instre(instre: Path, damage: Callable[[Path], object], sentence: str) -> None:
    damage(instre)
    with pytest.raises(UserError, match=sentence):
        Instances().read(instre, "queries")

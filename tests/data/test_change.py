"""Pairs with change masks: the three layouts, their conventions, bad input, and the embedded scenes."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from suite.data import source
from suite.data.change import ChangeData
from suite.data.embedded import street as rendered
from suite.data.embedded.writing import png
from suite.errors import UserError

# Of version 1, over the pixels of both splits. Another digest means other data: raise rendered.VERSION with it.
PIXELS = "92b2947e2805a6a511b473e015e67148c5969707827961065d7d8c4c206522a2"
FILES = "2088ddce68a96bd1731b3b751108d3648d04ad9671cb6d119aa2891884c8fb08"  # what the reader makes of the files on disk

ANY = torch.Generator()


def picture(path: Path, grey: int | np.ndarray, size: tuple[int, int] = (12, 8)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full(size[::-1], grey, np.uint8) if isinstance(grey, int) else grey
    Image.fromarray(pixels).save(path)


def half(change: int, other: int) -> np.ndarray:
    """A mask (8, 12) whose left half is `change`."""
    mask = np.full((8, 12), other, np.uint8)
    mask[:, :6] = change
    return mask


@pytest.fixture
def street(tmp_path: Path) -> Path:
    """Three training pairs of two sequences and one test pair; earlier pictures 10, later ones 20 (in the test 21), the left half
    changed."""
    folder = tmp_path / "street"
    for name in ("train/{}/000_00_0.png", "train/{}/000_01_0.png", "train/{}/001_00_0.png", "test/{}/002_00_0.png"):
        picture(folder / name.format("t0"), 10)
        picture(folder / name.format("t1"), 20 + ("test" in name))
        picture(folder / name.format("mask"), half(255, 0))
    return folder


@pytest.fixture
def levir(tmp_path: Path) -> Path:
    """Two training pairs, one for validation and one for the test, by lists."""
    folder = tmp_path / "levir"
    (folder / "list").mkdir(parents=True)
    for split, names in (("train", ["a.png", "b.png"]), ("val", ["c.png"]), ("test", ["d.png"])):
        (folder / "list" / f"{split}.txt").write_text("\n".join(names) + "\n")
        for name in names:
            picture(folder / "A" / name, 10)
            picture(folder / "B" / name, 20 + len(split))
            picture(folder / "label" / name, half(255, 0))
    return folder


def masks(dataset: ChangeData, folder: Path, split: str = "train") -> torch.Tensor:
    images = dataset.read(folder, split)
    return images.batch(torch.arange(len(images)), False, ANY)[:, 6]


def test_street_view_pairs(street: Path) -> None:
    dataset = ChangeData("street")
    found = source.found_in(dataset, street.parent)
    assert found == street and dataset.counts(street) == {"train": 3, "test": 1} and dataset.classify(street) == "subset"
    pixels = dataset.read(street, "test").batch(torch.tensor([0]), False, ANY)
    assert pixels.shape == (1, 7, 8, 12)
    assert (pixels[:, :3] == 10).all() and (pixels[:, 3:6] == 21).all() and pixels[0, 6, :, :6].all() and not pixels[0, 6, :, 6:].any()
    assert dataset.describe(street)["train"] == "3 pairs, 12x8, 50.0% of the pixels changed"
    assert dataset.check(street) == []


def test_levir_pairs_by_list_and_by_folder(levir: Path) -> None:
    dataset = ChangeData("levir")
    assert dataset.matches(levir) and not ChangeData("street").matches(levir) and not ChangeData("pcd").matches(levir)
    assert dataset.counts(levir) == {"train": 2, "test": 1, "val": 1}
    assert dataset.read(levir, "val").pairs[0].name == "c"
    for split in ("train", "test"):  # as the authors give it out
        for role in ("A", "B", "label"):
            shutil.copytree(levir / role, levir.parent / "official" / split / role)
    assert dataset.matches(levir.parent / "official") and dataset.counts(levir.parent / "official") == {"train": 4, "test": 4}


def test_pcd_folds_and_black_masks(tmp_path: Path) -> None:
    folder = tmp_path / "TSUNAMI"
    for number in range(20):
        picture(folder / "t0" / f"{number:05d}.jpg", 10)
        picture(folder / "t1" / f"{number:05d}.jpg", 20)
        picture(folder / "mask" / f"{number:05d}.png", half(0, 255))
    tested = []
    for fold in range(5):
        dataset = ChangeData("pcd", fold=fold)
        names = {split: {pair.name for pair in dataset.pairs(folder, split)} for split in ("train", "test")}
        assert not names["train"] & names["test"] and len(names["train"]) == 16
        tested += sorted(names["test"])
    assert sorted(tested) == [f"{number:05d}" for number in range(20)]
    assert {int(name) % 10 for name in tested[:4]} == {0, 1}  # fold 0
    assert masks(ChangeData("pcd"), folder)[:, :, :6].all()  # black is change
    assert masks(ChangeData("pcd", change="white"), folder)[:, :, 6:].all()


def test_the_official_set_is_known_by_its_sequences(street: Path) -> None:
    for split, numbers in (("train", range(98)), ("test", range(100, 154))):
        for role in ("t0", "t1", "mask"):
            shutil.rmtree(street / split / role)
            for number in numbers:
                picture(street / split / role / f"{number:03d}_00_0.png", 0, (1, 1))
    assert ChangeData("street").classify(street) == "official"
    for role in ("t0", "t1", "mask"):
        (street / "test" / role / "153_00_0.png").unlink()
    assert ChangeData("street").classify(street) == "subset"


@pytest.mark.parametrize("change, ignore, wanted", [
    ("classes", (), {0: 0, 3: 1, 255: 0}), ("classes", (255,), {0: 0, 3: 1, 255: 255}), ("white", (3,), {0: 0, 3: 255, 255: 1}),
    ("black", (3,), {0: 1, 3: 255, 255: 0}), ("black", (3, 255), {0: 1, 3: 255, 255: 255})])
def test_what_the_greys_mean(street: Path, change, ignore, wanted) -> None:
    mask = np.zeros((8, 12), np.uint8)
    mask[:, 4:8], mask[:, 8:] = 3, 255
    for path in (street / "train" / "mask").glob("*"):
        picture(path, mask)
    read = masks(ChangeData("street", change, ignore), street)
    assert {grey: int(read[0, 0, column]) for grey, column in ((0, 0), (3, 4), (255, 8))} == wanted


def spoil_picture(street: Path) -> None:
    (street / "train/t1/000_01_0.png").unlink()


def spoil_size(street: Path) -> None:
    picture(street / "train/mask/000_01_0.png", 0, (12, 9))


def spoil_grey(street: Path) -> None:
    picture(street / "train/mask/000_01_0.png", half(128, 0))


def spoil_bytes(street: Path) -> None:
    (street / "train/t0/000_01_0.png").write_bytes(b"\x89PNG no")


def spoil_folder(street: Path) -> None:
    shutil.rmtree(street / "test/mask")


def spoil_all(street: Path) -> None:
    for path in street.glob("train/*/*"):
        path.unlink()


@pytest.mark.parametrize("spoil, sentence", [
    (spoil_picture, "'street/train/t1' has no '000_01_0', which is in 't0'"),
    (spoil_size, "'train/mask/000_01_0.png' has 12x9 pixels and 'train/t0/000_01_0.png' has 12x8"),
    (spoil_grey, "has the grey 128 in 48 pixels, expected 0 and 255 alone; leave such pixels out with task.ignore=128, or type "
                 "task.threshold=128 (128 and above is change)"),
    (spoil_bytes, "'train/t0/000_01_0.png' is not a readable image"),
    (spoil_folder, "The folder 'street/test/mask' is missing"),
    (spoil_all, "The split 'train' of 'street' has no pairs"),
])
def test_bad_pairs_get_one_sentence(street: Path, spoil, sentence) -> None:
    spoil(street)
    (problem,) = ChangeData("street").check(street)
    assert sentence in problem and problem.endswith(".") and "\n" not in problem


def masked(street: Path, mask: np.ndarray | Image.Image, name: str = "000_00_0.png", **saving: object) -> Path:
    """`street` with one mask for all its pairs."""
    image = mask if isinstance(mask, Image.Image) else Image.fromarray(mask)
    for path in street.glob("*/mask/*"):
        path.unlink()
        image.save(path.with_suffix(Path(name).suffix), **saving)
    return street


SOFT = np.repeat(np.array([[0, 0, 9, 39, 48, 168, 207, 255, 255, 255, 255, 255]], np.uint8), 8, axis=0)


@pytest.mark.parametrize("mask, name, change, advice, typed, changed", [
    (half(1, 0), "x.png", "layout", "masks of 0 and 1 usually mean change by 1: type task.threshold=1", {"threshold": 1}, {1}),
    (half(1, 0), "x.png", "black", "mean change by 1: type task.change=white task.threshold=1", {"change": "white", "threshold": 1}, {1}),
    (half(1, 255), "x.png", "layout", "mean change by 1, and 255 is not counted: type task.threshold=1 task.ignore=255",
     {"threshold": 1, "ignore": (255,)}, {1}),
    (SOFT, "x.png", "layout", "for soft edges, as JPEG files and scaling leave them, type task.threshold=128 (128 and above is change)",
     {"threshold": 128}, {168, 207, 255}),
    (SOFT, "x.png", "black", "type task.threshold=128 (below 128 is change)", {"threshold": 128}, {0, 9, 39, 48}),
    (half(254, 1), "x.jpg", "layout", "for soft edges", {"threshold": 128}, {254}),
    (half(170, 85), "x.png", "layout", "task.ignore=85:170, or type task.threshold=128", {"threshold": 128}, {170}),
])
def test_advice_never_inverts_a_mask(street: Path, mask: np.ndarray, name: str, change: str, advice: str, typed: dict, changed: set) -> None:
    masked(street, mask, name, **({"quality": 100} if name.endswith("jpg") else {}))
    found = ChangeData("street", change).check(street)
    assert len(found) == 4 and all(advice in sentence for sentence in found)
    read = masks(ChangeData("street", **{"change": change, **typed}), street)[0].numpy()
    assert np.array_equal(read == 1, np.isin(mask, list(changed)))


def test_a_threshold_makes_masks_of_two_greys(street: Path) -> None:
    masked(street, SOFT)
    for change, first in (("white", 0), ("black", 1)):
        assert masks(ChangeData("street", change, threshold=128), street)[0, 0].tolist() == [first] * 5 + [1 - first] * 7
    read = masks(ChangeData("street", "white", (39, 255), threshold=48), street)[0, 0].tolist()
    assert read == [0, 0, 0, 255, 1, 1, 1, *[255] * 5]
    with pytest.raises(UserError, match="two greys and no classes; leave out task.threshold or"):
        ChangeData("street", "classes", threshold=128)


@pytest.mark.parametrize("grey, options", [(0, {}), (255, {"change": "black"}), (1, {"ignore": (1,)}), (100, {"threshold": 128})])
def test_a_split_in_which_nothing_changes_is_refused(street: Path, grey: int, options: dict) -> None:
    for path in street.glob("test/mask/*"):
        picture(path, grey)
    (problem,) = ChangeData("street", **options).check(street)
    assert problem.startswith("Nothing changes in any of the 1 pairs of 'test' in 'street'") and problem.endswith("set that.")
    with pytest.raises(UserError, match="Nothing changes"):
        ChangeData("street", **options).read(street, "test")


def test_masks_are_grey_and_opaque(street: Path) -> None:
    def problems(mask: Image.Image, change: str = "layout") -> list[str]:
        masked(street, mask, "x.tif" if mask.mode == "F" else "x.png")
        return ChangeData("street", change).check(street)

    grey = Image.fromarray(half(255, 0))
    for mode in ("RGB", "RGBA", "1", "P"):
        assert problems(grey.convert(mode)) == [], mode
    clear = Image.merge("RGBA", (*[Image.new("L", (12, 8))] * 3, grey))  # the mask is in the alpha channel alone
    assert "has transparent pixels, so what it marks cannot be told" in problems(clear)[0]
    red = Image.merge("RGB", (grey, *[Image.new("L", (12, 8))] * 2))
    assert "has colours, so what it marks cannot be told" in problems(red)[0]
    assert problems(red, "classes") == []  # kinds of change, and the left half is one
    assert "holds floating-point values" in problems(Image.fromarray(half(1, 0).astype(np.float32)))[0]
    assert "has 16 bits and no value above 255 of 65535" in problems(Image.fromarray(half(255, 0).astype(np.uint16)))[0]
    assert problems(Image.fromarray(half(255, 0).astype(np.uint16) * 257)) == []


@pytest.mark.parametrize("coding, read", [("utf-8", True), ("utf-8-sig", True), ("utf-16", False), ("utf-16-le", False), ("latin-1", False)])
def test_lists_are_utf8_with_or_without_a_mark(levir: Path, coding: str, read: bool) -> None:
    for role in ("A", "B", "label"):
        shutil.copy(levir / role / "d.png", levir / role / "dé.png")
    (levir / "list" / "test.txt").write_text("dé.png\r\n\r\ndé.png\r\n", encoding=coding)
    if read:
        assert [pair.name for pair in ChangeData("levir").pairs(levir, "test")] == ["dé"]  # named twice, it counts once
    else:
        assert ChangeData("levir").check(levir) == ["'levir/list/test.txt' is not UTF-8 text; save it as UTF-8, for example with 'iconv "
                                                    "-f UTF-16 -t UTF-8'."]


@pytest.mark.parametrize("name", ["../label/d.png", "/tmp/d.png", "x/../../d.png", "..\\d.png", "C:\\d.png"])
def test_lists_do_not_leave_the_folder(levir: Path, name: str) -> None:
    (levir / "list" / "test.txt").write_text(name)
    with pytest.raises(UserError, match="'levir/list/test.txt' names .* which leaves the folder"):
        ChangeData("levir").pairs(levir, "test")


def test_two_pictures_of_one_name_are_refused(street: Path) -> None:
    picture(street / "test" / "mask" / "002_00_0.jpg", 0)
    assert ChangeData("street").check(street) == ["'street/test/mask' holds '002_00_0.jpg' and '002_00_0.png', of which only one "
                                                 "belongs to the pair; delete the other."]


def test_bad_lists_and_names_get_one_sentence(levir: Path, street: Path) -> None:
    dataset = ChangeData("levir")
    (levir / "B" / "a.png").unlink()
    with pytest.raises(UserError, match=r"'levir/B/a.png' is missing, but list/train.txt names it"):
        dataset.pairs(levir, "train")
    (levir / "list" / "test.txt").unlink()
    with pytest.raises(UserError, match=r"'levir/list/test.txt' is missing"):
        dataset.pairs(levir, "test")
    with pytest.raises(UserError, match=r"'levir' has no split 'trian'; did you mean 'train'"):
        dataset.pairs(levir, "trian")
    with pytest.raises(UserError, match=r"'t0/000_00_0.png' has no number|'000_00_0.png' has no number"):
        ChangeData("pcd").pairs(street / "train", "train")
    with pytest.raises(UserError, match="Only the embedded scenes can be limited to appear"):
        ChangeData("street", kinds=("appear",)).read(street, "train")


def test_pairs_of_different_sizes_train_on_crops(street: Path) -> None:
    for role, grey in (("t0", 10), ("t1", 20), ("mask", 0)):
        picture(street / "train" / role / "003_00_0.png", grey, (20, 16))
    images = ChangeData("street").read(street, "train")
    with pytest.raises(UserError, match=r"different sizes \(12x8 and 20x16 pixels\)"):
        images.crops(0).batch(torch.arange(4), True, ANY)
    crops = images.crops(4)
    assert len(crops) == 4 * 6  # 12 x 8 pixels are six squares
    assert crops.batch(torch.arange(24), True, ANY).shape == (24, 7, 4, 4)
    whole = images.crops(400)
    assert whole.batch(torch.tensor([0]), True, ANY).shape == (1, 7, 8, 12)


def test_crops_cut_pictures_and_mask_at_one_place(street: Path) -> None:
    ramp = np.arange(96, dtype=np.uint8).reshape(8, 12)
    for name in ("t0", "t1"):
        picture(street / "train" / name / "001_00_0.png", np.repeat(ramp[..., None], 3, 2))
    picture(street / "train/mask/001_00_0.png", np.where(ramp % 2, 255, 0).astype(np.uint8))
    crops = ChangeData("street").read(street, "train").crops(3)
    rows = torch.tensor([row for row in range(len(crops)) if crops.pairs[row % 3].name == "001_00_0"])
    cut = crops.batch(rows, True, torch.Generator().manual_seed(0))
    assert torch.equal(cut[:, 0], cut[:, 3]) and torch.equal(cut[:, 6], cut[:, 0] % 2)
    assert len({item.numpy().tobytes() for item in cut}) > 3  # different places


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return source.embedded_folder(ChangeData("street"), tmp_path_factory.mktemp("cache"))


def test_embedded_bytes_never_change_without_a_new_version(embedded: Path) -> None:
    assert rendered.VERSION == 1
    total = hashlib.sha256()
    for split in ("train", "test"):
        for chunk in rendered.draw_pairs(split):
            for part in chunk:
                total.update(part.tobytes())
    assert total.hexdigest() == PIXELS
    assert ChangeData("street").digest(embedded) == FILES


def test_embedded_pairs_are_complete_and_no_two_are_equal(embedded: Path) -> None:
    dataset = ChangeData("street")
    assert dataset.check(embedded) == [] and dataset.classify(embedded) == "embedded"
    assert dataset.counts(embedded) == rendered.COUNTS
    seen = [path.read_bytes() for path in embedded.rglob("t?/*.png")]
    assert len(set(seen)) == len(seen) == 2 * sum(rendered.COUNTS.values())
    with pytest.raises(UserError, match="leave task.change out"):
        ChangeData("street", change="black").read(embedded, "train")


@pytest.mark.parametrize("layout", ["levir", "pcd"])
def test_embedded_pairs_are_the_same_in_every_layout(embedded: Path, tmp_path: Path, layout: str) -> None:
    dataset = ChangeData(layout)
    folder = source.embedded_folder(dataset, tmp_path)
    assert dataset.counts(folder) == rendered.COUNTS
    for split in rendered.COUNTS:
        here, there = dataset.read(folder, split), ChangeData("street").read(embedded, split)
        index = torch.arange(0, len(here), 37)
        assert torch.equal(here.batch(index, False, ANY), there.batch(index, False, ANY))


def test_what_happens_in_the_scenes_is_what_was_asked_for() -> None:
    """The outline of a changed object is an edge in the picture that has it: in the later one only, where objects appear."""
    for kind, busy in (("appear", 1), ("disappear", 0)):
        chunk = next(rendered.draw_pairs("test", (kind,)))
        changed = chunk.mask == 255
        assert 0.005 < changed.mean() < 0.2
        outline = changed[:, :, 1:] != changed[:, :, :-1]
        edges = [np.abs(np.diff(part.astype(int), axis=2)).sum(3)[outline].mean() for part in chunk[:2]]
        assert edges[busy] > 1.3 * edges[1 - busy]


def test_no_threshold_on_the_difference_of_the_pictures_is_enough(embedded: Path) -> None:
    from suite.metrics.change import confusion, over_all

    images = ChangeData("street").read(embedded, "test")
    pixels = images.batch(torch.arange(len(images)), False, ANY)
    difference = (pixels[:, :3].int() - pixels[:, 3:6].int()).abs().sum(1)
    scores = [over_all(confusion((difference > at).long(), pixels[:, 6]))["f1_global"] for at in range(0, 760, 10)]
    assert 10 < max(scores) < 40


def test_png_files_are_plain_pngs(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    for shape in ((1, 1), (7, 5), (150, 160, 3)):  # the last needs two stored blocks
        pixels = draw.integers(0, 256, shape, dtype=np.uint8)
        (tmp_path / "x.png").write_bytes(png(pixels))
        assert np.array_equal(np.asarray(Image.open(tmp_path / "x.png")), pixels)

"""Captions: the embedded ones, what the readers give of both layouts, and what they refuse."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pieces import some_of_coco

from suite.data import captions, source
from suite.data.captions import CocoCaptions, KarpathyCaptions
from suite.data.embedded import captioned
from suite.data.embedded.drawing import Draw
from suite.errors import UserError

# Of version 1, over every file. Another digest means other data: raise captioned.VERSION with it.
DIGEST = "2cca606dc85940262dabbccd0e1267c61b128a118126b5afb4639eef98ae3225"


@pytest.fixture(scope="module")
def embedded(cache: Path) -> source.Source:
    return source.source_of(CocoCaptions(), source.embedded_folder(CocoCaptions(), cache))


@pytest.fixture
def copy(embedded: source.Source, tmp_path: Path) -> Path:
    """Four pictures of each split, to break."""
    return some_of_coco(embedded.folder, tmp_path / "coco", "captions", 4)


def test_bytes_never_change_without_a_new_version(embedded: source.Source) -> None:
    assert captioned.VERSION == 1
    assert embedded.kind == "embedded" and embedded.counts == captioned.COUNTS and embedded.counts["test"] >= 500
    assert embedded.digest == DIGEST
    assert CocoCaptions().check(embedded.folder) == []
    assert CocoCaptions().describe(embedded.folder)["test"] == "500 images with 5 to 5 captions each, 2500 in all"


def test_what_is_read(copy: Path) -> None:
    content = json.loads((copy / "annotations" / "captions_val2017.json").read_text())
    content["images"].reverse()
    (copy / "annotations" / "captions_val2017.json").write_text(json.dumps(content), encoding="utf-8-sig")
    found = CocoCaptions().read(copy, "test")
    assert found.ids == [300_001, 300_002, 300_003, 300_004] and [len(item) for item in found.captions] == [5] * 4
    assert found.captions[1] == [item["caption"] for item in content["annotations"] if item["image_id"] == 300_002]
    assert found.image(0).shape == (3, 128, 160) and found.image(0).dtype == torch.uint8
    part = found.subset(torch.tensor([2, 0]))
    assert part.ids == [300_003, 300_001] and part.captions[1] == found.captions[0] and len(part) == 2
    (copy / "embedded.txt").unlink(missing_ok=True)
    assert source.source_of(CocoCaptions(), copy).kind == "subset"


def test_captions_say_what_is_in_the_picture() -> None:
    """Each sentence, taken apart again by words alone, agrees with the facts, and together they hold all of them."""
    nouns = dict(zip(captioned.NOUNS, range(6), strict=True))
    seen = set()
    for scene in captioned.draw_captioned("test", 40):
        facts, texts = scene.facts, [text.lower() for text in scene.captions]
        assert len(set(texts)) == 5
        for text in texts:
            found = re.findall(r"(a|one|two|three) (small |large )?(disc|square|cross|ring|triangle|bar)(?:e?s)?\b", text)
            said = [(nouns[noun], {"two": 2, "three": 3}.get(number, 1), size.strip()) for number, size, noun in found]
            assert said == [tuple(group) for group in facts.groups], text
        assert sum(captioned.TEXTURES[facts.ground] in text for text in texts) == 4
        assert sum(facts.extra in text for text in texts) == 4 if facts.extra else not any(
            extra in text for extra in captioned.EXTRAS for text in texts)
        if facts.relation:
            assert all(any(way in texts[row] for way in captioned.RELATIONS[facts.relation]) for row in (0, 1, 4))
        seen.add((facts.ground, facts.relation, facts.extra))
    assert len(seen) > 30


def test_relations_hold_in_the_picture() -> None:
    """The centres of the groups, from the canvas itself."""
    for number in range(30):
        canvas, facts = captioned._painted(number, Draw(7, number))
        if not facts.relation:
            continue
        owners = np.arange(1, len(canvas.sizes))
        counts = [group.number for group in facts.groups]
        assert sum(counts) + bool(facts.extra) == len(owners)
        centres = [np.argwhere(np.isin(canvas.owner, part)).mean(0) for part in (owners[: counts[0]], owners[counts[0] : sum(counts)])]
        down, across = centres[1] - centres[0]
        assert {"left": across > 0, "right": across < 0, "above": down > 0, "below": down < 0}[facts.relation]


def test_the_numbers_of_words() -> None:
    def one(texts: list[str]) -> str:
        return texts[1]

    facts = captioned.Facts("dots", (captioned.Group(2, 2, ""),), "", "", "")
    assert one(captioned.sentences(facts, Draw(1))).startswith("There are two crosses on a dotted ")
    single = facts._replace(groups=(captioned.Group(0, 1, "small"),))
    assert re.fullmatch(r"There is (a|one) small disc on a dotted (ground|background)\.", one(captioned.sentences(single, Draw(1))))
    for count, word in ((2, "a sparse"), (3, "a picture"), (5, "a busy")):
        parts = (captioned.Group(0, min(count, 3), ""), captioned.Group(1, count - 3, ""))[: 1 + (count > 3)]
        text = captioned.sentences(facts._replace(groups=parts, relation="left" if count > 3 else ""), Draw(2))[4].lower()
        assert text.startswith((word, word.replace("picture", "scene")))


def break_json(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    def broken(folder: Path) -> None:
        path = folder / "annotations" / "captions_val2017.json"
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return broken


def put(kind: str, row: int, **values: Any) -> Callable[[Path], object]:
    return break_json(lambda content: content[kind][row].update(values))


BROKEN: list[tuple[Callable[[Path], object], str]] = [
    (put("annotations", 2, caption=""), "annotation 3 has the caption '', which says nothing"),
    (put("annotations", 2, caption=" ... "), "annotation 3 has the caption ' ... ', which says nothing"),
    (put("annotations", 2, caption=None), "annotation 3 has the caption None, expected text"),
    (put("annotations", 2, caption="a \ud800"), "annotation 3 has a caption with half a character in it, which no UTF-8 can hold"),
    (put("annotations", 2, image_id=77), "annotation 3 belongs to image 77, which is not in the list of images"),
    (put("annotations", 2, id=1), "the annotation id 1 occurs 2 times, expected once"),
    (put("images", 1, id=300_001), "the image id 300001 occurs 2 times, expected once"),
    (put("images", 1, id="300001"), "the image id '300001' is no whole number"),
    (put("images", 1, id=True), "the image id True is no whole number"),
    (put("images", 1, file_name="gone.png"), "image 300002 is the file 'val2017/gone.png', which is missing"),
    (put("images", 1, file_name="../../gone.png"), "leaves the folder"),
    (break_json(lambda content: content["annotations"].__delitem__(slice(5))), "image 300001 has no caption"),
    (break_json(lambda content: content.pop("annotations")), "has no list 'annotations' with something in it"),
    (break_json(lambda content: content.update(images=[])), "has no list 'images' with something in it"),
    (break_json(lambda content: content["annotations"][0].pop("caption")), "an entry is not of COCO's form (KeyError: 'caption')"),
    (break_json(lambda content: content["images"].insert(0, 5)), "an entry is not of COCO's form"),
    (lambda folder: (folder / "annotations" / "captions_val2017.json").write_bytes(b'{"images": "caf\xe9"}'), "is not UTF-8 text"),
    (lambda folder: (folder / "annotations" / "captions_val2017.json").write_text('{"images"'), "is no readable JSON"),
    (lambda folder: (folder / "annotations" / "captions_val2017.json").unlink(), "captions_val2017.json' is missing"),
    (lambda folder: (folder / "val2017" / "000000300001.png").write_bytes(b"no"), "is not a readable image"),
]


@pytest.mark.parametrize("damage, sentence", BROKEN, ids=[sentence[:40] for _, sentence in BROKEN])
def test_damage_is_told_in_one_sentence(copy: Path, damage: Callable[[Path], object], sentence: str) -> None:
    damage(copy)
    (told,) = CocoCaptions().check(copy)
    assert sentence in told and "\n" not in told and told.endswith(".")


@pytest.mark.parametrize("without", ["pictures enough", "a file"])
def test_few_training_pictures_are_no_training_part(copy: Path, cache: Path, without: str) -> None:
    """They are tested on, and the embedded pictures trained on."""
    (copy / "embedded.txt").unlink(missing_ok=True)
    if without == "a file":
        (copy / "annotations" / "captions_train2017.json").unlink()
        shutil.rmtree(copy / "train2017")
    found = source.locate_data(CocoCaptions(), copy, cache)
    assert found.counts == {"test": 4} and found.kind == "subset" and CocoCaptions().check(copy) == []
    assert found.training is not None and found.training.counts == captioned.COUNTS
    assert "no training part: methods are trained on the embedded 'coco_captions' and tested on it" in found.note


def test_damage_in_few_training_captions_is_told(copy: Path) -> None:
    (copy / "annotations" / "captions_train2017.json").write_text("{")
    (told,) = CocoCaptions().check(copy)
    assert "captions_train2017.json' is no readable JSON" in told


def test_test_pictures_in_the_training_data_are_refused(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captions, "ENOUGH", 4)
    shutil.copy(copy / "train2017" / "000000200001.png", copy / "val2017" / "000000300001.png")
    (told,) = CocoCaptions().check(copy)
    assert "1 of the 4 images of 'test' are also in 'train'" in told


def karpathy(folder: Path) -> dict[str, Any]:
    """A tiny Karpathy split in `folder`; its content."""
    splits = ("train", "restval", "val", "test", "test")
    images = [{"filepath": "val2014", "filename": f"COCO_val2014_{row:012d}.jpg", "cocoid": row, "imgid": row, "split": split,
               "sentences": [{"tokens": ["a", "cat"], "raw": f"A cat, number {row}-{number}.", "sentid": number} for number in (1, 2)]}
              for row, split in reversed(list(enumerate(splits, 1)))]
    content = {"dataset": "coco", "images": images}
    (folder / "dataset_coco.json").write_text(json.dumps(content))
    return content


def test_the_karpathy_split(tmp_path: Path) -> None:
    karpathy(tmp_path)
    found = source.locate_data(KarpathyCaptions(), tmp_path, tmp_path / "cache")
    assert found.kind == "subset" and found.counts == {"train": 2, "val": 1, "test": 2}
    assert KarpathyCaptions().read(tmp_path, "train").ids == [1, 2]
    test = KarpathyCaptions().read(tmp_path, "test")
    assert test.ids == [4, 5] and test.captions[0] == ["A cat, number 4-1.", "A cat, number 4-2."]
    assert test.files[0] == tmp_path / "val2014" / "COCO_val2014_000000000004.jpg"
    assert KarpathyCaptions().check(tmp_path) == []


@pytest.mark.parametrize("change, sentence", [
    (lambda images: images[0].update(split="dev"), "image 5 has the split 'dev', expected train, restval, val or test"),
    (lambda images: images[0].update(cocoid=1), "the image id 1 occurs 2 times, expected once"),
    (lambda images: images[0].update(sentences=[]), "image 5 has no caption"),
    (lambda images: images[0]["sentences"][0].update(raw=" "), "image 5 has the caption ' ', which says nothing"),
    (lambda images: images[2].update(split="test"), "no image is in the split 'val'"),
    (lambda images: images[0].pop("filename"), "an image is not of the split's form (KeyError: 'filename')"),
])
def test_damage_in_the_karpathy_split(tmp_path: Path, change: Callable[[Any], object], sentence: str) -> None:
    content = karpathy(tmp_path)
    change(content["images"])
    (tmp_path / "dataset_coco.json").write_text(json.dumps(content))
    (told,) = KarpathyCaptions().check(tmp_path)
    assert sentence in told and told.endswith(".")


def test_the_karpathy_split_has_no_stand_in(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no embedded stand-in; name a folder that holds dataset_coco.json"):
        source.locate_data(KarpathyCaptions(), source.EMBEDDED, tmp_path)

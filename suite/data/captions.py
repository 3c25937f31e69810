"""COCO's captions: the official 2017 files with their pictures, and the Karpathy split of the same captions.

Sources: Chen et al., "Microsoft COCO Captions", arXiv 1504.00325, and the data set's page for ``captions_<split>2017.json``;
Karpathy and Fei-Fei, CVPR 2015, for ``dataset_coco.json``.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.data.dataset import MARK, Dataset, refusals
from suite.data.embedded import captioned
from suite.data.embedded.writing import png
from suite.data.files import below, readable, shown, spelled
from suite.data.pictures import PictureCache, Pictures, pixels_of
from suite.data.results import listed
from suite.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

FOLDERS = {"train": "train2017", "test": "val2017"}  # the official test set has no captions
ENOUGH = 1000  # training pictures, or there are none: fewer have hardly a word five times, and CIDEr-D's frequencies say little


@dataclass
class CaptionedPictures(Pictures):
    """Pictures with their ids and captions as written."""

    ids: list[int]  # of each of `files`
    captions: list[list[str]]

    def subset(self, index: Tensor) -> CaptionedPictures:
        rows = index.tolist()
        return replace(self, files=[self.files[row] for row in rows], ids=[self.ids[row] for row in rows],
                       captions=[self.captions[row] for row in rows])


class _Captions(Dataset):
    """What both forms have in common: a file of captions that is parsed once, and its splits."""

    def content(self, folder: Path, split: str) -> list[dict[str, Any]]:
        """The images of a split by id, each with ``id``, ``file`` (a path) and ``captions``."""
        raise NotImplementedError

    def summary(self, found: CaptionedPictures, names: Sequence[str]) -> str:
        counts = [len(item) for item in found.captions]
        return f"{len(found)} images with {min(counts)} to {max(counts)} captions each, {sum(counts)} in all"

    def read(self, folder: Path, split: str) -> CaptionedPictures:
        """The pictures of a split by id, with their captions. UserError for captions that are damaged or contradict themselves."""
        found = self.content(folder, split)
        files = [item["file"] for item in found]
        return CaptionedPictures(files, PictureCache(pixels_of, len(files)), [item["id"] for item in found],
                                 [item["captions"] for item in found])

    def damage(self, path: Path, problem: str) -> UserError:
        return UserError(f"In '{shown(path)}' {problem}; mend that entry or get {self.where_to_get}.")


@dataclass
class CocoCaptions(_Captions):
    """The reader of the official files; what it has parsed and checked is kept.

    Fewer than `ENOUGH` training pictures, or no file of theirs, are no training part, and are left alone.
    """

    name = "coco_captions"
    title = "COCO 2017 captions"
    version = captioned.VERSION
    layout = "a folder with annotations/captions_train2017.json, annotations/captions_val2017.json, train2017/ and val2017/"
    where_to_get = "the official archives train2017.zip, val2017.zip and annotations_trainval2017.zip from cocodataset.org"
    official_counts = ({"train": 118_287, "test": 5_000},)
    landmarks = ("annotations/captions_train2017.json", "annotations/captions_val2017.json")

    parsed: dict[Path, list[dict[str, Any]]] = field(default_factory=dict, repr=False)

    def make(self, folder: Path) -> None:
        """Write the captioned scenes as PNG files without compression: every byte is the same everywhere."""
        (folder / "annotations").mkdir()
        (folder / MARK).write_text("embedded pictures and captions\n", encoding="utf-8")
        for split, name in FOLDERS.items():
            (folder / name).mkdir()
            images: list[dict[str, Any]] = []
            annotations: list[dict[str, Any]] = []
            for number, scene in enumerate(captioned.draw_captioned(split), 200_001 if split == "train" else 300_001):
                path = folder / name / f"{number:012d}.png"
                path.write_bytes(png(scene.pixels))
                images.append({"id": number, "file_name": path.name, "height": scene.pixels.shape[0],
                               "width": scene.pixels.shape[1]})
                annotations += [{"id": len(annotations) + row, "image_id": number, "caption": text}
                                for row, text in enumerate(scene.captions, 1)]
            content = {"info": {"description": f"embedded captions, version {self.version}"}, "images": images,
                       "annotations": annotations}
            (folder / "annotations" / f"captions_{name}.json").write_text(json.dumps(content, sort_keys=True), encoding="utf-8")

    def trains(self, folder: Path) -> bool:
        return (folder / self.landmarks[0]).is_file() and len(self.content(folder, "train")) >= ENOUGH

    def splits(self, folder: Path) -> Sequence[str]:
        return ("train", "test") if self.trains(folder) else ("test",)

    def files(self, folder: Path) -> dict[str, Path]:
        """Without a training part the test part alone."""
        files = super().files(folder)
        return files if self.trains(folder) else {name: path for name, path in files.items() if name != self.landmarks[0]}

    def parts(self, folder: Path) -> Iterable[Callable[[], object]]:
        """The training captions first: they decide which splits there are."""
        return [partial(self.trains, folder), partial(self.read, folder, "test")]

    def content(self, folder: Path, split: str) -> list[dict[str, Any]]:
        path = folder / "annotations" / f"captions_{FOLDERS[split]}.json"
        if path not in self.parsed:
            self.parsed[path] = self._checked(folder / FOLDERS[split], path, split)
        return self.parsed[path]

    def _checked(self, pictures: Path, path: Path, split: str) -> list[dict[str, Any]]:
        content = parsed(path, ("images", "annotations"), self.where_to_get)
        images, written = content["images"], content["annotations"]
        try:
            if len(images) == self.official_counts[0][split]:  # a release is as it is
                written = [item for item in written if said(item["caption"])]
            if problem := _problem(images, written):
                raise self.damage(path, problem)
            captions: dict[int, list[str]] = {}
            for item in written:
                captions.setdefault(item["image_id"], []).append(item["caption"])
            found = [{"id": item["id"], "file": below(pictures, item["file_name"], path), "captions": captions[item["id"]]}
                     for item in sorted(images, key=lambda item: item["id"])]
        except (KeyError, TypeError, AttributeError) as error:
            raise self.damage(path, f"an entry is not of COCO's form ({type(error).__name__}: {error})") from None
        for item in found:
            if not item["file"].is_file():
                raise self.damage(path, f"image {item['id']} is the file '{pictures.name}/{item['file'].name}', which is missing")
        return found


def _problem(images: Sequence[dict[str, Any]], written: Sequence[dict[str, Any]]) -> str:
    """The first contradiction between the lists of a caption file; else empty."""
    if problem := repeated("image", images) or repeated("annotation", written):
        return problem
    without = {item["id"] for item in images}
    known = set(without)
    for item in written:
        if problem := caption_problem(item["caption"]):
            return f"annotation {item['id']} {problem}"
        if item["image_id"] not in known:
            return f"annotation {item['id']} belongs to image {item['image_id']}, which is not in the list of images"
        without.discard(item["image_id"])
    return f"image {min(without)} has no caption" if without else ""


@dataclass
class KarpathyCaptions(_Captions):
    """The reader of ``dataset_coco.json``; of its pictures those are there that the user has, and networks read features.

    Training is its parts ``train`` and ``restval`` together.
    """

    name = "coco_karpathy"
    title = "COCO captions in the Karpathy split"
    version = 1
    layout = "a folder with dataset_coco.json"
    where_to_get = "dataset_coco.json of Karpathy's caption_datasets.zip"
    official_counts = ({"train": 113_287, "val": 5_000, "test": 5_000},)
    landmarks = ("dataset_coco.json",)

    parsed: dict[Path, dict[str, list[dict[str, Any]]]] = field(default_factory=dict, repr=False)

    def make(self, folder: Path) -> None:
        raise UserError(f"The Karpathy split has no embedded stand-in; name a folder that holds {self.where_to_get} with --data.")

    def splits(self, folder: Path) -> Sequence[str]:
        return ("train", "test", "val")

    def files(self, folder: Path) -> dict[str, Path]:
        return {name: folder / name for name in self.landmarks}

    def check(self, folder: Path) -> list[str]:
        """What is wrong with the captions; the pictures may be elsewhere."""
        return refusals([partial(self.content, folder, "train")])

    def overlaps(self, folder: Path) -> list[str]:
        """None: an image stands once in the file, which is checked, and is in one split."""
        return []

    def content(self, folder: Path, split: str) -> list[dict[str, Any]]:
        path = folder / self.landmarks[0]
        if path not in self.parsed:
            self.parsed[path] = self._checked(folder, path)
        return self.parsed[path][split]

    def _checked(self, folder: Path, path: Path) -> dict[str, list[dict[str, Any]]]:
        images = parsed(path, ("images",), self.where_to_get)["images"]
        found: dict[str, list[dict[str, Any]]] = {split: [] for split in self.splits(folder)}
        try:
            if problem := repeated("image", [{"id": item["cocoid"]} for item in images]):
                raise self.damage(path, problem)
            for item in sorted(images, key=lambda item: item["cocoid"]):
                split = "train" if item["split"] == "restval" else item["split"]
                captions = [sentence["raw"] for sentence in item["sentences"]]
                if split not in found:
                    raise self.damage(path, f"image {item['cocoid']} has the split {split!r}, expected train, restval, val or test")
                if problem := next(filter(None, map(caption_problem, captions)), "" if captions else "has no caption"):
                    raise self.damage(path, f"image {item['cocoid']} {problem}")
                file = below(folder, f"{item.get('filepath', '')}/{item['filename']}".lstrip("/"), path)
                found[split].append({"id": item["cocoid"], "file": file, "captions": captions})
        except (KeyError, TypeError, AttributeError) as error:
            raise self.damage(path, f"an image is not of the split's form ({type(error).__name__}: {error})") from None
        if empty := [split for split, items in found.items() if not items]:
            raise self.damage(path, f"no image is in the split '{empty[0]}'")
        return found


def parsed(path: Path, lists: Sequence[str], where: str) -> dict[str, Any]:
    """A JSON file in UTF-8 that holds `lists`; UserError for anything else."""
    if not path.is_file():
        raise UserError(f"'{shown(path)}' is missing; get {where}.")
    try:
        with readable():
            content = json.loads(path.read_bytes().decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise UserError(f"'{shown(path)}' is not UTF-8 text; save it as UTF-8 or get {where}.") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"'{shown(path)}' is no readable JSON ({error}); get {where}.") from None
    missing = [name for name in lists if not (isinstance(content, dict) and isinstance(content.get(name), list) and content[name])]
    if missing:
        raise UserError(f"'{shown(path)}' has no list '{missing[0]}' with something in it; get {where}.")
    return content


def said(caption: object) -> bool:
    """Whether there is a letter or a digit in a caption."""
    return isinstance(caption, str) and any(map(str.isalnum, caption))


def caption_problem(caption: object) -> str:
    """What is wrong with a caption, after "it"; empty if nothing is."""
    if not isinstance(caption, str):
        return f"has the caption {caption!r}, expected text"
    if not said(caption):
        return f"has the caption {spelled(caption)!r}, which says nothing"
    return "" if spelled(caption) == caption else "has a caption with half a character in it, which no UTF-8 can hold"


def repeated(what: str, entries: Sequence[dict[str, Any]]) -> str:
    """The first id that is no whole number or that two of `entries` have, in words; else empty."""
    if odd := [item["id"] for item in entries if type(item["id"]) is not int]:
        return f"the {what} id {odd[0]!r} is no whole number"
    (identity, times), *_ = Counter(item["id"] for item in entries).most_common(1) or [(0, 0)]
    return f"the {what} id {identity} occurs {times} times, expected once" if times > 1 else ""


FORM = "a list of {image_id, caption}, one for each image"


def read_results(path: str) -> list[dict[str, Any]]:
    """The entries ``{image_id, caption}`` of a results file. UserError for a file that is none, and for the first wrong entry."""
    entries = listed(path, FORM)
    seen = set()
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict) or type(entry.get("image_id")) is not int or "caption" not in entry:
            raise UserError(f"Entry {number} of '{path}' is {spelled(str(entry))[:100]}, expected {FORM}, its id a whole number.")
        problem = caption_problem(entry["caption"])
        if entry["image_id"] in seen:
            problem = f"is a second one for image {entry['image_id']}"
        if problem:
            raise UserError(f"Entry {number} of '{path}' {problem}; expected {FORM}.")
        seen.add(entry["image_id"])
    return [{"image_id": entry["image_id"], "caption": entry["caption"]} for entry in entries]

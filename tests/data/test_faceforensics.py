"""FaceForensics++'s layout: the embedded faces, what the reader gives, crops and masks, videos, and what it refuses."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from suite.data import faces, source, videos
from suite.data.embedded import forged_faces
from suite.data.embedded.jpeg import recoded
from suite.data.faceforensics import MANIPULATIONS, FaceForensics
from suite.data.faces import Cropping, FaceFrame, Still, face_frames
from suite.data.forgery_scores import read_forgery_scores
from suite.errors import UserError

# Of version 1, over every file that the usual options read. Another digest means other data: raise forged_faces.VERSION with it.
DIGEST = "97951507b893e6f3bfc5af2ea8e021258454f88ad6a125b89e3875dea6def49f"
SMALL = Cropping(24)


@pytest.fixture(scope="module")
def embedded(cache: Path) -> source.Source:
    dataset = FaceForensics(cropping=SMALL)
    return source.source_of(dataset, source.embedded_folder(dataset, cache))


@pytest.fixture
def copy(embedded: source.Source, tmp_path: Path) -> Path:
    """One pair of each split, to break."""
    folder = tmp_path / "faces"
    (folder / "splits").mkdir(parents=True)
    for split in ("train", "val", "test"):
        (first, second), *_ = pairs = json.loads((embedded.folder / "splits" / f"{split}.json").read_text())
        (folder / "splits" / f"{split}.json").write_text(json.dumps(pairs[:1]))
        places = {"original_sequences/youtube": (first, second), **{
            f"manipulated_sequences/{name}": (f"{first}_{second}", f"{second}_{first}") for name in MANIPULATIONS}}
        for place, names in places.items():
            for name in names:
                for part in ("c23/frames", "c40/frames", "masks/frames", "boxes"):
                    path = embedded.folder / place / part / (name if part != "boxes" else f"{name}.json")
                    if path.exists():
                        (folder / place / part).mkdir(parents=True, exist_ok=True)
                        (shutil.copy if path.is_file() else shutil.copytree)(path, folder / place / part / path.name)
    return folder


def test_bytes_never_change_without_a_new_version(embedded: source.Source) -> None:
    assert forged_faces.VERSION == 1 and embedded.kind == "embedded"
    assert embedded.counts == {split: 5 * forged_faces.PEOPLE[split] * forged_faces.FRAMES[split] for split in embedded.counts}
    assert embedded.digest == DIGEST


def test_people_are_in_one_split_and_every_forgery_has_a_mask(embedded: source.Source) -> None:
    people: dict[str, set[str]] = {}
    for split in ("train", "val", "test"):
        frames = FaceForensics(cropping=SMALL).read(embedded.folder, split)
        people[split] = {person for frame in frames.frames for person in frame.video.split("_")}
        assert frames.masked and {frame.method for frame in frames.frames} == {"", *MANIPULATIONS}
        pixels = frames.batch(torch.arange(0, len(frames), 7), False, torch.Generator())
        forged = frames.labels[torch.arange(0, len(frames), 7)] == 1
        assert (pixels[forged, 3].amax((1, 2)) == 255).all() and not pixels[~forged, 3].any()
        assert torch.equal(frames.labels, torch.tensor([int(bool(frame.method)) for frame in frames.frames]))
    assert not people["train"] & people["test"] and not people["train"] & people["val"] and not people["val"] & people["test"]


def test_what_is_not_masked_is_the_original() -> None:
    sequences = [item for _, item in zip(range(25), forged_faces.draw_sequences("val"), strict=False)]
    for start in range(0, 25, 5):
        original, *forgeries = sequences[start : start + 5]
        for forged in forgeries:
            assert forged.person == original.person and forged.source == forged.person ^ 1
            changed = (forged.frames != original.frames).any(3)
            for difference, mask in zip(changed, forged.masks, strict=True):
                near = np.asarray(Image.fromarray(mask).resize((48, 48))) > 0
                for _ in range(4):  # the soft border
                    near = near | np.roll(near, 1, 0) | np.roll(near, -1, 0) | np.roll(near, 1, 1) | np.roll(near, -1, 1)
                assert not difference[~near].any() and difference[mask > 0].mean() > 0.7, forged.kind


@pytest.mark.parametrize("quality", [40, 60, 90])
def test_the_loss_is_that_of_jpeg(quality: int) -> None:
    pixels = np.concatenate([item.frames[0] for _, item in zip(range(6), forged_faces.draw_sequences("val"), strict=False)], 1)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality, subsampling="4:2:0")
    wanted = np.asarray(Image.open(file)).astype(int)
    found = recoded(pixels[None], quality)[0].astype(int)
    assert np.abs(found - wanted).mean() < 0.25 * np.abs(wanted - pixels).mean()


def test_mask_and_face_are_cut_alike(tmp_path: Path) -> None:
    pixels = np.zeros((60, 80), np.uint8)
    pixels[20:41, 30:57] = 255
    for name, item in (("face", np.stack([pixels] * 3, 2)), ("mask", pixels)):
        Image.fromarray(item).save(tmp_path / f"{name}.png")
    frame = FaceFrame("Deepfakes", "000_001", "0", Still(tmp_path / "face.png"), Still(tmp_path / "mask.png"), (25.0, 12.0, 61.0, 44.0))
    for cropping in (Cropping(37, 1.3), Cropping(37, 1.0, "whole")):
        found = face_frames([frame], cropping).image(0)
        assert found.shape == (4, 37, 37) and torch.equal(found[0], found[3]) and 0 < (found[3] == 255).float().mean() < 1


@pytest.mark.parametrize("box, wanted", [
    ((20.0, 10.0, 40.0, 40.0), (11, 6, 50, 45)),  # 1.3 x 30 = 39 around (30, 25)
    ((0.0, 0.0, 20.0, 30.0), (0, 0, 39, 39)),  # cut off at the sides: it moves inwards
    ((60.0, 30.0, 80.0, 60.0), (51, 26, 80, 55)),  # and shrinks at the others
])
def test_the_square_is_faceforensics_own(box, wanted, tmp_path) -> None:
    frame = FaceFrame("", "0", "0", Still(tmp_path), None, box)
    assert faces._square(Image.new("RGB", (80, 60)), frame, 1.3, set()) == wanted


def test_frames_are_equally_spaced(copy: Path) -> None:
    home = copy / "original_sequences/youtube/c23/frames/000"
    for number in range(2, 9):
        shutil.copy(home / "0001.png", home / f"{number:04d}.png")
    (copy / "original_sequences/youtube/boxes/000.json").unlink()
    frames = FaceForensics(frames=(4, 1), cropping=Cropping(8, 1, "whole")).read(copy, "train").frames
    assert [frame.name for frame in frames if frame.video == "000"] == ["0000", "0003", "0005", "0008"]


def test_unpadded_numbers_are_in_their_order(copy: Path) -> None:
    home = copy / "original_sequences/youtube/c23/frames/000"
    (home / "0001.png").unlink()
    for number in range(12):
        shutil.copy(home / "0000.png", home / f"at{number}.png")
    (home / "0000.png").unlink()
    (copy / "original_sequences/youtube/boxes/000.json").unlink()
    frames = FaceForensics(frames=(12, 1), cropping=Cropping(8, 1, "whole")).read(copy, "train").frames
    assert [frame.name for frame in frames if frame.video == "000"] == [f"at{number}" for number in range(12)]


@pytest.mark.parametrize("asked", [{"compression": "c0"}, {"manipulations": ("FaceSwap", "Mine")}])
def test_what_the_embedded_faces_lack_is_no_damage(cache: Path, asked: dict) -> None:
    with pytest.raises(UserError, match="The embedded faces have no '(c0|Mine)', only c23, c40, Deepfakes, Face2Face"):
        source.locate_data(FaceForensics(**asked), source.EMBEDDED, cache)


def test_raw_is_another_name_of_c0_and_images_of_frames(copy: Path) -> None:
    for place in (copy / "original_sequences/youtube", *(copy / "manipulated_sequences").iterdir()):
        (place / "c40").rename(place / "raw")
        (place / "raw/frames").rename(place / "raw/images")
    found = FaceForensics("c0", cropping=SMALL)
    assert len(found.read(copy, "train")) == len(FaceForensics(cropping=SMALL).read(copy, "train")) == 20
    assert found.classify(copy) == "subset" and found.check(copy) == []


def rewrite(path: str, text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / path).write_text(text)


def small(path: str) -> Callable[[Path], object]:
    return lambda folder: Image.new("L", (20, 20)).save(folder / path)


def masks_times(method: str, factor: int) -> Callable[[Path], object]:
    """The masks of 0 and 1, times `factor`."""

    def change(folder: Path) -> None:
        for path in (folder / "manipulated_sequences" / method / "masks").rglob("*.png"):
            Image.fromarray((np.asarray(Image.open(path)) > 0).astype(np.uint8) * factor).save(path)

    return change


@pytest.mark.parametrize("damage, sentence", [
    (rewrite("splits/test.json", '[["200", "999"]]'), "'test.json' names the video '999', which is not in"),
    (rewrite("splits/test.json", '[["200", "201"], ["000", "201"]]'), "'splits/test.json' names the video '201' 2 times|201' 2 times"),
    (rewrite("splits/val.json", '[["000", "001"]]'), "The video '000' is in both train.json and val.json"),
    (rewrite("splits/train.json", "[]"), "train.json' is empty; expected pairs"),
    (rewrite("splits/train.json", '[["000"]]'), "train.json' is not of the form; expected pairs"),
    (rewrite("splits/train.json", '{"a": 1}'), "train.json' is not of the form; expected pairs"),
    (rewrite("splits/train.json", "[["), "train.json' is no readable JSON"),
    (rewrite("splits/train.json", '[["../x", "y"]]'), "is not of the form"),
    (lambda folder: (folder / "splits/test.json").unlink(), "has no 'test.json'"),
    (small("manipulated_sequences/FaceSwap/masks/frames/000_001/0001.png"), r"has 20x20 pixels and its frame .* has 48x48; they must have"),
    (lambda folder: (folder / "manipulated_sequences/FaceSwap/masks/frames/000_001/0001.png").unlink(), "has no mask among the 1"),
    (lambda folder: shutil.rmtree(folder / "manipulated_sequences/FaceSwap/masks/frames/000_001"), "has no mask of the video '000_001'"),
    (lambda folder: shutil.rmtree(folder / "manipulated_sequences/FaceSwap"), "is missing; copy it, or leave 'FaceSwap' out"),
    (lambda folder: shutil.rmtree(folder / "original_sequences/youtube/c23"), "has no folder c23; copy that compression"),
    (lambda folder: [path.unlink() for path in (folder / "original_sequences/youtube/c23/frames/000").iterdir()], "has no frames"),
    (rewrite("original_sequences/youtube/boxes/000.json", '{"0000": [1, 2, 3]}'), "for the box of frame '0000'"),
    (rewrite("original_sequences/youtube/boxes/000.json", "[1]"), "for the box of frame ''"),
    (rewrite("original_sequences/youtube/boxes/000.json", "x"), "is no readable JSON"),
    (rewrite("original_sequences/youtube/boxes/000.json", '{"0000": [1, 2, 30, 40]}'), "has no box for the frame '0001'"),
    (rewrite("original_sequences/youtube/boxes/000.json", '{"0000": [90, 2, 99, 40], "0001": [1, 2, 30, 40]}'), "lies outside the frame"),
    (rewrite("original_sequences/youtube/boxes/000.json", '{"0000": [9, 60, 30, 80], "0001": [1, 2, 30, 40]}'), "lies outside the frame"),
    (rewrite("original_sequences/youtube/boxes/000.json", '{"0000": [0, 0, 99, 90], "0001": [1, 2, 30, 40]}'), "lies outside the frame"),
    (rewrite("original_sequences/youtube/boxes/000.json", '{"0000": [0.1, 0.1, 0.9, 0.9]}'), "has no box for the frame '0001'"),
    (rewrite("original_sequences/youtube/boxes/000.json", '{"0000": [0.1, 0.1, 0.9, 0.9], "0001": [1, 2, 30, 40]}'),
     "cuts less than 8x8 pixels out of the frame of 48x48"),
    (rewrite("original_sequences/youtube/boxes/000.json", '{"0000": [1, 2, 3, Infinity]}'), "for the box of frame '0000'"),
    (rewrite("original_sequences/youtube/boxes/000.json", '{"0000": [1, 2, 3, 1e300]}'), "for the box of frame '0000'"),
    (rewrite("original_sequences/youtube/boxes/000.json", f'{{"0000": [1, 2, 3, 1{"0" * 400}]}}'), "for the box of frame '0000'"),
    (masks_times("FaceSwap", 1), "0000.png' has no value but 0 and 1"),
    (masks_times("FaceSwap", 0), "Nothing is forged in any of the 4 masks of 'FaceSwap' in 'train'"),
    (lambda folder: Image.new("RGB", (48, 48)).save(folder / "original_sequences/youtube/c23/frames/000/0000.jpg"),
     "has the frame '0000' as '0000.jpg' and as '0000.png'"),
])
def test_damage_is_named_in_one_sentence(copy: Path, damage, sentence: str) -> None:
    assert FaceForensics(cropping=SMALL).check(copy) == []
    damage(copy)
    found = FaceForensics(cropping=SMALL).check(copy)
    assert found, "nothing was found"
    import re
    assert any(re.search(sentence, line) for line in found), found
    assert all("\n" not in line for line in found)


def test_without_masks_folders_faces_are_there_and_not_masked(copy: Path) -> None:
    shutil.rmtree(copy / "manipulated_sequences/FaceSwap/masks")
    assert not FaceForensics(cropping=SMALL).read(copy, "train").masked
    without = FaceForensics(manipulations=("Deepfakes",), cropping=SMALL).read(copy, "train")
    assert without.masked and len(without) == 8


def test_the_copy_of_a_training_frame_in_the_test_is_found(copy: Path) -> None:
    test = json.loads((copy / "splits/test.json").read_text())[0][0]
    for name in ("0000", "0001"):
        shutil.copy(copy / f"original_sequences/youtube/c23/frames/000/{name}.png",
                    copy / f"original_sequences/youtube/c23/frames/{test}/{name}.png")
    assert "are also in 'train'" in " ".join(FaceForensics(cropping=SMALL).check(copy))


def test_videos_and_the_cascade_say_what_to_install(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    videos._cascade.cache_clear()
    home = copy / "original_sequences/youtube"
    (home / "boxes/000.json").unlink()
    with pytest.raises(UserError, match=r"pip install 'suite\[video\]', or give boxes"):
        FaceForensics(cropping=SMALL).read(copy, "train").image(0)
    shutil.rmtree(home / "c23/frames/000")
    (home / "c23/videos").mkdir()
    (home / "c23/videos/000.mp4").write_bytes(b"x")
    with pytest.raises(UserError, match=r"000.mp4' needs OpenCV; install it with: pip install 'suite\[video\]', or extract its frames"):
        FaceForensics(cropping=SMALL).read(copy, "train")


def test_videos_are_read_frame_by_frame(copy: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    home = copy / "original_sequences/youtube"
    shutil.rmtree(home / "c23/frames/000")
    (home / "c23/videos").mkdir()
    path = home / "c23/videos/000.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 25, (64, 48))
    for number in range(10):
        writer.write(np.full((48, 64, 3), (250, 20 * number, 0), np.uint8))  # blue, green, red
    writer.release()
    assert videos.frame_count(path) == 10
    (home / "boxes/000.json").write_text(json.dumps({f"{number:04d}": [10, 5, 40, 40] for number in range(10)}))
    frames = FaceForensics(frames=(4, 1), cropping=SMALL).read(copy, "train")
    rows = [row for row, frame in enumerate(frames.frames) if frame.video == "000"]
    assert [frames.frames[row].name for row in rows] == ["0000", "0003", "0006", "0009"]
    for row, number in zip(rows, (0, 3, 6, 9), strict=True):
        means = frames.image(row).float().mean((1, 2)).tolist()
        assert means == pytest.approx([0, 20 * number, 250, 0], abs=8)
    path.write_bytes(b"no video")
    with pytest.raises(UserError, match="is not a readable video"):
        videos.frame_count(path)


def test_where_the_cascade_finds_nothing_the_middle_is_taken_and_noted(tmp_path: Path) -> None:
    pytest.importorskip("cv2")
    Image.new("RGB", (80, 60), (9, 9, 9)).save(tmp_path / "0.png")
    found = face_frames([FaceFrame("", "000", "0", Still(tmp_path / "0.png"), None, None)], SMALL)
    assert (found.image(0)[:3] == 9).all() and len(found.without_face) == 1
    assert faces._square(Image.new("RGB", (80, 60)), found.frames[0], 1.3, set()) == (10, 0, 70, 60)


def test_faces_are_found_in_several_threads_from_the_first_picture_on() -> None:
    """In a process of its own, as OpenCV's import, which takes its module away for a while, happens once in each."""
    pytest.importorskip("cv2")
    subprocess.run([sys.executable, "-c", """if True:
        from concurrent.futures import ThreadPoolExecutor
        from PIL import Image
        from suite.data.videos import largest_face
        with ThreadPoolExecutor(16) as threads:
            assert list(threads.map(largest_face, [Image.new("RGB", (80, 60))] * 64)) == [None] * 64
        """], check=True)


@pytest.mark.parametrize("entries, sentence", [
    ([{"method": "original", "video": "1", "frame": "0", "score": 2}], "Entry 0 of .* has the score 2; expected"),
    ([{"method": "original", "video": "1", "frame": 0, "score": 0.2}], "Entry 0 of .* is not of the form"),
    ([{"method": "original", "video": "1", "frame": "0", "score": 0.2}] * 2, "Entry 1 of .* is a second one for original/1/0"),
    ({}, "holds a dict"),
])
def test_scores_of_another_form_are_refused(tmp_path: Path, entries, sentence: str) -> None:
    (tmp_path / "scores.json").write_text(json.dumps(entries))
    with pytest.raises(UserError, match=sentence):
        read_forgery_scores(str(tmp_path / "scores.json"))

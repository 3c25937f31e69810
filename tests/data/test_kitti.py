"""KITTI's layout: the embedded street scenes, what the reader gives, what it refuses, and the way between lidar, camera and image."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from suite.data import kitti, source
from suite.data.calibration import Calibration, found_labels, read_calibration, wrapped
from suite.data.embedded import street_clouds
from suite.data.kitti import Kitti, read_points
from suite.data.kitti_labels import read_labels, write_labels
from suite.errors import UserError
from suite.metrics.rotated import ground_overlap, iou_3d

# Of version 1, over every file. Another digest means other data: raise street_clouds.VERSION with it.
DIGEST = "5074fd6bac47677344003cb024462f474fbc56ff72902998f9081b6ded66c54d"


@pytest.fixture(scope="module")
def embedded(cache: Path) -> source.Source:
    return source.source_of(Kitti(), source.embedded_folder(Kitti(), cache))


@pytest.fixture
def copy(embedded: source.Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three training and two test frames, to break."""
    monkeypatch.setattr(kitti, "LEAST", 3)
    folder, home = tmp_path / "object", tmp_path / "object" / "training"
    (folder / "ImageSets").mkdir(parents=True)
    for name, count in (("train", 3), ("val", 2)):
        numbers = (embedded.folder / "ImageSets" / f"{name}.txt").read_text().split()[:count]
        (folder / "ImageSets" / f"{name}.txt").write_text("\n".join(numbers))
        for number in numbers:
            for part in ("velodyne/{}.bin", "image_2/{}.png", "calib/{}.txt", "label_2/{}.txt"):
                path = home / part.format(number)
                path.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(embedded.folder / "training" / part.format(number), path)
    return folder


def test_bytes_never_change_without_a_new_version(embedded: source.Source) -> None:
    assert street_clouds.VERSION == 1
    assert embedded.kind == "embedded" and embedded.counts == street_clouds.COUNTS
    assert embedded.digest == DIGEST
    assert Kitti().check(embedded.folder) == []


def test_frames_hold_every_case(embedded: source.Source) -> None:
    for split in ("train", "test"):
        frames = Kitti().read(embedded.folder, split).frames
        for name, values in kitti.ATTRIBUTES.items():
            counts = [sum(frame.attributes[name] == value for frame in frames) for value in values]
            assert min(counts) > len(frames) / 5, (name, counts)
        kinds = np.concatenate([frame.truth.kinds for frame in frames])
        assert {"Car", "Pedestrian", "Cyclist", "Van", "Truck", "DontCare"} == set(kinds)
        truth = np.concatenate([frame.truth.values for frame in frames])[kinds != "DontCare"]
        assert set(truth[:, 1]) == {0, 1, 2, 3} and (truth[:, 0] > 0.3).any() and (truth[:, 0] == 0).any()
        height = truth[:, 6] - truth[:, 4]
        assert min((height < 25).mean(), ((height > 25) & (height < 40)).mean(), (height > 40).mean()) > 0.01


def test_a_ray_ends_at_the_nearest_thing() -> None:
    """Of a scene by day without rain every ray that comes back is measured again here, against all blocks, one ray after the other."""
    draw = street_clouds.Draw(5)
    kinds, boxes = street_clouds._placed(draw, 12, 12)
    blocks = street_clouds._blocks(kinds, boxes, draw) + street_clouds._scenery(draw)
    rays = street_clouds._rays()
    reach = np.minimum(street_clouds.FARTHEST, street_clouds.GROUND / np.minimum(rays[..., 2], -1e-9))
    for block in blocks:
        part = slice(None), street_clouds._columns(block)
        reach[part] = np.minimum(reach[part], street_clouds._entered(np.zeros(3), rays[part], block)[0])
    for row, column in np.random.default_rng(0).integers((0, 0), rays.shape[:2], (400, 2)):
        way = rays[row, column]
        steps = np.linspace(0, min(reach[row, column] - 0.02, 40), 3000)[1:, None] * way  # walked from the lidar up to the end
        for block in blocks:
            u = block.cos * (steps[:, 0] - block.x) + block.sin * (steps[:, 1] - block.y)
            v = block.cos * (steps[:, 1] - block.y) - block.sin * (steps[:, 0] - block.x)
            low, high = block.bounds[::2], block.bounds[1::2]
            inside = np.all([(line > least) & (line < most) for line, least, most in zip((u, v, steps[:, 2]), low, high, strict=True)], axis=0)
            assert not inside.any()


def test_objects_stand_apart(embedded: source.Source) -> None:
    """The generator's own test of two boxes against exact overlaps."""
    draw = np.random.default_rng(1)
    boxes = np.column_stack([draw.uniform(0, 9, (300, 2)), np.zeros(300), draw.uniform(0.5, 5, (300, 2)), np.ones(300), draw.uniform(-3, 3, 300)])
    for box in boxes[:40]:
        assert np.array_equal(street_clouds._meet(box, boxes), ground_overlap(box[None], boxes)[0] > 1e-9)
    for frame in Kitti().read(embedded.folder, "test").frames:
        placed = frame.truth.boxes[frame.truth.kinds != "DontCare"]
        assert np.triu(ground_overlap(placed, placed), 1).max() < 1e-9


def test_what_is_labelled_has_its_points(embedded: source.Source) -> None:
    """By day the points of a visible object lie in its box, and the more of them the nearer it is; hidden ones are regions."""
    images = Kitti().read(embedded.folder, "test")
    counts = []
    for row, frame in enumerate(images.frames):
        if frame.attributes["time"] == "day" and frame.attributes["weather"] != "rain":
            points = images.points(row).numpy()
            truth = frame.truth[np.isin(frame.truth.kinds, kitti.JUDGED)]
            for box, hidden in zip(frame.calibration.lidar_boxes(truth), truth.field("occluded"), strict=True):
                counts.append((box[0], count_inside(points, box, 0.1), hidden))
    assert min(inside for _, inside, _ in counts) > 0
    x, inside, hidden = np.array(counts).T
    assert np.median(inside[(x < 10) & (hidden == 0)]) > 3 * np.median(inside[(x > 18) & (hidden == 0)])
    assert np.median(inside[hidden == 0]) > 2 * np.median(inside[hidden == 3])


def count_inside(points: np.ndarray, box: np.ndarray, more: float = 0.0) -> int:
    away = points[:, :3] - box[:3]
    u = away[:, 0] * np.cos(box[6]) + away[:, 1] * np.sin(box[6])
    v = away[:, 1] * np.cos(box[6]) - away[:, 0] * np.sin(box[6])
    return int(((abs(u) < box[3] / 2 + more) & (abs(v) < box[4] / 2 + more) & (abs(away[:, 2]) < box[5] / 2 + more)).sum())


def test_attributes_change_the_clouds(embedded: source.Source) -> None:
    images = Kitti().read(embedded.folder, "train")
    sizes = {value: np.mean([len(images.points(row)) for row in range(80) if value in images.attributes(row).values()])
             for value in ("day", "night", "sun", "rain", "low", "high")}
    assert sizes["night"] < 0.5 * sizes["day"] and sizes["rain"] < 0.95 * sizes["sun"]
    objects = {value: np.mean([len(images.target(row)["labels"]) for row in range(80) if value in images.attributes(row).values()])
               for value in ("low", "high")}
    assert objects["low"] <= kitti.DENSE < objects["high"]


def test_the_camera_sees_the_objects_where_their_boxes_are() -> None:
    """A picture drawn without one object differs from the picture inside of its box alone."""
    draw = street_clouds.Draw(3)
    kinds, boxes = street_clouds._placed(draw, 4, 4)
    blocks = street_clouds._blocks(kinds, boxes, draw)
    day = {"time": "day", "weather": "sun"}
    calibration = Calibration(street_clouds.PROJECTION, street_clouds.FORWARD)
    whole = street_clouds._photographed(blocks, day, street_clouds.Draw(1)).astype(int)
    labels = calibration.labels(boxes, np.array(kinds, dtype=object), np.ones(len(kinds)), whole.shape)
    for row, box in enumerate(labels.image_boxes):
        without = street_clouds._photographed([block for block in blocks if block.owner != row], day, street_clouds.Draw(1)).astype(int)
        high, wide = np.nonzero(whole != without)
        drawn = [wide.min(), high.min(), wide.max() + 1, high.max() + 1]
        assert (np.array(drawn[:2]) >= box[:2] - 1).all() and (np.array(drawn[2:]) <= box[2:] + 1).all()
        if len(kinds) == 1 or row == int(boxes[:, 0].argmin()):  # the nearest, which nothing hides
            assert np.abs(drawn - box).max() < 12


# --- lidar, camera, image ---


def test_boxes_go_to_labels_and_back() -> None:
    draw = np.random.default_rng(0)
    turned = np.array([[0.01, -1, 0.002, 0.1], [0.003, 0.002, -1, -0.2], [1, 0.01, 0.003, -0.3]])
    left, _, right = np.linalg.svd(turned[:, :3])
    calibration = Calibration(np.array([[700.0, 0, 600, 40], [0, 700, 180, 2], [0, 0, 1, 0.003]]), np.column_stack([left @ right, turned[:, 3]]))
    boxes = np.column_stack([draw.uniform(5, 40, 20), draw.uniform(-5, 5, 20), draw.uniform(-2, 0, 20), draw.uniform(0.5, 5, (20, 3)), draw.uniform(-3, 3, 20)])
    labels = calibration.labels(boxes, np.array(["Car"] * 20, dtype=object), np.ones(20), (375, 1242))
    again = calibration.lidar_boxes(labels)
    # the camera is tilted a little and a label's height is along the camera's y, so the middle moves by some millimetres
    assert np.abs(again[:, :2] - boxes[:, :2]).max() < 1e-9 and np.abs(again[:, 2:6] - boxes[:, 2:6]).max() < 1e-9
    assert np.abs(wrapped(again[:, 6] - boxes[:, 6])).max() < 1e-9
    # distances between boxes are the same in the camera's place, where KITTI judges, up to its tilt
    assert np.abs(iou_3d(labels.boxes, labels.boxes) - iou_3d(boxes, boxes)).max() < 0.02


def test_conventions_by_hand() -> None:
    """A car 10 m ahead and 2 m to the left that points ahead: KITTI's x is right, y down, z ahead, and rotation_y is then -pi/2."""
    calibration = Calibration(np.array([[100.0, 0, 50, 0], [0, 100, 50, 0], [0, 0, 1, 0]]), np.array([[0.0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0]]))
    box = np.array([[10, 2, -1, 4, 2, 1.5, 0.0]])
    (row,) = calibration.labels(box, np.array(["Car"], dtype=object), np.ones(1), (100, 100)).values
    assert row[7:14] == pytest.approx([1.5, 2, 4, -2, 1.75, 10, -np.pi / 2])
    assert row[2] == pytest.approx(-np.pi / 2 + np.arctan2(2, 10))  # alpha: seen from the left of the axis
    # left: y = 3 at x = 8; right: y = 1 at x = 12; top: z = -0.25 at x = 12; bottom: z = -1.75 at x = 8
    assert row[3:7] == pytest.approx([50 - 100 * 3 / 8, 50 + 100 * 0.25 / 12, 50 - 100 * 1 / 12, 50 + 100 * 1.75 / 8])
    assert row[0] == 0


def test_what_is_found_outside_the_picture_is_left_out() -> None:
    calibration = Calibration(street_clouds.PROJECTION, street_clouds.FORWARD)
    boxes = torch.tensor([[10.0, 0, -1, 4, 2, 1.5, 0], [-10, 0, -1, 4, 2, 1.5, 0], [5, 40, -1, 4, 2, 1.5, 0], [10, 8.6, -1, 4, 2, 1.5, 0]])
    found = {"boxes": boxes, "labels": torch.tensor([1, 1, 2, 3]), "scores": torch.tensor([0.9, 0.8, 0.7, 0.6])}
    labels = found_labels(found, kitti.JUDGED, calibration, (188, 621))
    assert labels.kinds.tolist() == ["Car", "Cyclist"] and labels.field("score") == pytest.approx([0.9, 0.6])
    assert labels.field("left")[1] == 0 and 0.2 < labels.field("truncated")[1] < 0.9
    assert len(found_labels({key: item[:0] for key, item in found.items()}, kitti.JUDGED, calibration, (188, 621))) == 0


def test_points_behind_or_beside_the_picture_are_not_seen() -> None:
    calibration = Calibration(street_clouds.PROJECTION, street_clouds.FORWARD)
    points = np.array([[10, 0, 0], [-10, 0, 0], [10, 9, 0], [10, 0, 4], [10, 8, -1]], float)
    assert calibration.seen(points, (188, 621)).tolist() == [True, False, False, False, True]


def test_labels_are_written_as_they_were_read(embedded: source.Source, tmp_path: Path) -> None:
    path = embedded.folder / "training" / "label_2" / "000000.txt"
    found = read_labels(path)
    write_labels(found, tmp_path / "a.txt")
    assert (tmp_path / "a.txt").read_text() == path.read_text()
    write_labels(found, tmp_path / "b.txt", scored=True)
    assert (read_labels(tmp_path / "b.txt", scored=True).values == found.values).all()


# --- splits and lists ---


def test_few_frames_train_nothing_and_are_all_judged(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Kitti().counts(copy) == {"train": 3, "test": 2} and Kitti().trains(copy)
    monkeypatch.setattr(kitti, "LEAST", 4)
    assert Kitti().counts(copy) == {"test": 5} and not Kitti().trains(copy)
    assert Kitti().check(copy) == []
    with pytest.raises(UserError, match="lists 3 frames, and at least 4 are needed to train"):
        Kitti().read(copy, "train")


def test_astar3ds_folders_are_read(copy: Path) -> None:
    (copy / "training").rename(copy / "Trainval")
    for path in (copy / "Trainval" / "image_2").iterdir():
        with Image.open(path) as image:
            image.convert("RGB").save(path.with_suffix(".jpg"))
        path.unlink()
    assert Kitti().check(copy) == []
    assert Kitti().read(copy, "test").image(0).shape == (3, street_clouds.HIGH, street_clouds.WIDE)


def test_lists_tell_attributes(copy: Path) -> None:
    numbers = (copy / "ImageSets" / "train.txt").read_text().split()
    (copy / "ImageSets" / "night.txt").write_text(numbers[0])
    assert Kitti().read(copy, "train").attributes(0)["time"] == "night" and "time" not in Kitti().read(copy, "train").attributes(1)
    (copy / "ImageSets" / "day.txt").write_text("\n".join(numbers))
    with pytest.raises(UserError, match=f"Frame '{numbers[0]}' is in both ImageSets/day.txt and ImageSets/night.txt"):
        Kitti().read(copy, "train")


# --- what is refused ---


def _line(change: Callable[[list[str]], list[str]]) -> Callable[[Path], None]:
    def broken(folder: Path) -> None:
        path = folder / "training" / "label_2" / "000001.txt"
        first, *rest = path.read_text().splitlines()
        path.write_text("\n".join([" ".join(change(first.split())), *rest]))

    return broken


def _set(place: int, word: str) -> Callable[[Path], None]:
    return _line(lambda words: [*words[:place], word, *words[place + 1 :]])


def _cloud(content: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / "training" / "velodyne" / "000001.bin").write_bytes(content) and None


def _calib(old: str, new: str) -> Callable[[Path], None]:
    def broken(folder: Path) -> None:
        path = folder / "training" / "calib" / "000001.txt"
        path.write_text(path.read_text().replace(old, new))

    return broken


def _projection(folder: Path) -> None:
    path = folder / "training" / "calib" / "000001.txt"
    lines = path.read_text().splitlines()
    path.write_text("\n".join("P2:" + " 0" * 12 if line.startswith("P2:") else line for line in lines))


def _remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


POINTS = np.array([[1, 2, 3, 0.5], [1, np.nan, 3, 0.5]], "<f4").tobytes()
BROKEN: dict[str, tuple[Callable[[Path], None], str]] = {
    "an empty cloud": (_cloud(b""), "The cloud 'training/velodyne/000001.bin' is empty; copy the file again"),
    "half a point": (_cloud(b"12345678"), "has 8 bytes, expected 16 for each point"),
    "points of NaN": (_cloud(POINTS), "Point 1 of the cloud 'training/velodyne/000001.bin' is 1, nan, 3, 0.5, expected finite"),
    "a missing cloud": (_remove("training/velodyne/000001.bin"), "'training/velodyne/000001.bin' is missing, and a list in ImageSets names"),
    "a missing calibration": (_remove("training/calib/000001.txt"), "The calibration 'training/calib/000001.txt' is missing"),
    "missing labels": (_remove("training/label_2/000001.txt"), "'training/label_2/000001.txt' is missing"),
    "a missing picture": (_remove("training/image_2/000001.png"), "The picture 'training/image_2/000001.png' is missing"),
    "no list": (_remove("ImageSets/val.txt"), "The list of frames 'object/ImageSets/val.txt' is missing"),
    "a short line": (_line(lambda words: words[:9]), "Line 1 of 'training/label_2/000001.txt' has 9 fields instead of 15; expected type"),
    "a result in the truth": (_line(lambda words: [*words, "0.5"]), "has 16 fields instead of 15"),
    "a word for a number": (_set(8, "high"), "has 'high' as its height, which is no finite number"),
    "a place of NaN": (_set(11, "nan"), "has 'nan' as its x, which is no finite number"),
    "an unknown type": (_set(0, "car"), "has the type 'car', which is none of Car, Pedestrian"),
    "a size of 0": (_set(9, "0"), "has the size .* x 0 x .* m"),
    "a box turned round": (_set(4, "621.5"), "has the box 621.5, "),
    "a label outside the picture": (_set(6, "700"), "Line 1 of 'label_2/000001.txt' has the .* 700, .* outside its image of 621 x 188 pixels"),
    "a calibration without a line": (_calib("P2:", "P9:"), "has no line 'P2:' of finite numbers"),
    "a calibration cut off": (_calib("R0_rect: 1.000000000000e+00", "R0_rect:"), "Line 'R0_rect' of .* is not 9 numbers"),
    "a calibration that scales": (_calib("R0_rect: 1.0", "R0_rect: 9.0"), "are no rotations .together they scale by 9."),
    "a projection of zeros": (_projection, "P2 of 'training/calib/000001.txt' is no projection into an image"),
    "no frame to judge": (lambda folder: (folder / "ImageSets" / "val.txt").write_text("\n") and None, "'object/ImageSets/val.txt' lists no frame to judge"),
    "a list that leaves": (lambda folder: (folder / "ImageSets" / "train.txt").write_text("../1\n2\n3") and None, "names the frame '../1'; expected a number"),
    "a frame in both lists": (lambda folder: (folder / "ImageSets" / "val.txt").write_text("000001") and None, "Frame '000001' is in both ImageSets/train.txt and"),
    "a frame twice": (lambda folder: (folder / "ImageSets" / "train.txt").write_text("000001\n000001\n000002") and None, "names the frame '000001' more than once"),
    "a picture of text": (lambda folder: (folder / "training" / "image_2" / "000001.png").write_text("none") and None, "is not a readable image"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_bad_data_gets_one_sentence(copy: Path, case: str) -> None:
    assert Kitti().check(copy) == []
    change, expected = BROKEN[case]
    change(copy)
    with pytest.raises(UserError, match=expected) as found:
        frames = Kitti()
        for split in frames.splits(copy):
            read = frames.read(copy, split)
            for row in range(len(read)):
                read.points(row)
    assert "\n" not in str(found.value)
    (sentence,) = Kitti().check(copy)
    assert sentence == str(found.value)


def test_the_name_of_a_list_is_utf8(copy: Path) -> None:
    (copy / "ImageSets" / "caf\udce9.txt").write_text("000001")
    with pytest.raises(UserError, match=r"The name 'object/ImageSets/caf\\udce9.txt' is not UTF-8; rename it"):
        Kitti().digest(copy)


def test_a_cloud_in_both_lists_is_found(copy: Path) -> None:
    shutil.copy(copy / "training" / "velodyne" / "000001.bin", copy / "training" / "velodyne" / "000320.bin")
    (sentence,) = Kitti().check(copy)
    assert "1 of the 2 frames of 'test' are also in 'train'" in sentence


def test_a_calibration_file_is_read(tmp_path: Path, copy: Path) -> None:
    found = read_calibration(copy / "training" / "calib" / "000001.txt")
    assert np.array_equal(found.projection, street_clouds.PROJECTION) and np.array_equal(found.forward, street_clouds.FORWARD)
    (tmp_path / "points.bin").write_bytes(POINTS[:16])
    assert read_points(tmp_path / "points.bin").tolist() == [[1, 2, 3, 0.5]]

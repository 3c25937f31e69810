"""A*HAR's npz layout: right files read right, wrong ones refused with a sentence; and the embedded recordings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from suite.data import source
from suite.data.embedded import motion
from suite.data.har import FILE, AstarHar
from suite.errors import UserError

HAR = AstarHar()
DIGEST = "6d30fb6efe848d132789e76e0460ea0c610c498948cec5763c91853d19eb2b86"  # of version 1; another one means other data: raise motion.VERSION with it


def content(train: int = 12, test: int = 6) -> dict[str, np.ndarray]:
    """A tiny valid file: three classes, value = number of the window, in the test split one more in the first channel."""
    arrays: dict[str, np.ndarray] = {}
    for split, count in (("train", train), ("test", test)):
        values = np.zeros((count, 9, 64, 1), np.float32) + np.arange(count, dtype=np.float32).reshape(-1, 1, 1, 1)
        values[:, 0] += split == "test"
        arrays |= {f"{split}_x": values, f"{split}_y": np.arange(count) % 3}
    return arrays


def write(folder: Path, **changes: object) -> Path:
    """The tiny file with some arrays replaced; None removes one."""
    arrays = {key: item for key, item in (content() | changes).items() if item is not None}
    np.savez(folder / FILE, **arrays)
    return folder


def test_reads_both_spellings_and_both_shapes(tmp_path: Path) -> None:
    plain = content()
    other = {key.replace("_", ""): item[..., 0] if key.endswith("x") else item.astype(np.uint8) for key, item in plain.items()}
    np.savez(tmp_path / FILE, **other)
    old = HAR.read(tmp_path, "train")
    new = HAR.read(write(tmp_path), "train")
    assert old.values.shape == (12, 1, 9, 64) and old.values.dtype == torch.float32 and old.subjects is None
    assert torch.equal(old.values, new.values) and torch.equal(old.labels, new.labels) and old.labels.dtype == torch.int64
    picked = new.batch(torch.tensor([7, 2]), True, torch.Generator())
    assert picked[:, 0, 3, 5].tolist() == [7, 2] and new.subset(torch.tensor([4])).labels.tolist() == [1]


def test_describes_a_subset(tmp_path: Path) -> None:
    write(tmp_path, train_subject=np.arange(12) // 4, test_subject=np.full(6, 9))
    assert HAR.check(tmp_path) == [] and HAR.classify(tmp_path) == "subset" and HAR.class_names(tmp_path) == []
    assert HAR.counts(tmp_path) == {"train": 12, "test": 6}
    assert HAR.describe(tmp_path)["train"] == "12 windows of 9 x 64, labels 0 to 2, 4 to 4 windows of each class, 3 subjects"
    assert HAR.read(tmp_path, "train").subjects.tolist() == [0] * 4 + [1] * 4 + [2] * 4


def test_every_class_has_training_windows_and_names_are_one_for_each(tmp_path: Path) -> None:
    write(tmp_path, train_y=np.arange(12) % 3 + 1, test_y=np.arange(6) % 3 + 1)
    assert HAR.check(tmp_path) == [f"No training window of '{FILE}' has label 0, and there are labels 1 to 3; number the classes from 0 "
                                   "without a gap in both splits, here by taking 1 from each label."]
    write(tmp_path, train_y=np.arange(12) % 3 * 2, test_y=np.arange(6) % 3 * 2)
    (problem,) = HAR.check(tmp_path)
    assert "has label 1, and there are labels 0 to 4" in problem and "taking 1" not in problem
    write(tmp_path, class_names=np.array(["a", "b"]))
    (problem,) = HAR.check(tmp_path)
    assert problem.startswith(f"'class_names' in '{FILE}' has the shape (2,) for 3 classes")


def test_the_digest_is_of_the_values_and_not_of_the_file(tmp_path: Path) -> None:
    before = HAR.digest(write(tmp_path))
    np.savez_compressed(tmp_path / FILE, **content())
    assert HAR.digest(tmp_path) == before
    assert HAR.digest(write(tmp_path, train_y=np.arange(12) % 2)) != before


def holed(value: float) -> np.ndarray:
    values = content()["train_x"].copy()
    values[5, 2, 40] = value
    return values


BREAKS: dict[str, Callable[[Path], object]] = {
    "'HAR_DATA.npz' is no complete npz file": lambda folder: (folder / FILE).write_bytes((folder / FILE).read_bytes()[:9000]),
    "is no complete npz file of plain arrays .No data left": lambda folder: (folder / FILE).write_bytes(b""),
    "is no complete npz file of plain arrays .*pickle": lambda folder: write(folder, train_y=np.array([{}] * 12, object)),
    "expected 'train_y' or 'trainy' as well": lambda folder: write(folder, train_y=None),
    r"float32 \(12, 9, 128\), expected float32 \(N, 9, 64\)": lambda folder: write(folder, train_x=np.zeros((12, 9, 128), np.float32)),
    r"float32 \(12, 6, 64\), expected": lambda folder: write(folder, train_x=np.zeros((12, 6, 64), np.float32)),
    r"int64 \(12, 9, 64\), expected": lambda folder: write(folder, train_x=np.zeros((12, 9, 64), np.int64)),
    "train split in 'HAR_DATA.npz' holds no windows": lambda folder: write(folder, train_x=np.zeros((0, 9, 64), np.float32)),
    "Window 5 of the train split .* is nan in channel 2 at sample 40": lambda folder: write(folder, train_x=holed(np.nan)),
    "Window 5 of the train split .* is inf in channel 2 at sample 40": lambda folder: write(folder, train_x=holed(np.inf)),
    "'train_y' .* has 11 entries for 12 windows": lambda folder: write(folder, train_y=np.zeros(11, int)),
    "'train_y' .* is -1 in row 3, expected 0 to 999": lambda folder: write(folder, train_y=np.array([0, 1, 2, -1] * 3)),
    r"'train_y' .* is float64 \(12,\), expected whole numbers": lambda folder: write(folder, train_y=np.zeros(12)),
    "Label 7 is in the test split .* and not in the training split": lambda folder: write(folder, test_y=np.full(6, 7)),
    "'test_subject' .* has 5 entries for 6 windows": lambda folder: write(folder, test_subject=np.zeros(5, int)),
}


@pytest.mark.parametrize("sentence", BREAKS)
def test_a_broken_file_gives_one_sentence(tmp_path: Path, sentence: str) -> None:
    BREAKS[sentence](write(tmp_path))
    with pytest.raises(UserError, match=sentence) as caught:
        source.locate_data(HAR, tmp_path, tmp_path / "cache")
    assert "\n" not in str(caught.value) and "I2RDL2/ASTAR-HAR" in str(caught.value)
    assert str(caught.value) in HAR.check(tmp_path)
    assert not (tmp_path / "cache").exists()


def test_an_unknown_split_and_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no split 'valid' of A\\*HAR.*'test', 'train'"):
        HAR.read(write(tmp_path), "valid")  # type: ignore[arg-type]
    (tmp_path / FILE).unlink()
    with pytest.raises(UserError, match="is missing"):
        HAR.read(tmp_path, "test")
    with pytest.raises(UserError, match="was looked for"):
        source.locate_data(HAR, tmp_path, tmp_path / "cache")


def test_a_subject_of_the_test_split_in_another_one_is_a_problem(tmp_path: Path) -> None:
    write(tmp_path, train_subject=np.arange(12) // 4, test_subject=np.full(6, 2))
    (problem,) = HAR.check(tmp_path)
    assert problem.startswith("Subject 2 is in the train and in the test split")
    write(tmp_path, train_subject=np.arange(12) // 4, test_subject=np.full(6, 7), **third())
    (problem,) = HAR.check(tmp_path)
    assert problem.startswith("Subject 7 is in the unlabelled and in the test split")


def third(labels: tuple[int, ...] = (0, 1, 2)) -> dict[str, np.ndarray]:
    """A part without labels, of subject 7."""
    values = np.full((3, 9, 64), 0.5, np.float32) + np.arange(64, dtype=np.float32)
    return {"unlabelled_x": values, "unlabelled_y": np.array(labels), "unlabelled_subject": np.full(3, 7)}


def test_a_third_part_is_read_where_there_is_one(tmp_path: Path) -> None:
    write(tmp_path, **third())
    assert HAR.counts(tmp_path) == {"train": 12, "test": 6, "unlabelled": 3} and HAR.check(tmp_path) == []
    assert HAR.describe(tmp_path)["unlabelled"].endswith("1 to 1 windows of each class, 1 subjects")
    write(tmp_path, **third(labels=(0, 1, 5)))
    assert HAR.check(tmp_path)[0].startswith(f"Label 5 is in the unlabelled split of '{FILE}' and not in the training split")
    write(tmp_path, unlabelled_x=third()["unlabelled_x"])
    assert "expected 'unlabelled_y'" in HAR.check(tmp_path)[0]
    (tmp_path / FILE).write_bytes(b"PK no zip")
    assert HAR.splits(tmp_path) == ("train", "test") and "is no complete npz file" in HAR.check(tmp_path)[0]


def test_known_releases_are_official(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(HAR), "releases", ((12, 3),))
    assert HAR.classify(write(tmp_path)) == "official"


# The embedded data.


@pytest.fixture(scope="module")
def recorded(cache: Path) -> source.Source:
    return source.source_of(HAR, source.embedded_folder(HAR, cache))


def test_embedded_is_complete_and_its_bytes_never_change(recorded: source.Source) -> None:
    assert recorded.kind == "embedded" and HAR.check(recorded.folder) == []
    assert recorded.counts == {"train": 3566, "test": 1200}
    assert motion.VERSION == 1 and recorded.digest == DIGEST


def test_embedded_has_a_long_tail_and_subjects_of_its_own(recorded: source.Source) -> None:
    train, test = HAR.read(recorded.folder, "train"), HAR.read(recorded.folder, "test")
    counts = train.labels.bincount()
    assert len(counts) == 20 and counts.max() / counts.min() > 14 and set(test.labels.bincount().tolist()) == {60}
    assert not set(train.subjects.tolist()) & set(test.subjects.tolist())
    assert HAR.class_names(recorded.folder)[0] == "Walking" and HAR.class_names(recorded.folder)[-1] == "Drinking"


def test_embedded_people_without_labels_are_others_and_change_nothing_else(recorded: source.Source, cache: Path) -> None:
    wide = AstarHar(24)
    folder = source.embedded_folder(wide, cache)
    assert folder != recorded.folder and wide.classify(folder) == "embedded" and wide.check(folder) == []
    parts = {split: wide.read(folder, split) for split in wide.splits(folder)}
    for split in ("train", "test"):
        usual = HAR.read(recorded.folder, split)
        assert all(torch.equal(getattr(parts[split], name), getattr(usual, name)) for name in ("values", "labels", "subjects"))
    assert len(parts["unlabelled"]) == 2 * 3566
    assert torch.equal(parts["unlabelled"].labels.bincount(), 2 * parts["train"].labels.bincount())
    people = [set(part.subjects.tolist()) for part in parts.values()]
    assert list(map(len, people)) == [12, 4, 24] and len(set.union(*people)) == 40
    rows = [row.tobytes() for part in parts.values() for row in part.values.numpy()]
    assert len(set(rows)) == len(rows)


def test_embedded_windows_overlap_by_half_and_none_is_there_twice(recorded: source.Source) -> None:
    windows = HAR.read(recorded.folder, "train")
    same = (windows.labels[1:] == windows.labels[:-1]) & (windows.subjects[1:] == windows.subjects[:-1])
    overlaps = (windows.values[1:, ..., :32] == windows.values[:-1, ..., 32:]).flatten(1).all(1)
    assert torch.equal(same, overlaps)
    rows = [row.tobytes() for split in ("train", "test") for row in HAR.read(recorded.folder, split).values.numpy()]
    assert len(set(rows)) == len(rows)


def test_embedded_channels_are_what_the_layout_says(recorded: source.Source) -> None:
    windows = HAR.read(recorded.folder, "train").values[:, 0]
    slow, fast = windows[:, 3:6], windows[:, 6:9]
    assert 0.7 < float(slow.square().sum(1).sqrt().median()) < 1.3  # gravity in g
    assert float(slow.diff(dim=2).abs().mean()) < 0.2 * float(fast.diff(dim=2).abs().mean())
    resting = windows[HAR.read(recorded.folder, "train").labels == list(motion.ACTIVITIES).index("UnwornSensor")]
    assert float(resting[:, :3].std(2).mean()) < 5 < float(windows[:, :3].std(2).mean())  # degrees per second


def test_a_linear_classifier_and_the_majority_stay_far_below_a_network(recorded: source.Source) -> None:
    from sklearn.linear_model import RidgeClassifier
    from sklearn.metrics import f1_score

    train, test = HAR.read(recorded.folder, "train"), HAR.read(recorded.folder, "test")
    deviation = train.values.std((0, 1, 3), keepdim=True)
    rows = [(windows.values / deviation).flatten(1).numpy() for windows in (train, test)]
    predictions = RidgeClassifier(alpha=1000).fit(rows[0], train.labels.numpy()).predict(rows[1])
    assert 0.05 < f1_score(test.labels.numpy(), predictions, average="macro") < 0.3

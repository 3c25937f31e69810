"""Feature files in the field's HDF5 layout, and batches of features."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from suite.data.features import Featured, FeatureFile, padded
from suite.errors import UserError
from suite.settings import PictureFeatures

h5py = pytest.importorskip("h5py")


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Two pictures: 7 of 100 x 200 pixels with three regions, 9 with one."""
    with h5py.File(tmp_path / "features.hdf5", "w") as file:
        for image, count in ((7, 3), (9, 1)):
            file[f"{image}_features"] = np.arange(count * 4, dtype=np.float32).reshape(count, 4) + image
            file[f"{image}_boxes"] = np.tile(np.float32([20, 10, 100, 50]), (count, 1))
            file[f"{image}_size"] = np.int64([100, 200])
            file[f"{image}_grids"] = np.full((49, 6), image, np.float32)
    return str(tmp_path / "features.hdf5")


def change(path: str, name: str, value: Any) -> None:
    with h5py.File(path, "a") as file:
        del file[name]
        if value is not None:
            file[name] = value


def test_boxes_are_shares_of_width_and_height(path: str) -> None:
    found = FeatureFile(path, [7, 9], 50)[7]
    assert torch.allclose(found.boxes, torch.tensor([[0.1, 0.1, 0.5, 0.5]]).expand(3, 4))  # x by 200, y by 100: the size is (H, W)
    assert found.regions[1].tolist() == [11, 12, 13, 14] and found.grid.shape == (49, 6)
    assert len(FeatureFile(path, [7], 2)[7].regions) == 2  # the first, which are the most certain


def test_a_batch_is_padded_with_zeros(path: str) -> None:
    data = Featured([9, 7], [["a cat"], ["a dog"]], FeatureFile(path, [7, 9], 50))
    batch = data.features(torch.tensor([0, 1]))
    assert batch.present.tolist() == [[True, False, False], [True, True, True]]
    assert batch.regions.shape == (2, 3, 4) and not batch.regions[0, 1:].any() and batch.regions[0, 0].tolist() == [9, 10, 11, 12]
    assert batch.boxes.shape == (2, 3, 4) and not batch.boxes[0, 1:].any() and batch.grid.shape == (2, 49, 6)
    part = data.subset(torch.tensor([1]))
    assert part.references == [["a dog"]] and torch.equal(part.features(torch.tensor([0])).regions[0], batch.regions[1])


def test_a_file_without_grids_serves_regions(path: str) -> None:
    for image in (7, 9):
        change(path, f"{image}_grids", None)
    assert padded([FeatureFile(path, [7, 9], 50)[7]]).grid.shape[:2] == (1, 0)


@pytest.mark.parametrize("name, value, sentence", [
    ("9_features", None, "lacks '9_features', which image 9 of the captions needs"),
    ("9_grids", None, "lacks '9_grids', which image 9 of the captions needs"),
    ("7_boxes", np.zeros((2, 4), np.float32), "image 7 has arrays of the shapes"),
    ("7_features", np.zeros((0, 4), np.float32), "image 7 has arrays of the shapes"),
    ("7_features", np.full((3, 4), np.nan, np.float32), "image 7 has values that are not finite"),
    ("7_size", np.int64([0, 5]), "or a size of 0"),
    ("7_size", np.float32([np.nan, 5]), "values that are not finite, or a size of 0"),
    ("7_features", np.ones((3, 4), np.complex64), "image 7 has what is no array of numbers"),
    ("7_features", np.bytes_("abc"), "image 7 has what is no array of numbers"),
    ("7_features", np.float32(3), "image 7 has what is no array of numbers"),
    ("7_boxes", np.float32([[9, 9, 3, 3]] * 3), "image 7 has boxes that end before they begin, as if x, y, width, height"),
    ("7_boxes", np.float32([[0, 0, 999, 9]] * 3), "image 7 has boxes outside its "),
    ("7_grids", None, "lacks '7_grids', which image 7 of the captions needs"),
    ("7_boxes", np.full((3, 4), 0.5, np.float32), "image 7 has boxes within the first pixel"),
])
def test_wrong_features_are_told_in_one_sentence(path: str, name: str, value: Any, sentence: str) -> None:
    change(path, name, value)
    with pytest.raises(UserError) as told:
        FeatureFile(path, [7, 9], 50)[7]
    assert sentence in str(told.value) and str(told.value).endswith(".") and "\n" not in str(told.value)


def test_all_pictures_have_arrays_of_the_same_sizes(path: str) -> None:
    change(path, "9_features", np.ones((1, 5), np.float32))
    found = FeatureFile(path, [7, 9], 50)
    assert len(found[7].regions) and len(found[7].regions)
    with pytest.raises(UserError, match=r"image 9 has \(D, cells, G\) \(5, .*, and others of the file have \(4, "):
        found[9]


def test_big_and_little_numbers_are_the_same(path: str) -> None:
    wanted = FeatureFile(path, [7], 50)[7].regions
    change(path, "7_features", wanted.numpy().astype(">f8"))
    assert torch.equal(FeatureFile(path, [7], 50)[7].regions, wanted)


def test_no_file_and_no_hdf5(tmp_path: Path, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="There is no feature file 'nothing'"):
        FeatureFile("nothing", [], 50)
    (tmp_path / "text").write_text("text")
    with pytest.raises(UserError, match="is no HDF5 file"):
        FeatureFile(str(tmp_path / "text"), [], 50)
    usual = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "h5py":
            raise ImportError
        return usual(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match=r"needs h5py; type: pip install 'suite\[captions\]'"):
        FeatureFile(path, [7], 50)


def test_pictures_may_have_another_number_of_regions() -> None:
    one, two = (PictureFeatures(torch.ones(n, 2), torch.ones(n, 4), torch.ones(4, 3)) for n in (1, 5))
    assert padded([one, two]).present.sum(1).tolist() == [1, 5]

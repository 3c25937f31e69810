"""Masks against pycocotools: outlines enclose exactly their pixels, run lengths come back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from suite.data import masks
from suite.data.embedded import outlines

pictures = arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))).filter(np.any)


@given(pictures)
def test_run_lengths_are_pycocotools(mask: np.ndarray) -> None:
    found = outlines.runs(mask)
    assert sum(found["counts"]) == mask.size and found["size"] == list(mask.shape)
    assert np.array_equal(masks.decode(found, *mask.shape), mask)


@given(arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 90))))
def test_compressed_run_lengths_are_the_same_ones(mask: np.ndarray) -> None:
    plain = outlines.runs(mask)
    coded = masks.encode(plain, *mask.shape)
    assert masks.lengths(plain) == plain["counts"] == masks.lengths({**coded, "counts": coded["counts"].decode()})


@pytest.mark.parametrize("counts", ["", "PPPP", "~", "d0d0", [19], [-1, 21], [9, 12]])
def test_run_lengths_that_do_not_fill_their_picture_are_refused(counts: str | list[int]) -> None:
    with pytest.raises(ValueError, match="do not fill 5 x 4 pixels"):
        masks.lengths({"size": [4, 5], "counts": counts})


@given(pictures)
def test_polygons_enclose_exactly_the_mask(mask: np.ndarray) -> None:
    found = outlines.polygons(mask)
    _, background = ndimage.label(np.pad(~mask, 1, constant_values=True), np.ones((3, 3)))
    assert (found is None) == (background > 1)  # a hole, where diagonal neighbours are connected
    if found is not None:
        assert len(found) == ndimage.label(mask)[1]  # the parts, where they are not
        assert np.array_equal(masks.decode(found, *mask.shape), mask)


def test_a_square_by_hand() -> None:
    mask = np.zeros((4, 5), bool)
    mask[1:3, 1:4] = True
    assert outlines.polygons(mask) == [[1, 1, 4, 1, 4, 3, 1, 3]]
    assert outlines.runs(mask) == {"size": [4, 5], "counts": [5, 2, 2, 2, 2, 2, 5]}

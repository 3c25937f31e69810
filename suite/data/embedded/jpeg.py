"""The loss of JPEG coding, the same on every machine: what decoding gives back, without the file between.

ITU-T T.81 as libjpeg does it: JFIF's YCbCr, colours at half the resolution, 8x8 cosine transform, the tables of Annex K scaled by
quality, and back with smooth colours. Libraries round differently from version to version; here all is done in whole numbers
(products in float64, whose sums of whole numbers below 2**53 are exact in any order).
"""

from __future__ import annotations

import numpy as np

Array = np.ndarray

BITS = 13  # behind the point of the transform's entries
LUMINANCE = np.array([
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62,
    18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112,
    100, 103, 99]).reshape(8, 8)  # Table K.1
CHROMINANCE = np.full((8, 8), 99)  # Table K.2
CHROMINANCE[:4, :4] = [[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]]


def recoded(pixels: Array, quality: int) -> Array:
    """`pixels` uint8 (N, H, W, 3) after JPEG coding at `quality` 1 to 100; H and W are multiples of 16."""
    red, green, blue = np.moveaxis(pixels.astype(np.int64), 3, 0)
    luminance = (19595 * red + 38470 * green + 7471 * blue + 32768) >> 16
    colours = [((-11059 * red - 21709 * green + 32768 * blue + 32767) >> 16) + 128,
               ((32768 * red - 27439 * green - 5329 * blue + 32767) >> 16) + 128]
    luminance = _coded(luminance, _scaled(LUMINANCE, quality))
    blueness, redness = (_doubled(_coded(_halved(item), _scaled(CHROMINANCE, quality))) - 128 for item in colours)
    red = luminance + ((91881 * redness + 32768) >> 16)
    green = luminance + ((-22554 * blueness - 46802 * redness + 32768) >> 16)
    blue = luminance + ((116130 * blueness + 32768) >> 16)
    return np.clip(np.stack([red, green, blue], 3), 0, 255).astype(np.uint8)


def _scaled(table: Array, quality: int) -> Array:
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    return np.clip((table * scale + 50) // 100, 1, 255)


def _transform() -> Array:
    """The orthonormal cosine transform of a block as a column, (64, 64), times 2**(2 BITS), rounded along each way."""
    line = np.arange(8)
    rows = np.cos(np.pi / 16 * (2 * line + 1) * line[:, None]) / 2
    rows[0] /= np.sqrt(2.0)
    rows = np.rint(rows * 2.0**BITS)
    return np.kron(rows, rows)


def _coded(plane: Array, table: Array) -> Array:
    """`plane` int64 (N, H, W) of 0 to 255 with its 8x8 blocks' coefficients rounded to multiples of `table`."""
    count, height, width = plane.shape
    blocks = (plane - 128).reshape(count, height // 8, 8, width // 8, 8).swapaxes(2, 3).reshape(-1, 64)
    matrix, one, table = _transform(), 1 << 2 * BITS, table.ravel()
    found = (blocks.astype(np.float64) @ matrix.T).astype(np.int64)
    steps = np.sign(found) * ((np.abs(found) + table * (one // 2)) // (table * one))
    back = ((steps * table).astype(np.float64) @ matrix).astype(np.int64)
    levels = (((back + one // 2) >> 2 * BITS) + 128).reshape(count, height // 8, width // 8, 8, 8)
    return np.clip(levels.swapaxes(2, 3).reshape(plane.shape), 0, 255)


def _halved(plane: Array) -> Array:
    """Means of 2x2 pixels, whose halves are rounded up and down in turn."""
    total = plane[:, ::2, ::2] + plane[:, 1::2, ::2] + plane[:, ::2, 1::2] + plane[:, 1::2, 1::2]
    return (total + 1 + np.arange(total.shape[2]) % 2) >> 2


def _doubled(plane: Array) -> Array:
    """Twice as many pixels each way, each three parts of the nearest and one of the next."""
    rows = _between(plane)
    columns = _between(rows.swapaxes(1, 2)).swapaxes(1, 2)
    return (columns + 8 - np.arange(columns.shape[2]) % 2) >> 4


def _between(plane: Array) -> Array:
    """Two rows for each of `plane` (N, H, W), three parts of it and one of the row before or behind it, times 4."""
    before, after = np.concatenate([plane[:, :1], plane[:, :-1]], 1), np.concatenate([plane[:, 1:], plane[:, -1:]], 1)
    return np.stack([3 * plane + before, 3 * plane + after], 2).reshape(len(plane), -1, plane.shape[2])

"""Writing PNG files and pickles whose bytes depend on nothing but the content.

Image libraries leave filters and compression to whichever zlib is installed. Here every row has filter 0 and the data
lie in stored (uncompressed) deflate blocks: W3C, "Portable Network Graphics", 2nd ed., Sec. 9 and 10; RFC 1950 and 1951.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

BLOCK = 65535  # bytes in a stored block, its greatest length


def png(pixels: np.ndarray) -> bytes:
    """A PNG file of `pixels` uint8, grey (H, W) or colour (H, W, 3)."""
    height, width = pixels.shape[:2]
    rows = np.zeros((height, 1 + pixels[0].size), np.uint8)  # a row starts with the number of its filter
    rows[:, 1:] = pixels.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2 if pixels.ndim == 3 else 0, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", _stored(rows.tobytes())), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks)


def _stored(data: bytes) -> bytes:
    """A zlib stream of `data` without compression."""
    parts = [data[start : start + BLOCK] for start in range(0, len(data), BLOCK)]
    blocks = (struct.pack("<BHH", number == len(parts), len(part), len(part) ^ 0xFFFF) + part
              for number, part in enumerate(parts, 1))
    return b"\x78\x01" + b"".join(blocks) + struct.pack(">I", zlib.adler32(data))


def pickled(content: Mapping[str, Any]) -> bytes:
    """A dictionary of text, integers, lists and uint8 arrays as Python 2 pickled it (protocol 2, byte strings).

    Written by hand because Python 3 cannot write Python 2's byte strings, and because these bytes must not change with
    the versions of Python or NumPy.
    """
    return b"\x80\x02" + _packed(dict(content)) + b"."


def _packed(value: Any) -> bytes:
    match value:
        case str():
            raw = value.encode("ascii")
            return b"T" + struct.pack("<i", len(raw)) + raw
        case int():
            return b"J" + struct.pack("<i", value)
        case list():
            return b"](" + b"".join(map(_packed, value)) + b"e"
        case dict():
            return b"}(" + b"".join(_packed(key) + _packed(item) for key, item in value.items()) + b"u"
        case np.ndarray() if value.dtype == np.uint8:
            return _packed_array(value)
    raise TypeError(f"cannot pickle a '{type(value).__name__}' for Python 2")


def _packed_array(array: np.ndarray) -> bytes:
    """The opcodes of ``array.__reduce__()``: build an empty array, then set its version, shape, dtype, order, bytes."""
    empty = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(" + _packed(0) + b"t" + _packed("b") + b"tR"
    dtype = b"cnumpy\ndtype\n(" + _packed("u1") + _packed(0) + _packed(1) + b"tR("
    dtype += _packed(3) + _packed("|") + b"NNN" + _packed(-1) + _packed(-1) + _packed(0) + b"tb"
    shape = b"(" + b"".join(map(_packed, array.shape)) + b"t"
    raw = array.tobytes()
    return empty + b"(" + _packed(1) + shape + dtype + b"\x89T" + struct.pack("<i", len(raw)) + raw + b"tb"

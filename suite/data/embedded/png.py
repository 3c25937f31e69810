"""Writing PNG files whose bytes depend on nothing but the pixels.

Image libraries leave filters and compression to whichever zlib is installed. Here every row has filter 0 and the data
lie in stored (uncompressed) deflate blocks: W3C, "Portable Network Graphics", 2nd ed., Sec. 9 and 10; RFC 1950 and 1951.
"""

from __future__ import annotations

import struct
import zlib

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

"""Writing pickles as Python 2 did, whose bytes depend on nothing but the content."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import numpy as np


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

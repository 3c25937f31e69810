"""Pickles from outside, read without running anything in them.

The CIFAR archives are pickles of Python 2: dictionaries of byte strings, lists of integers and one NumPy array. A
pickle can call any function by name, so the reader knows just the names that an array needs, and even these stand for
inert records of our own: no NumPy code sees anything but the finished bytes.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from suite.errors import UserError

AGAIN = "copy or unpack the official file again."


class _Refused(Exception):
    """The pickle asks for a name that no data file needs."""


class _Dtype:
    """Stands for ``numpy.dtype``: keeps the type's code and nothing else."""

    def __init__(self, code: str | bytes, *_: Any) -> None:
        self.code = code.decode("ascii") if isinstance(code, bytes) else str(code)
        self.order = "|"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        order = state[1]
        self.order = order.decode("ascii") if isinstance(order, bytes) else str(order)

    def resolve(self) -> np.dtype:
        """The NumPy type; integers, floats and booleans only."""
        found = np.dtype(self.order.replace("|", "") + self.code)
        if found.kind not in "uifb":
            raise ValueError(f"array of '{self.code}'")
        return found


class _Array:
    """Stands for an array under construction; `resolve` builds it from the bytes."""

    def __init__(self, *_: Any) -> None:
        self.state: tuple[Any, ...] = ()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, raw = state
        self.state = (raw, dtype, shape, "F" if fortran else "C")

    def resolve(self) -> np.ndarray:
        raw, dtype, shape, order = self.state
        return np.frombuffer(raw, dtype.resolve()).reshape(shape, order=order)


def _from_buffer(*state: Any) -> _Array:
    array = _Array()
    array.state = state
    return array


def _encode(text: str, codec: str) -> bytes:
    """Bytes as Python 3 writes them in protocol 2."""
    if codec != "latin1":
        raise _Refused(f"_codecs.encode to {codec!r}")
    return text.encode("latin1")


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("numpy._core."):  # the home of numpy.core since NumPy 2
            module = module.replace("_core", "core", 1)
        match f"{module}.{name}":
            case "numpy.core.multiarray._reconstruct" | "numpy.ndarray":
                return _Array
            case "numpy.core.numeric._frombuffer":
                return _from_buffer
            case "numpy.dtype":
                return _Dtype
            case "_codecs.encode":
                return _encode
            case wanted:
                raise _Refused(wanted)


def _plain(value: Any) -> Any:
    """Byte strings as text and arrays resolved, in the containers that `load_pickle` accepts."""
    match value:
        case dict():
            return {_plain(key): _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case bytes():
            return value.decode("latin1")
        case _Array():
            return value.resolve()
        case str() | int() | float() | None:
            return value
    raise ValueError(f"a '{type(value).__name__}'")


def load_pickle(path: Path, shown: str, keys: Iterable[str] = ()) -> dict[str, Any]:
    """The dictionary in a pickle of Python 2 or 3, of dictionaries, lists, text, numbers and arrays, with `keys` in it.

    A file that ``torch.save`` wrote is read as the pickle within it. `shown` is how messages call the file. Raises UserError
    for a file that is cut off or holds something else, and for one that names anything but what an array needs; nothing in
    the file is ever called.
    """
    try:
        # From memory: a damaged length then asks for no more than there is.
        found = _plain(_Unpickler(io.BytesIO(_pickle_in(path)), encoding="bytes").load())
    except _Refused as refused:
        raise UserError(f"'{shown}' wants to run code ({refused}), which a data file never does; do not open it elsewhere and get "
                        "the official file instead.") from None
    except FileNotFoundError:
        raise UserError(f"'{shown}' is missing; get the official archive and unpack all of it.") from None
    except OSError as error:
        raise UserError(f"'{shown}' cannot be read ({error.strerror}); check the file and its permissions.") from None
    except Exception as error:  # pickle.Unpickler raises nearly anything on damaged bytes
        reason = (str(error).splitlines() or [""])[0] or type(error).__name__
        raise UserError(f"'{shown}' is not a complete pickle ({path.stat().st_size} bytes: {reason}); {AGAIN}") from None
    if not isinstance(found, dict):
        raise UserError(f"'{shown}' holds a '{type(found).__name__}', expected a dictionary; {AGAIN}")
    if missing := sorted(set(keys) - found.keys()):
        raise UserError(f"'{shown}' lacks {' and '.join(map(repr, missing))}; {AGAIN}")
    return found


def _pickle_in(path: Path) -> bytes:
    """The file's bytes, or those of ``<any folder>/data.pkl`` where it is an archive as torch writes it."""
    if not zipfile.is_zipfile(path):
        return path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("data.pkl")]
        return archive.read(name)

"""Files of a data set, whatever is in them: their sums, their lines, their names, whether they lie in its folder."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from suite.errors import UserError


def shown(path: Path) -> str:
    """The last three parts of `path`, for messages."""
    return spelled("/".join(path.parts[-3:]))


def spelled(name: str) -> str:
    r"""`name` for messages, with what no UTF-8 can hold as ``\udce9``."""
    return name.encode("utf-8", "backslashreplace").decode()


def readable_name(path: Path) -> Path:
    """`path`; UserError where its name is not UTF-8, which no record, list or table could hold."""
    if spelled(path.name) != path.name:
        raise UserError(f"The name '{shown(path)}' is not UTF-8; rename it.")
    return path


@contextlib.contextmanager
def readable() -> Iterator[None]:
    """Turns the system's refusal to read a file or folder into a UserError that names it."""
    try:
        yield
    except OSError as error:
        name = shown(Path(os.fsdecode(error.filename or "?")))
        raise UserError(f"'{name}' cannot be read ({error.strerror}); copy it again, or check its permissions.") from None


def sum_of(path: Path, algorithm: Callable[[], Any] = hashlib.sha256) -> str:
    """The sum of a file's bytes, in hex; UserError where it cannot be read."""
    with readable(), path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def size_of(path: Path) -> int:
    """The bytes in a file; UserError where there is none."""
    with readable():
        return path.stat().st_size


def lines_of(path: Path) -> list[str]:
    """The lines of a text in UTF-8, with a byte-order mark or without one, stripped; empty ones are left out.

    UserError where it cannot be read or is anything else.
    """
    with readable():
        content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
        if "\0" in text:  # UTF-16 without a mark
            raise ValueError
    except ValueError:
        raise UserError(f"'{shown(path)}' is not UTF-8 text; save it as UTF-8, for example with "
                        f"'iconv -f UTF-16 -t UTF-8'.") from None
    return [line for line in map(str.strip, text.splitlines()) if line]


def below(folder: Path, name: str, said_by: Path) -> Path:
    """The file that `name` means in `folder`, a path with slashes; UserError, naming `said_by`, where that lies elsewhere."""
    if PurePosixPath(name).is_absolute() or PureWindowsPath(name).anchor or ".." in name.replace("\\", "/").split("/"):
        raise UserError(f"'{shown(said_by)}' names '{spelled(name)}', which leaves the folder '{shown(folder)}'; give names of "
                        "files inside it.")
    return folder / name

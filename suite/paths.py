"""Where things are: records in ``./results`` or ``SUITE_RESULTS``; weights, checkpoints and data in ``SUITE_CACHE``; large networks
that others rest on in ``SUITE_WEIGHTS``."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from suite.errors import UserError


def results_folder() -> Path:
    """The folder of records: ``SUITE_RESULTS``, else ``results`` in the current folder."""
    return Path(os.environ.get("SUITE_RESULTS") or "results")


def cache_folder() -> Path:
    """The folder of everything that can be made again: ``SUITE_CACHE``, else the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("SUITE_CACHE") or Path(base) / "suite")


def weights_folder() -> Path | None:
    """The folder of networks that others rest on and that are too large to lie beside their records: ``SUITE_WEIGHTS``."""
    folder = os.environ.get("SUITE_WEIGHTS")
    return Path(folder) if folder else None


def run_folder(run_id: str) -> Path:
    """Where a run keeps its phases, checkpoints, artifact and figures."""
    return cache_folder() / "runs" / run_id


def timing_lock() -> Path:
    """The lock of the clock: whoever times holds it, whatever the cache. It lies in a folder of this user's own.

    UserError where that folder, which is in one that all users share, is a link or somebody else's.
    """
    folder = Path(tempfile.gettempdir()) / f"suite-{os.getuid()}"
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise UserError(f"'{folder}', for the timing lock, is no folder that you alone can write; remove it or set TMPDIR.")
    lock = folder / "timing.lock"
    if lock.is_symlink():
        raise UserError(f"'{lock}' is a link; remove it.")
    return lock


def full_disk(error: BaseException | None) -> OSError | None:
    """The error of a full disk, or of a quota that is used up, behind an error; None where it has another cause."""
    while error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return error
        error = error.__cause__ or error.__context__
    return None


@contextmanager
def full_disk_named() -> Iterator[None]:
    """Inside, a full disk is the user's to mend: UserError."""
    try:
        yield
    except Exception as error:
        if isinstance(error, UserError) or not (full := full_disk(error)):
            raise
        raise UserError(f"The disk of the cache is full ({full.strerror}); free space in '{cache_folder()}' or set SUITE_CACHE, "
                        "then repeat the command: it goes on from the last checkpoint.") from error


def writable(folder: Path, what: str) -> Path:
    """Create `folder` and prove that it can be written; UserError otherwise, before any hour of training is spent."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".probe-"):
            pass
    except OSError as error:
        variable = {"results": "SUITE_RESULTS", "cache": "SUITE_CACHE"}[what]
        raise UserError(
            f"The {what} folder '{folder}' cannot be written ({error.strerror}); set {variable} to a folder that can."
        ) from error
    return folder

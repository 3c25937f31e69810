"""Where things are: records in ``./results`` or ``SUITE_RESULTS``; weights, checkpoints and data in ``SUITE_CACHE``; large networks
that others rest on in ``SUITE_WEIGHTS``."""

from __future__ import annotations

import os
import tempfile
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
    """The lock of this machine's clock: whoever times holds it, whichever user or cache it belongs to."""
    return Path(tempfile.gettempdir()) / "suite-timing.lock"


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

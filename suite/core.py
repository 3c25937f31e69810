"""Which version of the core a run went through: a stand-in that the lead's file of this name replaces."""

from __future__ import annotations

import hashlib
from pathlib import Path


def digest(task_file: Path, method_file: Path) -> str:
    """16 hex digits over what the files of a task and a method run through."""
    return hashlib.sha256(task_file.read_bytes() + method_file.read_bytes()).hexdigest()[:16]

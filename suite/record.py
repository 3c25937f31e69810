"""Records: one JSON file per run, the only thing that results are made of.

A record is a plain dict, as in the file. Fields: ``schema, id, status`` (done, skipped, failed, interrupted) and
``reason``; ``task`` (name, version, options, metrics, source with digest and counts); ``method`` (name, digest, resolved
options, stand-ins, paper); ``seed, scale, budget`` (allowed, total, final, in samples); ``scores, steps, notes, ledger,
curves``; ``profile`` (cost and latency); ``published, time, machine, code, parents, trained_on, command``.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from suite.errors import UserError
from suite.paths import results_folder

SCHEMA = 2
WAITING = "not timed yet"  # the `untimed` of a record between its training and its turn on the quiet machine
Record = dict[str, Any]


def write_text(path: Path, text: str) -> None:
    """Write `text` by rename: readers see the old file or the new one, and a full disk leaves nothing behind."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write(record: Record, folder: Path | None = None) -> Path:
    """Store a record under its id, one value per line, sorted; UserError when the disk refuses."""
    path = (folder or results_folder()) / f"{record['id']}.json"
    try:
        write_text(path, json.dumps(record, indent=1, sort_keys=True, allow_nan=False) + "\n")
    except OSError as error:
        raise UserError(
            f"The record '{path}' could not be written ({error.strerror}); free space or set SUITE_RESULTS, then repeat "
            "the command: the finished training is kept in the cache and is not repeated."
        ) from error
    return path


def read(path: Path) -> Record:
    """One record, upgraded to the present schema; UserError for a file that is none."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        schema = record["schema"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"'{path}' is not a record ({error}); remove it or repeat the run it came from.") from error
    if schema > SCHEMA:
        raise UserError(f"'{path}' has schema {schema}, this suite knows up to {SCHEMA}; install a newer suite.")
    return record


def read_all(folder: Path | None = None) -> list[Record]:
    """All records below `folder`, ordered by id."""
    folder = folder or results_folder()
    return sorted((read(path) for path in folder.glob("*/*/*-s*.json")), key=lambda record: record["id"])


def find(name: str, folder: Path | None = None) -> Record:
    """The record named by a path, an id, or an unambiguous beginning of an id or of its fingerprint."""
    if Path(name).is_file():
        return read(Path(name))
    ids = [path.relative_to(folder or results_folder()).with_suffix("").as_posix()
           for path in (folder or results_folder()).glob("*/*/*-s*.json")]
    found = [item for item in ids if item == name] or [
        item for item in ids if item.startswith(name) or item.rsplit("/", 1)[-1].startswith(name)]
    if len(found) == 1:
        return read((folder or results_folder()) / f"{found[0]}.json")
    if found:
        raise UserError(f"'{name}' names {len(found)} records, '{sorted(found)[0]}' among them; type more of the id.")
    raise UserError(f"No record '{name}' in '{folder or results_folder()}'; `suite list records` shows those there are.")


def value(record: Record, path: str) -> Any | None:
    """The value at a dotted path such as ``"profile.latency.one.speedup"``; None where there is none."""
    here: Any = record
    for part in path.split("."):
        if not isinstance(here, dict) or part not in here:
            return None
        here = here[part]
    return here

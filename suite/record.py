"""Records: one JSON file per run, the only thing that results are made of.

A record is a plain dict, as in the file. Fields: ``schema, id, status`` (done, skipped, failed, interrupted) and
``reason``; ``task`` (name, version, options, metrics, source with digest and counts); ``method`` (name, digest, resolved
options, stand-ins, paper); ``seed, scale, budget`` (allowed, total, final, in samples); ``scores, notes, curves``, ``steps``
(the scores of each yielded artifact, [] of a single one) and ``ledger`` (what was asked for or sent, by name); ``profile``
(cost and latency), ``timings`` (what the task times itself: ``what, items, ms, noisy``), ``untimed`` (why there is no
latency) and ``timed_on`` (the machine of both, {} where nothing was timed); ``training`` (device, threads, precision) and
``machine``, where it was trained; ``code`` (commit, dirty, packages, digest of the core); ``parents`` (id by name),
``roles`` (role by the same names), ``trained_on``; ``published, time, command``.
"""

from __future__ import annotations

import json
import os
import re
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
        if schema < SCHEMA:
            record = _upgraded(record)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"'{path}' is not a record ({error}); remove it or repeat the run it came from.") from error
    if schema > SCHEMA:
        raise UserError(f"'{path}' has schema {schema}, this suite knows up to {SCHEMA}; install a newer suite.")
    return record


_TIMING = re.compile(r"(\w+?)_ms(?:_(\d+))?")  # how schema 1 noted a timing: "postprocess_ms", "latency_ms_300"
_ROLES = {"reference": "reference", "teacher": "teacher", "detector": "backbone", "backbone": "backbone"}


def _upgraded(old: Record) -> Record:
    """A record of schema 1 in the form of `SCHEMA`, with None or "" for what was not written down then."""
    notes = dict(old["notes"])
    noisy = notes.pop("postprocess_verdict", "") == "noisy"
    found = [match for name in old["notes"] if (match := _TIMING.fullmatch(name))]
    timings = [{"what": match[1], "items": int(match[2]) if match[2] else None, "ms": notes.pop(match[0]),
                "noisy": noisy and not match[2]} for match in found]
    timed = timings or value(old, "profile.latency")
    # A parent that was named by its architecture taught a method that starts from nothing.
    other = "teacher" if old["method"]["starts"] == "scratch" else "reference"
    return {
        **old, "schema": SCHEMA, "timings": timings, "timed_on": old["machine"] if timed else {},
        "untimed": notes.pop("untimed", "" if timed or not old["profile"] else "its task gives no network to time"),
        "training": {"device": "cpu", "threads": None, "precision": notes.pop("precision", "")}, "notes": notes,
        "roles": {name: _ROLES.get(name, other) for name in old["parents"]}, "code": {**old["code"], "core": ""},
    }


def timing_name(what: str, items: int | None) -> str:
    """What a timing is called in claims and columns: ``"postprocess"``, or at so many items ``"suppress.300"``."""
    return what if items is None else f"{what}.{items}"


def parent(record: Record, role: str) -> str:
    """The id of the run that stands in a `role` to this one, of several the first by name; empty without one."""
    return next((record["parents"][name] for name, item in sorted(record["roles"].items()) if item == role), "")


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

"""Records: one JSON file per run, the only thing that results are made of.

A record is a plain dict, as in the file. Fields: ``schema, id, status`` (done, skipped, failed, interrupted) and
``reason``; ``task`` (name, version, options, metrics, source with digest and counts); ``method`` (name, digest, resolved
options, stand-ins, paper); ``seed, scale, budget`` (allowed, total, final, in samples); ``scores, notes, curves``, ``steps``
(the scores of each yielded artifact, [] of a single one) and ``ledger`` (what was asked for or sent, by name); ``profile``
(cost and latency), ``timings`` (what the task times itself: ``what, items, ms, noisy``), ``untimed`` (why there is no
latency) and ``timed_on`` (the machine of both, {} where nothing was timed); ``training`` (device, threads, precision) and
``machine``, where it was trained; ``code`` (commit, dirty, packages, digest of the core); ``parents`` (id by name),
``roles`` (role by the same names), ``trained_on``; ``weights`` (SHA-256 of the artifact's tensors, "" where unknown) and
``parent_weights`` (those it started from, by parent id); ``outcomes`` (which test images were right, {} where not kept:
``score, bits, count``); ``published, time, command``. Their types are in `suite.schema`, which reading checks.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
import tempfile
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from suite.errors import UserError
from suite.paths import results_folder

SCHEMA = 3
WAITING = "not timed yet"  # the `untimed` of a record between its training and its turn on the quiet machine
Record = dict[str, Any]


class Damaged(UserError):
    """A file at the place of a record that is none."""


_DEEPEST = 20  # levels of lists and mappings in a note


def plain(found: Any, depth: int = 0) -> Any:
    """`found` as JSON holds it: NaN and infinity are None, tuples and arrays lists, NumPy's and torch's scalars numbers.

    What is none of these becomes a sentence that says so: a finding is never worth a run.
    """
    if found is None or isinstance(found, bool):
        return found
    if isinstance(found, str):
        return str(found).encode("utf-8", "backslashreplace").decode()
    if isinstance(found, int | float):
        return (int(found) if isinstance(found, int) else float(found)) if number(found) is not None else None
    if depth == _DEEPEST:
        return f"left out: nested more than {_DEEPEST} deep"
    if isinstance(found, Mapping):
        return {plain(str(key)): plain(item, depth + 1) for key, item in found.items()}
    if isinstance(found, list | tuple):
        return [plain(item, depth + 1) for item in found]
    if hasattr(found, "dtype") and hasattr(found, "tolist"):
        return plain(found.tolist(), depth + 1)
    return f"left out: a {type(found).__name__} is no number, text, list or mapping"


def number(found: Any) -> float | None:
    """A finite number, or what gives one such as a NumPy scalar, as a float; None for everything else."""
    try:
        made = float(found)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        return None
    return made if math.isfinite(made) and not isinstance(found, str) else None


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
    """Store a record under its id, `plain`, one value per line, sorted; UserError when the disk refuses."""
    path = (folder or results_folder()) / f"{record['id']}.json"
    try:
        write_text(path, json.dumps(plain(record), indent=1, sort_keys=True, allow_nan=False) + "\n")
    except OSError as error:
        raise UserError(
            f"The record '{path}' could not be written ({error.strerror}); free space or set SUITE_RESULTS, then repeat "
            "the command: the finished training is kept in the cache and is not repeated."
        ) from error
    return path


def read(path: Path) -> Record:
    """One record, upgraded to the present schema and checked; `Damaged`, naming what is wrong, for a file that is none, and
    UserError for a record of a later suite.
    """
    problem = ""
    try:
        if not path.is_file():
            raise ValueError("it is no file")
        record = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
        schema = record["schema"]
        if type(schema) is not int or schema < 1:
            raise ValueError(f"its schema is {schema!r}")
        if schema <= SCHEMA:
            record = _upgraded(record)
            problem = fault(record)
    except KeyError as error:
        problem = f"it has no {error}"
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        problem = str(error)
    if problem:
        raise Damaged(f"'{path}' is not a record ({problem}); remove it or repeat the run it came from.")
    if schema > SCHEMA:
        raise UserError(f"'{path}' has schema {schema}, this suite knows up to {SCHEMA}; install a newer suite.")
    return record


def _refuse(constant: str) -> None:
    raise ValueError(f"it holds {constant}")


def fault(record: Record) -> str:
    """Where a record of the present schema has not its shape (see `suite.schema`); empty where it has."""
    from suite import schema  # takes a tenth of a second

    return schema.fault(_LATER | record)


_LATER: Record = {"weights": "", "parent_weights": {}, "outcomes": {}}  # what schema 3 added
_TIMING = re.compile(r"(\w+?)_ms(?:_(\d+))?")  # how schema 1 noted a timing: "postprocess_ms", "latency_ms_300"
_ROLES = {"reference": "reference", "teacher": "teacher", "detector": "backbone", "backbone": "backbone"}


def _upgraded(old: Record) -> Record:
    """A record in the form of `SCHEMA`, with None or an empty value for what was not written down then."""
    known = _from_first(old) if old["schema"] == 1 else old
    return {**_LATER, **known, "schema": SCHEMA}


def _from_first(old: Record) -> Record:
    """A record of schema 1 in the form of schema 2."""
    notes = dict(old["notes"])
    noisy = notes.pop("postprocess_verdict", "") == "noisy"
    found = [match for name in old["notes"] if (match := _TIMING.fullmatch(name))]
    timings = [{"what": match[1], "items": int(match[2]) if match[2] else None, "ms": notes.pop(match[0]),
                "noisy": noisy and not match[2]} for match in found]
    timed = timings or value(old, "profile.latency")
    # A parent that was named by its architecture taught a method that starts from nothing.
    other = "teacher" if old["method"]["starts"] == "scratch" else "reference"
    return {
        **old, "timings": timings, "timed_on": old["machine"] if timed else {},
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


def read_all(folder: Path | None = None, tasks: Iterable[str] = ("*",)) -> list[Record]:
    """All records below `folder`, or those of some tasks alone, ordered by id. Files that are none, or that lie elsewhere than
    their id says, are set aside: each is named once on standard error.
    """
    folder, found = folder or results_folder(), []
    for name in sorted(name for task in tasks for name in _ids(folder, task)):
        path = folder / f"{name}.json"
        try:
            record = read(path)
            if record["id"] != name:
                raise Damaged(f"'{path}' is the record of '{record['id']}'; move it there or remove it.")
            found.append(record)
        except UserError as error:
            set_aside(str(error))
    return found


def _ids(folder: Path, task: str = "*") -> list[str]:
    return [path.relative_to(folder).with_suffix("").as_posix() for path in folder.glob(f"{task}/*/*-s*.json")]


@cache
def set_aside(sentence: str) -> None:
    """Tell the user, once, of a file that is passed over."""
    logging.getLogger("suite").warning("Set aside: %s", sentence)


def find(name: str, folder: Path | None = None) -> Record:
    """The record named by a path, an id, or an unambiguous beginning of an id or of its fingerprint."""
    folder = folder or results_folder()
    if os.path.isfile(name):  # False too for what can be no path
        return read(Path(name))
    ids = _ids(folder)
    found = [item for item in ids if item == name] or [
        item for item in ids if item.startswith(name) or item.rsplit("/", 1)[-1].startswith(name)]
    if len(found) == 1:
        return read(folder / f"{found[0]}.json")
    if found:
        raise UserError(f"'{name}' names {len(found)} records, '{sorted(found)[0]}' among them; type more of the id.")
    raise UserError(f"No record '{name}' in '{folder}'; `suite list records` shows those there are.")


def data_of(record: Record) -> tuple[str, str]:
    """The kind of a record's data and its digest, of that which it was trained on too where that is another: ``"subset, trained on
    embedded"``.
    """
    source = record["task"]["source"]
    other = source.get("trained_on")
    return (f"{source['kind']}, trained on {other['kind']}", f"{source['digest']} {other['digest']}") if other else (
        source["kind"], source["digest"])


def value(record: Record, path: str) -> Any | None:
    """The value at a dotted path such as ``"profile.latency.one.speedup"``; None where there is none."""
    here: Any = record
    for part in path.split("."):
        if not isinstance(here, dict) or part not in here:
            return None
        here = here[part]
    return here

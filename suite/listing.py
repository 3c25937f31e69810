"""Records as listings show them: parsed and not checked, the seeds of one configuration together. Ten thousand take seconds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from suite import record
from suite.claims import SCALES
from suite.errors import UserError
from suite.paths import results_folder
from suite.record import Record


@dataclass(frozen=True)
class Configuration:
    """The records of one task, method, data and scale with the same options and status: a seed each."""

    task: str
    method: str
    fingerprint: str
    status: str
    scale: str
    source: str
    options: str  # key=value words that differ from what the scale would set
    metric: str  # the task's primary one
    seeds: tuple[int, ...]
    scores: tuple[float, ...]  # of the seeds that have one


def heads(like: str = "*", folder: Path | None = None) -> list[Record]:
    """The records whose id fits the pattern `like`, or is below it (``"cifar10"``), as their files say, of whatever schema.

    Files that are no records are set aside, as `suite.record.read_all` does.
    """
    folder, found = folder or results_folder(), []
    for name in record.ids(folder, like):
        try:
            found.append(_head(folder / f"{name}.json", name))
        except UserError as error:
            record.set_aside(str(error))
    return found


def _head(path: Path, name: str) -> Record:
    """The record of that name, checked as `suite.record.read` does only where a listing could not use it."""
    found = _parsed(path) or record.read(path)
    if found["id"] != name:
        raise record.Damaged(f"'{path}' is the record of '{found['id']}'; move it there or remove it.")
    return found


def _parsed(path: Path) -> Record | None:
    """What the file says, where every part that a listing shows is there and of its type; else None."""
    from pydantic_core import from_json  # half the time of json's

    if not path.is_file():
        return None
    try:
        found: Record = from_json(path.read_bytes(), allow_inf_nan=False)
        item, known = configurations([found])[0], found["schema"] in range(1, record.SCHEMA + 1)
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None
    texts = (item.task, item.method, item.status, item.scale, item.source, item.metric, found["id"])
    sound = all(isinstance(text, str) for text in texts) and type(found["seed"]) is int
    return found if known and sound and all(record.number(score) is not None for score in item.scores) else None


def configurations(records: Iterable[Record]) -> list[Configuration]:
    """Records with their seeds together, by task and method, then by scale, data and options."""
    groups: dict[tuple[str, ...], list[Record]] = {}
    for item in records:
        groups.setdefault((item["id"].rpartition("-s")[0], item["status"]), []).append(item)
    found = [_configuration(items) for items in groups.values()]
    return sorted(found, key=lambda item: (item.task, item.method, scale_place(item.scale), item.source, item.options, item.status))


def scale_place(scale: str) -> int:
    """Where a scale stands among the usual ones; others come last."""
    return SCALES.index(scale) if scale in SCALES else len(SCALES)


def _configuration(items: Sequence[Record]) -> Configuration:
    first, metric = items[0], items[0]["task"]["primary"]
    scores = [item["scores"].get(metric) for item in items]
    return Configuration(
        first["task"]["name"], first["method"]["name"], first["id"].rpartition("-s")[0].rpartition("/")[2], first["status"],
        first["scale"], first["task"]["source"]["kind"], _options(first["command"]), metric,
        tuple(sorted(item["seed"] for item in items)), tuple(score for score in scores if score is not None))


def _options(command: str) -> str:
    """The options in the line that repeats a run, as they are typed: what stands between the method and the first ``--``."""
    return " ".join(command.partition(" --")[0].split(" ")[4:])

"""Results in KITTI's format: a zip archive with a label file of scored lines for each frame, as its server takes them."""

from __future__ import annotations

import lzma
import tempfile
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from suite.data.kitti_labels import JUDGED, Objects, objects, read_labels
from suite.errors import UserError

FORM = "a zip archive of files such as 000012.txt, a line for each object with its score behind KITTI's fifteen fields"
LARGEST = 50_000_000  # bytes of a file of results: more is something else


def read_cloud_results(path: str) -> list[dict[str, Any]]:
    """An entry for each frame in the archive: ``frame``, its number, and ``labels``.

    UserError for an archive that is none, two files of one frame, and the first line that is not of the form.
    """
    if Path(path).is_dir():
        raise UserError(f"'{path}' is a folder; pack its files with 'zip -r results.zip {path}', as KITTI's server takes them.")
    try:
        with zipfile.ZipFile(path) as archive, tempfile.TemporaryDirectory() as folder:
            found: dict[str, Objects] = {}
            for item in archive.infolist():
                name = PurePosixPath(item.filename).name
                if not name.endswith(".txt") or name.startswith("."):  # macOS puts a hidden file beside each
                    continue
                if name[:-4] in found:
                    raise UserError(f"'{path}' holds '{name}' more than once; expected {FORM}.")
                if item.file_size > LARGEST:
                    raise UserError(f"'{name}' in '{path}' has {item.file_size:,} bytes; expected {FORM}.")
                target = Path(folder) / "results" / Path(path).name / name  # three parts, which messages show
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(archive.read(item))
                found[name[:-4]] = read_labels(target, scored=True)
    except FileNotFoundError:
        raise UserError(f"There is no results file '{path}'; give the path of {FORM}.") from None
    except (OSError, EOFError, RuntimeError, UnicodeDecodeError, zipfile.BadZipFile, zlib.error, lzma.LZMAError) as error:
        raise UserError(f"'{path}' is no readable zip archive ({error}); expected {FORM}.") from None
    if not found:
        raise UserError(f"'{path}' holds no .txt file; expected {FORM}.")
    return [{"frame": number, "labels": labels} for number, labels in sorted(found.items())]


def of_frames(entries: Sequence[dict[str, Any]], numbers: Sequence[str]) -> list[Objects]:
    """The results of the frames `numbers`, in that order; those of others do not count. UserError where one of them has none: a
    frame without objects has an empty file."""
    known = {entry["frame"]: entry["labels"] for entry in entries}
    if missing := [number for number in numbers if number not in known]:
        raise UserError(f"The results lack {len(missing)} of the {len(numbers)} judged frames, '{missing[0]}.txt' for one; give a "
                        "file for each, an empty one where nothing was found.")
    nothing = objects([], np.zeros((0, 15)))
    return [known[number][np.isin(known[number].kinds, JUDGED)] if len(known[number]) else nothing for number in numbers]

"""Where the data of a run comes from: the user's copy of a data set, or the embedded one made in its layout."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from suite.data.dataset import Dataset, Kind
from suite.data.files import readable
from suite.errors import UserError

EMBEDDED = Path("embedded")  # as data: the embedded ones, whatever SUITE_DATA holds
DEPTH = 2  # how many folders below the one that the user names a data set is looked for


@dataclass(frozen=True)
class Source:
    """The data of a run. `folder` and `note` are for this machine; records keep the rest.

    `training` is what methods are trained on where this data has no training part, and else None.
    `note` is a sentence that the user should see, e.g. that ``SUITE_DATA`` holds no such data set; usually empty.
    """

    kind: Kind
    name: str
    folder: Path
    digest: str
    counts: dict[str, int]
    note: str = ""
    training: Source | None = None

    @property
    def parts(self) -> list[Source]:
        """What is tested on, and after it what is trained on where that is another."""
        return [self, *([self.training] if self.training else [])]

    def kept(self) -> dict[str, Any]:
        """What a record keeps."""
        found = {"kind": self.kind, "name": self.name, "digest": self.digest, "counts": self.counts}
        return {**found, **({"trained_on": self.training.kept()} if self.training else {})}


def locate_data(dataset: Dataset, data: Path | None, cache: Path) -> Source:
    """The data to use: below `data`, else below ``SUITE_DATA``, else (and for `EMBEDDED`) the embedded data, made under `cache`.

    Raises UserError where `data` holds no such data set, where either folder holds two, for unreadable data and for test data
    that is in the training data.
    """
    folder, note = locate_folder(dataset, data, cache)
    try:
        source = source_of(dataset, folder, note)
        _compare_once(dataset, source, cache)
        return source if dataset.trains(folder) else _trained_elsewhere(dataset, source, cache)
    except UserError as error:
        home = _home(dataset, cache)
        if home not in (folder, *folder.parents):
            raise
        raise UserError(f"The embedded data is damaged; delete '{home}' and it is made again: {error}") from None


def _trained_elsewhere(dataset: Dataset, source: Source, cache: Path) -> Source:
    """A source without a training part, with the embedded data to train on."""
    note = f"'{source.folder}' has no training part: methods are trained on the embedded '{dataset.name}' and tested on it."
    return replace(source, note=note, training=source_of(dataset, embedded_folder(dataset, cache)))


def _compare_once(dataset: Dataset, source: Source, cache: Path) -> None:
    """UserError where splits overlap; data without that is marked in `cache` by its digest, and not read for it again."""
    mark = cache / "data" / ".compared" / f"{dataset.name}-{source.digest[:16]}"
    if source.kind == "embedded" or mark.exists():
        return
    if sentences := dataset.overlaps(source.folder):
        raise UserError("\n".join(sentences))
    with contextlib.suppress(OSError):  # a cache that cannot be written costs time alone
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()


def locate_needed(dataset: Dataset, data: Path | None, cache: Path) -> Source:
    """The data of a further data set that a run needs: as `locate_data`, but `data`, which names the run's own, may lack it."""
    if data not in (None, EMBEDDED) and _search(dataset, data) is None:
        data = None
    return locate_data(dataset, data, cache)


def locate_folder(dataset: Dataset, data: Path | None, cache: Path) -> tuple[Path, str]:
    """The folder that `locate_data` uses, not read yet, and its note."""
    if data == EMBEDDED:
        return embedded_folder(dataset, cache), ""
    if data is not None:
        return found_in(dataset, data), ""
    note = ""
    if standing := os.environ.get("SUITE_DATA"):
        folder = _search(dataset, Path(standing))
        if folder is not None:
            return folder, ""
        note = f"SUITE_DATA holds no '{dataset.name}' ({dataset.layout}), so the embedded data is used."
    return embedded_folder(dataset, cache), note


def layout_of(layouts: Mapping[str, Dataset], data: Path | None) -> str | None:
    """Which of several layouts, data sets by name, lies at or below `data`, else ``SUITE_DATA``.

    None for the embedded data and where ``SUITE_DATA`` holds none of them. UserError where `data` holds none, or either folder
    more than one.
    """
    named = data or (Path(standing) if (standing := os.environ.get("SUITE_DATA")) else EMBEDDED)
    if named == EMBEDDED or not named.is_dir():
        return None
    folders = _matches(lambda folder: any(item.matches(folder) for item in layouts.values()), named, DEPTH)
    found = sorted((folder, name) for folder in folders for name, item in layouts.items() if item.matches(folder))
    if len(found) > 1:
        listed = ", ".join(f"'{folder}' ({name})" for folder, name in found)
        raise UserError(f"'{named}' holds {len(found)} data sets: {listed}; name the folder of one of them with --data.")
    if not found and data is not None:
        known = "; ".join(f"{name}: {item.layout}" for name, item in layouts.items())
        first = next(iter(layouts.values()))
        raise UserError(f"'{named}' and {DEPTH} folders below hold no {first.title} in a known layout ({known}); get "
                        f"{first.where_to_get}, or type --data embedded to use the embedded data.")
    return found[0][1] if found else None


def source_of(dataset: Dataset, folder: Path, note: str = "") -> Source:
    """What is in `folder`; UserError where it cannot be read."""
    with readable():
        return Source(dataset.classify(folder), dataset.name, folder, dataset.digest(folder), dataset.counts(folder), note)


def embedded_folder(dataset: Dataset, cache: Path) -> Path:
    """The folder of the embedded data under `cache`; of several processes one makes it and the others wait."""
    home = _home(dataset, cache)
    if not home.exists():
        _make_once(dataset, home)
    return found_in(dataset, home)


def found_in(dataset: Dataset, data: Path) -> Path:
    """The one folder at or below `data` that holds `dataset`; UserError where there is none, or more than one."""
    folder = _search(dataset, data)
    if folder is None:
        found = "nothing like it was found there" if data.is_dir() else "there is no such folder"
        found = found if os.access(data, os.R_OK | os.X_OK) or not data.is_dir() else "it may not be read"
        raise UserError(f"'{dataset.name}' was looked for in '{data}' and {DEPTH} folders below ({dataset.layout}), but {found}; "
                        f"get {dataset.where_to_get}, or type --data embedded to use the embedded data.")
    return folder


def write_embedded(dataset: Dataset, folder: Path) -> None:
    """Write the embedded data to `folder`, which must be new or empty: all of it or nothing.

    Raises UserError where the folder holds something or cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"'{folder}' is not empty; name a new folder for the embedded '{dataset.name}' data.")
    making = folder.with_name(f".{folder.name}.making-{os.getpid()}")
    try:
        making.mkdir(parents=True)
        dataset.make(making)
        making.rename(folder)
    except OSError as error:
        full = "free some space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "check its permissions"
        raise UserError(f"The embedded '{dataset.name}' data cannot be written to '{folder}' ({error.strerror}); {full} or name "
                        "another folder (--to, or SUITE_CACHE for the cache).") from None
    finally:
        shutil.rmtree(making, ignore_errors=True)


def _home(dataset: Dataset, cache: Path) -> Path:
    return cache / "data" / f"{dataset.name}-v{dataset.version}{dataset.variant}"


def _search(dataset: Dataset, data: Path) -> Path | None:
    matches = list(_matches(dataset.matches, data, DEPTH)) if data.is_dir() else []
    if len(matches) > 1:
        names = " and ".join(f"'{folder}'" for folder in sorted(matches)[:2])
        raise UserError(f"'{data}' holds '{dataset.name}' more than once: {names}; name one of them with --data.")
    return matches[0] if matches else None


def _matches(fits: Callable[[Path], bool], folder: Path, depth: int) -> Iterator[Path]:
    """The outermost folders that `fits` accepts, at most `depth` below `folder`."""
    try:
        if fits(folder):
            yield folder
            return
        below = [Path(entry.path) for entry in os.scandir(folder) if os.path.isdir(entry) and entry.name[0] != "."]
    except PermissionError:
        return
    for inner in below if depth else ():
        yield from _matches(fits, inner, depth - 1)


def _make_once(dataset: Dataset, home: Path) -> None:
    """Make the embedded data in `home`, unless another process has done so by the time the lock is free."""
    from filelock import FileLock

    try:
        home.parent.mkdir(parents=True, exist_ok=True)
        held = FileLock(home.with_name(f".{home.name}.lock")).acquire()
    except OSError as error:
        raise UserError(f"The cache folder '{home.parent}' cannot be written ({error.strerror}); set SUITE_CACHE to another "
                        "folder.") from None
    with held:
        for left in home.parent.glob(f".{home.name}.making-*"):  # by a process that was killed
            shutil.rmtree(left, ignore_errors=True)
        if not home.exists():
            write_embedded(dataset, home)

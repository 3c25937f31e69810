"""``suite merge``: the results of several machines in one folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from suite.errors import UserError

if TYPE_CHECKING:
    from suite.record import Record


class Copy(NamedTuple):
    """A record as it lies in a folder, and the file with its weights, if there is one beside it."""

    folder: Path
    record: Record
    weights: Path | None


@click.command()
@click.argument("folders", metavar="FOLDER...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--to", type=click.Path(path_type=Path), help="The results folder to join them in (default: that of every command).")
@click.option("--prefer", metavar="FOLDER", type=click.Path(path_type=Path), help="Whose record to take where two differ.")
@click.option("--dry-run", is_flag=True, help="Say what would be taken, and write nothing.")
def command(folders: tuple[Path, ...], to: Path | None, prefer: Path | None, dry_run: bool) -> None:
    """Take the records of the results FOLDERs, with the weights beside them, into the results folder.

    A record that is there already stays. Two records of one run that differ are a conflict: what differs is said, and nothing at
    all is written, unless --prefer names the folder (one of these, or that of the results) that decides.

    \b
    suite merge /mnt/left/results /mnt/right/results --dry-run
    suite merge laptop/results --prefer laptop/results
    """
    from suite.paths import results_folder

    target = to or results_folder()
    for folder in folders:
        if not any(folder.glob("*/*/*-s*.json")):
            raise UserError(f"'{folder}' holds no records; name a results folder, in which they lie as TASK/METHOD/....json.")
    if prefer and prefer.resolve() not in [folder.resolve() for folder in (*folders, target)]:
        raise UserError(f"--prefer '{prefer}' is none of the folders to join ({', '.join(map(str, folders))}) and not '{target}'.")
    found, refused = _found(target, folders)
    chosen: list[Copy] = []
    conflicts: list[str] = []
    for copies in found.values():
        taken = _taken(copies, prefer)
        chosen += [taken] if taken else []
        conflicts += [] if taken else [_conflict(copies)]
    for sentence in refused:
        click.echo(f"refused: {sentence}", err=True)
    if conflicts:
        raise UserError("\n".join([*conflicts, f"{len(conflicts)} conflict{'s' if len(conflicts) > 1 else ''}, so nothing was "
                                   "written; --prefer FOLDER says whose records to take."]))
    new = [copy for copy in chosen if _is_new(copy, target, found)]
    for copy in new:
        click.echo(f"{'would take' if dry_run else 'taken'} from {copy.folder}: {copy.record['id']}")
        if not dry_run:
            _write(copy, target)
    click.echo(f"{len(new)} of {len(chosen)} records {'would be' if dry_run else 'were'} taken into {target}/; "
               f"{len(chosen) - len(new)} were there" + (f"; {len(refused)} refused" if refused else ""))
    if refused:
        raise SystemExit(1)


def _found(target: Path, folders: tuple[Path, ...]) -> tuple[dict[str, list[Copy]], list[str]]:
    """The records of the folders by id, each after that of the target, and why others are refused."""
    from suite import record, references

    found: dict[str, list[Copy]] = {}
    refused: dict[str, None] = {}
    names = {folder: sorted(path.relative_to(folder) for path in folder.glob("*/*/*-s*.json")) for folder in dict.fromkeys(folders)}
    there = [name for name in sorted({name for known in names.values() for name in known}) if (target / name).exists()]
    for folder, known in {target: there, **names}.items():
        for name in known:
            try:
                item = record.read(folder / name)
                if name.as_posix() != f"{item['id']}.json":
                    raise UserError(f"'{folder / name}' is the record of '{item['id']}'; move it there or remove it.")
                found.setdefault(item["id"], []).append(Copy(folder, item, references.file_of(item, folder)))
            except UserError as mistake:
                refused[str(mistake)] = None
    return found, list(refused)


def _taken(copies: list[Copy], prefer: Path | None) -> Copy | None:
    """The one of the copies of a run that counts: the first where all say the same; None where they are in conflict."""
    alike = copies
    if any(copy.record != copies[0].record for copy in copies):
        alike = [copy for copy in copies if prefer and copy.folder.resolve() == prefer.resolve()]
    return next((copy for copy in alike if copy.weights), alike[0]) if alike else None


def _conflict(copies: list[Copy]) -> str:
    """What differs between the first copy of a run and the first that is another."""
    from suite.cli.diff import explained

    first = copies[0]
    other = next(copy for copy in copies if copy.record != first.record)
    scores = [f"{name}: A {first.record['scores'].get(name)}, B {other.record['scores'].get(name)}"
              for name in sorted({*first.record["scores"], *other.record["scores"]})
              if first.record["scores"].get(name) != other.record["scores"].get(name)]
    fields = [name for name in first.record if first.record[name] != other.record.get(name)]
    lines = [*scores, *explained(first.record, other.record)] or [f"fields: {', '.join(fields)}"]
    return "\n  ".join([f"'{first.record['id']}' differs; A is in {first.folder}, B in {other.folder}:", *lines])


def _is_new(copy: Copy, target: Path, found: dict[str, list[Copy]]) -> bool:
    """Whether the target lacks a record or its weights, or has another."""
    there = next((item for item in found[copy.record["id"]] if item.folder == target), None)
    return there is None or there.record != copy.record or (there.weights is None and copy.weights is not None)


def _write(copy: Copy, target: Path) -> None:
    """Write a record, its weights first, each by rename; weights of the record that it replaces go."""
    from suite import record

    weights = target / f"{copy.record['id']}.safetensors"
    try:
        if copy.weights:
            record.write_bytes(weights, copy.weights.read_bytes())
        record.write(copy.record, target)
        if not copy.weights:
            weights.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"'{weights}' could not be written ({error.strerror}); mend that and repeat the command.") from error

"""Records: older schemas are read in the present form, damaged files are named and set aside, what is written can be read."""

from __future__ import annotations

import base64
import copy
import io
import json
import logging
import math
import os
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from click.testing import CliRunner
from records import MACHINE, profile, timed
from records import record as made_by_hand
from rich.console import Console

from suite import listing, record, tracked
from suite.cli import diff, show
from suite.cli import list as cli_list
from suite.errors import UserError
from suite.reporting.flat import flatten
from suite.reporting.rows import groups
from suite.reporting.terminal import run_table

RESULTS = Path(__file__).parents[1] / "results"


def of_schema_1(**changes: Any) -> dict[str, Any]:
    """A record as schema 1 wrote it."""
    new = {"training", "timings", "timed_on", "untimed", "roles", "weights", "parent_weights", "outcomes"}
    old = {key: item for key, item in made_by_hand("kd").items() if key not in new}
    del old["code"]["core"]
    return {**old, "schema": 1, **changes}


PARENTS = {"teacher": "a", "backbone": "b", "detector": "c", "resnet20": "d", "reference": "e"}
NOTES = {"postprocess_ms": 8.5, "whole_ms": 12.0, "postprocess_verdict": "noisy", "latency_ms_300": 2.0, "latency_exponent": 0.8,
         "precision": "bfloat16", "words": "stay"}
OLD = of_schema_1(notes=NOTES, parents=PARENTS)


def upgraded(tmp_path, **changes):
    (tmp_path / "x.json").write_text(json.dumps({**OLD, **changes}))
    return record.read(tmp_path / "x.json")


def test_an_old_record_by_hand(tmp_path):
    found = upgraded(tmp_path)
    assert found["schema"] == record.SCHEMA == 3 and found["scores"] == OLD["scores"] and found["machine"] == MACHINE
    assert found["notes"] == {"latency_exponent": 0.8, "words": "stay"}
    assert sorted(found["timings"], key=lambda item: item["what"]) == [
        {"what": "latency", "items": 300, "ms": 2.0, "noisy": False}, {"what": "postprocess", "items": None, "ms": 8.5, "noisy": True},
        {"what": "whole", "items": None, "ms": 12.0, "noisy": True}]
    assert found["training"] == {"device": "cpu", "threads": None, "precision": "bfloat16"}
    assert found["timed_on"] == MACHINE and found["untimed"] == "" and found["code"] == {**OLD["code"], "core": ""}
    assert found["roles"] == {"teacher": "teacher", "backbone": "backbone", "detector": "backbone", "resnet20": "teacher",
                              "reference": "reference"}
    assert (found["weights"], found["parent_weights"], found["outcomes"]) == ("", {}, {})
    assert json.loads((tmp_path / "x.json").read_text()) == OLD  # the file stays as it is


def test_a_record_of_schema_2_gets_empty_values_for_what_is_new(tmp_path):
    made = {key: item for key, item in made_by_hand().items() if key not in ("weights", "parent_weights", "outcomes")}
    (tmp_path / "x.json").write_text(json.dumps({**made, "schema": 2}))
    assert record.read(tmp_path / "x.json") == {**made, "schema": 3, "weights": "", "parent_weights": {}, "outcomes": {}}


def test_what_an_old_record_did_not_have(tmp_path):
    found = upgraded(tmp_path, notes={"untimed": "the plan differs"}, profile={**profile(), "latency": None}, method={**OLD["method"], "starts": "reference"})
    assert found["untimed"] == "the plan differs" and found["timings"] == [] and found["timed_on"] == {} and found["notes"] == {}
    assert found["training"]["precision"] == "" and found["roles"]["resnet20"] == "reference"
    assert upgraded(tmp_path, notes={"postprocess_ms": 1.0}, profile=None)["timed_on"] == MACHINE
    assert upgraded(tmp_path, notes={}, profile={**profile(), "latency": None})["untimed"] == "its task gives no network to time"


def test_an_old_record_that_lacks_a_part_is_no_record(tmp_path):
    with pytest.raises(UserError, match="is not a record"):
        upgraded(tmp_path, method={})


def test_every_committed_record_is_read_in_the_new_form():
    known = {"reference", "teacher", "backbone", "detector"}
    paths = sorted(RESULTS.glob("*/*/*-s*.json"))
    assert len(paths) > 100
    for path in paths:
        old, found = json.loads(path.read_text()), record.read(path)
        assert found["schema"] == record.SCHEMA and found["roles"].keys() == found["parents"].keys(), path
        assert set(found["roles"].values()) <= known and found["training"].keys() == {"device", "threads", "precision"}
        assert not [name for name in found["notes"] if name in ("precision", "untimed") or "_ms" in name or "verdict" in name], path
        assert found["training"]["precision"] == (old["notes"] if old["schema"] == 1 else old["training"]).get("precision", "")
        timed = bool(found["timings"] or record.value(found, "profile.latency"))
        assert bool(found["timed_on"]) == timed and isinstance(found["untimed"], str) and "core" in found["code"]
        assert all(item["ms"] >= 0 and item["what"].isidentifier() for item in found["timings"])
    kd = next(record.read(path) for path in paths if "logit_kd" in path.parts)
    assert kd["roles"] == {"resnet20": "teacher"} and record.parent(kd, "teacher").startswith("cifar10/plain/")


def test_a_parent_is_found_by_its_role():
    made = {"parents": {"b": "two", "a": "one", "c": "three"}, "roles": {"c": "backbone", "b": "teacher", "a": "teacher"}}
    assert record.parent(made, "teacher") == "one" and record.parent(made, "backbone") == "three"
    assert record.parent(made, "reference") == ""


BITS = base64.b64encode(numpy.packbits(numpy.ones(11, bool)).tobytes()).decode()
WHOLE = made_by_hand(
    "kd", parents={"resnet56": "cifar10/plain/0-s0"}, roles={"resnet56": "teacher"}, parent_digests={"cifar10/plain/0-s0": "ab"},
    ledger={"queries": 120.0}, steps=[{"top1": 70.0}, {"top1": 58.25}], timings=[timed("latency", 2.0, 300, noisy=True)],
    profile={**profile(0.5), "ops": {"xnor": 7}}, notes={"retained": 0.5, "list": [1.0], "text": "why"},
    outcomes={"score": "top1", "bits": BITS, "count": 11}, parent_weights={"cifar10/plain/0-s0": "cd"},
    published=[{"task": "cifar10", "metric": "top1", "value": 70.0, "where": "Table 1", "options": {}}])
GONE = object()
WRONG = [GONE, None, "x", "", -1, 1.5, 10**400, True, [], [1], [[1, 2]], {}, {"a": 1}, "\ud800"]


def places(item: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths to every part of a record."""
    inside = item.items() if isinstance(item, dict) else enumerate(item) if isinstance(item, list) else ()
    return [path, *(place for key, part in inside for place in places(part, (*path, key)))]


def damaged(place: tuple[Any, ...], wrong: Any) -> Any:
    """The whole record with another value at a place."""
    if not place:
        return None if wrong is GONE else wrong
    found = copy.deepcopy(WHOLE)
    here: Any = found
    for key in place[:-1]:
        here = here[key]
    if wrong is GONE:
        del here[place[-1]]
    else:
        here[place[-1]] = wrong
    return found


def used(found: dict[str, Any]) -> None:
    """Everything that reads a record does so."""
    cli_list._cells(listing.configurations([found])[0])
    show._sections(found)
    [diff._differences(title, record.value(found, path), record.value(WHOLE, path)) for title, path in diff.PARTS.items()]
    groups(flatten([found, WHOLE]))
    run_table([found], Console(file=io.StringIO(), width=200))
    assert all(math.isfinite(number) for _, _, number in tracked.points(found)) and tracked.name(found)
    tracked.notes(found)
    tracked.times(found)


def test_whatever_is_wrong_in_a_record_it_is_named_or_everything_can_use_it(tmp_path):
    """Every part of a record is taken away or replaced by values of each type in turn."""
    path, refused = tmp_path / "x.json", 0
    path.write_text(json.dumps(WHOLE))
    used(record.read(path))
    for place in places(WHOLE):
        for wrong in WRONG:
            path.write_text(json.dumps(damaged(place, wrong)))
            if parsed := listing._parsed(path):
                cli_list._cells(listing.configurations([parsed, WHOLE])[0])
            try:
                found = record.read(path)
            except UserError as error:
                refused += 1
                assert str(error).startswith(f"'{path}' ") and "\n" not in str(error)
            else:
                try:
                    used(found)
                except Exception as error:
                    raise AssertionError(f"{place} = {wrong!r} is accepted and breaks: {error!r}") from error
    assert refused > 1000


def spoil(folder: Path) -> list[Path]:
    """Files that are no records at places of records, beside one that is whole."""
    good = record.write(WHOLE, folder)
    paths = [good.with_name(f"{name}-s0.json") for name in ("text", "latin", "nan", "deep", "folder", "fifo", "lost", "moved", "old")]
    text, latin, nan, deep, directory, fifo, lost, moved, old = paths
    text.write_text("{")
    latin.write_bytes(json.dumps(WHOLE | {"reason": "\xe9"}, ensure_ascii=False).encode("latin-1"))
    nan.write_text(json.dumps(WHOLE | {"seed": math.nan}))
    deep.write_text("[" * 100_000)
    directory.mkdir()
    os.mkfifo(fifo)
    lost.symlink_to("nowhere")
    moved.write_text(json.dumps(WHOLE))
    old.write_text('{"schema": 99}')
    return paths


def test_what_is_no_record_is_set_aside_by_name_and_the_rest_is_used(tmp_path, caplog, monkeypatch):
    paths = spoil(tmp_path)
    monkeypatch.setenv("SUITE_RESULTS", str(tmp_path))
    with caplog.at_level(logging.WARNING, "suite"):
        assert [item["id"] for item in record.read_all()] == [WHOLE["id"]]
        record.read_all()
        assert [item["id"] for item in listing.heads()] == [WHOLE["id"]]
    said = [item.getMessage() for item in caplog.records]
    assert len(said) == len(paths)  # each once
    for path, part in zip(paths, ["Expecting", "codec", "holds NaN", "recursion", "no file", "no file", "no file", "is the record of", "99"],
                          strict=True):
        assert [text for text in said if text.startswith(f"Set aside: '{path}'") and part in text], (path, said)
    listed = CliRunner().invoke(cli_list.command, ["records"], catch_exceptions=False).output
    assert WHOLE["id"].split("/")[2].partition("-s")[0] in listed
    for path in paths[:4]:
        with pytest.raises(UserError, match="is not a record"):
            record.find(path.stem)


def test_findings_of_any_type_become_what_a_record_holds():
    itself: list[Any] = []
    itself.append(itself)
    kept = {None: None, True: True, 3: 3, 2.5: 2.5, "text": "text", (1, (2.0, "a")): [1, [2.0, "a"]]}
    assert all(record.plain(found) == wanted for found, wanted in kept.items())
    assert record.plain({"a": math.nan, 1: -math.inf, "b": [10**400]}) == {"a": None, "1": None, "b": [None]}
    assert record.plain([numpy.float32(1.5), numpy.int64(3), numpy.bool_(True), torch.tensor(2.5), torch.ones(2), numpy.arange(2)]) == [
        1.5, 3, True, 2.5, [1.0, 1.0], [0, 1]]
    assert [type(record.plain(found)) for found in (numpy.float64(1.5), numpy.str_("a"))] == [float, str]
    assert record.plain({"a": {1}, "b": 2}) == {"a": "left out: a set is no number, text, list or mapping", "b": 2}
    assert record.plain(object()).startswith("left out: a object") and record.plain(1j).startswith("left out: a complex")
    assert record.plain("\udcff") == "\\udcff"
    assert "nested more than 20 deep" in json.dumps(record.plain(itself))

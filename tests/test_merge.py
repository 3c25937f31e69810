"""Results of several machines in one folder: nothing is taken silently that differs, and nothing is half-written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from records import record as made
from safetensors.numpy import save_file

from suite import record
from suite.cli.merge import command
from suite.errors import UserError


def put(folder: Path, item: dict, weights: str = "") -> dict:
    """Write a record, with a file that says it has these weights."""
    item = {**item, "weights": weights}
    record.write(item, folder)
    if weights:
        save_file({"x": np.zeros(1, dtype=np.float32)}, folder / f"{item['id']}.safetensors", {"network": json.dumps({"weights": weights})})
    return item


def merge(*words: object, code: int = 0) -> str:
    """What the command says; a UserError is raised."""
    done = CliRunner().invoke(command, [*map(str, words)])
    if isinstance(done.exception, UserError):
        raise done.exception
    assert done.exit_code == code, done.output
    return done.output


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def places(tmp_path, monkeypatch):
    """The results folder and two of other machines, which hold runs 0 and 1, and 1 and 2."""
    monkeypatch.setenv("SUITE_RESULTS", str(tmp_path / "results"))
    left, right = tmp_path / "left", tmp_path / "right"
    put(left, made(seed=0), "aa")
    for folder in (left, right):
        put(folder, made(seed=1))
    put(right, made(seed=2))
    return tmp_path / "results", left, right


def test_records_and_their_weights_are_joined_once(places):
    results, left, right = places
    assert "would take" in merge(left, right, "--dry-run") and not results.exists()
    said = merge(left, right)
    assert said.count("taken from") == 3 and "3 of 3 records were taken" in said
    assert files(results) == files(left) | files(right)
    before = {path: path.stat().st_mtime_ns for path in results.rglob("*")}
    assert "0 of 3 records were taken" in merge(left, right)
    assert before == {path: path.stat().st_mtime_ns for path in results.rglob("*")}
    next(results.rglob("*.safetensors")).unlink()
    assert "1 of 2 records" in merge(left) and files(results) == files(left) | files(right)
    merge(left, "--to", results.parent / "other")
    assert files(results.parent / "other") == files(left)


def test_a_conflict_is_named_and_nothing_is_written_until_somebody_decides(places):
    results, left, right = places
    put(results, made(seed=0), "aa")
    put(right, made(seed=0, top1=70.0, method__digest="other"))
    before = files(results)
    with pytest.raises(UserError) as error:
        merge(left, right)
    for text in ("-s0' differs", str(right), "top1: A 78.0, B 70.0", "code of the method: A method-digest, B other", "1 conflict,"):
        assert text in str(error.value)
    assert files(results) == before
    with pytest.raises(UserError, match="is none of the folders"):
        merge(left, right, "--prefer", results.parent)
    merge(left, right, "--prefer", results)
    assert json.loads(next(results.rglob("*-s0.json")).read_text())["scores"]["top1"] == 78.0
    merge(left, right, "--prefer", right)
    assert files(results) == {name: content for name, content in (files(left) | files(right)).items() if not name.endswith("safetensors")}


def test_the_folders_may_be_in_conflict_with_each_other(places):
    results, left, right = places
    put(right, made(seed=1, curves={"loss": [[0, 1.5]]}))
    with pytest.raises(UserError, match=r"A is in .*left, B in .*right:\n  fields: curves"):
        merge(left, right)
    assert not results.exists()


def test_what_is_no_record_is_refused_by_name_and_the_others_are_taken(places):
    results, left, right = places
    (damaged,) = right.rglob("*-s2.json")
    damaged.write_text(damaged.read_text()[:100])
    said = merge(left, right, code=1)
    assert f"refused: '{damaged}' is not a record" in said and "1 refused" in said
    assert len(list(results.rglob("*.json"))) == 2
    damaged.write_bytes(next(right.rglob("*-s1.json")).read_bytes())
    assert "is the record of" in merge(right, code=1)
    (weights,) = left.rglob("*.safetensors")
    weights.write_bytes(b"no weights")
    assert "does not hold the weights of its record" in merge(left, code=1)
    with pytest.raises(UserError, match="holds no records"):
        merge(left.parent)

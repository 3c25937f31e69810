"""Records of schema 1 are read in the form of schema 2."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from suite import record
from suite.errors import UserError

RESULTS = Path(__file__).parents[1] / "results"
MACHINE = {"cpu": "A CPU", "cores": 2, "id": "aa11"}
OLD = {
    "schema": 1, "id": "coco_detection/kd/0123-s0", "status": "done", "scores": {"AP": 17.0}, "method": {"starts": "scratch"},
    "notes": {"postprocess_ms": 8.5, "whole_ms": 12.0, "postprocess_verdict": "noisy", "latency_ms_300": 2.0, "latency_exponent": 0.8,
              "precision": "bfloat16", "words": "stay"},
    "profile": {"latency": {"one": {}}}, "machine": MACHINE, "code": {"commit": "abc", "dirty": False, "packages": {}},
    "parents": {"teacher": "a", "backbone": "b", "detector": "c", "resnet20": "d", "reference": "e"}, "trained_on": "",
}


def upgraded(tmp_path, **changes):
    (tmp_path / "x.json").write_text(json.dumps({**OLD, **changes}))
    return record.read(tmp_path / "x.json")


def test_an_old_record_by_hand(tmp_path):
    found = upgraded(tmp_path)
    assert found["schema"] == record.SCHEMA == 2 and found["scores"] == OLD["scores"] and found["machine"] == MACHINE
    assert found["notes"] == {"latency_exponent": 0.8, "words": "stay"}
    assert sorted(found["timings"], key=lambda item: item["what"]) == [
        {"what": "latency", "items": 300, "ms": 2.0, "noisy": False}, {"what": "postprocess", "items": None, "ms": 8.5, "noisy": True},
        {"what": "whole", "items": None, "ms": 12.0, "noisy": True}]
    assert found["training"] == {"device": "cpu", "threads": None, "precision": "bfloat16"}
    assert found["timed_on"] == MACHINE and found["untimed"] == "" and found["code"] == {**OLD["code"], "core": ""}
    assert found["roles"] == {"teacher": "teacher", "backbone": "backbone", "detector": "backbone", "resnet20": "teacher",
                              "reference": "reference"}
    assert json.loads((tmp_path / "x.json").read_text()) == OLD  # the file stays as it is


def test_what_an_old_record_did_not_have(tmp_path):
    found = upgraded(tmp_path, notes={"untimed": "the plan differs"}, profile={"latency": None}, method={"starts": "reference"})
    assert found["untimed"] == "the plan differs" and found["timings"] == [] and found["timed_on"] == {} and found["notes"] == {}
    assert found["training"]["precision"] == "" and found["roles"]["resnet20"] == "reference"
    assert upgraded(tmp_path, notes={"postprocess_ms": 1.0}, profile=None)["timed_on"] == MACHINE
    assert upgraded(tmp_path, notes={}, profile={"latency": None})["untimed"] == "its task gives no network to time"


def test_an_old_record_that_lacks_a_part_is_no_record(tmp_path):
    with pytest.raises(UserError, match="is not a record"):
        upgraded(tmp_path, method={})


def test_every_committed_record_is_read_in_the_new_form():
    known = {"reference", "teacher", "backbone"}
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
        assert all(item["ms"] > 0 and item["what"] in ("latency", "postprocess", "whole") for item in found["timings"])
    kd = next(record.read(path) for path in paths if "logit_kd" in path.parts)
    assert kd["roles"] == {"resnet20": "teacher"} and record.parent(kd, "teacher").startswith("cifar10/plain/")


def test_a_parent_is_found_by_its_role():
    made = {"parents": {"b": "two", "a": "one", "c": "three"}, "roles": {"c": "backbone", "b": "teacher", "a": "teacher"}}
    assert record.parent(made, "teacher") == "one" and record.parent(made, "backbone") == "three"
    assert record.parent(made, "reference") == ""

"""The committed records and the networks beside them."""

from __future__ import annotations

import json
from pathlib import Path

from suite import references
from suite.record import read

RESULTS = Path(__file__).parents[1] / "results"


def test_every_record_from_schema_2_on_says_which_code_made_it():
    """Older ones stay, marked, until they are made again. A commit with changes on top of it says so by ``dirty``."""
    for path in RESULTS.glob("*/*/*.json"):
        found = json.loads(path.read_text())
        code = found["code"]
        assert found["schema"] < 2 or (code["commit"] and code["core"] and code["dirty"] in (True, False)), path


def test_networks_are_small_and_those_of_their_records():
    files = sorted(RESULTS.rglob("*.safetensors"))
    for path in files:
        assert path.stat().st_size <= references.LIMIT, path
        found = read(path.with_suffix(".json"))
        assert references.digest_of(references._read(path, found["weights"])) == found["weights"], path
    assert sum(path.stat().st_size for path in files) < references.TOGETHER

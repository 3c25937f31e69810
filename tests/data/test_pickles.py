"""The restricted unpickler: reads what Python 2 and 3 wrote, and runs nothing."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from suite.data.embedded.writing import pickled
from suite.data.pickles import load_pickle
from suite.errors import UserError

CONTENT = {"data": np.arange(12, dtype=np.uint8).reshape(3, 4), "labels": [1, 2, 300_000, -1], "name": "a b"}


class Payload:
    def __init__(self, function, *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def same(found: dict, expected: dict) -> bool:
    return list(found) == list(expected) and all(np.array_equal(found[key], expected[key]) for key in expected)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_reads_every_protocol_of_python_3(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(pickle.dumps({key.encode(): value for key, value in CONTENT.items()}, protocol))
    assert same(load_pickle(path, "file"), CONTENT)


def test_reads_other_orders_and_types(tmp_path: Path) -> None:
    content = {"f": np.asfortranarray(CONTENT["data"]), "big": np.arange(3, dtype=">i4"), "float": np.ones(2)}
    path = tmp_path / "file"
    path.write_bytes(pickle.dumps(content, 4))
    assert same(load_pickle(path, "file"), content)


def test_what_we_write_is_what_python_2_wrote(tmp_path: Path) -> None:
    raw = pickled(CONTENT)
    assert same(pickle.loads(raw, encoding="latin1"), CONTENT)
    as_bytes = pickle.loads(raw, encoding="bytes")
    assert as_bytes[b"name"] == b"a b" and np.array_equal(as_bytes[b"data"], CONTENT["data"])
    path = tmp_path / "file"
    path.write_bytes(raw)
    assert same(load_pickle(path, "file"), CONTENT)


def test_runs_no_code(tmp_path: Path) -> None:
    path, proof = tmp_path / "file", tmp_path / "proof"
    for payload in (
        Payload(os.system, f"touch {proof}"),
        Payload(eval, f"open({str(proof)!r}, 'w')"),
        Payload(np.fromfile, str(proof)),
        Payload(getattr, np.ndarray, "tofile"),
    ):
        for protocol in (0, 2, 4):
            path.write_bytes(pickle.dumps({"data": payload}, protocol))
            with pytest.raises(UserError, match="'batch' wants to run code"):
                load_pickle(path, "batch")
    assert not proof.exists()


def test_objects_hidden_in_arrays_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(pickle.dumps(np.array([None, "text"])))
    with pytest.raises(UserError, match="not a complete pickle"):
        load_pickle(path, "file")


def test_every_cut_gives_one_sentence(tmp_path: Path) -> None:
    raw, path = pickled(CONTENT), tmp_path / "file"
    for length in range(len(raw)):
        path.write_bytes(raw[:length])
        with pytest.raises(UserError, match=r"'file' is not a complete pickle") as caught:
            load_pickle(path, "file")
        assert "\n" not in str(caught.value)


@settings(deadline=None)
@given(where=st.integers(0, 150), value=st.integers(0, 255).filter(lambda value: value != ord("r")))
def test_a_wrong_byte_gives_a_sentence_if_anything(tmp_path_factory: pytest.TempPathFactory, where: int, value: int) -> None:
    """Without LONG_BINPUT ("r"), for which Python itself may reserve any amount of memory."""
    raw = bytearray(pickled(CONTENT))
    raw[where % len(raw)] = value
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(raw)
    try:
        load_pickle(path, "file")
    except UserError as error:
        assert "\n" not in str(error)

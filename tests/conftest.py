"""Records, weights and data of the tests go to a temporary place; embedded data is used unless a test asks for real data."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache and results folder for the whole session, all its processes, so that references are trained once."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "suite"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture
def suite_home(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The shared workspace as the place of records and weights."""
    monkeypatch.setenv("SUITE_CACHE", str(workspace / "cache"))
    monkeypatch.setenv("SUITE_RESULTS", str(workspace / "results"))
    monkeypatch.delenv("SUITE_DATA", raising=False)
    monkeypatch.delenv("SUITE_PLUGINS", raising=False)
    return workspace


@pytest.fixture
def fresh_results(suite_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The shared cache, and a results folder of the test's own."""
    monkeypatch.setenv("SUITE_RESULTS", str(tmp_path / "results"))
    return tmp_path / "results"


@pytest.fixture
def real_data() -> Path:
    """The folder of real data subsets; skips where ``SUITE_DATA`` names none."""
    folder = os.environ.get("SUITE_DATA", "")
    if not folder:
        pytest.skip("SUITE_DATA names no folder of real data")
    return Path(folder)

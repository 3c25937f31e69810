"""A real ``mlflow server`` on loopback: records arrive, can be read back, and its own page lists them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from browsers import chromium, missing
from records import family

from suite.tracking import mirror

RECORDS = [item for seed in range(2) for item in family(seed, {"one_by_n": 1.0})]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The address of a server with an empty store, stopped after the tests."""
    folder = tmp_path_factory.mktemp("server")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = ["server", "--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}", "--artifacts-destination", str(folder / "artifacts"),
             "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (folder / "log").open("w") as log, subprocess.Popen(
            [sys.executable, "-m", "mlflow", *words], cwd=folder, env={**os.environ, **quiet}, stdout=log, stderr=log,
            start_new_session=True) as process:
        try:
            for _ in range(600):
                if process.poll() is not None:
                    pytest.fail((folder / "log").read_text()[-2000:])
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1).close()
                    break
                except OSError:
                    time.sleep(0.5)
            yield f"http://127.0.0.1:{port}"
        finally:
            os.killpg(process.pid, 15)


@pytest.fixture(scope="module")
def mirrored(server, tmp_path_factory):
    """The server after two mirrorings, of which the second has nothing to do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("suite.tracking.SECONDS", 60.0)  # on a busy machine
        patch.setenv("SUITE_RESULTS", "results")
        patch.setenv("SUITE_CACHE", str(tmp_path_factory.mktemp("cache")))
        for _ in range(2):
            said = mirror(RECORDS, server, Path(os.environ["SUITE_CACHE"]), afresh=True)
            assert said == f"MLflow: {len(RECORDS)} runs in {server}."
    return server


def test_records_are_read_back_from_a_server(mirrored):
    from mlflow import MlflowClient

    client = MlflowClient(mirrored)
    experiment = client.get_experiment_by_name("cifar10")
    runs = client.search_runs([experiment.experiment_id], "tags.`suite.id` LIKE '%'")
    parents = client.search_runs([experiment.experiment_id], "tags.`suite.group` LIKE '%'")
    assert {run.data.tags["suite.id"] for run in runs} == {item["id"] for item in RECORDS} and len(runs) == len(RECORDS)
    assert len(parents) == 4 and all("test/top1/low" in run.data.metrics for run in parents)
    assert {item.path for item in client.list_artifacts(runs[0].info.run_id)} == {"record.json"}
    assert experiment.tags["mlflow.experiment.primaryMetric.name"] == "test/top1"


def test_its_own_page_lists_the_runs(mirrored, tmp_path):
    if reason := missing():
        pytest.skip(reason)
    from mlflow import MlflowClient

    experiment = MlflowClient(mirrored).get_experiment_by_name("cifar10").experiment_id
    browser = chromium(tmp_path)
    try:
        browser.get(f"{mirrored}/#/experiments/{experiment}/runs")
        wanted = "one_by_n n=4 sparsity=0.5 short embedded"
        for _ in range(240):
            if wanted in browser.find_element("tag name", "body").text:
                break
            time.sleep(0.5)
        browser.save_screenshot(str(tmp_path / "mlflow.png"))
        assert wanted in browser.find_element("tag name", "body").text
    finally:
        browser.quit()

"""A real ``mlflow server`` on loopback: records arrive, can be read back, and its own page lists them."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from browsers import chromium, missing
from records import family

from suite import record, tracked
from suite.tracking import mirror

RECORDS = [item for seed in range(2) for item in family(seed, {"one_by_n": 1.0})]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def serving(folder: Path, store: str, workers: int = 1) -> Iterator[str]:
    """The address of a server on a `store`, stopped at the end."""
    port = free_port()
    words = ["server", "--backend-store-uri", store, "--artifacts-destination", str(folder / "artifacts"),
             "--host", "127.0.0.1", "--port", str(port), "--workers", str(workers)]
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
def server(tmp_path_factory):
    """The address of a server with an empty store, stopped after the tests."""
    folder = tmp_path_factory.mktemp("server")
    with serving(folder, f"sqlite:///{folder / 'mlflow.db'}") as address:
        yield address


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


@pytest.fixture
def postgres():
    """The URI of an empty PostgreSQL database of the system's own server programs, stopped after the test."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    if not programs:
        pytest.skip("PostgreSQL is not installed here (Debian: apt-get install postgresql)")
    pytest.importorskip("psycopg2")
    root = os.getuid() == 0
    user = "postgres" if root else getpass.getuser()  # it refuses to run as root

    def call(program: str, *words: object) -> None:
        command = [str(programs[-1] / program), *map(str, words)]
        subprocess.run([*(["runuser", "-u", user, "--"] if root else []), *command], check=True, cwd=folder, timeout=300,
                       stdout=subprocess.DEVNULL)

    with tempfile.TemporaryDirectory(prefix="suite-postgres-", dir="/tmp") as name:  # the path of its socket is short
        folder, port = Path(name), free_port()
        if root:
            shutil.chown(folder, user)
        call("initdb", "-D", folder / "data", "--auth", "trust", "--encoding", "UTF8", "--username", "suite")
        call("pg_ctl", "-D", folder / "data", "-l", folder / "log", "-w", "-o", f"-p {port} -k {folder} -h 127.0.0.1", "start")
        try:
            yield f"postgresql+psycopg2://suite@127.0.0.1:{port}/postgres"
        finally:
            call("pg_ctl", "-D", folder / "data", "-m", "immediate", "-w", "stop")


WRITER = """
import sys, time
from pathlib import Path
import mlflow, suite.tracking
from suite import record
suite.tracking.SECONDS = 300.0  # on a busy machine
name, server = sys.argv[1:]
found = record.read_all(Path(name, "results"))
Path(name, "ready").touch()
while not Path("go").exists():
    time.sleep(0.01)
print(suite.tracking.replay(found, server, Path(name, "cache")).sentence)
"""


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_four_machines_write_a_plan_at_once_into_postgresql(postgres, tmp_path):
    """Each has a seed of every configuration, so that all four want to make the same experiment and the same parents."""
    written = {seed: family(seed, {"one_by_n": 1.0, "l1_filter": 2.0}) for seed in range(4)}
    with serving(tmp_path, postgres, workers=4) as address:
        writers = []
        for seed, items in written.items():
            for item in items:
                record.write(item, tmp_path / f"writer{seed}" / "results")
            words = [sys.executable, "-c", WRITER, f"writer{seed}", address]
            writers.append(subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
        while len(list(tmp_path.glob("writer*/ready"))) < 4:
            assert all(writer.poll() is None for writer in writers), [writer.communicate()[0] for writer in writers if writer.poll()]
            time.sleep(0.1)
        (tmp_path / "go").touch()
        for writer in writers:
            assert writer.communicate(timeout=1200)[0] == f"MLflow: 6 runs in {address}.\n"
        _all_arrived([item for items in written.values() for item in items], address)


def _all_arrived(items, address):
    from mlflow import MlflowClient

    client = MlflowClient(address)
    experiment = client.get_experiment_by_name("cifar10").experiment_id
    runs = {run.data.tags.get("suite.id"): run for run in client.search_runs([experiment], "tags.`suite.id` LIKE '%'")}
    parents = {run.data.tags["suite.group"]: run for run in client.search_runs([experiment], "tags.`suite.group` LIKE '%'")}
    assert len(client.search_runs([experiment])) == len(runs) + len(parents) == 24 + 6
    for item in items:
        run = runs[item["id"]]
        assert run.info.status == "FINISHED" and run.data.tags["suite.command"] == item["command"] and run.data.tags["suite.digest"]
        assert run.data.tags["mlflow.parentRunId"] == parents[item["id"].rpartition("-s")[0]].info.run_id
        assert run.data.metrics.keys() == {name for name, _, _ in tracked.points(item)}
        history = Counter((name, point.step, point.value) for name in run.data.metrics for point in client.get_metric_history(run.info.run_id, name))
        assert history == Counter(tracked.points(item))
        assert {name: run.data.params[name] for name in ("seed", "method", "scale")} == {
            "seed": str(item["seed"]), "method": item["method"]["name"], "scale": item["scale"]}
    for group, parent in parents.items():
        scores = [item["scores"]["top1"] for item in items if item["id"].startswith(group)]
        assert parent.data.metrics["test/top1"] == pytest.approx(sum(scores) / 4) and "test/top1/low" in parent.data.metrics

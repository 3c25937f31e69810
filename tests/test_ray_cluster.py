"""A real Ray cluster of two nodes on this machine: what was finished stays, and of what was not at most 20 s are done again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

PATIENT = '''"""A training whose every step takes the seconds in SUITE_PATIENCE and is written down in SUITE_BOOK."""

import os
import time
from dataclasses import dataclass

import torch

from suite.artifacts import Network
from suite.contract import Method, Paper, option
from suite.nn import build
from suite.train import Recipe, train


@dataclass
class Patient(Method):
    """As plain, slowly."""

    paper = Paper("An example", "Nobody", "nowhere", 2026, "https://example.org")
    takes = ("Classification",)
    gives = "Network"

    arch: str = option("resnet8", "network")

    def fit(self, setting, run):
        def augment(images, generator):
            with open(os.environ["SUITE_BOOK"], "a") as book:
                print(os.getpid(), file=book)
            time.sleep(float(os.environ["SUITE_PATIENCE"]))
            return setting.augment(images, generator)

        torch.manual_seed(run.seed("weights"))
        network = build(self.arch, setting.classes, setting.shape[1])
        train(network, setting.train, run, augment=augment, recipe=Recipe(rate=0.1, batch=32))
        return Network(network)
'''
STEPS, PATIENCE = 16, 4.0  # of the training above at smoke, and the seconds of each


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A folder with the method above among the plug-ins, as the command and all nodes of a cluster see it."""
    (tmp_path / "plugins" / "baselines").mkdir(parents=True)
    (tmp_path / "plugins" / "baselines" / "patient.py").write_text(PATIENT)
    for name in ("SUITE_DATA", "SUITE_RESULTS", "SUITE_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SUITE_PLUGINS", str(tmp_path / "plugins"))
    monkeypatch.setenv("SUITE_PATIENCE", str(PATIENCE))
    monkeypatch.setenv("SUITE_BOOK", str(tmp_path / "book"))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    return tmp_path


@pytest.fixture
def cluster(home):
    """A head that computes nothing, and two nodes of one CPU that may time; as a cluster with its `nodes`."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        made.nodes = [made.add_node(num_cpus=1, resources={"suite_timing": 1}) for _ in range(2)]
        yield made
    finally:
        made.shutdown()


def started(home: Path, name: str, *words: str, **env: str) -> subprocess.Popen[str]:
    env = {**os.environ, "SUITE_RESULTS": str(home / name / "results"), "SUITE_CACHE": str(home / name / "cache"), **env}
    return subprocess.Popen([sys.executable, "-m", "suite", "run", "cifar10", *words, "--scale", "smoke", "--data", "embedded"],
                            env=env, cwd=home, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def records(home: Path, name: str) -> dict[str, dict]:
    return {path.relative_to(home / name / "results").as_posix(): json.loads(path.read_text())
            for path in (home / name / "results").rglob("*-s*.json")}


def kill(process: int, what: str, cluster) -> None:
    """End a worker, or the whole node that it belongs to, without a word."""
    if what == "worker":
        os.kill(process, signal.SIGKILL)
        return
    parent = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    (node,) = [item for item in cluster.nodes if item.all_processes["raylet"][0].process.pid == parent]
    cluster.remove_node(node, allow_graceful=False)


@pytest.mark.parametrize("what", ["worker", "node"])
def test_a_killed_worker_loses_no_finished_run_and_little_of_an_unfinished_one(home, cluster, what):
    command = started(home, "ray", "patient,plain", "plain.arch=resnet8", "--engine", f"ray={cluster.address}")
    deadline = time.monotonic() + 600
    while not (list((home / "ray" / "cache").rglob("*.checkpoint.pt")) and list((home / "ray" / "results").rglob("plain/*.json"))):
        assert command.poll() is None and time.monotonic() < deadline, command.communicate()[0]
        time.sleep(0.1)
    (finished,) = (home / "ray" / "results").rglob("plain/*.json")
    before = json.loads(finished.read_text())
    kill(int((home / "book").read_text().split()[-1]), what, cluster)
    said, _ = command.communicate(timeout=900)
    assert command.returncode == 0, said
    processes = (home / "book").read_text().split()
    first, second = processes.count(processes[0]), processes.count(processes[-1])
    assert first + second == len(processes) and second < STEPS, "it began again"
    assert len(processes) <= STEPS + 20 / PATIENCE + 2, "more than 20 s were lost"
    after = json.loads(finished.read_text())
    assert after["time"]["started"] == before["time"]["started"]

    whole = started(home, "local", "patient,plain", "plain.arch=resnet8", SUITE_PATIENCE="0")
    assert whole.wait(600) == 0
    found, expected = records(home, "ray"), records(home, "local")
    assert found.keys() == expected.keys() and len(found) == 2
    for name, made in found.items():
        for key in ("status", "scores", "curves", "budget", "weights"):
            assert made[key] == expected[name][key], (name, key)
        assert made["untimed"] == "" and made["profile"]["latency"] and made["timed_on"]["id"] == made["machine"]["id"]
        assert (home / "ray" / "cache" / "runs" / name.removesuffix(".json") / "artifact.pt").exists()


def test_without_a_marked_node_runs_are_recorded_and_it_says_how_to_time_them(home):
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    unmarked = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    try:
        words = ("one_by_n", "arch=resnet8", "sparsity=0.5", "--engine", f"ray={unmarked.address}")
        command = started(home, "ray", *words)
        said, _ = command.communicate(timeout=900)
        assert command.returncode == 0 and "no node has the resource 'suite_timing'" in said, said
        found = records(home, "ray")
        assert len(found) == 3 and all(item["untimed"] == "not timed yet" for item in found.values())
        assert list((home / "ray" / "results").rglob("one_by_n/*.safetensors")), "small weights lie beside the records"
        refused = started(home, "ray", *words, "--threads", "3")
        assert "No node of the Ray cluster has 3 CPUs" in refused.communicate(timeout=300)[0] and refused.returncode == 2
    finally:
        unmarked.shutdown()

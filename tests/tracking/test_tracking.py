"""Mirroring into MLflow, read back through its own client; servers that do not answer; no import where nothing is new."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from records import record as whole

from suite import record as records_
from suite import store
from suite.cli import track
from suite.errors import UserError
from suite.paths import run_folder
from suite.tracking import _known, default_uri, mirror, replay


def record(seed: int = 0, top1: float = 78.0, **changes: Any) -> dict[str, Any]:
    """A finished record with one block per part that the mirror reads."""
    way = {"median_ms": 2.0}
    return {
        "id": f"cifar10/one_by_n/0123456789ab-s{seed}", "status": "done", "reason": "",
        "task": {"name": "cifar10", "options": {"size": 32}, "primary": "top1",
                 "metrics": [{"name": "top1", "unit": "%", "higher_is_better": True, "bounds": [0, 100]}],
                 "source": {"kind": "embedded", "name": "cifar10", "digest": "ab" * 32, "counts": {"train": 9000, "test": 1000}}},
        "method": {"name": "one_by_n", "options": {"n": 4, "sparsity": 0.5}, "summary": "Blocks of N output channels.",
                   "paper": {"title": "A paper", "url": "https://example.org/paper"}},
        "seed": seed, "scale": "short", "scores": {"top1": top1}, "notes": {"retained_l1": 0.61, "why": "text"},
        "curves": {"loss": [[0, 2.5], [10, None], [20, 1.5]], "top1 (val)": [[20, 70.0]]},
        "steps": [], "ledger": {}, "timings": [], "budget": {"allowed": 100, "total": 90, "final": 80}, "timed_on": {"id": "bb22"},
        "training": {"device": "cpu", "threads": 1, "precision": "bfloat16"},
        "profile": {"params": 272474, "macs": 40551000, "macs_effective": 20500000,
                    "latency": {"one": {"threads": 1, "torch": {"median_ms": 4.0}, "dense": way, "sparse": {"median_ms": 1.25}},
                                "all": {"threads": 2, "torch": way, "dense": way, "sparse": way}}},
        "time": {"started": "2026-11-21T02:00:00Z", "seconds": {"total": 67.0}}, "machine": {"id": "aa11"},
        "command": f"suite run cifar10 one_by_n n=4 sparsity=0.5 --seed {seed}", "code": {"commit": "abc1234", "dirty": False},
        **changes,
    }


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store for all tests: MLflow takes seconds to create one."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def own_folders(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUITE_CACHE", str(cache))
    monkeypatch.setenv("SUITE_RESULTS", "results")


def runs(cache: Path, tag: str, task: str = "cifar10") -> list[Any]:
    from mlflow import MlflowClient

    client = MlflowClient(default_uri(cache))
    experiment = client.get_experiment_by_name(task).experiment_id
    return client.search_runs([experiment], f"tags.`{tag}` LIKE '%'", order_by=["tag.`suite.id`"])


def test_everything_is_read_back(cache: Path) -> None:
    from mlflow import MlflowClient

    first, second = record(0, 78.0), record(1, 80.0)
    figures = run_folder(first["id"]) / "figures"
    figures.mkdir(parents=True)
    (figures / "masks.png").write_bytes(b"png")
    (figures.parent / "layers.json").write_text("[]")
    said = mirror([first, second], None, cache)
    assert said.startswith("MLflow: 2 runs in sqlite") and "suite ui" in said
    client = MlflowClient(default_uri(cache))
    [run, other], [parent] = runs(cache, "suite.id"), runs(cache, "suite.group")
    assert run.info.status == "FINISHED" and run.info.run_name == "one_by_n n=4 sparsity=0.5 short embedded seed 0"
    assert run.info.end_time - run.info.start_time == 67000
    assert run.data.params == {"method": "one_by_n", "n": "4", "sparsity": "0.5", "task.size": "32", "scale": "short",
                               "seed": "0", "source": "embedded", "training.device": "cpu", "training.threads": "1",
                               "training.precision": "bfloat16"}
    wanted = {"test/top1": 78.0, "note/retained_l1": 0.61, "cost/macs": 40551000, "cost/macs_effective": 20500000,
              "cost/params": 272474, "cost/latency_ms": 1.25, "cost/latency/one/torch/median_ms": 4.0, "cost/latency/all/sparse/median_ms": 2.0}
    assert wanted.items() <= run.data.metrics.items()
    assert [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, "loss")] == [(0, 2.5), (20, 1.5)]
    assert run.data.metrics["top1 _val_"] == 70.0
    [data] = run.inputs.dataset_inputs
    assert data.dataset.digest == ("ab" * 32)[:36] and data.dataset.name == "cifar10"
    assert {item.path for item in client.list_artifacts(run.info.run_id)} == {"record.json", "layers.json", "figures"}
    stored = client.download_artifacts(run.info.run_id, "record.json")
    assert json.loads(Path(stored).read_text()) == first
    assert "https://example.org/paper" in run.data.tags["mlflow.note.content"]
    assert {run.data.tags["mlflow.parentRunId"], other.data.tags["mlflow.parentRunId"]} == {parent.info.run_id}
    assert "seed" not in parent.data.params
    assert parent.data.metrics["test/top1"] == 79.0 and "cost/macs/deviation" not in parent.data.metrics
    assert parent.data.metrics["test/top1/deviation"] == pytest.approx(2**0.5)
    assert parent.data.metrics["test/top1/high"] == pytest.approx(79 + 12.7062047)  # t(1) = 12.706, s / sqrt(n) = 1
    assert parent.info.run_name == "one_by_n n=4 sparsity=0.5 short embedded all seeds"
    assert parent.inputs.dataset_inputs[0].dataset.digest == data.dataset.digest
    assert run.data.tags["mlflow.source.name"] == first["command"] and run.data.tags["mlflow.source.git.commit"] == "abc1234"
    tags = client.get_experiment(run.info.experiment_id).tags
    view = json.loads(json.loads(tags["mlflow.sharedViewState.suite"])["state"])
    assert {"params.`method`", "metrics.`test/top1`", "metrics.`cost/latency_ms`"} <= set(view["selectedColumns"])
    assert tags["mlflow.experiment.primaryMetric.name"] == "test/top1" and tags["mlflow.experimentKind"] == "custom_model_development"


def test_twice_changes_nothing_and_a_change_replaces(cache: Path) -> None:
    mirror([record(0), record(1, 80.0)], None, cache, afresh=True)
    before = {run.info.run_id for run in runs(cache, "suite.id")}
    mirror([record(0), record(1, 80.0)], None, cache, afresh=True)
    assert {run.info.run_id for run in runs(cache, "suite.id")} == before and len(before) == 2
    mirror([record(0), record(1, 82.0)], None, cache)
    kept, changed = runs(cache, "suite.id")
    assert kept.info.run_id in before and changed.info.run_id not in before
    assert changed.data.metrics["test/top1"] == 82.0
    [parent] = runs(cache, "suite.group")
    assert parent.data.metrics["test/top1"] == 80.0


def test_runs_without_profile_or_scores_are_mirrored_too(cache: Path) -> None:
    ends = {"skipped": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}
    empty = {"profile": None, "scores": {}, "curves": {}, "notes": {}}
    task = {**record()["task"], "name": "other"}
    mirror([record(seed, **empty, status=status, reason="because", task=task, id=f"other/one_by_n/0-s{seed}")
            for seed, status in enumerate(ends)], None, cache)
    made = runs(cache, "suite.id", "other")
    assert [run.info.status for run in made] == list(ends.values())
    assert "skipped: because" in made[0].data.tags["mlflow.note.content"]


def test_nothing_new_imports_no_mlflow(cache: Path) -> None:
    mirror([record(0)], None, cache)
    code = ("import sys, json, pathlib; from suite.tracking import mirror; "
            "print(mirror([json.loads(sys.argv[1])], None, pathlib.Path(sys.argv[2])), 'mlflow' in sys.modules)")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-P", "-c", code, json.dumps(record(0)), str(cache)], capture_output=True, text=True,
                          check=True, env=environment)
    assert done.stdout.startswith("MLflow: 1 run in") and done.stdout.endswith("False\n")


def test_a_lost_store_is_filled_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr("suite.tracking._Store.__init__", lambda self, uri, cache: None)
    monkeypatch.setattr("suite.tracking._Store.put", lambda self, fresh: asked.append(len(fresh)) or {})
    for _ in range(2):  # no database file appears, so what was mirrored counts for nothing
        mirror([record(0)], None, tmp_path)
    assert asked == [1, 1]


def nonsense(server: socket.socket) -> None:
    connection, _ = server.accept()
    connection.sendall(b"220 mail.example.org\r\n")
    connection.close()


@pytest.mark.parametrize("kind", ["closed", "silent", "nonsense"])
def test_a_server_that_does_not_answer_costs_seconds_and_a_sentence(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("suite.tracking.SECONDS", 1.0)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{server.getsockname()[1]}"
        if kind != "closed":
            server.listen()
        if kind == "nonsense":
            threading.Thread(target=nonsense, args=(server,), daemon=True).start()
        start = time.monotonic()
        said = mirror([record(0)], uri, tmp_path)
    assert time.monotonic() - start < 3
    assert said.startswith(f"The MLflow server at {uri} did not answer (")
    assert said.endswith(f"the records are safe in results/, replay them with: suite track --track {uri}")
    assert not (tmp_path / "mlflow-mirrored.json").exists()


def test_a_store_that_refuses_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("suite.tracking._Store.__init__", lambda self, uri, cache: None)
    monkeypatch.setattr("suite.tracking._Store.put", refuse)
    said = mirror([record(0)], None, tmp_path)
    assert "refused (" in said and "the records are safe in results/" in said


@pytest.mark.parametrize("text", ["torn", "[1]", "3", '{"a": 1}', "null"])
def test_what_was_mirrored_is_looked_up_again_where_its_file_holds_something_else(text: str, tmp_path: Path) -> None:
    (tmp_path / "mlflow-mirrored.json").write_text(text)
    assert _known(tmp_path) == {}


def test_a_damaged_store_is_set_aside_and_made_again(tmp_path: Path) -> None:
    (tmp_path / "mlflow-mirrored.json").write_text("[1]")
    (tmp_path / "mlflow.db").write_text("not a database")
    made = replay([record(0), record(1)], None, tmp_path)
    assert made.runs == 2 and made.sentence.startswith("The local MLflow store was damaged (file is not a database); it is '")
    assert (tmp_path / "mlflow.db.damaged-1").read_text() == "not a database" and len(runs(tmp_path, "suite.id")) == 2


def test_half_a_store_is_recognised(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    assert store.damage(path) == "" and not store.busy(path)
    with closing(sqlite3.connect(path)) as database:
        for name in sorted(store.TABLES)[:-1]:
            database.execute(f"CREATE TABLE {name} (x)")
        database.commit()
        assert store.damage(path) == "it has no table 'tags'"
        database.execute("CREATE TABLE tags (x)")
        database.commit()
        assert store.damage(path) == "" and not store.busy(path)
        database.execute("BEGIN IMMEDIATE")
        assert store.damage(path) == "" and store.busy(path)  # another process writes: that is no damage


def test_a_record_that_the_store_refuses_is_named_and_the_others_are_mirrored(cache: Path) -> None:
    names = {"acc@1": 3.0, "acc_1": 4.0, "..": 1.0, "a//b": 2.0, "x" * 300: 5.0, "nan": None}
    task = {**record()["task"], "name": "refusing"}
    bad = record(0, task=task, id="refusing/bad/0-s0", time={"started": "0001-01-01T00:00:00Z", "seconds": {"total": 1.0}})
    good = record(1, task=task, id="refusing/good/0-s1", notes=names)
    made = replay([bad, good], None, cache)
    assert made.runs == 1 and "It refused 'refusing/bad/0-s0' (MlflowException: " in made.sentence and "1 run in" in made.sentence
    [run] = runs(cache, "suite.id", "refusing")
    notes = {name: item for name, item in run.data.metrics.items() if name.startswith("note/")}
    assert notes == {"note/acc_1": 3.0, "note/acc_1_2": 4.0, "note/_": 1.0, "note/a/_/b": 2.0, f"note/{'x' * 245}": 5.0}
    assert replay([bad, good], None, cache).runs == 1  # and it is tried again


def test_track_that_mirrored_nothing_says_why_and_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUITE_RESULTS", str(tmp_path))
    with pytest.raises(UserError, match="there are no records in"):
        CliRunner().invoke(track.command, catch_exceptions=False)
    records_.write(whole(), tmp_path)
    with pytest.raises(UserError, match="The MLflow server at http://127.0.0.1:1 did not answer"):
        CliRunner().invoke(track.command, ["--track", "http://127.0.0.1:1"], catch_exceptions=False)


def numbers(item: Any, path: str = "") -> dict[str, list[float]]:
    """The numbers below a part of a record, by their path; those of a list in order under one."""
    if isinstance(item, dict):
        return {name: found for key, part in item.items() for name, found in numbers(part, f"{path}/{key}").items()}
    found = [part for part in item if isinstance(part, int | float)] if isinstance(item, list) else [item]
    return {path: [float(part) for part in found]} if found and not isinstance(found[0], str | None) else {}


def test_every_number_of_one_system_of_each_kind_reaches_the_store(cache: Path) -> None:
    from mlflow import MlflowClient

    kinds = {}
    for item in records_.read_all(Path(__file__).parents[2] / "results"):
        kinds.setdefault((item["task"]["name"], tuple(item["method"]["tags"])), item)
    yields = record(7, steps=[{"top1": 70.0, "forgetting": 0.0}, {"top1": 58.0, "forgetting": 9.5}], ledger={"queries": 120.0},
                    timings=[{"what": "latency", "items": 300, "ms": 2.5, "noisy": True}], id="yields/yields/0123-s7",
                    profile={"macs": 40551000, "ops": {"add": 3, "xnor": 7.5}, "arithmetic": "int8"},
                    task={**record()["task"], "name": "yields"})
    chosen = [*kinds.values(), yields]
    for item in chosen:
        (run_folder(item["id"]) / "figures").mkdir(parents=True, exist_ok=True)
        (run_folder(item["id"]) / "figures" / "shown.png").write_bytes(b"png")
    assert len(chosen) > 10 and "refused" not in mirror(chosen, None, cache)
    client = MlflowClient(default_uri(cache))
    for item in chosen:
        run, = [run for run in runs(cache, "suite.id", item["task"]["name"]) if run.data.tags["suite.id"] == item["id"]]
        wanted = {"test": item["scores"], "note": item["notes"], "ledger": item["ledger"], "cost": item["profile"] or {},
                  "budget": item["budget"], "seconds": item["time"]["seconds"],
                  "step": {name: [step[name] for step in item["steps"]] for name in (item["steps"] or [{}])[0]},
                  "timing": {part["what"] + (f"/{part['items']}" if part["items"] else ""): part["ms"] for part in item["timings"]}}
        for name, values in numbers(wanted).items():
            history = sorted(client.get_metric_history(run.info.run_id, name.lstrip("/")), key=lambda point: point.step) \
                if len(values) > 1 else [run.data.metrics[name.lstrip("/")]]
            assert [getattr(point, "value", point) for point in history] == pytest.approx(values), (item["id"], name)
        for name, curve in item["curves"].items():
            assert len(client.get_metric_history(run.info.run_id, name.replace("(", "_").replace(")", "_"))) == len(
                [point for point in curve if point[1] is not None])
        assert {f"training.{key}": str(text) for key, text in item["training"].items()}.items() <= run.data.params.items()
        assert run.data.tags["suite.timed_on"] == item["timed_on"].get("id", "")
        kernel = records_.value(item, "profile.kernel") or {}
        said = {f"cost.kernel.{key}": text for key, text in kernel.items() if isinstance(text, str)}
        assert said.items() <= run.data.params.items() and (item is not yields or run.data.params["cost.arithmetic"] == "int8")
        assert [found.path for found in client.list_artifacts(run.info.run_id, "figures")] == ["figures/shown.png"]

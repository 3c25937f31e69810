"""Runs side by side: the same records as one after the other, in the right order, and nothing lost with a process."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from suite import plan
from suite.context import Budget, Run
from suite.errors import UserError
from suite.launch import launch, processes


def spec(name: str, *needs: SimpleNamespace, does: str = "done") -> SimpleNamespace:
    """As much of a spec as launching needs."""
    return SimpleNamespace(id=f"task/{name}/0-s0", options="seed=0", needs={item.id: item for item in needs}, trained_on=None, does=does)


def execute(item, report=None, timing=None):
    """A run that writes down when it began and ended, and with whom it shared its process."""
    book = Path(os.environ["SUITE_BOOK"]) / item.id.split("/")[1]
    book.write_text(json.dumps({"begin": time.time(), "process": os.getpid(), "timing": str(timing)}))
    if item.does == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if item.does == "mistake":
        raise UserError("mend this")
    for done in range(3):
        if report:
            report("train", done, 3)
        time.sleep(0.05)
    book.write_text(json.dumps({**json.loads(book.read_text()), "end": time.time()}))
    return {"status": item.does, "reason": "because"}


@pytest.fixture
def book(tmp_path, monkeypatch):
    monkeypatch.setenv("SUITE_BOOK", str(tmp_path))
    here = str(Path(__file__).parent)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([here, os.environ.get("PYTHONPATH", "")]))  # for the workers
    monkeypatch.syspath_prepend(here)
    import test_launch

    return lambda name: json.loads((tmp_path / name).read_text()), test_launch.execute


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_others_rest_on_comes_first_and_failures_stop_no_other(book, jobs):
    read, made = book
    first, second = spec("first"), spec("second", does="mistake")
    child, dead, last = spec("child", first), spec("dead", does="die" if jobs > 1 else "failed"), spec("last", second)
    said: list[str] = []
    mistakes = launch([first, second, dead, child, last], made, say=said.append, jobs=jobs, show_progress=False)
    lost = ["'task/dead/0-s0' was lost: its process ended with code -9; the same command goes on from its last checkpoint"]
    assert sorted(map(str, mistakes)) == (lost if jobs > 1 else []) + ["mend this"]
    assert read("first")["end"] <= read("child")["begin"] and "end" in read("last")
    text = "\n".join(said)
    assert text.count("[") >= 5 and "not run: task/second/0-s0: mend this" in text
    assert ("lost: task/dead/0-s0: its process ended with code -9" if jobs > 1 else "failed: task/dead/0-s0: because") in text
    assert len({read(name)["process"] for name in ("first", "child", "last")} - {os.getpid()}) == (0 if jobs == 1 else len(
        {read(name)["process"] for name in ("first", "child", "last")}))


def test_two_runs_are_at_work_at_once(book):
    read, made = book
    launch([spec("one"), spec("two"), spec("three")], made, say=lambda sentence: None, jobs=2, show_progress=False)
    begins, ends = [read(name)["begin"] for name in ("one", "two")], [read(name)["end"] for name in ("one", "two")]
    assert len({read(name)["process"] for name in ("one", "two", "three")}) == 2 and read("one")["timing"] != "None"
    assert max(begins) < min(ends) or abs(begins[0] - begins[1]) < 5  # the second process may still have been starting


def test_nothing_is_given_while_another_run_of_the_plan_is_timed(tmp_path):
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        marker = tmp_path / str(other.pid)
        marker.touch()
        (tmp_path / str(os.getpid())).touch()  # its own timing does not stop it
        run, given = Run(0, "smoke", Budget(0), tmp_path, tmp_path, timing=tmp_path), []
        thread = threading.Thread(target=lambda: given.extend(run.progress(range(3), "train")))
        thread.start()
        thread.join(0.5)
        assert thread.is_alive() and given == []
        marker.unlink()
        thread.join(5)
        assert given == [0, 1, 2]
        marker.touch()
        other.kill()
        other.wait()
        assert list(run.progress(range(2), "train")) == [0, 1]  # whoever was timing is gone
    finally:
        other.kill()


def suite(*words: object, home: Path) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "SUITE_RESULTS": str(home / "results"), "SUITE_CACHE": str(home / "cache"), "OMP_NUM_THREADS": "2"}
    env.pop("SUITE_DATA", None)
    return subprocess.run([sys.executable, "-m", "suite", *map(str, words)], env=env, cwd=home, capture_output=True, text=True, timeout=500)


def test_a_grid_gives_the_same_records_side_by_side_and_is_timed_at_its_end(tmp_path):
    words = ("run", "cifar10", "one_by_n,magnitude", "arch=resnet8", "sparsity=0.5", "--scale", "smoke")
    found = {}
    for jobs in (1, 2):
        home = tmp_path / str(jobs)
        home.mkdir()
        done = suite(*words, "--jobs", jobs, home=home)
        assert done.returncode == 0, done.stderr
        found[jobs] = {path.stem: json.loads(path.read_text()) for path in (home / "results").rglob("*-s0.json")}
        lines = done.stderr.splitlines()
        assert max(place for place, line in enumerate(lines) if line.startswith("[")) < min(
            place for place, line in enumerate(lines) if line.startswith("timing "))
    assert found[1].keys() == found[2].keys() and len(found[1]) == 4
    for name, one in found[1].items():
        two = found[2][name]
        assert all(one[key] == two[key] for key in ("scores", "curves", "budget", "ledger", "training", "parents", "code"))
        assert one["training"]["threads"] == 1 and one["untimed"] == two["untimed"] == "" and one["profile"]["latency"]


def test_a_plan_that_was_stopped_before_its_timings_is_only_timed(tmp_path):
    words = ("run", "cifar10", "plain", "arch=resnet8", "--scale", "smoke")
    (tmp_path / "home").mkdir()
    assert suite(*words, home=tmp_path / "home").returncode == 0
    (path,) = (tmp_path / "home" / "results").rglob("*-s0.json")
    made = json.loads(path.read_text())
    path.write_text(json.dumps({**made, "untimed": "not timed yet", "timed_on": {}, "profile": {**made["profile"], "latency": None}}))
    again = suite(*words, home=tmp_path / "home")
    assert "timing cifar10/plain" in again.stderr
    after = json.loads(path.read_text())
    assert after["time"]["started"] == made["time"]["started"] and after["profile"]["latency"] and after["untimed"] == ""


def test_threads_are_part_of_what_a_run_is(suite_home):
    one, two = (plan.specs("cifar10", [("plain", {})], [0], "smoke", threads=threads).wanted[0] for threads in (1, 2))
    assert one.fingerprint != two.fingerprint and "--threads 2" in two.command and "--threads" not in one.command


def test_a_run_whose_command_was_killed_has_not_failed(tmp_path):
    """Nobody hears of its progress any more: it stops as if by its user, and no record says that it failed."""
    ours, theirs = processes.multiprocessing.get_context("spawn").Pipe()
    ours.send_bytes(pickle.dumps("a spec"))
    ours.close()
    ends: list[str] = []

    def at_work(spec, report, timing):
        try:
            report("train", 1, 3)
            ends.append("goes on")
        except Exception:  # as the runner catches whatever fit raises
            ends.append("failed")
        except KeyboardInterrupt:
            ends.append("interrupted")
            raise

    processes._work(theirs, at_work, tmp_path, os.getppid())
    assert ends == ["interrupted"]


def test_workers_end_with_the_command_that_started_them(monkeypatch):
    ended = []
    monkeypatch.setattr(processes.os, "_exit", ended.append)
    processes._end_with(parent=1 if os.getppid() != 1 else 2)
    assert ended == [1]

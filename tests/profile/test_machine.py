"""The machine, the packages and the commit, as records keep them."""

import getpass
import json
import os
import platform
import subprocess
import sys

import pytest

from suite.profile import commit, machine, packages
from suite.profile.machine import _quota, physical_cores


def git(folder, *arguments):
    identity = ["-c", "user.name=somebody", "-c", "user.email=somebody@example.org"]
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path):
    folder = tmp_path / "checkout"
    (folder / "code").mkdir(parents=True)
    (folder / "results").mkdir()
    (folder / "code" / "a.py").write_text("one = 1\n")
    (folder / "results" / "r.json").write_text("{}\n")
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "first")
    return folder


def test_machine_is_complete_stable_and_anonymous():
    found = machine()
    assert set(found) == {"cpu", "cores", "features", "id", "system"} and found == machine()
    assert found["cpu"] and 1 <= found["cores"] <= os.cpu_count() and len(found["id"]) == 12
    text = json.dumps(found)
    assert platform.node() not in text and (getpass.getuser() not in text)


def test_cores_follow_the_affinity():
    if not hasattr(os, "sched_setaffinity") or physical_cores() < 2:
        pytest.skip("needs two cores and an affinity to set")
    program = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); " \
              "from suite.profile.machine import machine; print(machine()['cores'])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"


def test_cores_follow_a_containers_quota(tmp_path):
    file = tmp_path / "cpu.max"
    assert _quota(file) == float("inf")
    for text, granted in (("max 100000\n", float("inf")), ("150000 100000\n", 2), ("50000 100000\n", 1)):
        file.write_text(text)
        assert _quota(file) == granted


def test_packages_name_what_is_installed():
    import torch

    found = packages()
    assert found["torch"].split("+")[0] == torch.__version__.split("+")[0] and all(found.values())


def test_commit_of_a_checkout(checkout):
    clean = commit(checkout / "code")
    assert len(clean["commit"]) == 12 and clean["dirty"] is False
    (checkout / "code" / "new.py").write_text("")  # untracked
    (checkout / "results" / "r.json").write_text('{"a": 1}\n')  # a run's own doing
    assert commit(checkout / "code") == clean
    (checkout / "code" / "a.py").write_text("one = 2\n")
    assert commit(checkout / "code") == clean | {"dirty": True}


def test_commit_of_no_checkout(checkout, tmp_path):
    nothing = {"commit": "", "dirty": False}
    assert commit(tmp_path) == nothing and commit(tmp_path / "absent") == nothing
    (checkout / "environment").mkdir()
    (checkout / "environment" / "module.py").write_text("")  # inside the checkout, but not tracked by it
    assert commit(checkout / "environment") == nothing

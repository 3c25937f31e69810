"""The machine, the packages and the commit, as records keep them."""

import getpass
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

import suite
from suite.profile import commit, machine, packages
from suite.profile.machine import _quota, checkout, physical_cores


def git(folder, *arguments):
    identity = ["-c", "user.name=somebody", "-c", "user.email=somebody@example.org"]
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)


@pytest.fixture
def clone(tmp_path):
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


def test_commit_of_a_checkout(clone):
    clean = checkout(clone / "code")
    assert len(clean["commit"]) == 12 and clean["dirty"] is False
    (clone / "code" / "new.py").write_text("")  # untracked
    (clone / "results" / "r.json").write_text('{"a": 1}\n')  # a run's own doing
    assert checkout(clone / "code") == clean
    (clone / "code" / "a.py").write_text("one = 2\n")
    assert checkout(clone / "code") == clean | {"dirty": True}


def test_commit_of_no_checkout(clone, tmp_path):
    nothing = {"commit": "", "dirty": False}
    assert checkout(tmp_path) == nothing and checkout(tmp_path / "absent") == nothing
    (clone / "environment").mkdir()
    (clone / "environment" / "module.py").write_text("")  # inside the checkout, but not tracked by it
    assert checkout(clone / "environment") == nothing


def test_the_code_is_that_of_its_own_checkout_or_build_never_of_the_folder_one_is_in(clone, tmp_path, monkeypatch):
    monkeypatch.chdir(clone)  # another project's
    installed = clone / "environment"  # as a virtual environment may lie in a checkout
    installed.mkdir()
    (installed / "module.py").write_text("")
    assert commit(installed) == {"commit": "", "dirty": False}, "nothing was written by a build without git"
    built = {"commit": "0123456789ab", "dirty": True}
    (installed / "commit.json").write_text(json.dumps(built))
    assert commit(installed) == built
    (clone / "code" / "commit.json").write_text(json.dumps(built))  # left over from a build
    assert commit(clone / "code") == checkout(clone) != built
    monkeypatch.chdir(tmp_path)
    assert commit() == commit(Path(suite.__file__).parent)


def test_the_build_finds_the_commit_with_the_same_function():
    """CMake runs the file alone: it may import nothing but the standard library."""
    file = str(Path(suite.__file__).with_name("profile") / "machine.py")
    program = f"import runpy, pathlib; print(runpy.run_path({file!r})['checkout'](pathlib.Path('.')))"
    done = subprocess.run([sys.executable, "-S", "-c", program], capture_output=True, text=True, check=True)
    assert "'commit'" in done.stdout

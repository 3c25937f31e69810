"""Building the kernel's test driver with CMake, once per kind."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """``build(*settings)`` gives the folder where CMake has built the driver with ``-Dname=value`` settings; skips without tools."""
    made: dict[tuple[str, ...], Path] = {}

    def build(*settings: str) -> Path:
        if shutil.which("cmake") is None:
            pytest.skip("cmake is missing; type: pip install cmake")
        if settings not in made:
            folder = tmp_path_factory.mktemp("build")
            jobs = ["--parallel", str(len(os.sched_getaffinity(0)))]
            run("cmake", "-S", ROOT, "-B", folder, "-DSUITE_DRIVER=ON", *(f"-D{setting}" for setting in settings))
            run("cmake", "--build", folder, *jobs)
            made[settings] = folder
        return made[settings]

    return build


def run(*words: object) -> None:
    """Run a command; its whole output is the failure."""
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True)
    if done.returncode:
        pytest.fail(f"{' '.join(map(str, words))}\n{done.stdout}\n{done.stderr}", pytrace=False)

"""The driver under sanitizers: every chain of layers right, no access out of bounds, no undefined step, no data race."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

CASES = {"address,undefined": 1200, "thread": 600}


@pytest.mark.parametrize("kind", CASES)
def test_the_kernel_is_clean(kind, build):
    folder = build("CMAKE_BUILD_TYPE=RelWithDebInfo", f"CMAKE_CXX_FLAGS=-fsanitize={kind} -fno-sanitize-recover=all -fno-omit-frame-pointer")
    same = ["setarch", "-R"] if kind == "thread" and shutil.which("setarch") else []  # old runtimes cannot place their shadow else
    done = subprocess.run([*same, str(folder / "driver"), str(CASES[kind])], capture_output=True, text=True,
                          env={**os.environ, "TSAN_OPTIONS": "halt_on_error=1", "UBSAN_OPTIONS": "print_stacktrace=1"})
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "agree with float64" in done.stdout

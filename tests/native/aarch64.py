"""The portable path compiled for aarch64 (NEON) and run under emulation."""

from __future__ import annotations

import shutil
import subprocess

import pytest

COMPILER = "aarch64-linux-gnu-g++"
CASES = 300


def emulator():
    return shutil.which("qemu-aarch64") or shutil.which("qemu-aarch64-static")


def test_the_portable_path_is_right_on_aarch64(build):
    missing = [package for package, found in (("g++-aarch64-linux-gnu", shutil.which(COMPILER)), ("qemu-user", emulator())) if not found]
    if missing:
        pytest.skip(f"the cross compiler or the emulator is missing; on Debian: apt install {' '.join(missing)}")
    folder = build("CMAKE_SYSTEM_NAME=Linux", "CMAKE_SYSTEM_PROCESSOR=aarch64", f"CMAKE_CXX_COMPILER={COMPILER}",
                   "CMAKE_EXE_LINKER_FLAGS=-static")
    listing = subprocess.run(["aarch64-linux-gnu-objdump", "-d", folder / "driver"], capture_output=True, text=True, check=True).stdout
    assert "fmla\tv" in listing, "no vector multiply-add of NEON was compiled"
    done = subprocess.run([emulator(), folder / "driver", str(CASES)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"portable: {CASES} chains and products agree with float64" in done.stdout
    assert "avx512: skipped" in done.stdout

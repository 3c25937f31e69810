"""The microkernels keep their sums in registers: no stack access in any of their loops, read off the assembler text."""

import os
import platform
import re
import shutil
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "suite/kernel/source/kernels.cpp"
FLAGS = {  # as in CMakeLists.txt
    "avx512": "-DSUITE_LANES=16 -DSUITE_LARGE_REGISTERS -mavx512f -mavx512vl -mavx512dq -mavx512bw -mfma",
    "avx2": "-DSUITE_LANES=8 -mavx2 -mfma",
    "portable": "-DSUITE_LANES=4",
}


def loops(assembler):
    """Per instance of `tile`: the instructions of its loop over the kept blocks."""
    found = {}
    for name, body in re.findall(r"^(\S*4tileILi\d+ELi\d+E\S*):\n(.*?)^\s*\.cfi_endproc", assembler, re.M | re.S):
        for label, inside in re.findall(r"^(\.L\d+):\n((?:(?!\.L).*\n)*?)\tj\w+\t\1\n", body, re.M):  # innermost: no label in it
            if "mulps" in inside or "vfmadd" in inside:
                found[name] = (label, inside)
    return found


@pytest.mark.parametrize("table", FLAGS)
def test_no_tile_spills(table):
    compiler = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++")
    if not compiler or platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("needs a C++ compiler on x86-64")
    common = f"-std=c++20 -O3 -fPIC -ffp-contract=fast -fno-math-errno -DSUITE_X86 -DSUITE_TABLE={table} -S -o -"
    done = subprocess.run([*f"{compiler} {common} {FLAGS[table]}".split(), str(SOURCE)], capture_output=True, text=True, check=True)
    found = loops(done.stdout)
    assert len(found) >= (31 if table == "avx512" else 16)
    for name, (_, inside) in found.items():
        assert not re.search(r"\(%r[sb]p\)", inside), f"{name} uses the stack in its inner loop"
        assert "vaddss" not in inside, f"{name} adds to a weight before broadcasting it"

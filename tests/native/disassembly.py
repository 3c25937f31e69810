"""The inner loops of the compiled AVX-512 and AVX2 kernels: sums stay in registers."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from typing import NamedTuple

import pytest

LEAST = {"avx512": 31, "avx2": 17}  # tiles in the table; every one has a loop
STACK = re.compile(r"\(%r[sb]p")
WRITTEN = re.compile(r"\(%r[sb]p\)$")  # the last operand is the target


class Loop(NamedTuple):
    function: str
    body: list[str]


def innermost_loops(listing):
    """The loops of every function of an objdump listing that hold no other loop: from a backward jump's target to the jump."""
    found = []
    for name, text in re.findall(r"^[0-9a-f]+ <([^>]+)>:\n((?:.+\n)*)", listing, re.M):
        lines = [(int(place, 16), words.strip()) for place, words in re.findall(r"^\s*([0-9a-f]+):\s+(.+)$", text, re.M)]
        spans = []
        for place, words in lines:
            jump = re.match(r"j\w+\s+([0-9a-f]+)", words)
            if jump and lines[0][0] <= int(jump[1], 16) <= place:
                spans.append((int(jump[1], 16), place))
        for first, last in spans:
            if not any(first <= a and b <= last and (a, b) != (first, last) for a, b in spans):
                found.append(Loop(name, [words for place, words in lines if first <= place <= last]))
    return found


@pytest.mark.parametrize(("table", "vector"), [("avx512", "zmm"), ("avx2", "ymm")])
def test_no_inner_loop_of_multiply_adds_touches_the_stack(table, vector, build):
    if platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("these kernels are compiled on x86-64 only")
    if shutil.which("objdump") is None:
        pytest.skip("objdump is missing; on Debian: apt install binutils")
    (path,) = build("CMAKE_BUILD_TYPE=Release").glob(f"CMakeFiles/kernels_{table}.dir/**/kernels.cpp.o")
    listing = subprocess.run(["objdump", "-d", "--no-show-raw-insn", path], capture_output=True, text=True, check=True).stdout
    loops = [loop for loop in innermost_loops(listing) if any("vfmadd" in line and vector in line for line in loop.body)]
    tiles = {loop.function for loop in loops if re.search(r"4tileILi\d+ELi\d+E", loop.function)}
    assert len(tiles) >= LEAST[table], f"only {len(tiles)} tiles were found"
    spills = {}
    for loop in loops:  # the nine weights of a depthwise layer are more than 16 registers hold besides: they may be read from there
        pattern = WRITTEN if table == "avx2" and "4bandILi" in loop.function else STACK
        spills[loop.function] = [line for line in loop.body if pattern.search(line)]
    assert not any(spills.values()), {name: lines for name, lines in spills.items() if lines}
    adds = [sum("vfmadd" in line for line in loop.body) for loop in loops if loop.function in tiles]
    print(f"{table}: {len(loops)} loops in {len({loop.function for loop in loops})} functions, up to {max(adds)} multiply-adds each")


def test_a_spill_would_be_found():
    listing = ("0000000000000000 <spilling>:\n   0:\tvxorps %zmm0,%zmm0,%zmm0\n   4:\tvmovups 0x8(%rsp),%zmm1\n"
               "   8:\tvfmadd231ps %zmm1,%zmm2,%zmm0\n   c:\tjne    4 <spilling+0x4>\n   e:\tret\n")
    (loop,) = innermost_loops(listing)
    assert loop.function == "spilling" and len(loop.body) == 3 and any(STACK.search(line) for line in loop.body)

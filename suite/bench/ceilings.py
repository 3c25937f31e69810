"""What the processor gives at most: multiply-adds on registers, and reading from each level of memory."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypedDict

from suite.kernel.plan import native

#: Bytes that a thread reads again and again: the L1 cache, half of a usual L2 cache, beyond it, far beyond it.
READS = {"L1": 2**14, "L2": 2**20, "L3": 2**24, "memory": 2**30}


class Ceilings(TypedDict):
    """`fma` in 1e9 floating-point operations per second, `read` in 1e9 bytes per second by level of memory."""

    fma: float
    read: dict[str, float]


def ceilings(simd: str, threads: int, seconds: float = 0.2) -> Ceilings:
    """The sum over `threads` threads at once, on the SIMD path `simd`; the best of three, for nothing runs faster than it can."""
    read = {level: _best(partial(native().read_rate, simd, size, seconds), threads) for level, size in READS.items()}
    return Ceilings(fma=_best(lambda: native().fma_rate(simd, seconds), threads), read=read)


def _best(measure: Callable[[], float], threads: int) -> float:
    with ThreadPoolExecutor(threads) as pool:
        return max(sum(pool.map(lambda _: measure(), range(threads))) for _ in range(3))

"""Plans in forked processes: threads do not survive a fork, locks that others hold are never opened."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable

import pytest
import torch

from suite.kernel import Plan, lower
from suite.nn import build

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
IMAGES = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def made(threads: int = 2) -> Plan:
    torch.manual_seed(0)
    return lower(build("resnet8", 10, 32), IMAGES, threads=threads)


def in_child(function: Callable[[], bool], seconds: float = 60) -> None:
    """Assert that `function` gives True in a forked process and that the process then ends by itself."""
    child = os.fork()
    if not child:
        code = 1
        try:
            code = 0 if function() else 2
        finally:
            gc.collect()
            os._exit(code)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            assert os.waitstatus_to_exitcode(status) == 0
            return
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    pytest.fail("the child process hangs")


@pytest.mark.parametrize("threads", (1, 2, 3))
def test_a_plan_works_in_a_child_and_on_in_the_parent(threads):
    plan = made(threads)
    wanted = plan(IMAGES)
    in_child(lambda: all(torch.equal(plan(IMAGES), wanted) for _ in range(20)))
    assert torch.equal(plan(IMAGES), wanted)


def test_a_plan_that_a_child_only_drops_does_not_hang_it():
    plans = [made(), made()]
    in_child(lambda: plans.clear() is None and gc.collect() >= 0)
    assert torch.equal(plans[0](IMAGES), plans[1](IMAGES))


def test_a_childs_child():
    plan = made()
    wanted = plan(IMAGES)

    def nested() -> bool:
        found = torch.equal(plan(IMAGES), wanted)
        in_child(lambda: torch.equal(plan(IMAGES), wanted))
        return found and torch.equal(plan(IMAGES), wanted)

    in_child(nested)


def test_a_pool_of_forked_processes():
    plan = made()
    wanted = plan(IMAGES)
    global _PLAN
    _PLAN = plan
    with multiprocessing.get_context("fork").Pool(2) as pool:
        found = pool.map_async(_call, range(6)).get(timeout=60)
    assert all(torch.allclose(torch.tensor(row), wanted[0]) for row in found)


_PLAN: Plan


def _call(number: int) -> list[float]:
    return _PLAN(IMAGES)[0].tolist()


def test_a_plan_that_another_thread_was_running_says_so():
    plan, running = made(), threading.Event()
    wanted = plan(IMAGES)
    lock, stop = plan._lock, threading.Event()

    def hold() -> None:
        with lock:  # as a call does
            running.set()
            stop.wait(60)

    worker = threading.Thread(target=hold)
    worker.start()
    running.wait(60)

    def refused() -> bool:
        with pytest.raises(RuntimeError, match="lower the network again"):
            plan(IMAGES)
        return torch.equal(made()(IMAGES), wanted)

    try:
        in_child(refused)
    finally:
        stop.set()
        worker.join()
    assert torch.equal(plan(IMAGES), wanted)

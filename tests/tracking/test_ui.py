"""The server of ``suite ui`` ends with the command, whatever ends that; here a stand-in for MLflow's, with a process of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time

import pytest

CHILD = "import socket, sys, time; s = socket.socket(); s.bind(('127.0.0.1', int(sys.argv[1]))); s.listen(); time.sleep(600)"
SERVER = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {CHILD!r}, sys.argv[1]])"
COMMAND = f"""
import signal, sys
from suite.cli import ui
signal.signal(signal.SIGINT, signal.default_int_handler)  # tests in the background, or under nohup, inherit deaf ears
signal.signal(signal.SIGHUP, signal.SIG_DFL)
server = ui.started([sys.executable, '-c', {SERVER!r}, sys.argv[1]])
ui._open(int(sys.argv[1]), server)
sys.stdout.flush()
server.wait()
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_all_processes_of_the_server_end_with_the_command(ending):
    port = free_port()
    with subprocess.Popen([sys.executable, "-c", COMMAND, str(port)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as command:
        assert command.stdout.readline() == f"Serving on http://127.0.0.1:{port}/#/experiments until Ctrl-C.\n"
        assert answers(port)
        os.kill(command.pid, ending)
        command.wait(30)
    last = time.monotonic() + 30
    while answers(port) and time.monotonic() < last:
        time.sleep(0.1)
    assert not answers(port)


def test_a_server_that_ends_by_itself_is_waited_for():
    from suite.cli import ui

    assert ui.started([sys.executable, "-c", "raise SystemExit(3)"]).wait(60) == 3

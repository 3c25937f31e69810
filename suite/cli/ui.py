"""``suite ui``: MLflow's own pages on the tracked runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from suite.errors import UserError

if TYPE_CHECKING:
    from subprocess import Popen

START_SECONDS = 120  # that a server is given to answer before its address is told all the same
END_SECONDS = 5  # that its processes are given to end


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), default=5000, show_default=True, help="Where to serve, on this machine.")
def command(port: int) -> None:
    """Mirror the records into the local store and serve it until Ctrl-C, opened at its experiments.

    The server ends with this command, however that ends.
    """
    import os
    import sys

    from suite import record
    from suite.paths import cache_folder
    from suite.tracking import default_uri, mirror

    if _taken(port):
        raise UserError(f"Port {port} is in use; choose another one with --port.")
    cache = cache_folder().resolve()
    cache.mkdir(parents=True, exist_ok=True)
    click.echo(mirror(record.read_all(), None, cache))
    words = ["server", "--backend-store-uri", default_uri(cache), "--artifacts-destination", str(cache / "mlflow-artifacts"),
             "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # no job workers: pages only
    server = started([sys.executable, "-P", "-m", "mlflow", *words], cwd=cache, env={**os.environ, **quiet})
    try:
        _open(port, server)
        code = server.wait()
    except KeyboardInterrupt:
        click.echo("Stopped.")
        return
    finally:
        server.stdin.close()  # type: ignore[union-attr]
        server.wait()
    raise UserError(f"MLflow's server ended by itself, with code {code}; what it said stands above.")


def started(words: list[str], **more: Any) -> Popen[bytes]:
    """A command that runs until its standard input ends, which it does with this process, even a killed one."""
    import subprocess
    import sys

    held = [sys.executable, "-P", "-c", "from suite.cli.ui import hold; hold()", *words]
    return subprocess.Popen(held, stdin=subprocess.PIPE, start_new_session=True, **more)


def hold() -> None:
    """Run the command in ``sys.argv`` until it, or standard input, ends; then end all of its processes, which are of one group."""
    import os
    import signal
    import subprocess
    import sys
    import threading
    import time

    signal.signal(signal.SIGTERM, lambda number, frame: None)  # which goes to the whole group; the command has its own way
    server = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)

    def end() -> None:
        while os.read(0, 1):
            pass
        os.killpg(0, signal.SIGTERM)
        time.sleep(END_SECONDS)
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=end, daemon=True).start()
    sys.exit(server.wait())


def _open(port: int, server: Popen[bytes]) -> None:
    """Tell the address of the experiments once the server answers; a browser opens it where there is a screen."""
    import os
    import sys
    import time
    import webbrowser

    last = time.monotonic() + START_SECONDS
    while not _taken(port) and time.monotonic() < last and server.poll() is None:
        time.sleep(0.2)
    address = f"http://127.0.0.1:{port}/#/experiments"
    click.echo(f"Serving on {address} until Ctrl-C.")
    screen = sys.platform in ("darwin", "win32") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if screen and sys.stdout.isatty() and server.poll() is None:
        webbrowser.open(address)


def _taken(port: int) -> bool:
    import socket

    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0

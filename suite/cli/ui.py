"""``suite ui``: MLflow's own pages on the tracked runs."""

from __future__ import annotations

import click

from suite.errors import UserError


@click.command()
@click.option("--port", default=5000, show_default=True, help="Where to serve, on this machine only.")
def command(port: int) -> None:
    """Mirror the records into the local store and serve it until Ctrl-C."""
    import os
    import subprocess
    import sys

    from suite import record
    from suite.paths import cache_folder
    from suite.tracking import default_uri, mirror

    if _taken(port):
        raise UserError(f"Port {port} is in use; choose another one: suite ui --port {port + 1}")
    cache = cache_folder().resolve()
    cache.mkdir(parents=True, exist_ok=True)
    click.echo(mirror(record.read_all(), None, cache))
    click.echo(f"Serving on http://127.0.0.1:{port} until Ctrl-C.")
    words = ["server", "--backend-store-uri", default_uri(cache), "--artifacts-destination", str(cache / "mlflow-artifacts"),
             "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # no job workers: pages only
    with subprocess.Popen([sys.executable, "-m", "mlflow", *words], cwd=cache, env={**os.environ, **quiet}) as server:
        try:
            code = server.wait()
        except KeyboardInterrupt:  # which the server has received too
            try:
                server.wait(5)
            except subprocess.TimeoutExpired:
                server.terminate()
            click.echo("Stopped.")
            return
    raise SystemExit(code)


def _taken(port: int) -> bool:
    import socket

    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0

"""``suite ui``: MLflow's own pages on the tracked runs."""

from __future__ import annotations

import click


@click.command()
@click.option("--port", default=5000, show_default=True, help="Where to serve, on this machine only.")
def command(port: int) -> None:
    """Mirror the records into the local store and serve it until Ctrl-C."""
    import subprocess
    import sys

    from suite import record
    from suite.paths import cache_folder
    from suite.tracking import default_uri, mirror

    click.echo(mirror(record.read_all(), None, cache_folder()))
    click.echo(f"Serving on http://127.0.0.1:{port} until Ctrl-C.")
    words = ["server", "--backend-store-uri", default_uri(cache_folder()), "--host", "127.0.0.1", "--port", str(port)]
    try:
        raise SystemExit(subprocess.run([sys.executable, "-m", "mlflow", *words]).returncode)
    except KeyboardInterrupt:
        click.echo("Stopped.")

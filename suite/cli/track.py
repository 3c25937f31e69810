"""``suite track``: replay the records into an MLflow store."""

from __future__ import annotations

import click


@click.command()
@click.option("--track", metavar="URI", help="An MLflow store or server (default: the local one).")
def command(track: str | None) -> None:
    """Bring an MLflow store up to the records; what is there already stays, and nothing is doubled."""
    from suite import record
    from suite.paths import cache_folder
    from suite.tracking import mirror

    click.echo(mirror(record.read_all(), track, cache_folder(), afresh=True))

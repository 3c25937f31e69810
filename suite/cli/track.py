"""``suite track``: replay the records into an MLflow store."""

from __future__ import annotations

import click

from suite.errors import UserError


@click.command()
@click.option("--track", metavar="URI", help="An MLflow store or server (default: the local one).")
def command(track: str | None) -> None:
    """Bring an MLflow store up to the records; what is there already stays, and nothing is doubled."""
    from suite import record
    from suite.paths import cache_folder
    from suite.tracking import replay

    records = record.read_all()
    if not records:
        raise UserError(f"Nothing can be replayed: {record.absent()}")
    made = replay(records, track, cache_folder(), afresh=True)
    if not made.runs:
        raise UserError(made.sentence)
    click.echo(made.sentence)

"""``suite list``: what there is, one line each."""

from __future__ import annotations

import json

import click

from suite import plugins, record


@click.command()
@click.argument("what", type=click.Choice(["tasks", "methods", "records", "all"]), default="all")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
def command(what: str, as_json: bool) -> None:
    """List tasks, methods, or records. Files are parsed, not imported, so a broken plug-in is listed too."""
    listing: dict[str, list[tuple[str, str]]] = {}
    if what in ("tasks", "all"):
        listing["tasks"] = [(item.name, item.summary) for item in plugins.find("tasks").values()]
    if what in ("methods", "all"):
        listing["methods"] = [(item.name, item.summary) for item in plugins.find("baselines").values()]
    if what == "records":
        listing["records"] = [(item["id"], _line(item)) for item in record.read_all()]
    if as_json:
        click.echo(json.dumps({kind: dict(rows) for kind, rows in listing.items()}, indent=1))
        return
    for kind, rows in listing.items():
        click.echo(f"{kind}:" if rows else f"{kind}: none")
        width = max((len(name) for name, _ in rows), default=0)
        for name, text in rows:
            click.echo(f"  {name:<{width}}  {text}")


def _line(item: record.Record) -> str:
    score = item["scores"].get(item["task"]["primary"])
    return f"{item['status']:<11} {item['scale']:<6} {item['task']['source']['kind']:<9}" + (
        f" {item['task']['primary']} {score:.2f}" if score is not None else "")

"""``suite info``: everything about one name."""

from __future__ import annotations

import json
from pathlib import Path

import click

from suite.cli import _words as words
from suite.errors import UserError
from suite.facts.kinds import KINDS


@click.command()
@click.argument("name", shell_complete=words.anything)
@click.option("--kind", type=click.Choice(KINDS), help="Which of several things that have the name.")
@click.option("--bibtex", is_flag=True, help="Of a method only its paper, as an entry of BibTeX.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
@click.option("--reports", default="reports", show_default=True, type=click.Path(path_type=Path),
              help="The folder of declarations of reports.")
def command(name: str, kind: str | None, bibtex: bool, as_json: bool, reports: Path) -> None:
    """Tell everything about NAME, a method, a task, a network or a report: options, data, claims, records, and what to type.

    \b
    suite info one_by_n             idea, paper, options, claims, records
    suite info cifar10              metrics, data, options, scales, methods
    suite info resnet20             parameters, MACs, layers that pruning may touch
    suite info compression          what a report shows (in a checkout)
    suite info one_by_n --bibtex
    """
    from suite.facts import kinds, sections

    found = kinds.kinds_of(name, reports)
    if kind and kind not in found:
        raise UserError(f"There is no {kind} '{name}', but a {' and a '.join(found)}; leave --kind out.")
    kind = kind or found[0]
    others = [item for item in found if item != kind]
    if others:
        click.echo(f"'{name}' is also a {' and a '.join(others)}; type: suite info {name} --kind {others[0]}", err=True)
    if bibtex:
        if kind != "method":
            raise UserError(f"'{name}' is a {kind}; --bibtex is for methods, which have papers.")
        from suite.facts import method

        return click.echo(method.bibtex(name))
    teller = kinds.module(kind)
    facts = teller.facts(name, reports)
    if as_json:
        return click.echo(json.dumps(facts, indent=1))
    from suite.terminal import console

    sections.show(teller.title(facts), teller.sections(facts), teller.commands(facts), console())

"""``suite check``: the contract tests, on anybody's plug-in."""

from __future__ import annotations

from pathlib import Path

import click

from suite.errors import UserError


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
def command(path: Path) -> None:
    """Test the plug-ins at PATH: a file, or a folder that holds tasks/ and baselines/.

    Every plug-in is fitted at smoke scale on embedded data, with records and weights in a temporary place.
    """
    import os
    import tempfile

    if not path.exists():
        raise UserError(f"There is nothing at '{path}'; name a plug-in file, or a folder with tasks/ and baselines/.")
    folder = path if path.is_dir() else path.parent.parent
    os.environ["SUITE_PLUGINS"] = os.pathsep.join(filter(None, [str(folder.resolve()), os.environ.get("SUITE_PLUGINS", "")]))
    from suite.testing.contract import Problem, check_plugins

    with tempfile.TemporaryDirectory() as scratch:
        os.environ |= {"SUITE_RESULTS": f"{scratch}/results", "SUITE_CACHE": f"{scratch}/cache"}
        os.environ.pop("SUITE_DATA", None)
        try:
            problems = check_plugins(path, click.echo)
        except Problem as problem:
            raise UserError(str(problem)) from None
    click.echo(f"{problems} problem{'' if problems == 1 else 's'}" if problems else "All checks passed.")
    if problems:
        raise SystemExit(1)

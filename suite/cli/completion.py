"""``suite completion``: the script by which a shell completes the suite's commands and names."""

from __future__ import annotations

import click


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print what makes SHELL complete commands, and names of tasks, methods, options and scales.

    \b
    eval "$(suite completion bash)"                                       in ~/.bashrc
    eval "$(suite completion zsh)"                                        in ~/.zshrc
    suite completion fish > ~/.config/fish/completions/suite.fish         once
    """
    from click.shell_completion import get_completion_class

    from suite.cli import command as whole

    made = get_completion_class(shell)
    assert made is not None  # click knows the three
    click.echo(made(whole, {}, "suite", "_SUITE_COMPLETE").source())

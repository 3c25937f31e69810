"""The command line: one file per verb, imported when the verb is used; listing imports no torch."""

from __future__ import annotations

import importlib
import logging
import sys

import click

from suite import __version__
from suite.errors import UserError, nearest
from suite.terminal import guard

VERBS = {
    "list": "What there is: tasks, methods, records.",
    "info": "Everything about one task, method, network or report.",
    "run": "Fit, evaluate, profile and record methods on a task; ends with a table.",
    "show": "Everything about one number, and the line that repeats it.",
    "diff": "Why two numbers differ: options, data, code, machine.",
    "profile": "MACs, non-zeros and latency, dense against sparse.",
    "export": "A network as ONNX, safetensors, PyTorch program or packed plan.",
    "bench": "The kernel against other engines, network by network, as a page.",
    "data": "Check a copy of a task's data, or write the embedded one.",
    "report": "Tables and figures from the records.",
    "claims": "Re-test what a method's paper claims.",
    "check": "The contract tests, on anybody's plug-in.",
    "ui": "MLflow's own pages on the tracked runs.",
    "merge": "Join the results of several machines.",
    "track": "Replay the records into an MLflow store.",
    "completion": "What makes a shell complete commands and names.",
}


class Verbs(click.Group):
    """A group that knows its commands' names and help without importing them."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, context: click.Context, name: str) -> click.Command:
        if name not in VERBS:
            raise UserError(f"There is no command '{name}'{nearest(name, VERBS)}")
        return importlib.import_module(f"suite.cli.{name}").command

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="suite")
def command() -> None:
    """Efficient computer vision, measured: quality, MACs and CPU latency of published methods in one harness.

    Begin with `suite list`, then `suite info one_by_n`, then `suite run cifar10 one_by_n n=4 sparsity=0.5`. `suite COMMAND --help`
    explains each command, `suite info NAME` each task, method and network with its options.
    """


def main() -> None:
    """Run the command line; a user's mistake is one sentence and exit code 2, Ctrl-C is exit code 130."""
    guard()
    told = logging.StreamHandler()
    told.setFormatter(logging.Formatter("suite: %(message)s"))
    logging.getLogger("suite").addHandler(told)
    try:
        command(standalone_mode=False)
    except UserError as error:
        sys.exit(_refuse(str(error)))
    except click.ClickException as error:
        hint = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "suite"
        sys.exit(_refuse(f"{error.format_message()} Try: {hint} --help"))
    except (KeyboardInterrupt, click.Abort):
        click.echo("Stopped; the same command goes on from here.", err=True)
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(0)


def _refuse(sentence: str) -> int:
    click.echo(f"suite: {sentence}", err=True)
    return 2

"""The suite: a benchmark for efficient computer vision whose numbers can be repeated.

From Python it has five functions, and one error for what their user can mend::

    import suite

    suite.run("cifar10", "one_by_n", sparsity=[0.5, 0.75], seeds=3)  # what `suite run` does
    suite.records(task="cifar10")                                    # a pandas frame of all results
    network = suite.load("cifar10/one_by_n/0d1a")                    # a trained network
    plan = suite.lower(network, image)                               # the same in the sparse kernel
    suite.report("leaderboard")                                      # tables, figures, a page

To read the code start at :mod:`suite.contract`; the straight line from a command to a table is
``cli -> plugins -> options -> plan -> runner -> tracking -> reporting``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.errors import UserError

if TYPE_CHECKING:
    import pandas
    from torch import Tensor, nn

    from suite.kernel import Plan

__version__ = "0.1.0"
__all__ = ["UserError", "__version__", "load", "lower", "records", "report", "run"]


def run(
    task: str,
    methods: str | Sequence[str],
    *,
    scale: str = "short",
    seeds: int | Sequence[int] = 1,
    data: str | Path | None = None,
    device: str = "cpu",
    threads: int = 1,
    jobs: int | None = None,
    again: bool = False,
    options: Mapping[str, Any] | None = None,
    **method_options: Any,
) -> list[dict[str, Any]]:
    """Run methods on a task as ``suite run`` does: fit, evaluate, record, time. What is recorded already is not run again.

    `methods` is one name or several. Keywords that are not named here are options of the methods; a list makes a grid, a tuple is
    one value of several parts. `options` takes the same by the command's names, so that the task and single methods can have
    theirs, and options that are called like an argument: ``{"task.size": 32, "one_by_n.n": [2, 4], "scale": 3}``. `seeds` is how
    many (0, 1, ...) or which. `scale`, `data`, `device`, `threads`, `jobs` and `again` are those of the command.

    Returns the records of the runs asked for, as in their files (see `suite.record`), by method, options and seed. One that failed
    is among them, with ``record["status"] == "failed"`` and a ``reason``. What the command prints goes to the logger ``suite``.
    UserError for what the command would refuse.
    """
    from suite.python import run_methods

    numbers = list(range(seeds)) if isinstance(seeds, int) else list(seeds)
    names = methods.split(",") if isinstance(methods, str) else list(methods)
    both = sorted(method_options.keys() & (options or {}).keys())
    if both:
        raise UserError(f"The option '{both[0]}' is given twice, as a keyword and in 'options'; give it once.")
    return run_methods(task, names, {**(options or {}), **method_options}, numbers, scale=scale, data=data, device=device,
                       threads=threads, jobs=jobs, again=again)


def records(
    task: str | None = None, method: str | None = None, *, scale: str | None = None, source: str | None = None,
) -> pandas.DataFrame:
    """All finished runs, or those of a task, a method, a scale, and a kind of data ("embedded", "subset", "official"), as a frame.

    A row is one run (``kind == "run"``), or the mean over the seeds of one configuration (``kind == "mean"``), of which ``seeds``
    are how many it rests on, and ``score_low, score_high`` Student's 95 % interval of the mean score (NaN of one seed). Columns:
    ``kind, task, method, scale, source, seed, seeds, metric, score, score_low, score_high, unit``, then the numbers and texts of
    `suite.reporting.flat.flatten`: ``option.<name>``, ``score.<name>``, ``params``, ``macs_effective``, ``latency.one.sparse`` in
    ms and so on. The latencies of a mean are those of one machine and kernel, the one that timed most of its seeds.

    The records are those in ``./results`` or ``SUITE_RESULTS``. UserError for a task or method of which there is no record.
    """
    from suite.reporting.frame import frame

    return frame(task=task, method=method, scale=scale, source=source)


def load(source: str | Path | Mapping[str, Any]) -> nn.Module:
    """The network of a record, as it was deployed, in evaluation mode on the CPU.

    `source` is a record, its id or the beginning of one, or a .safetensors file that ``suite export`` wrote. What goes in is the
    task's: `suite export` prints it. UserError where there is no such record or file, where its run made no network, and where the
    network is neither in the cache nor beside its record.
    """
    from suite.recorded import find_network

    return find_network(source)


def lower(module: nn.Module, example: Tensor | tuple[Any, ...], threads: int = 1) -> Plan:
    """`module` in the suite's sparse kernel: ``plan(example)`` is ``module(example)`` in evaluation mode, to within rounding.

    `example` is a batch of one, (1, C, H, W) float32 or a tuple of positional arguments; the plan takes inputs of its shapes. Zeros
    in blocks of 1xN are found and left out. What the kernel does not know runs in torch between its steps, and
    ``plan.outside`` names what of that has MACs; ``plan.macs_share`` is the share of the MACs in the kernel.

    The plan is compared with torch on `example` and its mirror image. UserError where a number differs by more than 1e-4 of its
    scale, and where the network cannot be lowered at all, so that everything would run in torch.
    """
    from suite.python import lower_module

    return lower_module(module, example, threads)


def report(name: str, to: str | Path | None = None, *, reports: str | Path = "reports") -> list[Path]:
    """Render the report ``<reports>/<name>.toml`` as ``suite report`` does, into the folder `name` below `to`, or beside it.

    Returns the files that were written. UserError where there is no such report, or no record for it.
    """
    from suite.python import render_report

    return render_report(name, Path(reports), Path(to or reports))

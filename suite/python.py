"""What is behind the functions of ``import suite``, whose docstrings say what they do."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from suite.kernel import Plan


def run_methods(
    task: str, methods: Sequence[str], chosen: Mapping[str, Any], seeds: Sequence[int], *, scale: str, data: str | Path | None,
    device: str, threads: int, jobs: int | None, again: bool,
) -> list[dict[str, Any]]:
    """Plan, run and mirror into MLflow; the records of what was asked for. What the command prints goes to the log."""
    from suite.paths import cache_folder
    from suite.plan import stored
    from suite.profile.machine import physical_cores
    from suite.request import as_words, make_plan
    from suite.runner import run_plan
    from suite.tracking import mirror

    if not seeds or threads < 1 or (jobs or 1) < 1:
        raise UserError(f"{len(seeds)} seeds, {threads} threads and {jobs} jobs are no run; each is at least 1.")
    say = logging.getLogger("suite").info
    folder = Path(data) if data is not None else None
    plan = make_plan(task, methods, as_words(chosen, methods), seeds, scale, folder, again, say=say, device=device, threads=threads)
    for sentence in plan.stale:
        say("stale, will be run again: %s", sentence)
    say(mirror(run_plan(plan, say=say, jobs=jobs or physical_cores()), None, cache_folder()))
    return [found for spec in plan.wanted if (found := stored(spec)[0])]


def lower_module(module: nn.Module, example: Tensor | tuple[Any, ...], threads: int) -> Plan:
    from suite.kernel import check, lower
    from suite.kernel.plan import Native
    from suite.profile.latency import TOLERANCE

    plan = lower(module, example, threads=threads)
    if not any(isinstance(part, Native) for part in plan.program):
        reason = plan.outside[0] if plan.outside else "nothing in it is a layer that the kernel knows"
        raise UserError(f"The network was not lowered ({reason}); all of it would run in torch, so call it as it is.")
    if not (error := check(plan, module, example)) < TOLERANCE:  # not: NaN is wrong too
        raise UserError(f"The plan differs from torch by {error:.2g} of a number's scale, and {TOLERANCE:g} is allowed; call the "
                        "network as it is.")
    return plan


def render_report(name: str, reports: Path, folder: Path) -> list[Path]:
    from suite.reporting import declare
    from suite.reporting.files import read_known, write_report

    declared = declare.load(name, reports)
    return write_report(name, declared, read_known([declared], reports), reports, folder)[0]

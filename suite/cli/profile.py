"""``suite profile``: where a network's multiplications and milliseconds are, dense against sparse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from suite.errors import UserError


@click.command()
@click.argument("what", metavar="MODEL|RECORD")
@click.option("--sparsity", default="0,0.5,0.75,0.9", show_default=True, help="For a MODEL: shares of blocks removed.")
@click.option("-n", "width", default=4, show_default=True, help="For a MODEL: block width N.")
@click.option("--size", type=int, help="For a MODEL: pixels (default 32 for CIFAR networks, else 224).")
@click.option("--classes", default=10, show_default=True, help="For a MODEL: outputs.")
@click.option("--update", is_flag=True, help="For a RECORD: count and time its cached artifact again; no training.")
@click.option("--data", type=click.Path(path_type=Path), help="For --update: the data the record was made on.")
def command(what: str, sparsity: str, width: int, size: int | None, classes: int, update: bool, data: Path | None) -> None:
    """Profile a RECORD (its stored layers and latencies) or a MODEL by name, randomly initialised and 1xN-masked."""
    from suite.nn import ARCHS

    if what in ARCHS:
        return _model(what, _shares(sparsity), width, size, classes)
    from suite import record

    found = record.find(what)
    if update:
        found = _update(found, data)
    _record(found)


def _shares(text: str) -> list[float]:
    try:
        shares = [float(part) for part in text.split(",")]
    except ValueError:
        shares = [-1.0]
    if not all(0 <= share < 1 for share in shares):
        raise UserError(f"--sparsity {text} is no list of shares from 0 to below 1, such as 0,0.5,0.75.")
    return shares


def _model(arch: str, shares: list[float], width: int, size: int | None, classes: int) -> None:
    import copy

    import torch
    from rich.console import Console
    from rich.table import Table

    from suite import plugins
    from suite.nn import build, prunable
    from suite.paths import timing_lock
    from suite.profile import count, network_latency
    from suite.report.statistics import break_even

    plugins.load("baselines", "one_by_n")
    from importlib import import_module

    block_mask = import_module("suite.baselines.one_by_n").block_mask
    size = size or (32 if arch.startswith(("resnet2", "resnet3", "resnet56", "resnet110", "resnet8", "cifar")) else 224)
    torch.manual_seed(0)
    dense = build(arch, classes, size).eval()
    example = torch.randn(1, 3, size, size)
    table = Table(title=f"{arch}, {size}x{size}, 1x{width} blocks, batch 1, median ms (random weights: latency only)")
    for name in ("sparsity", "MACs", "torch 1T", "dense 1T", "sparse 1T", "speed-up 1T", "torch all", "dense all", "sparse all",
                 "speed-up all"):
        table.add_column(name, justify="right")
    gains = []
    for share in shares:
        network = copy.deepcopy(dense)
        for layer in prunable(network, example):
            weight = getattr(network.get_submodule(layer.name), layer.parameter)
            weight.data *= block_mask(weight.data, width, share)
        latency, kernel = network_latency(network, (example,), timing_lock())
        gains.append(latency["one"]["speedup"])
        cells = [f"{share:.2f}", f"{count(network, example).macs_effective / 1e6:.2f}M"]
        for threads in ("one", "all"):
            cells += [_ms(latency[threads][name]) for name in ("torch", "dense", "sparse")]
            cells.append(f"{latency[threads]['speedup']:.2f}x")
        table.add_row(*cells)
    Console().print(table)
    even = break_even(shares, gains)
    click.echo(f"In the plan: {kernel['macs_share']:.1%} of the MACs ({kernel['simd']}); * marks a noisy timing. "
               + (f"One thread breaks even at {even:.0%} sparsity." if even is not None else "No break-even in this range."))


def _ms(timing: dict[str, Any]) -> str:
    return f"{timing['median_ms']:.3f}" + ("*" if timing["noisy"] else "")


def _update(found: dict[str, Any], data: Path | None) -> dict[str, Any]:
    from suite import plan, runner

    spec = plan.spec_of(found, data)
    if not spec.artifact.exists():
        raise UserError(f"The network of '{spec.id}' is not in the cache; train it again with: {found['command']} --again")
    return runner.profile_again(found, spec.artifact.parent, spec, lambda sentence: None)


def _record(found: dict[str, Any]) -> None:
    import json

    from rich.console import Console
    from rich.table import Table

    from suite.paths import run_folder

    profile = found["profile"]
    if not profile:
        raise UserError(f"'{found['id']}' has no profile; make one with: suite profile {found['id']} --update")
    path = run_folder(found["id"]) / "layers.json"
    if path.exists():
        layers = json.loads(path.read_text())
        table = Table(title=f"layers of {found['id']}")
        for name in layers[0] if layers else []:
            table.add_column(name, justify="left" if name in ("name", "kind") else "right")
        for layer in layers:
            table.add_row(*(f"{item:.3f}" if isinstance(item, float) else str(item) for item in layer.values()))
        Console().print(table)
    if not profile["latency"]:
        raise UserError(f"'{found['id']}' was not timed: {found['notes'].get('untimed', 'its task gives no network to time')}.")
    for threads in ("one", "all"):
        timing = profile["latency"][threads]
        click.echo(f"{timing['threads']} thread(s): torch eager {_ms(timing['torch'])} ms, plan dense {_ms(timing['dense'])} ms, "
                   f"plan sparse {_ms(timing['sparse'])} ms, {timing['speedup']:.2f}x over dense")
    click.echo(f"MACs {profile['macs']:,} dense, {profile['macs_effective']:,} effective; {profile['bytes_packed']:,} bytes packed")

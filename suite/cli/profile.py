"""``suite profile``: where a network's multiplications and milliseconds are, dense against sparse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from suite.errors import UserError

SHOWN = 8  # kinds of layers outside a plan that are named


@click.command()
@click.argument("what", metavar="MODEL|RECORD...", nargs=-1)
@click.option("--sparsity", default="0,0.5,0.75,0.9", show_default=True, help="For a MODEL: shares of blocks removed.")
@click.option("-n", "width", default=4, show_default=True, help="For a MODEL: block width N.")
@click.option("--size", type=click.IntRange(1), help="For a MODEL: pixels (default 32 for CIFAR networks, else mostly 224).")
@click.option("--classes", type=click.IntRange(1), help="For a MODEL: outputs (default 10).")
@click.option("--latency", type=click.FloatRange(0, min_open=True), metavar="MS",
              help="For a MODEL: which sparsity reaches so many ms here on one thread, and the command to prune with.")
@click.option("--update", is_flag=True, help="For RECORDs, also patterns like 'cifar10/*': count and time them again; no training.")
@click.option("--noisy", is_flag=True, help="With --update: of those (default: of all) what is noisy, or timed on another machine.")
@click.option("--data", type=click.Path(path_type=Path), help="For --update and --peers: the data the record was made on.")
@click.option("--peers", is_flag=True, help="Time the same network in other engines too, in the same rounds.")
def command(what: tuple[str, ...], sparsity: str, width: int, size: int | None, classes: int | None, latency: float | None,
            update: bool, noisy: bool, data: Path | None, peers: bool) -> None:
    """Profile a RECORD (its stored layers and latencies) or a MODEL by name, randomly initialised and 1xN-masked.

    A MODEL is one of the suite's, FILE.py:FUNCTION, MODULE:FUNCTION, timm:NAME or torchvision:NAME.

    \b
    suite profile resnet20 --peers
    suite profile my.py:net --sparsity 0.75
    suite profile timm:resnet18 --latency 20
    suite profile --update --noisy 'cifar10/*'
    """
    from suite import networks, record
    from suite.nn import ARCHS

    if noisy and not update:
        raise UserError("--noisy chooses what is timed again; type: suite profile --update --noisy")
    if update:
        return _update(_chosen(what, noisy), data)
    if len(what) != 1:
        raise UserError(f"One MODEL or RECORD is shown at a time and {len(what)} are named; several are for --update.")
    if what[0] in ARCHS or networks.is_named(what[0]):
        made, example = _networks(what[0], _shares(sparsity), width, size, classes)
        if latency:
            return _propose(what[0], made, example, width, latency)
        title = f"{what[0]}, {example.shape[-1]}x{example.shape[-1]}, 1x{width} blocks, batch 1, median ms"
        return _peers(title, made, example) if peers else _model(title, made, example, width)
    if latency:
        raise UserError(f"--latency is for a MODEL, and '{what[0]}' is none: name it as one of the suite's, FILE.py:FUNCTION, "
                        "timm:NAME or torchvision:NAME.")
    found = record.find(what[0])
    if peers:
        network, example = _deployed(found, data)
        return _peers(f"{found['id']}, batch 1, median ms", {"sparse": network}, example)
    _record(found)


def _shares(text: str) -> list[float]:
    try:
        shares = [float(part) for part in text.split(",")]
    except ValueError:
        shares = [-1.0]
    if not all(0 <= share < 1 for share in shares):
        raise UserError(f"--sparsity {text} is no list of shares from 0 to below 1, such as 0,0.5,0.75.")
    return shares


def _networks(arch: str, shares: list[float], width: int, size: int | None, classes: int | None) -> tuple[dict[str, Any], Any]:
    """Randomly initialised copies by the share of blocks that they lack, and an image for them."""
    import torch

    from suite.bench.pruned import pruned, random_network

    dense, size = random_network(arch, classes, size)
    example = torch.randn(1, 3, size, size)
    return {f"{share:.2f}": pruned(dense, example, width, share) for share in shares}, example


def _model(title: str, networks: dict[str, Any], example: Any, width: int) -> None:
    from rich.table import Table

    from suite.cost import count
    from suite.paths import timing_lock
    from suite.profile import network_latency
    from suite.statistics import break_even
    from suite.terminal import console

    table = Table(title=f"{title} (random weights: latency only)")
    for name in ("sparsity", "MACs", "threads", "torch", "dense", "sparse", "speed-up"):
        table.add_column(name, justify="right")
    gains, total = [], 0
    for share, network in networks.items():
        try:
            latency, kernel = network_latency(network, (example,), timing_lock())
        except RuntimeError as error:  # the gate's; as of a network so deep that rounding grows to what it allows
            raise UserError(f"Nothing is said of this network with random weights: {error}.") from error
        gains.append(latency["one"]["speedup"])
        cost = count(network, example)
        total = cost.macs
        for threads in ("one", "all"):
            found = latency[threads]
            table.add_row(share, f"{cost.macs_effective / 1e6:.2f}M", str(found["threads"]),
                          *(_ms(found[name]) for name in ("torch", "dense", "sparse")), f"{found['speedup']:.2f}x")
    console().print(table)
    even = break_even([float(share) for share in networks], gains)
    at = f" One thread breaks even at {even:.0%} sparsity." if even is not None else " No break-even in this range."
    click.echo(f"In the plan: {kernel['macs_share']:.1%} of the MACs ({kernel['simd']}); * marks a noisy timing."
               + (at if len(networks) > 1 else ""))
    _outside(kernel["outside"], (1 - kernel["macs_share"]) * total)
    best = max(zip(gains, networks, strict=True))
    click.echo(f"{best[0]:.1f}x at {float(best[1]):.0%} with 1x{width} blocks on one thread; {kernel['macs_share']:.0%} of the "
               "MACs are in the plan.")


def _outside(parts: list[str], macs: float) -> None:
    """Say what of a network runs in torch, and how many MACs that is; parts that differ by a number at their end together."""
    import re
    from collections import Counter

    if not parts:
        return
    click.echo(f"In torch: {macs / 1e6:.2f}M MACs, in")
    kinds = Counter(re.sub(r"_\d+: ", ": ", part) for part in parts)
    for part, times in kinds.most_common(SHOWN):
        click.echo(f"  {f'{times} times ' if times > 1 else ''}{part}")
    if len(kinds) > SHOWN:
        click.echo(f"  and {len(kinds) - SHOWN} more")


def _propose(arch: str, networks: dict[str, Any], example: Any, width: int, wanted: float) -> None:
    """Measure latency by sparsity, and propose the least sparsity that reaches `wanted` ms."""
    from suite.bench.curve import latency_curve, proposal

    points = latency_curve({float(share): network for share, network in networks.items()}, example)
    for sentence in proposal(points, wanted, arch, width, example.shape[-1]):
        click.echo(sentence)


def _peers(title: str, networks: dict[str, Any], example: Any) -> None:
    """Race the first network's dense plan, every network's sparse plan and the peers; then the last one's layers."""
    from suite import kernel
    from suite.bench.layers import layer_times, openvino_layers
    from suite.bench.peers import OPENVINO, PEERS, Model
    from suite.bench.race import race
    from suite.bench.terminal import layer_table, race_table
    from suite.paths import timing_lock
    from suite.profile.latency import alone
    from suite.profile.machine import physical_cores
    from suite.terminal import console

    first = next(iter(networks.values()))
    model, races = Model(first, example), []
    with alone(timing_lock()):
        for threads in sorted({1, physical_cores()}):
            plans = {"plan dense": (kernel.lower(first, example, dense=True, threads=threads), first)}
            plans |= {f"plan {name}": (kernel.lower(item, example, threads=threads), item) for name, item in networks.items()}
            races.append(race(model, plans, threads, PEERS, say=lambda sentence: click.echo(f"  {sentence}", err=True)).record())
        name, last = list(networks.items())[-1]
        layers = layer_times(last, example)
        theirs = {} if OPENVINO.missing() else openvino_layers(model)
    race_table(title, races, console())
    layer_table(f"layers of plan {name}", layers, theirs, console())


def _deployed(found: dict[str, Any], data: Path | None) -> tuple[Any, Any]:
    """The network of a record as its task times it, and its first input."""
    from torch import Tensor, nn

    from suite.context import load
    from suite.recorded import spec_with_artifact
    from suite.spec import context

    spec = spec_with_artifact(found, data)
    probe = spec.task.probe(load(spec.artifact), context(spec))
    if probe is None or not isinstance(probe.network, nn.Module) or not isinstance(probe.inputs[0], Tensor):
        raise UserError(f"'{found['id']}' has no network of one input that could be timed; --peers needs one.")
    return probe.network, probe.inputs[0]


def _ms(timing: dict[str, Any]) -> str:
    return f"{timing['median_ms']:.3f}" + ("*" if timing["noisy"] else "")


def _chosen(names: tuple[str, ...], noisy: bool) -> list[dict[str, Any]]:
    """The records with these names or patterns, each once; of all, or of these, the ones whose timing is `noisy`."""
    from fnmatch import fnmatchcase

    from suite import record

    if not names and not noisy:
        raise UserError("--update needs the RECORDs to time again, or --noisy for all whose timing is noisy or another machine's.")
    known = record.read_all() if noisy or any("*" in name for name in names) else []
    found: dict[str, dict[str, Any]] = {}
    for name in names or ("*",):
        several = [item for item in known if fnmatchcase(item["id"], name)] if "*" in name else [record.find(name)]
        if not several:
            there = "`suite list records` shows those there are." if known else record.absent()
            raise UserError(f"No record's id is like '{name}'; {there}")
        found |= {item["id"]: item for item in several}
    return [item for item in found.values() if not noisy or _doubtful(item)]


def _doubtful(found: dict[str, Any]) -> bool:
    """Whether some timing of a record is noisy, or was made on another machine or by another version of the kernel."""
    from suite.record import value
    from suite.timing import timed_elsewhere

    timings = [value(found, f"profile.latency.{threads}.{way}.noisy") for threads in ("one", "all")
               for way in ("torch", "dense", "sparse")]
    return timed_elsewhere(found) or any(timings) or any(item["noisy"] for item in found["timings"])


def _update(found: list[dict[str, Any]], data: Path | None) -> None:
    """Time records again, one after the other; what was interrupted goes on, with --noisy, with those that are left."""
    from suite.recorded import spec_with_artifact
    from suite.timing import profile_again

    if len(found) == 1:
        return _record(profile_again(found[0], spec_with_artifact(found[0], data)))
    refused, still = [], 0
    for number, item in enumerate(found, 1):
        click.echo(f"[{number}/{len(found)}] timing {item['id']}", err=True)
        try:
            made = profile_again(item, spec_with_artifact(item, data))
        except UserError as mistake:
            refused.append(mistake)
            click.echo(f"    not timed: {mistake}", err=True)
            continue
        still += _doubtful(made)
    click.echo(f"{len(found) - len(refused)} records timed, {still} of them noisy; {len(refused)} could not be timed.")
    if found and len(refused) == len(found):
        raise refused[0]


def _record(found: dict[str, Any]) -> None:
    import json

    from rich.table import Table

    from suite.paths import run_folder
    from suite.terminal import console

    profile, timed = found["profile"], found.get("timings", [])
    for item in timed:
        items = f" of {item['items']}" if item["items"] else ""
        click.echo(f"{item['what']}{items} {_ms({**item, 'median_ms': item['ms']})} ms, timed by the task in PyTorch on one thread")
    if timed and not profile:  # a function without a network
        return
    if not profile:
        raise UserError(f"'{found['id']}' has no profile; make one with: suite profile {found['id']} --update")
    path = run_folder(found["id"]) / "layers.json"
    if path.exists():
        table = Table(title=f"layers of {found['id']}")
        try:
            layers = json.loads(path.read_text(encoding="utf-8"))
            for name in layers[0] if layers else []:
                table.add_column(name, justify="left" if name in ("name", "kind") else "right")
            for layer in layers:
                table.add_row(*(f"{item:.3f}" if isinstance(item, float) else str(item) for item in layer.values()))
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            raise UserError(f"'{path}' is damaged; make it again with: suite profile {found['id']} --update") from None
        console().print(table)
    if not profile["latency"]:
        raise UserError(f"'{found['id']}' was not timed: {found['untimed']}.")
    for threads in ("one", "all"):
        timing = profile["latency"][threads]
        click.echo(f"{timing['threads']} thread(s): torch eager {_ms(timing['torch'])} ms, plan dense {_ms(timing['dense'])} ms, "
                   f"plan sparse {_ms(timing['sparse'])} ms, {timing['speedup']:.2f}x over dense")
    packed = f"; {profile['bytes_packed']:,} bytes packed" if profile["bytes_packed"] else ""
    uncounted = ", ".join(profile["uncounted"])
    part = f" (not whole: uncounted is {uncounted})" if uncounted else ""
    click.echo(f"MACs {profile['macs']:,} dense, {profile['macs_effective']:,} effective{part}{packed}")
    kernel = profile["kernel"]
    rest = f"; in torch: {', '.join(kernel['outside'])}" if kernel["outside"] else ""
    click.echo(f"In the plan: {kernel['macs_share']:.1%} of the MACs{' that were counted' if uncounted else ''}{rest}")

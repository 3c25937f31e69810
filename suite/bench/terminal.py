"""The table of ``suite profile --peers``: plans and peers, timed in the same rounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from suite.bench.numbers import fastest, ratio
from suite.reporting.cells import MISSING, digits, times


def race_table(title: str, races: Sequence[Mapping[str, Any]], console: Console) -> None:
    """Print `races` (`suite.bench.race.Race.record`, one per thread count) and why any peer is absent.

    The ratio is the median of the fastest fp32 peer over the row's own: above 1 the row is faster than that peer.
    """
    table = Table(title=escape(title), box=SIMPLE_HEAD, title_justify="left", padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("contender")
    table.add_column("arithmetic")
    for heat in races:
        for heading in (f"{heat['threads']}T ms", "over it"):
            table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("error", justify="right")
    names = list(dict.fromkeys(name for heat in races for name in heat["timings"]))
    for name in names:
        cells = [name, precision(races, name)]
        for heat in races:
            timing, best = heat["timings"].get(name), fastest(heat)
            cells.append(f"{timing['median_ms']:.3f}{'~' if timing['noisy'] else ''}" if timing else MISSING)
            cells.append(ratio(heat, name) if timing and best else MISSING)
        errors = [heat["errors"][name] for heat in races if name in heat["errors"]]
        table.add_row(*cells, f"{max(errors):.0e}")
    console.print(table)
    peers = ", ".join(f"{heat['threads']}T: {fastest(heat) or 'none ran'}" for heat in races)
    console.print(f"over it: how many times faster than the fastest fp32 peer ({peers}); error: of the output, relative to "
                  "torch; ~: noisy, or a ratio with a noisy timing", highlight=False)
    for sentence in dict.fromkeys(sentence for heat in races for sentence in heat["absent"].values()):
        console.print(escape(sentence), highlight=False, soft_wrap=True)


def layer_table(title: str, layers: Sequence[Any], theirs: Mapping[str, float], console: Console) -> None:
    """Print `layers` (`suite.bench.layers.LayerTime`) beside OpenVINO's own milliseconds by layer name."""
    table = Table(title=escape(title), box=SIMPLE_HEAD, title_justify="left", padding=(0, 1, 0, 0), pad_edge=False)
    for heading, side in (("layer", "left"), ("kind", "left"), ("shape", "left"), ("kept", "right"), ("GFLOP/s", "right"),
                          ("ms", "right"), ("openvino", "right"), ("over it", "right")):
        table.add_column(heading, justify=side, no_wrap=heading != "layer")  # type: ignore[arg-type]
    for item in layers:
        other = theirs.get(item.name)
        table.add_row(
            escape(item.name), item.kind, item.shape, f"{item.kept:.0%}",
            f"{2 * item.effective / item.milliseconds / 1e6:.0f}", digits(item.milliseconds), digits(other),
            times(other / item.milliseconds if other else None),
        )
    console.print(table)
    console.print("One thread, each layer alone; OpenVINO's are from its own profile of the whole network, with the sums and "
                  "activations that it fused.", highlight=False)


def precision(races: Sequence[Mapping[str, Any]], name: str) -> str:
    """What a contender computes in: the plans are fp32."""
    return next((heat["precisions"][name] for heat in races if name in heat["precisions"]), "fp32")

"""``suite bench``: the kernel against its peers, as a page."""

from __future__ import annotations

import os
from pathlib import Path

import click


@click.command()
@click.argument("networks", nargs=-1, metavar="[NETWORK]...")
@click.option("--to", default="reports/kernel", show_default=True, type=click.Path(path_type=Path), help="The page's folder.")
@click.option("--calls", default=60, show_default=True, help="Timed calls of each contender and network.")
@click.option("--seconds", default=3.0, show_default=True, help="A contender ends earlier after so much time of its own.")
@click.option("--simd", type=click.Choice(["avx512", "avx2", "portable"]),
              help="Force the kernel's SIMD path; avx2 also limits the peers that can be limited.")
@click.option("--again", is_flag=True, help="Time networks again that are timed.")
def command(networks: tuple[str, ...], to: Path, calls: int, seconds: float, simd: str | None, again: bool) -> None:
    """Time whole networks and their layers, dense and 1xN-pruned, against the installed peers, and write the page.

    Needs about 20 minutes on two quiet cores; stopped, it goes on with the next network. Peers: pip install 'suite[peers]'.
    The page alone, without timing: suite report kernel
    """
    if simd:
        os.environ["SUITE_SIMD"] = simd
    if simd == "avx2":  # read by oneDNN (torch, OpenVINO) and by torch's own loops, when they are loaded
        os.environ |= {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
    from suite.bench.benchmark import bench, choose
    from suite.bench.page import render

    chosen = choose(networks)
    path = to / (f"results-{simd}.json" if simd else "results.json")
    bench(path, chosen, calls=calls, seconds=seconds, again=again, say=lambda sentence: click.echo(f"  {sentence}", err=True))
    for written in render(to):
        click.echo(written)

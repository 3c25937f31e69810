"""Two figures per table: quality against effective MACs, and against measured latency. The same records give the same bytes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from suite.report.rows import Group, Row
from suite.report.tables import columns

# Okabe and Ito's palette, told apart by colour-blind readers; markers tell methods apart in grey.
_COLOURS = ("#000000", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")


def pareto(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points (cost, quality) that no other beats in both, by rising cost; less cost and more quality are better."""
    front: list[tuple[float, float]] = []
    for cost, quality in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or quality > front[-1][1]:
            front.append((cost, quality))
    return front


def draw(group: Group, folder: Path, stem: str) -> list[Path]:
    """Write both figures as SVG and PDF; the latency figure only where latencies were measured. The files' paths."""
    place = group.places[0] if group.places else None
    sizes: dict[str, tuple[str, Callable[[Row], float | None]]] = {
        "macs": ("effective MACs (millions)", lambda row: _scaled(row.mean("macs_effective"), 1e-6))}
    if place:
        sizes["latency"] = ("measured latency of one image, one thread (ms)", lambda row: row.latency("one", "sparse", place))
    made = []
    for name, (heading, size) in sizes.items():
        if sum(size(row) is not None for row in group.rows) > 1:
            made += _figure(group, heading, size, folder / f"{stem}-{name}")
    return made


def _scaled(number: float | None, factor: float) -> float | None:
    return None if number is None else number * factor


def _figure(group: Group, heading: str, size: Callable[[Row], float | None], path: Path) -> list[Path]:
    import matplotlib
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.5, 3.8), layout="constrained")
    axes = figure.add_subplot()
    quality = columns(group)[0]
    for index, method in enumerate(dict.fromkeys(row.method for row in group.rows)):
        rows = [row for row in group.rows if row.method == method and None not in (size(row), quality.number(row))]
        if rows:
            axes.errorbar(
                [size(row) or 0.0 for row in rows], [quality.number(row) or 0.0 for row in rows],
                yerr=[row.deviation("score") or 0.0 for row in rows], linestyle="none", label=method, capsize=2,
                color=_COLOURS[index % len(_COLOURS)], marker=_MARKERS[index % len(_MARKERS)], markersize=5,
            )
    points = [(size(row), quality.number(row)) for row in group.rows]
    front = pareto([(cost, score) for cost, score in points if cost is not None and score is not None])
    axes.plot(*zip(*front, strict=True), color="0.6", linewidth=1, zorder=0, label="Pareto front")
    axes.set(xlabel=heading, ylabel=quality.heading)
    facts = group.facts
    axes.set_title(f"{facts['task']}, {facts['arch']}, {facts['source']} data, {facts['scale']}", fontsize=9)
    axes.grid(color="0.9")
    axes.legend(fontsize=7, frameon=False)
    with matplotlib.rc_context({"svg.hashsalt": "suite", "svg.fonttype": "none"}):
        figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})
        figure.savefig(path.with_suffix(".pdf"), metadata={"CreationDate": None})
    return [path.with_suffix(".svg"), path.with_suffix(".pdf")]

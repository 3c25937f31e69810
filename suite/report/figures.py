"""Vector figures of a table's rows. The same records give the same bytes under one version of matplotlib."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from suite.errors import UserError, nearest
from suite.report import cells, statistics
from suite.report.columns import columns, label
from suite.report.notes import start
from suite.report.rows import Group, Row, timings

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette, told apart by colour-blind readers; markers and dashes tell series apart in grey.
COLOURS = ("#000000", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_DASHES = ("-", "--", ":", "-.")


class Axis(NamedTuple):
    """What a scatter plot has along x: a heading and a row's number."""

    heading: str
    number: Callable[[Row], float | None]


def pareto(points: Sequence[tuple[float, float]], higher: bool = True) -> list[tuple[float, float]]:
    """The points (cost, quality) that no other beats in both, by rising cost; less cost is better, and more quality if `higher`."""
    sign = 1 if higher else -1
    front: list[tuple[float, float]] = []
    for cost, quality in sorted(points, key=lambda point: (point[0], -sign * point[1])):
        if not front or sign * quality > sign * front[-1][1]:
            front.append((cost, quality))
    return front


def costs(group: Group) -> dict[str, Axis]:
    """Effective MACs, and measured latency where it was measured on the group's commonest machine; only axes with two numbers."""
    found = {"macs": Axis("effective MACs (millions)", lambda row: _scaled(row.mean("macs_effective"), 1e-6))}
    if group.places:
        found["latency"] = Axis("measured latency of one input, one thread (ms)",
                                lambda row: row.latency("one", "sparse", group.places[0]))
    return {name: axis for name, axis in found.items() if sum(axis.number(row) is not None for row in group.rows) > 1}


def _scaled(number: float | None, factor: float) -> float | None:
    return None if number is None else number * factor


def draw_all(groups: Sequence[Group], wanted: Sequence[str], folder: Path) -> dict[Path, Group]:
    """Write the figures named in `wanted` (of `FIGURES`) of every group as SVG and PDF; their paths, each with its group.

    A figure that a group has no numbers for is left out. UserError for a name that is no figure.
    """
    for name in wanted:
        if name not in FIGURES:
            raise UserError(f"There is no figure '{name}'{nearest(name, FIGURES)}")
    made = {}
    for group in groups:
        for name in wanted:
            for kind, paint in FIGURES[name](group):
                for path in _save(group, paint, folder / f"{stem(group)}-{kind}"):
                    made[path] = group
    return made


def stem(group: Group) -> str:
    """The beginning of a group's file names, and its anchor in a page: letters, digits and hyphens."""
    facts = group.facts
    words = [facts["task"], f"v{facts['task_version']}", facts["arch"], *facts["start"].split("/")[1:], facts["source"],
             facts["source_digest"][:6], facts["scale"]]
    words += [f"{name}-{item}" for name, item in json.loads(facts["task_options"]).items() if item not in ("", None)]
    return re.sub(r"[^A-Za-z0-9]+", "-", "-".join(map(str, filter(None, words)))).strip("-")


Paint = Callable[["Axes"], None]


def _save(group: Group, paint: Paint, path: Path) -> list[Path]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.5, 3.8))
    axes = figure.add_axes((0.13, 0.16, 0.84, 0.76))
    paint(axes)
    facts = group.facts
    words = [facts["task"], start(group), f"{facts['source']} data", facts["scale"]]
    axes.set_title(literal(", ".join(word for word in words if word)), fontsize=9)
    axes.grid(color="0.9")
    axes.set_axisbelow(True)
    entries = len(axes.get_legend_handles_labels()[1])
    if entries > 5:  # beside the curves, not on them
        figure.set_size_inches(8.6, 3.8)
        axes.set_position((0.085, 0.16, 0.54, 0.76))
        axes.legend(fontsize=7, frameon=False, loc="upper left", bbox_to_anchor=(1.01, 1.0))
    elif entries:
        axes.legend(fontsize=7, frameon=False)
    return save(figure, path)


def save(figure: Figure, path: Path) -> list[Path]:
    """Write a figure as SVG and PDF, the same bytes for the same figure; the two paths."""
    import matplotlib

    path.parent.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context({"svg.hashsalt": "suite", "svg.fonttype": "none"}):
        figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})
        figure.savefig(path.with_suffix(".pdf"), metadata={"CreationDate": None})
    return [path.with_suffix(".svg"), path.with_suffix(".pdf")]


def literal(text: object) -> str:
    """Foreign text for matplotlib, to which a dollar sign means mathematics."""
    return cells.clean(text).replace("$", r"\$")


def _by_method(group: Group) -> Iterator[tuple[list[Row], dict[str, Any]]]:
    """The rows of each method, with the look of its series."""
    for index, method in enumerate(dict.fromkeys(row.method for row in group.rows)):
        yield [row for row in group.rows if row.method == method], {**_look(index), "label": literal(method)}


def _look(index: int) -> dict[str, Any]:
    return {"color": COLOURS[index % len(COLOURS)], "marker": _MARKERS[index % len(_MARKERS)], "markersize": 5}


def _scatters(kind: str) -> Callable[[Group], Iterator[tuple[str, Paint]]]:
    """Quality with its deviation against a cost, with the Pareto front."""
    def figures(group: Group) -> Iterator[tuple[str, Paint]]:
        quality, axis = columns(group, ("quality",))[:1], costs(group).get(kind)
        if axis is None or not quality:
            return

        def paint(axes: Axes) -> None:
            points = []
            for rows, look in _by_method(group):
                known = [(x, y, row.deviation("score") or 0.0) for row in rows
                         if (x := axis.number(row)) is not None and (y := quality[0].number(row)) is not None]
                points += [(x, y) for x, y, _ in known]
                if known:
                    across, up, error = zip(*known, strict=True)
                    axes.errorbar(across, up, yerr=error, linestyle="none", capsize=2, **look)
            front = pareto(points, bool(group.facts["higher_is_better"]))
            axes.plot(*zip(*front, strict=True), color="0.6", linewidth=1, zorder=0, label="Pareto front", drawstyle="steps-post")
            axes.set(xlabel=axis.heading, ylabel=literal(quality[0].heading))

        yield kind, paint

    return figures


def ratios(group: Group) -> list[tuple[Row, float, float]]:
    """What MACs promise and what the clock says: the reference's dense MACs and latency over each row's own, both as factors.

    A row of the reference's shape, or without one that was timed, stands against its own dense weights, timed in the same rounds.
    """
    if not group.places:
        return []
    place = group.places[0]
    before = next((row.latency("one", "dense", place) for row in group.rows if row.role == "reference"), None)
    found = []
    for row in group.rows:
        macs, left = row.mean("reference_macs") if before else row.mean("macs"), row.mean("macs_effective")
        own = row.latency("one", "dense", place)
        dense = own if before is None or row.mean("macs") == row.mean("reference_macs") else before
        sparse = row.latency("one", "sparse", place)
        if row.role != "reference" and macs and left and dense and sparse:
            found.append((row, macs / left, dense / sparse))
    return found


def _ratio(group: Group) -> Iterator[tuple[str, Paint]]:
    found = ratios(group)
    if len(found) < 2:
        return

    def paint(axes: Axes) -> None:
        for rows, look in _by_method(group):
            own = [(promised, measured) for row, promised, measured in found if row in rows]
            if own:
                axes.plot(*zip(*own, strict=True), linestyle="none", **look)
        limits = min(min(item[1:]) for item in found), max(max(item[1:]) for item in found)
        axes.plot(limits, limits, color="0.6", linewidth=1, zorder=0, label="as promised")
        axes.set(xlabel="what MACs promise: reference MACs / effective MACs", ylabel="what the clock says: latency ratio")

    yield "ratio", paint


def _sparsity(group: Group) -> Iterator[tuple[str, Paint]]:
    """Quality by sparsity, a line per method and its other options, with the deviation over seeds."""
    series: dict[str, list[tuple[float, float, float]]] = {}
    for row in group.rows:
        share, score = json.loads(row.first("options")).get("sparsity"), row.mean("score")
        if not row.role and isinstance(share, int | float) and score is not None:
            words = [word for word in row.options.split() if not word.startswith("sparsity=")]
            series.setdefault(" ".join([row.method, *words]), []).append((float(share), score, row.deviation("score") or 0.0))
    if not any(len(points) > 1 for points in series.values()):
        return

    def paint(axes: Axes) -> None:
        for index, (name, points) in enumerate(series.items()):
            across, up, error = zip(*sorted(points), strict=True)
            axes.errorbar(across, up, yerr=error, capsize=2, linestyle=_DASHES[index % len(_DASHES)], label=literal(name),
                          **_look(index))
        for row in group.rows:
            if row.role and (score := row.mean("score")) is not None:
                axes.axhline(score, color="0.5", linestyle="-" if row.role == "reference" else "--", linewidth=1,
                             label=literal(label(row)))
        axes.set(xlabel="sparsity", ylabel=literal(columns(group, ("quality",))[0].heading))

    yield "sparsity", paint


def _curves(group: Group) -> Iterator[tuple[str, Paint]]:
    """One figure per logged quantity that at least two rows have: the mean over the seeds that reached a step."""
    names = [name for row in group.rows for name in sorted(row.first("curves") or {})]
    for name in dict.fromkeys(name for name in names if names.count(name) > 1):
        def paint(axes: Axes, name: str = name) -> None:
            for rows, look in _by_method(group):
                for index, row in enumerate(rows):
                    if line := _curve(row, name):
                        axes.plot(*zip(*line, strict=True), linestyle=_DASHES[index % len(_DASHES)], linewidth=1,
                                  **{**look, "label": literal(label(row)), "markersize": 3, "markevery": max(1, len(line) // 8)})
            axes.set(xlabel="optimiser steps", ylabel=literal(name))

        yield f"curve-{re.sub(r'[^A-Za-z0-9]+', '-', name)}", paint


def _curve(row: Row, name: str) -> list[tuple[float, float]]:
    steps: dict[float, list[float]] = {}
    for seed in row.seeds:
        for step, number in (seed["curves"] or {}).get(name, ()):
            if number is not None:
                steps.setdefault(step, []).append(number)
    return [(step, statistics.mean(steps[step]) or 0.0) for step in sorted(steps)]


def _growth(group: Group) -> Iterator[tuple[str, Paint]]:
    """A task's own timings by the number of items, both axes logarithmic, a line per row: where two of them cross is seen here."""
    machine, found = timings(group)
    timed = [timing for timing in found if timing[1] is not None]
    if len(timed) < 2:
        return
    counts = [items for _, items in timed]

    def paint(axes: Axes) -> None:
        for rows, look in _by_method(group):
            for index, row in enumerate(rows):
                points = [(timing[1], time) for timing in timed if (time := row.timing(timing, machine)) is not None]
                if points:
                    axes.plot(*zip(*points, strict=True), linestyle=_DASHES[index % len(_DASHES)],
                              **{**look, "label": literal(label(row))})
        axes.set(xscale="log", yscale="log", xlabel="items", ylabel="time on one thread (ms)", xticks=counts,
                 xticklabels=counts)
        axes.minorticks_off()

    yield "growth", paint


def _steps(group: Group) -> Iterator[tuple[str, Paint]]:
    """The score after each artifact of methods that yield several, a line per row."""
    lines = [(row, numbers) for row in group.rows if (numbers := row.steps(group.facts["metric"]))]

    def paint(axes: Axes) -> None:
        for index, (row, numbers) in enumerate(lines):
            axes.plot(range(1, len(numbers) + 1), numbers, **_look(index), label=literal(label(row)))
        axes.set(xlabel="step", ylabel=literal(columns(group, ("quality",))[0].heading))

    if lines:
        yield "steps", paint


FIGURES: dict[str, Callable[[Group], Iterator[tuple[str, Paint]]]] = {
    "macs": _scatters("macs"), "latency": _scatters("latency"), "ratio": _ratio, "sparsity": _sparsity, "curves": _curves,
    "growth": _growth, "steps": _steps}

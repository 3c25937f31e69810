"""Vector figures in files, drawn by matplotlib. The same records give the same bytes under one version of it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING

from suite.reporting import cells
from suite.reporting.charts import COLOURS, Chart, charts
from suite.reporting.labels import labels, limits
from suite.reporting.notes import start
from suite.reporting.rows import Group

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_DASHES = ("-", "--", ":", "-.")


def draw_all(groups: Sequence[Group], wanted: Sequence[str], folder: Path) -> list[Path]:
    """Write the charts `wanted` (of `suite.reporting.charts.CHARTS`) of every group as SVG and PDF; the paths."""
    return [path for group in groups for chart in charts(group, wanted)
            for path in _save(group, chart, folder / f"{stem(group)}-{chart.name}")]


def stem(group: Group) -> str:
    """The beginning of a group's file names, and its anchor in a page: letters, digits and hyphens."""
    facts = group.facts
    words = [facts["task"], f"v{facts['task_version']}", facts["arch"], *facts["start"].split("/")[1:], facts["source"],
             facts["source_digest"][:6], facts["scale"]]
    words += [f"{name}-{item}" for name, item in json.loads(facts["task_options"]).items() if item not in ("", None)]
    return re.sub(r"[^A-Za-z0-9]+", "-", "-".join(map(str, filter(None, words)))).strip("-")


def _save(group: Group, chart: Chart, path: Path) -> list[Path]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE)
    axes = figure.add_axes(AREA)
    paint(chart, axes)
    facts = group.facts
    words = [facts["task"], start(group), f"{facts['source']} data", facts["scale"]]
    axes.set_title(literal(", ".join(word for word in words if word)), fontsize=9)
    axes.grid(color="0.9")
    axes.set_axisbelow(True)
    told = {item.get_text() for item in axes.texts} & {literal(series.name) for series in chart.series if series.dash is not None}
    entries = [(handle, "\n".join(wrap(words, 36, subsequent_indent="  ")))
               for handle, words in zip(*axes.get_legend_handles_labels(), strict=True) if words not in told]
    if entries:
        axes.legend(*zip(*entries, strict=True), fontsize=7, frameon=False, loc="upper left", bbox_to_anchor=(1.01, 1.0))
    return save(figure, path)


SIZE = (8.6, 4.4)  # inches
AREA = (0.085, 0.13, 0.66, 0.79)  # of the axes, as shares of the figure; the legend stands beside them
FONT = 6.0  # of the names at points and lines, in points


def paint(chart: Chart, axes: Axes) -> None:
    """Draw a chart's series and guides, with names at points and at the ends of lines where they have room."""
    for series in chart.series:
        across, up, error, _, doubts = zip(*series.points, strict=True)
        colour = COLOURS[series.colour % len(COLOURS)]
        marker = MARKERS[series.colour % len(MARKERS)]
        axes.errorbar(
            across, up, yerr=error if any(error) else None, capsize=2, label=literal(series.name),
            color=colour, marker=marker, markersize=4,
            linestyle="none" if series.dash is None else _DASHES[series.dash % len(_DASHES)], linewidth=1,
            markevery=None if series.dash is None else max(1, len(across) // 8),
        )
        hollow = [(x, y) for x, y, doubt in zip(across, up, doubts, strict=True) if doubt]
        if hollow:
            axes.plot(*zip(*hollow, strict=True), linestyle="none", marker=marker, markersize=4, color=colour,
                      markerfacecolor="white", zorder=3)
    reasons = dict.fromkeys(point.doubt for series in chart.series for point in series.points if point.doubt)
    if reasons:
        axes.plot([], [], "o", color="0.4", markerfacecolor="white", markersize=4, label=f"hollow: {', '.join(reasons)}")
    for guide in chart.guides:
        axes.plot(*zip(*guide.points, strict=True), color="0.6", linewidth=1, zorder=0, label=literal(guide.name),
                  linestyle="--" if guide.dashed else "-", drawstyle="steps-post" if guide.steps else "default")
    axes.set(xlabel=literal(chart.across), ylabel=literal(chart.up))
    if chart.ticks:
        axes.set(xscale="log", yscale="log", xticks=chart.ticks, xticklabels=chart.ticks)
        axes.minorticks_off()
    width, height = (72 * inches * share for inches, share in zip(SIZE, AREA[2:], strict=True))
    ranges = [[10 ** end if chart.ticks else end for end in ends] for ends in limits(chart, width, FONT)]
    axes.set(xlim=ranges[0], ylim=ranges[1])
    for name in labels(chart, width, height, FONT):
        axes.annotate(literal(name.text), (name.across, name.up), (name.right, name.above), textcoords="offset points",
                      fontsize=FONT, ha=name.side, va="center", color=name.colour)


def save(figure: Figure, path: Path, kinds: Sequence[str] = ("svg", "pdf")) -> list[Path]:
    """Write a figure as `path` with each of the suffixes `kinds`, the same bytes for the same figure; the paths."""
    import matplotlib

    path.parent.mkdir(parents=True, exist_ok=True)
    made = [path.with_name(f"{path.name}.{kind}") for kind in kinds]
    with matplotlib.rc_context({"svg.hashsalt": "suite", "svg.fonttype": "none"}):
        for file in made:
            figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else {"CreationDate": None})
    return made


def literal(text: object) -> str:
    """Foreign text for matplotlib, to which a dollar sign means mathematics."""
    return cells.clean(text).replace("$", r"\$")

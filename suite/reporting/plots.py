"""The charts in the page, drawn by Plotly: here they are plain dicts that it understands."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from suite.reporting.charts import COLOURS, Chart, Guide, Series, charts
from suite.reporting.html import text
from suite.reporting.labels import Label, labels, limits
from suite.reporting.rows import Group

ALWAYS = ("frontier", "macs", "latency", "ratio", "steps")  # whatever a report declares
_SYMBOLS = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "x", "star")
_DASHES = ("solid", "dash", "dot", "dashdot")
WIDTH, HEIGHT, FONT = 480.0, 300.0, 9.0  # of the axes at the least, and of the names in them, in pixels
_MANY = 16  # points of a line that are marked, at most


def plots(group: Group, wanted: Iterable[str]) -> list[dict[str, Any]]:
    """``{"data": traces, "layout": layout}`` of each chart in `ALWAYS` or `wanted` that a group has numbers for."""
    return [_plot(chart) for chart in charts(group, dict.fromkeys((*ALWAYS, *wanted)))]


def _plot(chart: Chart) -> dict[str, Any]:
    lines = any(series.dash is not None for series in chart.series)
    legend = {"font": {"size": 10}} if lines else {"orientation": "h", "y": 1.02, "yanchor": "bottom"}
    logarithmic = {"type": "log"} if chart.ticks else {}
    width = WIDTH - 160 * lines  # of which the legend takes its part
    across, up = limits(chart, width, FONT)
    layout = {
        "xaxis": {"title": {"text": text(chart.across)}, "range": across, **logarithmic,
                  **({"tickvals": chart.ticks} if chart.ticks else {})},
        "yaxis": {"title": {"text": text(chart.up)}, "range": up, **logarithmic},
        "annotations": [_annotation(label, bool(chart.ticks)) for label in labels(chart, width, HEIGHT, FONT)],
        "height": 420, "template": "none", "showlegend": True, "legend": legend, "margin": {"l": 60, "r": 10, "t": 20, "b": 50},
    }
    return {"data": [*map(_series, chart.series), *map(_guide, chart.guides)], "layout": layout}


def _annotation(label: Label, logarithmic: bool) -> dict[str, Any]:
    """A name beside its point, as Plotly has it: on a logarithmic axis at the logarithm."""
    across, up = (math.log10(item) if logarithmic else item for item in (label.across, label.up))
    return {"text": text(label.text), "x": across, "y": up, "xshift": label.right, "yshift": label.above, "xanchor": label.side,
            "yanchor": "middle", "showarrow": False, "font": {"size": FONT, "color": label.colour}}


def _series(series: Series) -> dict[str, Any]:
    across, up, errors, names, doubts = zip(*series.points, strict=True)
    mode = "markers" if series.dash is None else "lines" if len(across) > _MANY else "lines+markers"
    colour, symbol = COLOURS[series.colour % len(COLOURS)], _SYMBOLS[series.colour % len(_SYMBOLS)]
    texts = [text(", ".join(filter(None, found))) for found in zip(names, doubts, strict=True)]
    return {
        "type": "scatter", "mode": mode, "name": text(series.name), "x": across, "y": up,
        **({"text": texts} if any(texts) else {}),
        "hovertemplate": f"%{{{'text' if any(names) else 'fullData.name'}}}"
                         f"{'' if any(names) or not any(doubts) else ' %{text}'}<br>%{{x:.4g}}, %{{y:.4g}}<extra></extra>",
        "error_y": {"array": errors, "visible": any(errors), "thickness": 1},
        "marker": {"size": 9 if series.dash is None else 6, "color": colour,
                   "symbol": [f"{symbol}-open" if doubt else symbol for doubt in doubts] if any(doubts) else symbol},
        "line": {"color": colour, "width": 1, "dash": _DASHES[(series.dash or 0) % len(_DASHES)]},
    }


def _guide(guide: Guide) -> dict[str, Any]:
    across, up = zip(*guide.points, strict=True)
    return {"type": "scatter", "mode": "lines", "name": text(guide.name), "x": across, "y": up, "hoverinfo": "skip",
            "line": {"color": "#999999", "width": 1, "shape": "hv" if guide.steps else "linear",
                     "dash": "dash" if guide.dashed else "solid"}}

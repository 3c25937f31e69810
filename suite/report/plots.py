"""What Plotly draws in the page, as plain dicts; the figures of a paper are in :mod:`suite.report.figures`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from suite.report.columns import columns, label
from suite.report.figures import COLOURS, Axis, costs, pareto, ratios
from suite.report.html import text
from suite.report.rows import Group

Chart = dict[str, Any]  # {"data": traces, "layout": layout}
_SYMBOLS = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "x", "star")


class _Point(NamedTuple):
    name: str
    across: float
    up: float
    error: float


def plots(group: Group) -> list[Chart]:
    """Quality against each cost with the Pareto front, promised against measured speed-up where there are two
    numbers, and the score by step of methods that yield."""
    made = [_scatter(group, axis) for axis in costs(group).values()] if columns(group, ("quality",)) else []
    found = ratios(group)
    if len(found) > 1:
        ends = [min(min(item[1:]) for item in found), max(max(item[1:]) for item in found)]
        series = [_series(index, method, [_Point(label(row), x, y, 0.0) for row, x, y in found if row.method == method])
                  for index, method in enumerate(_methods(group))]
        made.append(_chart([*series, _line("as promised", ends, ends)], "what MACs promise: reference MACs / effective MACs",
                           "what the clock says: latency ratio"))
    lines = [_series(index, label(row), [_Point(f"{label(row)}, step {step}", step, number, 0.0)
                                         for step, number in enumerate(row.steps(group.facts["metric"]), 1)])
             for index, row in enumerate(group.rows)]
    if any(line["x"] for line in lines):
        made.append(_chart([{**line, "mode": "lines+markers"} for line in lines], "step", columns(group, ("quality",))[0].heading))
    return made


def _methods(group: Group) -> list[str]:
    return list(dict.fromkeys(row.method for row in group.rows))


def _scatter(group: Group, axis: Axis) -> Chart:
    quality = columns(group, ("quality",))[0]
    series, points = [], []
    for index, method in enumerate(_methods(group)):
        own = [_Point(label(row), x, y, row.deviation("score") or 0.0) for row in group.rows if row.method == method
               and (x := axis.number(row)) is not None and (y := quality.number(row)) is not None]
        series.append(_series(index, method, own))
        points += [(point.across, point.up) for point in own]
    front = pareto(points, bool(group.facts["higher_is_better"]))
    steps = _line("Pareto front", [x for x, _ in front], [y for _, y in front], "hv")
    return _chart([*series, steps], axis.heading, quality.heading)


def _series(index: int, method: str, points: Sequence[_Point]) -> Chart:
    errors = [point.error for point in points]
    return {
        "type": "scatter", "mode": "markers", "name": text(method), "x": [point.across for point in points],
        "y": [point.up for point in points], "text": [text(point.name) for point in points],
        "hovertemplate": "%{text}<br>%{x:.4g}, %{y:.4g}<extra></extra>",
        "error_y": {"array": errors, "visible": any(errors), "thickness": 1},
        "marker": {"size": 9, "color": COLOURS[index % len(COLOURS)], "symbol": _SYMBOLS[index % len(_SYMBOLS)]},
    }


def _line(name: str, across: Sequence[float], up: Sequence[float], shape: str = "linear") -> Chart:
    return {"type": "scatter", "mode": "lines", "name": name, "x": list(across), "y": list(up), "hoverinfo": "skip",
            "line": {"color": "#999999", "width": 1, "shape": shape}}


def _chart(series: Sequence[Chart], across: str, up: str) -> Chart:
    layout = {"xaxis": {"title": {"text": text(across)}}, "yaxis": {"title": {"text": text(up)}}, "height": 420, "template": "none",
              "margin": {"l": 60, "r": 10, "t": 20, "b": 50}, "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom"}}
    return {"data": [item for item in series if item["x"]], "layout": layout}

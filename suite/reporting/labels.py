"""Where the names of a chart's points and lines stand: at them, without overlaps; what has no room is left to the legend."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from suite.reporting.charts import COLOURS, Chart, Series

Box = tuple[float, float, float, float]  # left, bottom, right, top
Side = Literal["left", "center", "right"]  # of the text, on which it is anchored
WIDE, HIGH = 0.58, 1.15  # of a letter on average and of a line, as shares of the size of the font
MARK = 2.5  # half the size of a point's mark


class Limits(NamedTuple):
    """The ranges of both axes."""

    across: tuple[float, float]
    up: tuple[float, float]


class Label(NamedTuple):
    """A text at a point of the chart, shifted by `right` and `above` in the unit of the font's size; `side` is at that place."""

    text: str
    across: float
    up: float
    right: float
    above: float
    side: Side
    colour: str


class _Wish(NamedTuple):
    """A text that wants to stand at a point, at the end of a line rather behind it than above."""

    text: str
    point: tuple[float, float]
    series: Series
    end: bool


def limits(chart: Chart, width: float, font: float) -> Limits:
    """The ranges of the axes of a chart so many points `width`: all that is drawn, and room for names behind the ends of lines."""
    points = [point for series in chart.series for point in series.points]
    guides = [place for guide in chart.guides for place in guide.points]
    across = [_scaled(chart, item) for item in (*(point.across for point in points), *(place[0] for place in guides))]
    up = [_scaled(chart, item) for point in points for item in _ends(point.up, point.error)]
    up += [_scaled(chart, place[1]) for place in guides]
    names = [series.name for series in chart.series if _is_line(series)]
    behind = min(0.45, max(map(len, names)) * WIDE * font / width) if names else 0.0
    return Limits(_range(across, behind / (1 - behind)), _range(up, 0.0))


def labels(chart: Chart, width: float, height: float, font: float) -> list[Label]:
    """The names that have room on axes of this size; width, height and size of the font are in one unit.

    Lines are named at their ends. Of points that stand alone the first of a series has its whole name, and the others what tells
    them from their neighbours.
    """
    area = limits(chart, width, font)

    def place(across: float, up: float) -> tuple[float, float]:
        return tuple(size * (_scaled(chart, item) - low) / (high - low) for item, size, (low, high) in
                     zip((across, up), (width, height), area, strict=True))  # type: ignore[return-value]

    taken = [(x - MARK, y - MARK, x + MARK, y + MARK) for series in chart.series for point in _spread(series)
             for x, y in [place(point[0], point[1])]]
    found = []
    for wish in _wishes(chart):
        x, y = place(*wish.point)
        long, high = len(wish.text) * WIDE * font, HIGH * font
        for right, above, side in _offsets(wish.end, font):
            left = x + right - {"left": 0.0, "center": 0.5, "right": 1.0}[side] * long
            box = (left, y + above - high / 2, left + long, y + above + high / 2)
            inside = box[0] >= 0 and box[1] >= 0 and box[2] <= width and box[3] <= height
            if inside and not any(_meet(box, item) for item in taken):
                taken.append(box)
                found.append(Label(wish.text, *wish.point, right, above, side, ink(wish.series.colour)))
                break
    return found


def ink(colour: int) -> str:
    """A series' colour, dark enough for small letters."""
    found = COLOURS[colour % len(COLOURS)]
    return "#" + "".join(f"{int(0.65 * int(found[place:place + 2], 16)):02X}" for place in (1, 3, 5))


def _wishes(chart: Chart) -> Iterator[_Wish]:
    """The names of all series first, then those of single points."""
    rest = []
    for series in chart.series:
        last = series.points[-1]
        if _is_line(series):
            yield _Wish(series.name, last[:2], series, True)
            continue
        names = [point.name for point in series.points]
        if names[0]:
            yield _Wish(names[0], series.points[0][:2], series, False)
            short = zip(series.points[1:], _short(names)[1:], strict=True)
            rest += [_Wish(text, point[:2], series, False) for point, text in short if text]
    yield from rest


def _short(names: Sequence[str]) -> list[str]:
    """Of each name the words that not all have."""
    common = set.intersection(*(set(name.split()) for name in names))
    return [" ".join(word for word in name.split() if word not in common) for name in names]


def _offsets(end: bool, font: float) -> Iterator[tuple[float, float, Side]]:
    """Places to try, the best first."""
    near, line = 1.5 * MARK, HIGH * font
    yield near, 0.0, "left"
    if end:
        for step in (1, -1, 2, -2, 3, -3):
            yield near, 0.7 * step * line, "left"
    for above in (line, -line):
        yield 0.0, above, "center"
    yield -near, 0.0, "right"
    for right, side in ((near, "left"), (-near, "right")):
        for above in (0.8 * line, -0.8 * line):
            yield right, above, side  # type: ignore[misc]


def _spread(series: Series) -> list[tuple[float, float]]:
    """The points of a series; of a long line some."""
    step = max(1, len(series.points) // 60)
    return [(point.across, point.up) for point in series.points[::step]]


def _is_line(series: Series) -> bool:
    return series.dash is not None


def _meet(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _ends(middle: float, error: float) -> tuple[float, float]:
    return middle - error, middle + error


def _scaled(chart: Chart, number: float) -> float:
    """A number as its axis has it: by its logarithm where the chart has ticks."""
    return math.log10(number) if chart.ticks else number


def _range(numbers: Sequence[float], more: float) -> tuple[float, float]:
    """From the least to the greatest with a margin of 6 %, and a share `more` of it all on the right."""
    low, high = min(numbers), max(numbers)
    margin = 0.06 * (high - low) or 0.06 * abs(high) or 1.0
    whole = high - low + 2 * margin
    return low - margin, high + margin + more * whole

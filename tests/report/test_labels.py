"""Names at points and ends of lines: none overlaps another or a point, none leaves the axes, and what has no room is left out."""

from __future__ import annotations

from itertools import combinations

import pytest
from matplotlib.figure import Figure
from records import family

from suite.reporting import figures, labels
from suite.reporting.charts import Chart, Guide, Point, Series, charts
from suite.reporting.flat import flatten
from suite.reporting.plots import plots
from suite.reporting.rows import groups

WIDTH, HEIGHT, FONT = 400.0, 250.0, 6.0


def boxes(chart):
    """What each label covers, from the left lower corner of the axes on."""
    (left, right), (low, high) = labels.limits(chart, WIDTH, FONT)
    for label in labels.labels(chart, WIDTH, HEIGHT, FONT):
        x = WIDTH * (label.across - left) / (right - left) + label.right
        y = HEIGHT * (label.up - low) / (high - low) + label.above
        long = len(label.text) * labels.WIDE * FONT
        x -= {"left": 0, "center": long / 2, "right": long}[label.side]
        yield x, y - labels.HIGH * FONT / 2, x + long, y + labels.HIGH * FONT / 2


def scattered(count):
    points = [Point(float(place % 7), float(place * 3 % 11), name=f"method n={place} sparsity=0.5") for place in range(count)]
    return Chart("x", "across", "up", [Series("method", points, 0)])


@pytest.mark.parametrize("chart", [
    scattered(12), scattered(77),
    Chart("y", "across", "up", [Series(f"line {place}", [Point(0.0, 0.0), Point(1.0, 1.0 + place / 1000)], place, 0) for place in range(6)]),
], ids=["some points", "too many points", "lines that end close together"])
def test_no_label_overlaps_another_or_leaves_the_axes(chart):
    found = list(boxes(chart))
    assert found and not any(labels._meet(one, other) for one, other in combinations(found, 2))
    assert all(min(box) >= 0 and box[2] <= WIDTH and box[3] <= HEIGHT for box in found)


def test_points_are_named_by_what_tells_them_apart_and_lines_at_their_ends():
    texts = [label.text for label in labels.labels(scattered(3), WIDTH, HEIGHT, FONT)]
    assert texts == ["method n=0 sparsity=0.5", "n=1", "n=2"]
    chart = Chart("y", "across", "up", [Series("a", [Point(0.0, 0.0), Point(2.0, 5.0)], 0, 0), Series("b", [Point(0.0, 1.0), Point(1.0, 2.0)], 1, 0)],
                  [Guide("g", [(0.0, -5.0), (1.0, 9.0)])])
    assert [(label.text, label.across, label.up) for label in labels.labels(chart, WIDTH, HEIGHT, FONT)] == [("a", 2.0, 5.0), ("b", 1.0, 2.0)]
    (left, right), (low, high) = labels.limits(chart, WIDTH, FONT)
    assert left < 0 and right > 2 and low < -5 and high > 9  # guides are drawn whole


def test_what_has_no_room_is_left_to_the_legend(tmp_path):
    many = Chart("y", "across", "up", [Series(f"line {place}", [Point(0.0, 0.0), Point(1.0, 1.0)], place, 0) for place in range(30)])
    assert 3 < len(labels.labels(many, WIDTH, HEIGHT, FONT)) < 30


def test_files_and_page_have_the_names():
    (group,) = groups(flatten([item for seed in range(3) for item in family(seed, {"one_by_n": 1.0, "<b>$x$</b>": 4.0})]), ("sparsity",))
    (chart,) = charts(group, ["sparsity"])
    axes = Figure().add_subplot()
    figures.paint(chart, axes)
    assert [text.get_text() for text in axes.texts] == [r"<b>\$x\$</b> n=4", "one_by_n n=4"]  # as text, not as mathematics
    plot = plots(group, ["sparsity"])[-1]
    assert [item["text"] for item in plot["layout"]["annotations"]] == ["&lt;b&gt;$x$&lt;/b&gt; n=4", "one_by_n n=4"]
    assert axes.get_xlim()[1] > 0.8 and plot["layout"]["xaxis"]["range"][1] > 0.8

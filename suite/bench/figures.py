"""The figures of the kernel's page: speed-up by sparsity, and a roofline. The same results give the same bytes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from suite.bench.benchmark import SHARES, SUBJECTS, WIDTHS, contender
from suite.bench.numbers import Results, noisy, shapes, speedup
from suite.reporting.charts import COLOURS
from suite.reporting.figures import MARKERS, save


def ratios(results: Results, names: Sequence[str], path: Path) -> Path:
    """Write `path`.svg, one panel per thread count: times faster than the fastest fp32 peer, by the share of blocks removed."""
    from matplotlib.figure import Figure

    threads = sorted({int(key) for name in names for key in results["networks"][name]["races"]})
    figure = Figure(figsize=(4.2 * max(1, len(threads)) + 1.8, 4.0), layout="constrained")
    panels = figure.subplots(1, max(1, len(threads)), sharey=True, squeeze=False)[0]
    for axes, number in zip(panels, threads, strict=False):
        for index, name in enumerate(names):
            heat = results["networks"][name]["races"].get(str(number), {"timings": {}, "precisions": {}})
            for n, style in zip(WIDTHS, ("-", ":"), strict=True):
                points = [(share, ratio) for share in SHARES if (ratio := speedup(heat, contender(n, share))) is not None]
                look = {"marker": MARKERS[index % 7], "markersize": 4, "color": COLOURS[index % 7]}
                if points:
                    axes.plot(*zip(*points, strict=True), style, label=f"{SUBJECTS[name].title}, N = {n}", **look)
                for share, ratio in points:
                    if noisy(heat, contender(n, share)):
                        axes.plot(share, ratio, markerfacecolor="white", **look)
        axes.axhline(1.0, color="0.5", linewidth=1)
        axes.set(title=f"{number} thread{'s' * (number > 1)}", xlabel="share of 1xN blocks removed", yscale="log")
        axes.set_yticks([0.5, 1, 2, 3, 5, 8], ["0.5", "1", "2", "3", "5", "8"])
        axes.minorticks_off()
        axes.grid(color="0.9")
    panels[0].set_ylabel("times faster than the fastest dense fp32 engine")
    panels[0].plot([], [], "o", color="0.4", markerfacecolor="white", markersize=4, label="hollow: noisy timing")
    figure.legend(*panels[0].get_legend_handles_labels(), fontsize=7, loc="outside right upper", frameon=False)
    return save(figure, path, ("svg",))[0]


def roofline(results: Results, names: Sequence[str], path: Path) -> Path:
    """Write `path`.svg: rates of layers on non-zero weights by operations per byte, under the measured ceilings of one thread."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.5, 5.0), layout="constrained")
    axes = figure.add_subplot()
    for index, share in enumerate(SHARES):
        for place, name in enumerate(names):
            points = [(item.intensity(share), item.rate(share)) for item in shapes(results["networks"][name]) if item.work[share]]
            if points:
                axes.plot(*zip(*points, strict=True), linestyle="none", marker=MARKERS[place % 7], markersize=4, alpha=0.7,
                          color=COLOURS[index % 7])
    roof = results["ceilings"]["1"]
    ends = (0.1, 1000.0)
    axes.plot(ends, [roof["fma"]] * 2, color="black", linewidth=1)
    axes.annotate(f"multiply-adds {roof['fma']:.0f} GFLOP/s", (ends[1], roof["fma"]), ha="right", va="bottom", fontsize=7)
    for level, rate in roof["read"].items():
        knee = roof["fma"] / rate
        axes.plot([ends[0], knee], [ends[0] * rate, roof["fma"]], color="0.5", linewidth=1)
        axes.annotate(f"{level} {rate:.0f} GB/s", (ends[0], ends[0] * rate), fontsize=7, va="bottom")
    axes.set(xscale="log", yscale="log", xlabel="operations on non-zero weights per byte of weights, input and output",
             ylabel="GFLOP/s on non-zero weights, one thread", title="Layers under the measured ceilings")
    made = [axes.plot([], [], "s", color=colour, label=f"{share:.0%} removed")[0]
            for share, colour in zip(SHARES, COLOURS, strict=False)]
    made += [axes.plot([], [], MARKERS[place % 7], color="0.4", label=SUBJECTS[name].title)[0] for place, name in enumerate(names)]
    figure.legend(handles=made, fontsize=7, loc="outside right upper", frameon=False)
    axes.grid(color="0.92")
    return save(figure, path, ("svg",))[0]


FIGURES = {"ratios": ratios, "roofline": roofline}

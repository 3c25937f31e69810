"""How far the claims of all systems are: held, refuted, undecided, not yet tried; one bar each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from suite.claims import SCALES
from suite.reporting.declare import System
from suite.reporting.figures import literal, save
from suite.reporting.overview import SOURCES
from suite.reporting.verdicts import Tested

STATES = ("held", "refuted", "undecided", "not yet tried")
COLOURS = {"held": "#009E73", "refuted": "#D55E00", "undecided": "#F0C75E", "not yet tried": "#D9D9D9"}  # Okabe and Ito's, and grey
HATCHES = {"held": "", "refuted": "//", "undecided": "..", "not yet tried": ""}  # told apart without colours too


class Progress(NamedTuple):
    """A system with how many of its claims are in each of `STATES`; without a file in ``baselines/`` it has none."""

    title: str
    counts: dict[str, int]


def progress(systems: Sequence[System], tested: Sequence[Tested]) -> list[Progress]:
    """A line per system in their order. Each claim counts once: as decided by the most telling data and the largest scale that
    decide it, else as undecided where it has runs that could.
    """
    found = []
    for system in systems:
        claims: dict[str, list[Tested]] = {}
        for item in tested:
            if item.method == system.name:
                claims.setdefault(item.claim.name, []).append(item)
        counted = Counter(state(items) for items in claims.values())
        found.append(Progress(system.title, {name: counted[name] for name in STATES}))
    return found


def state(items: Sequence[Tested]) -> str:
    """What became of one claim, from its verdicts on all data and scales."""
    decided = [item for item in items if item.verdict.finding in ("holds", "refuted")]
    if not decided:
        return "undecided" if any(item.place for item in items) else "not yet tried"
    best = min(decided, key=lambda item: (SOURCES.index(item.place[2].partition(",")[0]), -SCALES.index(item.place[4])))
    return "held" if best.verdict.finding == "holds" else "refuted"


def sentence(found: Sequence[Progress]) -> str:
    """All claims of all systems, counted."""
    total = Counter({name: sum(item.counts[name] for item in found) for name in STATES})
    listed = ", ".join(f"{total[name]} {name}" for name in STATES)
    without = sum(not sum(item.counts.values()) for item in found)
    more = f"; {without} {'system has' if without == 1 else 'systems have'} no claim that could be read here yet" if without else ""
    return f"{total.total()} claims of {len(found)} systems: {listed}{more}."


def draw(found: Sequence[Progress], path: Path) -> list[Path]:
    """Write the figure as `path` with the suffixes of `save`; the paths."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(8.0, max(2.0, 0.6 + 0.2 * len(found))), layout="constrained")
    axes = figure.add_subplot()
    places = range(len(found))
    starts = [0] * len(found)
    for name in STATES:
        numbers = [item.counts[name] for item in found]
        total = sum(numbers)
        bars = axes.barh(places, numbers, 0.78, starts, color=COLOURS[name], hatch=HATCHES[name], edgecolor="white", linewidth=0.5,
                         label=f"{name} ({total})")
        axes.bar_label(bars, [str(number or "") for number in numbers], label_type="center", fontsize=7)
        starts = [start + number for start, number in zip(starts, numbers, strict=True)]
    for place, whole in zip(places, starts, strict=True):
        if not whole:
            axes.annotate("not here yet", (0, place), (4, 0), textcoords="offset points", va="center", fontsize=7, color="0.45")
    axes.set_yticks(places, [literal(item.title) for item in found], fontsize=7)
    axes.tick_params(axis="y", length=0)
    axes.invert_yaxis()
    axes.margins(y=0.01)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("claims of its paper", fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper center", ncols=len(STATES), fontsize=8, frameon=False)
    return save(figure, path)

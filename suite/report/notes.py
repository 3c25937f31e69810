"""What stands around a table: its title, its caption, the footnotes that its rows refer to, and what its columns mean."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

from suite import plugins
from suite.contract import options_of
from suite.errors import UserError
from suite.options import build
from suite.record import timing_name
from suite.report import cells
from suite.report.columns import Column, noisy, shown
from suite.report.rows import Group, Row, timings


class Footnotes(NamedTuple):
    """`general` ones for the whole table, numbered `notes`, and the numbers (from 1) that each row refers to."""

    general: list[str]
    notes: list[str]
    marks: list[list[int]]

    @property
    def all(self) -> list[str]:
        """Every footnote as a line of plain text, numbered ones first."""
        return [f"{number}: {text}" for number, text in enumerate(self.notes, 1)] + self.general


def footnotes(group: Group, kinds: Sequence[str] = ()) -> Footnotes:
    """What a reader must know beside the numbers: stand-ins, layers outside the plan, places of published numbers, noise, and
    rows that were trained otherwise than most, or by an older core."""
    numbers: dict[str, int] = {}
    texts = [[*_notes(row), *doubts] for row, doubts in zip(group.rows, doubtful(group), strict=True)]
    marks = [sorted(numbers.setdefault(cells.clean(text), len(numbers) + 1) for text in found) for found in texts]
    general = ["Bold is best and underlined second best of a block; references and teachers take no part."]
    if all(map(_old, group.rows)):
        general.append("Every row was made by an older version of the core.")
    if not kinds or "latency" in kinds:
        timed = ("one", "all", *(f"timing.{timing_name(*timing)}" for timing in timings(group)[1]))
        if any(noisy(row, what) for row in group.rows for what in timed):
            general.append("~ noisy timing: the 90th percentile or the drift of some seed is large.")
        if len(group.places) > 1:
            general.append("Latencies of other machines or kernel versions than the commonest are left out.")
    return Footnotes(general, list(numbers), marks)


#: Flat column in which rows of a table should agree: the note on a row that does not.
_TRAINED = {"precision": "Trained at precision {}, most rows at {}.", "threads": "Trained on threads: {}, most rows: {}.",
            "device": "Trained on device {}, most rows on {}."}


def doubtful(group: Group) -> list[list[str]]:
    """What keeps each row from comparing with the others: another precision, device or number of threads than most were trained
    with, or an older core than some.
    """
    notes: list[list[str]] = [[] for _ in group.rows]
    for name, text in _TRAINED.items():
        found = [" and ".join(sorted({str(seed[name] or "unknown") for seed in row.seeds})) for row in group.rows]
        usual = Counter(found).most_common(1)[0][0]
        for place, other in enumerate(found):
            notes[place] += [text.format(other, usual)] if other != usual else []
    if not all(map(_old, group.rows)):
        for place, row in enumerate(group.rows):
            notes[place] += ["Made by an older version of the core."] if _old(row) else []
    return notes


def _old(row: Row) -> bool:
    return any(seed["older_core"] for seed in row.seeds)


def _notes(row: Row) -> list[str]:
    notes = [f"Stand-in in {row.method}, where its paper is silent: {text}" for text in row.first("standins")]
    if row.first("outside"):
        notes.append(f"Layers outside the kernel's plan, run in torch: {', '.join(map(str, row.first('outside')))}")
    if row.first("untimed"):
        notes.append(f"Not timed: {row.first('untimed')}.")
    if len({flat["method_digest"] for flat in row.seeds}) > 1:
        notes.append(f"Seeds of different versions of {row.method}.")
    if row.first("theoretical"):
        notes.append("The plan fell back to dense: the reduction of MACs is theoretical.")
    if row.first("published") is not None:
        notes.append(f"Published number: {row.first('published_where')}")
    return notes


def legend(groups: Sequence[Group], kinds: Sequence[str] = (), choose: Callable[..., list[Column]] = shown) -> list[str]:
    """What the columns that `choose` gives mean, a line per meaning: ``top1 (%), top5 (%): mean ...``; plain text."""
    headings: dict[str, dict[str, None]] = {}
    for group in groups:
        for column in choose(group, kinds):
            headings.setdefault(column.explanation, {})[column.heading] = None
    return [f"{', '.join(found)}: {explanation}" for explanation, found in headings.items()]


def title(group: Group) -> str:
    """Task, what the rows start from or their architecture, the task's options that are not usual, and what the numbers are."""
    facts = group.facts
    chosen = " ".join(f"{name}={item}" for name, item in _unusual(facts["task"], facts["scale"], facts["task_options"]))
    what = ", ".join(filter(None, (f"{facts['task']} (version {facts['task_version']})", start(group), chosen)))
    return cells.clean(f"{what}: {caption(group)}")


def start(group: Group) -> str:
    """The method and architecture that the rows start from, ``"from plain resnet20"``; else the architecture that all have."""
    reference = next((row.first("arch") for row in group.rows if row.role == "reference"), group.facts["arch"])
    return f"from {group.facts['start'].split('/')[-2:][0]} {reference}".strip() if group.facts["start"] else group.facts["arch"]


def caption(group: Group) -> str:
    """What the numbers are: data, scale, seeds, and the machine that timed, or trained where nothing was timed."""
    facts, flats = group.facts, [flat for row in group.rows for flat in row.seeds]
    source = facts["source"]
    data = {"embedded": "embedded data", "subset": "a subset of the data", "official": "the official data"}.get(source, source)
    trivial = facts.get(f"score.trivial_{facts['metric']}")
    beside = "" if trivial is None else f", a trivial predictor scores {trivial:.2f}"
    timed = {f"{flat['timed_cpu']} ({flat['timed_cores']} cores)" for flat in flats if flat["timed_machine"]}
    machines = sorted(timed or {f"{flat['cpu']} ({flat['cores']} cores)" for flat in flats})
    numbers = cells.seeds([flat["seed"] for flat in flats])
    return f"{data}, scale {facts['scale']}, seeds {numbers}{beside}, {' and '.join(machines)}"


@cache
def _unusual(task: str, scale: str, text: str) -> list[tuple[str, Any]]:
    """The options, given as JSON, that differ from the task's at `scale`; all of them where its file is not here."""
    found = json.loads(text)
    try:
        usual = options_of(build(plugins.load("tasks", task), task, {}, scale, {}))
    except (UserError, KeyError):
        usual = {}
    return [(name, item) for name, item in found.items() if name not in usual or json.dumps(usual[name]) != json.dumps(item)]

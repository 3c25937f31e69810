"""What stands around a table: its title, its caption, the footnotes that its rows refer to, and what its columns mean."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

from suite import plugins
from suite.contract import options_of, options_then
from suite.errors import UserError
from suite.options import build
from suite.reporting import cells
from suite.reporting.columns import NOISY, PART, Column
from suite.reporting.paper import shown
from suite.reporting.rows import Group, Row, trivial


class Footnotes(NamedTuple):
    """`general` ones for the whole table, numbered `notes`, and the numbers (from 1) that each row refers to."""

    general: list[str]
    notes: list[str]
    marks: list[list[int]]

    @property
    def all(self) -> list[str]:
        """Every footnote as a line of plain text, numbered ones first."""
        return [f"{number}: {text}" for number, text in enumerate(self.notes, 1)] + self.general


def footnotes(group: Group, chosen: Sequence[Column]) -> Footnotes:
    """What a reader must know beside the numbers of the columns `chosen`: layers outside the plan, places of published numbers,
    noise, counts that are not whole, and rows that were trained otherwise than most, by an older core or by nobody knows which."""
    numbers: dict[str, int] = {}
    texts = [[*_notes(row, brief=group.equal is not None), *doubts]
             for row, doubts in zip(group.rows, doubtful(group), strict=True)]
    marks = [sorted(numbers.setdefault(cells.clean(text), len(numbers) + 1) for text in found) for found in texts]
    general = ["Bold is best and underlined second best of a block; references, teachers and noisy timings take no part."
               if group.ranked else "Nothing is marked best here, as these rows differ in cost: the tables at equal cost compare."]
    general += [every for fact, (_, every) in _FACTS.items() if all(_some(row, fact) for row in group.rows)]
    kinds = {column.group.partition(",")[0] for column in chosen}
    if any(column.noisy(row) for column in chosen for row in group.rows):
        general.append(f"{NOISY} noisy timing, or a ratio with one: the 90th percentile or the drift of some seed is large.")
    uncounted = sorted({str(what) for row in group.rows for flat in row.seeds
                        for what in (*flat["uncounted"], *flat["reference_uncounted"])})
    if uncounted and kinds & {"cost", "latency"}:
        general.append(f"{PART} not whole: more work is done than could be counted ({', '.join(uncounted)}).")
    if len(group.places) > 1 and "latency" in kinds:
        general.append("Latencies of other machines or kernel versions than the commonest are left out.")
    return Footnotes(general, list(numbers), marks)


#: Flat column in which rows of a table should agree: the note on a row that does not.
_TRAINED = {"precision": "Trained at precision {}, most rows at {}.", "threads": "Trained on threads: {}, most rows: {}.",
            "device": "Trained on device {}, most rows on {}."}


def doubtful(group: Group) -> list[list[str]]:
    """What keeps each row from comparing with the others: another precision, device or number of threads than most were trained
    with, or an older core than some, or no commit.
    """
    notes: list[list[str]] = [[] for _ in group.rows]
    for name, text in _TRAINED.items():
        found = [" and ".join(sorted({str(seed[name] or "unknown") for seed in row.seeds})) for row in group.rows]
        usual = Counter(found).most_common(1)[0][0]
        for place, other in enumerate(found):
            notes[place] += [text.format(other, usual)] if other != usual else []
    for fact, (one, _) in _FACTS.items():
        marked = [_some(row, fact) for row in group.rows]
        for place, true in enumerate(marked):
            notes[place] += [one] if true and not all(marked) else []
    return notes


#: Flat column that is true of some records: the footnote of such a row, and of a table in which every row is one.
_FACTS = {
    "older_core": ("Made by an older version of the core.", "Every row was made by an older version of the core."),
    "no_commit": ("Its record names no commit.", "No record of these rows names a commit."),
    "other_start": ("Made from other weights than its reference's or teacher's record has today.",
                    "Every row was made from other weights than its reference's or teacher's record has today."),
}


def _some(row: Row, fact: str) -> bool:
    return any(seed[fact] for seed in row.seeds)


def _notes(row: Row, brief: bool) -> list[str]:
    """What must be known about one row; `brief` leaves out what its list of all rows says anyway."""
    notes = []
    if row.first("outside"):
        notes.append(f"Layers outside the kernel's plan, run in torch: {', '.join(map(str, row.first('outside')))}")
    if row.first("untimed"):
        notes.append(f"Not timed: {row.first('untimed')}.")
    if len({flat["method_digest"] for flat in row.seeds}) > 1:
        notes.append(f"Seeds of different versions of {row.method}.")
    if row.first("theoretical"):
        notes.append("The plan fell back to dense: the reduction of MACs is theoretical.")
    if row.first("published") is not None and not brief:
        notes.append(f"Published number: {row.first('published_where')}")
    return notes


def standins(groups: Sequence[Group]) -> dict[str, list[str]]:
    """What each method of some groups does where its paper is silent, by its name, those that do nothing of their own left out."""
    found: dict[str, dict[str, None]] = {}
    for row in sorted((row for group in groups for row in group.rows), key=lambda row: row.method):
        texts = [cells.clean(text) for seed in row.seeds for text in seed["standins"]]
        found.setdefault(row.method, {}).update(dict.fromkeys(texts))
    return {method: list(texts) for method, texts in found.items() if texts}


STANDINS = "Where their papers are silent"
STANDINS_TEXT = "What each method does where its paper does not say what to do, or what is done differently here (its stand-ins)."


def legend(groups: Sequence[Group], kinds: Sequence[str] = (), choose: Callable[..., list[Column]] = shown) -> list[str]:
    """What the columns that `choose` gives mean, a line per meaning: ``top1 (%), top5 (%): mean ...``; plain text."""
    headings: dict[str, dict[str, None]] = {}
    for group in groups:
        for column in choose(group, kinds):
            headings.setdefault(column.explanation, {})[column.heading] = None
    return [f"{', '.join(found)}: {explanation}" for explanation, found in headings.items()]


def title(group: Group) -> str:
    """Task, what the rows start from or their architecture, the task's options that are not usual, and what the numbers are; of
    rows at equal cost what they have in common.
    """
    facts, equal = group.facts, f"{group.equal.title}: " if group.equal else ""
    chosen = " ".join(f"{name}={item}" for name, item in unusual(facts["task"], facts["scale"], facts["task_options"]))
    what = ", ".join(filter(None, (f"{facts['task']} (version {facts['task_version']})", start(group), chosen)))
    return cells.clean(f"{equal}{what}: {caption(group)}")


def start(group: Group) -> str:
    """The method and architecture that the rows start from, ``"from plain resnet20"``; else the architecture that all have."""
    reference = next((row.first("arch") for row in group.rows if row.role == "reference"), group.facts["arch"])
    return f"from {group.facts['start'].split('/')[-2:][0]} {reference}".strip() if group.facts["start"] else group.facts["arch"]


def caption(group: Group) -> str:
    """What the numbers are: data, scale, seeds, and the machine that timed, or trained where nothing was timed."""
    facts, flats = group.facts, [flat for row in group.rows for flat in row.seeds]
    source, elsewhere, other = str(facts["source"]).partition(", trained on ")
    names = {"embedded": "embedded data", "subset": "a subset of the data", "official": "the official data"}
    data = names.get(source, source) + (elsewhere and f"{elsewhere}{names.get(other, other)}")
    chance = trivial(group)
    beside = "" if chance is None else f", a trivial predictor scores {chance:.2f}"
    timed = {f"{flat['timed_cpu']} ({flat['timed_cores']} cores)" for flat in flats if flat["timed_machine"]}
    machines = sorted(timed or {f"{flat['cpu']} ({flat['cores']} cores)" for flat in flats})
    numbers = cells.seeds([flat["seed"] for flat in flats])
    untrained = " (weights all but random: cost and latency count, quality does not)" if facts["scale"] == "smoke" else ""
    return f"{data}, scale {facts['scale']}{untrained}, seeds {numbers}{beside}, {' and '.join(machines)}"


@cache
def unusual(task: str, scale: str, text: str) -> list[tuple[str, Any]]:
    """The options, given as JSON, that differ from the task's at `scale`; all of them where its file is not here."""
    found = json.loads(text)
    try:
        plugin = plugins.load("tasks", task)
        found, usual = options_then(plugin, found), options_of(build(plugin, task, {}, scale), whole=True)
    except (UserError, KeyError):
        usual = {}
    return [(name, item) for name, item in found.items() if name not in usual or json.dumps(usual[name]) != json.dumps(item)]

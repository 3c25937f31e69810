"""The first lines of a report, generated from its records: what the numbers are, and which of some rivals is most exact."""

from __future__ import annotations

from collections.abc import Sequence

from suite import statistics
from suite.claims import SCALES
from suite.reporting import cells
from suite.reporting.declare import Headline, Report
from suite.reporting.front import between
from suite.reporting.frontier import Standing, behind, latency, lines, standings
from suite.reporting.rows import Group, trivial

KINDS = {
    "embedded": "small procedural data that the suite makes itself, not the dataset of that name",
    "subset": "a part of the real data, not the official split",
    "official": "the official data",
}


def headline(report: Report, groups: Sequence[Group]) -> list[str]:
    """Sentences in plain text: one per kind of data, then how the declared rivals compare at equal latency.

    They are compared on the most telling data and scale alone on which two of them can be, a sentence per reference network:
    official data before a subset before embedded data, and long runs before short ones.
    """
    sentences = []
    for kind, what in KINDS.items():
        members = [group for group in groups if group.facts["source"] == kind]
        if members:
            runs = len({flat["id"] for group in members for row in group.rows for flat in row.seeds})
            places = dict.fromkeys((group.facts["task"], group.facts["scale"]) for group in members)
            tasks = ", ".join(f"{task} at scale {scale}" for task, scale in places)
            sentences.append(f"{kind.capitalize()} data ({what}): {runs} run{'' if runs == 1 else 's'}, {cells.clean(tasks)}.")
    wanted = report.headline
    if wanted:
        rivals = [group for group in groups if group.facts["task"] == wanted.task and lines(group, wanted.tag)]
        telling = [_telling(group, wanted) for group in rivals]
        sentences += [_most_exact(group, wanted) for group, rank in zip(rivals, telling, strict=True) if rank == max(telling)] or [
            f"No {wanted.what} has run on {wanted.task} yet."]
    return sentences


def _telling(group: Group, wanted: Headline) -> tuple[bool, int, int]:
    source, scale, where = group.facts["source"], group.facts["scale"], latency(group)
    read = [item for item in standings(group, where, wanted.tag) if item.scores] if where else []
    return len(read) > 1, list(KINDS).index(source) if source in KINDS else -1, SCALES.index(scale) if scale in SCALES else -1


def _most_exact(group: Group, wanted: Headline) -> str:
    """Which of the rivals is most exact at one measured latency, as deployed, and which of the others the seeds tell from it."""
    facts, where = group.facts, latency(group)
    place = f"On {facts['task']} ({facts['source']} data, scale {facts['scale']}, {facts['arch']})"
    if where is None:
        return cells.clean(f"{place} no reference has been timed, so that no {wanted.what} is compared at its latency.")
    found = standings(group, where, wanted.tag)
    read, unread = [item for item in found if item.scores], [item for item in found if not item.scores]
    at = f"{place} at {cells.digits(where)} ms on one thread ({100 * wanted.latency:.3g} % of the reference's dense plan)"
    missing = f"; not read there: {', '.join(f'{item.line.name} ({item.reason})' for item in unread)}" if unread else ""
    if len(read) < 2:
        one = f" but {read[0].line.name}" if read else ""
        return cells.clean(f"{at} no {wanted.what}{one} can be compared yet{missing}.")
    best, higher = read[0], bool(facts["higher_is_better"])
    if _at_chance(group, best):
        return cells.clean(f"{at} the best {wanted.what} is not above chance (a trivial predictor scores "
                           f"{cells.digits(trivial(group))}), so that nothing is compared{missing}.")
    differences = {_named(item, less): less for item in read[1:] for less in [behind(best, item, higher)]}
    told = [name for name, less in differences.items() if less and less.low > 0]
    untold = [name for name in differences if name not in told]
    score = cells.spread(best.mean, statistics.deviation(list(best.scores.values())))
    exact = f"{facts['metric']} {score} {facts['unit']}".strip() + f" over {len(best.scores)} seed{'s' * (len(best.scores) > 1)}"
    first = f"{at} the most exact of {len(read)} {wanted.what}s is {best.line.name}: {exact}{', noisy timing' * best.noisy}"
    ahead = f", ahead of {', '.join(told)}" if told else ""
    apart = f"; these seeds do not tell it from {', '.join(untold)}" if untold else ""
    return cells.clean(f"{first}{ahead}{apart}{missing}.")


def _named(item: Standing, less: statistics.Interval | None) -> str:
    """A line with what it is behind the best by, such as ``l1_filter (by 0.49 [-0.24, 1.23], noisy timing)``."""
    by = f"by {cells.digits(less.mean)} {between(less)}" if less else f"{len(item.scores)} seed{'s' * (len(item.scores) > 1)}"
    return f"{item.line.name} ({by}{', noisy timing' * item.noisy})"


def _at_chance(group: Group, best: Standing) -> bool:
    """Whether the best is no better than the task's trivial predictor, as far as the seeds can tell."""
    chance = trivial(group)
    if chance is None:
        return False
    sign = 1 if group.facts["higher_is_better"] else -1
    gains = [sign * (score - chance) for score in best.scores.values()]
    found = statistics.interval(gains)
    return (found.low if found else gains[0]) <= 0

"""When a claim is decided: at most three looks at the seeds 0 .. k-1, declared before any of them is run.

A look is a set of paired t-tests with a two-sided error of its own: 1, 1.5 and 2.5 % with 3, 5 and 9 seeds. The first decision
stands. The looks together decide a true null with at most the sum of the three, 5 %, whatever they have in common (union bound).
At a look of level a, with d the true difference and d = margin the null that is hardest to leave undecided:

- ``above`` (and ``frontier``): the interval of level 1 - a lies above the margin (holds) or below it (refuted); a / 2 each.
- ``within`` is an equivalence test: it holds if two one-sided tests, d > -margin and d < margin, both reject at a / 2, which is
  the interval of level 1 - a inside the margins (not the usual 1 - 2 a: the error has to cover "refuted" too). It is refuted if
  that interval lies outside on one side. At abs(d) = margin each errs with a / 2; inside, "refuted" alone errs, with at most a.
- ``ordered``: it holds if every step does at a / 2, which needs no correction, as the false step must pass too
  (intersection-union). It is refuted if any of S steps is, so each of these tests has a / (2 S) (Bonferroni).

Differences without any spread, as of a count of parameters, give an interval of no width: more than the margin or not. Equal
differences by luck do so too, as of a score on few test items: where it moves in steps of half its deviation from seed to seed 5 %
of true nulls are decided (simulated), in steps of a whole one 7 %.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]


class Look(NamedTuple):
    """One look at a claim: the number of seeds it needs, counted from 0, and the two-sided error of its test."""

    seeds: int
    level: float


LOOKS = (Look(3, 0.01), Look(5, 0.015), Look(9, 0.025))


def first_decision(differences: Array, kind: str, margin: float) -> tuple[Array, Array]:
    """The decision (1 holds, -1 refuted, 0 none) and the number of its look, from 1; without one that of the last look, 0 if none.

    `differences` (steps, ..., seeds) by seed from 0, one step but for ``ordered``; as many looks are made as there are seeds for.
    """
    import numpy as np

    found = np.zeros(differences.shape[1:-1], dtype=int)
    at = np.zeros_like(found)
    for number, look in enumerate(LOOKS, 1):
        if look.seeds <= differences.shape[-1]:
            at = np.where(found == 0, number, at)
            found = np.where(found == 0, decision(differences[..., : look.seeds], kind, margin, look.level), found)
    return found, at


def decision(differences: Array, kind: str, margin: float, level: float) -> Array:
    """What one look at `differences` (steps, ..., seeds) decides with the two-sided error `level`: 1 holds, -1 refuted, 0 none."""
    low, high = bounds(differences, level)
    if kind == "within":
        holds, refuted = (-margin < low) & (high < margin), (low > margin) | (high < -margin)
    else:
        holds, refuted = low > margin, bounds(differences, level / len(differences))[1] < margin
    refuted |= (low == high) & ~holds
    return holds.all(0).astype(int) - refuted.any(0).astype(int)


def bounds(values: Array, level: float) -> tuple[Array, Array]:
    """Both ends of the t-interval of level 1 - `level` of the mean over the last axis."""
    import numpy as np
    from scipy.stats import t

    count = values.shape[-1]
    equal = values.min(-1) == values.max(-1)  # rounding would give equal numbers a spread
    centre = np.where(equal, values[..., 0], values.mean(-1))
    half = t.ppf(1 - level / 2, count - 1) * np.where(equal, 0.0, values.std(-1, ddof=1)) / np.sqrt(count)
    return centre - half, centre + half

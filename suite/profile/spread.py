"""From the times of single calls to figures with intervals, and a verdict on noise."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import TypedDict

LEAST_FOR_INTERVAL = 6  # with fewer calls not even the extremes enclose the median with 95 % confidence


class Timing(TypedDict):
    """Milliseconds per call; ``low_ms .. high_ms`` is a 95 % interval of the median."""

    median_ms: float
    p90_ms: float
    low_ms: float
    high_ms: float
    calls: int
    noisy: bool


class Spread(TypedDict):
    """How far a ratio of two times can be trusted: ``low .. high`` is a 95 % interval of the median over rounds."""

    low: float
    high: float
    noisy: bool


def summary(milliseconds: Sequence[float]) -> Timing:
    """The figures of one contender's calls, given in the order in which they were made.

    Noisy: the 90th percentile exceeds the median by a fifth, the medians of the two halves differ by more than 5 %, or
    the calls are too few for an interval.
    """
    count, ordered = len(milliseconds), sorted(milliseconds)
    median = statistics.median(ordered)
    p90 = ordered[math.ceil(0.9 * count) - 1]
    low, high = median_ranks(count)
    noisy = count < LEAST_FOR_INTERVAL or p90 > 1.2 * median
    if not noisy:
        early, late = (statistics.median(half) for half in (milliseconds[: count // 2], milliseconds[count // 2 :]))
        noisy = abs(early - late) > 0.05 * median
    return Timing(
        median_ms=median, p90_ms=p90, low_ms=ordered[low - 1], high_ms=ordered[high - 1], calls=count, noisy=noisy
    )


def spread(above: Sequence[float], below: Sequence[float], turn: int = 1) -> Spread:
    """Of the ratio of two contenders' times, from what `spent` gives of them: over rounds, in which both meet the same machine, of
    the medians of their turns. Noisy by the rule of `summary`.
    """
    medians = [[statistics.median(times[first : first + turn]) for first in range(0, len(times), turn)] for times in (above, below)]
    found = summary([one / other for one, other in zip(*medians, strict=True)])
    return Spread(low=found["low_ms"], high=found["high_ms"], noisy=found["noisy"])


def median_ranks(count: int) -> tuple[int, int]:
    """Ranks (from 1) of the two order statistics that enclose the median with at least 95 % confidence.

    The number of calls below the median is binomial(count, 1/2) whatever the distribution (W. J. Conover, *Practical
    Nonparametric Statistics*, 3rd ed., 1999, Sec. 3.2); the narrowest symmetric pair is taken, the extremes below six.
    """
    def probability(below: int) -> float:
        ways = math.lgamma(count + 1) - math.lgamma(below + 1) - math.lgamma(count - below + 1)
        return math.exp(ways - count * math.log(2))

    low = (count + 1) // 2
    confidence = 0.0 if count % 2 else probability(low)  # of ranks low .. count + 1 - low
    while confidence < 0.95 and low > 1:
        low -= 1
        confidence += 2 * probability(low)
    return low, count + 1 - low

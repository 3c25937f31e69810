"""Numbers and foreign text as people read them. Every function maps None to the dash of a missing value."""

from __future__ import annotations

from collections.abc import Sequence

MISSING = "–"
MINUS = "−"


def clean(text: object) -> str:
    """Text from a record on one line, without control characters; markup is left to each renderer's escape."""
    words = str(text)
    if not words.isprintable():  # seldom, and slow
        words = "".join(letter if letter.isprintable() else " " for letter in words)
    return " ".join(words.split())


def count(number: float | None) -> str:
    """A count in three digits: ``999``, ``272k``, ``40.6M``, ``1.82G``."""
    if number is None:
        return MISSING
    for factor, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= 0.9995 * factor:
            return digits(number / factor) + unit
    return f"{number:.0f}"


def digits(number: float | None) -> str:
    """Three significant digits without an exponent: ``0.123``, ``1.23``, ``12.3``, ``123``, ``1234``."""
    if number is None:
        return MISSING
    places = 3 if abs(number) < 0.9995 else 2 if abs(number) < 9.995 else 1 if abs(number) < 99.95 else 0
    return f"{number:.{places}f}".replace("-", MINUS)


def spread(mean: float | None, deviation: float | None, places: int = 2) -> str:
    """``78.30 ± 0.41``; the mean alone where one seed gives no deviation."""
    if mean is None:
        return MISSING
    text = f"{mean:.{places}f}".replace("-", MINUS)
    return text if deviation is None else f"{text} ± {deviation:.{places}f}"


def change(number: float | None, places: int = 2) -> str:
    """A signed difference: ``+0.40``, ``−1.25``, ``0.00``."""
    if number is None:
        return MISSING
    text = f"{number:+.{places}f}".replace("-", MINUS)
    return text[1:] if float(f"{number:.{places}f}") == 0 else text


def reduction(before: float | None, after: float | None) -> str:
    """What became of a cost, as a signed share of it: ``−49.5 %``."""
    if before is None or after is None or before == 0:
        return MISSING
    return change(100 * (after / before - 1), 1) + " %"


def times(ratio: float | None) -> str:
    """A ratio: ``1.52×``."""
    return MISSING if ratio is None else f"{ratio:.2f}×"


def seeds(numbers: Sequence[int]) -> str:
    """Seeds, runs of them shortened: ``0-2, 7``."""
    ordered = sorted(set(numbers))
    runs: list[list[int]] = []
    for number in ordered:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)

"""Records as a pandas frame: a row for each run, and one for the mean over the seeds of each configuration."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from suite import statistics
from suite.errors import UserError, nearest
from suite.record import read_all
from suite.reporting.flat import Flat, flatten
from suite.reporting.rows import place_of

if TYPE_CHECKING:
    import pandas

FIRST = ("kind", "task", "method", "scale", "source", "seed", "seeds", "metric", "score", "score_low", "score_high", "unit")
_TIMED = ("latency.", "timing.", "noisy.")  # beginnings of columns that belong to one machine


def frame(*, task: str | None, method: str | None, scale: str | None, source: str | None) -> pandas.DataFrame:
    """The rows of `suite.records`, runs in the order of their ids, each configuration's mean behind its runs."""
    import pandas

    flats = flatten(read_all())
    for column, wanted in {"task": task, "method": method, "scale": scale, "source": source}.items():
        known = {flat[column] for flat in flats}
        if wanted is not None and wanted not in known:
            raise UserError(f"There is no finished record of {column} '{wanted}'{nearest(wanted, known)}")
        flats = [flat for flat in flats if wanted in (None, flat[column])]
    configs: dict[str, list[Flat]] = {}
    for flat in flats:
        configs.setdefault(flat["config"], []).append(flat)
    rows = [row for seeds in configs.values() for row in (*map(_run, seeds), _mean(seeds))]
    columns = dict.fromkeys([*FIRST, *sorted({name for row in rows for name in row})])
    made = pandas.DataFrame(rows, columns=list(columns)).convert_dtypes(convert_integer=False, convert_floating=False)
    return made.astype({"seed": "Int64", "seeds": "Int64"})


def _run(flat: Flat) -> dict[str, Any]:
    return {"kind": "run", "seeds": 1, **_scalars(flat)}


def _mean(seeds: list[Flat]) -> dict[str, Any]:
    """What the seeds have in common, and the means of numbers in which they differ."""
    [(place, _)] = Counter(map(place_of, seeds)).most_common(1)
    made: dict[str, Any] = {}
    for name in dict.fromkeys(name for seed in seeds for name in _scalars(seed)):
        counted = [seed for seed in seeds if not name.startswith(_TIMED) or place_of(seed) == place]
        found = [seed[name] for seed in counted if seed.get(name) is not None]
        if name.startswith("noisy."):
            made[name] = any(found)
        elif all(item == found[0] for item in found):
            made[name] = found[0] if found else None
        elif all(isinstance(item, int | float) for item in found):
            made[name] = statistics.mean(found)
    spread = statistics.interval([seed["score"] for seed in seeds if seed["score"] is not None])
    return {**made, "kind": "mean", "id": None, "seed": None, "seeds": len(seeds), "score_low": spread and spread.low,
            "score_high": spread and spread.high}


def _scalars(flat: Flat) -> dict[str, Any]:
    """The columns of a flat row that are one number or text; an option of several parts is a tuple."""
    parts = {name: tuple(item) for name, item in flat.items() if name.startswith("option.") and isinstance(item, list)}
    return {name: item for name, item in flat.items() if item is None or isinstance(item, str | int | float)} | parts

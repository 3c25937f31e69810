"""All finished records as one pandas frame, a row each."""

from __future__ import annotations

from collections.abc import Iterable

import pandas

from suite.record import Record
from suite.report.flat import flatten


def frame(records: Iterable[Record]) -> pandas.DataFrame:
    """One row per finished record; the columns are described in :func:`suite.report.flat.flatten`."""
    return pandas.DataFrame(flatten(records))

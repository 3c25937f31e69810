"""Somebody's scores of forged faces in a JSON file: one for each frame."""

from __future__ import annotations

from typing import Any

from suite.data.results import listed
from suite.errors import UserError

FORM = 'a list of {"method": "original" or a manipulation, "video": "000_003", "frame": "0000", "score": 0 to 1 that it is forged}'
KEYS = ("method", "video", "frame")


def read_forgery_scores(path: str) -> list[dict[str, Any]]:
    """The entries of a file. UserError for a file that is none, for the first entry of another form and a second one of a frame."""
    entries, seen = listed(path, FORM), set()
    for number, entry in enumerate(entries):
        problem = _problem(entry)
        if not problem:
            frame = tuple(entry[key] for key in KEYS)
            problem = f"is a second one for {'/'.join(frame)}" if frame in seen else ""
            seen.add(frame)
        if problem:
            raise UserError(f"Entry {number} of '{path}' {problem}; expected {FORM}.")
    return [{key: entry[key] for key in (*KEYS, "score")} for entry in entries]


def _problem(entry: Any) -> str:
    if not isinstance(entry, dict) or not all(isinstance(entry.get(key), str) for key in KEYS):
        return "is not of the form"
    score = entry.get("score")
    right = isinstance(score, (int, float)) and type(score) is not bool and 0 <= score <= 1
    return "" if right else f"has the score {score!r}"

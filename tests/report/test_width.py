"""At 80 columns the terminal cuts no number: every one that a wide terminal shows is there whole, or its column is named as left out."""

from __future__ import annotations

import io
import re
from collections import Counter
from pathlib import Path

import pytest
from rich.console import Console

from suite.cli.claims import _print
from suite.record import read_all
from suite.reporting import paper
from suite.reporting.content import gather
from suite.reporting.declare import Report
from suite.reporting.flat import flatten
from suite.reporting.rows import groups
from suite.reporting.terminal import folded, overview_table, run_table

ROOT = Path(__file__).parents[2]
RECORDS = read_all(ROOT / "results")
CONTENT = gather(Report("x", claims=True), RECORDS)
TASKS = sorted({item["task"]["name"] for item in RECORDS})
NUMBER = re.compile(r"[−+]?\d[\d.]*[^\s,|]*")


def printed(width, show):
    output = io.StringIO()
    show(Console(file=output, width=width))
    lines = output.getvalue().splitlines()
    assert all(len(line) <= width or line.startswith("Record:") for line in lines)
    return lines


def told(lines):
    """The columns that are named as left out, and all numbers."""
    text = " ".join(lines)
    found = re.search(r"Left out, as \d+ columns have no room: (.*?) (?:All columns|Best: )", " ".join(text.split()))
    text = re.sub(r"Left out, as .*", "", " ".join(text.split())) if found else text
    return found[1].split(", ") if found else [], Counter(NUMBER.findall(text))


@pytest.mark.parametrize("width", [60, 80])
@pytest.mark.parametrize("task", TASKS)
def test_every_number_of_a_run_is_whole_at_every_width(task, width):
    records = [item for item in RECORDS if item["task"]["name"] == task]
    none, everything = told(printed(400, lambda console: run_table(records, console, CONTENT.claims)))
    dropped, numbers = told(printed(width, lambda console: run_table(records, console, CONTENT.claims)))
    assert not none and not numbers - everything, "numbers that are parts of others"
    gone = [column.text(row) for group in groups(flatten(records)) for column in paper.shown(group) for row in group.rows
            if column.heading in dropped]
    allowed = Counter(word for text in gone for word in NUMBER.findall(text))
    missing = everything - numbers
    missing -= Counter(NUMBER.findall(f"{len(records)}"))  # behind the sentence, and in headings
    assert set(missing) <= {*allowed, *map(str, range(99)), "1T", "2T"}  # counts of claims, and headings
    assert width == 60 or sum(missing.values()) < sum(everything.values()) / 4


@pytest.mark.parametrize("width", [60, 80, 100])
def test_every_number_of_the_overview_is_whole(width):
    _, everything = told(printed(400, lambda console: overview_table(CONTENT, console)))
    dropped, numbers = told(printed(width, lambda console: overview_table(CONTENT, console)))
    assert not numbers - everything and (dropped == [] if width >= 80 else dropped)
    assert width < 80 or numbers == everything


def test_words_break_behind_signs_and_numbers_nowhere():
    assert folded("one_by_n n=4 rearrange=true sparsity=0.75", 14) == "one_by_n n=4\nrearrange=true\nsparsity=0.75"
    assert folded("sparsity=0.123456", 12) == "sparsity=\n0.123456" and folded("fewshot_segmentation", 12) == "fewshot_\nsegmentation"
    assert folded("", 5) == "" and folded("a b", 80) == "a b"


def test_every_number_of_a_verdict_is_whole(monkeypatch, capsys):
    verdicts = [item.verdict for item in CONTENT.claims if item.verdict.intervals]
    numbers = []
    for width in ("80", "300"):
        monkeypatch.setenv("COLUMNS", width)
        _print(verdicts, [], "short")
        numbers.append(Counter(word.strip("[]") for word in capsys.readouterr().out.split() if NUMBER.fullmatch(word.strip("[],"))))
    assert len(verdicts) > 20 and numbers[0] == numbers[1]

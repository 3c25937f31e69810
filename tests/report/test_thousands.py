"""Ten thousand records: how long a report takes, how large it gets, when its page can be used; and that nothing grows faster."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import thousands
from browsers import chromium, missing

from suite import record
from suite.reporting import columns, page, rows
from suite.reporting.content import gather
from suite.reporting.declare import Report
from suite.reporting.render import texts

ROOT = Path(__file__).parents[2]
#: In a process of its own, so that its memory is a report's alone: seconds of processor time by step, and the most bytes.
CODE = """
import json, resource, sys, time
from pathlib import Path
from suite import record
from suite.reporting import declare, render
from suite.reporting.content import gather
folder, reports, to = map(Path, sys.argv[1:])
start = time.process_time()
found = record.read_all(folder)
read = time.process_time()
render.write(gather(declare.load("leaderboard", reports), found, declare.catalogue(reports)), to, "results")
most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({"count": len(found), "read": read - start, "report": time.process_time() - start, "bytes": most}))
"""


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """The report of ten thousand records, and what it took."""
    folder = tmp_path_factory.mktemp("thousands")
    thousands.store(folder / "results", thousands.records())
    done = subprocess.run([sys.executable, "-c", CODE, folder / "results", ROOT / "reports", folder / "leaderboard"], capture_output=True,
                          text=True, check=True)
    return folder / "leaderboard", json.loads(done.stdout)


@pytest.mark.slow
def test_a_report_of_ten_thousand_records_takes_less_than_a_minute_and_two_gigabytes(measured):
    assert measured[1]["count"] == 10_000
    assert measured[1]["read"] < 20 and measured[1]["report"] < 90 and measured[1]["bytes"] < 2e9, measured[1]


@pytest.mark.slow
@pytest.mark.skipif(bool(missing()), reason=missing())
def test_its_page_can_be_used_within_three_seconds(measured, tmp_path):
    browser = chromium(tmp_path)
    try:
        browser.execute_cdp_cmd("Performance.enable", {"timeDomain": "threadTicks"})  # processor time: others may use it too
        browser.get((measured[0] / "index.html").as_uri())
        assert browser.find_element("css selector", "output").text.endswith("rows")
        box = browser.find_element("css selector", "input[type=search]")
        box.send_keys("svd")
        assert browser.find_element("css selector", "output").text.startswith("126 of ")
        seconds = {item["name"]: item["value"] for item in browser.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]}
        assert 0 < seconds["TaskDuration"] < 3
    finally:
        browser.quit()


def test_every_record_is_read_once(tmp_path, monkeypatch):
    made = thousands.records(360)
    thousands.store(tmp_path, made)
    reads: Counter[Path] = Counter()
    monkeypatch.setattr(record, "read", lambda path, read=record.read: reads.update([path]) or read(path))
    assert len(record.read_all(tmp_path)) == len(made) == len(reads) and set(reads.values()) == {1}
    assert {item["task"]["name"] for item in record.read_all(tmp_path, ["cifar10/*"])} == {"cifar10"}
    assert sum(reads.values()) == 2 * len(made)  # all of these are of that task


def steps(count, monkeypatch):
    """How often a report and its page of so many records look at a row's numbers and find the columns of a table."""
    found: Counter[str] = Counter()
    monkeypatch.setattr(rows.Row, "numbers", lambda *words, real=rows.Row.numbers: found.update(["numbers"]) or real(*words))
    monkeypatch.setattr(columns, "_network", lambda *words, real=columns._network: found.update(["columns"]) or real(*words))
    content = gather(Report("x", figures=("macs",)), thousands.records(count), tested=[])
    texts(content)
    page.page(content, "results")
    return found, len(content.groups), sum(len(group.rows) for group in content.groups)


def test_the_work_of_a_report_grows_with_its_records_and_no_faster(monkeypatch):
    few, many = steps(320, monkeypatch), steps(1280, monkeypatch)
    assert many[2] == 4 * few[2]  # rows
    assert many[0]["numbers"] < 4.5 * few[0]["numbers"] and many[0]["numbers"] / many[2] < 120
    assert many[0]["columns"] == many[1]  # for all views together


def test_most_of_a_page_is_read_when_it_is_asked_for():
    made = page.page(gather(Report("x"), thousands.records(320), tested=[]), "results")
    body = made.partition('<script type="text/plain"')[0]
    assert body.count("<dl>") == 0 and body.count('<script type="application/json" class="details">') == 2
    assert "content-visibility: auto" in made



"""The page as text: complete and readable without JavaScript, offline, and closed to everything but its own two scripts."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path

import pytest
from records import family, record

from suite.reporting import page
from suite.reporting.content import gather
from suite.reporting.declare import Report

RECORDS = [item for seed in range(2) for source in ("embedded", "subset")
           for item in family(seed, {"one_by_n": 1.0, "l1_filter": 4.0}, source=source)]
FAILED = record("magnitude", status="failed", reason="ValueError: too small", scores={})


@pytest.fixture(scope="module")
def made():
    content = gather(Report("The title", text="The text.", headline=None, claims=False, figures=["macs"]), [*RECORDS, FAILED])
    return page.page(content, "../../results")


def test_every_record_and_number_is_in_the_page_itself(made):
    body = made.partition('<script type="text/plain"')[0]
    behind = "".join(text for found in re.findall(r'<script type="application/json" class="details">(.*?)</script>', body)
                     for text in json.loads(found))
    assert all(f'href="../../results/{item["id"]}.json"' in behind for item in RECORDS)
    for text in ("The title", "The text.", "79.25 ± 0.35", "−1.00", "272k", "−50.0 %", "1.11×", "Test CPU 2000, 2 cores",
                 "suite run cifar10 one_by_n n=4 sparsity=0.5 --scale short --seed 0", "https://example.org/paper", "What it does.",
                 "50.0k of 50.0k samples spent", "magnitude/", "ValueError: too small", "They need JavaScript; as pictures they lie in"):
        assert text in body or text in behind, text
    assert body.count('<section id="') == 3 and len(set(re.findall(r'<section id="([^"]+)"', body))) == 3


def test_nothing_is_loaded_and_only_two_scripts_may_run(made):
    body, _, scripts = made.partition('<script type="text/plain" id="plotly">')
    assert set(re.findall(r'\b(?:src|srcset|action|poster)="([^:"]*)', body)) <= {"data"} and "url(" not in body and "@import" not in body
    assert "<link" not in body and "<iframe" not in body
    allowed = re.search(r"script-src ([^;]*);", made).group(1).split()
    plotly, _, rest = scripts.partition("</script>")
    glue = rest.partition("<script>")[2].partition("</script>")[0]
    hashes = [f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in (glue, plotly)]
    assert allowed == hashes and "default-src 'none'" in made and "Plotly" in plotly


def test_our_own_glue_is_short():
    assert len(Path(page.__file__).with_name("page.js").read_text().splitlines()) < 150


def test_plots_hold_every_row_and_the_pareto_front(made):
    charts = [json.loads(text) for text in re.findall(r'<script type="application/json">(.*?)</script>', made)]
    assert len(charts) == 2 and [chart["layout"]["xaxis"]["title"]["text"].split()[0] for chart in charts[0]] == [
        "measured", "effective", "measured", "what"]
    frontier = {series["name"]: series for series in charts[0][0]["data"]}
    assert frontier["one_by_n n=4"]["x"] == pytest.approx([0.65, 0.9]) and frontier["one_by_n n=4"]["mode"] == "lines+markers"
    by_macs = {series["name"]: series for series in charts[0][1]["data"]}
    assert by_macs["one_by_n"]["x"] == pytest.approx([20.2755, 10.13775]) and by_macs["one_by_n"]["y"] == pytest.approx([79.25, 79.25])
    assert by_macs["Pareto front"]["x"] == pytest.approx([10.13775, 40.551])  # 1x4 at 75 %, then the reference trained on
    promised = {series["name"]: series for series in charts[0][3]["data"]}["l1_filter"]
    assert promised["x"] == pytest.approx([2, 4], rel=1e-4) and promised["y"] == pytest.approx([1 / 0.9, 1 / 0.65])

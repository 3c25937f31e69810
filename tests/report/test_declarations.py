"""Declarations, what they select, the first lines, staleness, and the commands around them."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from records import family, profile, record

from suite.cli.report import command
from suite.errors import UserError
from suite.reporting import ranks
from suite.reporting.charts import CHARTS
from suite.reporting.columns import KINDS, label
from suite.reporting.content import gather
from suite.reporting.declare import Report, load, names
from suite.reporting.flat import flatten
from suite.reporting.render import stale, texts, write
from suite.reporting.rows import groups

ROOT = Path(__file__).parents[2]
RECORDS = [item for seed in range(3) for item in family(seed, {"one_by_n": 1.0, "l1_filter": 4.0})]


def store(folder, records):
    for item in records:
        path = folder / f"{item['id']}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(item))


def report(*words):
    done = CliRunner().invoke(command, [str(word) for word in words])
    if isinstance(done.exception, UserError):
        return str(done.exception)
    assert done.exit_code == 0, done.output
    return done.output


def test_what_is_shipped_is_valid():
    shipped = {name: load(name, ROOT / "reports") for name in names(ROOT / "reports")}
    assert {"leaderboard", "compression", "claims", "classification", "detection", "perception", "generation", "learning"} <= shipped.keys()
    for declared in shipped.values():
        assert set(declared.figures) <= set(CHARTS) and set(declared.columns) <= set(KINDS)
    content = gather(replace(shipped["leaderboard"], claims=False), RECORDS)
    assert sum(len(row.seeds) for group in content.groups for row in group.rows) == len(RECORDS)


def test_selection_keeps_the_references_and_takes_patterns():
    ids = {item["method"]["name"] for item in Report("x", methods=("one_by_*",)).select(RECORDS)}
    assert ids == {"one_by_n", "plain"}
    assert Report("x", tags=("cnn/*",), methods=("plain",), scales=("long",)).select(RECORDS) == []


def test_rows_are_ordered_as_declared():
    (group,) = groups(flatten(RECORDS), (), "score")
    assert [label(row).split()[0] for row in group.rows] == ["plain", "plain", "one_by_n", "one_by_n", "l1_filter", "l1_filter"]
    (group,) = groups(flatten(RECORDS), (), "latency.one.sparse")
    assert [row.latency("one", "sparse", group.places[0]) for row in group.rows[2:]] == pytest.approx([0.65, 0.65, 0.9, 0.9])


def test_a_wrong_declaration_is_a_sentence(tmp_path):
    for text, sentence in (('title = "x"\norder = "age"', "orders by 'age', which is no order"), ('title = "x"\n[headline]\ntask = "y"', "is no report"),
                           ('title = "x"\n[[runs]]\nmethod = "y"', "x.toml', table 1 of .* sets 'method', which means nothing; did you mean 'methods'"),
                           ('title = "x"\n[[equal]]\ntitle = "y"', "is no report"),
                           ('title = "x"\n[[equal]]\ntitle = "y"\ncost = "mac"', "of equal 'mac', which is neither a cost nor among")):
        (tmp_path / "x.toml").write_text(text)
        with pytest.raises(UserError, match=sentence):
            load("x", tmp_path)
    with pytest.raises(UserError, match="no column group 'qualty'; did you mean 'quality'"):
        texts(gather(Report("x", columns=("qualty",)), RECORDS))


def test_published_numbers_and_footnotes_stand_beside_ours():
    published = [{"task": "cifar10", "metric": "top1", "value": 70.2, "where": "README, Table 1", "options": {"n": 2}}]
    made = record("one_by_n", options={"n": 2}, published=published, method__standins=["padded groups"], profile=profile(0.5, 0.7, noisy=True))
    made["profile"]["kernel"]["outside"] = ["fc"]
    text = texts(gather(Report("x"), [made, record("one_by_n", options={"n": 4}, published=published)]))["table.md"]
    assert "| one\\_by\\_n n=2<sup>1,2</sup> |" in text and "| 70.2 |" in text and "0.700~" in text.replace("\\", "")
    for note in ("1: Layers outside the kernel's plan, run in torch: fc", "2: Published number: README, Table 1", "\\~ noisy timing"):
        assert note in text
    assert text.count("padded groups") == 1 and "## Where their papers are silent" in text and "- one\\_by\\_n: padded groups" in text


def test_reductions_are_against_the_reference():
    parent = record("plain")
    cut = record("cut", parents={"reference": parent["id"]}, profile={**profile(), "macs": 20275500, "macs_effective": 20275500})
    text = texts(gather(Report("x", columns=("cost",)), [parent, cut]))["table.md"]
    assert "| 20.3M | −50.0 % |" in text  # the network is half as large, although none of its own weights is zero


def tables(tasks, **changes):
    return groups(flatten([record(name, top1=score, task__name=task, options={"n": 1}, **changes)
                           for task in tasks for name, score in (("a", 80.0), ("b", 70.0), ("c", 75.0))]))


def ranked(tasks):
    return ranks.ranks(tables(tasks))


def test_ranks_by_hand_and_why_there_are_none():
    found = ranked("vwxyz")
    assert found.mean == {"a n=1": 1.0, "b n=1": 3.0, "c n=1": 2.0}
    assert found.critical == pytest.approx(2.343 * (3 * 4 / (6 * 5)) ** 0.5, abs=1e-3)  # Demsar 2006, Table 5: q = 2.343 for k = 3
    assert "over 5 tasks (embedded data, scale short" in found.sentence and "p = 0.0067" in found.sentence  # chi2(2) = 10
    assert ranked("vwxy").sentence.startswith("Methods are not ranked over tasks: that takes at least 5")


def test_ranks_mix_neither_data_nor_scales():
    assert not ranks.ranks([*tables("vwx"), *tables("yz", source="subset")]).mean
    found = ranks.ranks([*tables("vwxyz"), *tables("uvwxyz", scale="long")])
    assert found.sentence.startswith("Mean ranks over 6 tasks (embedded data, scale long")


def test_bars_join_what_does_not_differ():
    found = ranks.Ranks({"a": 1.0, "b": 1.5, "c": 2.4, "d": 4.5}, 1.0, "")
    assert ranks.bars(found) == [(1.0, 1.5), (1.5, 2.4)]
    assert ranks.bars(found._replace(critical=0.2)) == [] and ranks.bars(found._replace(critical=9.0)) == [(1.0, 4.5)]


def test_the_diagram_is_drawn_and_in_the_page(tmp_path, monkeypatch):
    monkeypatch.setattr("plotly.offline.get_plotlyjs", lambda: "var Plotly")
    records = [record(name, top1=score, task__name=task, options={"n": 1})
               for task in "vwxyz" for name, score in (("<a>$x$", 80.0), ("b", 70.0), ("c", 75.0))]
    made = write(gather(Report("x"), records), tmp_path, "results")
    assert [path.name for path in made if path.stem == "ranks"] == ["ranks.svg", "ranks.pdf"]
    drawn = (tmp_path / "figures/ranks.svg").read_text()
    assert "critical difference 1.48" in drawn and "&lt;a&gt;$x$ n=1" in drawn
    page = (tmp_path / "index.html").read_text()
    assert base64.b64encode(drawn.encode()).decode() in page
    assert "critical differences" not in texts(gather(Report("x"), RECORDS))["table.md"]


def test_render_then_check_then_stale(tmp_path, monkeypatch):
    monkeypatch.setenv("SUITE_RESULTS", str(tmp_path / "results"))
    monkeypatch.setattr("plotly.offline.get_plotlyjs", lambda: "var Plotly")
    (tmp_path / "mine.toml").write_text('title = "Mine"\n')
    (tmp_path / "empty.toml").write_text('title = "Empty"\ntasks = ["other"]\n')
    store(tmp_path / "results", RECORDS)
    here = ("--reports", tmp_path)
    assert "is not what the records say; type: suite report mine" in report(*here, "--check")
    assert not (tmp_path / "mine").exists()
    made = report(*here)
    assert "empty: No finished record fits the report" in made and "index.html" in made
    assert report(*here, "--check") == "2 reports up to date.\n"
    assert report(*here, "mine", "--to", tmp_path / "again").count("again/mine/") == 4
    assert (tmp_path / "again/mine/table.tex").read_bytes() == (tmp_path / "mine/table.tex").read_bytes()
    store(tmp_path / "results", [record("magnitude", 0, 79.0)])
    assert "'%s' and 2 more is not what the records say" % (tmp_path / "mine/table.csv") in report(*here, "mine", "--check")
    assert "No finished record fits the report" in report(*here, "empty")
    assert "--dry-run shows what --run-missing would run" in report(*here, "--dry-run")


def test_a_file_that_should_not_be_there_is_stale(tmp_path):
    made = texts(gather(Report("x"), RECORDS))
    for name, text in made.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "claims.csv").write_text("old")
    assert stale(made, tmp_path) == [tmp_path / "claims.csv"]


def test_what_is_committed_is_what_the_records_say(monkeypatch):
    monkeypatch.setenv("SUITE_RESULTS", str(ROOT / "results"))
    assert report("--reports", ROOT / "reports", "--check").endswith("up to date.\n")


def test_run_missing_makes_the_runs_and_renders(fresh_results, tmp_path, monkeypatch):
    def run_plan(plan, **_):
        made = [{**record(spec.method_name, spec.seed, scale=spec.scale, method__digest=spec.digest), "id": spec.id}
                for spec in plan.missing]
        store(fresh_results, made)
        return made

    monkeypatch.setattr("suite.runner.run_plan", run_plan)
    monkeypatch.setattr("suite.tracking.mirror", lambda *_: "mirrored")
    monkeypatch.setattr("plotly.offline.get_plotlyjs", lambda: "var Plotly")
    (tmp_path / "mine.toml").write_text('title = "Mine"\n[[runs]]\ntask = "cifar10"\nmethods = ["plain"]\nscale = "smoke"\nseeds = 2\n'
                                        '[test]\none_by_n = "smoke"\n')
    words = ("--reports", tmp_path, "mine", "--run-missing")
    assert "2 runs to make, 0 recorded" in report(*words, "--dry-run") and not (tmp_path / "mine").exists()
    assert "mirrored" in report(*words)
    assert "seeds 0-1" in (tmp_path / "mine/table.md").read_text() and "| plain | 78.00 ± 0.00 | 40.6M" in (tmp_path / "mine/table.md").read_text()
    assert "0 runs to make, 2 recorded" in report(*words, "--dry-run")

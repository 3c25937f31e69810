"""The first screen of a report and the page it is put into, the order of tasks, the columns asked for, and the progress of claims."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from records import family, profile, record
from test_declarations import report, store

from suite import plugins
from suite.claims import Verdict
from suite.contract import Claim, Side
from suite.errors import UserError
from suite.reporting import progress, verdicts
from suite.reporting.content import gather
from suite.reporting.declare import Catalogue, Family, Report, System, catalogue
from suite.reporting.render import texts
from suite.reporting.verdicts import by_place, counted, counts

ROOT = Path(__file__).parents[2]
RECORDS = [item for seed in range(3) for item in family(seed, {"one_by_n": 1.0, "l1_filter": 4.0})]
CLAIM = Claim("a", "a sentence", "cifar10", "top1", "above", (Side("one_by_n"), Side("l1_filter")))


def rows(records, tested=(), **declared):
    return gather(Report("x", **declared), records, tested=tested).overview.rows


def judged(finding, source="embedded", scale="short", method="one_by_n", name="a"):
    group = gather(Report("x"), RECORDS, tested=()).groups[0]
    place = (group.facts["task"], group.facts["task_options"], source, group.facts["source_digest"], scale)
    claim = replace(CLAIM, name=name)
    return verdicts.Tested(method, claim, "somewhere", Verdict(claim, finding, finding), place)


def test_the_best_is_the_best_mean_as_deployed_with_its_change_and_gain():
    assert rows(RECORDS) == [["cifar10", "embedded, short", "one_by_n n=4 sparsity=0.75", "top1 (%) 79.50 ± 0.50 (3)", "−1.00", "1.54×", "–"]]
    lucky = record("lucky", 0, 99.0, options={"n": 1})  # one seed against three
    masked = [record("mask", seed, 98.0, options={"masked": True}) for seed in range(3)]
    assert rows([*RECORDS, lucky, *masked])[0][2] == "one_by_n n=4 sparsity=0.75"
    assert rows([record("plain", 0, 70.0), record("other", 0, 71.0, options={"n": 1})])[0][2:4] == ["other n=1", "top1 (%) 71.00 (1)"]
    assert rows([record("plain")])[0][5] == "2.00× (torch)"


def test_less_is_better_where_the_metric_says_so():
    error = [{"name": "top1", "unit": "", "higher_is_better": False, "bounds": [0, None]}]
    made = [record(name, 0, score, options={"n": 1}, task__metrics=error) for name, score in (("a", 3.0), ("b", 2.0))]
    assert rows(made)[0][2:4] == ["b n=1", "top1 2.00 (1)"]


def test_what_is_not_above_chance_says_so():
    made = record("a", 0, 10.0)
    made["scores"]["trivial_top1"] = 10.0
    assert rows([made])[0][2] == "not above chance: a"


def test_data_and_scales_are_never_mixed_and_the_most_telling_come_first():
    made = [record("a", 0, score, source=source, scale=scale) for source, scale, score in (
        ("embedded", "long", 90.0), ("subset", "short", 60.0), ("official", "smoke", 10.0), ("embedded", "short", 99.0))]
    assert [(row[1], row[3]) for row in rows(made)] == [
        ("official, smoke", "top1 (%) 10.00 (1)"), ("subset, short", "top1 (%) 60.00 (1)"), ("embedded, long", "top1 (%) 90.00 (1)")]


def test_claims_are_counted_on_the_data_they_were_tested_on():
    found = [judged("holds"), judged("refuted", name="b"), judged("inconclusive", name="c"), judged("holds", scale="long", name="d")]
    assert counts(found) == {"held": 2, "refuted": 1, "open": 1} and counted(found[:1]) == "1 held"
    assert rows(RECORDS, found)[0][6] == "1/1/1" and len(by_place(found)) == 2
    text = texts(gather(Report("x"), RECORDS, tested=found))["table.md"]
    assert text.count("1 held, 1 refuted, 1 open |") == 2  # the rows of the method, and no others
    assert "| claims |" in text and "what became of the claims" in text


def test_tasks_stand_in_the_order_of_the_families():
    made = [record("a", task__name=name) for name in ("cifar10", "astar_3d", "zebra", "fscil", "aardvark")]
    known = Catalogue(families=(Family("x", ("fscil", "cifar10")), Family("y", ("astar_3d",))))
    content = gather(Report("x"), made, known, ())
    assert [group.facts["task"] for group in content.groups] == ["fscil", "cifar10", "astar_3d", "aardvark", "zebra"]
    assert [row[0] for row in content.overview.rows] == ["fscil", "cifar10", "astar_3d", "aardvark", "zebra"]
    text = texts(content)
    for name in ("table.md", "table.csv"):
        places = [text[name].index(task, text[name].index("scale") + 300 * (name == "table.md"))
                  for task in ("fscil", "cifar10")]
        assert places == sorted(places)


def test_the_families_have_every_task_that_is_here_and_every_task_of_a_system():
    shipped = catalogue(ROOT / "reports")
    listed = [task for family in shipped.families for task in family.tasks]
    assert len(listed) == len(set(listed)) and {*plugins.find("tasks")} <= {*listed}
    assert {task for system in shipped.systems for task in system.tasks} <= {*listed} and len(shipped.systems) == 43


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Declarations, records and a page with a place for the overview."""
    monkeypatch.setenv("SUITE_RESULTS", str(tmp_path / "results"))
    monkeypatch.setattr("plotly.offline.get_plotlyjs", lambda: "var Plotly")
    store(tmp_path / "results", RECORDS)
    (tmp_path / "mine.toml").write_text('title = "Mine"\ninto = "PAGE.md"\npictures = ["*/figures/*.svg"]\nprogress = true\nclaims = true\n')
    (tmp_path / "all.toml").write_text('title = "All"\n[[systems]]\nname = "rbnn"\ntitle = "RBNN"\ntasks = ["cifar10"]\n')
    (tmp_path / "PAGE.md").write_text("before\n<!-- overview -->\n<!-- end -->\nafter\n")
    return tmp_path


def test_a_page_shows_the_overview_and_the_pictures_and_is_checked(folder):
    here = ("--reports", folder, "mine")
    shown = report(*here)
    assert "one_by_n n=4" in shown and "79.50 ± 0.50 (3)" in shown  # the first screen, before the paths
    text = (folder / "PAGE.md").read_text()
    assert text.startswith("before\n<!-- overview -->\n\n| task |") and text.endswith("<!-- end -->\nafter\n")
    assert "| cifar10 | embedded, short | one\\_by\\_n n=4 sparsity=0.75 |" in text and "](mine/figures/progress.svg)" in text
    assert "up to date" in report(*here, "--check")
    (folder / "PAGE.md").write_text(text.replace("79.50", "97.50"))
    assert f"'{folder / 'PAGE.md'}' is not what the records say" in report(*here, "--check")
    (folder / "PAGE.md").write_text("no place")
    assert "has no lines '<!-- overview -->'" in report(*here)


def test_columns_that_are_asked_for_stand_in_files_of_their_own(folder):
    here = ("--reports", folder, "--to", folder / "to", "mine")
    report(*here)
    before = {path.name: path.read_bytes() for path in (folder / "to/mine").iterdir() if path.is_file()}
    assert report(*here, "--columns", "all").splitlines()[-2:] == [f"{folder}/to/mine/wide.md", f"{folder}/to/mine/wide.tex"]
    wide = (folder / "to/mine/wide.md").read_text()
    assert "| vs trained on |" in wide and "torch 2T (ms)" in wide and "vs trained on" in (folder / "to/mine/wide.tex").read_text()
    assert before == {name: (folder / "to/mine" / name).read_bytes() for name in before}
    report(*here, "--columns", "quality, cost")
    wide = (folder / "to/mine/wide.md").read_text()
    assert "vs trained on" in wide and "bytes change" in wide and "(ms)" not in wide
    assert "no column group 'qualty'; did you mean 'quality'" in report(*here, "--columns", "qualty")
    assert "up to date" in report(*here, "--check")  # wide files are nobody's business
    assert "write one of them" in report(*here, "--check", "--columns", "all")


def test_standins_stand_once_however_many_tables_there_are():
    made = [record(name, seed, source=source, method__standins=[f"{name} does this", "and that"])
            for name in ("a", "b") for seed in range(2) for source in ("embedded", "subset")]
    found = texts(gather(Report("x"), made, tested=()))
    assert found["table.md"].count("a does this") == 1 and "- a: a does this and that\n- b: b does this and that" in found["table.md"]
    assert found["table.tex"].count("b does this") == 1 and r"\paragraph{b} b does this and that" in found["table.tex"]


def test_every_claim_counts_once_as_decided_by_the_most_telling_data():
    found = [judged("holds"), judged("refuted", "subset"), judged("not decided", "official"),  # one claim on three kinds of data
             judged("not decided", name="b"), judged("holds", scale="short", name="c"), judged("refuted", scale="long", name="c"),
             verdicts.Tested("one_by_n", replace(CLAIM, name="d"), "cifar10", Verdict(CLAIM, "not decidable", "")),
             judged("holds", method="nobody's")]
    made = progress.progress([System("one_by_n", "1xN", ()), System("rbnn", "RBNN", ())], found)
    assert made == [("1xN", {"held": 0, "refuted": 2, "undecided": 1, "not yet tried": 1}), ("RBNN", dict.fromkeys(progress.STATES, 0))]
    assert progress.sentence(made) == ("4 claims of 2 systems: 0 held, 2 refuted, 1 undecided, 1 not yet tried; "
                                       "1 system has no claim that could be read here yet.")


def test_the_progress_has_a_bar_for_every_system(tmp_path):
    made = [progress.Progress("A $x$", {"held": 3, "refuted": 0, "undecided": 1, "not yet tried": 2}),
            progress.Progress("B", dict.fromkeys(progress.STATES, 0))]
    svg, _ = progress.draw(made, tmp_path / "progress")
    text = svg.read_text()
    for part in ("A $x$", ">B<", "held (3)", "refuted (0)", "undecided (1)", "not yet tried (2)", "not here yet"):
        assert part in text, part
    assert progress.draw(made, tmp_path / "again")[0].read_bytes() == svg.read_bytes()


def test_a_best_row_may_be_a_reference_where_there_is_nothing_else():
    parent = record("plain", profile=profile(), weights="")
    child = record("x", status="failed", reason="no", scores={}, parents={"reference": parent["id"]})
    assert rows([parent, child])[0][2] == "plain"


def test_a_catalogue_is_read_from_all_declarations(tmp_path):
    (tmp_path / "a.toml").write_text('title = "A"\n[[families]]\ntitle = "F"\ntasks = ["x"]\n')
    assert catalogue(tmp_path).order("x") == 0 and catalogue(tmp_path).order("y") == 1 and Catalogue().order("x") == 0
    (tmp_path / "a.toml").write_text('title = "A"\n[[families]]\nname = "F"\n')
    with pytest.raises(UserError, match="is no report"):
        catalogue(tmp_path)

"""Tables, figures and statistics from records made by hand."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from records import family, profile, record, timed
from rich.console import Console

from suite.errors import UserError
from suite.record import fault, read_all
from suite.reporting import columns, figures, notes, paper, tables
from suite.reporting.charts import CHARTS, charts, pareto
from suite.reporting.content import gather
from suite.reporting.declare import Report, load
from suite.reporting.flat import flatten
from suite.reporting.plots import plots
from suite.reporting.render import texts
from suite.reporting.rows import groups
from suite.reporting.terminal import run_table
from suite.statistics import break_even, deviation, interval, mean

ROOT = Path(__file__).parents[2]
RECORDS = [item for seed in range(3) for item in family(seed, {"one_by_n": 1.0, "l1_filter": 4.0})]


def only(records):
    (group,) = groups(flatten(records), ("macs", "sparsity"))
    return group


def test_statistics_by_hand():
    assert mean([]) is None and mean([1.0, 3.0]) == 2.0 and deviation([1.0]) is None
    assert deviation([1.0, 3.0]) == pytest.approx(2**0.5) and interval([1.0]) is None
    assert interval([1.0, 3.0]).high == pytest.approx(2 + 12.7062047)  # t(1) = 12.706, s / sqrt(n) = 1
    assert break_even([0.0, 0.5], [0.8, 1.2]) == 0.25
    assert break_even([0.0, 0.5], [0.2, 0.4]) is None and break_even([0.0, 0.5], [1.1, 2.0]) == 0.0


def test_rows_hold_seeds_and_changes_against_both_rivals():
    rows = {columns.label(row): row for row in only(RECORDS).rows}
    row = rows["one_by_n n=4 sparsity=0.5"]
    assert len(row.seeds) == 3 and row.mean("score") == pytest.approx(79.5)
    assert row.mean("change_reference") == pytest.approx(-1.0) and row.mean("change_trained_on") == pytest.approx(-1.6)
    assert list(rows)[:2] == ["plain (reference)", "plain (trained on)"]


def test_a_student_stands_beside_its_teacher_and_its_architecture_without_one():
    teachers = [record("plain", seed, 85.0 + seed, options={"arch": "resnet56"}) for seed in range(2)]
    students = [record("kd", seed, 83.0, parents={"resnet56": teachers[seed]["id"], "backbone": teachers[seed]["id"]},
                       roles={"resnet56": "teacher", "backbone": "backbone"}) for seed in range(2)]
    group = only([*teachers, *students, record("plain", top1=82.0)])
    assert [(row.method, row.role, row.arch) for row in group.rows] == [
        ("plain", "teacher", "resnet56"), ("kd", "", "resnet20"), ("plain", "", "resnet20")]
    lines = tables.markdown(group, ["quality"]).splitlines()
    assert lines[2:4] == ["| method | arch | top1 (%) | vs teacher |", "|---|---|---:|---:|"]
    assert lines[4] == "| plain (teacher) | resnet56 | 85.50 ± 0.71 (2) | – |"  # the best, but it takes no part
    assert lines[5] == "| kd | resnet20 | **83.00 ± 0.00 (2)** | −2.50 |" and "cifar10 (version 1), padding=4: embedded" in lines[0]
    lines = tables.markdown(group).splitlines()
    assert lines[2].startswith("| method | top1 (%) | vs teacher | MACs ≠ 0 |") and lines[5].startswith("| kd resnet20 | **83.00 ±")


@pytest.mark.parametrize("changes", [{"scale": "long"}, {"source": "subset"}, {"task__version": 2}])
def test_what_must_not_share_a_table_does_not(changes):
    assert len(groups(flatten([record("plain"), record("plain", 1, **changes)]))) == 2


def test_rows_that_start_from_different_networks_do_not_mix_and_each_reference_heads_its_own_table():
    found = groups(flatten([*RECORDS, *family(0, {"one_by_n": 2.0}, arch="resnet56")]))
    assert [({row.first("arch") for row in group.rows}, [row.role for row in group.rows][:3]) for group in found] == [
        ({arch}, ["reference", "trained on", ""]) for arch in ("resnet20", "resnet56")]
    assert {notes.start(group) for group in found} == {"from plain resnet20", "from plain resnet56"}
    assert len({figures.stem(group) for group in found}) == 2


def test_a_new_architecture_stands_beside_what_others_start_from():
    new = record("lec_net", 0, 84.0, options={"arch": "lec"})
    alone, pruned = groups(flatten([*RECORDS, new]))
    assert [(row.method, row.arch, row.role) for row in alone.rows] == [("lec_net", "lec", ""), ("plain", "resnet20", "")]
    assert len(alone.rows[1].seeds) == 3 and pruned.rows[0].role == "reference" and pruned.rows[0].arch == ""


def test_committed_students_stand_beside_their_teachers():
    found = groups(flatten(read_all(ROOT / "results")))
    tables_ = {(group.facts["task"], group.facts["source"]): group for group in found if not group.facts["start"]
               and group.facts["scale"] == "short"}
    rows = [(row.method, row.arch, row.role) for row in tables_["cifar10", "embedded"].rows]
    assert rows == [("plain", "resnet20", "teacher"), ("logit_kd", "resnet8", ""), ("plain", "resnet8", "")]
    archs = {(row.method, row.role): row.arch for row in tables_["coco_detection", "embedded"].rows}
    assert archs["faster_rcnn", "teacher"] == archs["retinanet", ""] == "narrow_resnet10" and archs["defeat", ""] == "slim_resnet10"


def test_changes_follow_roles_and_stay_within_a_task():
    base, other = record("plain", top1=70.0), record("plain", top1=99.0, task__name="imagenet")
    pruned = record("x", top1=72.0, parents={"a": base["id"], "b": other["id"]}, roles={"a": "teacher", "b": "reference"})
    row = {flat["id"]: flat for flat in flatten([base, other, pruned])}[pruned["id"]]
    assert row["change_teacher"] == 2.0 and row["change_reference"] is None and row["reference_score"] is None
    assert row["reference"] == other["id"] and row["teacher"] == base["id"]
    assert "trained on" not in tables.markdown(groups(flatten([base, other, pruned]))[0])


def test_no_table_on_paper_has_more_than_eight_columns_and_none_is_empty():
    for group in groups(flatten(read_all(ROOT / "results"))):
        chosen = paper.shown(group)
        assert len(chosen) < 8 and chosen[0].heading.startswith(group.facts["metric"])  # and the method
        assert [column.part for column in chosen] == [part for part in columns.PARTS if part in {column.part for column in chosen}]
        assert all(any(column.text(row) not in ("", "–") for row in group.rows) for column in chosen)
    assert [column.heading for column in paper.shown(only(RECORDS))] == ["top1 (%)", "vs reference", "MACs ≠ 0", "sparse 1T (ms)", "gain 1T"]
    assert len(paper.shown(only(RECORDS), ["latency", "cost"])) > 8  # a declaration's own choice


def test_costs_that_are_no_macs_ledgers_and_steps_have_columns_where_some_row_has_them():
    profile_ = profile() | {"ops": {"mul": 40551000, "add": 81102000, "xnor": 5000}, "bytes_packed": 34000}
    steps = [[{"top1": score + seed, "forgetting": 1.0} for score in (70.0, 58.0, 54.0)] for seed in (0, 1)]
    made = [record("adder", seed, profile=profile_, ledger={"queries": 1500.0}, steps=steps[seed]) for seed in (0, 1)]
    group = only([*made, record("plain")])
    shown = {column.heading: [column.text(row) for row in group.rows] for column in columns.columns(group)}
    assert "by step" not in {column.heading for column in paper.shown(group)}
    assert shown["by step"] == ["70.5 58.5 54.5", "–"] and shown["queries spent"] == ["1.50k", "–"]
    assert shown["add ops"] == ["81.1M", "–"] and shown["xnor ops"] == ["5.00k", "–"]
    assert "mul ops" not in shown and "bytes" in {column.heading for column in columns.columns(group)}
    adder, plain = csv.DictReader(io.StringIO(tables.comma_separated([group])))
    assert adder["steps"] == "70.5 58.5 54.5" and float(adder["ledger.queries"]) == 1500 and float(adder["ops.xnor"]) == 5000
    assert float(adder["score.top5"]) == 98 and plain["ledger.queries"] == plain["steps"] == "" and adder["bytes_packed"] == "34000"
    (chart,) = charts(group, ["steps"])
    axes = Figure().add_subplot()
    figures.paint(chart, axes)
    assert [line.get_xydata().tolist() for line in axes.lines] == [[[1, 70.5], [2, 58.5], [3, 54.5]]]
    plot = plots(group, [])[-1]
    assert plot["layout"]["xaxis"]["title"]["text"] == "step" and plot["data"][0]["y"] == (70.5, 58.5, 54.5)


def test_numbers_that_do_not_compare_say_so():
    usual = [record("plain"), record("l1_filter", code__core="x")]
    assert not any(notes.doubtful(only([record("plain"), record("one_by_n")])))
    other = record("magnitude", training={"device": "cuda", "threads": 4, "precision": ""})
    text = tables.markdown(only([*usual, other]))
    for note in ("Trained at precision unknown, most rows at bfloat16.", "Trained on threads: 4, most rows: 1.",
                 "Trained on device cuda, most rows on cpu."):
        assert note in text
    assert re.search(r"\| magnitude<sup>1,2,3</sup> \|", text) and "Every row was made by an older version of the core" in text
    output = io.StringIO()
    run_table([*usual, other], Console(file=output, width=120))
    assert "magnitude: Trained at precision unknown, most rows at bfloat16." in " ".join(output.getvalue().split())


def test_a_row_without_latency_says_why():
    text = tables.markdown(only([record("plain"), record("x", profile={**profile(), "latency": None, "kernel": None}, timed_on={},
                                                         untimed="the plan differs from torch")]))
    assert "| x<sup>1</sup> |" in text and "1: Not timed: the plan differs from torch." in text


def test_rows_of_older_cores_are_marked(monkeypatch):
    monkeypatch.setattr("suite.core.digest", lambda task, method: f"{task.stem}-{method.stem}")
    made = [record(name, code__core=core) for name, core in (
        ("plain", "cifar10-plain"), ("magnitude", "cifar10-magnitude of before"), ("l1_filter", ""), ("gone", "cannot be told"))]
    group = only(made)
    assert {row.method: row.first("older_core") for row in group.rows} == {
        "plain": False, "magnitude": True, "l1_filter": True, "gone": False}
    text = tables.markdown(group)
    assert "| magnitude<sup>1</sup> |" in text and "| plain |" in text and "1: Made by an older version of the core." in text


def test_what_was_trained_elsewhere_stands_in_a_table_of_its_own():
    elsewhere = {"kind": "embedded", "name": "cifar10", "digest": "d2", "counts": {"train": 9000, "test": 10}}
    known = record("a", source="subset")["task"]["source"]
    records = [record(name, source="subset", **more) for name in ("a", "b")
               for more in ({}, {"task__source": {**known, "trained_on": elsewhere}})]
    groups = gather(Report("x"), records).groups
    assert sorted(group.facts["source"] for group in groups) == ["subset", "subset, trained on embedded"]
    assert [len(group.rows) for group in groups] == [2, 2]
    assert any(": a subset of the data, trained on embedded data, scale short" in notes.title(group) for group in groups)
    assert not fault(records[1])


def test_rows_made_from_other_weights_than_their_parent_has_today_are_marked():
    plain = record("plain", 0, 80.0, weights="a" * 64)
    made = [plain, *(record(name, 0, parents={"reference": plain["id"]}, parent_weights=weights, method__starts="reference")
                     for name, weights in (("same", {plain["id"]: "a" * 64}), ("other", {plain["id"]: "b" * 64}), ("old", {}),
                                           ("gone", {"x": "b" * 64})))]
    group = only(made)
    assert {row.method for row in group.rows if row.first("other_start")} == {"other"}
    text = tables.markdown(group)
    assert "| other<sup>1</sup> |" in text and "1: Made from other weights than its reference's" in text


def test_the_frame_tells_where_it_was_trained_from_where_it_was_timed():
    (row,) = flatten([record("plain", machine__id="aa", timed_on__id="bb", training__device="cuda", training__threads=3)])
    assert (row["machine"], row["timed_machine"], row["device"], row["threads"], row["precision"]) == ("aa", "bb", "cuda", 3, "bfloat16")
    untimed = record("plain", profile=None, timed_on={}, machine__cpu="Trainer")
    assert "Trainer (2 cores)" in notes.caption(only([untimed])) and "Test CPU 2000" in notes.caption(only([record("plain")]))


def test_latencies_of_another_machine_stay_out_of_the_column():
    other = record("plain", 1, timed_on__id="bb22", profile=profile(0.0, 9.0))
    group = only([record("plain", 0), record("plain", 2), other])
    assert group.rows[0].latency("one", "sparse", group.places[0]) == 1.0
    assert "Latencies of other machines" in tables.markdown(group)


def test_what_a_task_times_itself_has_columns_and_a_table_of_its_own():
    fast = [timed("latency", 4.0, 1000), timed("latency", 2.0, 300), timed("postprocess", 1.5, noisy=True)]
    made = [record("one", seed, options={"arch": ""}, timings=fast, profile=None) for seed in range(2)]
    made += [record("one", 2, options={"arch": ""}, timings=[timed("latency", 99.0, 300)], profile=None, timed_on__id="bb22")]
    group = only([*made, record("two", options={"arch": ""}, timings=[timed("latency", 5.0, 300)], profile=None)])
    head, _, one, two = tables.markdown(group, ["latency"]).splitlines()[2:6]
    assert head == "| method | 300 items (ms) | 1000 items (ms) | postprocess (ms) |"
    assert one == "| one | **2.00** | 4.00 | 1.50\\~ |" and two == "| two | <ins>5.00</ins> | – | – |"
    output = io.StringIO()
    run_table(made, Console(file=output, width=80))
    text = output.getvalue()
    assert "cifar10,\n" not in text.replace(" ", "") and re.search(r"method +\(%\) +items", text)
    assert "times in ms" in " ".join(text.split()) and "4.00" in text and "1.50~" not in text  # that of the most items alone


def test_how_a_timing_grows_with_the_items_is_drawn_where_two_numbers_of_items_were_timed():
    slow = [record("one", timings=[timed("latency", 40.0, 1000), timed("latency", 2.0, 300)]),
            record("two", timings=[timed("latency", 5.0, 300)])]
    (chart,) = charts(only(slow), ["growth"])
    axes = Figure().add_subplot()
    figures.paint(chart, axes)
    assert [line.get_xydata().tolist() for line in axes.lines] == [[[300, 2], [1000, 40]], [[300, 5]]]
    assert axes.get_xscale() == axes.get_yscale() == "log"
    (plot,) = plots(only(slow), ["growth"])[-1:]
    assert [(item["x"], item["y"]) for item in plot["data"]] == [((300, 1000), (2, 40)), ((300,), (5,))]
    assert plot["layout"]["xaxis"]["type"] == plot["layout"]["yaxis"]["type"] == "log"
    assert not charts(only([record("one", timings=[timed("latency", 2.0, 300), timed("postprocess", 1.0)])]), ["growth"])


def test_curves_and_sparsities_are_lines_and_levels_in_files_and_page():
    group = only([{**item, "curves": {"train_loss": [[step, 2.0 / step] for step in range(1, 30)]}} for item in RECORDS])
    by_sparsity, curves = charts(group, ["sparsity", "curves"])
    for chart, plot in zip((by_sparsity, curves), plots(group, ["sparsity", "curves"])[-2:], strict=True):
        axes = Figure().add_subplot()
        figures.paint(chart, axes)
        assert sorted(axes.get_legend_handles_labels()[1]) == sorted(item["name"] for item in plot["data"])
    assert [item.name for item in by_sparsity.series] == ["l1_filter n=4", "one_by_n n=4"]
    assert [(point.across, point.up) for point in by_sparsity.series[1].points] == [(0.5, 79.5), (0.75, 79.5)]
    assert [(guide.name, guide.dashed) for guide in by_sparsity.guides] == [("plain (reference)", False), ("plain (trained on)", True)]
    assert curves.name == "curve-train-loss" and curves.series[0].points[1][:2] == (2, 1.0)
    with pytest.raises(UserError, match="There is no figure 'curve'; did you mean 'curves'"):
        charts(group, ["curve"])


def test_the_best_of_a_block_is_bold_the_second_underlined_and_the_reference_neither():
    text = tables.markdown(only(RECORDS))
    assert "| plain (reference) | 80.50 ± 0.50 |" in text and "| plain (trained on) | 81.10 ± 0.50 |" in text  # alone in its block
    assert text.count("**79.50 ± 0.50**") == 2 and text.count("<ins>76.50 ± 0.50</ins>") == 2  # at each sparsity
    latex = tables.latex(only(RECORDS))
    assert latex.count(r"\textbf{79.50 $\pm$ 0.50}") == 2 and latex.count(r"\underline{76.50 $\pm$ 0.50}") == 2


def test_equal_as_printed_shares_the_mark_and_all_equal_has_none():
    def marked(*scores):
        group = only([record(f"m{index}", top1=score) for index, score in enumerate(scores)])
        return [paper.marks(group, columns.columns(group)[0]).get(place) for place in range(len(scores))]

    assert marked(70.0, 71.001, 71.0) == ["second", "best", "best"]
    assert marked(70.0, 70.0) == [None, None] and marked(70.0) == [None]
    assert marked(70.0, 72.0, 71.0, 60.0) == [None, "best", "second", None]


def test_missing_numbers_stay_missing():
    text = tables.markdown(only([record("plain", profile=None), record("plain", 0, options={"arch": "resnet20", "x": 1})]))
    assert "| – | – |" in text and "nan" not in text.lower()
    assert "MACs" not in tables.markdown(only([record("plain", profile=None)]))  # a column without a number is left out


EVIL = "<script>alert('x')</script> a_b 100% & $x$ \\input{x} | `y`"


def test_foreign_text_does_no_harm():
    evil = record("plain", method__standins=[EVIL])
    made = texts(gather(Report("x"), [evil]))
    assert "<script>" not in made["table.md"] and "\\|" in made["table.md"]
    latex = made["table.tex"]
    assert r"\textless{}script\textgreater{}" in latex and r"a\_b 100\% \& \$x\$ \textbackslash{}input\{x\}" in latex
    formula = record("plain", options={"note": "x"}, method__name="=cmd()")
    cells = list(csv.DictReader(io.StringIO(tables.comma_separated([only([formula])]))))
    assert cells[0]["method"] == "'=cmd()" and float(cells[0]["score"]) == 78.0


def test_latex_is_balanced():
    latex = tables.latex(only(RECORDS))
    assert latex.count(r"\begin{") == latex.count(r"\end{") == 2 and latex.count("{") == latex.count("}")
    over, heading, *body = latex.split(r"\toprule")[1].split(r"\bottomrule")[0].replace(r"\midrule", "").split("\n")[1:]
    assert all(line.count(" & ") == heading.count(" & ") == 5 for line in body if line)
    assert sum(map(int, re.findall(r"multicolumn\{(\d+)\}", over))) == heading.count(" & ")


def test_the_pareto_front_by_hand():
    assert pareto([(1, 5), (2, 4), (3, 7), (1, 6)]) == [(1, 6), (3, 7)]


def test_figures_are_the_same_bytes_twice(tmp_path):
    one, two = (list(figures.draw_all([only(RECORDS)], list(CHARTS), tmp_path / name)) for name in ("a", "b"))
    assert len(one) == 10 and [path.read_bytes() for path in one] == [path.read_bytes() for path in two]


def test_a_report_selects_and_says_what_its_numbers_are(tmp_path):
    (tmp_path / "mine.toml").write_text('title = "Mine"\nmethods = ["plain", "one_by_n"]\n')
    text = texts(gather(load("mine", tmp_path), RECORDS))["table.md"]
    assert "embedded data, scale short, seeds 0-2, Test CPU 2000 (2 cores)" in text and "l1_filter" not in text
    tried = texts(gather(load("mine", tmp_path), [{**item, "scale": "smoke"} for item in RECORDS]))["table.md"]
    assert "scale smoke (weights all but random: cost and latency count, quality does not), seeds 0-2" in tried
    with pytest.raises(UserError, match="There is no report 'mime'.*did you mean 'mine'"):
        load("mime", tmp_path)
    (tmp_path / "mine.toml").write_text("titel = 1")
    with pytest.raises(UserError, match="is no report"):
        load("mine", tmp_path)
    with pytest.raises(UserError, match="No finished record fits"):
        gather(Report("x", tasks=("other",)), RECORDS)


def test_there_is_a_row_per_finished_record():
    assert len(flatten([*RECORDS, record("x", status="failed")])) == len(RECORDS)


@pytest.mark.parametrize("width", [80, 120])
def test_the_terminal_table_fits(width):
    output = io.StringIO()
    failed = record("magnitude", status="failed", reason="ValueError: [bold]x", scores={})
    run_table([*RECORDS, failed], Console(file=output, width=width))
    text = output.getvalue()
    assert all(len(line) <= width for line in text.splitlines() if not line.startswith(("failed", "Record")))
    for part in ("one_by_n", "79.50 ± 0.50", "−1.00", "20.3M", "0.900", "1.11×", "embedded data, scale short, seeds 0-2", "[bold]x"):
        assert part in text


def test_a_title_names_the_options_of_the_task_that_are_not_usual_at_its_scale():
    usual = {"label_share": 0.05, "label_choice": "balanced", "imbalance": 0.0}
    assert notes.unusual("astar_har", "short", json.dumps(usual)) == []
    assert notes.unusual("astar_har", "short", json.dumps(usual | {"imbalance": 10.0})) == [("imbalance", 10.0)]
    assert notes.unusual("unknown", "short", json.dumps({"kept": 1})) == [("kept", 1)]

"""Marks on numbers: a noisy timing, work of which not all was counted, records of unknown code."""

from __future__ import annotations

import csv
import io
import json

import pytest
from click.testing import CliRunner
from matplotlib.figure import Figure
from records import profile, record
from rich.console import Console

from suite.cli.report import command
from suite.reporting import columns, figures, html, notes, paper, tables
from suite.reporting.charts import charts
from suite.reporting.content import gather, noise
from suite.reporting.declare import Report
from suite.reporting.flat import THREADS, WAYS, flatten
from suite.reporting.plots import plots
from suite.reporting.rows import groups
from suite.reporting.terminal import run_table


def only(records):
    (group,) = groups(flatten(records), ("sparsity",))
    return group


def timed(method, sparse, *noisy, seed=0, **changes):
    """A record of which the timings `noisy`, such as ``"one.torch"``, are noisy."""
    made = profile(0.5, sparse)
    for name in noisy:
        threads, way = name.split(".")
        made["latency"][threads][way]["noisy"] = True
    return record(method, seed, profile=made, **changes)


HEADINGS = {"one.torch": ("torch 1T (ms)", "vs torch 1T"), "one.dense": ("dense 1T (ms)", "gain 1T"),
            "one.sparse": ("sparse 1T (ms)", "gain 1T", "vs torch 1T"), "all.torch": ("torch 2T (ms)", "vs torch 2T"),
            "all.dense": ("dense 2T (ms)", "gain 2T"), "all.sparse": ("sparse 2T (ms)", "gain 2T", "vs torch 2T")}


@pytest.mark.parametrize("name", HEADINGS)
def test_the_mark_stands_on_the_number_that_is_noisy_and_its_ratios_alone(name):
    group = only([timed("a", 0.7, name), timed("b", 0.8)])
    marked = {(row.method, column.heading) for column in columns.columns(group, ["latency"]) for row in group.rows
              if column.text(row).endswith("~")}
    assert marked == {("a", heading) for heading in HEADINGS[name]}
    for row in group.rows:
        assert {(threads, way) for threads in THREADS for way in WAYS if row.noisy(threads, way, group.places[0])} == (
            {tuple(name.split("."))} if row.method == "a" else set())


def test_every_view_marks_it():
    group = only([timed("a", 0.7, "one.torch", "all.sparse"), timed("b", 0.8)])
    for view, mark in ((tables.markdown(group, ["latency"]), "2.00\\~"), (tables.latex(group, ["latency"]), r"2.00$\sim$"),
                       (html.table(group, ["latency"], "", "."), "2.00~")):
        assert mark in view and "noisy timing, or a ratio with one" in view
    assert "noisy timing, or" not in tables.markdown(group, ["quality"]), "a footnote without a mark"
    one, other = csv.DictReader(io.StringIO(tables.comma_separated([group])))
    flags = {f"noisy_{way}_{threads}": one[f"noisy_{way}_{threads}"] for way in WAYS for threads in THREADS}
    assert {key for key, item in flags.items() if item == "true"} == {"noisy_torch_one", "noisy_sparse_all"}
    assert all(other[key] == "false" for key in flags)
    output = io.StringIO()
    run_table([timed("a", 0.7, "one.dense", "all.sparse")], Console(file=output, width=120))
    assert "1.43×~" in output.getvalue() and "0.700~" not in output.getvalue() and "~ noisy timing" in output.getvalue()


def test_a_noisy_number_of_another_machine_does_not_mark_the_mean():
    group = only([timed("a", 0.7), timed("a", 0.7, seed=2), timed("a", 9.0, "one.sparse", seed=1, timed_on__id="bb22")])
    assert not group.rows[0].noisy("one", "sparse", group.places[0])


def test_the_best_is_never_noisy():
    group = only([timed("a", 0.5, "one.sparse"), timed("b", 0.7), timed("c", 0.8), timed("d", 0.9)])
    found = {column.heading: paper.marks(group, column) for column in columns.columns(group, ["latency"])}
    assert found["sparse 1T (ms)"] == {1: "best", 2: "second"} and found["gain 1T"] == {1: "best", 2: "second"}
    assert found["sparse 2T (ms)"] == {0: "best", 1: "second"}
    group = only([timed("a", 0.5, "one.sparse"), timed("b", 0.7)])
    assert paper.marks(group, next(item for item in columns.columns(group) if item.heading == "sparse 1T (ms)")) == {}


def test_noisy_points_are_hollow_in_files_and_page():
    group = only([timed("a", 0.5, "one.sparse"), timed("b", 0.7)])
    latency, macs = charts(group, ["latency", "macs"])
    assert [point.doubt for item in latency.series for point in item.points] == ["noisy timing", ""]
    assert not any(point.doubt for item in macs.series for point in item.points)
    axes = Figure().add_subplot()
    figures.paint(latency, axes)
    assert "hollow: noisy timing" in axes.get_legend_handles_labels()[1]
    assert [line.get_xydata().tolist() for line in axes.lines if line.get_markerfacecolor() == "white"][:1] == [[[0.5, 78.0]]]
    data = next(plot["data"] for plot in plots(group, []) if "latency" in plot["layout"]["xaxis"]["title"]["text"])
    assert data[0]["marker"]["symbol"] == ["circle-open"] and data[1]["marker"]["symbol"] == "square"
    assert data[0]["text"] == ["a, noisy timing"]


def test_a_report_says_which_columns_are_noisy_and_what_times_them_again(tmp_path, monkeypatch):
    quiet = [timed("c", 0.7)]
    content = gather(Report("x"), [timed("a", 0.7, "one.torch", "one.sparse"), timed("b", 0.7, "one.torch"), *quiet])
    assert noise([content, content]) == ("More than half of the timings are noisy in cifar10 (embedded, short): torch 1T; on a quiet "
                                         "machine time them again with: suite profile --update --noisy 'cifar10/*'")
    assert noise([gather(Report("x"), quiet)]) == ""
    monkeypatch.setenv("SUITE_RESULTS", str(tmp_path / "results"))
    monkeypatch.setattr("plotly.offline.get_plotlyjs", lambda: "var Plotly")
    (tmp_path / "mine.toml").write_text('title = "Mine"\n')
    made = timed("a", 0.7, "all.dense")
    path = tmp_path / f"results/{made['id']}.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(made))
    done = CliRunner().invoke(command, ["--reports", str(tmp_path)])
    assert done.exit_code == 0 and done.stderr.count("dense 2T; on a quiet machine") == 1 and "quiet" not in done.stdout


def part(method, what=("LSTM", "aten::_fft_r2c"), sparsity=0.5, **changes):
    return record(method, profile={**profile(sparsity), "uncounted": list(what), "ops": {"mul": 1, "add": 5, "xnor": 3000}}, **changes)


def test_macs_that_are_not_whole_are_marked_in_every_view():
    group = only([part("lstm"), record("plain")])
    note = "† not whole: more work is done than could be counted (LSTM, aten::_fft_r2c)."
    for view, mark in ((tables.markdown(group), "20.3M†"), (tables.latex(group), r"20.3M\dag{}"), (html.table(group, (), "", "."), "20.3M†")):
        assert mark in view and "40.6M |" in tables.markdown(group)
    assert note in tables.markdown(group).replace("\\", "") and "not whole" in tables.latex(group) and note in html.table(group, (), "", ".")
    texts = {column.heading: column.text(group.rows[0]) for column in columns.columns(group)}
    assert texts["MACs change"] == "−50.0 %†" and texts["xnor ops"] == "3.00k†" and "†" not in texts["params ≠ 0"]
    one, other = csv.DictReader(io.StringIO(tables.comma_separated([group])))
    assert one["uncounted"] == "LSTM; aten::_fft_r2c" and other["uncounted"] == ""
    output = io.StringIO()
    run_table([part("lstm")], Console(file=output, width=120))
    assert "20.3M†" in output.getvalue() and "† not whole" in output.getvalue()
    chart = charts(group, ["macs"])[0]
    assert [point.doubt for item in chart.series for point in item.points] == ["MACs not whole", ""]
    assert "not whole" not in tables.markdown(only([record("plain")]))


def test_a_share_of_a_reference_that_is_not_whole_is_not_whole_either():
    base = part("plain", sparsity=0.0)
    group = only([base, record("cut", parents={"reference": base["id"]}, profile=profile(0.5))])
    (column,) = [column for column in columns.columns(group) if column.heading == "MACs change"]
    assert column.text(group.rows[1]) == "−50.0 %†"


def test_the_terminal_never_calls_a_part_all_of_the_macs(fresh_results, capsys):
    from suite.cli.profile import _record

    _record(part("lstm"))
    shown = capsys.readouterr().out
    assert "20,275,500 effective (not whole: uncounted is LSTM, aten::_fft_r2c)" in shown
    assert "100.0% of the MACs that were counted" in shown
    _record(record("plain"))
    assert "100.0% of the MACs\n" in capsys.readouterr().out


def test_records_without_a_commit_are_marked_once():
    nameless = record("a", code__commit="")
    group = only([nameless, record("b")])
    assert notes.doubtful(group) == [["Its record names no commit."], []]
    assert "| a<sup>1</sup> |" in tables.markdown(group) and "- 1: Its record names no commit." in tables.markdown(group)
    text = tables.markdown(only([nameless, record("b", code__commit="")]))
    assert "- No record of these rows names a commit." in text and "<sup>" not in text
    assert "commit" not in tables.markdown(only([record("a"), record("b")]))


def test_a_step_without_a_score_is_a_gap():
    made = record("a", steps=[{"top1": 70.0}, {"top1": None}, {"top1": 60.0}])
    group = only([made])
    assert group.rows[0].steps("top1") == [70.0, None, 60.0]
    assert "| 70.0 – 60.0 |" in tables.markdown(group, columns.KINDS)
    (chart,) = charts(group, ["steps"])
    assert [point[:2] for point in chart.series[0].points] == [(1, 70.0), (3, 60.0)]
    assert next(csv.DictReader(io.StringIO(tables.comma_separated([group]))))["steps"] == "70  60"

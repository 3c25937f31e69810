"""Equal cost before all else: lines through measured latencies, what is read at one of them, and the first sentence."""

from __future__ import annotations

import base64
import csv
import io
from pathlib import Path

import pytest
from records import profile, record

from suite.reporting.charts import charts
from suite.reporting.content import gather
from suite.reporting.declare import Equal, Headline, Report, load
from suite.reporting.front import sheet
from suite.reporting.render import texts, write
from suite.statistics import interpolated

ROOT = Path(__file__).parents[2]
HEADLINE = Headline("pruning method", "cifar10", "cnn/pruning", 0.5)
EQUAL = (Equal("Half the MACs", "macs_effective", 0.5, 0.01, ("cnn/pruning-[bc]*",)), Equal("Equal bits", "bytes_packed", 0.25, 0.02),
         Equal("Equal sparsity", "sparsity", masked=True, text="Masked."))
REPORT = Report("x", headline=HEADLINE, equal=EQUAL, figures=("frontier",))
SEEDS = range(5)


def reference(seed, **changes):
    return record("plain", seed, 80.0 + 0.1 * seed, **{"scores__trivial_top1": 10.0, "method__tags": ["reference"], **changes})


def point(seed, method, sparsity, top1, milliseconds, *, tag="cnn/pruning-block", noisy=False, left=None, bits=1.0, **options):
    """A pruned network: `left` of the MACs (default: what is not zero), `bits` of the bytes."""
    made = profile(sparsity, milliseconds, noisy)
    if left is not None:
        made["macs"] = made["macs_effective"] = round(left * made["macs"])
    made["bytes_packed"] = round(bits * made["bytes_dense"])
    return record(method, seed, top1 + 0.1 * seed, options={"sparsity": sparsity, **options}, profile=made, method__tags=[tag],
                  method__starts="reference", parents={"reference": reference(seed)["id"]})


SPARSITIES = {0.3: (0.8, 79.0), 0.5: (0.6, 78.0), 0.75: (0.4, 76.0), 0.9: (0.2, 70.0)}  # milliseconds and score


def line(method, worse=0.0, seeds=SEEDS, points=tuple(SPARSITIES), spread=0.0, **more):
    """A method's points: at 0.5 ms it scores 77 less `worse`, which moves up and down by `spread` from seed to seed."""
    return [point(seed, method, share, SPARSITIES[share][1] - worse + spread * (seed % 2 or -1), SPARSITIES[share][0], **more)
            for seed in seeds for share in points]


def first(records, **changes):
    """The sentence that compares."""
    found = gather(Report("x", headline=HEADLINE), [*map(reference, SEEDS), *records, *changes.get("more", ())]).first
    return next(sentence for sentence in found if "pruning method" in sentence)


def test_a_line_is_read_between_its_points_and_not_beyond():
    assert interpolated(0.5, [0.4, 0.6], [76.0, 78.0]) == pytest.approx(77.0) and interpolated(0.5, [0.6, 0.4], [78.0, 76.0]) == pytest.approx(77.0)
    assert interpolated(0.4, [0.4, 0.6], [76.0, 78.0]) == 76.0 and interpolated(0.6, [0.4, 0.6], [76.0, 78.0]) == pytest.approx(78.0)
    assert interpolated(0.7, [0.4, 0.6], [76.0, 78.0]) is None and interpolated(0.3, [0.4, 0.6], [76.0, 78.0]) is None and interpolated(1.0, [], []) is None
    assert interpolated(0.4, [0.4, 0.4], [76.0, 78.0]) == 77.0 and interpolated(0.5, [0.4, 0.6, 0.4], [75.0, 78.0, 77.0]) == pytest.approx(77.0)


def test_the_first_sentence_says_who_wins_at_equal_latency_whoever_it_is():
    wins = first([*line("one_by_n", n=4), *line("l1_filter", 1.0, tag="cnn/pruning-channel", spread=0.1)])
    assert wins.startswith("On cifar10 (embedded data, scale short, resnet20) at 0.500 ms on one thread (50 % of the reference's dense "
                           "plan) the most exact of 2 pruning methods is one_by_n n=4: top1 77.20 ± 0.16 % over 5 seeds, ahead of "
                           "l1_filter (by 1.02 [0.884, 1.16]).")
    loses = first([*line("one_by_n", 1.0, n=4), *line("l1_filter", tag="cnn/pruning-channel", spread=0.1)])
    assert "the most exact of 2 pruning methods is l1_filter: top1 77.18" in loses and "ahead of one_by_n n=4 (by 0.980" in loses
    ties = first([*line("one_by_n", 0.1, n=4), *line("l1_filter", tag="cnn/pruning-channel", spread=1.0)])
    assert "these seeds do not tell it from" in ties and "ahead of" not in ties
    absent = first([*line("l1_filter"), *line("random_filter", 5.0)])
    assert "is l1_filter: top1 77.20" in absent and "one_by_n" not in absent


def test_the_first_sentence_admits_what_cannot_be_read():
    few = first([*line("l1_filter"), *line("random_filter", 1.0), *line("one_by_n", points=(0.5, 0.75, 0.9))])
    assert few.endswith("; not read there: one_by_n (3 timed points of a seed, 4 are needed).")
    beyond = [point(seed, "one_by_n", share, 79.0, 0.1 * share) for seed in SEEDS for share in SPARSITIES]
    assert "one_by_n (timed from 0.030 to 0.090 ms alone)" in first([*line("l1_filter"), *line("random_filter", 1.0), *beyond])
    assert "no pruning method but l1_filter can be compared yet" in first(line("l1_filter"))
    assert "no pruning method can be compared yet" in first(line("l1_filter", points=(0.5,)))
    assert "No pruning method has run on cifar10 yet." in first([])
    untimed = gather(Report("x", headline=HEADLINE), [*(reference(seed, profile=None) for seed in SEEDS), *line("l1_filter")]).first
    assert "no reference has been timed, so that no pruning method is compared" in untimed[1]


def test_the_first_sentence_says_nothing_at_chance_and_names_noise():
    chance = first([*line("one_by_n", 67.05, spread=0.3), *line("l1_filter", 69.0)])
    assert "the best pruning method is not above chance (a trivial predictor scores 10.0), so that nothing is compared." in chance
    assert "one_by_n" not in chance
    noisy = first([*line("one_by_n", noisy=True), *line("l1_filter", 1.0, noisy=True)])
    assert "% over 5 seeds, noisy timing, ahead of l1_filter (by 1.00 [1.00, 1.00], noisy timing)" in noisy


@pytest.mark.parametrize("noisy, marked", [(0.3, False), (0.5, True), (0.75, True), (0.9, False)])
def test_noise_of_either_timing_beside_the_latency_is_noise_of_what_is_read_there(noisy, marked):
    records = [point(seed, "one_by_n", share, score, time, noisy=share == noisy)  # 0.5 ms lies between those of 0.5 and 0.75
               for seed in SEEDS for share, (time, score) in SPARSITIES.items()]
    (found,) = gather(REPORT, [*map(reference, SEEDS), *records]).fronts
    assert [item.noisy for item in found.standings] == [marked]
    assert ("~" in sheet(found).rows[0][1]) == marked


def test_chance_is_told_by_the_interval_over_all_seeds_and_not_by_the_first():
    def at(*gains):
        """The sentence where the best scores that much above chance, by seed."""
        best = [point(seed, "one_by_n", share, 10 + gain - 0.1 * seed, time) for seed, gain in enumerate(gains)
                for share, (time, _) in SPARSITIES.items()]
        return first([*best, *line("l1_filter", 75.0)])

    unsure, sure = at(1.0, -1.0, 1.0, -1.0, 0.5), at(-0.1, 2.0, 2.0, 2.0, 2.0)
    assert "is not above chance" in unsure and "most exact" not in unsure
    assert "the most exact of 2 pruning methods is one_by_n" in sure
    assert "is not above chance" in at(-1.0) and "most exact" in at(1.0)  # one seed alone has no interval


def test_the_first_sentence_rests_on_the_most_telling_data():
    def family(source, scale):
        plain = record("plain", 0, 80.0, source=source, scale=scale)
        return [plain, *(record(name, 0, 78.0, source=source, scale=scale, parents={"reference": plain["id"]},
                                method__starts="reference") for name in ("a", "b"))]

    records = [item for source in ("embedded", "subset") for scale in ("short", "long") for item in family(source, scale)]
    told = [line for line in gather(Report("x", headline=HEADLINE), records).first if "pruning method" in line]
    assert len(told) == 1 and "subset data, scale long," in told[0]


def test_the_first_sentence_is_of_data_on_which_methods_can_be_compared():
    def source(records, kind):
        return [{**item, "id": f"{kind}/{item['id']}", "task": {**item["task"], "source": {**item["task"]["source"], "kind": kind,
                 "digest": kind}}, "parents": {name: f"{kind}/{other}" for name, other in item["parents"].items()}} for item in records]

    methods = [*line("l1_filter"), *line("one_by_n", 1.0)]
    unread = [*line("l1_filter", points=(0.5,)), *line("one_by_n", points=(0.5,))]
    for subset, place in ((methods, "subset"), (unread, "embedded")):
        records = [*source([*map(reference, SEEDS), *methods], "embedded"), *source([*map(reference, SEEDS), *subset], "subset")]
        told = [line_ for line_ in gather(Report("x", headline=HEADLINE), records).first if "pruning method" in line_]
        assert len(told) == 1 and told[0].startswith(f"On cifar10 ({place} data") and "the most exact of 2" in told[0]


RECORDS = [*map(reference, SEEDS), *line("one_by_n", n=4),
           *line("l1_filter", 0.5, tag="cnn/pruning-channel", masked=False, macs=0.0, spread=0.1),
           *(point(seed, "l1_filter", 0.5, 77.5, 0.55, tag="cnn/pruning-channel", left=0.505, macs=0.5, masked=False) for seed in SEEDS),
           *(point(seed, "l1_filter", share, 60.0, 0.9, tag="cnn/pruning-channel", macs=0.0, masked=True)
             for seed in SEEDS for share in (0.5, 0.75)),
           *(point(seed, "magnitude", share, 79.0, 0.95, tag="cnn/pruning-unstructured", bits=0.25) for seed in SEEDS
             for share in (0.5, 0.75))]


def test_a_line_per_method_as_deployed_with_the_masked_form_dashed():
    (group,) = gather(REPORT, RECORDS).groups
    (chart,) = charts(group, ["frontier"])
    assert {item.name: item.dash for item in chart.series} == {
        "plain (reference)": None, "one_by_n n=4": 0, "l1_filter masked=false": 0, "magnitude": 0, "l1_filter masked=true": 1}
    found = {item.name: [(made.across, made.up) for made in item.points] for item in chart.series}
    assert found["one_by_n n=4"] == [(0.2, 70.2), (0.4, 76.2), (0.6, 78.2), (0.8, 79.2)]
    assert (0.55, 77.7) in found["l1_filter masked=false"], "a network cut to a share of the MACs lies on its method's line"
    errors = {item.name: [made.error for made in item.points] for item in chart.series}
    assert errors["one_by_n n=4"] == pytest.approx([0.1 * 2.5**0.5] * 4) and chart.guides[0].points[0][0] == 0.5


def test_what_is_compared_at_one_latency_stands_in_a_table_with_intervals():
    (found,) = gather(REPORT, RECORDS).fronts
    made = sheet(found)
    assert made.title == "At equal measured latency: 0.500 ms" and made.best == 0
    # l1_filter lies between 75.5 at 0.4 ms and 77.5 at 0.55 ms, the network cut to half of the MACs.
    assert made.rows == [
        ["one_by_n n=4", "77.20 ± 0.16", "[77.0, 77.4]", "5", "–", "–"],
        ["l1_filter masked=false", "77.03 ± 0.16", "[76.8, 77.2]", "5", "0.173 [0.128, 0.219]", "–"],
        ["magnitude", "–", "–", "0", "–", "2 timed points of a seed, 4 are needed"]]
    made = sheet(gather(REPORT, [*map(reference, SEEDS), *line("one_by_n", noisy=True), *line("l1_filter", 0.5),
                                 *line("other", 0.7)]).fronts[0])
    assert made.rows[0][1] == "77.20 ± 0.16~" and made.best == 1, "what rests on a noisy timing is never the best"
    assert not gather(REPORT, [*map(reference, SEEDS), *line("one_by_n", points=(0.5,))]).fronts


def test_rows_of_one_cost_stand_together_and_only_they():
    (found,) = gather(REPORT, RECORDS).fronts
    macs, bits, sparsity = [{(row.method, row.options, row.block) for row in group.rows if not row.role} for group in found.tables]
    assert macs == {("l1_filter", "macs=0.5 masked=false", ""), ("one_by_n", "n=4 sparsity=0.5", ""),
                    ("l1_filter", "masked=false sparsity=0.5", "")}, "neither masked filters nor unstructured zeros"
    assert bits == {("magnitude", f"sparsity={share}", "") for share in (0.5, 0.75)}
    assert sparsity == {(name, f"{own}sparsity={share}", f"sparsity {share}") for share in (0.5, 0.75)
                        for name, own in (("l1_filter", "masked=true "), ("one_by_n", "n=4 "), ("magnitude", ""))}


@pytest.mark.parametrize("whose", ["own", "reference's"])
def test_macs_that_are_not_whole_are_not_equal_to_any(whose):
    halves = [point(seed, name, 0.5, 78.0, 0.6) for seed in SEEDS for name in ("one_by_n", "l1_filter", "lstm")]
    dense = [reference(seed) for seed in SEEDS]
    for item in halves if whose == "own" else dense:
        if whose != "own" or item["method"]["name"] == "lstm":
            item["profile"]["uncounted"] = ["lstm"]
    report = gather(Report("x", headline=HEADLINE, equal=EQUAL[:1]), [*dense, *halves])
    (group,) = report.groups
    tables = [{row.method for row in table.rows if not row.role} for found in report.fronts for table in found.tables]
    assert {row.method for row in group.rows if not row.role} == {"one_by_n", "l1_filter", "lstm"}
    assert tables == ([{"one_by_n", "l1_filter"}] if whose == "own" else [])


def test_the_front_is_in_every_view_and_lists_of_unequal_costs_have_no_best():
    made = texts(gather(REPORT, RECORDS))
    page = made["table.md"]
    order = [page.index(part) for part in ("## At equal cost: cifar10 (version 1), from plain resnet20", "-frontier.svg)",
                                           "### At equal measured latency: 0.500 ms", "### Half the MACs (49 to 51 % of the reference's)",
                                           "### Equal bits", "### Equal sparsity\n\nMasked.", "## cifar10 (version 1), from plain")]
    assert order == sorted(order)
    assert "| one\\_by\\_n n=4 | **77.20 ± 0.16** |" in page and "l1\\_filter macs=0.5 masked=false" in page and "| −49.5 % |" in page
    listed = page[order[-1]:]
    assert "**" not in listed and "Nothing is marked best here" in listed
    assert made["table.tex"].count(r"\begin{table}") == 6 and r"\textbf{77.20 $\pm$ 0.16}" in made["table.tex"]
    best, other, unread = csv.DictReader(io.StringIO(made["front.csv"]))
    assert (best["method"], best["seeds"], best["noisy"], other["latency_ms"]) == ("one_by_n n=4", "5", "false", "0.5")
    assert float(other["behind"]) == pytest.approx(0.1733333) and unread["score"] == "" and unread["not_read"].startswith("2 timed points")
    assert "front.csv" not in texts(gather(Report("x"), RECORDS)) and "**" in texts(gather(Report("x"), RECORDS))["table.md"]


def test_the_page_shows_the_front_first_with_its_figure(tmp_path, monkeypatch):
    monkeypatch.setattr("plotly.offline.get_plotlyjs", lambda: "var Plotly")
    made = write(gather(REPORT, RECORDS), tmp_path, "results")
    page = (tmp_path / "index.html").read_text()
    (drawn,) = [path for path in made if path.name.endswith("-frontier.svg")]
    order = [page.index(part) for part in ("<h2>At equal cost: cifar10", base64.b64encode(drawn.read_bytes()).decode(),
                                           "<h3>At equal measured latency: 0.500 ms</h3>", '<td class=best>77.20 ± 0.16</td>',
                                           "<h3>Half the MACs (49 to 51 %", "<h3>Equal sparsity</h3>", "<h2>cifar10 (version 1)")]
    assert order == sorted(order)


def test_what_records_no_longer_have_leaves_the_folder(tmp_path, monkeypatch):
    monkeypatch.setattr("plotly.offline.get_plotlyjs", lambda: "var Plotly")
    write(gather(REPORT, RECORDS), tmp_path, "results")
    (tmp_path / "notes.md").write_text("the user's own")
    assert (tmp_path / "front.csv").exists() and list(tmp_path.glob("figures/*-frontier.svg"))
    write(gather(REPORT, [record("plain"), record("magnitude")]), tmp_path, "results")
    assert not (tmp_path / "front.csv").exists() and not list(tmp_path.glob("figures/*-frontier.*"))
    assert (tmp_path / "table.csv").exists() and (tmp_path / "notes.md").exists()


def test_a_table_of_masked_rows_needs_one():
    (found,) = gather(REPORT, RECORDS).fronts
    (other,) = gather(REPORT, [item for item in RECORDS if item["method"]["options"].get("masked") is not True]).fronts
    assert len(other.tables) == len(found.tables) - 1 and not any(group.equal.masked for group in other.tables)


def test_a_cut_network_gains_over_its_reference_and_not_over_itself():
    report = texts(gather(REPORT, RECORDS))["table.md"]
    line_ = next(line for line in report.splitlines() if line.startswith("| l1\\_filter macs=0.5 masked=false |"))
    assert "1.82×" in line_  # 1.0 ms of the reference's dense plan over 0.55


def test_the_compression_report_has_what_its_title_says():
    declared = load("compression", ROOT / "reports")
    assert declared.headline and [item.cost for item in declared.equal] == ["macs_effective", "bytes_packed", "sparsity"]
    assert declared.equal[0].within == 0.01 and declared.equal[2].masked and "1xN paper" in declared.equal[2].title
    assert declared.figures[0] == "frontier" and all(item.seeds >= 5 for item in declared.runs if item.scale != "smoke")
    points = {name: option for item in declared.runs for name in item.methods for option in item.options if "=0.3," in option}
    assert all(option.count(",") >= 3 for option in points.values()) and {"one_by_n", "l1_filter", "magnitude"} <= points.keys()

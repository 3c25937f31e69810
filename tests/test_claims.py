"""Verdicts on claims: the rule of looks, its error and its power, intervals by hand and by scipy, frontiers, test images."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from records import profile, record, timed, timing
from scipy import stats

from suite.claims import by_seed, decidable, judge, read_value, side_runs, value_at
from suite.contract import Claim, Side
from suite.looks import LOOKS, decision, first_decision
from suite.outcomes import packed, unpacked


def claim(kind="above", sides=2, **changes):
    return Claim("c", "A sentence", task="cifar10", kind=kind, sides=(Side("a"),) * sides, **{"value": "top1", **changes})


def side(*scores, **changes):
    return {seed: [record("a", seed, score, **changes)] for seed, score in enumerate(scores)}


def shifted(differences, **changes):
    """Two sides whose differences by seed are these."""
    base = [70.0, 72.0, 71.0, 73.0, 69.0, 70.5, 71.5, 72.5, 68.0][: len(differences)]
    return [side(*(score + difference for score, difference in zip(base, differences, strict=True)), **changes), side(*base, **changes)]


def test_the_interval_is_the_paired_t_interval_at_the_look_s_level():
    ours, rivals = side(80.0, 81.0, 83.0), side(79.0, 79.5, 80.0)
    verdict = judge(claim(), [ours, rivals])
    (found,) = verdict.intervals
    differences = [1.0, 1.5, 3.0]
    low, high = stats.t.interval(0.99, 2, sum(differences) / 3, stats.sem(differences))
    assert math.isclose(found.low, low) and math.isclose(found.high, high) and found.count == 3
    assert math.isclose(found.high - found.mean, 9.924843 * 1.0408330 / math.sqrt(3), rel_tol=1e-5)  # by hand
    assert verdict.finding == "not decided" and low < 0 < high
    assert verdict.text == "not decided (look 1 of 3, 3 seeds; waits for seeds 3, 4)" and verdict.wanted == 5


@pytest.mark.parametrize("differences, margin, finding", [
    ((1.0, 1.1, 0.9), 0.0, "holds"), ((-1.0, -1.1, -0.9), 0.0, "refuted"), ((1.0, -1.0, 0.5), 0.0, "not decided"),
    ((-0.2, -0.24, -0.22), -0.5, "holds"), ((-0.8, -0.84, -0.82), -0.5, "refuted"), ((1.0, 1.1, 0.9), 1.0, "not decided"),
])
def test_above(differences, margin, finding):
    assert judge(claim(margin=margin), shifted(differences)).finding == finding


def test_within():
    rivals = side(70.0, 71.0, 72.0)
    assert judge(claim("within", margin=1.0), [side(70.1, 71.2, 72.1), rivals]).finding == "holds"
    assert judge(claim("within", margin=1.0), [side(75.1, 76.2, 77.1), rivals]).finding == "refuted"
    assert judge(claim("within", margin=1.0), [side(70.9, 71.2, 73.1), rivals]).finding == "not decided"


def test_ordered_needs_every_step():
    first, second, third = side(80.0, 81.0, 82.0), side(79.0, 80.1, 81.0), side(78.0, 79.0, 80.1)
    assert judge(claim("ordered", 3), [first, second, third]).finding == "holds"
    assert judge(claim("ordered", 3), [first, third, second]).finding == "refuted"


def test_one_step_alone_refutes_an_order_at_its_share_of_the_error():
    seeds = np.array([-1.0, -1.3, -1.15])
    high = stats.t.interval(0.99, 2, seeds.mean(), stats.sem(seeds))[1]
    margin = high + 0.01  # below it by a hair at the whole error, not at half of it
    assert decision(seeds[None], "ordered", margin, 0.01) == -1
    assert decision(np.stack([seeds, seeds + 9]), "ordered", margin, 0.01) == 0
    assert decision(np.stack([seeds, seeds + 9]), "ordered", margin + 1, 0.01) == -1


def test_numbers_without_spread_are_more_than_the_margin_or_are_not():
    for kind, value, finding in (("above", 0.2, "holds"), ("above", 0.1, "refuted"), ("above", 0.0, "refuted"),
                                 ("within", 0.05, "holds"), ("within", 0.1, "refuted"), ("within", -0.3, "refuted")):
        ours, rivals = [side(*[number] * 3) for number in (value, 0.0)]
        assert judge(claim(kind, margin=0.1), [ours, rivals]).finding == finding, (kind, value)
    assert judge(claim(sides=1, bound=0.0), [side(0.0, 0.0, 0.0)]).finding == "refuted"


def test_one_side_is_compared_with_a_bound():
    assert judge(claim(sides=1, bound=75.0), [side(80.0, 80.5, 80.2)]).finding == "holds"
    assert judge(claim(sides=1, bound=90.0), [side(80.0, 80.5, 80.2)]).finding == "refuted"


# The rule of looks


def test_the_looks_have_five_per_cent_together():
    assert [look.seeds for look in LOOKS] == [3, 5, 9] and math.isclose(sum(look.level for look in LOOKS), 0.05)


def test_a_look_rests_on_exactly_its_seeds_and_says_what_it_waits_for():
    wild = (1.0, -1.0, 0.5)
    four = judge(claim(), shifted([*wild, 0.3]))
    assert four.seeds == (0, 1, 2) and four.intervals == judge(claim(), shifted(wild)).intervals
    assert four.text == "not decided (look 1 of 3, 3 seeds; waits for seed 4)" and four.wanted == 5
    ours, rivals = shifted([*wild, 0.3, 0.2, 0.1])
    del ours[3]
    gap = judge(claim(), [ours, rivals])
    assert gap.seeds == (0, 1, 2) and gap.text == "not decided (look 1 of 3, 3 seeds; waits for seed 3)"
    six = judge(claim(), shifted([*wild, 0.3, 0.2, 0.1]))
    assert six.text == "not decided (look 2 of 3, 5 seeds; waits for seeds 6, 7, 8)" and six.seeds == (0, 1, 2, 3, 4)
    last = judge(claim(), shifted([*wild, 0.3, 0.2, 0.1, -0.4, -0.2, 0.0]))
    assert (last.finding, last.text, last.wanted) == ("inconclusive", "inconclusive after the last look (9 seeds)", 0)


def test_a_decision_stands_whatever_later_seeds_say():
    early = judge(claim(), shifted([1.0, 1.1, 0.9, -9.0, -8.0, -9.0, -7.0, -9.0, -8.0]))
    assert (early.finding, early.text, early.seeds) == ("holds", "holds (look 1 of 3, 3 seeds)", (0, 1, 2))
    second = judge(claim(), shifted([1.0, 2.0, 0.4, 1.2, 1.1]))
    assert (second.finding, second.text, second.wanted) == ("holds", "holds (look 2 of 3, 5 seeds)", 0)
    assert second.intervals[0].count == 5 and math.isclose(second.means[0] - second.means[1], 1.14)


def test_too_few_seeds_are_one_look_and_decide_nothing():
    one = judge(claim(), [side(80.0), side(70.0)])
    assert one.finding == "not decided" and one.text == "one look, not decided (seed 0; waits for seeds 1, 2)"
    assert one.means == (80.0, 70.0) and one.intervals == () and one.wanted == 3
    assert judge(claim(), [side(80.0, 80.1), side(70.0, 70.0)]).text == "one look, not decided (seeds 0, 1; waits for seed 2)"
    ours, rivals = shifted([1.0, 1.1, 0.9, 1.0])
    del ours[1]
    assert judge(claim(), [ours, rivals]).text == "one look, not decided (seeds 0, 2; waits for seed 1)"
    assert judge(claim(), [side(80.0), {}]).text == "not decided (waits for seeds 0, 1, 2)"
    nothing = judge(claim(value="note.kept"), shifted([1.0, 1.1, 0.9]))
    assert nothing.text == "not decided (no 'note.kept' of seeds 0, 1, 2)"


def test_unequal_budgets_or_machines_decide_nothing():
    held = claim(held_equal=(("total", 0.01),))
    unequal = judge(held, [side(80.0, 81.0, 80.0, budget__total=60000), side(70.0, 71.0, 70.0)])
    assert unequal.finding == "inconclusive" and "'total' was to be equal within 1%" in unequal.text and not unequal.wanted
    times = [timed("latency", 2.0, 300)], [timed("latency", 1.0, 300)]
    slow, fast = (side(1, 2, 3, timings=item) for item in times)
    assert judge(claim(value="timing.latency.300"), [slow, fast]).finding == "holds"
    elsewhere = side(1, 2, 3, timings=times[1], timed_on__id="another")
    assert "different machines" in judge(claim(value="timing.latency.300"), [slow, elsewhere]).text
    assert judge(claim(), [side(80.0, 80.1, 80.2), side(70.0, 70.1, 70.1, timed_on__id="another")]).finding == "holds"


def test_what_was_to_be_equal_and_is_not_known_decides_nothing():
    held = claim(held_equal=(("macs", 0.01),))
    known, unknown = shifted([1.0, 1.1, 0.9])
    assert judge(held, [known, unknown]).finding == "holds"
    unknown[1] = [{**unknown[1][0], "profile": None}]
    verdict = judge(held, [known, unknown])
    assert verdict.finding == "inconclusive" and "'macs' was to be equal and is not known of every run" in verdict.text


@pytest.mark.parametrize("ours, rivals, finding", [
    ((9.8, 9.9, 9.7), (8.8, 8.8, 8.8), "inconclusive"), ((10.2, 10.3, 10.1), (9.1, 9.1, 9.1), "holds"),
])
def test_nothing_is_decided_between_sides_of_which_none_is_better_than_chance(ours, rivals, finding):
    sides = [{seed: [record("a", seed, score, scores={"top1": score, "trivial_top1": 10.0})] for seed, score in enumerate(scores)}
             for scores in (ours, rivals)]
    verdict = judge(claim(), sides)
    assert verdict.finding == finding and ("no side is better than chance" in verdict.text) == (finding == "inconclusive")


@pytest.mark.parametrize("kind, margin, true, spread", [
    ("above", 0.5, [0.5], 1.0), ("within", 1.0, [1.0], 1.0), ("within", 1.0, [-1.0], 0.3), ("within", 0.1, [0.1], 1.0),
    ("ordered", -0.5, [-0.5] * 3, 1.0), ("ordered", -0.5, [5.0, -0.5, 5.0], 1.0),
])
def test_at_most_five_per_cent_of_true_nulls_are_decided(kind, margin, true, spread):
    """At the margin neither "holds" nor "refuted" is right. Sides share a seed's luck and have their own."""
    draws, random = 20_000, np.random.default_rng(0)
    sides = spread * random.standard_normal((len(true) + 1, draws, LOOKS[-1].seeds)) / math.sqrt(2)
    found, at = first_decision(sides[:-1] - sides[1:] + np.array(true)[:, None, None], kind, margin)
    wrong = float((found != 0).mean())
    assert wrong <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / draws) and set(np.unique(at)) == {1, 2, 3}
    assert wrong > 0.005  # the rule is no stricter than it has to be


@pytest.mark.parametrize("kind, margin, true, right", [
    ("above", 0.0, [1.0], 1), ("above", 0.0, [-1.0], -1), ("within", 2.0, [0.0], 1), ("within", 1.0, [2.5], -1),
    ("ordered", -0.5, [1.0, 1.0], 1), ("ordered", -0.5, [1.0, -2.0], -1),
])
def test_real_effects_are_decided(kind, margin, true, right):
    draws, random = 5_000, np.random.default_rng(1)
    sides = 0.7 * random.standard_normal((len(true) + 1, draws, LOOKS[-1].seeds)) / math.sqrt(2)
    found, at = first_decision(sides[:-1] - sides[1:] + np.array(true)[:, None, None], kind, margin)
    assert (found == right).mean() > 0.8 and (found == -right).mean() < 0.01 and (at < 3).mean() > 0.2


# Frontiers


def network(seed, top1, ms, **changes):
    made = profile()
    made["latency"]["one"]["sparse"] = timing(ms)
    return record("a", seed, top1, profile=made, **changes)


COST = "profile.latency.one.sparse.median_ms"


def frontier(ours, rivals, dense=(1.0, 1.2, 1.1)):
    """Points of (top1, ms) for each seed, moved a little from seed to seed."""
    sides = [{seed: [network(seed, top1 + 0.1 * seed, ms) for top1, ms in points] for seed in range(3)} for points in (ours, rivals)]
    return [*sides, {seed: [network(seed, 90.0, ms, budget__total=140_000)] for seed, ms in enumerate(dense)}]


def test_a_frontier_is_compared_at_one_cost_between_its_points():
    posed = claim("frontier", 3, cost=COST, share=0.5, held_equal=(("total", 0.0),))  # half of 1.1 ms, the median
    verdict = judge(posed, frontier([(70, 0.3), (80, 0.5), (82, 0.6), (84, 0.9)], [(60, 0.45), (50, 0.35), (75, 0.75), (80, 1.0)]))
    assert verdict.finding == "holds" and verdict.text == "holds (look 1 of 3, 3 seeds, at 0.55 ms)"
    assert verdict.means == pytest.approx((81.1, 65.1))  # half-way from 80 to 82, a third of the way from 60 to 75, plus 0.1
    assert verdict.images == ()


def test_a_frontier_is_not_extended_beyond_its_points():
    posed = claim("frontier", 3, cost=COST, share=0.5)
    verdict = judge(posed, frontier([(70, 0.3), (80, 0.5)], [(60, 0.45), (75, 0.75)]))
    assert verdict.finding == "not decided" and verdict.text == "not decided (no 'top1' at equal cost of seeds 0, 1, 2)"
    points = [network(0, 70.0, 0.3), network(0, 72.0, 0.3), network(0, 80.0, 0.5)]
    assert value_at(points, COST, "top1", 0.3) == 71.0 and value_at(points, COST, "top1", 0.4) == pytest.approx(75.5)
    assert value_at(points, COST, "top1", 0.29) is None and value_at(points, COST, "note.x", 0.4) is None


def test_a_frontier_s_cost_does_not_move_with_later_seeds():
    sides = frontier([(70, 0.3), (80, 0.5), (82, 0.6), (84, 0.9)], [(60, 0.45), (50, 0.35), (75, 0.75), (80, 1.0)])
    before = judge(claim("frontier", 3, cost=COST, share=0.5), sides)
    for other in sides:
        other |= {seed: [{**item, "seed": seed} for item in other[0]] for seed in (3, 4)}
    sides[2] = {seed: [network(seed, 90.0, 9.0)] if seed > 2 else found for seed, found in sides[2].items()}
    assert judge(claim("frontier", 3, cost=COST, share=0.5), sides) == before
    del sides[2][1]
    assert judge(claim("frontier", 3, cost=COST, share=0.5), sides).finding == "not decided", "the place rests on all three seeds"


def test_a_side_with_a_grid_has_a_run_for_each_point():
    posed = claim("frontier", 1, options={"arch": "resnet20"})
    runs = side_runs(posed, Side("one_by_n", {"n": 4}, {"sparsity": (0.5, 0.75), "rearrange": (True, False)}), "short")
    assert [run.options for run in runs][1] == {"arch": "resnet20", "n": 4, "sparsity": 0.5, "rearrange": False} and len(runs) == 4
    points = [[record("a", 0), record("a", 2)], [record("a", 1), record("a", 2, 50.0)]]
    assert by_seed(points) == {2: [points[0][1], points[1][1]]}


# Test images


def seen(seed, right):
    right = torch.tensor(right, dtype=torch.bool)
    return record("a", seed, 100.0 * right.double().mean().item(), outcomes=packed({"outcomes": {"top1": right}}))


def test_the_interval_over_images_is_of_each_image_s_mean_over_seeds():
    ours = {0: [seen(0, [1, 1, 1, 0])], 1: [seen(1, [1, 0, 1, 1])]}
    rivals = {0: [seen(0, [0, 1, 0, 0])], 1: [seen(1, [0, 0, 1, 0])]}
    verdict = judge(claim(), [ours, rivals])
    differences = [100.0, 0.0, 50.0, 50.0]
    low, high = stats.t.interval(0.95, 3, 50.0, stats.sem(differences))
    (found,) = verdict.images
    assert (found.mean, found.count) == (50.0, 4) and found.low == pytest.approx(low) and found.high == pytest.approx(high)
    assert math.isclose(found.mean, verdict.means[0] - verdict.means[1]) and verdict.finding == "not decided"
    assert judge(claim(), [{0: ours[0]}, {0: rivals[0]}]).images[0].mean == 50.0  # one seed a side is enough


def test_records_without_the_same_images_show_none():
    ours, rivals = {0: [seen(0, [1, 1, 1, 0])]}, {0: [seen(0, [0, 1, 0])]}
    assert judge(claim(), [ours, rivals]).images == () and judge(claim(), [ours, side(80.0)]).images == ()
    assert judge(claim(value="top5"), [ours, ours]).images == () and judge(claim(sides=1), [ours]).images == ()
    assert judge(claim(rival_value="top5"), [ours, ours]).images == ()


def test_outcomes_survive_the_record():
    right = torch.rand(1001, generator=torch.Generator().manual_seed(0)) < 0.7
    kept = packed({"outcomes": {"accuracy": right}})
    assert (unpacked(kept, "accuracy") == right.numpy()).all() and unpacked(kept, "top1") is None and kept["count"] == 1001
    assert packed({}) == {} and unpacked({}, "top1") is None


@pytest.mark.parametrize("task, method, score", [("cifar10", "plain", "top1"), ("astar_har", "supervised_cnn", "accuracy"),
                                                 ("fscil", "ncm", "accuracy")])
def test_tasks_leave_an_outcome_for_every_test_image(suite_home, task, method, score):
    from suite.testing.contract import fit_once

    _, made = fit_once(task, method)
    right = unpacked(made["outcomes"], score)
    assert 100 * right.mean() == pytest.approx(made["scores"][score]) and len(right) > 100


# Values and runs


def test_values_are_scores_notes_and_paths():
    found = record("a", 0, 80.0, notes={"retained_l1": 0.6})
    assert read_value(found, "top1") == 80.0 and read_value(found, "note.retained_l1") == 0.6
    assert read_value(found, "profile.latency.one.speedup") == 1.0 and read_value(found, "note.nothing") is None


def test_values_are_timings_and_ledger_entries_too():
    found = record("a", timings=[timed("latency", 2.0, 300), timed("post.process", 1.5)], ledger={"queries": 120.0},
                   profile={**profile(), "ops": {"xnor": 7}})
    assert read_value(found, "timing.latency.300") == 2.0 and read_value(found, "timing.post.process") == 1.5
    assert read_value(found, "timing.latency") is None and read_value(found, "timing.latency.30") is None
    assert read_value(found, "ledger.queries") == 120.0 and read_value(found, "profile.ops.xnor") == 7.0


def test_what_claims_plan_is_what_their_verdicts_read(suite_home):
    from suite import plan, plugins
    from suite.contract import options_of

    item = next(item for item in plugins.load("baselines", "one_by_n").claims if item.name == "1b at 75%")
    for side_ in item.sides:
        (runs,) = side_runs(item, side_, "short")
        (spec,) = plan.specs(runs.task, [(runs.method, runs.options)], [1], "short", None, runs.task_options).wanted
        made = record(runs.method, 1, options=options_of(spec.method), task__options=options_of(spec.task))
        assert runs.among([made]) == [made] and not runs.among([{**made, "status": "failed"}])
        assert not side_runs(item, side_, "smoke")[0].among([made])


def test_a_scale_decides_the_claims_of_lesser_ones():
    assert decidable(claim(), "long") and decidable(claim(), "short") and not decidable(claim(), "smoke")


def test_a_report_judges_one_version_of_each_method_and_says_which():
    from suite.record import read_all
    from suite.reporting.verdicts import verdicts

    def judged(records):
        return {(item.claim.name, item.where.partition(", an")[0]): item for item in verdicts(records, ["psrr_maxpool_nms"])
                if item.verdict.seeds}

    def other(item, digest, **changes):
        return {**item, "method": {**item["method"], "digest": digest}, **changes}

    now = read_all(Path(__file__).parents[1] / "results")
    ours = [item for item in now if item["method"]["name"] == "psrr_maxpool_nms"]
    before = judged(now)
    assert before and not [item for item in before.values() if "earlier" in item.where]
    older = [other(item, "old", seed=7 + item["seed"], time={**item["time"], "started": "2001-01-01T00:00:00Z"}) for item in ours]
    assert judged([*now, *older]) == before  # seeds of an older version do not count
    alone = judged([other(item, "old") if item in ours else item for item in now])
    assert alone.keys() == before.keys() and all(item.where.endswith("an earlier version of psrr_maxpool_nms") for item in alone.values())


def test_a_row_names_the_look_its_level_and_the_images_apart():
    from suite.reporting.verdicts import HEADINGS, Tested

    images = {seed: [seen(seed, [1, 1, 1, 0] * 5)] for seed in range(3)}, {seed: [seen(seed, [0, 1, 0, 0] * 5)] for seed in range(3)}
    row = dict(zip(HEADINGS, Tested("a", claim(), "cifar10", judge(claim(), images)).texts, strict=True))
    assert row["verdict"] == "holds (look 1 of 3, 3 seeds)" and len(HEADINGS) <= 8
    assert row["difference over seeds [interval of the look]"] == "50.0 [50.0, 50.0] at 99 %"
    assert row[HEADINGS[-1]].startswith("50.0 [") and "about these networks, not about the method" in HEADINGS[-1]
    one = Tested("a", claim(), "cifar10", judge(claim(), [side(80.0), side(70.0)])).texts
    assert one[-2:] == ("–", "–") and one[2].startswith("one look, not decided")

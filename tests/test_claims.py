"""Verdicts on claims, against intervals computed by hand and by scipy."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from records import profile, record, timed
from scipy import stats

from suite.claims import decidable, judge, read_value, side_runs
from suite.contract import Claim, Side


def claim(kind="above", sides=2, **changes):
    return Claim("c", "A sentence", task="cifar10", value="top1", kind=kind, sides=(Side("a"),) * sides, **changes)


def side(*scores, **changes):
    return {seed: record("a", seed, score, **changes) for seed, score in enumerate(scores)}


def test_the_interval_is_the_paired_t_interval():
    ours, rivals = side(80.0, 81.0, 83.0), side(79.0, 79.5, 80.0)
    verdict = judge(claim(), [ours, rivals])
    (found,) = verdict.intervals
    differences = [1.0, 1.5, 3.0]
    low, high = stats.t.interval(0.95, 2, sum(differences) / 3, stats.sem(differences))
    assert math.isclose(found.low, low) and math.isclose(found.high, high) and found.count == 3
    assert math.isclose(found.high - found.mean, 4.302653 * 1.0408330 / math.sqrt(3), rel_tol=1e-5)  # by hand
    assert verdict.finding == "inconclusive" and low < 0 < high


@pytest.mark.parametrize("differences, margin, finding", [
    ((1.0, 1.1, 0.9), 0.0, "holds"), ((-1.0, -1.1, -0.9), 0.0, "refuted"), ((1.0, -1.0, 0.5), 0.0, "inconclusive"),
    ((-0.2, -0.3, -0.25), -0.5, "holds"), ((-0.8, -0.9, -0.85), -0.5, "refuted"), ((1.0, 1.1, 0.9), 1.0, "inconclusive"),
])
def test_above(differences, margin, finding):
    rivals = side(70.0, 71.0, 72.0)
    ours = side(*(70.0 + seed + difference for seed, difference in enumerate(differences)))
    assert judge(claim(margin=margin), [ours, rivals]).finding == finding


def test_within():
    rivals = side(70.0, 71.0, 72.0)
    assert judge(claim("within", margin=1.0), [side(70.1, 71.2, 72.1), rivals]).finding == "holds"
    assert judge(claim("within", margin=1.0), [side(75.1, 76.2, 77.1), rivals]).finding == "refuted"
    assert judge(claim("within", margin=1.0), [side(70.9, 71.2, 73.1), rivals]).finding == "inconclusive"


def test_ordered_needs_every_step():
    first, second, third = side(80.0, 81.0, 82.0), side(79.0, 80.1, 81.0), side(78.0, 79.0, 80.1)
    assert judge(claim("ordered", 3), [first, second, third]).finding == "holds"
    assert judge(claim("ordered", 3), [first, third, second]).finding == "refuted"


def test_one_side_is_compared_with_a_bound():
    assert judge(claim(sides=1, bound=75.0), [side(80.0, 80.5)]).finding == "holds"
    assert judge(claim(sides=1, bound=90.0), [side(80.0, 80.5)]).finding == "refuted"


def test_one_seed_or_unequal_budgets_decide_nothing():
    assert judge(claim(), [side(80.0), side(70.0)]).finding == "inconclusive"
    unequal = judge(claim(held_equal=(("total", 0.01),)), [side(80.0, 81.0, budget__total=60000), side(70.0, 71.0)])
    assert unequal.finding == "inconclusive" and "'total' was to be equal within 1%" in unequal.reason


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


def test_what_claims_plan_is_what_their_verdicts_read(suite_home, monkeypatch):
    from suite import plan, plugins
    from suite.data.source import Source
    from suite.record import read_all

    committed = [item for item in read_all(Path(__file__).parents[1] / "results") if item["method"]["name"] in ("one_by_n", "magnitude")
                 and item["task"]["source"]["kind"] == "embedded"]
    data = committed[0]["task"]["source"]
    monkeypatch.setattr(plan, "locate_data", lambda *_: Source(data["kind"], data["name"], Path("nowhere"), data["digest"], data["counts"]))
    item = next(item for item in plugins.load("baselines", "one_by_n").claims if item.name == "1b at 75%")
    for side_ in item.sides:
        runs = side_runs(item, side_, "short")
        planned = plan.specs(runs.task, [(runs.method, runs.options)], [1], "short", None, runs.task_options)
        assert {spec.id for spec in planned.wanted} == {known["id"] for known in runs.among(committed) if known["seed"] == 1}
    changed = [{**known, "status": "failed"} for known in committed]
    assert runs.among(committed) and not runs.among(changed) and not side_runs(item, side_, "smoke").among(committed)


def test_a_scale_decides_the_claims_of_lesser_ones():
    assert decidable(claim(), "long") and decidable(claim(), "short") and not decidable(claim(), "smoke")


def test_a_report_judges_one_version_of_each_method_and_says_which():
    from suite.record import read_all
    from suite.report.verdicts import verdicts

    def judged(records):
        return {(item.claim.name, item.where.partition(", an")[0]): item for item in verdicts(records, ["one_by_n"]) if item.seeds}

    def other(item, digest, **changes):
        return {**item, "method": {**item["method"], "digest": digest}, **changes}

    now = read_all(Path(__file__).parents[1] / "results")
    ours = [item for item in now if item["method"]["name"] == "one_by_n"]
    before = judged(now)
    assert before and not [item for item in before.values() if "earlier" in item.where]
    older = [other(item, "old", seed=7 + item["seed"], time={**item["time"], "started": "2001-01-01T00:00:00Z"}) for item in ours]
    assert judged([*now, *older]) == before  # seeds of an older version do not count
    alone = judged([other(item, "old") if item in ours else item for item in now])
    assert alone.keys() == before.keys() and all(item.where.endswith("an earlier version of one_by_n") for item in alone.values())

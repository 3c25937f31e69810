"""What `suite show`, `suite diff` and `suite claims` say of records made by hand."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from records import profile, record, timed

from suite import record as records_
from suite.cli import claims, diff, show
from suite.estimates import Estimate
from suite.plan import Plan


@pytest.fixture(autouse=True)
def results(tmp_path, monkeypatch):
    monkeypatch.setenv("SUITE_RESULTS", str(tmp_path))
    return tmp_path


def said(command, *words):
    return " ".join(CliRunner().invoke(command, words, catch_exceptions=False).output.split())


def test_show_tells_training_roles_ledger_steps_timings_and_why_there_is_no_latency():
    made = record("kd", parents={"resnet56": "cifar10/plain/0-s0", "teacher": "cifar10/plain/1-s0"}, ledger={"queries": 120.0},
                  roles={"resnet56": "teacher", "teacher": "teacher"}, steps=[{"top1": 70.0}, {"top1": 58.25}],
                  timings=[timed("latency", 2.0, 300, noisy=True)], profile={**profile(), "ops": {"xnor": 7}}, timed_on__cpu="Timer")
    records_.write(made)
    text = said(show.command, made["id"])
    for part in ("training device cpu precision bfloat16 threads 1", "ledger queries 120.0", "scores by step 1 top1 70 2 top1 58.25",
                 "timed by the task, ms latency.300 2.000 noisy", "operations: xnor 7", "timed on cores 2 cpu Timer", "trained on cores 2 cpu Test CPU",
                 "made from resnet56, teacher cifar10/plain/0-s0 teacher cifar10/plain/1-s0", "core unknown", "bytes_dense 1089896"):
        assert part in text, part
    untimed = record("x", profile={**profile(), "latency": None, "kernel": None}, untimed="the plan differs", timed_on={})
    records_.write(untimed)
    text = said(show.command, untimed["id"])
    assert "not timed reason the plan differs" in text and "timed on" not in text


def test_diff_tells_core_threads_device_precision_and_both_machines_apart():
    one = record("plain", code__core="aaaa", ledger={"queries": 10})
    other = record("plain", 1, code__core="bbbb", machine__id="trainer", timed_on__id="timer",
                   training={"device": "cuda", "threads": 4, "precision": "float32"})
    records_.write(one)
    records_.write(other)
    text = said(diff.command, one["id"], other["id"])
    for part in ("core: A aaaa, B bbbb", "device: A cpu, B cuda", "threads: A 1, B 4", "precision: A bfloat16, B float32",
                 "spent: queries: A 10, B -", "training machine: id: A aa11, B trainer", "timing machine: id: A aa11, B timer"):
        assert part in text, part
    assert "Nothing differs" in said(diff.command, one["id"], one["id"])


class Runs:
    """Stands for training: plans of runs that are records at once, with the scores that `score` gives them."""

    def __init__(self, monkeypatch, score):
        self.asked, self.score, self.refused = [], score, set()
        self.known, self.outcomes = {}, {}
        monkeypatch.setenv("COLUMNS", "220")
        monkeypatch.setattr("suite.plan.specs", self.specs)
        monkeypatch.setattr("suite.plan.recorded", lambda spec: self.known.get(spec.id))
        monkeypatch.setattr("suite.runner.run_plan", self.run)
        monkeypatch.setattr("suite.tracking.mirror", lambda records, *_: f"{len(records)} mirrored")

    def specs(self, task, methods, seeds, scale, *_, **__):
        ((name, options),) = methods
        found = [SimpleNamespace(id=f"{name}-{options['sparsity']}-s{seed}", task_name=task, seed=seed, name=name, needs={}, trained_on=None,
                                 options=options, scale=scale, artifact=Path(__file__)) for seed in seeds]
        return Plan(found, [spec for spec in found if spec.id not in self.known], [])

    def run(self, plan, **_):
        self.asked.append([spec.id for spec in plan.missing])
        for spec in plan.missing:
            if spec.id not in self.refused:
                self.known[spec.id] = {"id": spec.id, "seed": spec.seed, "name": spec.name, "budget": {"total": 1, "final": 1},
                                       "scores": {"top1": self.score(spec.name, spec.seed)}, "outcomes": self.outcomes}
        return [self.known[spec.id] for spec in plan.wanted if spec.id in self.known]

    def claims(self, monkeypatch, *words):
        monkeypatch.setattr("suite.claims.SideRuns.among", lambda runs, records: [item for item in records if item["name"] == runs.method])
        done = CliRunner().invoke(claims.command, ["one_by_n", "--only", "1b at 75%", *words], catch_exceptions=False)
        return " ".join(done.stdout.split()), " ".join(done.stderr.split())


LUCK = (2.0, -2.0, 1.0, 5.0, 5.5, 5.2, 4.8, 5.1, 5.0)


def test_claims_go_on_from_look_to_look_and_stop_when_decided(monkeypatch):
    runs = Runs(monkeypatch, lambda name, seed: 70.0 + (0.3 * seed if name == "one_by_n" else LUCK[seed] + 0.3 * seed))
    out, err = runs.claims(monkeypatch)
    assert [len(asked) for asked in runs.asked] == [6, 4, 8]
    assert "1b at 75%: not decided (waits for seeds 0, 1, 2); planned: seeds 0 to 2" in err
    assert "not decided (look 1 of 3, 3 seeds; waits for seeds 3, 4); planned: seeds 0 to 4" in err and "planned: seeds 0 to 8" in err
    assert "holds (look 3 of 3, 9 seeds)" in out and "at 97.5 %" in out and "over images" not in out and out.endswith("18 mirrored")
    runs.asked.clear()
    assert "holds (look 3 of 3, 9 seeds)" in runs.claims(monkeypatch)[0] and runs.asked == [[]]
    clear = Runs(monkeypatch, lambda name, seed: 70.0 + (0.0 if name == "one_by_n" else 5.0 + 0.01 * seed))
    out, err = clear.claims(monkeypatch)
    assert [len(asked) for asked in clear.asked] == [6] and "holds (look 1 of 3, 3 seeds)" in out and "seeds 0 to 4" not in err


def test_claims_at_long_are_tried_with_one_seed_and_seeds_is_a_limit(monkeypatch):
    runs = Runs(monkeypatch, lambda name, seed: 70.0 + seed)
    assert "one look, not decided (seed 0; waits for seeds 1, 2)" in runs.claims(monkeypatch, "--scale", "long")[0]
    assert [len(asked) for asked in runs.asked] == [2]
    seen = Runs(monkeypatch, lambda name, seed: 70.0)
    seen.outcomes = {"score": "top1", "bits": "sA==", "count": 4}
    out = seen.claims(monkeypatch, "--seeds", "1")[0]
    assert "over images" in out and "0.000 [0.000, 0.000]" in out and "about these networks, not about the method" in out
    wild = Runs(monkeypatch, lambda name, seed: 70.0 + (0.0 if name == "one_by_n" else LUCK[seed]))
    assert "look 1 of 3, 3 seeds; waits for seed 4" in wild.claims(monkeypatch, "--seeds", "4")[0]
    assert [len(asked) for asked in wild.asked] == [6, 2]


def test_a_run_that_fails_is_planned_once(monkeypatch):
    runs = Runs(monkeypatch, lambda name, seed: 70.0)
    runs.refused = {"one_by_n-0.75-s1"}
    out, _ = runs.claims(monkeypatch)
    assert [len(asked) for asked in runs.asked] == [6] and "one look, not decided (seeds 0, 2; waits for seed 1)" in out


def test_claims_dry_run_shows_the_next_look_and_runs_nothing(monkeypatch):
    runs = Runs(monkeypatch, lambda name, seed: 70.0)
    monkeypatch.setattr("suite.estimates.estimate", lambda plan, records: {spec.id: Estimate(60.0) for spec in plan.missing})
    assert "6 runs to make, 0 recorded" in runs.claims(monkeypatch, "--dry-run")[0] and runs.asked == []

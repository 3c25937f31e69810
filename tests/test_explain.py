"""What `suite show`, `suite diff` and `suite claims` say of records made by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from records import profile, record, timed

from suite import record as records_
from suite.cli import claims, diff, show
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
    one = record("plain", code__core="aaaa")
    other = record("plain", 1, code__core="bbbb", machine__id="trainer", timed_on__id="timer",
                   training={"device": "cuda", "threads": 4, "precision": "float32"})
    records_.write(one)
    records_.write(other)
    text = said(diff.command, one["id"], other["id"])
    for part in ("core: A aaaa, B bbbb", "device: A cpu, B cuda", "threads: A 1, B 4", "precision: A bfloat16, B float32",
                 "training machine: id: A aa11, B trainer", "timing machine: id: A aa11, B timer"):
        assert part in text, part
    assert "Nothing differs" in said(diff.command, one["id"], one["id"])


def test_claims_judge_the_seeds_that_they_asked_for(monkeypatch):
    committed = [item for item in records_.read_all(Path(__file__).parents[1] / "results") if item["task"]["source"]["kind"] == "embedded"]
    other = [{**item, "seed": 7, "scores": {"top1": 1.0}} for item in committed if item["method"]["name"] == "one_by_n" and item["seed"] == 0]
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("suite.plan.specs", lambda *_, **__: Plan([], [], []))
    monkeypatch.setattr("suite.runner.run_plan", lambda *_, **__: [*committed, *other])
    monkeypatch.setattr("suite.tracking.mirror", lambda *_: "mirrored")
    text = said(claims.command, "one_by_n", "--only", "1b at 75%")
    assert "holds" in text and "85.0 │ 3.63 [1.65, 5.61] n=3" in text and "81.4" in text and text.endswith("mirrored")

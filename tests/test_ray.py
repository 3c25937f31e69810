"""A plan as Ray's graph, on a stand-in for Ray that executes in this process: what waits for what, what travels, what is timed."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import pytest
import records as made_by_hand

from suite import plan, record
from suite.cli.run import run
from suite.errors import UserError
from suite.launch import on_ray
from suite.runner import run_plan

RESNET8 = {"arch": "resnet8"}


class Reference:
    """What a task will have made, or what was put; `task` is its name, `needs` what it waits for."""

    def __init__(self, task, asked, function, arguments):
        self.task, self.asked, self.function, self.arguments = task, asked, function, arguments
        self.needs = [item for item in arguments if isinstance(item, Reference)]
        self.made = self

    def value(self):
        if self.made is self:
            self.made = self.function(*(item.value() if isinstance(item, Reference) else item for item in self.arguments))
        return self.made


class RayError(Exception):
    pass


def stand_in(*nodes):
    """As much of Ray as the engine uses, with every task that was asked for in `graph`."""
    def remote(function, **asked):
        def ask(*arguments):
            graph.append(Reference(function.__name__, asked, function, arguments))
            return graph[-1]

        return SimpleNamespace(options=lambda **more: remote(function, **asked | more), remote=ask)

    def get(asked):
        return [item.value() for item in asked] if isinstance(asked, list) else asked.value()

    graph: list[Reference] = []
    ray = ModuleType("ray")
    vars(ray).update(
        init=lambda **where: graph.append(where), shutdown=lambda: None, remote=remote, get=get, graph=graph,
        nodes=lambda: [{"NodeID": str(number), "Alive": True, "Resources": found} for number, found in enumerate(nodes)],
        put=lambda made: Reference("put", {}, lambda: made, ()), wait=lambda tasks: (tasks[:1], tasks[1:]),
        exceptions=SimpleNamespace(RayError=RayError))
    strategies = ModuleType("ray.util.scheduling_strategies")
    strategies.NodeAffinitySchedulingStrategy = lambda node, soft: node
    return {"ray": ray, "ray.util": ModuleType("ray.util"), "ray.util.scheduling_strategies": strategies}


@pytest.fixture
def ray(monkeypatch):
    """Makes a stand-in of some nodes to be what ``import ray`` finds."""
    def begin(*nodes):
        for name, module in stand_in(*nodes).items():
            monkeypatch.setitem(sys.modules, name, module)
        return sys.modules["ray"].graph

    return begin


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Timing takes no time."""
    def profile_again(found, spec, report=None):
        record.write_text(spec.artifact.with_name("layers.json"), "[]")
        found = {**found, "profile": {**found["profile"], "latency": made_by_hand.profile()["latency"]}, "untimed": "", "timed_on": found["machine"]}
        record.write(found)
        return found

    monkeypatch.setattr("suite.launch.ray_worker.profile_again", profile_again)
    monkeypatch.setattr("suite.runner.profile_again", profile_again)


def planned(**changes):
    """One run."""
    return plan.specs("cifar10", [("plain", RESNET8)], [0], "smoke", **changes)


def pruning():
    """A run that rests on another, and the one it stands beside."""
    return plan.specs("cifar10", [("one_by_n", {**RESNET8, "sparsity": 0.5})], [0], "smoke")


def test_a_plan_is_a_graph_whose_timings_have_a_marked_node_to_themselves(fresh_results, ray, monkeypatch):
    graph, said = ray({"CPU": 8.0}, {"CPU": 4.0, "suite_timing": 1.0}), []
    wanted = pruning()
    found = on_ray.run_plan(wanted, "auto", say=said.append, jobs=1)
    where, *tasks = graph
    assert where["address"] == "auto" and "num_cpus" not in where and where["runtime_env"]["env_vars"]["SUITE_CACHE"]
    trained = {item.asked["name"]: item for item in tasks if item.task == "train"}
    assert list(trained) == [spec.id for spec in wanted.missing] and len(trained) == 3
    for spec in wanted.missing:
        asked = trained[spec.id].asked
        assert (asked["num_cpus"], asked["num_gpus"], asked["max_retries"]) == (1, 0, 3)
        assert trained[spec.id].needs == [trained[parent.id] for parent in spec.needs.values()]
    timed = [item for item in tasks if item.task == "time"]
    assert len(timed) == 3 and all(item.asked["num_cpus"] == 4 and item.asked["resources"] == {"suite_timing": 1} for item in timed)
    assert [item["id"] for item in found] == [spec.id for spec in wanted.shown] and all(item["profile"]["latency"] for item in found)
    assert list(fresh_results.rglob("one_by_n/*.safetensors")) and "[3/3]" in "\n".join(said)
    assert all((spec.artifact.parent / name).exists() for spec in wanted.wanted for name in ("artifact.pt", "layers.json", "figures"))
    assert not pruning().missing
    monkeypatch.setenv("SUITE_RESULTS", str(fresh_results / "local"))
    for one, other in zip(run_plan(pruning()), found, strict=True):
        assert all(one[key] == other[key] for key in ("id", "scores", "curves", "budget", "weights", "parent_weights", "parents"))


def test_without_a_marked_node_it_says_how_to_time_and_the_next_command_only_times(fresh_results, ray):
    graph, said = ray({"CPU": 2.0}), []
    (found,) = on_ray.run_plan(planned(), "auto", say=said.append, jobs=1)
    assert found["untimed"] == record.WAITING and not any(item.task == "time" for item in graph[1:])
    assert "no node has the resource 'suite_timing'" in said[-1] and f"suite profile --update {found['id']}" in said[-1]
    graph = ray({"CPU": 2.0, "suite_timing": 1.0})
    (found,) = on_ray.run_plan(planned(), "auto", say=said.append, jobs=1)
    assert {item.task for item in graph[1:]} == {"machine", "time"} and found["profile"]["latency"]


def test_what_a_cluster_lacks_is_said_before_anything_runs(fresh_results, ray, monkeypatch):
    ray({"CPU": 2.0})
    for changes, sentence in (({"threads": 3}, "has 3 CPUs, which"), ({"device": "cuda"}, "has 1 CPUs and a GPU")):
        with pytest.raises(UserError, match=sentence):
            on_ray.run_plan(planned(**changes), "auto", say=lambda text: None, jobs=1)
    ray({"CPU": 2.0, "suite_timing": 1.0}, {"CPU": 4.0, "suite_timing": 1.0})
    with pytest.raises(UserError, match=r"suite_timing' are of several kinds .*2 CPUs for Ray; .*4 CPUs for Ray"):
        on_ray.run_plan(planned(), "auto", say=lambda text: None, jobs=1)
    with pytest.raises(UserError, match="no Ray cluster at '127.0.0.1:1'"):
        on_ray.run_plan(planned(), "127.0.0.1:1", say=lambda text: None, jobs=1)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"pip install 'suite\[ray\]'"):
        on_ray.run_plan(planned(), "", say=lambda text: None, jobs=1)
    assert not list(fresh_results.rglob("*.json"))


def test_a_worker_with_another_suite_refuses_and_a_lost_run_is_told(fresh_results, ray, monkeypatch):
    said: list[str] = []
    ray({"CPU": 2.0})
    digests = iter(["the command's", "the worker's"])
    monkeypatch.setattr(on_ray.core, "digest_of", lambda spec: next(digests))
    with pytest.raises(UserError, match="which has another version of the suite"):
        on_ray.run_plan(planned(), "auto", say=said.append, jobs=1)
    assert "not run" in said[-1] and not list(fresh_results.rglob("*.json"))

    def lost(*arguments):
        raise RayError("The node died.\nand more")

    monkeypatch.setattr(on_ray, "train", lost)
    monkeypatch.setattr(on_ray.core, "digest_of", lambda spec: "")
    with pytest.raises(UserError, match=r"was lost \(The node died.\); the same command goes on"):
        on_ray.run_plan(planned(), "auto", say=said.append, jobs=1)


def test_a_run_that_was_finished_for_this_command_is_not_made_twice(fresh_results, ray, monkeypatch):
    graph = ray({"CPU": 1.0})
    on_ray.run_plan(planned(), "auto", say=lambda text: None, jobs=1)
    monkeypatch.setattr("suite.launch.ray_worker.execute", lambda *arguments, **more: pytest.fail("it ran again"))
    for task in graph[1:]:
        before, task.made = task.made, task  # its node was lost with what it had made, so Ray executes it elsewhere
        assert task.value() == before


@pytest.mark.parametrize("engine, jobs, sentence", [
    ("spark", None, "--engine spark is none"), ("ray=", None, "is none"), ("local=x", None, "is none"), ("ray=a:1", 2, "--jobs is for this machine")])
def test_an_unknown_engine_is_a_sentence(engine, jobs, sentence):
    with pytest.raises(UserError, match=sentence):
        run(plan.Plan([], [], []), jobs, engine)

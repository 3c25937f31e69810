"""The latency protocol on a clock made by hand, and the figures of a small network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import filelock
import pytest
import torch
from torch import nn

from suite import kernel
from suite.profile import measure, network_latency
from suite.profile.latency import WARM_CALLS, _mark_preempted
from suite.profile.spread import median_ranks, spread, summary


class Clock:
    """A clock that only contenders advance, by the milliseconds they cost."""

    def __init__(self) -> None:
        self.now = 0
        self.order = ""

    def __call__(self) -> int:
        return self.now

    def contender(self, name: str, cost: float):
        def call() -> None:
            self.order += name
            self.now += round(cost * 1e6)

        return call


def test_contenders_take_turns_in_rotating_order() -> None:
    clock = Clock()
    timings = measure({name: clock.contender(name, cost) for name, cost in {"a": 1, "b": 2, "c": 4}.items()}, calls=6, clock=clock)
    assert clock.order == "a" * WARM_CALLS + "b" * WARM_CALLS + "c" * WARM_CALLS + "abcbcacab" * 2
    assert [timings[name]["median_ms"] for name in "abc"] == [1, 2, 4]
    assert [timings[name]["calls"] for name in "abc"] == [6, 6, 6]
    assert not any(timing["noisy"] for timing in timings.values())


def test_a_slow_contender_ends_by_its_own_time_and_all_by_the_limit() -> None:
    clock = Clock()
    timings = measure({"a": clock.contender("a", 500)}, calls=100, seconds=2, clock=clock)
    assert timings["a"]["calls"] == 4  # of 500 ms
    assert timings["a"]["noisy"], "four calls carry no interval"
    clock = Clock()
    timings = measure({"a": clock.contender("a", 3000), "b": clock.contender("b", 1)}, seconds=100, limit=20, clock=clock)
    assert clock.now <= 23e9
    assert timings["a"]["calls"] == timings["b"]["calls"]


def test_calls_that_settle_do_not_count() -> None:
    clock = Clock()
    timings = measure({"a": clock.contender("a", 1), "b": clock.contender("b", 2)}, calls=4, settle=1, turn=2, clock=clock)
    assert clock.order == "a" * WARM_CALLS + "b" * WARM_CALLS + "aaabbb" + "bbbaaa"
    assert timings["a"]["calls"] == timings["b"]["calls"] == 4


def test_a_call_that_does_its_work_several_times_is_divided() -> None:
    clock = Clock()
    assert measure({"a": clock.contender("a", 6)}, calls=8, each=3, clock=clock)["a"]["median_ms"] == 2


@pytest.mark.parametrize(
    ("count", "ranks"),
    # By hand, twice the binomial tail outside the ranks: 2/64 at 6; 22/1024 at 10 (112/1024 for 3..8); 0.0414 at 20.
    [(1, (1, 1)), (5, (1, 5)), (6, (1, 6)), (10, (2, 9)), (20, (6, 15)), (100, (40, 61))],
)
def test_interval_of_the_median(count: int, ranks: tuple[int, int]) -> None:
    assert median_ranks(count) == ranks


def test_summary_by_hand() -> None:
    timing = summary([10.0, 10.1, 10.2, 10.3, 10.4, 10.5, 10.4, 10.3, 10.2, 13.0])
    assert timing == {"median_ms": 10.3, "p90_ms": 10.5, "low_ms": 10.1, "high_ms": 10.5, "calls": 10, "noisy": False}


def test_noise_is_a_heavy_tail_or_a_drift() -> None:
    assert not summary([1.0] * 20)["noisy"]
    assert not summary([1.0] * 18 + [9.0] * 2)["noisy"], "a tenth of outliers leaves the 90th percentile"
    assert summary([1.0] * 17 + [1.3] * 3)["noisy"]
    assert summary([1.0] * 10 + [1.1] * 10)["noisy"], "10 % between the halves"
    assert not summary([1.0] * 10 + [1.03] * 10)["noisy"]


def test_a_ratio_has_a_spread_of_its_own_over_rounds() -> None:
    slow = [1.0] * 30 + [3.0] * 30  # the machine slows down for both
    alike = spread([2 * time for time in slow], slow, 5)
    assert alike == {"low": 2.0, "high": 2.0, "noisy": False} and summary(slow)["noisy"]
    assert spread([2.0] * 60, slow, 5)["noisy"], "one alone has drifted"
    assert spread([2.0] * 50, [1.0] * 50, 10)["noisy"], "five rounds give no interval"
    found = spread([2.0, 9.0, 2.0] * 12, [1.0] * 36, 3)
    assert not found["noisy"], "an outlier in every turn is none in its median"


@pytest.mark.parametrize(
    ("slow", "ratios"), [("torch", ["speedup_torch"]), ("dense", ["speedup"]), ("sparse", ["speedup", "speedup_torch"])])
def test_what_a_preempted_thread_slows_down_is_noisy_with_its_ratios_and_nothing_else(slow: str, ratios: list[str]) -> None:
    names = ("torch", "dense", "sparse", "speedup_spread", "speedup_torch_spread")
    latency = {threads: {name: {"median_ms": 1.0, "noisy": False} for name in names} for threads in ("one", "all")}
    latency["all"][slow]["median_ms"] = 2.1
    _mark_preempted(latency)
    marked = {name for name, item in latency["all"].items() if item["noisy"]}
    assert marked == {slow, *(f"{ratio}_spread" for ratio in ratios)}
    assert not any(item["noisy"] for item in latency["one"].values())


def small() -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))
    network[0].weight.data[:, 1] = 0
    return network.train(), (torch.randn(1, 3, 8, 8), torch.randn(1, 3, 8, 8))


def test_a_network_is_checked_and_timed(tmp_path: Path) -> None:
    network, inputs = small()
    before = torch.get_num_threads()
    latency, facts = network_latency(network, inputs, tmp_path / "timing.lock")
    assert torch.get_num_threads() == before
    assert network.training, "the network itself is left alone"
    one = latency["one"]
    assert one["threads"] == 1 and latency["all"]["threads"] >= 1
    assert one["speedup"] == one["dense"]["median_ms"] / one["sparse"]["median_ms"]
    assert one["speedup_torch"] == one["torch"]["median_ms"] / one["sparse"]["median_ms"]
    assert one["speedup_spread"].keys() == one["speedup_torch_spread"].keys() == {"low", "high", "noisy"}
    assert 0 < one["speedup_spread"]["low"] <= one["speedup_spread"]["high"]
    assert (facts["checked"], facts["mirrored"]) == (2, 0)
    assert 0 < one["sparse"]["low_ms"] <= one["sparse"]["median_ms"] <= one["sparse"]["high_ms"]
    assert facts["relative_error"] < 1e-4 and facts["version"] == kernel.VERSION and not facts["theoretical"]
    assert [layer["macs"] for layer in facts["layers"]] == [8 * 3 * 9 * 64, 80]
    assert facts["bytes"] == sum(layer["bytes"] for layer in facts["layers"])


@pytest.mark.parametrize("error", [2e-4, float("nan")])
def test_a_wrong_plan_is_not_timed(error: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel.Gate, "error", lambda gate, plan: error)
    network, inputs = small()
    with pytest.raises(RuntimeError, match="differs from torch's"):
        network_latency(network, inputs, tmp_path / "timing.lock")


@pytest.mark.parametrize(
    "put", [lambda x: {"out": x}, lambda x: (x, x + 1), lambda x: [x, {"deep": (x,)}]], ids=["dict", "tuple", "list"])
def test_several_outputs_are_checked_and_timed(put: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Several(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(3, 4, 1)

        def forward(self, images: torch.Tensor) -> Any:
            return put(self.layer(images))

    latency, facts = network_latency(Several(), (torch.randn(1, 3, 4, 4),), tmp_path / "timing.lock")
    assert latency["one"]["sparse"]["median_ms"] > 0 and facts["macs_share"] == 1
    assert (facts["checked"], facts["mirrored"]) == (1, 1) and 0 <= facts["relative_error"] < 1e-5


def test_another_users_lock_is_no_obstacle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Guarded(filelock.FileLock):
        def acquire(self, *arguments, **options):
            asked.append(Path(self.lock_file).name)
            if self.lock_file.endswith("timing.lock"):
                raise PermissionError(self.lock_file)
            return super().acquire(*arguments, **options)

    monkeypatch.setattr(filelock, "FileLock", Guarded)
    network, inputs = small()
    assert network_latency(network, inputs, tmp_path / "timing.lock")[0]
    assert len(asked) == 2 and asked[1].startswith("timing-")

"""The kernel's page from results made by hand, and how the benchmark resumes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from suite.bench import benchmark
from suite.bench.numbers import families, filled, shapes, speedup
from suite.bench.page import render
from suite.cli.report import command
from suite.errors import UserError


def timing(milliseconds: float, noisy: bool = False) -> dict:
    return {"median_ms": milliseconds, "p90_ms": milliseconds, "low_ms": 0.9 * milliseconds, "high_ms": 1.1 * milliseconds,
            "calls": 9, "noisy": noisy}


def layer(name: str, share: float, milliseconds: float) -> dict:
    return {"name": name, "kind": "conv 1x1", "shape": "8-8 1x1/1 @4", "macs": 1000, "effective": round(1000 * (1 - share)),
            "kept": 1 - share, "bytes": 500, "milliseconds": milliseconds}


def heat(threads: int) -> dict:
    times = {"dense": 10.0, "openvino": 12.0, "onnxruntime": 11.0, "openvino bf16": 3.0}
    for n in benchmark.WIDTHS:
        times |= {benchmark.contender(n, share): 10.0 * (1 - share) for share in benchmark.SHARES if share}
    return {"threads": threads, "fastest": "onnxruntime", "timings": {name: timing(item, name == "openvino") for name, item in times.items()},
            "errors": dict.fromkeys(times, 1e-6), "precisions": {"openvino": "fp32", "onnxruntime": "fp32", "openvino bf16": "bf16"},
            "absent": {"xnnpack": "xnnpack needs ai_edge_litert, which is missing; type: pip install 'suite[peers]'"}}


def results() -> dict:
    layers = {f"{share:.2f}": [layer("a", share, 2 * (1.02 - share)), layer("b", share, 1.02 - share)] for share in benchmark.SHARES}
    network = {"load": 0.1, "calls": 9, "seconds": 1.0, "macs": {"dense": 2000}, "in_plan": 1.0, "bytes": {},
               "races": {"1": heat(1), "2": heat(2)}, "layers": layers, "peak": dict.fromkeys(layers, 200.0),
               "openvino_layers": {"a": 1.5, "b": 1.5}}
    return {"schema": benchmark.SCHEMA, "machine": {"cpu": "A | CPU", "cores": 2, "id": "abc", "system": "Linux x86_64"},
            "packages": {"openvino": "1.0"}, "kernel": {"version": "1", "simd": "avx512", "digest": "123"},
            "ceilings": {"1": {"fma": 200.0, "read": {"L1": 300.0, "L2": 100.0}}, "2": {"fma": 400.0, "read": {"L1": 600.0, "L2": 200.0}}},
            "networks": {"mobilenet_v2": network}}


def test_speedups_and_groups_by_hand() -> None:
    assert speedup(heat(1), "1x4 0.50") == 11.0 / 5.0
    assert speedup(heat(1), "1x4 0.50", "openvino") == 12.0 / 5.0
    assert speedup(heat(1), "xnnpack") is None
    (both,) = shapes(results()["networks"]["mobilenet_v2"])
    assert both.layers == 2 and both.openvino == 1.5
    assert both.milliseconds[0.5] == pytest.approx(1.5 * 0.52) and both.work[0.5] == 1000
    assert both.rate(0.5) == pytest.approx(1000 / (1.5 * 0.52 * 1e6)) and both.intensity(0.5) == 2.0


def test_limits_by_hand() -> None:
    assert filled(7, 16) == 49 / 64  # 6 rows of 8 and one of 7: 55 pixels in 4 vectors
    assert filled(14, 16) == 196 / 224 and filled(7, 8) == 49 / 56
    (one,) = families(results()["networks"]["mobilenet_v2"])
    assert (one.kind, one.side, one.layers) == ("conv 1x1", 4, 2)
    assert one.milliseconds[0.5] == pytest.approx(3 * 0.52) and one.work[0.5] == 2000


def test_the_page_says_what_the_results_say_and_is_the_same_twice(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(json.dumps(results()))
    written = render(tmp_path)
    assert {path.name for path in written} == {"README.md", "ratios.svg", "roofline.svg", "index.html"}
    page = written[0].read_text()
    row = next(line for line in page.splitlines() if line.startswith("| MobileNet-V2 | 1 | 4 |"))
    assert row == ("| MobileNet-V2 | 1 | 4 | **1.10× (1.00)** | **2.20× (1.50)** | **4.40× (2.00)** | **11.00× (2.30)** | 0% | 1.43× "
                   "| onnxruntime |")
    assert "| plan 1x8 0.75 | fp32 | 2.50 |" in page and "| openvino | fp32 | 12.0~ |" in page
    assert "| openvino bf16 | bf16 | 3.00 |" in page, "another precision is named"
    assert "Not timed: xnnpack needs ai_edge_litert" in page
    assert "| 1 | 200 | 300 | 100 |" in page
    assert "| 4 x 4 | conv 1x1 | 2 | 50% | 100% (" in page
    before = {path: path.read_bytes() for path in written}
    assert {path: path.read_bytes() for path in render(tmp_path)} == before
    (tmp_path / "results-avx2.json").write_text(json.dumps(results()))
    assert {path.name for path in render(tmp_path)} >= {"ratios-avx2.svg", "roofline-avx2.svg", "ratios.svg"}
    both = written[0].read_text()
    assert both.index("(ratios.svg)") < both.index("(ratios-avx2.svg)"), "the CPU's own path comes first"


def test_ratios_are_against_the_fastest_engine_and_noisy_where_one_of_their_timings_is(tmp_path: Path) -> None:
    made = results()
    made["networks"] = {"resnet20": made["networks"]["mobilenet_v2"]}
    for name, milliseconds in (("torch.compile", 30.0), ("engine int8", 6.0), ("slow int8", 9.0)):
        for race in made["networks"]["resnet20"]["races"].values():
            race["timings"][name], race["errors"][name] = timing(milliseconds), 1e-2
            race["precisions"][name] = "int8" if "int8" in name else "fp32"
    made["networks"]["resnet20"]["races"]["1"]["timings"]["1x4 0.90"] = timing(1.0, noisy=True)
    made["networks"]["resnet20"]["races"]["2"]["timings"]["onnxruntime"] = timing(11.0, noisy=True)
    (tmp_path / "results.json").write_text(json.dumps(made))
    rows = [line for line in render(tmp_path)[0].read_text().splitlines() if line.startswith("| ResNet-20, 32 x 32 |")]
    assert rows[0].endswith("| 1 | 4 | **1.10× (1.00)** | 2.20× | 4.40× | 11.00×~ | 0%~ | 1.43× | onnxruntime |")
    assert rows[2].endswith("| 2 | 4 | 1.10×~ (1.00) | 2.20×~ | 4.40×~ | 11.00×~ | 0%~ | 1.43× | onnxruntime |"), "noisy is never bold"
    assert rows[4].endswith("| 1 | 4 | 0.30× | 0.60× | 1.20× | 3.00×~ | openvino bf16 | bf16 |"), "in the summary, by its arithmetic"
    assert rows[5].endswith("| 1 | 4 | 0.60× | 1.20× | 2.40× | 6.00×~ | engine int8 | int8 |")


def test_a_bar_that_is_missed_is_not_bold(tmp_path: Path) -> None:
    made = results()
    made["networks"]["mobilenet_v2"]["races"]["1"]["timings"]["1x4 0.90"] = timing(5.0)
    (tmp_path / "results.json").write_text(json.dumps(made))
    assert "| 2.20× (2.30) |" in render(tmp_path)[0].read_text()


def test_no_results_or_strange_ones_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no results in .*suite bench --to"):
        render(tmp_path)
    (tmp_path / "results.json").write_text("{")
    with pytest.raises(UserError, match="is not JSON"):
        render(tmp_path)
    (tmp_path / "results.json").write_text("{}")
    with pytest.raises(UserError, match="schema None, not"):
        render(tmp_path)
    with pytest.raises(UserError, match="no network 'resnet21'; did you mean"):
        benchmark.choose(["resnet21"])


def test_a_stopped_benchmark_goes_on_and_another_kernel_starts_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    timed: list[str] = []

    def subject(item: benchmark.Subject, *rest: object) -> dict:
        if item.arch == "resnet56":
            raise KeyboardInterrupt
        timed.append(item.arch)
        return {"title": item.title}

    monkeypatch.setattr(benchmark, "_subject", subject)
    monkeypatch.setattr("suite.bench.ceilings.ceilings", lambda simd, threads: {"fma": 1.0, "read": {}})
    monkeypatch.setattr("suite.paths.timing_lock", lambda: tmp_path / "lock")
    path = tmp_path / "kernel" / "results.json"
    with pytest.raises(KeyboardInterrupt):
        benchmark.bench(path, ["resnet20", "resnet56"])
    assert list(json.loads(path.read_text())["networks"]) == ["resnet20"]
    benchmark.bench(path, ["resnet20", "resnet18"])
    assert timed == ["resnet20", "resnet18"]
    benchmark.bench(path, ["resnet18"], again=True)
    assert timed[2:] == ["resnet18"]
    monkeypatch.setattr("suite.kernel.VERSION", "another")
    benchmark.bench(path, ["resnet50"])
    assert list(json.loads(path.read_text())["networks"]) == ["resnet50"]


def test_it_is_a_report_like_the_others(tmp_path: Path) -> None:
    def report(*words: str) -> str:
        done = CliRunner().invoke(command, ["--reports", str(tmp_path / "reports"), *words])
        return str(done.exception) if isinstance(done.exception, UserError) else done.output

    here = tmp_path / "reports/kernel"
    here.mkdir(parents=True)
    here.with_suffix(".toml").write_text('title = "Kernel"\nbench = true\n')
    assert f"There are no results in '{here}'; make some with: suite bench" in report("kernel")
    (here / "results.json").write_text(json.dumps(results()))
    assert "README.md' is not what the records say" in report("--check")
    assert "again/kernel/index.html" in report("kernel", "--to", str(tmp_path / "again")) and not (here / "README.md").exists()
    assert "index.html" in report() and report("--check") == "1 report up to date.\n"
    page = (here / "index.html").read_text()
    assert page.count("data:image/svg+xml;base64,") == 2 and "<script" not in page and "<table>" in page
    assert page == (tmp_path / "again/kernel/index.html").read_text() and "A | CPU" in page

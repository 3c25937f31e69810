"""Records made by hand, for the tests of reports and claims."""

from __future__ import annotations

import copy
import hashlib
import json
from typing import Any

from suite.record import SCHEMA

MACHINE = {"cpu": "Test CPU 2000", "cores": 2, "features": ["avx2"], "id": "aa11", "system": "Linux x86_64"}
PAPER = {"title": "A paper", "authors": "A. Author", "venue": "TPAMI", "year": 2022, "url": "https://example.org/paper"}


def timing(median: float, noisy: bool = False) -> dict[str, Any]:
    """One timing with a narrow interval around `median`, in ms."""
    return {"median_ms": median, "p90_ms": 1.1 * median, "low_ms": 0.99 * median, "high_ms": 1.01 * median, "calls": 100,
            "noisy": noisy}


def latency(threads: int, torch: float, dense: float, sparse: float, noisy: bool = False) -> dict[str, Any]:
    """Torch eager, dense and sparse timings, in ms, with their ratios; `noisy` is the sparse one."""
    return {"threads": threads, "torch": timing(torch), "dense": timing(dense), "sparse": timing(sparse, noisy),
            "speedup": dense / sparse, "speedup_torch": torch / sparse}


def timed(what: str, ms: float, items: int | None = None, noisy: bool = False) -> dict[str, Any]:
    """One of a task's own timings."""
    return {"what": what, "items": items, "ms": ms, "noisy": noisy}


def profile(sparsity: float = 0.0, sparse: float = 1.0, noisy: bool = False) -> dict[str, Any]:
    """The profile of a ResNet-20 whose share `sparsity` of weights is zero, at `sparse` ms on one thread."""
    return {
        "params": 272474, "params_nonzero": round(272474 * (1 - sparsity)), "bytes_dense": 1089896, "bytes_packed": 600000,
        "macs": 40551000, "macs_effective": round(40551000 * (1 - sparsity)), "uncounted": [], "input": [3, 32, 32],
        "kernel": {"version": "1", "simd": "avx512", "relative_error": 1e-6, "macs_share": 1.0, "outside": [],
                   "theoretical": False},
        "latency": {"one": latency(1, 2.0, 1.0, sparse, noisy), "all": latency(2, 1.4, 0.6, 0.6 * sparse)},
    }


def record(method: str = "one_by_n", seed: int = 0, top1: float = 78.0, **changes: Any) -> dict[str, Any]:
    """A finished record; `options` are the method's, other `changes` are dotted paths with ``__`` for the dot."""
    options = {"arch": "resnet20", **changes.pop("options", {})}
    scale, source = changes.pop("scale", "short"), changes.pop("source", "embedded")
    made: dict[str, Any] = {
        "schema": SCHEMA, "status": "done", "reason": "",
        "task": {"name": "cifar10", "version": 1, "options": {}, "primary": "top1",
                 "metrics": [{"name": "top1", "unit": "%", "higher_is_better": True, "bounds": [0, 100]},
                             {"name": "top5", "unit": "%", "higher_is_better": True, "bounds": [0, 100]}],
                 "source": {"kind": source, "name": "cifar10", "digest": f"digest-{source}",
                            "counts": {"train": 9000, "val": 1000, "test": 1000}}},
        "method": {"name": method, "digest": "method-digest", "options": options, "starts": "scratch", "standins": [],
                   "tags": ["cnn/pruning-block"], "paper": dict(PAPER), "summary": "What it does."},
        "seed": seed, "scale": scale, "budget": {"allowed": 50000, "total": 50000, "final": 50000},
        "scores": {"top1": top1, "top5": 98.0}, "steps": [], "notes": {}, "ledger": {}, "curves": {"loss": [[0, 2.3], [1, 1.0]]},
        "profile": profile(), "published": [],
        "time": {"started": "2026-11-21T02:00:00Z",
                 "seconds": {"fit": 60.0, "evaluate": 1.0, "profile": 5.0, "overhead": 1.0, "total": 67.0}},
        "machine": dict(MACHINE), "training": {"device": "cpu", "threads": 1, "precision": "bfloat16"},
        "timed_on": dict(MACHINE), "timings": [], "untimed": "",
        "code": {"commit": "abc1234", "dirty": False, "packages": {"torch": "2.15.0"}, "core": ""},
        "parents": {}, "roles": {}, "parent_digests": {}, "trained_on": "", "weights": "", "parent_weights": {}, "outcomes": {},
    }
    for path, value in changes.items():
        *folders, last = path.split("__")
        here = made
        for folder in folders:
            here = here[folder]
        here[last] = copy.deepcopy(value)
    made["roles"] = made["roles"] or {name: name for name in made["parents"]}
    words = " ".join(f"{key}={value}" for key, value in options.items() if key != "arch")
    made["command"] = f"suite run cifar10 {method} {words} --scale {scale} --seed {seed}".replace("  ", " ")
    key = json.dumps([made["task"], method, options, scale], sort_keys=True)
    made["id"] = f"{made['task']['name']}/{method}/{hashlib.sha256(key.encode()).hexdigest()[:12]}-s{seed}"
    return made


def family(seed: int, drop: dict[str, float], arch: str = "resnet20", **changes: Any) -> list[dict[str, Any]]:
    """A reference, the reference trained on, and one record per method of `drop` (points below the reference)."""
    reference = record("plain", seed, 80.0 + 0.5 * seed, options={"arch": arch, "starts": "scratch"}, **changes)
    parents = {"reference": reference["id"]}
    longer = record("plain", seed, 80.6 + 0.5 * seed, options={"arch": arch, "starts": "reference"}, parents=parents,
                    method__starts="reference", **changes)
    rest = [
        record(name, seed, 80.0 + 0.5 * seed - points, options={"arch": arch, "n": 4, "sparsity": sparsity}, parents=parents,
               trained_on=longer["id"], method__starts="reference", profile=profile(sparsity, 1.4 - sparsity), **changes)
        for name, points in drop.items()
        for sparsity in (0.5, 0.75)
    ]
    return [reference, longer, *rest]

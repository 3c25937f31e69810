"""The kernel's benchmark: whole networks and their layers against the peers, as one JSON that pages are rendered from."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.errors import UserError, nearest

if TYPE_CHECKING:
    from torch import Tensor, nn

SCHEMA = 2
SHARES = (0.0, 0.3, 0.5, 0.75, 0.9)  # of blocks removed
WIDTHS = (4, 8)  # N
LAYER_WIDTH = 4  # N of the layer tables
ENGINES = ("torch", "onnxruntime", "openvino", "ai-edge-litert")

Say = Callable[[str], None]


@dataclass(frozen=True)
class Subject:
    """A network to time. `bar`: by threads and share of blocks removed, how many times faster than the fastest fp32 peer the
    kernel should be at N = 4."""

    title: str
    arch: str
    size: int
    part: str = ""  # a submodule instead of the whole network
    bar: Mapping[int, Mapping[float, float]] = field(default_factory=dict)

    def network(self) -> tuple[nn.Module, Tensor]:
        """Random weights and an image; the same every time."""
        import torch

        from suite.nn import build

        torch.manual_seed(0)
        network = build(self.arch, 10 if self.size == 32 else 1000, self.size)
        return (network.get_submodule(self.part) if self.part else network), torch.randn(1, 3, self.size, self.size)


def _both(bar: Mapping[float, float]) -> Mapping[int, Mapping[float, float]]:
    return {1: bar, 2: bar}


SUBJECTS = {
    "mobilenet_v2": Subject("MobileNet-V2", "mobilenet_v2", 224, bar={
        1: {0.0: 1.0, 0.5: 1.5, 0.75: 2.0, 0.9: 2.3}, 2: {0.0: 0.95, 0.5: 1.35, 0.75: 1.7, 0.9: 2.0}}),
    "resnet50": Subject("ResNet-50", "resnet50", 224, bar=_both({0.0: 0.9, 0.5: 1.65, 0.75: 2.9, 0.9: 5.4})),
    "resnet18": Subject("ResNet-18", "resnet18", 224, bar=_both({0.5: 1.2, 0.75: 2.2, 0.9: 4.0})),
    "vgg16_features": Subject("VGG-16, convolutions", "vgg16", 224, "features", _both({0.5: 0.9, 0.75: 1.5, 0.9: 3.0})),
    "resnet20": Subject("ResNet-20, 32 x 32", "resnet20", 32, bar=_both({0.0: 1.0})),
    "resnet56": Subject("ResNet-56, 32 x 32", "resnet56", 32, bar=_both({0.0: 1.0})),
}


def contender(n: int, share: float) -> str:
    """The name of a plan in the results: ``"1x4 0.75"``; unpruned it is the same for every N."""
    return f"1x{n} {share:.2f}" if share else "dense"


def choose(names: Sequence[str]) -> list[str]:
    """The subjects of these names, all for none. UserError for an unknown one."""
    for name in names:
        if name not in SUBJECTS:
            raise UserError(f"The benchmark has no network '{name}'{nearest(name, SUBJECTS)}")
    return list(names) or list(SUBJECTS)


def bench(path: Path, names: Sequence[str], *, calls: int = 60, seconds: float = 3.0, again: bool = False,
          say: Say = lambda sentence: None) -> None:
    """Time the subjects `names` that `path` does not hold yet (`again`: those too) and write the results there.

    The file is replaced after every network, so a stopped benchmark goes on where it was. Results of another machine,
    another build of the kernel or other versions of the peers are dropped. One thread and all physical cores.
    """
    from suite.paths import timing_lock
    from suite.profile.latency import alone
    from suite.profile.machine import physical_cores

    threads = sorted({1, physical_cores()})
    with alone(timing_lock()):
        results = _resumed(path)
        if not results["ceilings"]:
            from suite.bench.ceilings import ceilings

            say("measuring the processor's ceilings")
            results["ceilings"] = {str(count): ceilings(results["kernel"]["simd"], count) for count in threads}
        for name in names:
            if again or name not in results["networks"]:
                say(SUBJECTS[name].title)
                results["networks"][name] = _subject(SUBJECTS[name], threads, calls, seconds, say)
                _write(path, results)


def _subject(subject: Subject, threads: Sequence[int], calls: int, seconds: float, say: Say) -> dict[str, Any]:
    from suite.bench.layers import layer_times, openvino_layers
    from suite.bench.peers import OPENVINO, PEERS, Model
    from suite.bench.pruned import pruned
    from suite.bench.race import race
    from suite.cost import count
    from suite.kernel import lower, simd_path
    from suite.kernel.plan import native

    load = os.getloadavg()[0]
    network, image = subject.network()
    networks = {contender(n, share): pruned(network, image, n, share) for n in WIDTHS for share in SHARES}
    model = Model(networks["dense"], image)
    peers = [peer for peer in PEERS if peer.avx2 or not _limited()]
    races = []
    for number in threads:
        plans = {name: (lower(item, image, threads=number), item) for name, item in networks.items()}
        races.append(race(model, plans, number, peers, calls=calls, seconds=seconds, say=say).record())
    say("timing layers")
    layers, peak = {}, {}
    for share in SHARES:
        before = native().fma_rate(simd_path(), 0.05)
        timed = layer_times(networks[contender(LAYER_WIDTH, share)], image, seconds=seconds / 2)
        after = native().fma_rate(simd_path(), 0.05)
        peak[f"{share:.2f}"] = (before + after) / 2  # of these seconds: the host's other tenants change it
        layers[f"{share:.2f}"] = [dataclasses.asdict(item) for item in timed]
    return {
        "load": load, "calls": calls, "seconds": seconds,
        "macs": {name: count(item, image).macs_effective for name, item in networks.items()},
        "in_plan": plans["dense"][0].macs_share,
        "bytes": {name: plan.bytes for name, (plan, _) in plans.items()},
        "races": {str(item["threads"]): item for item in races},
        "layers": layers,
        "peak": peak,
        "openvino_layers": {} if OPENVINO.missing() else openvino_layers(model),
    }


def _limited() -> bool:
    """Whether peers are to keep to AVX2, too, as ``suite bench --simd avx2`` asks them by environment variables."""
    return bool(os.environ.get("ONEDNN_MAX_CPU_ISA"))


def _resumed(path: Path) -> dict[str, Any]:
    """What is at `path` if it was measured here, with this kernel and these peers; else a new, empty result."""
    from suite.kernel import VERSION, simd_path
    from suite.kernel.plan import native
    from suite.profile.machine import machine

    versions = {}
    for package in ENGINES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    digest = hashlib.sha256(Path(native().__file__).read_bytes()).hexdigest()[:12]
    kernel = {"version": VERSION, "simd": simd_path(), "digest": digest}
    new = {"schema": SCHEMA, "machine": machine(), "packages": versions, "kernel": kernel, "ceilings": {}, "networks": {}}
    old = json.loads(path.read_text()) if path.exists() else {}
    same = all(old.get(key) == new[key] for key in ("schema", "machine", "packages", "kernel"))
    return old if same else new


def _write(path: Path, results: dict[str, Any]) -> None:
    from suite.record import write_text

    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(results, indent=1, sort_keys=True) + "\n")

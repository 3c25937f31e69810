"""What the kernel's page and figures read off the results of ``suite bench``."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any, NamedTuple

from suite.reporting import cells
from suite.reporting.columns import NOISY

Results = Mapping[str, Any]


class Shape(NamedTuple):
    """The layers of one network that are alike; dictionaries are by the share of blocks removed and hold means per layer."""

    kind: str
    shape: str
    layers: int
    macs: int
    milliseconds: dict[float, float]
    work: dict[float, float]  # operations on non-zero weights, two per multiply-add
    bytes: dict[float, float]  # of packed weights, input and output
    openvino: float | None  # milliseconds

    def rate(self, share: float) -> float:
        """1e9 operations on non-zero weights per second."""
        return self.work[share] / self.milliseconds[share] / 1e6

    def intensity(self, share: float) -> float:
        """Operations on non-zero weights per byte."""
        return self.work[share] / self.bytes[share]


def fastest(heat: Results, precision: str = "fp32") -> str:
    """The fastest peer of an arithmetic; empty where none ran."""
    peers = [name for name, found in heat["precisions"].items() if found == precision and name in heat["timings"]]
    return min(peers, key=lambda name: heat["timings"][name]["median_ms"], default="")


def speedup(heat: Results, name: str, rival: str = "") -> float | None:
    """Median of the rival (the fastest fp32 peer for an empty one) over that of the contender `name`; None if one is missing."""
    ours, theirs = heat["timings"].get(name), heat["timings"].get(rival or fastest(heat))
    return theirs["median_ms"] / ours["median_ms"] if ours and theirs else None


def noisy(heat: Results, name: str, rival: str = "") -> bool:
    """Whether one of the timings of `speedup` is noisy."""
    return any(heat["timings"][item]["noisy"] for item in (name, rival or fastest(heat)) if item in heat["timings"])


def ratio(heat: Results, name: str, rival: str = "") -> str:
    """`speedup` as text, with the mark of a noisy one."""
    found = speedup(heat, name, rival)
    return cells.times(found) + (NOISY if found is not None and noisy(heat, name, rival) else "")


def shapes(network: Results) -> list[Shape]:
    """A network's layers grouped by kind and shape, in order of first appearance."""
    layers = {float(share): items for share, items in network["layers"].items()}
    first = layers[min(layers)]
    groups: dict[tuple[str, str], list[int]] = {}
    for index, item in enumerate(first):
        groups.setdefault((item["kind"], item["shape"]), []).append(index)

    def mean(indices: list[int], key: str, factor: float = 1.0) -> dict[float, float]:
        return {share: factor * statistics.fmean(items[index][key] for index in indices) for share, items in layers.items()}

    made = []
    for (kind, shape), indices in groups.items():
        names = [first[index]["name"] for index in indices]
        theirs = [network["openvino_layers"][name] for name in names if name in network["openvino_layers"]]
        made.append(Shape(
            kind, shape, len(indices), first[indices[0]]["macs"], mean(indices, "milliseconds"), mean(indices, "effective", 2.0),
            mean(indices, "bytes"), statistics.fmean(theirs) if theirs else None,
        ))
    return made


class Family(NamedTuple):
    """The layers of one network of a kind on maps of one size; dictionaries are by the share of blocks removed."""

    kind: str
    side: int
    layers: int
    milliseconds: dict[float, float]  # of all together
    work: dict[float, float]


def families(network: Results) -> list[Family]:
    """A network's convolutions by kind and map size, the largest maps first."""
    groups: dict[tuple[int, str], list[Shape]] = {}
    for item in shapes(network):
        _, _, side = item.shape.partition("@")
        if side:
            groups.setdefault((-int(side), item.kind), []).append(item)

    def total(items: list[Shape], values: str) -> dict[float, float]:
        return {share: sum(item.layers * getattr(item, values)[share] for item in items) for share in items[0].work}

    return [Family(kind, -side, sum(item.layers for item in items), total(items, "milliseconds"), total(items, "work"))
            for (side, kind), items in sorted(groups.items())]


def filled(side: int, lanes: int) -> float:
    """The share of lanes that hold pixels, where vectors run over a square map's rows and one column of zeros between them."""
    vectors = -(-((side - 1) * (side + 1) + side) // lanes)
    return side * side / (vectors * lanes)

"""What there is to know of a network that the suite can build by name."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from suite.facts import plugin
from suite.facts.sections import Sections

CLASSES = 10


def facts(name: str, reports: Path) -> dict[str, Any]:
    """Everything about a network with ten classes, on images of the size that it is profiled on."""
    import torch

    from suite.bench.pruned import usual_size
    from suite.cost import count
    from suite.nn import build, prunable

    size = usual_size(name)
    with torch.device("meta"):  # where shapes are computed and no numbers
        network, example = build(name, CLASSES, size), torch.zeros(1, 3, size, size)
        cost, layers = count(network, example), prunable(network, example)
    macs = {layer.name: layer.macs for layer in cost.layers}
    return {
        "kind": "network", "name": name, "size": size, "classes": CLASSES, "params": cost.params, "bytes": cost.bytes_dense,
        "macs": cost.macs, "layers": len(cost.layers), "uncounted": cost.uncounted,
        "prunable": [{"name": item.name, "parameter": item.parameter, "rearrange": item.rearrange, "macs": macs.get(item.name, 0)}
                     for item in layers],
        "command": f"suite profile {name}", "trained": _trained(name),
    }


def _trained(name: str) -> str:
    """A line that trains it on a task whose methods have the option ``arch``, the one that proposes it where there is one."""
    proposed = {task: there for task, there in plugin.loaded("tasks").items() if "arch" in there.defaults}
    for task in sorted(proposed, key=lambda task: proposed[task].defaults["arch"] != name)[:1]:
        return f"suite run {task} {proposed[task].reference} arch={name} --scale smoke"
    return ""


def title(found: Mapping[str, Any]) -> str:
    return f"{found['name']}, a network, of {found['classes']} classes on images of {found['size']}x{found['size']} pixels"


def commands(found: Mapping[str, Any]) -> list[str]:
    """Lines to copy."""
    return [found["command"], f"{found['command']} --peers", *([found["trained"]] if found["trained"] else [])]


def sections(found: Mapping[str, Any]) -> Sections:
    """Everything but the title and the commands."""
    from suite.reporting.cells import count

    moved = [item["name"] for item in found["prunable"] if item["rearrange"]]
    fixed = [item["name"] for item in found["prunable"] if not item["rearrange"]]
    return {
        "cost": [("parameters", f"{found['params']:,}"), ("bytes", f"{found['bytes']:,}"), ("MACs", count(found["macs"])),
                 ("layers", str(found["layers"])), *([("not counted", text)] if (text := ", ".join(found["uncounted"])) else [])],
        "layers that pruning may touch": f"{len(found['prunable'])}, with {_share(found):.0%} of the MACs",
        "of these, filters may be rearranged in": _alike(moved),
        "and may not in": _alike(fixed),
    }


def _alike(names: Sequence[str]) -> list[tuple[str, str]]:
    """Names of layers, those that differ in numbers alone on one line, with how many they are."""
    counted = Counter(re.sub(r"(?<=[._])\d+|(?<=layer)\d+", "*", name) for name in names)
    return [(pattern, str(count)) for pattern, count in counted.items()]


def _share(found: Mapping[str, Any]) -> float:
    return sum(item["macs"] for item in found["prunable"]) / max(1, found["macs"])

"""A probe's figures as a record's profile keeps them: what it costs, and how long it takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from suite.cost import count
from suite.profile.latency import network_latency

if TYPE_CHECKING:
    from suite.artifacts import Probe


class Measured(NamedTuple):
    """The parts of a profile that need a quiet machine; where `untimed` gives a reason, there are none."""

    latency: dict[str, Any] | None = None
    kernel: dict[str, Any] | None = None
    bytes_packed: int | None = None  # None where nothing is packed
    layers: Sequence[Mapping[str, Any]] = ()  # of the plan
    untimed: str = ""


def costs(probe: Probe) -> dict[str, Any]:
    """The profile without latency: ``params, params_nonzero, bytes_dense``; ``macs, macs_effective`` and ``ops`` by kind (mul, add,
    xnor), means over the probe's inputs; ``uncounted`` on any of them; ``input``, the shape of the first without its batch, a list
    of shapes where it is several tensors.
    """
    counted = [count(probe.network, item, probe.gradients) for item in probe.inputs]
    shapes = [list(item.shape[1:]) for item in tree_leaves(probe.inputs[0]) if isinstance(item, Tensor)]
    return {
        "params": counted[0].params, "params_nonzero": counted[0].params_nonzero, "bytes_dense": counted[0].bytes_dense,
        "macs": mean(cost.macs for cost in counted), "macs_effective": mean(cost.macs_effective for cost in counted),
        "ops": {kind: mean(cost.ops[kind] for cost in counted) for kind in counted[0].ops},
        "uncounted": sorted({name for cost in counted for name in cost.uncounted}),
        "input": shapes[0] if len(shapes) == 1 else shapes,
    }


def timing(probe: Probe, lock: Path) -> Measured:
    """The probe timed in the kernel, one command at a time under the file `lock`. Whatever goes wrong is a reason in `untimed`:
    no fault of a timing may cost a trained network.
    """
    network = probe.network if isinstance(probe.network, nn.Module) else _Function(probe.network)
    try:
        latency, kernel = network_latency(network, probe.inputs, lock, gradients=probe.gradients)
    except Exception as error:
        return Measured(untimed=f"{type(error).__name__}: {error}".split("\n", 1)[0])
    return Measured(latency, kernel, kernel.pop("bytes") or None, kernel.pop("layers"))


class _Function(nn.Module):
    """A function as a network without parameters."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Any) -> Any:
        return self.function(*inputs)

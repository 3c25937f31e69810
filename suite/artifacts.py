"""What methods return: small types, one per kind of deployed object.

An artifact pickles as a whole into the suite's own cache, so that a finished run can be evaluated, counted and timed
again without training. `spare` carries what only training or judging needs; it is saved and never counted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from matplotlib.figure import Figure as _Figure
    from torch import Tensor, nn


@dataclass
class Network:
    """A classifier: `module` maps normalised images (N, C, H, W) float32 to logits (N, classes)."""

    module: nn.Module
    spare: dict[str, Any] = field(default_factory=dict)


@dataclass
class ChangeSegmenter:
    """`module` maps normalised pairs (N, 6, H, W) float32, the earlier picture first, to logits (N, 2, H, W): same, changed."""

    module: nn.Module
    spare: dict[str, Any] = field(default_factory=dict)


Artifact = Network | ChangeSegmenter


class Figure(NamedTuple):
    """A named picture for people."""

    name: str
    figure: _Figure


@dataclass(frozen=True)
class Probe:
    """What to count and to time: `network` on each of `inputs` (a batch of one each), averaged."""

    network: nn.Module | Callable[[Tensor], Any]
    inputs: tuple[Tensor, ...]

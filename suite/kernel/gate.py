"""The gate: what a plan puts out is compared with torch, number by number, before it is timed."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only

from suite.kernel.plan import Plan, arguments, signature
from suite.modes import plain

DRAWS = 2  # of changes to all weights
STEP = 1e-3  # relative change of every weight that shows how large the terms are that a number is the sum of


class Gate:
    """What `network` puts out for `calls`, tuples of positional arguments, as torch computes it, and the scale of every number.

    The scale of one number is the largest that it is among the calls of one shape, or would be if the terms it is the sum of did
    not cancel: by how much it moves when all weights do, over `STEP`. Numbers in a row along all axes but one (a channel's, a
    column's) share the largest scale among them, on the axis where that is least. No scale exceeds the tensor's largest number.
    So a small head beside a large one is held to the same relative error, and what is zero but for rounding is not held to it.

    Where fewer than two different calls of a shape are given, one more is made from the first: its maps or sequences mirrored
    (`mirrored`). Neither `network` nor `calls` are changed.
    """

    def __init__(self, network: nn.Module, calls: Sequence[tuple[Any, ...]], gradients: bool = False) -> None:
        self.gradients = gradients
        groups: list[list[tuple[Any, ...]]] = []
        for call in calls:
            known = (group for group in groups if signature(group[0]) == signature(call))
            if (group := next(known, None)) is None:
                groups.append([call])
            elif not any(_equal(call, other) for other in group):
                group.append(call)
        self.given = sum(map(len, groups))  # different calls
        for group in groups:
            group += [mirror for mirror in map(_mirror, group[:1]) if len(group) == 1 and not _equal(mirror, group[0])]
        self.mirrored = sum(map(len, groups)) - self.given
        self.parts = [self._wanted(network, group) for group in groups]

    def _wanted(self, network: nn.Module, group: list[tuple[Any, ...]]) -> tuple[list[tuple[Any, ...]], list[Any], list[Tensor]]:
        wanted = self._outputs(plain(network), group)
        scales = [_size(parts) for parts in zip(*map(_tensors, wanted), strict=False)]
        for step, seed in itertools.product((STEP, -STEP), range(DRAWS)):  # one sign may find an activation switched off
            moved = self._outputs(_moved(network, step, seed), group)
            for ours, theirs in zip(map(_tensors, wanted), map(_tensors, moved), strict=True):
                for place, one, other in zip(range(len(scales)), ours, theirs, strict=False):
                    if one.shape == other.shape == scales[place].shape and one.is_floating_point():
                        scales[place] = scales[place].fmax((one - other).abs() / STEP)
        return group, wanted, list(map(_shared, scales))

    def _outputs(self, network: nn.Module, group: list[tuple[Any, ...]]) -> list[Any]:
        with torch.inference_mode(not self.gradients):
            return [network(*_copied(call)) for call in group]

    def error(self, plan: Plan) -> float:
        """The largest `difference` of the plan's outputs from torch's, for all calls of the shape that it was made for; infinite
        where there are none."""
        for group, wanted, scales in self.parts:
            if signature(group[0]) == plan.signature:
                return largest(difference(plan(*_copied(call)), right, scales) for call, right in zip(group, wanted, strict=True))
        return math.inf


def check(plan: Plan, network: nn.Module, inputs: Tensor | tuple[Any, ...]) -> float:
    """The error of `plan` on `inputs` and their mirror image (see `Gate`): largest |plan - torch| of any number, over its scale."""
    return Gate(network, [arguments(inputs)], plan.gradients).error(plan)


def difference(found: Any, wanted: Any, scales: Sequence[Tensor] = ()) -> float:
    """max |found - wanted| / scale over all numbers, the scale being the largest number of a tensor or, where `scales` has a tensor
    for each in order, at most that. Infinite where the two are not made of the same parts, or parts that are no tensors differ.
    """
    return _difference(found, wanted, iter(scales))


def _difference(found: Any, wanted: Any, scales: Iterator[Tensor]) -> float:
    if isinstance(wanted, Mapping) and isinstance(found, Mapping) and found.keys() == wanted.keys():
        return largest([_difference(found[key], item, scales) for key, item in wanted.items()])
    if isinstance(wanted, (tuple, list)) and isinstance(found, (tuple, list)) and len(found) == len(wanted):
        return largest([_difference(one, item, scales) for one, item in zip(found, wanted, strict=True)])
    if not isinstance(wanted, Tensor) or not isinstance(found, Tensor):
        return 0.0 if type(found) is type(wanted) and bool(found == wanted) else math.inf
    own = next(scales, None)
    if found.shape != wanted.shape or not wanted.numel():
        return 0.0 if found.shape == wanted.shape else math.inf
    found, wanted = (item.detach() if item.is_floating_point() else item.double() for item in (found, wanted))
    scale = wanted.abs().max() if own is None or own.shape != wanted.shape else own.fmin(wanted.abs().max())
    error = torch.where(found == wanted, 0.0, (found - wanted).abs())  # of two infinities too
    return float((error / scale.clamp_min(1e-30)).max())


def largest(errors: Iterable[float]) -> float:
    """The largest of `errors`, NaN if one is (Python's maximum may overlook a NaN); 0 of none."""
    found = list(errors)
    return math.nan if any(map(math.isnan, found)) else max(found, default=0.0)


def _tensors(output: Any) -> list[Tensor]:
    """The tensors of an output in the order in which `difference` meets them."""
    if isinstance(output, Tensor):
        return [output.detach()]
    parts = output.values() if isinstance(output, Mapping) else output if isinstance(output, (tuple, list)) else ()
    return [leaf for part in parts for leaf in _tensors(part)]


def _size(parts: tuple[Tensor, ...]) -> Tensor:
    """The largest absolute value of every number among tensors of one shape; of the first alone where shapes differ or whole
    numbers are told apart by nothing but their tensor's scale."""
    first = parts[0].abs() if parts[0].is_floating_point() else parts[0].double().abs()
    if not parts[0].is_floating_point():
        return first.max().expand(first.shape) if first.numel() else first
    return torch.stack(parts).abs().amax(0) if all(part.shape == first.shape for part in parts) else first


def _shared(scale: Tensor) -> Tensor:
    """The least over axes of the largest scale in the slice that a number lies in, in the shape of the numbers."""
    axes = [axis for axis, size in enumerate(scale.shape) if size > 1]
    slices = [scale.amax([other for other in axes if other != axis], keepdim=True) if len(axes) > 1 else scale for axis in axes]
    return functools.reduce(torch.minimum, slices, scale.amax() if scale.numel() else scale).expand(scale.shape)


def _moved(network: nn.Module, step: float, seed: int) -> nn.Module:
    """A copy whose weights and statistics are each changed by a share of about `step`, the same at every call."""
    moved, generator = plain(network), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for values in (*moved.parameters(), *moved.buffers()):
            if values.is_floating_point():
                values.data = values * (1 + step * torch.randn(values.shape, generator=generator, dtype=values.dtype))
    return moved


def _copied(call: tuple[Any, ...]) -> Any:
    return tree_map_only(Tensor, Tensor.clone, call)  # a network may work in place


def _mirror(call: tuple[Any, ...]) -> Any:
    """The same with its maps and sequences, float tensors of three dimensions and more, from right to left."""
    return tree_map_only(Tensor, lambda item: item.flip(-1) if item.dim() > 2 and item.is_floating_point() else item, call)


def _equal(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    """Whether two calls of one shape have the same numbers."""
    pairs = zip(tree_leaves(one), tree_leaves(other), strict=True)
    return all(torch.equal(a, b) if isinstance(a, Tensor) else a is b or a == b for a, b in pairs)

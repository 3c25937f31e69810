"""Cutting channels: choosing which go so that a network costs what is wanted; masking them, or removing them for good.

Pruners score the output channels of layers. What goes with a channel is known here: its normalisations and depthwise filters,
and its columns in all layers that read it, through additions, concatenations and gates (the streams of `suite.nn.streams`).
"""

from __future__ import annotations

import copy
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from math import ceil
from typing import Any

import torch
from torch import Tensor, nn

from suite.cost import Cost, count
from suite.errors import UserError
from suite.nn.streams import Stream, streams
from suite.nn.surgery import keep

Scores = Mapping[str, Tensor | Sequence[float]]
Rates = Mapping[str, float] | float | None
_Step = tuple[float, int, int]  # one channel fewer: its place in the order of removal, the stream's number, channels left


@dataclass(frozen=True)
class Cut:
    """The channels that stay, ascending, in each stream that loses some, of a network as it was. MACs are of one input."""

    kept: Mapping[Stream, tuple[int, ...]]
    macs: int
    macs_before: int

    def apply(self, network: nn.Module) -> None:
        """Remove the other channels physically. ValueError, with nothing changed, for parametrised weights."""
        keep(network, self.kept)

    @contextmanager
    def masked(self, network: nn.Module) -> Iterator[nn.Module]:
        """Within the context `network`, its shapes unchanged, computes what the cut network would, and can be trained so.

        See `silenced`.
        """
        with silenced(network, self.kept):
            yield network


@contextmanager
def silenced(network: nn.Module, kept: Mapping[Stream, Sequence[int]]) -> Iterator[None]:
    """Within the context every reader of a stream sees zeros in place of the channels that are not `kept`, whatever normalisations,
    activations and additions lie before it. Hooks do that; parameters and state-dicts are as without."""
    columns: dict[str, list[Tensor]] = {}
    for stream, channels in kept.items():
        gone = torch.tensor(sorted({*range(stream.channels)} - {*channels}))
        for port in stream.readers:
            columns.setdefault(port.name, []).append(port.columns(gone))
    with ExitStack() as masks:
        for name, parts in columns.items():
            layer = network.get_submodule(name)
            silence = partial(_silence, torch.cat(parts), -1 if isinstance(layer, nn.Linear) else 1)
            masks.callback(layer.register_forward_pre_hook(silence).remove)
        yield


def cut(
    network: nn.Module, scores: Scores, example: Tensor, *,
    macs: float | None = None, rates: Rates = None, floor: float = 0.0, normalise: bool = True,
) -> Cut:
    """Remove the least important channels of `network` physically and say which stayed. Arguments: see `choose_cut`."""
    decision = choose_cut(network, scores, example, macs=macs, rates=rates, floor=floor, normalise=normalise)
    decision.apply(network)
    return decision


def choose_cut(
    network: nn.Module, scores: Scores, example: Tensor, *,
    macs: float | None = None, rates: Rates = None, floor: float = 0.0, normalise: bool = True,
) -> Cut:
    """Choose the channels to remove, changing nothing. Of `example` (N, C, H, W) only the shape matters.

    `scores`: importance of each output channel, (Co,) by name of the layer. The lowest go first, among equals the earlier.
    Streams of which no layer is scored stay whole, and so do fixed ones, scored or not. Where several layers write one stream
    (additions) a channel's score is the sum over those that are scored, each layer's scores divided by their root mean square
    first; layers that only scale it (the end of a squeeze-and-excitation) have no say. Without `normalise`, the sum as it is.

    How many go: `macs` are the multiply-accumulates of one input to be reached, up to 1 as a share of today's.
    - `macs` alone: one ranking of the channels of all streams by their scores.
    - `rates` alone: this share of every scored stream goes, rounded down. Given by layer name, streams without a rate stay
      whole; where several layers write a stream, the mean of the rates given for it counts.
    - both: the rates are proportions, scaled together until the MACs fit (``rates=1``: the same share everywhere).
    With `macs` channels go one by one, and the result is the largest network on that way which costs no more. The share `floor`
    of every stream stays, rounded up, and at least one channel.

    UserError if the floors are reached first. ValueError for layers whose outputs cannot be followed, for scores that are not Co
    finite numbers, and without `macs` and `rates`.
    """
    if macs is None and rates is None:
        raise ValueError("say how much to cut: 'macs', 'rates' or both")
    found = streams(network, example)
    if unknown := {*scores}.union(rates if isinstance(rates, Mapping) else ()).difference(*(item.writers for item in found)):
        raise ValueError(f"no channels that can be followed are written by {', '.join(sorted(unknown))}")
    orders: dict[int, list[int]] = {}
    steps: list[_Step] = []
    for number, stream in enumerate(found):
        rate, total = _rate(stream, rates), _total(stream, scores, normalise)
        if rate == 0 or total is None:
            continue
        orders[number] = total.argsort(stable=True).tolist()
        most = stream.channels - max(1, ceil(floor * stream.channels - 1e-9))  # 0.07 * 100 is above 7 in binary
        for gone, channel in enumerate(orders[number][:most], 1):
            place = float(total[channel]) if rate is None else gone / stream.channels / rate
            steps.append((place, number, stream.channels - gone))
    steps.sort(key=lambda step: step[0])  # stable and ascending in each stream: a way from large to small
    model = ChannelMacs(network, example)
    ordered = [found[number] for _, number, _ in steps]
    end = _fit(ordered, model, macs) if macs is not None else sum(place <= 1 + 1e-9 for place, _, _ in steps)
    staying = {number: left for _, number, left in steps[:end]}
    kept = {found[number]: tuple(sorted(orders[number][-left:])) for number, left in staying.items()}
    decision = Cut(kept, model.after(Counter(ordered[:end])), model.before)
    small, inputs = _without_data(network, example)
    decision.apply(small)
    if (counted := _cost(small, inputs).macs) != decision.macs:
        raise RuntimeError(f"the cut network costs {counted} multiply-accumulates and was to cost {decision.macs}")
    return decision


def _rate(stream: Stream, rates: Rates) -> float | None:
    if not isinstance(rates, Mapping):
        return rates
    given = [rates[name] for name in stream.writers if name in rates]
    return sum(given) / len(given) if given else 0


def _total(stream: Stream, scores: Scores, normalise: bool) -> Tensor | None:
    """One score for each channel, in float64 on the CPU, or None where the stream stays whole."""
    names = [name for name in stream.writers if name in scores and name not in stream.gates]
    total = torch.zeros(stream.channels, dtype=torch.float64)
    for name in names:
        values = torch.as_tensor(scores[name]).detach().to("cpu", torch.float64)
        if values.shape != total.shape or not values.isfinite().all():
            raise ValueError(f"the scores of '{name}' are not {stream.channels} finite numbers")
        size = values.square().mean().sqrt()
        total += values / size if normalise and size else values
    return total if names and not stream.fixed else None


def _fit(ordered: list[Stream], model: ChannelMacs, macs: float) -> int:
    """The least number of channels, from streams in this order, whose removal leads to `macs`."""
    wanted = int(macs * model.before if macs <= 1 else macs)
    end = bisect_left(range(len(ordered) + 1), True, key=lambda end: model.after(Counter(ordered[:end])) <= wanted)
    if end > len(ordered):
        least = model.after(Counter(ordered))
        raise UserError(
            f"{wanted:,} multiply-accumulates are wanted and {least:,} of {model.before:,} remain when all channels that may go "
            f"are gone; ask for a share of at least {ceil(1e4 * least / model.before) / 1e4}"
        )
    return end


class ChannelMacs:
    """The MACs of one input like `example` `before` and `after` any cut of `network`, without running it again."""

    def __init__(self, network: nn.Module, example: Tensor) -> None:
        small, inputs = _without_data(network, example)
        cost = _cost(small, inputs)
        self.before, self.layers = cost.macs, []
        for layer in cost.layers:
            weight = getattr(small.get_submodule(layer.name), "weight", None)
            if layer.macs and weight is not None:
                self.layers.append((layer.name, layer.macs, *weight.shape[:2]))

    def after(self, gone: Mapping[Stream, int]) -> int:
        """Without so many channels of these streams."""
        rows, columns = Counter[str](), Counter[str]()  # that are gone, by layer
        for stream, lost in gone.items():
            rows.update(dict.fromkeys(stream.writers, lost))
            for port in stream.carriers:
                rows[port.name] += lost * port.positions
            for port in stream.readers:
                columns[port.name] += lost * port.positions
        macs = self.before
        for name, dense, height, width in self.layers:
            macs -= dense - dense * (height - rows[name]) * (width - columns[name]) // (height * width)
        return macs


def _silence(columns: Tensor, axis: int, layer: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return inputs[0].index_fill(axis, columns.to(inputs[0].device), 0), *inputs[1:]


def _without_data(network: nn.Module, example: Tensor) -> tuple[nn.Module, Tensor]:
    """A copy on the meta device and one input for it: shapes alone, at no cost."""
    held: dict[int, Any] = {id(values): torch.empty_like(values, device="meta") for values in network.buffers()}
    for values in network.parameters():
        held[id(values)] = nn.Parameter(torch.empty_like(values, device="meta"), values.requires_grad)
    dtype = next(network.parameters()).dtype
    return copy.deepcopy(network, held), torch.empty(1, *example.shape[1:], dtype=dtype, device="meta")


def _cost(network: nn.Module, inputs: Tensor) -> Cost:
    with torch.device("meta"):  # also for what the network makes as it runs
        return count(network, inputs)

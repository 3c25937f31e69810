"""Convolutions with fewer inputs and of lower rank: what a network of such layers costs, reaching a cost, and building it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor, nn

from suite.cost import count
from suite.errors import UserError
from suite.nn import Port, Stream, factorise, gather, keep, prunable, streams


class Reduced(NamedTuple):
    """What stays of a layer: the input channels `kept`, ascending, and the `rank` of its weight; 0: all, as one layer."""

    kept: tuple[int, ...]
    rank: int = 0


Decision = Mapping[str, Reduced]  # by name of the layer


@dataclass(frozen=True)
class Layer:
    """A convolution of weight (rows, inputs, *taps) with `positions` outputs a row; `alone`: the streams that only it reads."""

    name: str
    rows: int
    inputs: int
    taps: int
    positions: int
    alone: tuple[tuple[Stream, Port], ...]

    @property
    def dense(self) -> int:
        """The MACs of one image."""
        return self.rows * self.inputs * self.taps * self.positions

    def factored(self, rank: int, inputs: int, rows: int) -> bool:
        """Whether two layers with `rank` channels between them cost less than one."""
        columns = inputs * self.taps
        return 0 < rank < min(rows, columns) and rank * (columns + rows) < columns * rows

    def macs(self, rank: int, inputs: int, rows: int) -> int:
        """Of the layer as it is built: in two where that costs less."""
        columns = inputs * self.taps
        return self.positions * (rank * (columns + rows) if self.factored(rank, inputs, rows) else columns * rows)


class Reducible:
    """A network's convolutions but the stem, depthwise and grouped ones, and its MACs with some of them reduced.

    Where a layer alone reads a stream, the channels that it no longer reads are not computed either: their filters go, with all
    that belongs to them. Where others read them too, it gathers those that it reads.
    """

    def __init__(self, network: nn.Module, example: Tensor) -> None:
        cost = count(network, example)
        self.total, self.layers = cost.macs, dict[str, Layer]()
        self.costs = {layer.name: layer.macs for layer in cost.layers if layer.macs}
        weights = {name: getattr(network.get_submodule(name), "weight", None) for name in self.costs}
        self.rows = {name: 1 if weight is None else len(weight) for name, weight in weights.items()}  # 1: attention, which stays
        found = streams(network, example)
        for item in prunable(network, example):
            module = network.get_submodule(item.name)
            if isinstance(module, nn.Conv2d) and module.groups == 1:
                alone = tuple((stream, stream.readers[0]) for stream in found if not stream.fixed
                              and [port.name for port in stream.readers] == [item.name])
                taps = module.weight[0, 0].numel()
                positions = self.costs[item.name] // module.weight.numel()
                self.layers[item.name] = Layer(item.name, module.out_channels, module.in_channels, taps, positions, alone)
        if not self.layers:
            raise UserError(f"'{type(network).__name__}' has no convolution behind its first that could be reduced; choose another "
                            "network with arch=")

    def macs(self, decision: Decision) -> int:
        """What the network costs for one image once it is built."""
        gone = Counter[str]()
        for stream, kept in self._deleted(decision).items():
            gone.update(dict.fromkeys(stream.writers, stream.channels - len(kept)))
            for port in stream.carriers:
                gone[port.name] += (stream.channels - len(kept)) * port.positions
        total = self.total
        for name, dense in self.costs.items():
            rows = self.rows[name] - gone[name]
            now = dense * rows // self.rows[name]
            if name in decision:
                now = self.layers[name].macs(decision[name].rank, len(decision[name].kept), rows)
            total += now - dense
        return total

    def reach(self, macs: float, decide: Callable[[float], Decision], first: float, last: float) -> Decision:
        """The dearest of what `decide` gives for numbers of `first` to `last` that costs no more than the share `macs`.

        What it gives costs less the larger its number is. Where several layers change at one number, some of them do.
        UserError where even that for `last` costs more.
        """
        wanted = int(macs * self.total)
        large, small = decide(first), decide(last)
        if (least := self.macs(small)) > wanted:
            raise UserError(f"{wanted:,} multiply-accumulates are wanted and {least:,} of {self.total:,} remain when all layers "
                            f"are reduced as far as may be; ask for a larger share with macs=, {least / self.total:.4f} or more.")
        if self.macs(large) <= wanted:
            return large
        for _ in range(40):
            middle = (first + last) / 2
            tried = decide(middle)
            if self.macs(tried) > wanted:
                first, large = middle, tried
            else:
                last, small = middle, tried
        for name, reduced in large.items():
            if self.macs({**small, name: reduced}) <= wanted:
                small = {**small, name: reduced}
        return small

    def build(self, network: nn.Module, decision: Decision, example: Tensor) -> int:
        """Reduce the layers of `network`, from its own weights, and give its MACs: filters that nobody reads go first, then weights
        are factorised as `suite.nn.factorise` does."""
        deleted = self._deleted(decision)
        keep(network, deleted)
        for name, reduced in decision.items():
            there = set(range(self.layers[name].inputs))
            for stream, port in self.layers[name].alone:
                if stream in deleted:
                    there -= {port.offset + channel for channel in range(stream.channels)} - {
                        port.offset + channel for channel in deleted[stream]}
            index = [place for place, channel in enumerate(sorted(there)) if channel in {*reduced.kept}]
            place = gather(network, name, index) if len(index) < len(there) else name
            rows = len(network.get_submodule(place).weight)  # type: ignore[arg-type]
            if self.layers[name].factored(reduced.rank, len(index), rows):
                factorise(network, place, reduced.rank)
        if (found := count(network, example).macs) != (planned := self.macs(decision)):
            raise RuntimeError(f"the network costs {found} multiply-accumulates and was to cost {planned}")
        return found

    def _deleted(self, decision: Decision) -> dict[Stream, tuple[int, ...]]:
        """The channels that stay of the streams of which one layer alone reads some and not all."""
        found = {}
        for name, reduced in decision.items():
            for stream, port in self.layers[name].alone:
                kept = tuple(channel - port.offset for channel in reduced.kept if 0 <= channel - port.offset < stream.channels)
                if 0 < len(kept) < stream.channels and port.positions == 1:
                    found[stream] = kept
        return found

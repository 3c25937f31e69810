"""Class-wise masks on the channels of a network: the guide of a sample, votes, and folding the average away.

Sections 3.1 to 3.6 are those of the description of `white_box`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from suite.baselines._channels import hidden, norms_behind
from torch import Tensor, nn

from suite.context import Run
from suite.nn.cut import silenced
from suite.nn.streams import Stream
from suite.settings import Classification
from suite.train import predict

SILENCED = 0.1  # share of the last masked layer that claim 2 silences for a class
CLASSES = 20  # for which it does so, at most
EACH = 50  # images of a class, at most, that tell what it lost


class Place(NamedTuple):
    """Where channels are scaled: the first reader's inputs, or the writer's outputs."""

    stream: Stream
    layer: str
    before: bool


class ClassMasks(nn.Module):
    """3.1: a network with masks M (K, C) for K classes at each of `streams`, ones at first.

    While `attached`, channels are scaled by a guide: called with images and labels (N,), that of each sample is its class's row
    plus all other rows, each weighted at random from 0 to 1, afresh in every layer; without labels it is half of the sum of rows.
    """

    def __init__(self, network: nn.Module, streams: list[Stream], classes: int, before: bool) -> None:
        super().__init__()
        self.network, self.classes = network, classes
        self.places = [Place(item, item.writers[0] if before else item.readers[0].name, before) for item in streams]
        self.masks = nn.ParameterList(torch.ones(classes, item.channels) for item in streams)
        self.labels: Tensor | None = None

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        self.labels = labels
        try:
            return self.network(images)
        finally:
            self.labels = None

    def guide(self, number: int) -> Tensor:
        """(N, C) for the present labels, or (1, C)."""
        mask = self.masks[number]
        if self.labels is not None:
            weights = torch.rand(len(self.labels), self.classes, device=mask.device)
            return weights.scatter(1, self.labels[:, None], 1.0) @ mask
        return mask.sum(0, keepdim=True) / 2

    @contextmanager
    def attached(self) -> Iterator[None]:
        with ExitStack() as hooks:
            for number, place in enumerate(self.places):
                layer = self.network.get_submodule(place.layer)
                hook = (layer.register_forward_hook(partial(self._outputs, number)) if place.before
                        else layer.register_forward_pre_hook(partial(self._inputs, number)))
                hooks.callback(hook.remove)
            yield

    def _outputs(self, number: int, layer: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        return output * self.guide(number)[:, :, None, None].to(output.dtype)

    def _inputs(self, number: int, layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor]:
        return (inputs[0] * self.guide(number)[:, :, None, None].to(inputs[0].dtype),)

    def votes(self) -> list[Tensor]:
        """3.4: the absolute value of each channel's sum over the classes."""
        return [mask.detach().sum(0).abs().cpu() for mask in self.masks]

    @torch.no_grad()
    def fold(self) -> None:
        """3.5: let the network compute the same unattached, by the average guide, with weights as large as they were trained."""
        norms = norms_behind(self.network)
        for mask, place in zip(self.masks, self.places, strict=True):
            average, layer = mask.sum(0) / 2, self.network.get_submodule(place.layer)
            norm = self.network.get_submodule(norms[place.layer]) if place.layer in norms else None
            size = average if place.before else average.abs().mean()
            if norm is not None:
                unscale(norm, size)
            if not place.before:  # a channel is a column of the convolution that reads it
                layer.weight *= (average if norm is None else average / size).view(1, -1, 1, 1)
                if norm is not None and layer.bias is not None:
                    layer.bias /= size
            elif norm is None:
                layer.weight *= average.view(-1, 1, 1, 1)
                if layer.bias is not None:
                    layer.bias *= average


def unscale(norm: nn.Module, factor: Tensor) -> None:
    """Let a normalisation give for its inputs what it gave for `factor` times them; `factor` (C,) or a number, not 0."""
    norm.running_mean /= factor  # type: ignore[operator]
    norm.running_var.copy_((norm.running_var + norm.eps) / factor**2 - norm.eps)  # type: ignore[operator, union-attr]
    norm.weight *= factor.sign()  # type: ignore[operator]


def inner(network: nn.Module, example: Tensor) -> list[Stream]:
    """The streams from one convolution through an activation to one other: inside blocks, and all but a plain network's last."""
    return [item for item in hidden(network, example) if isinstance(network.get_submodule(item.readers[0].name), nn.Conv2d)]


def class_drop(masked: ClassMasks, setting: Classification, run: Run) -> float:
    """Points of recall on `val` that a class loses when the channels it wants most are silent, less what the others lose."""
    known = setting.val.labels
    rows = torch.cat([(known == item).nonzero()[:EACH, 0] for item in known.unique()])
    data, labels, mask = setting.val.subset(rows), known[rows], masked.masks[-1].detach()
    count = max(1, round(SILENCED * mask.shape[1]))

    def recalls() -> Tensor:
        right = (predict(masked.network, data, setting.normalise, run).argmax(1) == labels).double()
        return torch.stack([right[labels == item].mean() for item in present])

    present = sorted(set(labels.tolist()))
    before, drops = recalls(), []
    for place, item in enumerate(present[:CLASSES]):
        rest = sorted(mask[item].argsort(stable=True)[:-count].tolist())
        with silenced(masked.network, {masked.places[-1].stream: rest}):  # no reader sees the others
            lost = before - recalls()
        drops.append(float(lost[place] - (lost.sum() - lost[place]) / max(1, len(lost) - 1)))
    return 100 * sum(drops) / len(drops)

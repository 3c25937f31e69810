"""White-Box channel pruning: every channel learns how much each class wants it, and all layers' channels stand for one vote.

Zhang, Lin, Lin, Chen, Chao, Wang, Wu, Tian, Ji: "Carrying out CNN Channel Pruning in a White Box", IEEE TNNLS 2022. Sections 3.1
to 3.6 below are those of the method's description. In the mask phase a sample's label chooses the row of the masks that scales
the channels, beside randomly weighted rows of the other classes; nothing of that is deployed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from suite.baselines._channels import ChannelPruningMethod, hidden, norms_behind
from suite.baselines._pruning import FineTunedMethod
from torch import Tensor, nn
from torch.nn import functional

from suite.contract import Claim, Paper, Published, Side, option
from suite.metrics import accuracy
from suite.nn import build
from suite.nn.cifar import ResNet
from suite.nn.cut import Cut, choose_cut
from suite.nn.streams import Stream
from suite.run import Run
from suite.settings import Classification
from suite.train import Batch, Recipe, autocast, batches, optimise, predict

SILENCED = 0.1  # share of the last masked layer that claim 2 silences for a class
CLASSES = 20  # for which it does so, at most


@dataclass
class WhiteBoxMethod(ChannelPruningMethod):
    """Class-wise masks are learned with the network, the channels that few classes want are cut, and the rest is fine-tuned."""

    paper = Paper("Carrying out CNN Channel Pruning in a White Box", "Zhang, Lin, Lin, Chen, Chao, Wang, Wu, Tian, Ji",
                  "IEEE TNNLS", 2022, "https://arxiv.org/abs/2104.11883")
    tags = ("cnn/pruning-channel",)
    scales: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        scale: {**values, "starts": "reference", "mask_share": 0.3, "mask_rate": 0.01}
        for scale, values in ChannelPruningMethod.scales.items()
    }
    standins = (
        *FineTunedMethod.standins,
        "Below scale full the masks are learned beside the reference's weights, as all pruners start from it, and not from "
        "scratch; they take three tenths of the budget.",
        "Channels go one by one until the MACs fit; the code lowers the kept share by hundredths.",
        "The average guide goes into the statistics of the normalisation behind the masks, or into the inputs of the layer that "
        "reads the channels: the function stays the same, and weights keep their size. The code scales gain and shift instead.",
        "VGG's last convolution and MobileNet-V2's stay whole; the code keeps a random part of them.",
    )
    published = tuple(
        Published(task, "top1", top1, "README", {"arch": arch, "macs": macs})
        for task, arch, macs, top1 in (
            ("cifar10", "vgg16", 0.236, 93.47), ("cifar10", "resnet56", 0.444, 93.54), ("cifar10", "resnet110", 0.34, 94.12),
            ("imagenet", "resnet50", 0.544, 75.32), ("imagenet", "resnet50", 0.365, 74.21))
    )
    claims = (
        Claim("1 against L1", "Class-wise voting is not below L1 filters at half of the MACs and equal training (within half a "
              "point of noise).", "cifar10", "top1", "above", (Side("white_box"), Side("l1_filter")), margin=-0.5,
              options={"macs": 0.5}, held_equal=(("total", 0.01),)),
        Claim("2 white box", "Silencing the channels that a class wants most hurts this class more than the others.", "cifar10",
              "note.class_drop", "above", (Side("white_box"),), bound=0.0),
    )

    starts: Literal["scratch", "reference"] = option(  # type: ignore[misc]
        "scratch", "whether network and masks are learned together from scratch, or from a trained network on")
    mask_share: float = option(30 / 330, "part of the budget in which masks are learned", bounds=(0.01, 0.9))
    mask_rate: float = option(0.1, "learning rate meanwhile, constant", bounds=(0, 10))
    penalty: float = option(0.0, "lambda, weight of the length of the masks' sums; the paper's is 0 to 0.01", bounds=(0, 10))
    floor: float = option(0.3, "share of every layer that stays", bounds=(0, 1))
    position: Literal["usual", "before", "after"] = option(
        "usual", "masks before the normalisation or after the activation; as usual: before in residual networks for small images")

    def scored(self, setting: Classification, run: Run) -> tuple[nn.Module, Mapping[str, Tensor]]:
        if self.starts == "reference":
            network = run.reference(self.arch).module
        else:
            torch.manual_seed(run.seed("weights", self.arch))
            network = build(self.arch, setting.classes, setting.shape[1])
        before = isinstance(network, ResNet) if self.position == "usual" else self.position == "before"
        masked = ClassMasks(network, inner(network, torch.zeros(1, *setting.shape)), setting.classes, before)
        with masked.attached():
            self.learn(masked, setting, run)
            run.note(top1_of_mask_phase=accuracy(predict(network, setting.val, setting.normalise, run), setting.val.labels),
                     class_drop=class_drop(masked, setting, run))
        masked.fold()
        return network, {place.stream.writers[0]: votes for place, votes in zip(masked.places, masked.votes(), strict=True)}

    def learn(self, masked: ClassMasks, setting: Classification, run: Run) -> None:
        """3.2 and 3.3: the network and its masks together."""
        recipe = Recipe(rate=self.mask_rate, weight_decay=self.weight_decay, warmup=0.0, schedule="constant")
        size = min(self.batch, len(setting.train))

        def loss(batch: Batch) -> Tensor:
            batch = batch.to(run.device)
            with autocast(run):
                logits = masked(batch.inputs, batch.targets)
            lengths = torch.stack([mask.sum(0).norm() for mask in masked.masks])
            return functional.cross_entropy(logits.float(), batch.targets) + self.penalty * lengths.sum()

        masked.to(run.device)
        optimise(masked, lambda generator: batches(setting.train, size, setting.augment, generator), loss, run, recipe=recipe,
                 size=size, samples=int(self.mask_share * run.budget.allowed), name="masks")

    def chosen(self, network: nn.Module, scores: Mapping[str, Tensor], example: Tensor) -> Cut:
        """3.4: one vote over the channels of all masked layers."""
        return choose_cut(network, scores, example, macs=self.macs, floor=self.floor, normalise=False)


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
        self.silenced: Tensor | None = None  # channels of the last masked layer that are zero

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
        found = mask.sum(0, keepdim=True) / 2
        return found if self.silenced is None or number + 1 < len(self.masks) else found.index_fill(1, self.silenced, 0)

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
    labels, mask = setting.val.labels, masked.masks[-1].detach()
    count = max(1, round(SILENCED * mask.shape[1]))

    def recalls() -> Tensor:
        right = (predict(masked.network, setting.val, setting.normalise, run).argmax(1) == labels).double()
        return torch.stack([right[labels == item].mean() for item in present])

    present = sorted(set(labels.tolist()))
    before, drops = recalls(), []
    for place, item in enumerate(present[:CLASSES]):
        masked.silenced = mask[item].topk(count).indices
        lost = before - recalls()
        drops.append(float(lost[place] - (lost.sum() - lost[place]) / max(1, len(lost) - 1)))
    masked.silenced = None
    return 100 * sum(drops) / len(drops)

"""White-Box channel pruning: every channel learns how much each class wants it, and all layers' channels stand for one vote.

Zhang, Lin, Lin, Chen, Chao, Wang, Wu, Tian, Ji: "Carrying out CNN Channel Pruning in a White Box", IEEE TNNLS 2022. Sections 3.1
to 3.6 below are those of the method's description. In the mask phase a sample's label chooses the row of the masks that scales
the channels, beside randomly weighted rows of the other classes; nothing of that is deployed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from suite.baselines._channels import ChannelPruningMethod
from suite.baselines._class_masks import ClassMasks, class_drop, inner
from suite.baselines._pruning import FineTunedMethod
from torch import Tensor, nn
from torch.nn import functional

from suite.context import Run
from suite.contract import Claim, Paper, Published, Side, option
from suite.errors import UserError
from suite.metrics import accuracy
from suite.nn import build
from suite.nn.cifar import ResNet
from suite.nn.cut import Cut, choose_cut
from suite.settings import Classification
from suite.train import Batch, Recipe, autocast, batches, optimise, predict


@dataclass
class WhiteBoxMethod(ChannelPruningMethod):
    """Class-wise masks are learned with the network, the channels that few classes want are cut, and the rest is fine-tuned."""

    paper = Paper("Carrying out CNN Channel Pruning in a White Box", "Zhang, Lin, Lin, Chen, Chao, Wang, Wu, Tian, Ji",
                  "IEEE TNNLS", 2022, "https://arxiv.org/abs/2104.11883")
    tags = ("cnn/pruning-channel",)
    scales: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        scale: {**values, "starts": "reference", "mask_rate": 0.01, **({"mask_share": 0.3} if scale == "smoke" else {})}
        for scale, values in ChannelPruningMethod.scales.items()
    }
    standins = (
        *FineTunedMethod.standins,
        "Below scale full the masks are learned beside the reference's weights, as all pruners start from it, not from scratch.",
        "Channels go one by one until the MACs fit; the code lowers the kept share by hundredths.",
        "The average guide goes into the statistics of the normalisation behind the masks, or into the inputs of the layer that "
        "reads the channels: the function stays the same, and weights keep their size. The code scales gain and shift instead.",
        "The masks' rate is 0.01 below scale full, as they start from trained weights, and 0.1 from scratch; the length of their "
        "sums is not penalised unless asked: the paper's weight is 0.01 for VGG and 5e-4 for ResNet-50.",
        "At scale full as well, fine-tuning is 1xN's recipe, which all pruners share; the paper's is 0.1 for 300 epochs.",
        "VGG's last convolution and MobileNet-V2's stay whole; the code keeps a random part of them.",
    )
    published = tuple(
        Published(task, "top1", top1, "README", {"arch": arch, "macs": macs, "score": "votes"})
        for task, arch, macs, top1 in (
            ("cifar10", "cifar_vgg16", 0.236, 93.47), ("cifar10", "resnet56", 0.444, 93.54), ("cifar10", "resnet110", 0.34, 94.12),
            ("imagenet", "resnet50", 0.544, 75.32), ("imagenet", "resnet50", 0.365, 74.21))
    )
    claims = (
        Claim("1 against L1", "Class-wise voting is not below L1 norms under one threshold in the same layers, at half of the MACs "
              "and equal training (within half a point of noise).", "cifar10", "top1", "above",
              (Side("white_box"), Side("white_box", {"score": "l1"})), margin=-0.5, options={"macs": 0.5},
              held_equal=(("total", 0.01), ("macs", 0.02))),
        Claim("2 white box", "Silencing the channels that a class wants most hurts this class more than the others.", "cifar10",
              "note.class_drop", "above", (Side("white_box"),), bound=0.0),
    )

    score: Literal["votes", "l1"] = option("votes", "what ranks channels: the classes' votes, or L1 norms relative to their layer")
    starts: Literal["scratch", "reference"] = option(  # type: ignore[misc]
        "scratch", "whether network and masks are learned together from scratch, or from a trained network on")
    mask_share: float = option(30 / 330, "part of the budget in which masks are learned", bounds=(0.01, 0.9))
    mask_rate: float = option(0.1, "learning rate meanwhile, constant", bounds=(0, 10))
    penalty: float = option(0.0, "lambda, weight of the length of the masks' sums; the paper's is 0 to 0.01", bounds=(0, 10))
    floor: float = option(0.3, "share of every layer that stays", bounds=(0, 1))
    position: Literal["usual", "before", "after"] = option(
        "usual", "masks before the normalisation or after the activation; as usual: before in residual networks for small images")

    def __post_init__(self) -> None:
        if self.score == "l1" and self.starts == "scratch":
            raise UserError("score=l1 ranks the filters of a trained network; add starts=reference.")

    def scored(self, setting: Classification, run: Run) -> tuple[nn.Module, Mapping[str, Tensor]]:
        if self.starts == "reference":
            network = run.reference(self.arch).module
        else:
            torch.manual_seed(run.seed("weights", self.arch))
            network = build(self.arch, setting.classes, setting.shape[1])
        example = torch.zeros(1, *setting.shape)
        writers = [stream.writers[0] for stream in inner(network, example)]
        if not writers:
            raise UserError(f"'{self.arch}' has no convolution between two others, where class-wise masks go; choose another arch.")
        norms = {name: network.get_submodule(name).weight.detach().flatten(1).abs().sum(1) for name in writers}
        self.chosen(network, norms, example)  # says before the masks are trained if the MACs cannot be reached
        if self.score == "l1":
            return network, {name: norm / norm.square().mean().sqrt() for name, norm in norms.items()}
        before = isinstance(network, ResNet) if self.position == "usual" else self.position == "before"
        masked = ClassMasks(network, inner(network, example), setting.classes, before)
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

"""Lottery Jackpots: a sparse network is found in a trained one by moving the mask alone; the weights are never touched.

Zhang, Lin, Zhong, Chao, Ji: "Lottery Jackpots Exist in Pre-trained Models", IEEE TPAMI 2023. Sections 4.1 to 4.6 below are those of
the method's description. Every weight has a score that gradients reach straight through the mask; after each step a falling share
of the weights that would change sides do so, as many in as out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any, ClassVar, Literal

import torch
from suite.baselines._pruning import FineTunedMethod, Mask, recalibrate
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize

from suite.artifacts import Network
from suite.context import Run
from suite.contract import Claim, Paper, Published, Side, option
from suite.nn import Prunable, prunable
from suite.nn.selection import lowest
from suite.settings import Classification
from suite.train import Batch, Clock, Recipe, autocast, batches, steps

OURS = Side("lottery_jackpots")
EQUAL = (("total", 0.01),)


@dataclass
class LotteryJackpotsMethod(FineTunedMethod):
    """Scores on frozen weights, from the magnitude mask on, with restrained flips; unstructured zeros, run as N = 1."""

    paper = Paper("Lottery Jackpots Exist in Pre-trained Models", "Zhang, Lin, Zhong, Chao, Ji", "IEEE TPAMI", 2023,
                  "https://arxiv.org/abs/2104.08700")
    tags = ("cnn/pruning-unstructured",)
    scales: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        scale: {**values, "search_batch": values["batch"]} for scale, values in FineTunedMethod.scales.items()
    }
    standins = (
        *FineTunedMethod.standins,
        "Flips are restrained by (1 - progress)^4, as the paper has it; the released code rounds that up to 1, which is "
        "restrained=false here.",
        "The stem stays dense, as for every pruner here.",
    )
    published = tuple(
        Published("imagenet", "top1", top1, "README", {"arch": "resnet50", "sparsity": sparsity, "tuned": tuned})
        for sparsity, tuned, top1 in ((0.8, 0.0, 75.19), (0.8, 0.25, 76.66), (0.9, 0.0, 72.43), (0.9, 0.25, 74.62))
    )
    claims = (
        Claim("1 beats the magnitude mask", "With frozen weights, a mask searched from the magnitude mask on beats that mask, "
              "its statistics restored, at 90 %.", "cifar10", "top1", "above", (OURS, Side("lottery_jackpots", {"search": False})),
              options={"sparsity": 0.9}),
        Claim("2 beats a random start", "Starting from the magnitude mask beats starting from a random one after as many steps, at "
              "90 %.", "cifar10", "top1", "above", (OURS, Side("lottery_jackpots", {"start": "random"})),
              options={"sparsity": 0.9}, held_equal=EQUAL),
        Claim("3 restrained flips", "Restraining the flips is better than changing all that would change, at 90 %.", "cifar10",
              "top1", "above", (OURS, Side("lottery_jackpots", {"restrained": False})), options={"sparsity": 0.9},
              held_equal=EQUAL),
        Claim("4 rival", "Our question: with frozen weights it is not below magnitude pruning whose weights are fine-tuned, at "
              "75 % (within half a point of noise).", "cifar10", "top1", "above", (OURS, Side("magnitude")), margin=-0.5,
              options={"sparsity": 0.75}, held_equal=EQUAL),
    )

    sparsity: float = option(0.9, "share of the prunable weights that is zero", bounds=(0, 0.999))
    shares: Literal["global", "uniform"] = option("global", "layers' rates by one threshold of magnitude, or all the same")
    start: Literal["magnitude", "random"] = option("magnitude", "the mask to begin with")
    search: bool = option(True, "move the mask; else the first one stays, with its statistics restored")
    restrained: bool = option(True, "let ever fewer weights change sides, (1 - progress)^4 of those that would")
    behind: float = option(0.99, "first score of a weight that is off; one that is on has 1", bounds=(0, 1))
    search_rate: float = option(0.1, "peak learning rate of the scores", bounds=(0, 100))
    search_batch: int = option(256, "images in a step of the search", bounds=(1, 65536))
    decay: float = option(5e-4, "L2 penalty on the scores", bounds=(0, 1))
    tuned: float = option(0.0, "part of the budget in which the weights left are trained behind the search", bounds=(0, 0.9))

    def fit(self, setting: Classification, run: Run) -> Network:
        network = run.reference(self.arch).module
        layers = prunable(network, torch.zeros(1, *setting.shape))
        masks = self.masks(network, layers, run)
        if self.search:
            self.learn(network, masks, setting, run)
        else:
            recalibrate(network, setting, run, self.search_batch)
        for layer in layers:
            parametrize.remove_parametrizations(network.get_submodule(layer.name), layer.parameter)
        network.requires_grad_(True)
        if not self.tuned:
            return Network(network.cpu().eval())
        for layer, mask in zip(layers, masks, strict=True):  # 4.6
            parametrize.register_parametrization(network.get_submodule(layer.name), layer.parameter, Mask(mask.on.float()))
        self.finetune(network, setting, run)
        for layer in layers:
            parametrize.remove_parametrizations(network.get_submodule(layer.name), layer.parameter)
        return Network(network)

    def masks(self, network: nn.Module, layers: list[Prunable], run: Run) -> list[ScoredMask]:
        """4.1 and 4.2: each layer's mask, in force in `network`, whose own parameters are frozen."""
        weights = [getattr(network.get_submodule(layer.name), layer.parameter).detach() for layer in layers]
        sizes = torch.cat([weight.abs().flatten() for weight in weights])
        kept = (lowest(sizes, self.sparsity).split([weight.numel() for weight in weights]) if self.shares == "global"
                else [lowest(weight.abs(), self.sparsity) for weight in weights])
        network.requires_grad_(False)
        made = []
        for layer, weight, on in zip(layers, weights, kept, strict=True):
            first = on.view(weight.shape).bool()
            if self.start == "random":
                order = torch.randperm(weight.numel(), generator=run.generator("mask", layer.name))
                first = (order < int(on.sum())).view(weight.shape)
            made.append(ScoredMask(first, self.behind))
            parametrize.register_parametrization(network.get_submodule(layer.name), layer.parameter, made[-1])
        run.note(sparsity=1 - sum(float(mask.on.sum()) for mask in made) / len(sizes),
                 kept_by_layer={layer.name: float(mask.on.float().mean()) for layer, mask in zip(layers, made, strict=True)})
        return made

    def learn(self, network: nn.Module, masks: list[ScoredMask], setting: Classification, run: Run) -> None:
        """4.3 to 4.5: the scores alone; statistics of normalisation go on."""
        recipe = Recipe(rate=self.search_rate, weight_decay=self.decay, warmup=0.0)
        optimizer = recipe.optimizer([{"params": [mask.scores for mask in masks]}])
        size = min(self.search_batch, len(setting.train))
        network.to(run.device).train()

        def update(batch: Batch, clock: Clock) -> dict[str, Tensor | float]:
            batch = batch.to(run.device)
            with autocast(run):
                logits = network(batch.inputs)
            loss = functional.cross_entropy(logits.float(), batch.targets)
            recipe.descend(optimizer, loss, clock.progress)
            share = (1 - clock.progress) ** 4 if self.restrained else 1.0
            return {"loss": loss, "flips": float(sum(mask.flip(share) for mask in masks))}

        steps(run, "search", {"network": network, "optimizer": optimizer},
              lambda generator: batches(setting.train, size, setting.augment, generator), update, size=size,
              samples=int((1 - self.tuned) * run.budget.allowed))
        network.eval()


class ScoredMask(nn.Module):
    """Lets the weights at `on` through; the gradient of the product with the frozen weight reaches all `scores` (4.3, 4.4)."""

    on: Tensor

    def __init__(self, on: Tensor, behind: float) -> None:
        super().__init__()
        self.register_buffer("on", on)
        self.scores = nn.Parameter(torch.where(on, 1.0, behind))

    def forward(self, weight: Tensor) -> Tensor:
        return weight * (self.on + (self.scores - self.scores.detach()))

    @torch.no_grad()
    def flip(self, share: float) -> int:
        """4.5: let ceil(`share` of n) weights in and as many out, of the n that the scores want in, those farthest past the
        threshold first; their number. Among equal scores the first is wanted."""
        scores, on = self.scores.flatten(), self.on.view(-1)
        wanted = torch.zeros_like(on)
        wanted[scores.argsort(descending=True, stable=True)[: int(on.sum())]] = True
        inward, outward = (wanted & ~on).nonzero().flatten(), (on & ~wanted).nonzero().flatten()
        count = ceil(share * len(inward))
        on[inward[scores[inward].argsort(descending=True, stable=True)[:count]]] = True
        on[outward[scores[outward].argsort(stable=True)[:count]]] = False
        return count

"""Collaborative compression: channels and singular values of a layer are units of one kind, removed by their joint effect.

Li, Lin, Liu, Ye, Wang, Chao, Yang, Ma, Tian, Ji: "Towards Compact CNNs via Collaborative Compression", CVPR 2021. Sections 2.1 to
2.8 below are those of the method's description: mean gradients (2.1), the error of a layer and its units (2.2 to 2.7, in
`_units.py`), one global rate (2.5), the layers built (2.7, in `_reduced.py`), fine-tuning (2.8).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from suite.baselines._pruning import FineTunedMethod, recalibrate
from suite.baselines._reduced import Decision, Reducible
from suite.baselines._units import RATE, Units
from torch import Tensor, nn
from torch.nn import functional

from suite.artifacts import Network
from suite.context import Run
from suite.contract import Claim, Paper, Side, option
from suite.metrics import accuracy
from suite.settings import Classification
from suite.train import predict

BOTH, CHANNELS, RANKS, UNIFORM = (
    Side("collaborative_compression", options) for options in ({}, {"units": "channels"}, {"units": "ranks"}, {"split": "uniform"}))
EQUAL = (("total", 0.0), ("final", 0.0), ("macs", 0.02))


@dataclass
class CollaborativeCompressionMethod(FineTunedMethod):
    """Layers lose input channels, rank or both, each at a rate of which one number for the whole network decides."""

    paper = Paper("Towards Compact CNNs via Collaborative Compression", "Li, Lin, Liu, Ye, Wang, Chao, Yang, Ma, Tian, Ji", "CVPR",
                  2021, "https://arxiv.org/abs/2105.11228")
    tags = ("cnn/pruning-channel", "cnn/low-rank")
    scales: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        scale: {**values, **({"batch": 16, "exact": 16} if scale == "smoke" else {})}
        for scale, values in FineTunedMethod.scales.items()
    }
    standins = (
        *FineTunedMethod.standins,
        "Gradients are means over at most a fifth of the budget's samples (gradient_share), drawn at random, not over all images.",
        "The global rate is found by bisection on the MACs of the network as it would be built, filters that nobody reads gone, so "
        "that it ends at the share asked for; the code solves for the sum of the layers' own by gradient descent.",
        "Filters that nobody reads go before the decomposition, and a layer that two factors would not make cheaper stays whole.",
        "Beyond two hundred units a layer's sensitivity is measured a hundredth of them at a time; beyond 64 inputs the forward "
        "term of a channel takes the spectral part of the current weight (exact).",
        "Fine-tuned as the other pruners are: no clipping of gradients, no padding by 8.",
    )
    claims = (
        *(Claim(f"1 {what}, against {name}", f"At half of the MACs, channels and ranks together {sentence} {name} alone.",
                "cifar10", value, "above", sides, margin=margin, held_equal=EQUAL)
          for name, rival in (("channels", CHANNELS), ("ranks", RANKS))
          for what, sentence, value, sides, margin in (
              ("accuracy", "are at least as accurate, within half a point of noise, as", "top1", (BOTH, rival), -0.5),
              ("error", "change the loss less before fine-tuning, by the sum of the layers' errors, than", "note.error",
               (rival, BOTH), 0.0))),
        *(Claim(f"2 {what}", f"Rates of equal slope leave a smaller sum of the layers' errors{how} than a uniform one.", "cifar10",
                f"note.{value}", "above", (UNIFORM, BOTH), held_equal=EQUAL)
          for what, how, value in (("error", "", "error"),
                                     ("relative error", ", each relative to its largest,", "relative_error"))),
        Claim("2 accuracy", "Rates of equal slope are more accurate before fine-tuning than a uniform one.", "cifar10",
              "note.top1_before_finetuning", "above", (BOTH, UNIFORM), held_equal=EQUAL),
    )

    macs: float = option(0.5, "share of the dense MACs to cut to", bounds=(0.001, 1))
    units: Literal["both", "channels", "ranks"] = option("both", "what may go")
    gamma: float = option(0.9, "weight of what the next removal will cost", bounds=(0, 10))
    split: Literal["global", "global_per_mac", "uniform"] = option(
        "global", "rates of the layers: of equal slopes of their errors, of equal slopes per MAC, or all equal")
    exact: int = option(64, "input channels up to which a layer's forward term is exact", bounds=(0, 4096))
    gradient_share: float = option(0.2, "largest share of the budget that goes into the gradients", bounds=(0.001, 0.9))

    def fit(self, setting: Classification, run: Run) -> Network:
        network, example = run.reference(self.arch).module, torch.zeros(1, *setting.shape)
        found = Reducible(network, example)
        decision = run.once("decision", lambda: self.decide(copy.deepcopy(network), found, setting, run))
        run.note(macs_kept=found.build(network, decision, example) / found.total)
        settled = copy.deepcopy(network)
        recalibrate(settled, setting, run, self.batch)
        run.note(top1_recalibrated=accuracy(predict(settled, setting.val, setting.normalise, run), setting.val.labels))
        return self.finetune(network, setting, run)

    def decide(self, network: nn.Module, found: Reducible, setting: Classification, run: Run) -> Decision:
        """What is left of every layer, such that the built network meets the MACs."""
        slopes = self.gradients(network, tuple(found.layers), setting, run)
        units = {name: self.layer_units(network.get_submodule(name).weight, slopes[name]) for name in found.layers}  # type: ignore[arg-type]
        decision = self.search(units, found, run)
        errors = {name: units[name].error(units[name].left(reduced)) for name, reduced in decision.items()}
        run.note(
            error=sum(errors.values()), relative_error=sum(error / units[name].fit.largest for name, error in errors.items()),
            layers={name: [len(reduced.kept), reduced.rank] for name, reduced in decision.items()})
        return decision

    def layer_units(self, weight: Tensor, gradient: Tensor) -> Units:
        both = (values.detach().flatten(2).double().cpu() for values in (weight, gradient))
        return Units(*both, self.units != "ranks", self.units != "channels", self.gamma, self.exact)

    def gradients(self, network: nn.Module, names: Sequence[str], setting: Classification, run: Run) -> dict[str, Tensor]:
        """2.1: the gradients of the mean loss over training images as they are evaluated, in evaluation mode."""
        count = min(len(setting.train), max(1, int(self.gradient_share * run.budget.left)))
        order = torch.randperm(len(setting.train), generator=run.generator("gradients"))[:count]
        network.eval().requires_grad_(False).to(run.device)
        weights = {name: network.get_submodule(name).weight.requires_grad_() for name in names}  # type: ignore[operator, union-attr]
        drawn = run.generator("gradients", "images")
        for index in run.progress(order.split(self.batch), f"gradients ({count:,} samples)", total=-(-count // self.batch)):
            logits = network(setting.normalise(setting.train.batch(index, False, drawn)).to(run.device))
            loss = functional.cross_entropy(logits, setting.train.labels[index].to(run.device), reduction="sum")
            (loss / count).backward()
            run.budget.charge(len(index), delivered=False)
        return {name: weight.grad.cpu() for name, weight in weights.items()}

    def search(self, units: Mapping[str, Units], found: Reducible, run: Run) -> Decision:
        """2.5: all layers' rates follow from one number x, and x from the MACs; 2.6 says what goes at a layer's rate."""
        rates, first, last = self.rates(units, found, run)

        def decide(x: float) -> Decision:
            return {name: item.reduce(rate) for (name, item), rate in zip(units.items(), rates(x), strict=True)}

        # Without what goes with filters that nobody reads x would have to be this; so it is hardly larger, and searches stay short.
        low, high = first, last
        for _ in range(60):
            middle = (low + high) / 2
            gone = sum(layer.dense * rate for layer, rate in zip(found.layers.values(), rates(middle), strict=True))
            low, high = (middle, high) if gone < (1 - self.macs) * found.total else (low, middle)
        return found.reach(self.macs, decide, first, high if found.macs(decide(high)) <= self.macs * found.total else last)

    def rates(self, units: Mapping[str, Units], found: Reducible, run: Run) -> tuple[Callable[[float], list[float]], float, float]:
        """2.5: the layers' rates by a number, and its bounds: the logarithm of the slope a b exp(b c) of all errors (per MAC)."""
        if self.split == "uniform":
            return lambda x: [x] * len(units), 0.0, RATE
        fits = [item.fit for item in run.progress(units.values(), "sensitivity", total=len(units))]
        shares = [layer.dense if self.split == "global_per_mac" else 1 for layer in found.layers.values()]
        starts = [math.log(fit.a * fit.b / share) for fit, share in zip(fits, shares, strict=True)]

        def at(x: float) -> list[float]:
            return [min(RATE, max(0.0, (x - start) / fit.b)) for fit, start in zip(fits, starts, strict=True)]

        return at, min(starts), max(start + RATE * fit.b for start, fit in zip(starts, fits, strict=True))

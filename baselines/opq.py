"""OPQ, our derivation: how much of each layer is pruned and how finely the rest is coded follow from its weights, in one shot.

Hu, Peng, Zhu, Aly, Lin: "OPQ: Compressing Deep Neural Networks with One-shot Pruning-Quantization", AAAI 2021. The paper's formulas
could not be read; those below, 7.1 to 7.6 of the method's description, are derived from what it states: a Laplace density for every
layer's weights, a Lagrange multiplier for the least error at a given budget, one step for all channels of a layer, masks and steps
frozen before the only fine-tuning.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, e, exp, log2
from typing import Any, ClassVar, Literal

import torch
from suite.baselines._pruning import FineTunedMethod
from torch import Tensor, nn
from torch.nn.utils import parametrize

from suite.artifacts import Network
from suite.contract import Claim, Paper, Side, option
from suite.nn.selection import lowest
from suite.run import Run
from suite.settings import Classification

OURS = Side("opq")
EQUAL = (("total", 0.0),)


@dataclass
class OpqMethod(FineTunedMethod):
    """One threshold for the weights of all layers, one step for what is left, both found without data; then fine-tuning."""

    paper = Paper("OPQ: Compressing Deep Neural Networks with One-shot Pruning-Quantization", "Hu, Peng, Zhu, Aly, Lin", "AAAI",
                  2021, "https://arxiv.org/abs/2205.11141")
    tags = ("cnn/pruning-unstructured", "cnn/quantisation")
    standins: ClassVar[tuple[str, ...]] = (
        *FineTunedMethod.standins,
        "OPQ (our derivation): the paper's formulas, optimiser and epochs could not be read.",
        "All convolutions and linear layers are coded, biases and normalisation are not; the first and the last keep half of their "
        "weights at least.",
        "The kernel runs the decoded weights in float32; the bytes are those of the codes.",
    )
    claims = (
        Claim("1 pruning error", "At 90 % zeros one threshold leaves less squared error than one rate for all layers.",
              "cifar10", "note.pruning_error", "above", (Side("opq", {"pruned_by": "uniform"}), OURS),
              options={"sparsity": 0.9}),
        Claim("1 accuracy", "At 90 % zeros one threshold is more accurate than one rate after equal fine-tuning.", "cifar10",
              "top1", "above", (OURS, Side("opq", {"pruned_by": "uniform"})), options={"sparsity": 0.9}, held_equal=EQUAL),
        *(Claim(f"2 coding error, {rival}", sentence, "cifar10", "note.coding_error", "above",
                (Side("opq", {"coded_by": rival}), OURS), options={"sparsity": 0.5, "bits": 4.0})
          for rival, sentence in (
              ("uniform", "At equal bits one step for all layers leaves less squared error than equal bits for all layers."),
              ("range", "At equal bits one step leaves less squared error than as many levels between each layer's extremes."))),
    )

    sparsity: float = option(0.9, "share of the weights that is zero", bounds=(0, 0.999))
    bits: float = option(3.0, "bits of a weight that is left, on average", bounds=(1, 16))
    pruned_by: Literal["common", "uniform"] = option("common", "one threshold for all layers, or one rate")
    coded_by: Literal["common", "energy", "uniform", "range"] = option(
        "common", "one step; steps by a layer's energy; equal bits by the same density; equal levels between the extremes")
    ends: float = option(0.5, "share of the first and the last layer's weights that stays at least", bounds=(0, 1))

    def fit(self, setting: Classification, run: Run) -> Network:
        network = run.reference(self.arch).module
        layers = {name: module for name, module in network.named_modules() if isinstance(module, (nn.Conv2d, nn.Linear))}
        codes = self.codes({name: layer.weight.detach() for name, layer in layers.items()}, run)
        for name, layer in layers.items():
            parametrize.register_parametrization(layer, "weight", codes[name])
        self.finetune(network, setting, run)
        latent: Mapping[str, Any] = {name: layer.parametrizations["weight"] for name, layer in layers.items()}  # type: ignore
        coded = {name: codes[name].numbers(parts.original.detach()) for name, parts in latent.items()}
        for layer in layers.values():
            parametrize.remove_parametrizations(layer, "weight")
        rest = sum(item.numel() for item in network.parameters()) - sum(item.numel() for item in coded.values())
        rest += sum(item.numel() for item in network.buffers() if item.is_floating_point())
        bits = {name: stored_bits(numbers) for name, numbers in coded.items()}
        count = sum(numbers.numel() for numbers in coded.values())
        nominal = sum(int(codes[name].mask.sum()) * log2(2 * codes[name].levels) for name in coded)
        run.note(bits_by_layer={name: bits[name] / coded[name].numel() for name in coded},
                 rate_honest=32 * count / sum(bits.values()), rate_nominal=32 * count / nominal)
        return Network(network, stored=ceil(sum(bits.values()) / 8) + 4 * rest)

    def codes(self, weights: Mapping[str, Tensor], run: Run) -> dict[str, Code]:
        """7.2 to 7.4 for every layer, from its weights alone; what both allocations lose is noted."""
        shares = self.shares(weights)
        masks = {name: lowest(weight.abs(), 1 - shares[name]) for name, weight in weights.items()}
        steps = self.steps(weights, masks)
        made = {name: Code(masks[name], steps[name], max(1, ceil(float((weight * masks[name]).abs().max()) / steps[name] - 1e-6)))
                for name, weight in weights.items()}
        kept = {name: weight * masks[name] for name, weight in weights.items()}
        run.note(sparsity=1 - sum(float(mask.sum()) for mask in masks.values()) / sum(map(Tensor.numel, masks.values())),
                 kept_by_layer={name: float(mask.mean()) for name, mask in masks.items()},
                 pruning_error=sum(float((weight - kept[name]).square().sum()) for name, weight in weights.items()),
                 coding_error=sum(float((kept[name] - made[name](weight)).square().sum()) for name, weight in weights.items()))
        return made

    def shares(self, weights: Mapping[str, Tensor]) -> dict[str, float]:
        """7.2: what stays of each layer, exp(-beta / tau) for one beta, and no less than `ends` of the first and the last."""
        sizes = {name: weight.numel() for name, weight in weights.items()}
        scales = {name: float(weight.abs().mean()) for name, weight in weights.items()}
        least = {name: self.ends if name in (next(iter(weights)), [*weights][-1]) else 0.0 for name in weights}

        def at(beta: float) -> dict[str, float]:
            stay = {name: exp(-beta / scales[name]) if self.pruned_by == "common" else exp(-beta) for name in weights}
            return {name: max(least[name], stay[name]) for name in weights}

        wanted = (1 - self.sparsity) * sum(sizes.values())
        low, high = 0.0, 1e6  # beta; what stays falls with it
        for _ in range(200):
            middle = (low + high) / 2
            more = sum(share * sizes[name] for name, share in at(middle).items()) > wanted
            low, high = (middle, high) if more else (low, middle)
        return at(high)

    def steps(self, weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> dict[str, float]:
        """7.3: the step of each layer; a weight that is left takes about log2(2 e tau / step) bits."""
        counts = {name: float(mask.sum()) for name, mask in masks.items()}
        scales = {name: float(weight.abs().mean()) for name, weight in weights.items()}
        if self.coded_by == "uniform":
            return {name: 2 * e * scales[name] / 2**self.bits for name in weights}
        if self.coded_by == "range":
            levels = max(1, round(2 ** (self.bits - 1)))
            return {name: float((weights[name] * masks[name]).abs().max()) / levels for name in weights}
        # Of errors that are divided by a layer's energy, steps grow with its root.
        roots = {name: float((weights[name] * masks[name]).square().sum().sqrt()) if self.coded_by == "energy" else 1.0
                 for name in weights}
        total = sum(counts.values())
        logarithm = sum(count * (log2(2 * e * scales[name]) - log2(roots[name])) for name, count in counts.items()) / total
        return {name: 2 ** (logarithm - self.bits) * roots[name] for name in weights}


class Code(nn.Module):
    """7.4 and 7.5: weights as multiples of `step`, -levels to -1 and 1 to levels, 0 where the mask is; gradients go straight
    through to those that are left."""

    mask: Tensor

    def __init__(self, mask: Tensor, step: float, levels: int) -> None:
        super().__init__()
        self.register_buffer("mask", mask, persistent=False)
        self.step, self.levels = step, levels

    def numbers(self, weight: Tensor) -> Tensor:
        """The multiples, int32 in the shape of `weight`; the nearest that is not 0."""
        size = (weight.abs() / self.step).round().clamp(1, self.levels)
        return (torch.where(weight < 0, -size, size) * self.mask).int()

    def forward(self, weight: Tensor) -> Tensor:
        kept = weight * self.mask
        return kept + (self.numbers(weight.detach()) * self.step - kept.detach())


def stored_bits(numbers: Tensor) -> float:
    """7.6: bits of a layer's `numbers` as stored: entropy of those that are left, entropy of where they are, a float32 step."""
    left = numbers[numbers != 0]
    return len(left) * entropy(left) + numbers.numel() * entropy((numbers != 0).int()) + 32


def entropy(values: Tensor) -> float:
    """Bits per value, of how often each occurs."""
    shares = values.flatten().unique(return_counts=True)[1].double() / max(1, values.numel())
    return float(-(shares * shares.log2()).sum())

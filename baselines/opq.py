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
from suite.context import Run
from suite.contract import Claim, Paper, Side, option
from suite.errors import UserError
from suite.nn.selection import lowest
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
        "The kernel runs the decoded weights in float32; the bytes are those of the codes in an ideal entropy code, which is not "
        "written: other methods' bytes are packed for real.",
    )
    claims = (
        Claim("1 pruning error", "At 90 % zeros one threshold leaves less squared error than one rate for all layers.",
              "cifar10", "note.pruning_error", "above", (Side("opq", {"pruned_by": "uniform"}), OURS),
              options={"sparsity": 0.9}),
        Claim("1 accuracy", "At 90 % zeros one threshold is more accurate than one rate after equal fine-tuning.", "cifar10",
              "top1", "above", (OURS, Side("opq", {"pruned_by": "uniform"})), options={"sparsity": 0.9}, held_equal=EQUAL),
        *(Claim(f"2 coding error, {rival}", sentence, "cifar10", "note.coding_error", "above",
                (Side("opq", {"coded_by": rival}), OURS), options={"sparsity": 0.5, "bits": 4.0}, held_equal=EQUAL)
          for rival, sentence in (
              ("uniform", "At equal bits one step for all layers leaves less squared error than steps by their scales."),
              ("range", "At equal bits one step leaves less squared error than as many levels for each layer's range."))),
    )

    sparsity: float = option(0.9, "share of the weights that is zero", bounds=(0, 0.999))
    bits: float = option(3.0, "bits of a weight that is left, on average", bounds=(1, 16))
    pruned_by: Literal["common", "uniform"] = option("common", "one threshold for all layers, or one rate")
    coded_by: Literal["common", "energy", "uniform", "range"] = option(
        "common", "one step; or steps in proportion to a layer's energy, scale or largest weight, at as many bits")
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
        ends = next(iter(weights)), [*weights][-1]
        # No layer goes as a whole.
        least = {name: max(self.ends if name in ends else 0.0, 1 / size) for name, size in sizes.items()}

        def at(beta: float) -> dict[str, float]:
            stay = {name: exp(-beta / scales[name]) if self.pruned_by == "common" else exp(-beta) for name in weights}
            return {name: max(least[name], stay[name]) for name in weights}

        wanted = (1 - self.sparsity) * sum(sizes.values())
        if (held := sum(least[name] * size for name, size in sizes.items())) > wanted:
            raise UserError(f"{wanted:,.0f} weights are to stay, and the first and the last layer alone keep {held:,.0f} with "
                            f"ends={self.ends:g}; choose smaller ends or a smaller sparsity.")
        low, high = 0.0, 1e6  # beta; what stays falls with it
        for _ in range(200):
            middle = (low + high) / 2
            more = sum(share * sizes[name] for name, share in at(middle).items()) > wanted
            low, high = (middle, high) if more else (low, middle)
        return at(high)

    def steps(self, weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> dict[str, float]:
        """7.3: the step of each layer; a weight that is left takes about log2(2 e tau / step) bits.

        Other codings have steps in proportion to a layer's scale, energy or largest weight, and cost as many bits, as stored.
        """
        left = {name: weight[masks[name].bool()] for name, weight in weights.items()}
        scales = {name: float(weight.abs().mean()) for name, weight in weights.items()}
        logarithm = sum(len(left[name]) * log2(2 * e * scales[name]) for name in weights) / sum(map(len, left.values()))
        common = 2 ** (logarithm - self.bits)
        if self.coded_by == "common":
            return dict.fromkeys(weights, common)
        sizes = {"uniform": scales, "energy": {name: float(item.norm()) for name, item in left.items()},
                 "range": {name: float(item.abs().max()) for name, item in left.items()}}[self.coded_by]

        def cost(steps: Mapping[str, float]) -> float:
            return sum(len(item) * entropy(multiples(item, steps[name])) for name, item in left.items())

        wanted, low, high = cost(dict.fromkeys(weights, common)), -40.0, 40.0  # binary logarithms of the factor
        for _ in range(40):
            middle = (low + high) / 2
            dear = cost({name: 2**middle * size for name, size in sizes.items()}) > wanted
            low, high = (middle, high) if dear else (low, middle)
        return {name: 2**high * size for name, size in sizes.items()}


def multiples(weight: Tensor, step: float) -> Tensor:
    """The multiple of `step` that is nearest to each weight, and not 0."""
    size = (weight.abs() / step).round().clamp(min=1)
    return torch.where(weight < 0, -size, size)


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
        return (multiples(weight, self.step).clamp(-self.levels, self.levels) * self.mask).int()

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

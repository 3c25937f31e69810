"""SCOP: a filter goes if the network does as well with a stand-in for its feature map that knows nothing of the image.

Tang, Wang, Xu, Tao, Xu, Xu, Xu: "SCOP: Scientific Control for Reliable Neural Network Pruning", NeurIPS 2020. Sections 6.1 to 6.5
below are those of the method's description. Knockoff images go through the network beside the real ones; every filter's output on
the real image is mixed with that on the knockoff, by gates that alone are trained.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from suite.baselines._channels import ChannelPruningMethod, norms_behind
from suite.baselines._dcgan import Generator, train_generator
from suite.baselines._pruning import FineTunedMethod
from torch import Tensor, nn
from torch.nn import functional

from suite.context import Run
from suite.contract import Claim, Paper, Published, Side, option
from suite.errors import UserError
from suite.nn import prunable
from suite.settings import Classification
from suite.train import Batch, Clock, Recipe, autocast, batches, steps

OURS = Side("scop")
EQUAL = (("total", 0.01),)


@dataclass
class ScopMethod(ChannelPruningMethod):
    """Gates between real and knockoff features are trained on frozen weights; the filters of the lowest scores are cut."""

    paper = Paper("SCOP: Scientific Control for Reliable Neural Network Pruning", "Tang, Wang, Xu, Tao, Xu, Xu, Xu",
                  "NeurIPS", 2020, "https://arxiv.org/abs/2010.10732")
    tags = ("cnn/pruning-channel",)
    scales: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        scale: {**values, "knockoff": "permuted", "gate_batch": 2 if scale == "smoke" else 64}
        for scale, values in ChannelPruningMethod.scales.items()
    }
    standins = (
        *FineTunedMethod.standins,
        "Below scale full a knockoff is another training image, drawn at random; knockoff=generator trains a small DCGAN for it.",
        "What several layers add up loses the channels of the lowest sum of scores, so that the cut is real; the released code "
        "removes each layer's own filters and puts zeros in their place. Downsampling layers have a say in that sum.",
        "Rankings by the scale or by L1 cost no gates, and are fine-tuned that much longer: totals are equal. Of gates without "
        "knockoffs the normalisation behind them takes most away, so that score=gate is close to the scale's ranking.",
        "Gates are trained with 64 real images a step below scale full, the paper's 512 at full; there fine-tuning is 1xN's, "
        "which all pruners share, not 0.2 for 120 epochs. The generator is a DCGAN for large images as well.",
        "A generator's images are normalised as the data are; the released code leaves them between -1 and 1.",
        "Statistics of normalisation are not restored before fine-tuning, as for no other pruner; what they would give is noted.",
    )
    published = tuple(
        Published("imagenet", "top1", 100 - error, "README, the paper's ImageNet table",
                  {"arch": arch, "macs": macs, "score": "scop"})
        for arch, macs, error in (("resnet18", 0.612, 30.82), ("resnet18", 0.55, 31.38),
                                  ("resnet50", 0.547, 24.05), ("resnet50", 0.454, 24.74))
    )
    claims = (
        *(Claim(f"1 {when} against {rival}", sentence, "cifar10", value, "above", (OURS, Side("scop", {"score": rival})),
                margin=margin, options={"macs": 0.5}, held_equal=EQUAL)
          for rival in ("gamma", "l1")
          for when, sentence, value, margin in (
              ("before fine-tuning", f"Statistics restored, more accuracy is left than by {rival}'s ranking at half of the MACs.",
               "note.top1_recalibrated", 0.0),
              ("after fine-tuning", f"Nor is it below {rival}'s after as much training in all (within half a point of noise).",
               "top1", -0.5))),
        Claim("2 the control", "Gates trained without knockoffs keep less accuracy, statistics restored: the control does it.",
              "cifar10", "note.top1_recalibrated", "above", (OURS, Side("scop", {"score": "gate"})), options={"macs": 0.5},
              held_equal=EQUAL),
    )

    score: Literal["scop", "gate", "gamma", "l1"] = option(
        "scop", "what ranks filters: the control; gates without knockoffs; the normalisation's scale; the L1 norm")
    knockoff: Literal["generator", "permuted"] = option("generator", "stand-ins: a generator's images, or other training images")
    gate_share: float = option(20 / 140, "part of the budget in which gates are trained, both halves counted", bounds=(0.01, 0.9))
    gate_rate: float = option(0.004, "learning rate of the gates", bounds=(0, 10))
    gate_batch: int = option(512, "real images in a step of the gates", bounds=(1, 65536))
    generator_share: float = option(0.2, "part of the budget in which a generator is trained", bounds=(0.01, 0.9))

    def __post_init__(self) -> None:
        if self.knockoff == "generator" and self.gate_share + self.generator_share >= 1:
            raise UserError(f"gate_share={self.gate_share:g} and generator_share={self.generator_share:g} leave nothing to "
                            "fine-tune with; make one smaller.")

    def importance(self, network: nn.Module, setting: Classification, run: Run) -> Mapping[str, Tensor]:
        """6.4: |gamma| (2 b - 1) of each filter."""
        norms = norms_behind(network)
        example = torch.zeros(1, *setting.shape)
        layers = [item.name for item in prunable(network, example) if item.stream and item.name in norms]
        if not layers:
            raise UserError(f"'{self.arch}' has no convolution with a batch normalisation behind it, where gates go; choose "
                            "another arch.")
        equal = {name: torch.ones(network.get_submodule(name).weight.shape[0]) for name in layers}
        self.chosen(network, equal, example)  # says before gates are trained if the MACs cannot be reached
        if self.score == "l1":
            return {name: network.get_submodule(name).weight.detach().flatten(1).abs().sum(1) for name in layers}
        scales = {name: network.get_submodule(norms[name]).weight.detach().abs() for name in layers}
        if self.score == "gamma":
            return scales
        gates = Gates(network, layers)
        self.learn(gates, setting, run)
        preferred = {name: gate.detach().cpu() for name, gate in zip(layers, gates.gates, strict=True)}
        run.note(gates_mean=float(torch.cat(list(preferred.values())).mean()))
        return {name: scales[name] * (gate if self.score == "gate" else 2 * gate - 1) for name, gate in preferred.items()}

    def learn(self, gates: Gates, setting: Classification, run: Run) -> None:
        """6.3: the gates alone, between 0 and 1."""
        recipe = Recipe(rate=self.gate_rate, weight_decay=0.0, warmup=0.0, schedule="constant", adam=True, betas=(0.5, 0.9))
        size, doubled = min(self.gate_batch, len(setting.train)), self.score == "scop"
        stand_in = self.knockoffs(setting, run) if doubled else None
        gates.to(run.device).train()
        gates.network.requires_grad_(False)
        optimizer = recipe.optimizer([{"params": list(gates.gates)}])

        def update(batch: Batch, clock: Clock) -> dict[str, Tensor]:
            real, *others = (item.to(run.device) for item in (batch.inputs if doubled else (batch.inputs,)))
            with autocast(run):
                logits = gates(real, *others)
            loss = functional.cross_entropy(logits.float(), batch.targets.to(run.device))
            recipe.descend(optimizer, loss, clock.progress)
            gates.clip()
            return {"loss": loss}

        def epoch_of(generator: torch.Generator) -> Iterator[Callable[[], Batch]]:
            for call in batches(setting.train, size, setting.augment, generator):
                yield partial(paired, call, stand_in, generator) if stand_in else call

        steps(run, "gates", {"gates": gates, "optimizer": optimizer}, epoch_of, update, size=size * (1 + doubled),
              samples=int(self.gate_share * run.budget.allowed))

    def knockoffs(self, setting: Classification, run: Run) -> Knockoff:
        """6.1: normalised images (N, C, H, W) that are independent of the real ones and of their labels."""
        if self.knockoff == "permuted":
            def another(count: int, generator: torch.Generator) -> Tensor:
                rows = torch.randint(len(setting.train), (count,), generator=generator)
                return setting.augment(setting.train.batch(rows, True, generator), generator)

            return another
        made = Generator(setting.shape)
        train_generator(made, setting.train, run, samples=int(self.generator_share * run.budget.allowed),
                        batch=min(64, self.gate_batch))

        def imagined(count: int, generator: torch.Generator) -> Tensor:
            with torch.no_grad():
                return setting.normalise(made.images(count, generator).cpu())

        return imagined


Knockoff = Callable[[int, torch.Generator], Tensor]


def paired(call: Callable[[], Batch], stand_in: Knockoff, generator: torch.Generator) -> Batch:
    """A batch whose inputs are the real images and as many knockoffs."""
    batch = call()
    return batch._replace(inputs=(batch.inputs, stand_in(len(batch.targets), generator)))


class Gates(nn.Module):
    """6.2: a network in which the outputs a of `layers` on real images become b a + (1 - b) a~, a~ being those on the knockoffs.

    Called with real images (N, C, H, W) and knockoffs of the same shape, it gives the real half's logits. Without knockoffs the
    real half's become b a. b (Co,) are the `gates`, 0.5 at first.
    """

    def __init__(self, network: nn.Module, layers: list[str]) -> None:
        super().__init__()
        self.network, self.layers = network, layers
        widths = [network.get_submodule(name).weight.shape[0] for name in layers]
        self.gates = nn.ParameterList(torch.full((width,), 0.5) for width in widths)

    def forward(self, real: Tensor, knockoff: Tensor | None = None) -> Tensor:
        with self.attached(knockoff is not None):
            return self.network(real if knockoff is None else torch.cat([real, knockoff]))[: len(real)]

    @contextmanager
    def attached(self, doubled: bool) -> Iterator[None]:
        with ExitStack() as hooks:
            for name, gate in zip(self.layers, self.gates, strict=True):
                layer = self.network.get_submodule(name)
                hooks.callback(layer.register_forward_hook(partial(_mixed, gate, doubled)).remove)
            yield

    @torch.no_grad()
    def clip(self) -> None:
        for gate in self.gates:
            gate.clamp_(0, 1)


def _mixed(gate: Tensor, doubled: bool, layer: nn.Module, inputs: Any, output: Tensor) -> Tensor:
    gate = gate.to(output.dtype).view(1, -1, 1, 1)
    if not doubled:
        return gate * output
    real, knockoff = output.chunk(2)
    return torch.cat([gate * real + (1 - gate) * knockoff, knockoff])

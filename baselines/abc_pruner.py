"""ABCPruner: how many channels each layer keeps is searched by a bee colony; which ones hardly matters.

Lin, Ji, Zhang, Zhang, Wu, Tian: "Channel Pruning via Automatic Structure Search", IJCAI 2020. Sections 5.1 to 5.4 below are those
of the method's description. A candidate inherits random filters, is trained for a moment and judged on `val`; the best goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, count, islice
from random import Random
from typing import Any, ClassVar, Literal

import torch
from suite.baselines._channels import ChannelPruningMethod
from suite.baselines._colony import Code, Colony, Space
from suite.baselines._pruning import FineTunedMethod
from suite.baselines._structures import TENTHS, Structures
from torch import nn
from torch.nn import functional

from suite.artifacts import Network
from suite.context import Run
from suite.contract import Claim, Paper, Published, Side, option
from suite.errors import UserError
from suite.metrics import accuracy
from suite.settings import Classification
from suite.train import autocast, batches, predict

TOLERANCE = 0.01  # of the dense MACs, below what is wanted
UNSETTLED = 0.01  # what the statistics before a candidate's training still count for after it
OURS = Side("abc_pruner")
EQUAL = (("total", 0.01), ("final", 0.05), ("macs", 0.02))


@dataclass
class AbcPrunerMethod(FineTunedMethod):
    """Candidates are trained side by side on as many threads as the run has, one each, with the same images in the same order."""

    paper = Paper("Channel Pruning via Automatic Structure Search", "Lin, Ji, Zhang, Zhang, Wu, Tian", "IJCAI", 2020,
                  "https://arxiv.org/abs/2001.08565")
    tags = ("cnn/pruning-channel", "cnn/search")
    scales: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        scale: {**values, **search}
        for (scale, values), search in zip(ChannelPruningMethod.scales.items(), (
            {"size": 2, "cycles": 1, "search_share": 0.75}, {"size": 5, "cycles": 2}, {}), strict=True)
    }
    standins = (
        *FineTunedMethod.standins,
        "The search is half of the budget that all pruners share, and a candidate sees less than an epoch; the paper searches for "
        "420 epochs and fine-tunes for 150 more. All pruners are fine-tuned by 1xN's recipe, at scale full too.",
        "Candidates are judged on val; the released code judges them, and the epochs of fine-tuning, on test images.",
        "Codes are mended by random steps until their MACs are macs or up to a hundredth less, so that structures compete at equal "
        "cost; with macs=0 alpha alone bounds them, as in the paper.",
        "A bee that comes upon a known code moves again; in the released code it is judged a second time.",
        "Candidates are trained without dropout.",
        "All bees of a phase leave at once; the released code lets the next see what the one before found. Its last layer, and "
        "alpha in a scout's code, are out of reach there by an index too small; here they are not.",
        "Random filters are drawn once for a run: a structure of more channels has those of one with fewer.",
        "Candidates' new statistics follow batches fast enough to have forgotten 99 % of where they began.",
    )
    published = tuple(
        Published(task, "top1", top1, "README", {"arch": arch, "macs": macs, "search": "colony", "filters": "random"})
        for task, arch, macs, top1 in (
            ("cifar10", "cifar_vgg16", 0.2632, 93.08), ("cifar10", "resnet56", 0.4587, 93.23),
            ("cifar10", "resnet110", 0.3496, 93.58), ("imagenet", "resnet18", 0.5512, 67.28),
            ("imagenet", "resnet50", 0.4339, 73.516), ("imagenet", "resnet50", 0.3132, 72.582))
    )
    claims = (
        *(Claim(name, sentence, "cifar10", "top1", "above", (OURS, Side("abc_pruner", {"search": rival})), options={"macs": 0.5},
                held_equal=EQUAL if rival == "random" else (EQUAL[0], EQUAL[2]), least_scale="long")
          for name, rival, sentence in (
              ("1 beats random structures", "random", "Its structure beats the best of as many random ones of equal MACs."),
              ("1 beats uniform width", "uniform", "It beats uniform width of equal MACs, which trains on what search costs."))),
        Claim("2 which filters", "In one structure, filters of large L1 norms and random ones end within half a point.", "cifar10",
              "top1", "within", (Side("abc_pruner", {"filters": "l1"}), OURS), margin=0.5,
              options={"macs": 0.5, "search": "uniform"}, held_equal=EQUAL),
    )

    macs: float = option(0.5, "share of the dense MACs that structures have, or up to a hundredth less; 0: bounded by alpha alone",
                         bounds=(0, 1))
    alpha: int = option(7, "most tenths of its channels that a layer may keep", bounds=(1, TENTHS))
    search: Literal["colony", "random", "uniform"] = option(
        "colony", "who finds the structure: bees; the best of as many random ones; equal shares in all layers, without a search")
    filters: Literal["random", "l1"] = option("random", "which filters a structure inherits")
    size: int = option(10, "sources of the colony", bounds=(2, 1000))
    cycles: int = option(10, "rounds of employed bees, onlookers and a scout", bounds=(1, 1000))
    limit: int = option(5, "moves in vain after which a source is left", bounds=(1, 1000))
    search_share: float = option(0.5, "part of the budget in which candidates are trained", bounds=(0.01, 0.99))

    @property
    def candidates(self) -> int:
        """Of a search, at most."""
        return self.size + self.cycles * (2 * self.size + 1)

    def fit(self, setting: Classification, run: Run) -> Network:
        order = None if self.filters == "l1" else run.generator("filters")
        found = Structures(run.reference(self.arch).module, torch.zeros(1, *setting.shape), order)
        if self.search == "uniform":
            share = self.macs or found.share((self.alpha,) * len(found.groups))
            network, kept = found.uniform(share)
            run.note(macs_kept=kept)
            return self.finetune(network, setting, run)
        colony, samples = self.searched(found, setting, run), self.samples(run)
        code, network = colony.best  # type: ignore[misc]
        # Backward costs twice what forward does.
        searched = sum(map(found.macs, colony.fitness)) * (3 * samples + len(setting.val))
        run.budget.charge(samples)
        run.budget.charge((len(colony.fitness) - 1) * samples, delivered=False)
        run.note(candidates=len(colony.fitness), tenths=list(map(float, code)), top1_of_candidate=colony.fitness[code],
                 search_macs=searched, search_flops=2 * searched, macs_kept=found.share(code))
        return self.finetune(network, setting, run)

    def samples(self, run: Run) -> int:
        """That a candidate is trained on: whole batches, or less than one."""
        samples = int(self.search_share * run.budget.allowed) // self.candidates
        return samples - samples % self.batch if samples > self.batch else samples

    def searched(self, found: Structures, setting: Classification, run: Run) -> Colony:
        """5.3, a phase at a time: what a kill interrupts is at most one cycle."""
        least, most = (found.share((tenths,) * len(found.groups)) for tenths in (1, self.alpha))
        if self.macs and not least <= self.macs <= most + TOLERANCE:
            raise UserError(f"with alpha={self.alpha} structures have {least:.3f} to {most:.3f} of the MACs, and "
                            f"macs={self.macs:g} is wanted; choose another alpha or share, or macs=0, bounded by alpha alone.")
        if not self.samples(run):
            raise UserError(f"{self.candidates} candidates share {self.search_share * run.budget.allowed:.0f} images, less than "
                            "one each; choose a smaller size, fewer cycles, a larger search_share, or a larger --scale.")
        target = self.macs - TOLERANCE / 2 if self.macs else None
        space = Space(len(found.groups), self.alpha, found.share, target, TOLERANCE / 2)
        colony, judge = Colony(Random(run.seed("colony"))), partial(self.judge, found, setting, run)

        def phase(name: str, function: Callable[[Colony], None]) -> None:
            nonlocal colony

            def done() -> Colony:
                function(colony)
                return colony

            colony = run.once(name, done)

        if self.search == "random":
            for number in range(0, self.candidates, self.size):
                drawn = min(self.size, self.candidates - number)
                phase(f"draws{number}", lambda colony, drawn=drawn: colony.look(  # type: ignore[misc]
                    [space.draw(colony.random) for _ in range(drawn)], judge))
            return colony
        phase("sources", lambda colony: colony.settle(space, self.size, judge))
        for number in range(self.cycles):
            phase(f"cycle{number}", lambda colony: colony.cycle(space, self.limit, judge))
        return colony

    def judge(self, found: Structures, setting: Classification, run: Run, codes: Sequence[Code]) -> list[tuple[float, nn.Module]]:
        """Accuracy on `val` and the trained network of each code, side by side on the run's threads, one for each."""
        threads = torch.get_num_threads()
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as workers:
            tried = workers.map(lambda code: self.tried(found.build(code), setting, run), codes)
            judged = list(run.progress(tried, "candidates", total=len(codes)))
        torch.set_num_threads(threads)
        return judged

    def tried(self, network: nn.Module, setting: Classification, run: Run) -> tuple[float, nn.Module]:
        """5.2: trained for a moment, on the same images in the same order as all others."""
        samples, recipe, quiet = self.samples(run), self.recipe(), replace(run, report=None)
        size = min(self.batch, samples)
        steps = samples // size
        norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
        usual = [norm.momentum for norm in norms]
        for norm in norms:
            norm.momentum = 1 - UNSETTLED ** (1 / steps)
        drops = {module: module.p for module in network.modules() if isinstance(module, nn.Dropout)}
        for module in drops:
            module.p = 0.0  # its random numbers would be those of all threads
        optimizer, generator = recipe.optimizer(network), run.generator("candidate")
        network.train().to(device=run.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        epochs = (batches(setting.train, size, setting.augment, generator) for _ in count())
        for step, call in enumerate(quiet.progress(islice(chain.from_iterable(epochs), steps), "candidate"), 1):
            batch = call().to(run.device)
            with autocast(quiet):
                logits = network(batch.inputs.contiguous(memory_format=torch.channels_last))
            recipe.descend(optimizer, functional.cross_entropy(logits.float(), batch.targets), step / steps)
        for norm, momentum in zip(norms, usual, strict=True):
            norm.momentum = momentum
        for module, share in drops.items():
            module.p = share
        return accuracy(predict(network, setting.val, setting.normalise, quiet), setting.val.labels), network.cpu()

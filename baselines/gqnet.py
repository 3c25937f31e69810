"""GQNet: few-shot segmentation guided by regions of the query that were learned from unlabelled pictures, globally and locally.

Liu, Wu, Ding, Liu, Lin, Lin, Zhou: "Few-Shot Segmentation with Global and Local Contrastive Learning", arXiv 2108.05293. A prior
extractor learns by contrast of whole pictures and of superpixels; clusters of its places are the predetermined priors; a query's
places belong to them in prior region maps, found without looking at the support; these maps then meet the support: regions that
are like its prototype guide the segmentation. The network is PFENet (`_fewshot.py`), the contrast is in `_contrastive.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from suite.baselines._contrastive import Contrast, Superpixels, train_contrast
from suite.baselines._fewshot import Dilated, EpisodeNetwork, Frozen, PriorView, spread, train_episodes
from torch import Generator, Tensor, nn
from torch.nn import functional

from suite.artifacts import EpisodeSegmenter
from suite.context import Run
from suite.contract import Claim, Method, Needed, Paper, Side, option
from suite.errors import UserError
from suite.nn import build
from suite.nn.weights import load_weights, read_weights
from suite.settings import FewShotSegmentation
from suite.train import Recipe

PLACES = 40_000  # of all pictures' maps, drawn for the clusters
ROUNDS = 30
PARTS: Mapping[str, tuple[str, ...]] = {"both": ("whole", "local"), "global": ("whole",), "local": ("local",), "none": ()}


@dataclass
class GqnetMethod(Method):
    """PFENet with a map of prior regions as further guidance; with ``prior=none`` it is PFENet."""

    paper = Paper("Few-Shot Segmentation with Global and Local Contrastive Learning", "Liu, Wu, Ding, Liu, Lin, Lin, Zhou", "arXiv",
                  2021, "https://arxiv.org/abs/2108.05293")
    tags = ("few-shot-segmentation", "self-supervised", "contrastive")
    takes = ("FewShotSegmentation",)
    gives = "EpisodeSegmenter"
    scales: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "smoke": {"arch": "slim_resnet10", "stride": 4, "width": 8, "centres": 4, "queue": 16, "segments": 9, "momentum": 0.9,
                  "batch": 4, "rate": 1e-3, "adam": True, "prior_rate": 1e-3, "prior_batch": 8},
        "short": {"arch": "slim_resnet10", "stride": 8, "width": 64, "centres": 32, "queue": 2048, "segments": 36, "momentum": 0.99,
                  "batch": 8, "rate": 3e-3, "adam": True, "dropout": 0.1, "foreground": 3.0, "prior_rate": 1e-3, "prior_batch": 32},
        "long": {"arch": "narrow_resnet10", "stride": 8, "width": 128, "queue": 8192, "segments": 36, "momentum": 0.996, "batch": 8,
                 "rate": 1e-3, "adam": True, "dropout": 0.1, "foreground": 3.0, "prior_rate": 1e-3, "prior_batch": 32},
    }
    standins = (
        "GQNet-style: neither the paper's code nor its tables were to be had. The contrast is MoCo v2's, the priors are centres of "
        "spherical k-means, and the interaction weighs each region by the cosine of its mean with the support's prototype.",
        "A place's vector is the extractor's before projection, less the mean of all places.",
        "Backbone and extractor begin from the suite's embedded photographs, not from ImageNet, unless weights=FILE gives such.",
        "The backbone's normalisation stays in evaluation mode; PFENet's code lets its statistics drift.",
        "Training pictures vary in size by a tenth and are mirrored; neither rotation nor blur. An ordinary stem, not a deep one. "
        "SGD has Nesterov's momentum.",
        "Pictures for the prior are those of the training episodes; objects of tested classes are in them as background.",
        "A picture for the prior is charged as one sample, though two views of it go through two encoders, and those of an episode "
        "through a frozen backbone: equal budgets are equal samples, not equal work.",
        "Below full Adam at one rate with warm-up, narrower networks, less dropout, shorter queues, and pixels of the class "
        "count three times in the loss.",
    )
    claims = tuple(
        Claim(name, sentence, "fewshot_segmentation", "miou", "above", sides, held_equal=held)
        for name, sentence, sides, held in (
            ("beats no prior", "Prior regions learned from unlabelled pictures make unseen classes easier to segment.",
             (Side("gqnet", {"prior": "both"}), Side("gqnet", {"prior": "none", "share": 0.0})), (("total", 0.01),)),
            ("beats no prior after as many episodes", "So they do where the network without them is trained on as many episodes.",
             (Side("gqnet", {"prior": "both"}), Side("gqnet", {"prior": "none"})), ()),
            ("beats global only", "A prior learned globally and locally is better than one learned globally.",
             (Side("gqnet", {"prior": "both"}), Side("gqnet", {"prior": "global"})), (("total", 0.01),)),
        )
    )

    prior: str = option("both", "what the prior extractor learns by: whole pictures and patches, one of them, or no prior at all",
                        choices=tuple(PARTS))
    arch: str = option("resnet50", "backbone and prior extractor",
                       choices=("resnet50", "resnet101", "resnet18", "narrow_resnet10", "slim_resnet10"))
    weights: str = option("", "a state-dict of the backbone as a classifier, instead of the recorded one")
    stride: int = option(8, "reduction of the maps", choices=(4, 8))
    width: int = option(256, "channels of the reduced maps", bounds=(1, 4096))
    dropout: float = option(0.5, "share of the reduced maps' channels left out in training", bounds=(0, 0.95))
    foreground: float = option(1.0, "how often a pixel of the class counts in the loss", bounds=(0.01, 100))
    rate: float = option(0.025, "peak learning rate of the episodes", bounds=(0, 1))  # PFENet's code uses ten times base_lr
    batch: int = option(4, "episodes in a step", bounds=(1, 4096))
    adam: bool = option(False, "Adam instead of SGD, for both trainings")
    share: float = option(0.3, "part of the budget that is the prior's; without a prior it is not spent", bounds=(0, 0.95))
    prior_rate: float = option(0.03, "peak learning rate of the prior", bounds=(0, 1))
    prior_batch: int = option(256, "pictures in a step of the prior", bounds=(2, 65536))
    momentum: float = option(0.999, "of the extractor's running average", bounds=(0, 1))
    queue: int = option(65_536, "keys of earlier batches as negatives", bounds=(1, 10**7))
    temperature: float = option(0.2, "of the contrast and of the region maps", bounds=(0.01, 10))
    segments: int = option(36, "superpixels in a picture, about", bounds=(2, 254))
    centres: int = option(50, "priors, centres of clusters", bounds=(2, 4096))

    def __post_init__(self) -> None:
        if PARTS[self.prior] and not self.share:
            raise UserError(f"share=0 leaves nothing of the budget to learn prior={self.prior} with; type prior=none, or a larger "
                            "share.")

    def needs(self) -> Mapping[str, Needed]:
        return {} if self.weights else {"backbone": Needed("imagenet", "plain", {"arch": self.arch})}

    def fit(self, setting: FewShotSegmentation, run: Run) -> EpisodeSegmenter:
        torch.manual_seed(run.seed("weights", self.arch))
        samples = int(self.share * run.budget.allowed)
        guide = self.regions(setting, run, samples) if PARTS[self.prior] else None
        backbone = Frozen(self.classifier(run), self.stride)
        network = EpisodeNetwork(backbone, self.width, setting.shots, setting.size, self.stride, guide, self.dropout,
                                 self.foreground)
        recipe = Recipe(rate=self.rate, batch=self.batch, weight_decay=0.0 if self.adam else 1e-4,
                        warmup=0.05 if self.adam else 0.0, schedule="poly", adam=self.adam, longest=10.0)
        left = run.budget.left - (0 if guide else samples)
        train_episodes(network, setting, run, recipe, left)
        return EpisodeSegmenter(network.eval(), PriorView(network).eval())

    def classifier(self, run: Run) -> nn.Module:
        """The pre-trained one. UserError for a file that does not fit."""
        if not self.weights:
            return run.reference("backbone").module
        rows = [len(values) for values in read_weights(self.weights).values() if values.dim() == 2]
        network = build(self.arch, rows[-1] if rows else 1, 64)
        load_weights(network, self.weights)
        return network

    def regions(self, setting: FewShotSegmentation, run: Run, samples: int) -> Regions:
        """The prior extractor, trained on unlabelled pictures, with the centres of its places (stages A and B)."""
        extractor = Dilated(self.classifier(run), self.stride)
        contrast = Contrast(extractor, extractor.widths[-1], parts=PARTS[self.prior], length=self.queue, momentum=self.momentum,
                            temperature=self.temperature)
        recipe = Recipe(rate=self.prior_rate, batch=self.prior_batch, weight_decay=0.0 if self.adam else 1e-4, warmup=0.05,
                        adam=self.adam, longest=10.0)
        patches = Superpixels(setting.unlabelled, self.segments)
        train_contrast(contrast, setting.unlabelled, patches, run, normalise=setting.normalise, recipe=recipe, samples=samples)
        return Regions(extractor, *clusters(extractor, setting, run, self.centres), self.temperature)


class Regions(nn.Module):
    """Prior region maps A_k(p) = softmax over k of <f(p), c_k> / t, and their interaction with the support (stage C).

    f are the extractor's places less their `mean` (D,), as unit vectors, c_k the `centres` (K, D).
    """

    mean: Tensor

    def __init__(self, extractor: nn.Module, mean: Tensor, centres: Tensor, temperature: float) -> None:
        super().__init__()
        self.extractor = extractor
        self.register_buffer("mean", mean.view(1, -1, 1, 1))
        self.likeness = nn.Conv2d(centres.shape[1], len(centres), 1, bias=False)
        self.likeness.weight.data = (centres / temperature)[:, :, None, None].clone()
        self.requires_grad_(False)

    def train(self, mode: bool = True) -> Regions:
        return super().train(False)

    def maps(self, query: Tensor) -> Tensor:
        """(N, K, h, w), at each place 1 together."""
        return self.likeness(functional.normalize(self.extractor(query) - self.mean, dim=1)).softmax(1)

    def forward(self, query: Tensor, features: Tensor, prototype: Tensor) -> Tensor:
        """M = sum of w_k A_k of 0 to 1, (N, 1, h, w): w_k is the cosine of the `prototype` (N, C, 1, 1) and of the region's mean
        of the query's `features` (N, C, h, w)."""
        maps = self.maps(query)
        flat = maps.flatten(2)
        means = flat @ features.flatten(2).transpose(1, 2) / flat.sum(2, keepdim=True).clamp_min(1e-6)  # r_k, (N, K, C)
        likeness = functional.cosine_similarity(means, prototype.flatten(1)[:, None], dim=2)  # w_k, (N, K)
        return spread((likeness[:, :, None, None] * maps).sum(1, keepdim=True))


@torch.inference_mode()
def clusters(extractor: nn.Module, setting: FewShotSegmentation, run: Run, count: int) -> tuple[Tensor, Tensor]:
    """The mean (D,) of the places of all unlabelled pictures' maps, and `count` centres (K, D) by spherical k-means."""
    pictures, generator = setting.unlabelled, run.generator("centres")
    each = max(1, PLACES // len(pictures))
    found = []
    extractor.to(run.device).eval()
    parts = torch.arange(len(pictures)).split(32)
    for rows in run.progress(parts, "places", total=len(parts)):
        maps = extractor(setting.normalise(pictures.batch(rows, False, generator)).to(run.device)).float().cpu().flatten(2)
        found += [item[:, torch.randperm(item.shape[1], generator=generator)[:each]].T for item in maps]
    places = torch.cat(found)
    if len(places) < count:
        raise UserError(f"{len(pictures)} unlabelled pictures have {len(places)} places for {count} centres; type a number of "
                        "centres up to that.")
    mean = places.mean(0)
    return mean.clone(), spherical(functional.normalize(places - mean, dim=1), count, generator).clone()


def spherical(places: Tensor, count: int, generator: Generator) -> Tensor:
    """Centres (K, D), unit vectors like `places` (N, D): each the direction of the sum of those to which it is the nearest.

    It begins with places far from one another (k-means++); a centre without any begins again at the place farthest from its own.
    """
    from sklearn.cluster import kmeans_plusplus

    seed = int(torch.randint(2**31, (), generator=generator))
    centres = places[torch.from_numpy(kmeans_plusplus(places.numpy(), count, random_state=seed)[1]).long()]
    for _ in range(ROUNDS):
        cosine, nearest = (places @ centres.T).max(1)
        sums = torch.zeros_like(centres).index_add_(0, nearest, places)
        empty = torch.bincount(nearest, minlength=len(centres)) == 0
        sums[empty] = places[cosine.argsort()[: int(empty.sum())]]
        centres = functional.normalize(sums, dim=1)
    return centres

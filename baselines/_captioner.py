"""What the captioning methods share: options, training by cross-entropy and then by CIDEr-D, and how features become tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from suite.baselines._caption_layers import Memory
from suite.baselines._caption_network import END, PAD, PLACES, SPECIAL, START, UNKNOWN, CaptionNetwork, search
from torch import Generator, Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from suite.artifacts import Captioner
from suite.context import Run
from suite.contract import Method, Skip, option
from suite.settings import CaptionedFeatures, Captioning, FeatureBatch
from suite.train import Recipe
from suite.train.batches import Epoch
from suite.train.loop import Clock, optimise, steps


@dataclass
class CaptionMethod(Method):
    """A Transformer that learns words, and in the last `critical` share of the budget CIDEr-D (Rennie et al., CVPR 2017)."""

    tags: ClassVar[tuple[str, ...]] = ("captions", "transformer")
    takes: ClassVar[tuple[str, ...]] = ("Captioning",)
    gives: ClassVar[str] = "Captioner"
    scales: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "smoke": {"width": 16, "heads": 2, "hidden": 32, "layers": 1, "batch": 8, "critical_batch": 4, "beams": 2, "rate": 1e-3},
        "short": {"width": 128, "heads": 4, "hidden": 256, "layers": 2, "critical": 0.15, "rate": 1e-3, "critical_rate": 5e-5},
        "long": {"width": 128, "heads": 4, "hidden": 512, "layers": 3, "critical": 0.25, "rate": 1e-3, "critical_rate": 5e-5},
    }
    standins: ClassVar[tuple[str, ...]] = (
        "One warm-up and one cosine instead of steps by epoch, no early stop: the weights are those after the last step.",
        "Each sublayer has one LayerNorm behind its residual; the released code normalises attention twice.",
        "The sampled captions' likelihoods are those with dropout, and their mean is over their own words and the end.",
        "No caption holds an unknown word. Words are PTB tokens as the scores count them; the released code uses spaCy's.",
        "A region's vector is its pooled map's mean and, behind it, the second stage's vector; the grid is a classifier's map. "
        "Both are narrower than the 2048 of grid-feats-vqa's ResNeXt-101, whose mean alone the papers use.",
        "Claims are tested after both stages of training, on equal budgets, not after cross-entropy alone.",
    )

    width: int = option(512, "channels of a token", bounds=(8, 4096))
    heads: int = option(8, "attention heads", bounds=(1, 64))
    hidden: int = option(2048, "channels inside feed-forward networks", bounds=(8, 16384))
    layers: int = option(3, "layers of the encoder, and of the decoder", bounds=(1, 24))
    dropout: float = option(0.1, "share of values that training sets to zero", bounds=(0, 0.9))
    beams: int = option(5, "captions that the search goes on with, and that the reward compares", bounds=(1, 50))
    batch: int = option(50, "captions per step of cross-entropy", bounds=(1, 4096))
    rate: float = option(1e-4, "peak learning rate of cross-entropy", bounds=(0, 1))
    critical: float = option(0.5, "share of the budget for self-critical training", bounds=(0, 0.95))
    critical_batch: int = option(20, "pictures per step of self-critical training", bounds=(1, 4096))
    critical_rate: float = option(5e-6, "learning rate of self-critical training", bounds=(0, 1))

    def network(self, setting: Captioning, sizes: FeatureBatch) -> CaptionNetwork:
        """A fresh network; `sizes` is a batch of one picture. Called once by ``fit``."""
        raise NotImplementedError

    def decoder(self, setting: Captioning, encoder: nn.Module, **more: bool) -> CaptionNetwork:
        return CaptionNetwork(encoder, setting.words, width=self.width, heads=self.heads, hidden=self.hidden, layers=self.layers,
                              dropout=self.dropout, longest=setting.longest, beams=self.beams, **more)

    def fit(self, setting: Captioning, run: Run) -> Captioner:
        if self.width % self.heads or self.width % 4:
            raise Skip(f"width {self.width} does not divide into {self.heads} heads, or not by four")
        torch.manual_seed(run.seed("weights"))
        network = self.network(setting, setting.train.features(torch.tensor([0]))).to(run.device)
        samples = run.budget.left
        spared = round(self.critical * samples) // (self.critical_batch * self.beams) * self.critical_batch * self.beams
        by_words(network, setting, run, self, samples - spared)
        if spared:
            by_reward(network, setting, run, self, spared)
        return Captioner(network.eval(), Remember(network), Step(network))


def by_words(network: CaptionNetwork, setting: Captioning, run: Run, method: CaptionMethod, samples: int) -> None:
    """Cross-entropy of each word given those before it (teacher forcing)."""
    numbers = {word: number for number, word in enumerate(setting.words, SPECIAL)}
    captions = [(row, torch.tensor([START, *(numbers.get(word, UNKNOWN) for word in sentence.split()), END][:PLACES]))
                for row, sentences in enumerate(setting.train.references) for sentence in sentences]
    size = min(method.batch, len(captions), samples)
    recipe = Recipe(rate=method.rate, adam=True, betas=(0.9, 0.98), weight_decay=0.0, warmup=0.1, exact=True)

    def epoch(generator: Generator) -> Epoch[tuple[FeatureBatch, Tensor]]:
        order = torch.randperm(len(captions), generator=generator)
        return [partial(examples, setting.train, [captions[number] for number in part.tolist()])
                for part in order.split(size) if len(part) == size]

    def loss(batch: tuple[FeatureBatch, Tensor]) -> Tensor:
        features, words = batch
        memory = network.remember(*(item.to(run.device) for item in features))
        words = words.to(run.device)
        logits = network.logits(words[:, :-1], memory)
        return functional.cross_entropy(logits.flatten(0, 1), words[:, 1:].flatten(), ignore_index=PAD)

    optimise(network, epoch, loss, run, recipe=recipe, size=size, samples=samples, name="words")


def examples(data: CaptionedFeatures, captions: Sequence[tuple[int, Tensor]]) -> tuple[FeatureBatch, Tensor]:
    """Features, and words int64 (B, T) padded behind their end, of captions with the rows of their pictures."""
    rows, words = zip(*captions, strict=True)
    return data.features(torch.tensor(rows)), pad_sequence(list(words), batch_first=True, padding_value=PAD)


def by_reward(network: CaptionNetwork, setting: Captioning, run: Run, method: CaptionMethod, samples: int) -> None:
    """Self-critical training: of a picture's captions that beam search finds those above their mean reward become likelier."""
    size = min(method.critical_batch, len(setting.train))
    recipe = Recipe(rate=method.critical_rate, adam=True, weight_decay=0.0, warmup=0.0, schedule="constant", exact=True)
    optimizer = recipe.optimizer(network)

    def epoch(generator: Generator) -> Epoch[tuple[Tensor, FeatureBatch]]:
        order = torch.randperm(len(setting.train), generator=generator)
        return [partial(lambda part: (part, setting.train.features(part)), part) for part in order.split(size) if len(part) == size]

    def update(batch: tuple[Tensor, FeatureBatch], clock: Clock) -> Mapping[str, Tensor | float]:
        rows, features = batch[0], [item.to(run.device) for item in batch[1]]
        network.eval()
        with torch.no_grad():
            words, _ = search(network, network.remember(*features), method.beams)
        found = [" ".join(network.spelled(item)) for item in words.flatten(0, 1).tolist()]
        rewards = torch.tensor(setting.reward(found, rows.repeat_interleave(method.beams).tolist())).view(len(rows), -1)
        network.train()
        value = critical_loss(network, network.remember(*features), words, rewards.to(run.device))
        recipe.descend(optimizer, value, clock.progress)
        return {"loss": value, "reward": float(rewards.mean())}

    steps(run, "reward", {"network": network, "optimizer": optimizer}, epoch, update, size=size * method.beams, samples=samples)
    network.eval()


def critical_loss(network: CaptionNetwork, memory: Memory, words: Tensor, rewards: Tensor) -> Tensor:
    """The mean over captions of -(r - mean r) times the mean log-likelihood of a caption's words, for `words` (B, beams, T) and
    `rewards` (B, beams)."""
    beams = words.shape[1]
    words = words.flatten(0, 1)
    before = functional.pad(words[:, :-1], (1, 0), value=START)
    chances = network.logits(before, memory.repeated(beams)).log_softmax(2).gather(2, words[:, :, None])[:, :, 0]
    own = words != PAD
    likely = (chances * own).sum(1) / own.sum(1).clamp_min(1)
    advantage = (rewards - rewards.mean(1, keepdim=True)).flatten()
    return -(advantage * likely).mean()


class Remember(nn.Module):
    """The part of a network that runs once for a picture."""

    def __init__(self, network: CaptionNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, *features: Tensor) -> list[tuple[Tensor, Tensor]]:
        return self.network.remember(*features).parts


class Step(nn.Module):
    """The part of a network that runs for each word, for all beams at once."""

    def __init__(self, network: CaptionNetwork) -> None:
        super().__init__()
        self.network = network

    def prepare(self, features: FeatureBatch, said: int) -> tuple[Tensor, ...]:
        """The last word, what is present, the whole picture or nothing, then keys and values of picture and words by layer."""
        network = self.network
        memory = network.remember(*features).repeated(network.beams)
        keys = memory.parts[0][0]
        cache = [keys.new_zeros(*keys.shape[:2], said, keys.shape[3]) for _ in range(2 * len(network.layers))]
        whole = keys.new_zeros(network.beams, 0) if memory.whole is None else memory.whole
        words = torch.full((network.beams, 1), END, device=keys.device)
        return words, memory.present, whole, *(item for pair in memory.parts for item in pair), *cache

    def forward(self, words: Tensor, present: Tensor, whole: Tensor, *rest: Tensor) -> Tensor:
        pairs = list(zip(rest[::2], rest[1::2], strict=True))
        half = len(pairs) // 2
        logits, _ = self.network.following(words, Memory(present, pairs[:half], whole), pairs[half:])
        return logits

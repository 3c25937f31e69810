"""Few-shot segmentation: the pixels of a class that is known from one or five marked pictures alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import mean, pstdev
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from suite.artifacts import EpisodeSegmenter, Figure, Probe
from suite.context import Run
from suite.contract import Metric, Scale, Task, option
from suite.data.coco_masks import CocoMasks
from suite.data.episodes import FOLDS, ORDERS, PROTOCOLS, Episode, EpisodePool, Protocol, Unlabelled, fold_classes
from suite.data.fold_lists import listed_rows, rows_by_class
from suite.data.voc import Voc
from suite.errors import UserError
from suite.metrics.change import confusion
from suite.metrics.fewshot import class_iou, constant, fb_iou, mean_iou
from suite.settings import EpisodeBatch, FewShotSegmentation
from suite.train import Normalise

SHOWN = 6  # episodes in the picture
TOGETHER = 16  # episodes in a batch
RIGHT = (0, 200, 0)  # green
NORMALISE = Normalise((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass
class FewShotSegmentationTask(Task):
    """PASCAL-5i and COCO-20i. A fold's classes are tested on the official validation pictures; the others are learned from the
    training pictures, a tenth of which is kept for selection. Classes that an episode is not about are background.

    Scores are means over the protocol's seeds. Beside them stand those of the better of two constant predictors: the class
    nowhere, and everywhere.
    """

    title = "few-shot segmentation"
    version = 1
    data = "voc"
    metrics = (Metric("miou"), Metric("fb_iou"))
    accepts = ("EpisodeSegmenter",)
    reference = "gqnet"
    scales: ClassVar[Mapping[str, Scale]] = {
        "smoke": Scale(scratch=48, extra=24, options={"size": 45, "least": 40, "episodes": 6}),
        "short": Scale(scratch=30_000, extra=10_000, options={"size": 89, "least": 80, "episodes": 200}),
        "long": Scale(scratch=200_000, extra=70_000, options={"size": 89, "least": 80}),
        "full": Scale(scratch=3_600_000, extra=1_200_000),  # 200 epochs of 6,000 episodes of two pictures, and 200 for a prior
    }

    layout: str = option("voc", "how the data lies on disk: PASCAL VOC with masks, or COCO", choices=("voc", "coco"))
    fold: int = option(0, "the quarter of the classes that is tested", bounds=(0, FOLDS - 1))
    order: str = option("usual", "a fold's classes: consecutive (blocks), each fourth (interleaved), or as usual in the layout: "
                        "blocks in voc, interleaved in coco", choices=("usual", *ORDERS))
    shots: int = option(1, "marked pictures in an episode", bounds=(1, 10))
    protocol: str = option("suite", "whose test episodes: 5 seeds of 1,000 (suite), or a paper's", choices=tuple(PROTOCOLS))
    episodes: int = option(0, "test episodes for each seed of the protocol, 0: as many as it has", bounds=(0, 100_000))
    novel: str = option("background", "training pictures with tested classes: these are background there, or left out (exclude)",
                        choices=("background", "exclude"))
    least: int = option(2048, "pixels of a class that make a picture serve for it", bounds=(1, 10**6))
    leave_out: bool = option(False, "go on without classes that have too few pictures for an episode")
    size: int = option(473, "side in pixels of the square that a picture is fitted into, best 1 more than a multiple of "
                       "the stride (PFENet: 473, on COCO 641; HSNet: 400)", bounds=(32, 2048))

    def dataset(self) -> Voc | CocoMasks:
        return Voc() if self.layout == "voc" else CocoMasks()

    def tested(self, classes: int) -> list[int]:
        """The numbers of the fold's classes, from 1."""
        order = {"voc": "blocks", "coco": "interleaved"}[self.layout] if self.order == "usual" else self.order
        return fold_classes(classes, self.fold, order)

    def drawn(self) -> Protocol:
        found = PROTOCOLS[self.protocol][self.layout]
        return found._replace(episodes=self.episodes or found.episodes)

    def pool(self, run: Run, split: str) -> EpisodePool:
        """Episodes of a split: of the fold's classes for the test, else of the others. The record says which classes are left out,
        and whether HSNet's lists say which pictures serve for them."""
        dataset, folder = self.dataset(), run.data if split == "test" else run.training_data or run.data
        pictures = dataset.read(folder, split)
        tested = self.tested(len(pictures.classes))
        labels = tested if split == "test" else [label for label in range(1, len(pictures.classes) + 1) if label not in tested]
        without = tested if split == "train" and self.novel == "exclude" else []
        pairs = dataset.pairs(folder, split, self.fold) if self.protocol == "hsnet" and isinstance(dataset, Voc) else None
        where = f"'{split}' of '{folder.name}'"
        rows = (rows_by_class(pictures, labels, self.least, self.size, without) if pairs is None
                else listed_rows(pictures, labels, pairs, without, where))
        rows, left = self._enough(rows, pictures.classes, where)
        run.note(**{f"{split}_pictures_by": "pixels" if pairs is None else "HSNet's list", f"{split}_left_out": ", ".join(left)})
        return EpisodePool(pictures, rows, self.shots, self.size, PROTOCOLS[self.protocol][self.layout].stretched)

    def _enough(self, rows: Mapping[int, list[int]], classes: Sequence[str], where: str) -> tuple[dict[int, list[int]], list[str]]:
        """The classes with pictures for an episode, and the names of the others. UserError unless these may be left out."""
        few = [label for label, found in rows.items() if len(found) <= self.shots]
        shots = f"an episode of {self.shots} shot{'s' * (self.shots > 1)} needs {self.shots + 1}"
        if len(few) == len(rows):
            raise UserError(f"None of the {len(rows)} classes has enough pictures with {self.least} pixels of it in {where}, and "
                            f"{shots}; lower task.least or task.shots, or choose another task.fold.")
        if few and not self.leave_out:
            rest = "this class" if len(few) == 1 else f"these {len(few)} classes"
            raise UserError(f"'{classes[few[0] - 1]}' has {len(rows[few[0]])} picture(s) with {self.least} pixels of it in {where}"
                            f", and {shots}; lower task.least or task.shots, or type task.leave_out=true to go on without {rest}.")
        return {label: found for label, found in rows.items() if label not in few}, [classes[label - 1] for label in few]

    def setting(self, run: Run) -> FewShotSegmentation:
        whole = self.pool(run, "train")
        order = torch.randperm(len(whole), generator=run.generator("split"))
        held = {whole.queries[row] for row in order[: len(order) // 10].tolist()}
        parts = [{label: [row for row in found if (row in held) == part] for label, found in whole.rows.items()}
                 for part in (False, True)]
        rows, left = self._enough(parts[0], whole.pictures.classes, "'train' without the tenth kept for selection")
        run.note(train_left_out=", ".join(filter(None, [str(run.notes["train_left_out"]), *left])))
        train = replace(whole, rows=rows)
        val = replace(whole, rows={label: found for label, found in parts[1].items() if len(found) > self.shots})
        return FewShotSegmentation(train, val, Unlabelled(train, train.queries), self.shots, self.size, NORMALISE)

    def evaluate(self, artifact: EpisodeSegmenter, run: Run) -> dict[str, float]:
        protocol, pool = self.drawn(), self.pool(run, "test")
        rounds, counts, labels = list[dict[str, float]](), list[Tensor](), list[Tensor]()
        for seed in protocol.seeds:
            episodes = list(pool.test_episodes(protocol.episodes, protocol.draws, torch.Generator().manual_seed(seed)))
            counts.append(torch.cat([confusion(guess, target) for guess, target in self._judged(artifact, pool, episodes, run)]))
            labels.append(torch.tensor([item.label for item in episodes]))
            rounds.append(scores(counts[-1], labels[-1]))
        found = {name: mean(item[name] for item in rounds) for name in rounds[0]}
        by_class = class_iou(torch.cat(counts), torch.cat(labels))
        run.note(iou_by_class={pool.pictures.classes[label - 1]: score for label, score in by_class.items()},
                 miou_deviation_of_rounds=pstdev(item["miou"] for item in rounds))
        return found

    def _judged(
        self, artifact: EpisodeSegmenter, pool: EpisodePool, episodes: Sequence[Episode], run: Run
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Prediction and target (1, H, W) of each episode at the size at which it is judged."""
        network = artifact.module.eval().to(run.device)
        for first in run.progress(range(0, len(episodes), TOGETHER), "evaluate", total=-(-len(episodes) // TOGETHER)):
            part = episodes[first : first + TOGETHER]
            given = inputs(pool.stacked(part, False, run.generator("evaluate")))
            with torch.inference_mode():
                logits = network(*(item.to(run.device) for item in given)).cpu()
            for episode, found in zip(part, logits, strict=True):
                yield pool.judged(episode, found)

    def _some(self, run: Run, count: int) -> tuple[EpisodePool, list[Episode]]:
        """Test episodes of the first seed, as they come."""
        pool, protocol = self.pool(run, "test"), self.drawn()
        return pool, list(pool.test_episodes(count, protocol.draws, torch.Generator().manual_seed(protocol.seeds[0])))

    def show(self, artifact: EpisodeSegmenter, run: Run) -> Iterable[Figure]:
        """Episodes: support with what is marked, query, prior, prediction (green right, red false, blue missed), truth."""
        pool, episodes = self._some(run, SHOWN)
        batch = pool.stacked(episodes, False, run.generator("show"))
        given = inputs(batch)
        with torch.inference_mode():
            guess = artifact.module.cpu().eval()(*given).argmax(1)
            prior = artifact.prior.cpu().eval()(*given) if artifact.prior else None
        if prior is not None:
            prior = functional.interpolate(prior.float(), size=batch.target.shape[1:], mode="nearest")[:, 0]
        yield Figure("episodes", drawn_episodes(batch, guess, prior, [pool.pictures.classes[item.label - 1] for item in episodes]))

    def probe(self, artifact: EpisodeSegmenter, run: Run) -> Probe:
        """Whole episodes: support pictures and query through the network once."""
        pool, episodes = self._some(run, 4)
        given = [inputs(pool.stacked([item], False, run.generator("probe"))) for item in episodes]
        return Probe(artifact.module, tuple(given))


def scores(counts: Tensor, labels: Tensor) -> dict[str, float]:
    """Those of a round, of the counts (N, 4) and classes (N,) of its episodes, and of the better of two constant predictors."""
    constants = [constant(counts, foreground) for foreground in (False, True)]
    return {"miou": mean_iou(counts, labels), "fb_iou": fb_iou(counts),
            "trivial_miou": max(mean_iou(item, labels) for item in constants), "trivial_fb_iou": max(map(fb_iou, constants))}


def inputs(batch: EpisodeBatch) -> tuple[Tensor, Tensor, Tensor]:
    """What a network is called with: queries, support pictures and masks of 0 and 1, float32."""
    support = NORMALISE(batch.support.flatten(0, 1)).view(batch.support.shape)
    return NORMALISE(batch.query), support, (batch.masks == 1).float()


def drawn_episodes(batch: EpisodeBatch, guess: Tensor, prior: Tensor | None, names: Sequence[str]) -> Any:
    """A row of pictures for each episode, predictions and priors (B, S, S) among them."""
    from matplotlib.figure import Figure as Canvas

    titles = ["support", "query", *(["prior"] if prior is not None else []), "prediction", "truth"]
    canvas = Canvas(figsize=(1.9 * len(titles), 1.95 * len(names)), layout="constrained")
    for row, axes in enumerate(canvas.subplots(len(names), len(titles), squeeze=False)):
        target, query = batch.target[row], batch.query[row]
        shown: dict[str, Any] = {
            "support": tinted(batch.support[row, 0], {RIGHT: batch.masks[row, 0] == 1}), "query": tinted(query, {}),
            "prediction": tinted(query, {RIGHT: (guess[row] == 1) & (target == 1), (230, 0, 0): (guess[row] == 1) & (target == 0),
                                         (0, 80, 255): (guess[row] == 0) & (target == 1)}),
            "truth": tinted(query, {RIGHT: target == 1, (128, 128, 128): target == 255})}
        for axis, title in zip(axes, titles, strict=True):
            if title == "prior" and prior is not None:
                axis.imshow(prior[row].numpy(), vmin=0, vmax=1, cmap="magma")
            else:
                axis.imshow(shown[title])
            axis.set_axis_off()
            axis.set_title(names[row] if title == "support" else title, fontsize=8)
    return canvas


def tinted(picture: Tensor, colours: Mapping[tuple[int, int, int], Tensor]) -> Any:
    """uint8 (H, W, 3) of a picture (3, H, W); grey if there are colours, which cover it by half where their masks (H, W) are."""
    found = picture.float().mean(0, keepdim=True).repeat(3, 1, 1) if colours else picture
    for colour, where in colours.items():
        found = torch.where(where, 0.4 * found + 0.6 * torch.tensor(colour).view(3, 1, 1), found)
    return found.permute(1, 2, 0).byte().numpy()

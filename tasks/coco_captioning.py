"""Captions of pictures: from regions and a grid of features to a sentence, judged against what people said."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import cycle
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from suite.artifacts import Captioner, Detections, Figure, Probe, Timed
from suite.context import Run, hashed, load, save
from suite.contract import Metric, Needed, Scale, Task, option
from suite.cost import count
from suite.data.captions import CaptionedPictures, CocoCaptions, KarpathyCaptions
from suite.data.features import Featured, FeatureFile, Source
from suite.errors import UserError
from suite.metrics.captions import CiderD, caption_scores, meteor, spice
from suite.metrics.tokens import tokens
from suite.nn.regions import grid_features, region_features
from suite.paths import timing_lock
from suite.profile import call_latency
from suite.settings import Captioning, FeatureBatch, PictureFeatures
from suite.train import Normalise

PICTURES = 8  # shown of a run
BATCH = 50  # pictures captioned at once
LEAST_REGIONS = 10
FEATURES = 1  # a change of how they are made gets a new one
FEW = 200  # pictures below which document frequencies say little
EMBEDDED = {"backbone": "narrow_resnet10", "longest": 24}  # whose longest captions have 23 words
NORMALISE = Normalise((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass
class CocoCaptioningTask(Task):
    """CIDEr-D, BLEU and ROUGE-L on val2017, or in the Karpathy split; METEOR where Java and the extra ``captions`` are, SPICE
    where the user's CoreNLP is too.

    The features are those of ``task.features=FILE.hdf5``, or made once by a recorded detector and a recorded classifier. All scores
    are of PTB tokens, in percent.
    """

    title = "COCO captioning"
    data = "coco_captions"
    version = 1
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("CIDEr-D", bounds=(0.0, 1000.0)), Metric("BLEU-1"), Metric("BLEU-2"), Metric("BLEU-3"), Metric("BLEU-4"),
        Metric("ROUGE-L"),
    )
    accepts = ("Captioner", "Detections")
    reference = "caption_transformer"
    scales: ClassVar[Mapping[str, Scale]] = {  # in captions through forward and backward
        "smoke": Scale(scratch=128, extra=64, options={**EMBEDDED, "images": 8, "pictures": 60, "least": 1}),
        "short": Scale(scratch=60_000, extra=20_000, options=EMBEDDED),
        "long": Scale(scratch=400_000, extra=120_000, options=EMBEDDED),
        "full": Scale(scratch=20_000_000, extra=6_000_000),
    }

    images: int = option(0, "judge on the first so many test images; 0 is all", bounds=(0, 1_000_000))
    pictures: int = option(0, "take the first so many pictures, a tenth of them not to train on; 0 is all", bounds=(0, 1_000_000))
    split: Literal["2017", "karpathy"] = option("2017", "train2017 and val2017, or those of dataset_coco.json, with task.features")
    features: str = option("", "HDF5 file of region and grid features, instead of recorded networks")
    backbone: str = option("resnet101", "recorded classifier that the grid comes from")
    certain: float = option(0.2, "regions are the recorded detector's boxes with scores above this", bounds=(0, 1))
    regions: int = option(50, "regions of a picture at most", bounds=(1, 1000))
    least: int = option(5, "times that a word must occur in the training captions to be in the vocabulary", bounds=(1, 1000))
    longest: int = option(20, "words that the search gives a caption at most", bounds=(4, 100))

    def __post_init__(self) -> None:
        if self.split == "karpathy" and not self.features:
            raise UserError("The Karpathy split is judged on pictures that a detector trained on train2017 has seen; give features "
                            "made without them with task.features=FILE.hdf5.")

    def dataset(self) -> CocoCaptions | KarpathyCaptions:
        return KarpathyCaptions() if self.split == "karpathy" else CocoCaptions()

    def needs(self) -> Mapping[str, Needed]:
        if self.features:
            return {}
        return {"detector": Needed("coco_detection", "faster_rcnn"),
                "backbone": Needed("imagenet", "plain", {"arch": self.backbone})}

    def setting(self, run: Run) -> Captioning:
        """Of the 2017 data a random tenth of train2017 (at most 5,000 pictures) is for selection."""
        folder = run.training_data or run.data
        pictures = self.dataset().read(folder, "train")
        if self.split == "karpathy":
            train, val = self.featured(pictures, run), self.featured(self.dataset().read(folder, "val"), run)
        else:
            pictures = pictures.subset(torch.arange(min(self.pictures or len(pictures), len(pictures))))
            order = torch.randperm(len(pictures), generator=run.generator("split"))
            held = min(max(1, len(pictures) // 10), 5000)
            both = self.featured(pictures, run)
            train, val = both.subset(order[held:]), both.subset(order[:held])
        times = Counter(word for sentences in train.references for sentence in sentences for word in sentence.split())
        words = sorted(word for word, number in times.items() if number >= self.least)
        if not words:
            raise UserError(f"No word occurs {self.least} times in the captions of {len(train)} training pictures; lower "
                            "task.least.")
        return Captioning(train, val, words, CiderD(train.references), self.longest)

    def test(self, run: Run) -> CaptionedPictures:
        """The pictures to judge on."""
        pictures = self.dataset().read(run.data, "test")
        return pictures.subset(torch.arange(min(self.images or len(pictures), len(pictures))))

    def featured(self, pictures: CaptionedPictures, run: Run) -> Featured:
        """The pictures as features with their captions as tokens."""
        source: Source = (FeatureFile(self.features, pictures.ids, self.regions) if self.features
                          else WhenAsked(partial(self.made, pictures, run)))
        return Featured(pictures.ids, [[tokens(caption) for caption in captions] for captions in pictures.captions], source)

    def made(self, pictures: CaptionedPictures, run: Run) -> dict[int, PictureFeatures]:
        """The features by the recorded networks, computed once and kept beside the detector's weights."""
        sums = []
        for name, path in run.judges.items():
            if not path.exists():
                raise UserError(f"The {name} that the features come from is not in the cache; train it again: run its command, "
                                f"which 'suite show {path.parent.name}' gives, with --again.")
            sums.append(hashlib.sha256(path.read_bytes()).hexdigest())
        sizes = [pictures.file_sizes(row) for row in range(len(pictures))]
        which = hashed(FEATURES, sums, list(map(str, pictures.files)), sizes, self.certain, self.regions)
        stored = run.judges["detector"].with_name(f"features-{which:x}.pt")
        if not stored.exists():
            detector, network = (run.judge(name).module.eval() for name in ("detector", "backbone"))
            found = {}
            for row in run.progress(range(len(pictures)), "features", total=len(pictures)):
                image = pictures.image(row)
                regions = region_features(detector, image.float() / 255, self.certain, LEAST_REGIONS, self.regions)
                found[pictures.ids[row]] = PictureFeatures(*regions, grid_features(network, NORMALISE(image[None])))
            save(found, stored)
        return load(stored)

    def evaluate(self, artifact: Captioner | Detections, run: Run) -> dict[str, float]:
        pictures = self.test(run)
        references = [[tokens(caption) for caption in captions] for captions in pictures.captions]
        if isinstance(artifact, Detections):
            captions = self.given(artifact.entries, pictures.ids, run)
        else:
            test = self.featured(pictures, run)
            captions = captions_by(artifact.module, test, run, "captions")
        candidates = [tokens(caption) for caption in captions]
        scores = caption_scores(candidates, references)
        scores |= {"METEOR": meteor(candidates, references), "SPICE": spice(candidates, references)}
        missing = [name for name, score in scores.items() if math.isnan(score)]
        run.note(not_measured=f"{' and '.join(missing)}: Java programs, see the extra 'captions'" if missing else "",
                 few_pictures=f"CIDEr-D of {len(pictures)} pictures compares with no other" if len(pictures) < FEW else "",
                 words_per_caption=sum(len(item.split()) for item in candidates) / len(candidates))
        if not isinstance(artifact, Detections):
            order = torch.roll(torch.arange(len(test)), max(1, len(test) // 2))
            others = captions_by(artifact.module, test.subset(order), run, "captions of other pictures")
            scores["shuffled_CIDEr-D"] = caption_scores([tokens(caption) for caption in others], references)["CIDEr-D"]
        usual = self.most_frequent(run)
        scores |= {f"trivial_{name}": score for name, score in caption_scores([usual] * len(references), references).items()}
        artifact.spare["results"] = [{"image_id": image, "caption": caption} for image, caption
                                     in zip(pictures.ids, captions, strict=True)]
        return scores

    def most_frequent(self, run: Run) -> str:
        """What the training pictures have most often, whatever its capitals and full stop, as tokens; of several the first."""
        captions = self.dataset().read(run.training_data or run.data, "train").captions
        spelled = Counter(caption.lower().strip(" .") for sentences in captions for caption in sentences)
        return tokens(spelled.most_common(1)[0][0])

    def given(self, entries: Sequence[Mapping[str, Any]], judged: Sequence[int], run: Run) -> list[str]:
        """Somebody's captions of the judged images. UserError for an image that is not in the test data, or that has none."""
        known, found = set(self.dataset().read(run.data, "test").ids), {item["image_id"]: item["caption"] for item in entries}
        if strange := [image for image in found if image not in known]:
            raise UserError(f"The results hold a caption for image {strange[0]}, which is not among the {len(known)} test images; "
                            "give captions of the judged data.")
        if without := [image for image in judged if image not in found]:
            raise UserError(f"The results hold no caption for image {without[0]} (and {len(without) - 1} others of the "
                            f"{len(judged)} judged ones); give one for each.")
        return [found[image] for image in judged]

    def show(self, artifact: Captioner | Detections, run: Run) -> Iterable[Figure]:
        yield from captioned(self.test(run), artifact.spare["results"])

    def probe(self, artifact: Captioner | Detections, run: Run) -> Probe | None:
        """A whole caption: the encoder once, and a step for each word of the mean length of the test references and its end."""
        if isinstance(artifact, Detections) or artifact.encoder is None or artifact.step is None:
            return None
        pictures = self.test(run)
        test = self.featured(pictures, run)
        lengths = [len(tokens(caption).split()) for captions in pictures.captions for caption in captions]
        whole = OneCaption(artifact.encoder, artifact.step, 1 + round(sum(lengths) / len(lengths))).cpu().eval()
        inputs = tuple(whole.prepare(test.features(torch.tensor([row]))) for row in range(min(4, len(test))))
        step = inputs[0][len(FeatureBatch._fields) :]
        run.note(steps_per_caption=whole.steps, macs_per_step=count(artifact.step, step).macs)
        return Probe(whole, inputs)

    def timings(self, artifact: Captioner | Detections, run: Run) -> Sequence[Timed]:
        """One step, and the whole ``caption`` of a test picture (the first four by turns) as deployed, its search included."""
        probe = self.probe(artifact, run)
        if probe is None or isinstance(artifact, Detections):
            return ()
        parts, pictures = len(FeatureBatch._fields), cycle(probe.inputs)
        module, step, first = artifact.module.cpu().eval(), artifact.step, probe.inputs[0][len(FeatureBatch._fields) :]
        calls = {"step": lambda: step(*first), "caption": lambda: module(*next(pictures)[:parts])}
        with torch.inference_mode():
            timings = call_latency(calls, timing_lock())
        return [Timed(name, timings[name]["median_ms"], noisy=timings[name]["noisy"]) for name in ("step", "caption")]


@dataclass
class WhenAsked:
    """Features that `make` gives at the first question: somebody's captions are judged without any."""

    make: Callable[[], dict[int, PictureFeatures]]

    @cached_property
    def found(self) -> dict[int, PictureFeatures]:
        return self.make()

    def __getitem__(self, image: int) -> PictureFeatures:
        return self.found[image]


class OneCaption(nn.Module):
    """What a caption of `steps` words costs: the encoder, then so many steps, each as the middle one is."""

    def __init__(self, encoder: nn.Module, step: nn.Module, steps: int) -> None:
        super().__init__()
        self.encoder, self.step, self.steps = encoder, step, steps

    @torch.inference_mode()
    def prepare(self, features: FeatureBatch) -> tuple[Tensor, ...]:
        return (*features, *self.step.prepare(features, self.steps // 2))

    def forward(self, *inputs: Tensor) -> tuple[Any, Tensor]:
        parts = len(FeatureBatch._fields)
        encoded = self.encoder(*inputs[:parts])
        for _ in range(self.steps):
            word = self.step(*inputs[parts:])
        return encoded, word


@torch.inference_mode()
def captions_by(module: nn.Module, data: Featured, run: Run, what: str) -> list[str]:
    """The network's captions of all pictures."""
    module.eval().to(run.device)
    captions: list[str] = []
    parts = torch.arange(len(data)).split(BATCH)
    for index in run.progress(parts, what, total=len(parts)):
        captions += module(*(item.to(run.device) for item in data.features(index)))
    return captions


def captioned(pictures: CaptionedPictures, entries: Sequence[Mapping[str, Any]]) -> Iterator[Figure]:
    """The first test pictures that are there, with what was said of them and what people said."""
    from matplotlib.figure import Figure as Canvas

    there = [row for row, file in enumerate(pictures.files) if file.is_file()]
    for row in there[:PICTURES]:
        canvas = Canvas(figsize=(8, 3), layout="constrained")
        left, right = canvas.subplots(1, 2, width_ratios=(1, 2))
        left.imshow(pictures.image(row).permute(1, 2, 0).numpy())
        lines = [f"said: {entries[row]['caption']}", "", *(f"- {caption.strip()}" for caption in pictures.captions[row][:5])]
        right.text(0, 0.5, "\n".join(lines), fontsize=8, verticalalignment="center", wrap=True, parse_math=False)
        for axes in (left, right):
            axes.set_axis_off()
        yield Figure(f"{pictures.ids[row]:012d}", canvas)

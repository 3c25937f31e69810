"""DeFeat: a small detector imitates a large one's features, objects and background apart, each with its own mean and weight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import floor, log2
from typing import Literal

import torch
from suite.baselines._detector import DetectorMethod
from torch import Tensor, nn
from torch.nn import functional

from suite.context import Run
from suite.contract import Claim, Needed, Paper, Published, Side, option
from suite.errors import UserError
from suite.nn import tap
from suite.nn.detection import rcnn, retinanet
from suite.settings import Detection
from suite.train import train_detector

LEVELS = 5  # of either kind's pyramid


@dataclass
class DeFeatMethod(DetectorMethod):
    """The teacher is a recorded detector of the student's kind; it and the adapters are gone after training. ``regions`` has the
    rivals too: the plain student, imitation of objects or background alone, and of the whole map at once."""

    paper = Paper("Distilling Object Detectors via Decoupled Features", "Guo, Han, Wang, Wu, Chen, Xu, Xu", "CVPR", 2021,
                  "https://arxiv.org/abs/2103.14475")
    tags = ("detector", "distillation")
    takes = ("Detection",)
    gives = "Detector"
    scales = {
        "smoke": {"arch": "slim_resnet10", "width": 16, "teacher": "narrow_resnet10", "foreground": 0.4, "background": 1.6,
                  "first": 1, "he": True, "finest": 28.0, "batch": 8, "sampled": 16, "proposals": 20},
        "short": {"arch": "slim_resnet10", "width": 32, "teacher": "narrow_resnet10", "foreground": 0.4, "background": 1.6,
                  "first": 1, "he": True, "finest": 28.0, "batch": 4, "sampled": 32, "proposals": 50, "optimizer": "adam",
                  "rate": 1e-3, "weight_decay": 0.0},
        "long": {"arch": "slim_resnet10", "width": 64, "teacher": "narrow_resnet10", "foreground": 0.4, "background": 1.6,
                 "first": 1, "he": True, "finest": 28.0, "batch": 8, "sampled": 64, "proposals": 100, "optimizer": "adam",
                 "rate": 1e-3, "weight_decay": 0.0},
    }
    published = tuple(
        Published("coco_detection", "AP", ap, "abstract; the full recipe, with backbone stages 3 and 4, which are left out here",
                  {"arch": "resnet50", "teacher": "resnet101", "detector": detector, "head": detector == "faster_rcnn",
                   "regions": "decoupled", "foreground": 4.0, "background": 16.0})
        for ap, detector in ((39.7, "retinanet"), (40.9, "faster_rcnn")))
    claims = tuple(
        Claim(name, sentence, "coco_detection", "AP", "above", tuple(Side("defeat", {"regions": side}) for side in sides),
              held_equal=(("total", 0.0), ("macs", 0.0)), options={"teacher_scale": "long"}, task_options={"scenes": 1500})
        for name, sentence, *sides in (
            ("better than the plain student", "DeFeat raises the AP of a student trained alone.", "decoupled", "none"),
            ("objects help", "Imitation of the objects alone raises the student's AP.", "objects", "none"),
            ("background helps", "Imitation of the background alone raises the student's AP.", "background", "none"),
            ("decoupled is better", "Two means beat one over the whole map at the same total weight.", "decoupled", "whole"))
    )
    standins = (
        "Weights 4 and 16 on the neck are the authors' for COCO (their answer to an issue); of their best recipe the imitation of "
        "backbone stages 3 and 4 is left out, and the head's is an option (head=true) of two-stage detectors.",
        "Below scale full the weights are a tenth, in the same proportion: at 4 and 16 the imitation's gradient in backbone and "
        "pyramid is ten times the detection loss's (Faster R-CNN after 300 steps), as the features are not normalised.",
        "Below scale full the teacher's backbone is twice as wide as the student's instead of deeper; pyramid and heads are equal, "
        "as in the paper, and it has seen no more images. The claims' teacher, one for all seeds, is of scale long: four times as "
        "many images, of 160 pixels instead of 128, a pyramid twice as wide.",
        "Gradients longer than 10 are cut, in the paper those longer than 35.",
        "Below scale full an object changes level at half the paper's size, as the anchors are half as large.",
    )

    detector: Literal["retinanet", "faster_rcnn"] = option("faster_rcnn", "kind of student and teacher")
    teacher: str = option("resnet101", "the teacher's backbone; the rest of it is its kind's at its scale")
    teacher_scale: Literal["own", "short", "long", "full"] = option("own", "own: the run's; else of seed 0 for all", later=True)
    regions: Literal["decoupled", "whole", "objects", "background", "none"] = option("decoupled", "imitated; none: no teacher")
    foreground: float = option(4.0, "weight of the objects", bounds=(0, 1000))
    background: float = option(16.0, "weight of the background", bounds=(0, 1000))
    finest: float = option(56.0, "pixels; objects below twice this side belong to the finest level", bounds=(1, 1000))
    head: bool = option(False, "distil a second stage's classes too, positive and negative proposals apart")
    sampler: Literal["teacher", "student", "both"] = option("teacher", "whose proposals the second stages are compared on")
    positive: float = option(2.0, "weight of positive proposals", bounds=(0, 1000))
    negative: float = option(2.0, "weight of negative proposals", bounds=(0, 1000))
    temperature: float = option(1.0, "T of the second stages' classes", bounds=(0.1, 100))
    first: int = option(2, "backbone stage of a one-stage student's finest level", bounds=(1, 2))
    he: bool = option(False, "a one-stage student's heads start by He's rule")
    sampled: int = option(512, "regions of each image that train a second stage", bounds=(4, 4096))
    proposals: int = option(1000, "regions of an image that go through a second stage at most", bounds=(1, 10_000))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.head and self.detector == "retinanet":
            raise UserError("'head=true' was given with detector=retinanet, which has no second stage; add detector=faster_rcnn.")

    def needs(self) -> Mapping[str, Needed]:
        seed, scale = (None, "") if self.teacher_scale == "own" else (0, self.teacher_scale)
        teacher = {"teacher": Needed("coco_detection", self.detector, {"arch": self.teacher}, "teacher", seed, scale)}
        return {**super().needs(), **({} if self.weights or self.regions == "none" else teacher)}

    def network(self, backbone: nn.Module, classes: int, size: int) -> nn.Module:
        if self.detector == "retinanet":
            return retinanet(backbone, classes, size, width=self.width, anchor=self.anchor, first=self.first, he=self.he)
        # Its levels begin with stage 1: the smallest anchors are as large as the one-stage student's.
        return rcnn(backbone, classes, size, width=self.width, anchor=self.anchor * 2 ** (self.first - 1), sampled=self.sampled,
                    proposals=self.proposals, masks=False)

    def train(self, network: nn.Module, setting: Detection, run: Run) -> None:
        if self.regions == "none":
            super().train(network, setting, run)
            return
        teacher = run.reference("teacher").module.eval().requires_grad_(False).to(run.device)
        torch.manual_seed(run.seed("adapters"))
        adapters = nn.ModuleList(adapter(self.width, teacher.backbone.out_channels) for _ in range(LEVELS)).to(run.device)

        def loss(images: list[Tensor], targets: list[dict[str, Tensor]]) -> Tensor:
            batch, scaled = network.transform(images, targets)  # both see the same padded batch
            with torch.no_grad():
                theirs = teacher.backbone(batch.tensors)
            with tap(network, ["backbone", *(["rpn"] if self.head else [])]) as ours:
                total = torch.stack(list(network(images, targets).values())).sum()
            found = [layer(item) for layer, item in zip(adapters, ours["backbone"].values(), strict=True)]
            wanted = list(theirs.values())
            stride = 2 ** (self.first + 1) if self.detector == "retinanet" else 4
            objects = object_masks([item["boxes"] for item in scaled], [item.shape[2:] for item in wanted], stride, self.finest)
            for weight, masks in self.parts([item.to(run.device) for item in objects]):
                total = total + weight * imitation(found, wanted, masks)
            if self.head:
                lists = [teacher.rpn(batch, theirs)[0]] if self.sampler != "student" else []
                lists += [ours["rpn"][0]] if self.sampler != "teacher" else []
                regions = [torch.cat(parts).detach() for parts in zip(*lists, strict=True)]
                total = total + self.classes(network, teacher, ours["backbone"], theirs, regions, batch.image_sizes, scaled)
            return total

        train_detector(nn.ModuleList([network, adapters]), setting.train, run, recipe=self.recipe(), masks=False, loss=loss)

    def parts(self, objects: list[Tensor]) -> list[tuple[float, list[Tensor]]]:
        """The terms of the loss: weight and cells of each, from the cells that show objects."""
        if self.regions == "whole":
            return [(self.foreground + self.background, [torch.ones_like(mask) for mask in objects])]
        terms = {"objects": (self.foreground, objects), "background": (self.background, [~mask for mask in objects])}
        return [terms[name] for name in terms if self.regions in (name, "decoupled")]

    def classes(self, student: nn.Module, teacher: nn.Module, ours: dict[str, Tensor], theirs: dict[str, Tensor],
                regions: list[Tensor], sizes: list[tuple[int, int]], targets: list[dict[str, Tensor]]) -> Tensor:
        """The term of the second stages on one sample of `regions`, with the labels of that very sample."""
        regions, _, labels, _ = student.roi_heads.select_training_samples(regions, targets)
        with torch.no_grad():
            wanted = class_logits(teacher.roi_heads, theirs, regions, sizes)
        return proposal_loss(class_logits(student.roi_heads, ours, regions, sizes), wanted, torch.cat(labels) > 0,
                             self.positive, self.negative, self.temperature)


def adapter(before: int, after: int) -> nn.Conv2d:
    """3x3 from the student's channels to the teacher's; it starts next to zero."""
    layer = nn.Conv2d(before, after, 3, padding=1)
    nn.init.trunc_normal_(layer.weight, std=1e-4, a=-2e-4, b=2e-4)
    nn.init.zeros_(layer.bias)
    return layer


def object_masks(boxes: Sequence[Tensor], sizes: Sequence[Sequence[int]], stride: int, finest: float) -> list[Tensor]:
    """For each level bool (B, 1, H, W), true where it shows one of its own objects: to the other levels that is background.

    `boxes` (n, 4) x1, y1, x2, y2 in pixels of the padded batch, for each image; `sizes` the levels' H and W; `stride` the first
    level's. A box belongs to level floor(log2(sqrt((w + 1)(h + 1)) / `finest`)), and covers at least one cell.
    """
    masks = [torch.zeros(len(boxes), 1, *size, dtype=torch.bool) for size in sizes]
    for row, own in enumerate(boxes):
        for left, top, right, bottom in own.tolist():
            side = ((right - left + 1) * (bottom - top + 1)) ** 0.5
            level = min(max(floor(log2(side / finest + 1e-6)), 0), len(masks) - 1)
            mask, step = masks[level][row, 0], stride * 2**level
            x1, y1, x2, y2 = (int(edge / step) for edge in (left, top, right, bottom))
            if x1 == x2 or y1 == y2:
                mask[min(y1, mask.shape[0] - 1), min(x1, mask.shape[1] - 1)] = True
            mask[y1:y2, x1:x2] = True
    return masks


def imitation(found: Sequence[Tensor], wanted: Sequence[Tensor], masks: Sequence[Tensor]) -> Tensor:
    """Half the squared difference of maps (B, C, H, W), a mean over the cells in `masks` (B, 1, H, W), a mean over levels."""
    terms = []
    for ours, theirs, mask in zip(found, wanted, masks, strict=True):
        marked = mask.sum() * ours.shape[1]
        terms.append((mask * (ours - theirs).square()).sum() / (2 * marked).clamp_min(1))
    return torch.stack(terms).mean()


def class_logits(heads: nn.Module, maps: dict[str, Tensor], regions: list[Tensor], sizes: list[tuple[int, int]]) -> Tensor:
    """What a second stage says of regions: (R, K + 1), column 0 the background."""
    return heads.box_predictor(heads.box_head(heads.box_roi_pool(maps, regions, sizes)))[0]


def proposal_loss(found: Tensor, wanted: Tensor, objects: Tensor, positive: float, negative: float, temperature: float) -> Tensor:
    """`positive` T^2 times the mean KL(softmax(wanted / T) || softmax(found / T)) over `objects` bool (R,), and the same with
    `negative` over the rest; the logits are (R, K + 1)."""
    each = functional.kl_div((found / temperature).log_softmax(1), (wanted / temperature).log_softmax(1), reduction="none",
                             log_target=True).sum(1)
    means = [each[rows].sum() / rows.sum().clamp_min(1) for rows in (objects, ~objects)]
    return temperature**2 * (positive * means[0] + negative * means[1])

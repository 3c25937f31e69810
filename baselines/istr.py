"""ISTR: queries that predict class, box and a low-dimensional embedding of the mask, refined in stages, without suppression.

Hu, Cao, Lu, Zhang, Wang, Li, Huang, Shao, Ji: "ISTR: End-to-End Instance Segmentation with Transformers", arXiv 2105.00637, and
the repository hujiecpp/ISTR, whose first version (May 2021) this is. The embedding is in `_mask_embedding.py`, the network in
`_istr.py`, matching and loss in `_set_loss.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import torch
from suite.baselines._istr import HEADS, Istr, IstrBody
from suite.baselines._mask_embedding import SIDE, MaskEmbedding, crops, fit_embedding, mask_crops, reconstruction_iou
from suite.baselines._set_loss import Objects, set_loss
from torch import Tensor, nn

from suite.artifacts import Detector
from suite.context import Run
from suite.contract import Claim, Method, Needed, Paper, Published, Side, option
from suite.data.results import entries_of
from suite.errors import UserError
from suite.metrics import coco_scores
from suite.nn import build
from suite.nn.detection import ARCHS
from suite.settings import Detection, Scenes
from suite.train import Recipe, train_detector

SIZES = (10, 20, 40, 60)  # of embeddings whose reconstruction is noted


@dataclass
class IstrMethod(Method):
    """Version 1. ``mask_head=direct`` is the claim's rival: masks as they are, learned by Dice alone and unknown to the matcher."""

    paper = Paper("ISTR: End-to-End Instance Segmentation with Transformers", "Hu, Cao, Lu, Zhang, Wang, Li, Huang, Shao, Ji",
                  "arXiv", 2021, "https://arxiv.org/abs/2105.00637")
    tags = ("detector", "masks")
    takes = ("Detection",)
    gives = "Detector"
    scales = {
        "smoke": {"arch": "narrow_resnet10", "width": 16, "queries": 8, "stages": 2, "batch": 8, "rate": 1e-3, "warmup": 0.1,
                  "stage_images": 4},
        "short": {"arch": "narrow_resnet10", "width": 64, "queries": 25, "stages": 3, "start": "grid", "batch": 4, "rate": 5e-4,
                  "warmup": 0.1, "weight_decay": 0.05},
        "long": {"arch": "narrow_resnet10", "width": 64, "queries": 36, "stages": 4, "start": "grid", "batch": 8, "rate": 5e-4,
                 "warmup": 0.05, "weight_decay": 0.05},
    }
    published = tuple(
        Published(task, metric, value, "README (2021) and abstract: version 1, FPN 3x, COCO test-dev", {"arch": arch})
        for arch, boxes, masks in (("resnet50", 46.8, 38.6), ("resnet101", 48.1, 39.9))
        for task, metric, value in (("coco_segmentation", "AP", masks), ("coco_detection", "AP", boxes))
    )
    standins = (
        "One warm-up and one cosine instead of two steps, and images of one size without crops; at full the task's budget is a "
        "third of the paper's 270,000 steps.",
        "The backbone is pre-trained on the suite's embedded photographs, and its normalisation is trained on.",
        "Masks are cropped from pixels, not from polygons, and pasted with their border repeated up to the box's.",
        "Below scale full fewer queries, stages and channels (the inner widths in the paper's ratios, C / 4 and 8 C), a higher "
        "rate and more weight decay: few steps on small pictures. There the learned first boxes start as cells of a grid.",
    )
    claims = (
        Claim("embedding against pixels", "Masks matched and learned as embeddings are no worse than masks predicted as pixels.",
              "coco_segmentation", "AP", "above", (Side("istr"), Side("istr", {"mask_head": "direct"})), margin=-0.5,
              held_equal=(("total", 0.01),), least_scale="long"),
        Claim("better than Mask R-CNN", "End to end, without proposals and suppression, its masks are better than Mask R-CNN's.",
              "coco_segmentation", "AP", "above", (Side("istr"), Side("mask_rcnn")), held_equal=(("total", 0.01),),
              least_scale="long"),
        Claim("embedding is smaller", "The heads that predict pixels have more parameters than those that predict embeddings.",
              "coco_segmentation", "note.head_parameters", "above", (Side("istr", {"mask_head": "direct"}), Side("istr")),
              least_scale="smoke"),
        Claim("refinement", "The last stage's masks are clearly better than the first stage's.", "coco_segmentation",
              "note.stage_AP_last", "above", (Side("istr"), Side("istr")), margin=1.0, rival_value="note.stage_AP_first"),
        Claim("no step back", "From no stage to the next do masks get worse, but for noise.", "coco_segmentation",
              "note.stage_AP_step", "above", (Side("istr"),), bound=0.0, margin=-0.5),
        *(Claim(f"{more} components against {less}", f"{more} components restore masks better than {less}.", "coco_segmentation",
                f"note.reconstruction_iou_{more}", "above", (Side("istr"), Side("istr")), least_scale="smoke",
                rival_value=f"note.reconstruction_iou_{less}") for less, more in ((10, 20), (20, 40), (40, 60))),
        Claim("60 components are enough", "60 components restore masks to an IoU above 0.9.", "coco_segmentation",
              "note.reconstruction_iou_60", "above", (Side("istr"),), bound=0.9, least_scale="smoke"),
    )  # fmt: skip

    arch: str = option("resnet50", "backbone", choices=ARCHS)
    pretrained: bool = option(True, "start from the backbone of a recorded run on ImageNet's layout")
    queries: int = option(300, "objects that can be found in a picture", bounds=(1, 2000))
    start: Literal["picture", "grid"] = option("picture", "what the learned first boxes start as: the picture, or a grid's cells")
    stages: int = option(6, "refinements", bounds=(1, 20))
    width: int = option(256, "channels of the feature pyramid and of a query; a multiple of 8", bounds=(8, 1024))
    embedding: int = option(60, "components of a mask's embedding", bounds=(1, 784))
    mask_head: Literal["embedding", "direct"] = option("embedding", "predict an embedding of the mask, or its 28 x 28 pixels")
    masks: int = option(100_000, "training masks that the embedding is fitted on", bounds=(2, 10_000_000))
    rate: float = option(2.5e-5, "peak learning rate of AdamW", bounds=(0, 10))
    batch: int = option(16, "images per step", bounds=(1, 4096))
    weight_decay: float = option(1e-4, "decoupled weight decay", bounds=(0, 1))
    warmup: float = option(0.004, "share of the steps in which the rate rises", bounds=(0, 0.9))
    stage_images: int = option(500, "validation pictures on which each stage is scored", bounds=(1, 100_000))

    def __post_init__(self) -> None:
        if self.width % HEADS:
            raise UserError(f"'width' is {self.width}, which {HEADS} heads cannot share; give a multiple of {HEADS}.")

    def needs(self) -> Mapping[str, Needed]:
        return {"backbone": Needed("imagenet", "plain", {"arch": self.arch})} if self.pretrained else {}

    def fit(self, setting: Detection, run: Run) -> Detector:
        embedding = run.once("embedding", lambda: self.fitted(setting, run))
        torch.manual_seed(run.seed("weights", self.arch))
        backbone = run.reference("backbone").module if self.pretrained else build(self.arch, 2, 64)
        decode = embedding if self.mask_head == "embedding" else nn.Sigmoid()
        network = Istr(backbone, len(setting.train.categories), setting.size, decode,
                       embedding.size if self.mask_head == "embedding" else SIDE * SIDE,
                       queries=self.queries, stages=self.stages, width=self.width, on_grid=self.start == "grid")  # fmt: skip

        def loss(images: list[Tensor], targets: list[dict[str, Tensor]]) -> Tensor:
            found, sizes = network.predict(images)
            batch = [objects(*item, decode) for item in zip(images, targets, sizes, strict=True)]
            return set_loss(found, batch, decode)

        recipe = Recipe(rate=self.rate, batch=self.batch, weight_decay=self.weight_decay, warmup=self.warmup, adam=True,
                        decoupled=True, longest=1.0)
        train_detector(network, setting.train, run, recipe=recipe, masks=True, loss=loss)
        rows = torch.arange(min(self.stage_images, len(setting.val)))
        run.note(head_parameters=sum(item.numel() for item in network.stages.parameters()),
                 **stage_notes(stage_scores(network, setting.val.subset(rows), run)))
        network.keep_last()
        return Detector(network.eval(), IstrBody(network).eval())

    def fitted(self, setting: Detection, run: Run) -> MaskEmbedding:
        """The embedding of the training masks. Called once per run; how well it restores the validation masks is noted."""
        fitted = fit_embedding(mask_crops(setting.train, self.masks, run), self.embedding, run.generator("embedding"))
        held = mask_crops(setting.val, self.masks, run)
        for size in {*(size for size in SIZES if size < fitted.size), fitted.size} if len(held) else ():
            run.note(**{f"reconstruction_iou_{size}": reconstruction_iou(fitted.first(size), held, run.generator("iou"))})
        return fitted


def objects(image: Tensor, target: dict[str, Tensor], scaled: tuple[int, int], decode: nn.Module) -> Objects:
    """What is to be found in an image (3, H, W) that the network sees `scaled` to a height and width."""
    masks = crops(target["masks"], target["boxes"])
    codes = decode.encode(masks) if isinstance(decode, MaskEmbedding) else None
    return Objects(target["labels"] - 1, target["boxes"] / extent(image.shape[1:], image), masks, codes, extent(scaled, image))


def extent(size: tuple[int, ...], like: Tensor) -> Tensor:
    """(4,) width, height, width, height of a height and width."""
    return like.new_tensor([size[1], size[0]] * 2)


@torch.inference_mode()
def stage_scores(network: Istr, data: Scenes, run: Run) -> list[float]:
    """Mask AP of each stage's predictions on `data`."""
    network.eval().to(run.device)
    truth = data.truth()
    categories = [item["id"] for item in truth["categories"]]
    results: list[list[dict[str, Any]]] = [[] for _ in network.stages]
    for row in run.progress(range(len(data)), "stages", total=len(data)):
        image = data.image(row).to(run.device).float() / 255
        found, (scaled,) = network.predict([image])
        for stage, item in zip(results, found, strict=True):
            stage += entries_of(data.ids[row], categories, network.detections(item, 0, scaled, image.shape[1:]))
    return [coco_scores(truth, stage, "segm")["AP"] for stage in results]


def stage_notes(scores: list[float]) -> dict[str, Any]:
    """The stages' scores, the first, the last, and the smallest step from a stage to the next."""
    steps = [after - before for before, after in pairwise(scores)]
    return {"stage_AP": scores, "stage_AP_first": scores[0], "stage_AP_last": scores[-1], "stage_AP_step": min(steps, default=0.0)}

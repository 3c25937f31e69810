"""torchvision's detectors on a backbone of ours, their parts of fixed shape, and their boxes before suppression.

Sources: RetinaNet (Lin et al., ICCV 2017), Faster R-CNN (Ren et al., NeurIPS 2015), Mask R-CNN (He et al., ICCV 2017), feature
pyramids (Lin et al., CVPR 2017), as torchvision implements them. Parameters have torchvision's names.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN, MaskRCNN, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import boxes
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool, LastLevelP6P7

from suite.artifacts import Candidates
from suite.nn.built import noted
from suite.nn.trace import tap

ARCHS = ("slim_resnet10", "narrow_resnet10", "resnet18", "resnet50", "resnet101")  # networks whose stages are layer1 .. layer4
RATIOS = (0.5, 1.0, 2.0)  # height over width of anchors


def pyramid(network: nn.Module, first: int, last: int, width: int, *, pooled: bool) -> BackboneWithFPN:
    """`network` up to layer`last` below a feature pyramid of `width` channels over layer`first` .. layer`last`.

    On top comes one more level by subsampling (`pooled`, Faster R-CNN), or two by strided convolutions (RetinaNet).
    """
    names = [f"layer{number}" for number in range(first, last + 1)]
    widths = [_width(network.get_submodule(name)) for name in names]
    extra = LastLevelMaxPool() if pooled else LastLevelP6P7(width, width)
    return BackboneWithFPN(network, {name: str(row) for row, name in enumerate(names)}, widths, width, extra)


@noted
def retinanet(
    network: nn.Module, classes: int, size: int, *, width: int, anchor: float, first: int = 2, he: bool = False
) -> RetinaNet:
    """RetinaNet for labels below `classes` (0 is unused). Anchors are `anchor` strides wide, and 2^1/3 and 2^2/3 times that.

    Its five levels begin with layer`first`: with 1 instead of the paper's 2 all strides are half as large, for small pictures,
    and layer4 is left out.
    The paper draws the heads' weights with deviation 0.01, through which towers much narrower than its 256 channels let next
    to nothing pass and learn late; with `he` they start by He's rule.
    """
    strides = [2 ** (first + 1 + level) for level in range(5)]
    sides = tuple(tuple(int(anchor * stride * 2 ** (octave / 3)) for octave in range(3)) for stride in strides)
    generator = AnchorGenerator(sides, (RATIOS,) * len(sides))
    model = RetinaNet(pyramid(network, first, first + 2, width, pooled=False), classes, anchor_generator=generator,
                      detections_per_img=100)
    model.transform = resizing(size)
    if he:
        for tower in (model.head.classification_head.conv, model.head.regression_head.conv):
            for layer in tower.modules():
                if isinstance(layer, nn.Conv2d):
                    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return model


@noted
def rcnn(
    network: nn.Module, classes: int, size: int, *, width: int, anchor: float, sampled: int, proposals: int, masks: bool
) -> FasterRCNN:
    """Faster R-CNN, with `masks` Mask R-CNN; label 0 is the background. `anchor` as in `retinanet`, one size for each level.

    `sampled` regions of each image train the second stage, at most `proposals` of each go through it in evaluation, and twice as
    many are looked at in training, as in torchvision, where `proposals` is 1000.
    """
    sides = tuple((int(anchor * stride),) for stride in (4, 8, 16, 32, 64))
    parts = {
        "rpn_anchor_generator": AnchorGenerator(sides, (RATIOS,) * len(sides)),
        "rpn_pre_nms_top_n_train": 2 * proposals,
        "rpn_post_nms_top_n_train": 2 * proposals,
        "rpn_post_nms_top_n_test": proposals,
        "box_batch_size_per_image": sampled,
        "box_head": TwoMLPHead(width * 49, 4 * width),
        "box_predictor": FastRCNNPredictor(4 * width, classes),
    }
    if masks:
        parts["mask_head"] = MaskRCNNHeads(width, (width,) * 4, 1)
        parts["mask_predictor"] = MaskRCNNPredictor(width, width, classes)
    model = (MaskRCNN if masks else FasterRCNN)(pyramid(network, 1, 4, width, pooled=True), **parts)
    model.transform = resizing(size)
    return model


def resizing(size: int) -> GeneralizedRCNNTransform:
    """ImageNet's normalisation; the longer side of each image is scaled to `size` pixels, and a batch padded right and below."""
    return GeneralizedRCNNTransform(size, size, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


class Body(nn.Module):
    """What of a detector runs on fixed shapes (:class:`suite.artifacts.Detector`): backbone, pyramid and heads.

    Of a two-stage detector the second stage runs too, for as many regions as may go through it, on copies of one corner of the
    map instead of pooled regions: pooling has no MACs.
    """

    regions: tuple[int, int] | None = None  # for boxes and for masks, where they are not as many as may be

    def __init__(self, detector: RetinaNet | FasterRCNN) -> None:
        super().__init__()
        self.transform, self.backbone = detector.transform, detector.backbone
        self.one_stage = isinstance(detector, RetinaNet)
        self.head = detector.head if self.one_stage else detector.rpn.head
        self.second = None if self.one_stage else detector.roi_heads
        self.proposals = 0 if self.one_stage else detector.rpn._post_nms_top_n["testing"]

    def prepare(self, images: list[Tensor]) -> Tensor:
        """The normalised, scaled, padded batch (B, 3, h, w) of images (3, H, W)."""
        return self.transform(images)[0].tensors

    @torch.inference_mode()
    def seen(self, detector: RetinaNet | FasterRCNN, image: Tensor) -> Body:
        """This body with only as many regions as `detector`, whose body it is, pools of an image (3, H, W)."""
        if self.second is None:
            return self
        with tap(self.second, ["box_head", *(["mask_head"] if self.second.has_mask() else [])]) as found:
            detector([image])
        body = copy.copy(self)
        body.regions = len(found["box_head"]), len(found.get("mask_head", ()))
        return body

    def forward(self, batch: Tensor) -> Tensor:
        """All raw outputs for a batch (1, 3, h, w) in one vector."""
        features = list(self.backbone(batch).values())
        outputs = self.head(features)
        parts = list(outputs.values()) if self.one_stage else [*outputs[0], *outputs[1]]
        if self.second is not None:
            boxes, masks = self.regions or (self.proposals, self.second.detections_per_img)
            regions = self.second.box_head(features[0][:, :, :7, :7].expand(boxes, -1, -1, -1))
            parts += [self.second.box_predictor.cls_score(regions), self.second.box_predictor.bbox_pred(regions)]
            if self.second.has_mask():
                regions = features[0][:, :, :14, :14].expand(masks, -1, -1, -1)
                parts.append(self.second.mask_predictor(self.second.mask_head(regions)))
        return torch.cat([part.flatten() for part in parts])


@torch.inference_mode()
def candidates(detector: RetinaNet | FasterRCNN, images: list[Tensor], least: float) -> list[Candidates]:
    """The boxes of images (3, H, W) that reach the detector's first suppression, at most 1000 of each pyramid level with scores
    above `least`: RetinaNet's detections; of the others the region proposals, all with label 1.
    """
    shapes = [(int(image.shape[1]), int(image.shape[2])) for image in images]
    batch, _ = detector.transform(images)
    features = list(detector.backbone(batch.tensors).values())
    if isinstance(detector, RetinaNet):
        outputs = detector.head(features)
        anchors = detector.anchor_generator(batch, features)
        scores, deltas, coder = outputs["cls_logits"].sigmoid(), outputs["bbox_regression"], detector.box_coder
        most = detector.topk_candidates
    else:
        rows = [[part.permute(0, 2, 3, 1).flatten(1).reshape(len(images), -1, last) for part in parts]
                for parts, last in zip(detector.rpn.head(features), (1, 4), strict=True)]
        anchors = detector.rpn.anchor_generator(batch, features)
        scores, deltas, coder = torch.cat(rows[0], 1).sigmoid(), torch.cat(rows[1], 1), detector.rpn.box_coder
        most = detector.rpn.pre_nms_top_n()
    one_stage = isinstance(detector, RetinaNet)
    levels = [feature.shape[2] * feature.shape[3] * len(RATIOS) * (3 if one_stage else 1) for feature in features]
    found = []
    for row, shape in enumerate(shapes):
        inner = batch.image_sizes[row]
        scale = torch.tensor([shape[1] / inner[1], shape[0] / inner[0]] * 2)
        picked, values, labels = _best(scores[row], levels, most, least)
        starts = anchors[row][picked]
        drawn = boxes.clip_boxes_to_image(coder.decode_single(deltas[row][picked], starts), inner)
        found.append(Candidates(drawn * scale, values, labels if one_stage else labels + 1, shape, starts * scale))
    return found


def _best(scores: Tensor, levels: Sequence[int], most: int, least: float) -> tuple[Tensor, Tensor, Tensor]:
    """Of `scores` (anchors, K) the `most` highest above `least` of each level: rows, scores and columns."""
    rows, values, columns = [], [], []
    for start, part in _parts(scores, levels):
        flat = part.flatten()
        kept = torch.where(flat > least)[0]
        top = flat[kept].topk(min(most, len(kept)))
        chosen = kept[top.indices]
        rows.append(start + chosen // part.shape[1])
        values.append(top.values)
        columns.append(chosen % part.shape[1])
    return torch.cat(rows), torch.cat(values), torch.cat(columns)


def _parts(scores: Tensor, levels: Sequence[int]) -> Iterator[tuple[int, Tensor]]:
    start = 0
    for count in levels:
        yield start, scores[start : start + count]
        start += count


def _width(stage: nn.Module) -> int:
    """Output channels of a ResNet's stage: those of the last convolution of its last block."""
    return [module for module in stage.modules() if isinstance(module, nn.Conv2d)][-1].out_channels

"""What captions are made from: regions of a two-stage detector, and a grid over a classifier's last map.

Sources: Anderson et al., "Bottom-Up and Top-Down Attention", CVPR 2018 (regions); Jiang et al., "In Defense of Grid Features", CVPR
2020 (grids); Luo et al., arXiv 2101.06462 (both, and their numbers).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.detection import FasterRCNN

from suite.nn.parts import stages
from suite.nn.trace import tap

SIDE = 7  # cells in a row and in a column
STRIDE = 16  # pixels of a map's cell at most: coarser maps have fewer cells than the grid in pictures below 224 pixels


@torch.inference_mode()
def region_features(detector: FasterRCNN, image: Tensor, certain: float, least: int, most: int) -> tuple[Tensor, Tensor]:
    """Of an image float32 (3, H, W) of 0 to 1 the features (n, D) of regions and their boxes (n, 4) in shares of width and height.

    The regions are the detections with scores above `certain`, the best first, `least` to `most` of them where there are so many;
    the whole picture where there is none. A feature is the mean of the region's pooled map, and the second stage's vector of it.
    """
    batch, _ = detector.transform([image])
    maps = detector.backbone(batch.tensors)
    proposals, _ = detector.rpn(batch, maps)
    found, _ = detector.roi_heads(maps, proposals, batch.image_sizes)
    high, wide = batch.image_sizes[0]
    count = min(most, max(least, int((found[0]["scores"] > certain).sum())))
    boxes = found[0]["boxes"][:count] if len(found[0]["boxes"]) else image.new_tensor([[0.0, 0.0, wide, high]])
    pooled = detector.roi_heads.box_roi_pool(maps, [boxes], batch.image_sizes)
    features = torch.cat([pooled.mean((2, 3)), detector.roi_heads.box_head(pooled)], dim=1)
    return features, (boxes / boxes.new_tensor([wide, high, wide, high])).clamp(0, 1)


@torch.inference_mode()
def grid_features(network: nn.Module, image: Tensor) -> Tensor:
    """The deepest map of `network` that is no coarser than `STRIDE`, whatever the picture's size, averaged to 7 x 7 cells row by
    row: (49, G). `image` (1, 3, H, W) is normalised.
    """
    names = stages(network)
    with tap(network, names) as outputs:
        network(image)
    fine = [outputs[name] for name in names if STRIDE * outputs[name].shape[2] >= image.shape[2]]
    return functional.adaptive_avg_pool2d(fine[-1], SIDE)[0].flatten(1).T.contiguous()

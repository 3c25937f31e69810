"""DASR: salient regions by back-propagating peaks of a classifier's last map layer by layer, described and searched by cosine.

In the words of the paper and its code: the response is the mean of the last map over its channels; a peak of it is propagated to
the pixels by the probability with which each unit has contributed, P(input | output) ~ x~ relu(W) with x~ = x - min(x): not by the
gradient of the convolution. The strongest twentieth of the pixels gives an ellipse, and that a box.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from suite.baselines._retrieval import Describer, RetrievalMethod
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.grad import conv2d_input
from torchvision.ops import nms

from suite.contract import Claim, Paper, Side, option

WINDOW = 3  # cells that a peak is the largest of, across and down
STRONGEST = 0.95  # quantile of the pixels below which a map is 0
AXES = 2.0  # deviations of the pixels that the ellipse's semi-axes are long
OVERLAP = 0.3  # of boxes, above which the lower peak's goes
EPSILON = 1e-10
OURS = Side("layerwise_backprop")


@dataclass
class LayerwiseBackpropMethod(RetrievalMethod):
    """A picture's regions are its peaks'; without a peak the whole picture is its region.

    Chosen among layer 3 at 192, 256, 320 and 384 pixels (mAP 22.0, 25.5, 27.2, 29.5), layer 4 at 256 (21.6) and all peaks at 256
    (25.5). At 384 pixels a collage has 6 regions, the grid 18.5 at a tenth of the MACs.
    """

    paper = Paper("Deeply Activated Salient Region for Instance Search", "Xiao, Zhao, Lin, Hong, Ngo", "ACM TOMM", 2022,
                  "https://arxiv.org/abs/2002.00185")
    gradients = True
    claims = (
        Claim("better than global", "Salient regions find more than the mean of the whole picture.", "instance_search", "mAP",
              "above", (OURS, Side("global_pooling"))),
        Claim("better than a grid", "They find more than a sliding grid of three times as many windows.", "instance_search", "mAP",
              "above", (OURS, Side("sliding_grid"))),
        Claim("better than as many windows", "They find more than a sliding grid of about as many windows, at any cost.",
              "instance_search", "mAP", "above", (OURS, Side("sliding_grid", {"levels": 2}))),
        Claim("layer by layer", "The boxes of layer-wise back-propagation overlap the objects more than those of plain gradients "
              "from the same peaks.", "instance_search", "best_iou", "above",
              (OURS, Side("layerwise_backprop", {"rule": "gradient"}))),
    )
    standins = (
        "No table of the paper could be read: its numbers are missing, and the margins of the claims are 0.",
        "The descriptor is a mean in which a cell of the map weighs as much as the box covers of it, of layer 3 below scale full; "
        "the paper's code stops at the boxes.",
        "The paper's classifier is torchvision's ResNet-50 trained on ImageNet: give it with weights=FILE. Without it, and below "
        "scale full, a recorded classifier of the suite's embedded photographs takes its place, at 384 pixels.",
        "A picture without a peak has one region, all of it.",
        "Boxes are not rounded to whole pixels; the least is half a pixel.",
        "Plain gradients (rule=gradient) are absolute values, the largest of the three channels.",
    )

    peaks: Literal["mean", "all"] = option("mean", "peaks above the mean response, or all of them less overlaps (DASR*)")
    rule: Literal["layerwise", "gradient"] = option("layerwise", "how peaks reach the pixels; plain gradients are another method")

    def describer(self, network: nn.Module) -> Describer:
        return PeakDescriber(network, self.layer, self.size, self.peaks, self.rule)


class PeakDescriber(Describer):
    """Prepared pictures (1, 3, h, w) to the boxes (n, 4) of their peaks and descriptors (n, D)."""

    def __init__(self, network: nn.Module, layer: int, size: int, peaks: str, rule: str) -> None:
        super().__init__(network, 4, size)
        self.layer, self.peaks, self.rule = layer, peaks, rule
        if rule == "layerwise":
            for module in [*self.modules()]:
                for name, child in module.named_children():
                    if isinstance(child, nn.Conv2d):
                        setattr(module, name, Layerwise(child))

    def prepare(self, image: Tensor) -> tuple[Tensor, ...]:
        return (self.resized(image),)

    def map(self, batch: Tensor) -> Tensor:
        for part in self.parts[: self.layer + 1]:
            batch = part(batch)
        return batch

    def response(self, maps: Tensor) -> Tensor:
        """The mean (h, w) over the channels of the last map, which follows from the map that descriptors are means of."""
        for part in self.parts[self.layer + 1 :]:
            maps = part(maps)
        return maps.mean(1)[0]

    @torch.inference_mode(False)
    @torch.enable_grad()
    def forward(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        pixels = batch.detach().clone().requires_grad_()
        maps, size = self.map(pixels), batch.shape[2:]
        response = self.response(maps)
        boxes, scores = [batch.new_tensor([0.0, 0.0, size[1], size[0]])], [batch.new_zeros(())]
        for row, column in peaks_of(response.detach(), filtered=self.peaks == "mean").tolist():
            if (box := box_of(self.saliency(response[row, column], pixels))) is not None:
                boxes.append(box)
                scores.append(response[row, column].detach())
        found = torch.stack(boxes[1:] or boxes)
        if self.peaks == "all":
            found = found[nms(found, torch.stack(scores[1:] or scores), OVERLAP)]
        return found, self.described(maps.detach(), found, size)

    def saliency(self, peak: Tensor, pixels: Tensor) -> Tensor:
        """How much each pixel has contributed to a peak, (h, w), not below 0. The graph stays for the other peaks."""
        (found,) = torch.autograd.grad(peak, pixels, retain_graph=True)
        return found[0].sum(0).clamp_min(0) if self.rule == "layerwise" else found[0].abs().amax(0)


def peaks_of(response: Tensor, filtered: bool) -> Tensor:
    """The rows and columns int64 (n, 2) of the maxima of `response` (h, w) in their windows, above 0, not on its border, and
    `filtered` not below its mean. Of equal neighbours the first is the maximum.
    """
    cells = torch.arange(response.numel(), device=response.device).view_as(response)
    _, largest = functional.max_pool2d(response[None, None], WINDOW, 1, WINDOW // 2, return_indices=True)
    found = (largest[0, 0] == cells) & (response > 0)
    if filtered:
        found &= response >= response.mean()
    found[[0, -1]] = False
    found[:, [0, -1]] = False
    return found.nonzero()


def box_of(saliency: Tensor) -> Tensor | None:
    """The box (4,) x1, y1, x2, y2 of the ellipse of the strongest pixels of a map (h, w); None where all are 0."""
    strong = (saliency >= torch.quantile(saliency, STRONGEST)) & (saliency > 0)
    places = strong.nonzero().to(saliency.dtype)
    if not len(places):
        return None
    middle = places.mean(0)
    apart = places - middle
    spread = apart.T @ apart / len(places)  # over y, x
    half_sum, half_apart = (spread[1, 1] + spread[0, 0]) / 2, (spread[1, 1] - spread[0, 0]) / 2
    root = (half_apart**2 + spread[0, 1] ** 2).sqrt()
    major, minor = (AXES * (half_sum + sign * root).clamp_min(0).sqrt() for sign in (1, -1))  # of the eigenvalues
    angle = torch.atan2(spread[0, 1], half_apart) / 2  # of the longer to the x axis
    cos, sin = angle.cos(), angle.sin()
    half = torch.stack([((major * cos) ** 2 + (minor * sin) ** 2).sqrt(), ((major * sin) ** 2 + (minor * cos) ** 2).sqrt()])
    half, centre = half.clamp_min(0.5), middle.flip(0) + 0.5  # a pixel's middle; no box is smaller than a pixel
    most = torch.tensor(saliency.shape[::-1], dtype=saliency.dtype, device=saliency.device)
    return torch.cat([(centre - half).clamp_min(0), (centre + half).minimum(most)])


class Layerwise(nn.Module):
    """A convolution whose backward pass, where there is one, follows the probability of contributions instead of the gradient."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.convolution = convolution

    def forward(self, images: Tensor) -> Tensor:
        return _Layerwise.apply(images, self.convolution) if images.requires_grad else self.convolution(images)


class _Layerwise(torch.autograd.Function):
    """Forward the convolution itself. Backward, with x~ = x - min(x) of the whole image, W+ = relu(W) and Z = conv(x~, W+):
    x~ * conv^T(grad / (|Z| + 1e-10), W+), and nothing from where Z < 1e-10.
    """

    @staticmethod
    def forward(context: Any, images: Tensor, convolution: nn.Conv2d) -> Tensor:
        shifted = images - images.amin((1, 2, 3), keepdim=True)
        positive = convolution.weight.clamp_min(0)
        total = convolution._conv_forward(shifted, positive, None)
        context.save_for_backward(shifted, positive, total)
        context.convolution = convolution
        return convolution._conv_forward(images, convolution.weight, convolution.bias)

    @staticmethod
    def backward(context: Any, gradients: Tensor) -> tuple[Tensor, None]:
        (shifted, positive, total), layer = context.saved_tensors, context.convolution
        share = torch.where(total < EPSILON, 0, gradients / (total.abs() + EPSILON))
        back = conv2d_input(shifted.shape, positive, share, layer.stride, layer.padding, layer.dilation, layer.groups)
        return shifted * back, None

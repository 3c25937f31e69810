"""Networks, what they are made of, and surgery on them.

`build` makes a randomly initialised network by name. `stages`, `blocks` and `streams` say what a network is made of;
`permute`, `keep`, `fold`, `factorise`, `gather` and `drop` operate on it; `tap` listens; `prunable` lists what pruning may touch,
and `cut` removes channels until the network costs what is wanted.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torchvision
from torch import nn

from suite import networks
from suite.errors import UserError
from suite.nn.built import noted
from suite.nn.cifar import VGG, Block, PadShortcut, ResNet
from suite.nn.cut import Cut, choose_cut, cut
from suite.nn.gathering import Gather, gather, widened
from suite.nn.mobilenet import MobileNetV1
from suite.nn.narrow import SLIM, NarrowResNet
from suite.nn.parts import blocks, stages
from suite.nn.prunable import Prunable, prunable
from suite.nn.streams import Port, Stream, streams
from suite.nn.surgery import drop, factorise, fold, keep, permute
from suite.nn.trace import tap

__all__ = [
    "ARCHS",
    "VGG",
    "Block",
    "Cut",
    "Gather",
    "MobileNetV1",
    "NarrowResNet",
    "PadShortcut",
    "Port",
    "Prunable",
    "ResNet",
    "Stream",
    "blocks",
    "build",
    "choose_cut",
    "cut",
    "drop",
    "factorise",
    "fold",
    "gather",
    "keep",
    "permute",
    "prunable",
    "stages",
    "streams",
    "tap",
    "widened",
]

_OURS: dict[str, Callable[[int], nn.Module]] = {
    **{f"resnet{depth}": partial(ResNet, depth) for depth in (8, 20, 32, 56, 110)},
    "cifar_vgg16": VGG,
    "mobilenet_v1": MobileNetV1,
    "narrow_resnet10": NarrowResNet,
    "slim_resnet10": partial(NarrowResNet, widths=SLIM),
}
_TORCHVISION = ("mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small", "resnet18", "resnet50", "resnet101", "vgg16")
# Width and heads; patches of 16 pixels, 12 layers, an MLP four times as wide (Touvron et al. 2021, Table 1).
_TRANSFORMERS = {"vit_ti_16": (192, 3), "vit_s_16": (384, 6), "vit_b_16": (768, 12)}

#: Every name that `build` knows.
ARCHS = tuple(sorted((*_OURS, *_TORCHVISION, *_TRANSFORMERS)))


@noted
def build(arch: str, classes: int, size: int) -> nn.Module:
    """A randomly initialised network: images (N, 3, size, size) -> logits (N, classes). Other names: see `suite.networks`.

    The random numbers are torch's global ones: seed first. UserError for an unknown `arch` or a `size` that it cannot
    take (less than 16 pixels, less than 32 for vgg16, no multiple of 16 for a vision transformer).
    """
    if arch not in ARCHS:
        return networks.build(arch, classes, size)
    least = 32 if arch == "vgg16" else 16
    if size < least:
        raise UserError(f"'{arch}' was given images of {size} pixels and needs at least {least}; choose a larger size")
    if arch in _OURS:
        return _OURS[arch](classes)
    if arch in _TORCHVISION:
        return getattr(torchvision.models, arch)(weights=None, num_classes=classes)
    if size % 16:
        raise UserError(f"'{arch}' was given images of {size} pixels and needs a multiple of 16; choose another size")
    width, heads = _TRANSFORMERS[arch]
    return torchvision.models.VisionTransformer(
        image_size=size,
        patch_size=16,
        num_layers=12,
        num_heads=heads,
        hidden_dim=width,
        mlp_dim=4 * width,
        num_classes=classes,
    )

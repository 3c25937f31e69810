"""The stages and residual blocks of a network, by module name.

A network declares them as tuples of names, ``stage_names`` and ``block_names``, as ours do;
torchvision's are known here.
"""

from __future__ import annotations

from itertools import pairwise

from torch import nn
from torchvision.models import VGG, ResNet, VisionTransformer, mobilenetv2, mobilenetv3
from torchvision.models.resnet import BasicBlock, Bottleneck
from torchvision.models.vision_transformer import EncoderBlock

from suite.nn.cifar import Block

_INVERTED = (mobilenetv2.InvertedResidual, mobilenetv3.InvertedResidual)
_BLOCKS = (BasicBlock, Bottleneck, EncoderBlock, *_INVERTED)


def stages(network: nn.Module) -> list[str]:
    """Names of the modules whose outputs end a stage, in order: the features before each reduction of resolution.

    A vision transformer has one resolution and so one stage. ValueError for a network that declares none.
    """
    if declared := getattr(network, "stage_names", ()):
        return list(declared)
    if isinstance(network, ResNet):
        return ["layer1", "layer2", "layer3", "layer4"]
    if isinstance(network, VisionTransformer):
        return ["encoder.layers"]
    if isinstance(network, VGG):
        pools = [index for index, module in enumerate(network.features) if isinstance(module, nn.MaxPool2d)]
        return [f"features.{index - 1}" for index in pools]
    names = blocks(network)
    ends = [before for before, name in pairwise(names) if _strided(network.get_submodule(name))]
    return [*ends, names[-1]]


def blocks(network: nn.Module) -> list[str]:
    """Names of the building blocks in order: residual blocks where there are some, else convolution units.

    Blocks that `suite.nn.drop` has taken out are left out. ValueError for a network that declares none.
    """
    if declared := getattr(network, "block_names", ()):
        return [name for name in declared if not isinstance(network.get_submodule(name), nn.Identity)]
    kinds = (nn.Conv2d,) if isinstance(network, VGG) else _BLOCKS
    names = [name for name, module in network.named_modules() if isinstance(module, kinds)]
    if not names:
        raise ValueError(f"'{type(network).__name__}' declares no blocks; give it the attribute 'block_names'")
    return names


def has_identity_shortcut(block: nn.Module) -> bool:
    """Whether `block` adds its unchanged input to its output. ValueError unless it is a residual block."""
    if isinstance(block, Block):
        return isinstance(block.shortcut, nn.Identity)
    if isinstance(block, (BasicBlock, Bottleneck)):
        return block.downsample is None
    if isinstance(block, _INVERTED):
        return block.use_res_connect
    if isinstance(block, EncoderBlock):
        return True
    raise ValueError(f"'{type(block).__name__}' is not a residual block")


def _strided(block: nn.Module) -> bool:
    return any(module.stride != (1, 1) for module in block.modules() if isinstance(module, nn.Conv2d))

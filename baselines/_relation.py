"""Local relation learning's network: two streams with attention (RFAM), patch similarity (MPSM), and the mask decoder beside it."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import torch
from suite.baselines._forgery import levels
from torch import Tensor, nn
from torch.nn import functional

from suite.errors import UserError

LUMINANCE = (0.299, 0.587, 0.114)


class RelationNetwork(nn.Module):
    """Normalised faces (N, 3, S, S), -1 to 1 -> logits (N, 2): real, forged. This is what is deployed."""

    def __init__(
        self, classifier: nn.Module, size: int, streams: str, relation: bool, patches: int, keep: float, dropout: float
    ) -> None:
        super().__init__()
        self.colours = levels(classifier)
        self.highpass, self.frequencies, self.attention = None, None, None
        widths = self.colours.widths
        if streams != "rgb":
            self.highpass = HighPass(size, keep)
            self.frequencies = one_channel(copy.deepcopy(self.colours))
            self.attention = nn.ModuleList(Attention(width) if streams == "rfam" else Sum() for width in widths)
        self.width, side = sum(widths), -(-size // self.colours.strides[-1])
        if relation and side % patches:
            fitting = [str(number) for number in range(2, side + 1) if side % number == 0]
            advice = f"choose {', '.join(fitting)}, or another task.size" if fitting else "choose a larger task.size"
            raise UserError(f"patches={patches} does not divide the {side}x{side} places of the last feature map for faces of "
                            f"{size} pixels; {advice}.")
        self.patches, self.relation = patches, relation
        pairs = patches**2 * (patches**2 - 1)
        self.classify = (nn.Sequential(nn.Linear(pairs, 128), nn.ReLU(), nn.Dropout(dropout), nn.Linear(128, 2)) if relation
                         else nn.Linear(self.width, 2))
        apart = ~torch.eye(patches**2, dtype=torch.bool).flatten()
        self.register_buffer("apart", torch.nonzero(apart).flatten(), persistent=False)

    def fused(self, faces: Tensor) -> Tensor:
        """The levels of both streams at the last one's resolution, (N, C, H, W)."""
        found = []
        guide = None if self.highpass is None else self.highpass(faces)
        for number, part in enumerate(self.colours):
            faces = part(faces)
            if guide is not None:
                guide = self.frequencies[number](guide)
                faces, guide = self.attention[number](faces, guide)
            found.append(faces if guide is None else faces + guide)
        finer = [functional.interpolate(item, size=found[-1].shape[2:], mode="nearest") for item in found[:-1]]
        return torch.cat([*finer, found[-1]], 1)

    def similarity(self, fused: Tensor) -> Tensor:
        """S (N, P, P) of 0 to 1 of the patches, row by row."""
        side = fused.shape[-1] // self.patches
        patches = functional.unfold(fused, side, stride=side).transpose(1, 2)
        patches = functional.normalize(patches, dim=2, eps=1e-6)
        return (patches @ patches.transpose(1, 2) + 1) / 2

    def judge(self, fused: Tensor) -> tuple[Tensor, Tensor | None]:
        """The logits, of the similarity off its diagonal, and the similarity; without the relation, of the pooled features."""
        if not self.relation:
            return self.classify(fused.mean((2, 3))), None
        similarity = self.similarity(fused)
        return self.classify(similarity.flatten(1)[:, self.apart]), similarity

    def forward(self, faces: Tensor) -> Tensor:
        return self.judge(self.fused(faces))[0]


class HighPass(nn.Module):
    """The frequency image (N, 1, S, S) of normalised faces (N, 3, S, S): coefficients u, v of the luminance's orthonormal cosine
    transform with u + v >= keep S are kept, all others are 0.
    """

    def __init__(self, size: int, keep: float) -> None:
        super().__init__()
        line = torch.arange(size, dtype=torch.float64)
        basis = torch.cos(math.pi / size * line[:, None] * (line + 0.5)) * math.sqrt(2 / size)
        basis[0] /= math.sqrt(2)
        self.register_buffer("basis", basis.float(), persistent=False)
        self.register_buffer("kept", (line[:, None] + line >= keep * size).float(), persistent=False)
        self.register_buffer("luminance", torch.tensor(LUMINANCE).view(1, 3, 1, 1), persistent=False)

    def forward(self, faces: Tensor) -> Tensor:
        grey = (faces * self.luminance).sum(1, keepdim=True)
        # Called as functions, so that a plan names both products of each side among what runs in torch.
        coefficients = torch.matmul(torch.matmul(self.basis, grey), self.basis.T)
        return torch.matmul(torch.matmul(self.basis.T, coefficients * self.kept), self.basis)


class Attention(nn.Module):
    """RFAM: A = sigmoid(conv3x3(relu(BN(conv1x1([x; y]))))) of both streams (N, C, H, W); each is multiplied by its map of A."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.maps = nn.Sequential(nn.Conv2d(2 * width, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
                                  nn.Conv2d(width, 2, 3, 1, 1), nn.Sigmoid())

    def forward(self, colours: Tensor, frequencies: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.maps(torch.cat([colours, frequencies], 1))
        return colours * maps[:, :1], frequencies * maps[:, 1:]


class Sum(nn.Module):
    """In place of attention: both streams as they are."""

    def forward(self, colours: Tensor, frequencies: Tensor) -> tuple[Tensor, Tensor]:
        return colours, frequencies


class Guided(nn.Module):
    """A network with what only training needs: faces -> logits, similarities (N, P, P) or None, the mask's logits (N, 1, S, S)."""

    def __init__(self, network: RelationNetwork, widths: Sequence[int]) -> None:
        super().__init__()
        self.network = network
        stages, before = list[nn.Module](), network.width
        for width in widths:
            stages += [nn.Upsample(scale_factor=2, mode="nearest"), *_normalised(before, width), *_normalised(width, width)]
            before = width
        self.decoder = nn.Sequential(*stages, nn.Conv2d(before, 1, 1))

    def forward(self, faces: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        fused = self.network.fused(faces)
        return *self.network.judge(fused), self.mask(fused, faces)

    def mask(self, fused: Tensor, faces: Tensor) -> Tensor:
        return functional.interpolate(self.decoder(fused), size=faces.shape[2:], mode="bilinear", align_corners=False)

    def mask_only(self) -> LocalMap:
        return LocalMap(self)


class LocalMap(nn.Module):
    """Where a face looks forged, (N, S, S) of 0 to 1: the decoded mask, for pictures."""

    def __init__(self, guided: Guided) -> None:
        super().__init__()
        self.guided = guided

    def forward(self, faces: Tensor) -> Tensor:
        return self.guided.mask(self.guided.network.fused(faces), faces).sigmoid()[:, 0]


def _normalised(before: int, width: int) -> list[nn.Module]:
    return [nn.Conv2d(before, width, 3, 1, 1), nn.InstanceNorm2d(width), nn.ReLU()]


def one_channel(backbone: Any) -> Any:
    """`backbone` with a first convolution of one channel, with random weights."""
    name, old = next((name, module) for name, module in backbone.named_modules() if isinstance(module, nn.Conv2d))
    new = nn.Conv2d(1, old.out_channels, old.kernel_size, old.stride, old.padding, bias=old.bias is not None)
    parent, _, leaf = name.rpartition(".")
    setattr(backbone.get_submodule(parent), leaf, new)
    return backbone


def forged_shares(masks: Tensor, patches: int) -> Tensor:
    """The forged share of each patch, (N, P), row by row, of masks (N, 1, S, S) of 0 to 1."""
    return functional.adaptive_avg_pool2d(masks, patches).flatten(1)


def similarity_target(shares: Tensor) -> Tensor:
    """S*_ij = 1 - |rho_i - rho_j|, (N, P, P); all ones for a real face."""
    return 1 - (shares[:, :, None] - shares[:, None]).abs()

"""A small generator of images that knows no labels, trained against a discriminator.

Radford, Metz, Chintala: "Unsupervised Representation Learning with Deep Convolutional Generative Adversarial Networks", ICLR 2016,
with the generator of SCOP's code for CIFAR: a linear layer to 4 x 4 x 256, then transposed 2 x 2 convolutions that double the size.
"""

from __future__ import annotations

from itertools import pairwise
from math import ceil, log2

import torch
from torch import Tensor, nn
from torch.nn import functional

from suite.context import Run
from suite.settings import Images
from suite.train import Batch, Clock, Recipe, batches, steps

LATENT = 128
WIDTH = 256  # channels of the 4 x 4 maps, at most


class Generator(nn.Module):
    """Noise (N, 128) -> images (N, C, H, W) of -1 to 1, for a `shape` (C, H, W)."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.shape = shape
        doublings = max(1, ceil(log2(max(shape[1:]) / 4)))
        widths = [max(16, WIDTH >> number) for number in range(doublings)]
        self.first = nn.Sequential(nn.Linear(LATENT, 16 * WIDTH), nn.BatchNorm1d(16 * WIDTH), nn.ReLU())
        rest: list[nn.Module] = []
        for wide, narrow in pairwise(widths):
            rest += [nn.ConvTranspose2d(wide, narrow, 2, 2), nn.BatchNorm2d(narrow), nn.ReLU()]
        self.rest = nn.Sequential(*rest, nn.ConvTranspose2d(widths[-1], shape[0], 2, 2), nn.Tanh())

    def forward(self, noise: Tensor) -> Tensor:
        images = self.rest(self.first(noise).view(-1, WIDTH, 4, 4))
        return images if images.shape[2:] == self.shape[1:] else functional.interpolate(images, self.shape[1:], mode="bilinear")

    def images(self, count: int, generator: torch.Generator) -> Tensor:
        """uint8 (count, C, H, W), of noise from `generator`."""
        device = next(self.parameters()).device
        made = self(torch.randn(count, LATENT, generator=generator).to(device))
        return ((made + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


class Discriminator(nn.Module):
    """Images (N, C, H, W) of -1 to 1 -> a logit (N,), above 0 for real ones."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        super().__init__()
        widths = [shape[0], 64, 128, 256]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Conv2d(before, after, 4, 2, 1), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16 * widths[-1], 1))

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images).flatten()


def train_generator(generator: Generator, data: Images, run: Run, *, samples: int, batch: int = 64, rate: float = 2e-4) -> None:
    """Train `generator` in place on `samples` of `data`, whose labels are not looked at; the budget is charged once for each.

    The loss is the non-saturating one. ValueError as of `suite.train.steps`.
    """
    torch.manual_seed(run.seed("weights", "discriminator"))
    discriminator = Discriminator(generator.shape).to(run.device)
    generator.to(run.device).train()
    recipe = Recipe(rate=rate, weight_decay=0.0, warmup=0.0, schedule="constant", adam=True, betas=(0.5, 0.999))
    judge, maker = recipe.optimizer(discriminator), recipe.optimizer(generator)
    size = min(batch, len(data))

    def update(drawn: Batch, clock: Clock) -> dict[str, Tensor]:
        real = drawn.inputs.to(run.device).float() / 127.5 - 1
        made = generator(torch.randn(len(real), LATENT, device=real.device))
        told = discriminator(torch.cat([real, made.detach()]))
        truth = torch.arange(len(told), device=real.device) < len(real)
        judging = functional.binary_cross_entropy_with_logits(told, truth.float())
        recipe.descend(judge, judging, clock.progress)
        making = functional.softplus(-discriminator(made)).mean()
        recipe.descend(maker, making, clock.progress)
        return {"discriminator": judging, "loss": making}

    steps(run, "generator", {"generator": generator, "discriminator": discriminator, "judge": judge, "maker": maker},
          lambda numbers: batches(data, size, lambda images, _: images, numbers), update, size=size, samples=samples)
    generator.eval()

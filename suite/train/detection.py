"""Training detectors by the loop of :mod:`suite.train.loop`: mirrored images, targets without crowds, float32."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Generator, Tensor, nn

from suite.context import Run
from suite.settings import Scenes
from suite.train.batches import Epoch
from suite.train.loop import optimise
from suite.train.recipe import Recipe

Targets = list[dict[str, Tensor]]
#: Maps images float32 (3, H, W) of 0 to 1 and their targets to the loss to minimise.
DetectionLoss = Callable[[list[Tensor], Targets], Tensor]


def train_detector(
    network: nn.Module, data: Scenes, run: Run, *, recipe: Recipe, masks: bool, loss: DetectionLoss | None = None,
    name: str = "train",
) -> None:  # fmt: skip
    """Train `network` in place on all the run has left.

    `loss` defaults to the sum of what ``network(images, targets)`` gives, as torchvision's detectors do. Crowds are left out of
    targets. All is float32: in bfloat16 torch's weight gradient of a 3x3 convolution with stride 2 on a map of 2x2, with which
    RetinaNet's pyramid ends, is sometimes garbage (seen with torch 2.15 on a CPU with AMX).
    """
    size = min(recipe.batch, len(data))
    network.to(run.device)
    loss = loss or (lambda images, targets: torch.stack(list(network(images, targets).values())).sum())

    def value(batch: tuple[list[Tensor], Targets]) -> Tensor:
        images, targets = batch
        targets = [{key: item.to(run.device) for key, item in target.items()} for target in targets]
        return loss([image.to(run.device) for image in images], targets)

    optimise(network, lambda generator: detection_batches(data, size, generator, masks), value, run,
             recipe=recipe, size=size, name=name)


def detection_batches(data: Scenes, size: int, generator: Generator, masks: bool) -> Epoch[tuple[list[Tensor], Targets]]:
    """One epoch in random order, whole batches only, each image mirrored with probability one half."""
    order = torch.randperm(len(data), generator=generator)
    return [partial(_examples, data, index, generator, masks) for index in order.split(size) if len(index) == size]


def _examples(data: Scenes, index: Tensor, generator: Generator, masks: bool) -> tuple[list[Tensor], Targets]:
    mirrored = torch.rand(len(index), generator=generator) < 0.5
    pairs = [example(data, row, mirror, masks) for row, mirror in zip(index.tolist(), mirrored.tolist(), strict=True)]
    return [image for image, _ in pairs], [target for _, target in pairs]


def example(data: Scenes, row: int, mirror: bool, masks: bool) -> tuple[Tensor, dict[str, Tensor]]:
    """One image float32 (3, H, W) of 0 to 1 and its target without crowds, left and right exchanged if `mirror`."""
    image, target = data.image(row).float() / 255, data.target(row, masks)
    single = target.pop("iscrowd") == 0
    target = {key: item[single] for key, item in target.items()}
    if mirror:
        image = image.flip(2)
        left, top, right, bottom = target["boxes"].unbind(1)
        target["boxes"] = torch.stack([image.shape[2] - right, top, image.shape[2] - left, bottom], dim=1)
        if masks:
            target["masks"] = target["masks"].flip(2)
    return image, target


@torch.inference_mode()
def detect(network: nn.Module, data: Scenes, run: Run) -> Iterator[tuple[int, dict[str, Tensor]]]:
    """For each image its row and what the network finds, on the CPU, in evaluation mode and full precision."""
    network.eval().to(run.device)
    for row in run.progress(range(len(data)), "evaluate", total=len(data)):
        (found,) = network([data.image(row).to(run.device).float() / 255])
        yield row, {key: item.cpu() for key, item in found.items()}

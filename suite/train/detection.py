"""The training loop of detectors: SGD or AdamW with one warm-up and one cosine, mirrored images, charged to the run's budget.

Checkpoints and random numbers are those of :mod:`suite.train.loop`: a run killed at any moment continues to the same weights.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Generator, Tensor, nn

from suite.run import Run, load, save
from suite.settings import Scenes
from suite.train.loop import CHECKPOINT_SECONDS, Recipe

Targets = list[dict[str, Tensor]]
#: Maps images float32 (3, H, W) of 0 to 1 and their targets to the loss to minimise.
DetectionLoss = Callable[[list[Tensor], Targets], Tensor]

GRADIENT_NORM = 10.0  # longer gradients, as in the first steps, are cut to this length


def train_detector(
    network: nn.Module, data: Scenes, run: Run, *, recipe: Recipe, masks: bool, adam: bool = False,
    loss: DetectionLoss | None = None, longest: float = GRADIENT_NORM, name: str = "train",
) -> None:  # fmt: skip
    """Train `network` in place on all the run has left, by SGD or, with `adam`, by AdamW with the recipe's rate and decay.

    `loss` defaults to the sum of what ``network(images, targets)`` gives, as torchvision's detectors do. Gradients longer than
    `longest` are cut to it. Crowds are left out of targets. All is float32: in bfloat16 torch's weight gradient of a 3x3
    convolution with stride 2 on a map of 2x2, with which RetinaNet's pyramid ends, is sometimes garbage (seen with torch 2.15 on a
    CPU with AMX).
    """
    size = min(recipe.batch, len(data))
    network.to(run.device)
    optimizer = (torch.optim.AdamW if adam else partial(torch.optim.SGD, momentum=recipe.momentum, nesterov=True))(
        network.parameters(), lr=recipe.rate, weight_decay=recipe.weight_decay
    )
    loss = loss or (lambda images, targets: sum(network(images, targets).values(), start=torch.zeros((), device=run.device)))
    path = run.folder / f"{name}.checkpoint.pt"
    step, epoch, steps = 0, 0, run.budget.left // size
    if path.exists():
        stored = load(path)
        network.load_state_dict(stored["network"])
        optimizer.load_state_dict(stored["optimizer"])
        run.restore(stored["state"])
        step, epoch, steps = stored["step"], stored["epoch"], stored["steps"]
    saved = time.monotonic()
    network.train()
    bar = iter(run.progress(range(step, steps), f"{name} ({steps * size:,} images)", total=steps - step))
    while step < steps:
        generator = run.generator(name, "epoch", epoch)
        torch.manual_seed(run.seed(name, "sampling", epoch))
        total, first = 0.0, step
        for images, targets in detection_batches(data, size, generator, masks):
            if step == steps:
                break
            next(bar)
            optimizer.param_groups[0]["lr"] = recipe.rate_at((step + 1) / steps)
            images = [image.to(run.device) for image in images]
            targets = [{key: item.to(run.device) for key, item in target.items()} for target in targets]
            value = loss(images, targets)
            optimizer.zero_grad()
            value.backward()
            nn.utils.clip_grad_norm_(network.parameters(), longest)
            optimizer.step()
            run.budget.charge(size)
            total += float(value.detach())
            step += 1
        run.log(step, **{f"{name}_loss": total / (step - first)})
        epoch += 1
        if time.monotonic() - saved > CHECKPOINT_SECONDS or step == steps:
            save({"network": network.state_dict(), "optimizer": optimizer.state_dict(), "step": step, "epoch": epoch,
                  "steps": steps, "state": run.state()}, path)
            saved = time.monotonic()
    for _ in bar:  # lets the progress bar close
        pass
    network.eval()


def detection_batches(data: Scenes, size: int, generator: Generator, masks: bool) -> Iterator[tuple[list[Tensor], Targets]]:
    """One epoch in random order, whole batches only, each image mirrored with probability one half."""
    order = torch.randperm(len(data), generator=generator)
    for index in order.split(size):
        if len(index) < size:
            return
        mirrored = torch.rand(size, generator=generator) < 0.5
        pairs = [example(data, row, mirror, masks) for row, mirror in zip(index.tolist(), mirrored.tolist(), strict=True)]
        yield [image for image, _ in pairs], [target for _, target in pairs]


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

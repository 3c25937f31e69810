"""The one training loop: it charges the budget, keeps the curves, and survives a kill at any moment.

All randomness is derived from the run's seed and the epoch, and a checkpoint holds the place within the epoch and the state of
the random numbers, so a run that was killed goes on to the same weights.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any, NamedTuple, Protocol, TypeVar

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from suite.context import Run, load, save
from suite.settings import Images, Pairs
from suite.train.batches import Augment, Batch, Epoch, ahead, batches
from suite.train.recipe import Recipe, autocast

CHECKPOINT_SECONDS = 20.0
Item = TypeVar("Item")


class Stateful(Protocol):
    """What a checkpoint can hold: networks, optimizers, averages, queues, label stores."""

    def state_dict(self) -> Any: ...

    def load_state_dict(self, state_dict: Any) -> Any: ...


class Clock(NamedTuple):
    """Where a training is: `step` (from 0) of `steps`, in `epoch` (from 0)."""

    step: int
    steps: int
    epoch: int

    @property
    def progress(self) -> float:
        """The share of the training that is done once this step is, above 0 and up to 1."""
        return (self.step + 1) / self.steps


def steps(
    run: Run,
    name: str,
    keep: Mapping[str, Stateful],
    epoch_of: Callable[[Generator], Epoch[Item]],
    update: Callable[[Item, Clock], Mapping[str, Tensor | float] | None],
    *,
    size: int,
    samples: int | None = None,
    helpers: int = 0,
) -> None:
    """Train on `samples` (default: all that the budget has left), `size` a step; the loop below everything that trains.

    `keep` names all that must survive a kill. `epoch_of(generator)` gives one epoch (see `suite.train.batches`), random by the
    generator alone. `update(batch, clock)` does one step and returns values for the curves, each logged as its mean over the
    epoch. `helpers` counts the networks trained beside the delivered one, on as many samples each, which the budget is charged
    for too. `name` keeps the checkpoints of several trainings in one run apart.

    ValueError where the budget has not one step, or the run has had a training of that name.
    """
    if name in run.trainings:
        raise ValueError(f"two trainings of this run are called '{name}' and would share checkpoints; give each a name of its own")
    run.trainings.add(name)
    run.training.setdefault("precision", "float32")
    path = run.folder / f"{name}.checkpoint.pt"
    cost = size * (1 + helpers)
    count = run.budget.left // cost if samples is None else samples // size
    step, epoch, place, sums = 0, 0, 0, {}  # place: batches of the epoch that are done
    random: Any = None  # the state of the epoch's generator behind them
    if path.exists():
        stored = load(path)
        for key, part in keep.items():
            part.load_state_dict(stored["keep"][key])
        run.restore(stored["state"])
        count, step, epoch, place, sums, random = stored["place"]
        _set_random(stored["random"])
    elif not 0 < count * cost <= run.budget.left:
        raise ValueError(f"'{name}' wants {max(count, 1)} step(s) of {cost} samples and the budget has {run.budget.left} left of "
                         f"{run.budget.allowed}; take a smaller batch or a larger scale")
    saved = time.monotonic()
    bar = iter(run.progress(range(step, count), f"{name} ({count * size:,} samples)", total=count - step))
    while step < count:
        generator = run.generator(name, "epoch", epoch)
        calls = iter(epoch_of(generator))
        if place:
            list(islice(calls, place))
            generator.set_state(random)
        else:
            torch.manual_seed(run.seed(name, "dropout", epoch))
        for batch, random in islice(ahead(calls, generator), count - step):
            next(bar)
            for key, value in (update(batch, Clock(step, count, epoch)) or {}).items():
                sums[key] = sums.get(key, 0.0) + (value.detach() if isinstance(value, Tensor) else value)
            run.budget.charge(size)
            run.budget.charge(size * helpers, delivered=False)
            step, place = step + 1, place + 1
            if step < count and time.monotonic() - saved > CHECKPOINT_SECONDS:
                _checkpoint(path, keep, run, (count, step, epoch, place, sums, random))
                saved = time.monotonic()
        if not place:
            raise ValueError(f"'{name}' was given an epoch without a batch")
        run.log(step, **{f"{name}_{key}": float(total) / place for key, total in sums.items()})
        epoch, place, sums = epoch + 1, 0, {}
    _checkpoint(path, keep, run, (count, step, epoch, place, sums, None))
    for _ in bar:  # lets the progress bar close
        pass


def _checkpoint(path: Any, keep: Mapping[str, Stateful], run: Run, place: tuple[Any, ...]) -> None:
    parts = {key: part.state_dict() for key, part in keep.items()}
    random = torch.get_rng_state(), torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    save({"keep": parts, "state": run.state(), "place": place, "random": random}, path)


def _set_random(state: tuple[Tensor, list[Tensor]]) -> None:
    torch.set_rng_state(state[0])
    if state[1]:
        torch.cuda.set_rng_state_all(state[1])


def optimise(
    network: nn.Module, epoch_of: Callable[[Generator], Epoch[Item]], loss: Callable[[Item], Tensor], run: Run, *,
    recipe: Recipe, size: int, samples: int | None = None, name: str = "train",
) -> None:  # fmt: skip
    """Minimise ``loss(batch)`` by the parameters of `network`, which is on the run's device; all else as in `steps`."""
    optimizer = recipe.optimizer(network)

    def update(batch: Item, clock: Clock) -> dict[str, Tensor]:
        value = loss(batch)
        recipe.descend(optimizer, value, clock.progress)
        return {"loss": value}

    network.train()
    steps(run, name, {"network": network, "optimizer": optimizer}, epoch_of, update, size=size, samples=samples)
    network.eval()


def train(
    network: nn.Module, data: Images | Pairs, run: Run, *, augment: Augment, recipe: Recipe,
    loss: Callable[[Tensor, Batch], Tensor] | None = None, samples: int | None = None, name: str = "train",
) -> None:  # fmt: skip
    """Train `network` in place on `samples` of `data` (default: all the run has left), charging the run's budget.

    `loss(logits, batch)` defaults to cross-entropy with the recipe's label smoothing. The weights are those after the last
    step: nothing is selected here.
    """
    size = min(recipe.batch, len(data))
    network.to(device=run.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    loss = loss or (lambda logits, batch: functional.cross_entropy(logits, batch.targets, label_smoothing=recipe.smoothing))

    def value(batch: Batch) -> Tensor:
        batch = batch.to(run.device)
        with autocast(run, recipe.exact):
            logits = network(batch.inputs.contiguous(memory_format=torch.channels_last))
        return loss(logits.float(), batch)

    optimise(network, lambda generator: batches(data, size, augment, generator), value, run,
             recipe=recipe, size=size, samples=samples, name=name)


@torch.inference_mode()
def predict(network: nn.Module, data: Images, normalise: Callable[[Tensor], Tensor], run: Run, size: int = 250) -> Tensor:
    """Logits float32 (N, classes) on the CPU, in eval mode and full precision."""
    network.eval().to(run.device)
    logits = []
    for index in run.progress(torch.arange(len(data)).split(size), "evaluate", total=-(-len(data) // size)):
        inputs = normalise(data.batch(index, False, run.generator("evaluate"))).to(run.device)
        logits.append(network(inputs.contiguous(memory_format=torch.channels_last)).float().cpu())
    return torch.cat(logits)

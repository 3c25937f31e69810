"""The one loop: the same weights after any kill, an honest budget, curves as means over epochs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from suite.context import Budget, Run
from suite.data.pictures import Stored
from suite.train import Recipe, Stream, batches, loop, steps, streams, train

ROWS = 24


class Killed(Exception):
    pass


def images(count: int = ROWS) -> Stored:
    generator = torch.Generator().manual_seed(1)
    return Stored(torch.randint(0, 256, (count, 3, 4, 4), dtype=torch.uint8, generator=generator), torch.arange(count) % 3)


def noisy(pixels, generator):
    return pixels.float() / 255 + 0.1 * torch.randn(pixels.shape, generator=generator)


def run_in(folder: Path, allowed: int, kill_at: int = 0) -> Run:
    seen = []

    def report(what, done, total):
        seen.append(done)
        if len(seen) == kill_at:
            raise Killed

    return Run(0, "smoke", Budget(allowed), folder, folder, report=report)


def network() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Flatten(), nn.Linear(48, 8), nn.Dropout(0.5), nn.ReLU(), nn.Linear(8, 3))


def pair(run: Run) -> tuple[nn.Module, nn.Module, Run]:
    """Two networks with an optimizer each, the second learning from the first: 10 steps of 8 samples, 3 a epoch."""
    one, two = network(), network()
    recipe = Recipe(rate=0.1, batch=8)
    first, second = recipe.optimizer(one), recipe.optimizer(two)

    def update(batch, clock):
        logits, other = one(batch.inputs), two(batch.inputs)
        loss = functional.cross_entropy(logits, batch.targets)
        recipe.descend(first, loss, clock.progress)
        apart = (other - logits.detach()).square().mean()
        recipe.descend(second, apart, clock.progress)
        return {"loss": loss, "apart": apart, "step": float(clock.step)}

    keep = {"one": one, "two": two, "first": first, "second": second}
    steps(run, "pair", keep, lambda generator: batches(images(), 8, noisy, generator), update, size=8, helpers=1)
    return one, two, run


@pytest.mark.parametrize("kill_at", range(1, 11))
def test_two_networks_killed_at_any_step_go_on_to_the_same_weights_and_books(tmp_path, monkeypatch, kill_at):
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1.0)
    one, two, whole = pair(run_in(tmp_path / "whole", 160))
    with pytest.raises(Killed):
        pair(run_in(tmp_path / "killed", 160, kill_at))
    again, other, resumed = pair(run_in(tmp_path / "killed", 160))
    for mine, theirs in ((one, again), (two, other)):
        assert all(torch.equal(a, b) for a, b in zip(mine.parameters(), theirs.parameters(), strict=True))
    assert vars(whole.budget) == vars(resumed.budget) == {"allowed": 160, "total": 160, "final": 80}
    assert whole.curves == resumed.curves
    assert [point[0] for point in whole.curves["pair_loss"]] == [3, 6, 9, 10]
    assert [point[1] for point in whole.curves["pair_step"]] == [1, 4, 7, 9]  # means over each epoch


def test_a_checkpoint_inside_an_epoch_costs_no_batch_again(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1.0)
    made: list[int] = []

    def trained(run):
        def update(batch, clock):
            made.append(int(batch.index[0]) if clock.epoch else -clock.step)

        steps(run, "x", {}, lambda generator: batches(images(), 8, noisy, generator), update, size=8)

    with pytest.raises(Killed):
        trained(run_in(tmp_path, 72, kill_at=6))
    trained(run_in(tmp_path, 72))
    assert len(made) == 9 and made[:3] == [0, -1, -2]  # nine steps in all, none twice


def test_a_budget_below_one_batch_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="'pair' wants 1 step.s. of 16 samples and the budget has 15 left of 15; take a smaller batch"):
        pair(run_in(tmp_path, 15))
    with pytest.raises(ValueError, match="wants 3 step"):  # more than there is
        train(network(), images(), run_in(tmp_path, 16), augment=noisy, recipe=Recipe(batch=8), samples=24)


def test_a_second_training_of_the_same_name_is_an_error_and_not_the_first_one_again(tmp_path):
    run = run_in(tmp_path, 64)
    train(network(), images(), run, augment=noisy, recipe=Recipe(batch=8), samples=16, name="grow")
    train(network(), images(), run, augment=noisy, recipe=Recipe(batch=8), samples=16, name="prune")
    with pytest.raises(ValueError, match="two trainings of this run are called 'prune'"):
        train(network(), images(), run.for_method(), augment=noisy, recipe=Recipe(batch=8), samples=16, name="prune")


def test_a_training_without_autocast_is_recorded_as_float32(tmp_path):
    run = run_in(tmp_path, 64)
    steps(run, "x", {}, lambda generator: [lambda: None], lambda batch, clock: None, size=8)
    assert run.training == {"precision": "float32"}


def test_an_epoch_without_a_batch_is_an_error_and_not_an_endless_loop(tmp_path):
    with pytest.raises(ValueError, match="an epoch without a batch"):
        steps(run_in(tmp_path, 64), "x", {}, lambda generator: [], lambda batch, clock: None, size=8)


def test_what_fails_in_the_background_fails_in_the_loop(tmp_path):
    def broken(pixels, generator):
        raise OSError("a picture is damaged")

    with pytest.raises(OSError, match="a picture is damaged"):
        train(network(), images(), run_in(tmp_path, 64), augment=broken, recipe=Recipe(batch=8))


def test_batches_are_made_while_the_network_learns(tmp_path):
    import threading

    threads = set()

    def where(pixels, generator):
        threads.add(threading.current_thread() is threading.main_thread())
        return noisy(pixels, generator)

    train(network(), images(), run_in(tmp_path, 64), augment=where, recipe=Recipe(batch=8))
    assert threads == {False}


def test_several_views_are_drawn_for_each_image():
    (first, *_) = [call() for call in batches(images(), 8, noisy, torch.Generator().manual_seed(0), views=2)]
    one, two = first.inputs
    clean = images().values[first.index].float() / 255
    assert not torch.equal(one, two) and float((one - clean).abs().max()) < 1 and float((two - clean).abs().max()) < 1


def test_a_mix_comes_behind_the_augmentation_and_gives_the_targets():
    def mix(pictures, labels, generator):
        assert pictures.dtype == torch.float32
        return pictures.flip(0), functional.one_hot(labels, 3).float()

    (plain, *_), (mixed, *_) = ([call() for call in batches(images(), 8, noisy, torch.Generator().manual_seed(0), mix=item)]
                                for item in (None, mix))
    assert torch.equal(mixed.inputs, plain.inputs.flip(0)) and torch.equal(mixed.targets.argmax(1), plain.targets)


def test_streams_keep_their_ratio_and_no_row_comes_again_before_all_have():
    few, many = images(5), images(24)
    drawn = [call() for call in streams([Stream(few, 2, noisy), Stream(many, 6, noisy)], torch.Generator().manual_seed(0))]
    assert [(len(one.index), len(two.index)) for one, two in drawn] == [(2, 6)] * 4
    assert sorted(torch.cat([two.index for _, two in drawn]).tolist()) == list(range(24))
    assert sorted(torch.cat([one.index for one, _ in drawn])[:5].tolist()) == list(range(5))
    with pytest.raises(ValueError, match="a stream of 5 samples has no batch of 6"):
        streams([Stream(many, 6, noisy), Stream(few, 6, noisy)], torch.Generator())


class Resolutions(Stored):
    """Pairs of a low and a high resolution, as a reader of restoration data gives them."""

    def batch(self, index, train, generator):
        high = super().batch(index, train, generator)
        return high[..., ::2, ::2], high


def test_pairs_of_different_sizes_and_targets_of_any_kind_pass_through():
    data = Resolutions(images().values, images().labels)

    def pairs(drawn, generator):
        low, high = drawn
        return low.float(), {"image": high.float(), "mean": high.float().mean((1, 2, 3))}

    batch = next(iter(batches(data, 8, pairs, torch.Generator().manual_seed(0))))().to("cpu")
    assert batch.inputs.shape == (8, 3, 2, 2) and batch.targets["image"].shape == (8, 3, 4, 4) and batch.targets["mean"].shape == (8,)

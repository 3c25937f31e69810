"""What the captioning methods share, on the plain Transformer: padding, cache, beam search, both trainings."""

from __future__ import annotations

import importlib
import itertools
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from captioning import WORDS, features, setting
from torch import nn

from suite.context import Budget, Run
from suite.contract import Skip
from suite.settings import FeatureBatch
from suite.testing.contract import fit_once

plain = importlib.import_module("suite.baselines.caption_transformer")
shared = importlib.import_module("suite.baselines._captioner")
layers = importlib.import_module("suite.baselines._caption_layers")
networks = importlib.import_module("suite.baselines._caption_network")

SMALL = {"width": 16, "heads": 2, "hidden": 32, "layers": 2, "beams": 3}


def network(seed: int = 0, **options) -> nn.Module:
    torch.manual_seed(seed)
    return plain.CaptionTransformerMethod(**{**SMALL, **options}).network(setting(), features()).eval()


@pytest.mark.parametrize("kinds, tokens", [("both", 12), ("regions", 3), ("grid", 9)])
def test_padding_changes_nothing(kinds, tokens):
    """A picture beside one with more regions is what it is alone."""
    made, batch = network(kinds=kinds), features((3, 1))
    alone = FeatureBatch(batch.regions[1:, :1], batch.boxes[1:, :1], batch.present[1:, :1], batch.grid[1:])
    words = torch.tensor([[1, 4, 6]])
    both = made.logits(words.expand(2, -1), made.remember(*batch))
    assert torch.allclose(both[1:], made.logits(words, made.remember(*alone)), atol=1e-5)
    assert made.remember(*batch).parts[0][0].shape[2] == tokens


def test_what_lies_in_the_padding_changes_nothing():
    made, batch = network(), features((3, 1))
    words = torch.tensor([[1, 4, 6]] * 2)
    before = made.logits(words, made.remember(*batch))
    batch.regions[1, 1:], batch.boxes[1, 1:] = 7.0, 0.9
    assert torch.allclose(made.logits(words, made.remember(*batch)), before, atol=1e-5)


def test_words_see_no_later_words_and_the_cache_is_the_same():
    made, batch = network(), features((2, 2))
    memory = made.remember(*batch)
    words = torch.tensor([[1, 4, 6, 5], [1, 7, 7, 9]])
    whole = made.logits(words, memory)
    changed = words.clone()
    changed[:, 2:] = 8
    assert torch.allclose(made.logits(changed, memory)[:, :2], whole[:, :2], atol=1e-6)
    cache = [None] * 2
    for place in range(4):
        logits, cache = made.following(words[:, place : place + 1], memory, cache)
        assert torch.allclose(logits, whole[:, place], atol=1e-5)


def likelihood(made: nn.Module, memory, words: tuple[int, ...]) -> float:
    """The log-likelihood of a caption, word by word without a cache, over the words that may be said."""
    total, said = 0.0, [networks.START]
    for word in words:
        logits = made.logits(torch.tensor([said]), memory)[0, -1]
        logits[[networks.PAD, networks.START, networks.UNKNOWN]] = -math.inf
        total += logits.log_softmax(0)[word].item()
        said.append(word)
    return total


def test_a_wide_beam_search_finds_the_best_of_all_captions():
    made = network(seed=3)
    made.longest = 3
    batch = features((2, 3))
    found, scores = networks.search(made, made.remember(*batch), beams=49)
    possible = [networks.END, *range(networks.SPECIAL, networks.SPECIAL + len(WORDS))]
    for picture in range(2):
        memory = made.remember(*(item[picture : picture + 1] for item in batch))
        each = {}
        for words in itertools.product(possible, repeat=3):
            if networks.END in words:
                words = words[: words.index(networks.END) + 1]
            each[words] = each.get(words) or likelihood(made, memory, words)
        best = sorted(each, key=each.get, reverse=True)[:5]
        assert [tuple(word for word in row if word) for row in found[picture, :5].tolist()] == best
        assert scores[picture, :5].tolist() == pytest.approx([each[words] for words in best], abs=1e-4)


def test_beams_are_different_and_in_order():
    made = network(seed=1)
    found, scores = networks.search(made, made.remember(*features((3, 2, 1))), beams=3)
    assert found.shape[:2] == (3, 3) and (scores[:, :-1] >= scores[:, 1:]).all()
    assert all(len({tuple(row) for row in rows}) == 3 for rows in found.tolist())
    ended = found == networks.END
    assert not (found[..., 1:][ended[..., :-1]] != networks.PAD).any()  # nothing behind the end
    one, _ = networks.search(made, made.remember(*(item[1:2] for item in features((3, 2, 1)))), beams=3)
    assert one[0, 0].tolist()[: one.shape[2]] == found[1, 0].tolist()[: one.shape[2]]


def test_words_that_come_twice_are_said_once():
    made = network()
    assert made.spelled([4, 4, 6, networks.END, 7]) == ["a", "a", "cat"] and made.spelled([networks.UNKNOWN, 4]) == ["a"]
    assert made.spelled([networks.END]) == []


def test_the_self_critical_loss_by_hand():
    """Two captions of one picture with rewards 3 and 1: advantages 1 and -1, times the mean log-likelihood of their words."""
    made, batch = network(), features((2,))
    words = torch.tensor([[[4, 6, networks.END], [7, networks.END, networks.PAD]]])
    memory = made.remember(*batch)
    value = shared.critical_loss(made, memory, words, torch.tensor([[3.0, 1.0]]))
    means = []
    for row in ([4, 6, networks.END], [7, networks.END]):
        chances = made.logits(torch.tensor([[networks.START, *row[:-1]]]), memory)[0].log_softmax(1)
        means.append(chances[range(len(row)), row].mean())
    assert value.item() == pytest.approx(-(means[0] - means[1]).item() / 2, abs=1e-5)
    assert shared.critical_loss(made, memory, words, torch.tensor([[2.0, 2.0]])).item() == 0


def run(folder: Path, budget: int) -> Run:
    return Run(0, "smoke", Budget(budget), folder, folder)


def test_whole_captions_are_learned_however_short_the_search(tmp_path):
    """A caption that is cut off never shows where it ends."""
    task, method = replace(setting(), longest=2), plain.CaptionTransformerMethod(**SMALL, batch=8)
    torch.manual_seed(0)
    made, seen = method.network(task, features()), []
    logits = made.logits
    made.logits = lambda words, memory: (seen.append(words), logits(words, memory))[1]
    shared.by_words(made, task, run(tmp_path, 8), method, 8)
    assert seen[0].shape == (8, 4) and (seen[0] >= networks.SPECIAL).sum(1).max() == 3  # the start, and all of "a red cat"


def test_it_learns_words_and_then_the_reward(tmp_path):
    method = plain.CaptionTransformerMethod(**SMALL, rate=0.01, batch=8, critical=0.1, critical_batch=8, critical_rate=1e-4,
                                            dropout=0.0)
    task, fitting = setting(), run(tmp_path, 1600)
    artifact = method.fit(task, fitting)
    data = task.train.features(torch.arange(8))
    assert artifact.module(*data) == [sentences[0] for sentences in task.train.references]
    assert fitting.budget.total == 1600 and {"words_loss", "reward_loss", "reward_reward"} <= set(fitting.curves)
    assert len(fitting.curves["reward_reward"]) == 160 // 24  # a step takes 3 captions of each of 8 pictures
    assert fitting.curves["words_loss"][0][1] > 4 * fitting.curves["words_loss"][-1][1]


def test_the_reward_is_what_it_learns_from(tmp_path):
    """From a network that has learned few words, more of the reward after self-critical training, which sees no captions."""
    task, fitting, made = setting(), run(tmp_path, 48 + 24 * 60), network(seed=5, dropout=0.0)
    method = plain.CaptionTransformerMethod(**SMALL, batch=8, rate=0.01, critical_batch=8, critical_rate=2e-3)
    shared.by_words(made, task, fitting, method, 48)
    shared.by_reward(made, task, fitting, method, 24 * 60)
    rewards = [value for _, value in fitting.curves["reward_reward"]]
    assert 0 < sum(rewards[:5]) / 5 < 0.7 * sum(rewards[-5:]) / 5


def test_the_step_is_the_networks_own():
    made, batch = network(), features((3,))
    step = shared.Step(made)
    inputs = step.prepare(batch, said=4)
    assert inputs[0].shape == (3, 1) and inputs[1].shape == (3, 1, 1, 12)
    memory = made.remember(*batch).repeated(3)
    cache = [(torch.zeros(3, 2, 4, 8), torch.zeros(3, 2, 4, 8))] * 2
    expected, _ = made.following(inputs[0], memory, cache)
    assert torch.equal(step(*inputs), expected)
    assert len(shared.Remember(made)(*batch)) == 2


def test_grid_positions_are_those_of_rows_and_columns():
    positions = layers.grid_positions(torch.zeros(2, 9, 8))
    assert positions.shape == (9, 8)
    assert torch.equal(positions[0, :4], positions[2, :4]) and torch.equal(positions[0, 4:], positions[6, 4:])  # same row, same column
    assert positions[0, 0].item() == pytest.approx(math.sin(2 * math.pi / 3), abs=1e-6)
    assert not torch.allclose(positions[0], positions[4])


def test_combinations_without_sense_are_skipped(tmp_path):
    with pytest.raises(Skip, match="does not divide into 3 heads"):
        plain.CaptionTransformerMethod(**{**SMALL, "heads": 3}).fit(setting(), run(tmp_path, 100))
    batch = features()
    with pytest.raises(Skip, match="hold no grids; type kinds=regions"):
        network().remember(*batch._replace(grid=batch.grid[:, :0]))
    with pytest.raises(Skip, match="a grid of 8 cells, which is no square"):
        network().remember(*batch._replace(grid=batch.grid[:, :8]))


def test_the_papers_size():
    """Three and three layers of width 512: 14.7 M in attention and feed-forward parts each way, and the words."""
    torch.manual_seed(0)
    method = plain.CaptionTransformerMethod()
    made = method.network(setting(), features(size=2048))
    attention, feed, norm = 4 * (512 * 512 + 512), 512 * 2048 * 2 + 2048 + 512, 2 * 512
    inputs = 2 * norm + (2048 + 1) * 512 + (2050 + 1) * 512 + 5 * 512
    words = 2 * 512 * (len(WORDS) + 4)
    expected = 3 * (attention + feed + 2 * norm) + 3 * (2 * attention + feed + 3 * norm) + inputs + words
    assert sum(item.numel() for item in made.parameters()) == expected
    value = made.logits(torch.tensor([[1, 4]] * 2), made.remember(*features(size=2048))).sum()
    value.backward()
    assert all(item.grad is not None for item in made.parameters())


def test_at_smoke_scale(suite_home):
    _, record = fit_once("coco_captioning", "caption_transformer")
    assert record["status"] == "done" and record["notes"]["macs_per_step"] > 0

"""ABCPruner: codes and groups as counted in the paper's code, the bees by hand, candidates alike in all but their structure."""

from __future__ import annotations

import importlib
import statistics
from dataclasses import replace
from random import Random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from suite import plugins
from suite.cost import count
from suite.errors import UserError
from suite.nn import build
from suite.nn.cut import silenced
from suite.plan import specs
from suite.spec import context
from suite.testing.contract import fit_once

METHOD = plugins.load("baselines", "abc_pruner")
structures = importlib.import_module("suite.baselines._structures")
colonies = importlib.import_module("suite.baselines._colony")


class Dice(Random):
    """Gives what it is told to give: numbers for uniform(), random() and randint(), the first items of what is drawn from."""

    def __init__(self, *numbers: float) -> None:
        super().__init__(0)
        self.numbers = list(numbers)

    def random(self) -> float:
        return self.numbers.pop(0)

    def uniform(self, low, high) -> float:
        return self.numbers.pop(0)

    def randint(self, low, high) -> int:
        return self.numbers.pop(0)

    def sample(self, items, number):
        return items[:number]

    def choice(self, items):
        return items[0]


def found(arch: str, side: int = 32, draw: int | None = 0):
    torch.manual_seed(0)
    generator = None if draw is None else torch.Generator().manual_seed(draw)
    return structures.Structures(build(arch, 10, side), torch.zeros(1, 3, side, side), generator)


def space(target: float | None = None, length: int = 3, most: int = 7) -> object:
    return colonies.Space(length, most, lambda code: sum(code) / 10 / len(code), target, 0.01)


def valued(codes):
    """A judge: the sum of the code."""
    return [(float(sum(code)), code) for code in codes]


@pytest.mark.parametrize(("arch", "side", "numbers"), [
    ("resnet56", 32, 27), ("cifar_vgg16", 32, 13), ("resnet18", 64, 8), ("resnet50", 64, 16)])
def test_a_code_has_as_many_numbers_as_in_the_released_code(arch, side, numbers):
    made = found(arch, side)
    assert len(made.groups) == numbers
    if arch == "resnet50":
        assert [stream.writers[0] for stream in made.groups[3]] == ["layer2.0.conv1", "layer2.0.conv2"]


def test_a_structure_has_the_floor_of_its_tenths_and_the_macs_that_were_told():
    made = found("resnet20")
    code = (1, 2, 3, 4, 5, 6, 7, 8, 9)
    network = made.build(code)
    widths = [network.get_submodule(f"layer{stage}.{block}.conv1").out_channels for stage in (1, 2, 3) for block in (0, 1, 2)]
    assert widths == [1, 3, 4, 12, 16, 19, 44, 51, 57]
    assert count(network, torch.zeros(1, 3, 32, 32)).macs == made.macs(code)


def test_a_structure_is_the_masked_network(monkeypatch):
    monkeypatch.setattr(structures, "renewed", lambda network: network)  # normalisations as they were, to compare by
    made, code = found("resnet20"), (1, 2, 3, 4, 5, 6, 7, 8, 9)
    for norm in (item for item in made.network.modules() if isinstance(item, nn.BatchNorm2d)):
        norm.running_mean.normal_(0, 0.1)
        norm.running_var.uniform_(0.5, 1.5)
        norm.bias.data.normal_(0, 0.1)
    images, kept = torch.randn(2, 3, 32, 32), {stream: made.order[stream][:left].tolist() for stream, left in made.kept(code).items()}
    with torch.no_grad():
        with silenced(made.network.eval(), kept):
            wanted = made.network(images)
        assert float((made.build(code).eval()(images) - wanted).abs().max() / wanted.abs().max()) < 1e-5


def test_filters_are_inherited_the_same_for_all_and_normalisations_are_new():
    for draw in (0, None):
        made = found("resnet8", draw=draw)
        for norm in (item for item in made.network.modules() if isinstance(item, nn.BatchNorm2d)):
            norm.running_mean.fill_(3)
            norm.weight.data.fill_(3)
        whole, most, least = made.network.layer1[0], made.build((7, 7, 7)).layer1[0], made.build((3, 7, 7)).layer1[0]
        rows = [[int((whole.conv1.weight == row).flatten(1).all(1).nonzero()) for row in block.conv1.weight] for block in (most, least)]
        assert set(rows[1]) < set(rows[0]) and rows[0] == sorted(rows[0])
        assert torch.equal(most.conv2.weight, whole.conv2.weight[:, rows[0]])
        assert (most.bn1.running_mean == 0).all() and (most.bn1.weight == 1).all()
        if draw is None:
            assert set(rows[1]) == set(whole.conv1.weight.abs().flatten(1).sum(1).topk(4).indices.tolist())


def test_a_bee_moves_two_numbers_by_a_share_of_the_distance_within_bounds():
    assert space().move((4, 5, 6), (2, 1, 1), Dice(0.6, -0.9)) == (5, 1, 6)  # 4 + 1.2; 5 - 3.6; the third is not drawn
    assert space().move((7, 1, 6), (1, 7, 1), Dice(1.0, 1.0)) == (7, 1, 6)  # 13 and -5 are out of bounds


def test_onlookers_come_the_likelier_the_better_a_source_is():
    colony = colonies.Colony(Dice(0.54, 0.99, 0.56, 0.1, 0.05), [(1, 1, 1), (2, 2, 2)], [0, 0], {(1, 1, 1): 3.0, (2, 2, 2): 6.0})
    assert colony.watched() == [0, 1]  # 0.54 < 0.1 + 0.9 / 2; 0.99 < 1
    assert colony.watched() == [1, 0]  # 0.56 is not below 0.55; 0.1; 0.05


def test_a_source_is_left_for_a_better_code_alone():
    colony = colonies.Colony(Dice(-0.4, 0.0), [(2, 2, 2), (5, 2, 4)], [4, 4], {(2, 2, 2): 6.0, (5, 2, 4): 11.0})
    colony.fly([1], space(), valued)  # int(5 - 0.4 * 3)
    assert colony.fitness[3, 2, 4] == 9.0 and colony.sources[1] == (5, 2, 4) and colony.stale == [4, 5]
    colony.random = Dice(-1.0, 0.0)
    colony.fly([0], space(), valued)  # 2 - (2 - 5)
    assert colony.sources[0] == (5, 2, 2) and colony.stale == [0, 5]


def test_a_known_code_is_moved_again():
    colony = colonies.Colony(Dice(0.0, 0.0, -0.4, 0.0), [(2, 2, 2), (5, 2, 4)], [0, 0], {(2, 2, 2): 6.0, (5, 2, 4): 11.0})
    colony.fly([1], space(), valued)
    assert colony.fitness[3, 2, 4] == 9.0 and len(colony.fitness) == 3


def test_a_source_that_never_gets_better_is_given_up():
    colony = colonies.Colony(Random(0), [(2, 2, 2), (5, 2, 4)], [3, 0], {(2, 2, 2): 6.0, (5, 2, 4): 11.0})
    colony.cycle(space(), 4, lambda codes: [(0.0, None) for _ in codes])
    assert colony.sources[0] != (2, 2, 2) and colony.stale[0] == 0 and colony.sources[1] == (5, 2, 4) and colony.stale[1] > 0


def test_a_code_is_judged_once():
    judged = []

    def judge(codes):
        judged.extend(codes)
        return valued(codes)

    colony = colonies.Colony(Random(0))
    colony.settle(space(length=1, most=3), 4, judge)
    for _ in range(5):
        colony.cycle(space(length=1, most=3), 2, judge)
    assert sorted(judged) == [(1,), (2,), (3,)] and colony.best[0] == (3,)


def test_the_colony_climbs():
    """Codes of 12 numbers, the nearer to a hidden one the better: nearer, on average over 10 colonies, than as many random ones."""
    hidden, gains, place = (3, 7, 1, 5, 5, 2, 6, 7, 1, 4, 3, 6), [], space(length=12)

    def judge(codes):
        return [(100.0 - sum(abs(one - two) for one, two in zip(code, hidden, strict=True)), None) for code in codes]

    for seed in range(10):
        colony, drawn = colonies.Colony(Random(seed)), colonies.Colony(Random(seed))
        colony.settle(place, 10, judge)
        for _ in range(30):
            colony.cycle(place, 5, judge)
        drawn.look([place.draw(drawn.random) for _ in colony.fitness], judge)
        gains.append(colony.fitness[colony.best[0]] - drawn.fitness[drawn.best[0]])
    assert statistics.mean(gains) > 3 * statistics.stdev(gains) / 10**0.5


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32), st.integers(3, 12), st.floats(0.15, 0.65))
def test_codes_are_mended_to_the_macs_or_as_near_as_tenths_come(seed, length, target):
    place, random = space(target, length), Random(seed)
    first, second = place.draw(random), place.draw(random)
    for code in (first, second, place.move(first, second, random)):
        assert all(1 <= number <= 7 for number in code)
        assert abs(sum(code) / 10 / length - target) <= max(0.01, 0.05 / length) + 1e-9


def test_every_candidate_is_charged_and_the_search_is_counted(suite_home):
    """At smoke: candidates, their samples, the MACs of what is delivered."""
    record = fit_once("cifar10", "abc_pruner")[1]
    notes, budget = record["notes"], record["budget"]
    samples = 24  # three batches of 8 in 0.75 * 256 / 7
    assert budget["final"] + (notes["candidates"] - 1) * samples == budget["total"]
    assert 2 <= notes["candidates"] <= 7 and 0.49 <= notes["macs_kept"] <= 0.5
    assert notes["search_flops"] == 2 * notes["search_macs"] > 0
    assert record["profile"]["macs"] == pytest.approx(notes["macs_kept"] * 40_551_040)


def test_threads_share_the_work_and_change_nothing(suite_home, monkeypatch, tmp_path):
    spec = specs("cifar10", [("plain", {"arch": "resnet8"})], [0], "smoke").wanted[0]
    run = replace(context(spec, 256), folder=tmp_path)
    setting = spec.task.setting(run)
    method, made = METHOD(batch=16, search_share=0.1), found("resnet8")
    made.network.fc = nn.Sequential(nn.Dropout(0.5), made.network.fc)  # its random numbers are those of all threads
    monkeypatch.setattr(METHOD, "samples", lambda self, run: 48)
    codes, judged, before = [(7, 1, 4), (3, 4, 7), (1, 1, 1)], [], torch.get_num_threads()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            judged.append(method.judge(made, setting, run, codes))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    for (value, one), (again, two) in zip(*judged, strict=True):
        assert value == again
        for name, values in one.state_dict().items():
            assert torch.equal(values, two.state_dict()[name]), name
    norm, drop = judged[0][0][1].bn1, judged[0][0][1].fc[0]
    assert norm.momentum == 0.1 and norm.num_batches_tracked == 3 and drop.p == 0.5


def test_more_macs_than_alpha_allows_is_said():
    with pytest.raises(UserError, match=r"alpha=4 structures have 0\.\d+ to 0\.4\d+ of the MACs, and macs=0.7 is wanted"):
        METHOD(alpha=4, macs=0.7).searched(found("resnet8"), None, None)

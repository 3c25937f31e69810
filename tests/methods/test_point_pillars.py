"""Pillars, their places on the map, anchors, the code of boxes, the losses, suppression and pasted objects, each against another way."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
import torch
from shapely.geometry import Polygon

from suite import plugins
from suite.data import source
from suite.data.kitti import Kitti
from suite.errors import UserError
from suite.metrics.rotated import corners
from suite.paths import cache_folder
from suite.testing.contract import fit_once
from suite.train import Recipe

METHOD = plugins.load("baselines", "point_pillars")
CODE = sys.modules[METHOD.__module__]
PILLARS = sys.modules[CODE.Grid.__module__]
ANCHORS = sys.modules[CODE.anchors_on.__module__]
CLOUDS = sys.modules[CODE.cuttings.__module__]
KINDS = ("Car", "Pedestrian", "Cyclist")
GRID = PILLARS.Grid(4.0, 2.0, -3.0, 1.0, 0.5)  # 8 cells ahead, 8 to the sides


def scan(count: int = 300, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 4, generator=torch.Generator().manual_seed(seed)) * torch.tensor([5.0, 5.0, 5.0, 1.0]) - torch.tensor([0.5, 2.5, 3.5, 0.0])


def test_pillars_hold_the_first_points_of_their_cells() -> None:
    points = scan()
    found = PILLARS.pillars(points, GRID, 1000, 4)
    wanted: dict[int, list] = {}
    for x, y, z, shine in points.tolist():  # point by point
        if 0 <= x < 4 and -2 <= y < 2 and -3 <= z < 1:
            wanted.setdefault(int((y + 2) // 0.5) * 8 + int(x // 0.5), []).append([x, y, z, shine])
    assert found.place.tolist() == sorted(wanted) and len(wanted) > 40
    for row, place in enumerate(found.place.tolist()):
        count = min(4, len(wanted[place]))
        assert found.count[row] == count and found.points[row, :count].tolist() == wanted[place][:4]
        assert not found.points[row, count:].any()
    few = PILLARS.pillars(points, GRID, 10, 4)
    kept = {int((y + 2) // 0.5) * 8 + int(x // 0.5): None for x, y, z, _ in points.tolist() if GRID.inside(torch.tensor([[x, y, z]]))[0]}
    assert few.place.tolist() == sorted(list(kept)[:10])  # the cells of the first points


def test_scatter_puts_pillars_where_they_belong() -> None:
    """The pseudo-image of two scans by a loop over their pillars, and its cell against the anchor that stands there."""
    encoder = PILLARS.PillarEncoder(GRID, 6, 1000, 4, False).eval()
    scans = [scan(seed=1), scan(seed=2)]
    image = encoder(scans)
    assert image.shape == (2, 6, 8, 8)
    for number, points in enumerate(scans):
        item = PILLARS.pillars(points, GRID, 1000, 4)
        features = encoder.features(item)
        wanted = torch.zeros(6, 8, 8)
        for place, values in zip(item.place.tolist(), features, strict=True):
            wanted[:, place // 8, place % 8] = values
        assert torch.allclose(image[number], wanted, atol=1e-6) and (wanted != 0).any()
    anchors = ANCHORS.anchors_on(8, 8, 0.5, 2.0, KINDS).view(8, 8, 6, 7)
    one = encoder([torch.tensor([[3.1, -1.4, -1.0, 0.5]])])[0].abs().sum(0)
    (row, column), = one.nonzero().tolist()
    assert (anchors[row, column, :, :2] - torch.tensor([3.1, -1.4])).abs().max() <= 0.25


def test_absent_points_are_zero_behind_decoration() -> None:
    item = PILLARS.pillars(torch.tensor([[0.6, 0.1, -1.0, 0.5], [0.8, 0.3, -2.0, 0.7]]), GRID, 10, 3)
    first, second, absent = PILLARS.decorated(item, GRID)[0]
    assert first.tolist() == pytest.approx([0.6, 0.1, -1, 0.5, -0.1, -0.1, 0.5, -0.15, -0.15, 0.0])
    assert second.tolist() == pytest.approx([0.8, 0.3, -2, 0.7, 0.1, 0.1, -0.5, 0.05, 0.05, -1.0])
    assert not absent.any()


def test_features_by_hand() -> None:
    """Linear, normalised over all places of all pillars, the absent ones too, ReLU, and the greatest of each pillar."""
    encoder = PILLARS.PillarEncoder(GRID, 6, 1000, 4, False).train()
    item = PILLARS.pillars(scan(), GRID, 1000, 4)
    assert (item.count < 4).any()
    values = PILLARS.decorated(item, GRID).reshape(-1, 10) @ encoder.linear.weight.T
    mean, variance = values.mean(0), values.var(0, correction=0)
    wanted = ((values - mean) / (variance + 1e-3).sqrt()).clamp(min=0).view(len(item.count), 4, 6).amax(1)
    assert torch.allclose(encoder.features(item), wanted, atol=1e-5)
    assert torch.allclose(encoder.norm.running_mean, 0.01 * mean, atol=1e-6)


def test_an_empty_scan_is_an_empty_map() -> None:
    encoder = PILLARS.PillarEncoder(GRID, 6, 1000, 4, False).eval()
    assert not encoder([torch.zeros(0, 4)]).any()
    options = METHOD(**METHOD.scales["smoke"])
    (found,) = CODE.PointPillars(options, KINDS).eval()([torch.zeros(0, 4)])
    assert found["boxes"].shape == (0, 7) and len(found["labels"]) == len(found["scores"]) == 0


def test_the_papers_configuration_has_its_size() -> None:
    network = CODE.PointPillars(METHOD(), KINDS)
    assert network.grid.size == (496, 432) and len(network.anchors) == 248 * 216 * 6
    encoder = 10 * 64 + 2 * 64
    blocks = 4 * (64 * 64 * 9 + 128) + (64 * 128 * 9 + 5 * 128 * 128 * 9 + 6 * 256) + (128 * 256 * 9 + 5 * 256 * 256 * 9 + 6 * 512)
    ups = (64 * 128 + 256) + (128 * 128 * 4 + 256) + (256 * 128 * 16 + 256)
    heads = 385 * (6 * 3 + 6 * 7 + 6 * 2)
    count = sum(item.numel() for item in network.parameters())
    assert count == encoder + blocks + ups + heads == 4_834_888
    assert 4 * count / 2**20 == pytest.approx(18, abs=0.5)  # OpenPCDet's model of 18 MB
    small = CODE.PointPillars(METHOD(ahead=5.12, side=2.56, pasted=0), KINDS).train()
    targets = [{"boxes": torch.tensor([[3.0, 0, -1, 3.9, 1.6, 1.5, 0.2]]), "labels": torch.tensor([1])}]
    value = small.loss([scan()], targets)
    value.backward()
    assert value.isfinite() and all(item.grad is not None for item in small.parameters())
    small.eval()
    assert small.body(small.body.prepare([scan()])).shape == (1, 72, 16, 16)
    assert small.body.encoder.most == 40_000 and small.train().body.encoder.most == 16_000


def test_the_backbone_brings_three_scales_together() -> None:
    trunk = PILLARS.Trunk(8, (3, 5, 5), 2, 6, 3)
    assert trunk(torch.zeros(1, 8, 32, 48)).shape == (1, 72, 16, 24)
    assert [len(block) for block in trunk.blocks] == [4, 6, 6]
    assert [up[0].stride[0] for up in trunk.ups] == [1, 2, 4]


def test_boxes_are_told_from_their_code() -> None:
    draw = np.random.default_rng(0)
    anchors = ANCHORS.anchors_on(4, 4, 0.5, 1.0, KINDS)
    boxes = torch.tensor(np.column_stack([draw.uniform(-3, 3, (96, 3)), draw.uniform(0.3, 5, (96, 3)), draw.uniform(-math.pi, math.pi, 96)])).float()
    heading = torch.nn.functional.one_hot(ANCHORS.bins(boxes[:, 6]), 2).float()
    for turned in (0.0, math.pi, -math.pi):  # what the sine cannot tell apart, the direction does
        codes = ANCHORS.encoded(boxes, anchors)
        codes[:, 6] += turned
        again = ANCHORS.decoded(codes, anchors, heading)
        assert (again[:, :6] - boxes[:, :6]).abs().max() < 1e-4
        away = (again[:, 6] - boxes[:, 6]) / (2 * math.pi)
        assert (away - away.round()).abs().max() < 1e-5
    by_hand = ANCHORS.encoded(torch.tensor([[1.0, 2, 3, 7.8, 1.6, 1.56, 0.5]]), torch.tensor([[0.0, 0, 0, 3.9, 1.6, 1.56, 0.0]]))
    diagonal = math.hypot(3.9, 1.6)
    assert by_hand[0].tolist() == pytest.approx([1 / diagonal, 2 / diagonal, 3 / 1.56, math.log(2), 0, 0, 0.5])


def test_anchors_are_openpcdets() -> None:
    """Sizes and bottoms of its kitti_models/pointpillar.yaml; a box is given by its middle."""
    each = ANCHORS.anchors_on(1, 1, 0.5, 1.0, KINDS)
    sizes = [(3.9, 1.6, 1.56, -1.78), (0.8, 0.6, 1.73, -0.6), (1.76, 0.6, 1.73, -0.6)]
    for row, (long, wide, high, bottom) in zip((0, 2, 4), sizes, strict=True):
        for turned in (0, 1):
            assert each[row + turned].tolist() == pytest.approx([0.25, -0.75, bottom + high / 2, long, wide, high, turned * math.pi / 2])
    assert [(item.match, item.miss) for item in ANCHORS.ANCHORS.values()] == [(0.6, 0.45), (0.5, 0.35), (0.5, 0.35)]


def test_the_two_bins_meet_at_45_degrees() -> None:
    angles = torch.tensor([0.0, math.pi / 2, math.pi, -math.pi / 2, math.pi / 4 + 0.01, math.pi / 4 - 0.01, 5 * math.pi / 4 - 0.01])
    assert ANCHORS.bins(angles).tolist() == [1, 0, 0, 1, 0, 1, 0]


def test_anchors_answer_for_the_objects_that_they_overlap() -> None:
    anchors = ANCHORS.anchors_on(20, 20, 0.5, 5.0, KINDS)
    boxes = torch.tensor([[5.3, 0.3, -1, 4.0, 1.7, 1.5, 0.2], [2.2, -3.1, -0.9, 0.7, 0.6, 1.8, 1.2], [8.0, 3.0, -0.9, 1.7, 0.6, 1.7, 1.5]])
    labels = torch.tensor([1, 2, 3])
    found = ANCHORS.matched(anchors, KINDS, boxes, labels)
    overlaps = [_flat(anchor, boxes[row // 2 % 3].tolist()) for row, anchor in enumerate(anchors.tolist())]  # with its own class's
    bests = [max(overlaps[row] for row in range(len(overlaps)) if row // 2 % 3 == kind) for kind in range(3)]
    for row, overlap in enumerate(overlaps):
        kind = row // 2 % 3
        shape, best = ANCHORS.ANCHORS[KINDS[kind]], bests[kind]
        wanted = kind if overlap >= shape.match else -2 if overlap >= shape.miss else -1
        assert found[row] == (kind if found[row] == kind and overlap > best - 1e-6 else wanted)
    assert {0, 1, 2, -1, -2} == set(found.tolist())
    assert overlaps[found.tolist().index(1)] > bests[1] - 1e-6
    assert set(ANCHORS.matched(anchors, KINDS, boxes[:0], labels[:0]).tolist()) == {-1}


def _flat(first: list[float], second: list[float]) -> float:
    """Overlap on the ground of boxes turned to the nearest quarter."""
    ends = []
    for x, y, _, long, wide, _, angle in (first, second):
        if round(angle / (math.pi / 2)) % 2:
            long, wide = wide, long
        ends.append((x - long / 2, y - wide / 2, x + long / 2, y + wide / 2))
    (a, b, c, d), (e, f, g, h) = ends
    both = max(0, min(c, g) - max(a, e)) * max(0, min(d, h) - max(b, f))
    return both / ((c - a) * (d - b) + (g - e) * (h - f) - both)


def test_the_loss_by_hand() -> None:
    """One scan, three anchors of one class: the first is the object's, the second is not asked, the third has none."""
    anchors = torch.tensor([[0.0, 0, 0, 4, 2, 1.5, 0], [0, 0, 0, 4, 2, 1.5, 0], [9, 9, 0, 4, 2, 1.5, 0]])
    box = torch.tensor([[0.4, 0, 0, 4, 2, 1.5, math.pi]])
    scores = torch.tensor([[[0.3], [5.0], [-1.0]]])
    codes = torch.zeros(1, 3, 7)
    directions = torch.tensor([[[2.0, 0.5], [0, 0], [0, 0]]])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ANCHORS, "matched", lambda *_: torch.tensor([0, -2, -1]))
        found = ANCHORS.detection_loss((scores, codes, directions), anchors, ("Car",), [{"boxes": box, "labels": torch.tensor([1])}])
        twice = ANCHORS.detection_loss(tuple(item.repeat(2, 1, 1) for item in (scores, codes, directions)), anchors, ("Car",),
                                       [{"boxes": box, "labels": torch.tensor([1])}] * 2)
    p, q = 1 / (1 + math.exp(-0.3)), 1 / (1 + math.exp(1.0))
    focal = -0.25 * (1 - p) ** 2 * math.log(p) - 0.75 * q**2 * math.log(1 - q)
    off = 0.4 / math.hypot(4, 2)
    location = 0.5 * 9 * off**2 if off < 1 / 9 else off - 0.5 / 9  # and nothing for a half turn
    direction = math.log(1 + math.exp(0.5 - 2.0))  # pi lies in bin 0
    assert found.item() == twice.item() == pytest.approx(focal + 2 * location + 0.2 * direction, rel=1e-5)


def test_objects_outside_the_map_are_not_looked_for() -> None:
    network = CODE.PointPillars(METHOD(**METHOD.scales["smoke"]), KINDS)
    outside = {"boxes": torch.tensor([[26.2, 0, -1, 3.9, 1.6, 1.5, 0.0]]), "labels": torch.tensor([1])}  # whose half is on the map
    losses = [network.eval().loss([scan()], [{key: item[:count] for key, item in outside.items()}]) for count in (0, 1)]
    assert losses[0].isfinite() and losses[0] == losses[1]


def test_what_is_found_is_good_enough_apart_and_headed() -> None:
    """Of four cars that stand on their anchors the second overlaps the first by a fifth and the last is too unlikely."""
    network = CODE.PointPillars(METHOD(**METHOD.scales["smoke"]), KINDS)
    anchors = network.anchors.view(*(size // 2 for size in network.grid.size), 6, 7)
    car = anchors[:, :, 0].reshape(-1, 7)
    columns = anchors.shape[1]
    places = [0, 2, 9, 12]  # along x, cells of 1.28 m
    scores, codes = torch.full((len(car), 6, 3), -9.0), torch.zeros(len(car), 6, 7)
    for place, probability in zip(places, (0.9, 0.8, 0.11, 0.09), strict=True):
        scores[place, 0, 0] = math.log(probability / (1 - probability))
    directions = torch.zeros(len(car), 6, 2)
    directions[places[0], 0, 1] = directions[places[2], 0, 0] = 1.0
    found = network.found(scores.view(-1, 3), codes.view(-1, 7), directions.view(-1, 2))
    assert columns > 12 and found["labels"].tolist() == [1, 1]
    assert found["scores"].tolist() == pytest.approx([0.9, 0.11])
    assert torch.allclose(found["boxes"][:, :6], car[[0, 9], :6])
    assert found["boxes"][:, 6].cos().tolist() == pytest.approx([1, -1])  # an angle of 0 is in bin 1, the other heading in bin 0


def test_a_half_turn_costs_nothing_and_a_quarter_does() -> None:
    codes = torch.zeros(1, 7)
    for turn, wanted in ((math.pi, 0.0), (-math.pi, 0.0), (math.pi / 2, 1 - 0.5 / 9), (0.05, 4.5 * math.sin(0.05) ** 2)):
        goal = torch.zeros(1, 7)
        goal[:, 6] = turn
        assert ANCHORS.location_loss(codes, goal).item() == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("overlap", [0.01, 0.3])
def test_suppression_against_brute_force(overlap: float) -> None:
    draw = np.random.default_rng(3)
    boxes = torch.tensor(np.column_stack([draw.uniform(0, 15, (120, 2)), np.zeros(120), draw.uniform(0.5, 5, (120, 2)), np.ones(120), draw.uniform(-4, 4, 120)]))
    scores = torch.tensor(draw.uniform(0, 1, 120).round(2))
    polygons = [Polygon(ground) for ground in corners(boxes.numpy())]
    wanted: list[int] = []
    for row in scores.argsort(descending=True, stable=True).tolist():
        shared = [polygons[row].intersection(polygons[other]).area for other in wanted]
        if all(both / (polygons[row].area + polygons[other].area - both) <= overlap for both, other in zip(shared, wanted, strict=True)):
            wanted.append(row)
    assert ANCHORS.suppressed(boxes, scores, overlap, 500).tolist() == wanted and 10 < len(wanted) < 110
    assert ANCHORS.suppressed(boxes, scores, overlap, 7).tolist() == wanted[:7]
    assert ANCHORS.suppressed(boxes[:0], scores[:0], overlap, 7).tolist() == []


def test_turned_overlap_is_not_that_of_upright_boxes() -> None:
    crossed = torch.tensor([[0.0, 0, 0, 4, 0.5, 1, math.pi / 4], [2.2, -2.2, 0, 4, 0.5, 1, math.pi / 4]])  # side by side, hulls overlap
    assert len(ANCHORS.suppressed(crossed, torch.tensor([0.9, 0.8]), 0.01, 10)) == 2


def _frames(count: int, suite_home) -> object:
    dataset = Kitti()
    return dataset.read(source.embedded_folder(dataset, cache_folder()), "train").subset(torch.arange(count))


def test_variation_moves_points_and_boxes_alike(suite_home) -> None:
    data = _frames(6, suite_home)
    for row in range(6):
        points, target = data.points(row), data.target(row)
        before = CLOUDS.inside(points, target["boxes"]).sum(0)
        generator = torch.Generator().manual_seed(row)
        moved, changed = CLOUDS.varied(points, target, generator)
        after = CLOUDS.inside(moved, changed["boxes"]).sum(0)
        assert before.sum() > 50 and (before - after).abs().max() <= 2  # points on a side may round to either
        assert not torch.equal(points, moved) and torch.equal(data.points(row), points) and torch.equal(data.target(row)["boxes"], target["boxes"])


def test_variation_has_its_range() -> None:
    points, target = scan(1), {"boxes": torch.tensor([[1.0, 0, 0, 2, 1, 1, 0]]), "labels": torch.tensor([1])}
    generator = torch.Generator().manual_seed(0)
    boxes = torch.cat([CLOUDS.varied(points, target, generator)[1]["boxes"] for _ in range(300)])
    for values, low, high in ((boxes[:, 6], -math.pi / 4, math.pi / 4), (boxes[:, 3] / 2, 0.95, 1.05)):
        spare = 0.02 * (high - low)
        assert low <= values.min() < low + spare and high - spare < values.max() <= high
    target["boxes"][:, 1] = 5.0
    mirrored = [CLOUDS.varied(points, target, generator)[1]["boxes"][0, 1] < 0 for _ in range(300)]
    assert 110 < sum(mirrored) < 190


def test_points_come_in_another_order_each_time() -> None:
    """So that a full pillar keeps a random subset: the reflectances, which nothing varies, are the same ones in another order."""
    points, target = scan(), {"boxes": torch.zeros(0, 7), "labels": torch.zeros(0, dtype=torch.int64)}
    generator = torch.Generator().manual_seed(0)
    first, second = (CLOUDS.varied(points, target, generator)[0][:, 3] for _ in range(2))
    assert sorted(first.tolist()) == sorted(second.tolist()) == sorted(points[:, 3].tolist())
    assert not torch.equal(first, second) and not torch.equal(first, points[:, 3])


def test_pasted_objects_bring_their_points_and_stand_free(suite_home) -> None:
    data = _frames(12, suite_home)
    store = CLOUDS.cuttings(data)
    assert all(len(items) > 3 and min(len(item.points) for item in items) >= 5 for items in store.values())
    generator = torch.Generator().manual_seed(0)
    added = others = 0
    for row in range(6):
        points, target = data.points(row), data.target(row)
        more, changed = CLOUDS.pasted(points, target, store, 4, generator)
        old = len(target["labels"])
        added += len(changed["labels"]) - old
        everything = torch.cat([target["others"], changed["boxes"]])  # what is not looked for stands too
        polygons = [Polygon(ground) for ground in corners(everything.double().numpy())]
        assert all(polygons[new].intersection(polygons[other]).area < 1e-6
                   for new in range(len(target["others"]) + old, len(polygons)) for other in range(new))
        others += len(target["others"])
        within = CLOUDS.inside(more, changed["boxes"])
        assert (within.sum(0)[old:] >= 5).all()
        assert within[: len(points) - (~CLOUDS.inside(points, changed["boxes"][old:]).any(1)).logical_not().sum(), old:].sum() == 0
    assert added > 10 and others > 0


def test_frames_of_one_kind(suite_home) -> None:
    data = _frames(60, suite_home)
    generator = torch.Generator().manual_seed(0)
    night = CLOUDS.chosen(data, "night", 9, generator)
    assert len(night) == 9 and all(night.attributes(row)["time"] == "night" for row in range(9))
    assert sorted(CLOUDS.chosen(data, "", 0, generator).ids) == sorted(data.ids)
    with pytest.raises(UserError, match="training frames of the kind 'low', fewer than the 60 asked for; give frames= a smaller number"):
        CLOUDS.chosen(data, "low", 60, generator)


def test_it_learns_two_frames_by_heart(suite_home) -> None:
    data = _frames(2, suite_home)
    torch.manual_seed(0)
    options = METHOD(**{**METHOD.scales["smoke"], "width": 16, "cell": 0.4, "first": 1, "points": 16, "pillars": 2000})
    network = CODE.PointPillars(options, KINDS).train()
    for layer in network.modules():
        if hasattr(layer, "momentum"):
            layer.momentum = 0.1  # so few steps
    recipe = Recipe(rate=5e-3, batch=2, weight_decay=0.01, warmup=0.3, adam=True, decoupled=True, longest=10.0, schedule="one-cycle")
    optimizer = recipe.optimizer(network)
    scans, targets = [data.points(row) for row in range(2)], [data.target(row) for row in range(2)]
    for step in range(120):
        recipe.descend(optimizer, network.loss(scans, targets), (step + 1) / 120)
    for found, target in zip(network.eval()(scans), targets, strict=True):
        inside = options.grid.inside(target["boxes"])
        away = torch.cdist(target["boxes"][inside, :3], found["boxes"][:, :3])
        nearest = away.argmin(1)
        assert (away.amin(1) < 0.4).float().mean() > 0.8
        same = found["labels"][nearest] == target["labels"][inside]
        turned = (found["boxes"][nearest, 6] - target["boxes"][inside, 6]).cos()
        assert same.float().mean() > 0.8 and (turned > 0.9).float().mean() > 0.7  # its heading too


def test_hand_made_features_feed_the_same_backbone() -> None:
    learned, simple = (CODE.PointPillars(METHOD(**{**METHOD.scales["smoke"], "features": name}), KINDS) for name in ("learned", "handmade"))
    assert {name: item.shape for name, item in learned.state_dict().items() if "encoder" not in name} == {
        name: item.shape for name, item in simple.state_dict().items()}
    item = PILLARS.pillars(torch.tensor([[0.6, 0.1, -1.0, 0.5], [0.8, 0.3, -2.0, 0.7]]), GRID, 10, 3)
    assert PILLARS.statistics(item)[0].tolist() == pytest.approx([1, math.log(3) / 3, -1, -2, -1.5, 0.6, 0.7])


def test_options_that_do_not_fit() -> None:
    with pytest.raises(UserError, match="A map of 10 x 10 cells cannot be halved 3 times; give ahead= and side= that are multiples of 8 m"):
        METHOD(ahead=10, side=5, cell=1)
    with pytest.raises(UserError, match="There is no state-dict file 'nowhere.pt'"):
        METHOD(weights="nowhere.pt")


def test_weights_of_the_user_are_judged_as_they_are(suite_home, tmp_path) -> None:
    network = CODE.PointPillars(METHOD(**METHOD.scales["smoke"]), KINDS)
    path = tmp_path / "weights.pt"
    torch.save(network.state_dict(), path)
    spec, record = fit_once("astar_3d", "point_pillars", options={"weights": str(path)})
    assert record["budget"]["total"] == 0
    known = torch.load(spec.artifact, weights_only=False).module.state_dict()
    assert all(torch.equal(known[name], item) for name, item in network.state_dict().items())

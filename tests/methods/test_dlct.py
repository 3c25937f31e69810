"""DLCT: the alignment graph, relations of boxes, who looks at whom, no row without a key."""

from __future__ import annotations

import importlib
import math

import pytest
import torch
from captioning import features, setting
from torch import nn

from suite.settings import FeatureBatch
from suite.testing.contract import fit_once

dlct = importlib.import_module("suite.baselines.dlct")

SMALL = {"width": 16, "heads": 2, "hidden": 32, "layers": 2, "beams": 3}


def network(**options) -> nn.Module:
    torch.manual_seed(0)
    return dlct.DlctMethod(**{**SMALL, **options}).network(setting(), features()).eval()


def test_the_cells_that_a_box_covers():
    """Columns floor(7 x1) to the last that begins at or before x2, rows likewise."""
    boxes = torch.tensor([[[0.0, 0.0, 0.1, 0.1],  # within the first cell
                           [0.3, 0.5, 0.45, 0.99],  # columns 2 (of 2/7 = 0.286) and 3 (begins at 0.4286), rows 3 to 6
                           [0.0, 0.0, 1.0, 1.0],
                           [1.0, 1.0, 1.0, 1.0]]])  # at the corner: the last cell
    graph = dlct.covered(boxes, 49)[0].view(4, 7, 7)
    wanted = torch.zeros(4, 7, 7, dtype=torch.bool)
    wanted[0, 0, 0] = True
    wanted[1, 3:, 2:4] = True
    wanted[2] = True
    wanted[3, 6, 6] = True
    assert torch.equal(graph, wanted)


def test_cells_lie_row_by_row():
    boxes = dlct.cell_boxes(49, torch.zeros(0))
    assert torch.allclose(boxes[8], torch.tensor([1, 1, 2, 2]) / 7) and torch.allclose(boxes[6], torch.tensor([6, 0, 7, 1]) / 7)
    assert torch.equal(dlct.covered((boxes + torch.tensor([0.01, 0.01, -0.01, -0.01]))[None], 49)[0], torch.eye(49).bool())


def test_relations_by_hand():
    boxes = torch.tensor([[[0.0, 0.0, 0.5, 0.25], [0.5, 0.0, 1.0, 1.0]]])
    found = dlct.relations(boxes)
    assert found.shape == (1, 2, 2, 64)
    # From the first to the second: centres 0.25 and 0.75, 0.125 and 0.5; sizes with 1 added: 1.5 x 1.25 and 1.5 x 2.
    delta = [math.log(0.5 / 1.5), math.log(0.375 / 1.25), math.log(1.5 / 1.5), math.log(1.25 / 2)]
    angles = [100 * item / 1000 ** (k / 8) for item in delta for k in range(8)]
    assert found[0, 0, 1].tolist() == pytest.approx([*map(math.sin, angles), *map(math.cos, angles)], abs=1e-3)
    itself = [100 * math.log(1e-3) / 1000 ** (k / 8) for k in range(8)]  # no distance to itself: the floor
    assert found[0, 0, 0, :8].tolist() == pytest.approx([math.sin(item) for item in itself], abs=1e-3)


def test_who_looks_at_whom():
    made, batch = network(), features((3, 1), cells=9)
    found = made.encoder.inputs(batch)
    allowed = made.encoder.allowed(batch, found, 3)
    assert allowed.shape == (2, 12, 12) and allowed.any(2).all()  # no row without a key
    graph = dlct.covered(batch.boxes, 9) & batch.present[:, :, None]
    assert torch.equal(allowed[:, :3, 3:], graph) and torch.equal(allowed[:, 3:, :3], graph.transpose(1, 2))
    assert torch.equal(allowed[:, :3, :3], torch.eye(3).bool().expand(2, -1, -1))
    assert torch.equal(allowed[:, 3:, 3:], torch.eye(9).bool().expand(2, -1, -1))
    assert not allowed[1, 1:3, 3:].any() and not allowed[1, 3:, 1:3].any()  # padding covers nothing, though its box is 0
    everything = network(aligned=False).encoder.allowed(batch, found, 3)
    assert everything[0].all() and torch.equal(everything[1, 0], found.present[1])


@pytest.mark.parametrize("options", [{}, {"aligned": False}, {"kinds": "regions"}, {"kinds": "grid"}])
def test_padding_changes_nothing_and_gives_no_nan(options):
    made, batch = network(**options), features((3, 1))
    alone = FeatureBatch(batch.regions[1:, :1], batch.boxes[1:, :1], batch.present[1:, :1], batch.grid[1:])
    words = torch.tensor([[1, 4, 6]])
    both = made.logits(words.expand(2, -1), made.remember(*batch))
    assert both.isfinite().all()
    assert torch.allclose(both[1:], made.logits(words, made.remember(*alone)), atol=1e-5)


def test_a_cell_that_no_region_covers_never_reaches_one():
    """In one layer, what a distractor cell holds changes its own token and no region's but through the grid itself."""
    made = network(layers=1)
    batch = features((1,), cells=9)
    batch.boxes[0, 0] = torch.tensor([0.05, 0.05, 0.2, 0.2])  # the first cell alone
    out = made.encoder.layers[0]["grid"].attention.out  # cells that see themselves alone, so that nothing spreads among them
    nn.init.zeros_(out.weight)
    nn.init.zeros_(out.bias)
    before = made.encoder(batch).tokens
    other = batch._replace(grid=batch.grid.clone())
    other.grid[0, 8] += 5
    after = made.encoder(other).tokens
    assert torch.allclose(before[0, 0], after[0, 0], atol=1e-6) and not torch.allclose(before[0, 9], after[0, 9])
    free = network(layers=1, aligned=False)
    assert not torch.allclose(free.encoder(batch).tokens[0, 0], free.encoder(other).tokens[0, 0], atol=1e-4)


def test_a_relation_of_zero_is_a_floor_and_no_mask():
    """omega below 1e-6 adds log 1e-6 to all scores alike: as if there were no relations."""
    made, batch = network(), features((3, 2))
    nn.init.zeros_(made.encoder.relation.weight)
    nn.init.constant_(made.encoder.relation.bias, -1.0)
    low = made.encoder(batch).tokens
    nn.init.constant_(made.encoder.relation.bias, 2.0)
    assert low.isfinite().all() and torch.allclose(low, made.encoder(batch).tokens, atol=1e-4)


def test_the_papers_size():
    torch.manual_seed(0)
    made = dlct.DlctMethod().network(setting(), features(size=2048, cells=49))
    assert made.encoder.relation.weight.shape == (8, 64)  # eight small layers, shared by all
    assert [sorted(layer) for layer in made.encoder.layers] == [["grid", "grid_cross", "region_cross", "regions"]] * 3
    each = 4 * (512 * 512 + 512) + 512 * 2048 * 2 + 2048 + 512 + 4 * 512
    assert sum(item.numel() for item in made.encoder.layers.parameters()) == 12 * each
    made.logits(torch.tensor([[1, 4]] * 2), made.remember(*features(size=2048, cells=49))).sum().backward()
    assert all(item.grad is not None and item.grad.isfinite().all() for item in made.parameters())


def test_at_smoke_scale(suite_home):
    _, record = fit_once("coco_captioning", "dlct")
    assert record["status"] == "done"

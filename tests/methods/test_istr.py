"""ISTR: the mask embedding, the matching cost, the losses, the refinement, and that nothing is suppressed."""

from __future__ import annotations

import dataclasses
import importlib
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import IncrementalPCA
from torch import nn
from torch.nn import functional
from torchvision.ops import nms, roi_align

from suite import plugins
from suite.context import Budget, Run
from suite.data.coco import Coco
from suite.errors import UserError
from suite.kernel import check, lower
from suite.nn import NarrowResNet, build
from suite.testing.contract import fit_once
from suite.train.detection import example

METHOD = plugins.load("baselines", "istr")
method = importlib.import_module("suite.baselines.istr")
embedding = importlib.import_module("suite.baselines._mask_embedding")
network = importlib.import_module("suite.baselines._istr")
losses = importlib.import_module("suite.baselines._set_loss")

IMAGES = [torch.rand(3, 64, 48, generator=torch.Generator().manual_seed(0)), torch.rand(3, 50, 80, generator=torch.Generator().manual_seed(1))]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def discs() -> torch.Tensor:
    """Masks uint8 (300, 784) of discs anywhere in their boxes."""
    middle, radius = torch.rand(300, 2, 1, 1, generator=seeded(1)) * 16 + 6, torch.rand(300, 1, 1, generator=seeded(2)) * 10 + 3
    pixels = torch.arange(28.0)
    distance = (pixels[:, None] - middle[:, 0]) ** 2 + (pixels - middle[:, 1]) ** 2
    return (distance < radius**2).flatten(1).to(torch.uint8)


@pytest.fixture
def detector():
    torch.manual_seed(0)
    return network.Istr(NarrowResNet(2), 3, 64, nn.Sigmoid(), 784, queries=5, stages=3, width=16)


# The embedding


def test_encoding_and_decoding_are_scikit_learns(discs):
    ours = embedding.fit_embedding(discs, 20, seeded())
    soft = embedding.soft_logits(discs, seeded()).numpy()
    theirs = IncrementalPCA(20, whiten=True, batch_size=1024).fit(soft)
    codes = ours.encode(discs, seeded())
    assert torch.allclose(codes, torch.from_numpy(theirs.transform(soft)).float(), atol=1e-3)
    again = torch.from_numpy(theirs.inverse_transform(codes.numpy())).float().sigmoid()
    assert torch.allclose(ours(codes), again, atol=1e-4)
    assert torch.allclose(codes.var(0), torch.ones(20), atol=0.02)  # whitened
    assert not any(item.requires_grad for item in ours.parameters())


def test_an_embedding_by_hand():
    # Two pixels, one component along the first: z = (y_1 - 0.5) / 2, and back y = (0.5 + 2 z, -1).
    ours = embedding.MaskEmbedding(torch.tensor([0.5, -1.0]), torch.tensor([[1.0, 0.0]]), torch.tensor([4.0]))
    masks = torch.tensor([[1, 0], [0, 1]], dtype=torch.uint8)
    first = embedding.soft_logits(masks, seeded())[:, 0]
    assert torch.allclose(ours.encode(masks, seeded())[:, 0], (first - 0.5) / 2)
    assert torch.allclose(ours(torch.tensor([[3.0]])), torch.tensor([[1 / (1 + math.exp(-6.5)), 1 / (1 + math.exp(1.0))]]))


def test_soft_logits_stay_inside_their_bounds_and_keep_the_side():
    masks = torch.tensor([0, 1], dtype=torch.uint8).repeat(10_000)
    soft = embedding.soft_logits(masks, seeded()).sigmoid()
    outside, inside = soft[0::2].aminmax(), soft[1::2].aminmax()
    assert [float(item) for item in (*outside, *inside)] == pytest.approx([0.01, 0.05, 0.95, 0.99], abs=1e-4)
    # u is 0.01 for a fifth of the pixels: mean 0.2 * 0.01 + 0.8 * 0.03
    assert abs(float(soft[0::2].mean()) - 0.026) < 5e-4


def test_more_components_restore_more_and_the_first_ones_are_an_embedding_of_their_own(discs):
    whole = embedding.fit_embedding(discs, 40, seeded())
    scores = [embedding.reconstruction_iou(whole.first(size), discs, seeded(5)) for size in (5, 10, 20, 40)]
    assert scores == sorted(scores) and scores[0] < 0.9 < scores[-1]
    alone = embedding.fit_embedding(discs, 10, seeded())
    assert torch.allclose(alone.encode(discs, seeded(5)).abs(), whole.first(10).encode(discs, seeded(5)).abs(), atol=0.02)


def test_few_masks_give_few_components_and_one_gives_none(discs):
    few = embedding.fit_embedding(discs[:7], 60, seeded())
    assert few.size == 6 and few.encode(discs[:7], seeded()).abs().max() < 10
    with pytest.raises(UserError, match="have 1 masks"):
        embedding.fit_embedding(discs[:1], 60, seeded())


def test_masks_are_cropped_by_their_boxes_and_pasted_back_into_them():
    picture = torch.zeros(2, 90, 120, dtype=torch.uint8)
    picture[0, 20:76, 10:66] = 1
    picture[0, 20:48, 10:38] = 0  # a quarter of the box is missing
    picture[1, 5:9, 100:106] = 1
    boxes = torch.tensor([[10.0, 20, 66, 76], [100, 5, 106, 9]])
    cropped = embedding.crops(picture, boxes).view(2, 28, 28)
    assert torch.equal(cropped[0, :14, :14], torch.zeros(14, 14, dtype=torch.uint8)) and cropped[0].sum() == 28 * 28 * 3 // 4
    assert cropped[1, 1:-1, 3:-3].all()  # bilinear: of four pixels by six the corners are rounded
    assert torch.equal(network.pasted(cropped.flatten(1).float(), boxes, (90, 120)) > 0.5, picture > 0)
    assert embedding.crops(picture[:0], boxes[:0]).shape == (0, 784)


# Matching and loss


def objects(labels: list[int], boxes: list[list[float]], masks: torch.Tensor, codes: torch.Tensor | None, size: float = 10.0):
    return losses.Objects(torch.tensor(labels, dtype=torch.long), torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4), masks, codes, torch.full((4,), size))


def test_the_matching_cost_by_hand():
    logits = torch.zeros(2, 2)  # every probability is one half
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 5, 10]])
    raw = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    found = objects([1], [[0, 0, 1, 1]], torch.ones(1, 4), torch.tensor([[3.0, 0.0]]))
    classes = (0.25 - 0.75) * 0.25 * math.log(2)
    # Box 1 is the object's and its code points the same way; box 2 is half of it (GIoU 0.5, L1 0.5) and its code is at right angles.
    wanted = torch.tensor([[2 * classes - 2 * 1 - 2 * 1], [2 * classes + 5 * 0.5 - 2 * 0.5 - 2 * 0.5]])
    assert torch.allclose(losses.costs(logits, boxes, raw, found), wanted, atol=1e-5)
    direct = losses.costs(logits, boxes, raw, found._replace(codes=None))
    assert torch.allclose(direct, wanted + torch.tensor([[2.0], [1.0]]), atol=1e-5)


def test_the_cosine_decides_between_equal_boxes():
    logits, boxes = torch.zeros(3, 2), torch.tensor([[0.0, 0, 10, 10]]).repeat(3, 1)
    codes = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    found = objects([0, 0], [[0, 0, 1, 1]] * 2, torch.ones(2, 4), codes)
    rows, columns = losses.match(logits, boxes, torch.tensor([[0.1, 5.0], [-1.0, -1.0], [0.5, 0.1]]), found)
    assert dict(zip(columns.tolist(), rows.tolist(), strict=True)) == {0: 2, 1: 0}


class Linear(nn.Module):
    """A decoder of one component for masks of four pixels."""

    def __new__(cls):
        return embedding.MaskEmbedding(torch.zeros(4), torch.full((1, 4), 0.5), torch.ones(1))


def test_the_set_loss_by_hand():
    decode = Linear()
    logits = torch.zeros(1, 2, 1)
    boxes = torch.tensor([[[0.0, 0, 10, 10], [0, 0, 5, 10]]])
    raw = torch.tensor([[[2.0], [-3.0]]], requires_grad=True)
    found = objects([0], [[0, 0, 1, 1]], torch.tensor([[1, 1, 0, 0]]), torch.tensor([[4.0]]))
    p = 1 / (1 + math.exp(-1.0))  # the decoder gives 0.5 * 2 for every pixel
    focal = 0.25 * 0.25 * math.log(2) + 0.75 * 0.25 * math.log(2)  # one query is the object, the other nothing
    dice = 1 - 2 * (2 * p) / (4 * p * p + 2 + 1e-5)
    wanted = 2 * focal + 2 * dice + 2 * (2.0 - 4.0) ** 2  # the box is exact
    value = losses.set_loss([network.Found(logits, boxes, raw)], [found], decode)
    assert float(value.detach()) == pytest.approx(wanted, abs=1e-4)
    assert losses.set_loss([network.Found(logits, boxes, raw)] * 3, [found], decode).item() == pytest.approx(3 * wanted, abs=3e-4)
    value.backward()  # through the fixed decoder, to the matched query alone
    slope = p * (1 - p) * 0.5 * 4 * ((-4 * (4 * p * p + 2) + 4 * p * 8 * p) / (4 * p * p + 2) ** 2) / 4
    assert raw.grad[0, :, 0].tolist() == pytest.approx([2 * slope + 4 * (2.0 - 4.0), 0.0], abs=1e-4)


def test_a_box_that_is_off_by_hand():
    raw = torch.full((1, 1, 784), -20.0)
    found = objects([0], [[0, 0, 1, 1]], torch.zeros(1, 784), None)
    seen = network.Found(torch.zeros(1, 1, 1), torch.tensor([[[0.0, 0, 5, 10]]]), raw)
    focal, dice = 0.25 * 0.25 * math.log(2), 1.0  # nothing shared with an empty mask
    assert losses.set_loss([seen], [found], nn.Sigmoid()).item() == pytest.approx(2 * focal + 5 * 0.5 + 2 * 0.5 + 2 * dice, abs=1e-4)


def test_the_loss_is_divided_by_the_objects_of_the_batch():
    decode = Linear()
    one = network.Found(torch.zeros(1, 1, 1), torch.tensor([[[0.0, 0, 10, 10]]]), torch.ones(1, 1, 1))
    two = network.Found(*(item.repeat(2, 1, 1) for item in one))
    found = objects([0], [[0, 0, 1, 1]], torch.ones(1, 4), torch.zeros(1, 1))
    assert losses.set_loss([two], [found, found], decode).item() == pytest.approx(losses.set_loss([one], [found], decode).item())


@pytest.mark.parametrize("head", ["embedding", "direct"])
def test_pictures_without_objects_teach_that_there_are_none(head):
    decode = Linear() if head == "embedding" else nn.Sigmoid()
    parts = [item.requires_grad_() for item in (torch.zeros(2, 3, 2), torch.rand(2, 3, 4), torch.rand(2, 3, 1 if head == "embedding" else 4))]
    empty = objects([], [], torch.zeros(0, 4), torch.zeros(0, 1) if head == "embedding" else None)
    value = losses.set_loss([network.Found(*parts)], [empty, empty], decode)
    assert value.item() == pytest.approx(2 * 12 * 0.75 * 0.25 * math.log(2), abs=1e-5)
    value.backward()
    assert (parts[0].grad > 0).all() and not parts[1].grad.any() and not parts[2].grad.any()


def test_more_objects_than_queries_leave_some_unmatched():
    found = objects([0, 0, 0], [[0, 0, 1, 1], [0, 0, 0.5, 1], [0, 0, 0.1, 0.1]], torch.ones(3, 4), torch.ones(3, 1))
    rows, columns = losses.match(torch.zeros(1, 1), torch.tensor([[0.0, 0, 5, 10]]), torch.ones(1, 1), found)
    assert (rows.tolist(), columns.tolist()) == ([0], [1])


# The network


def test_boxes_move_by_hand():
    boxes, deltas = torch.tensor([[10.0, 20, 30, 60]]), torch.tensor([[1.0, -1.0, math.log(2), 100.0]])
    high = 40 * 1e5 / 16  # growth is limited
    found = network.moved(boxes, deltas)  # the middle (20, 40) goes by half a width right and half a height up
    assert torch.allclose(found, torch.tensor([[30 - 20, 20 - high / 2, 30 + 20, 20 + high / 2]]))


def test_regions_come_aligned_from_the_level_of_their_size():
    maps = [torch.rand(2, 3, 512 // stride, 512 // stride, generator=seeded(stride)) for stride in network.STRIDES]
    boxes = torch.tensor([[[8.0, 8, 40, 40], [0, 0, 223, 225]], [[0, 0, 130, 130], [0, 0, 512, 512]]])
    found = network.pooled(maps, boxes).view(2, 2, 7, 7, 3)
    for image, row, level in ((0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 3)):
        stride = network.STRIDES[level]
        wanted = roi_align(maps[level][image : image + 1], [boxes[image, row : row + 1]], 7, 1 / stride, 2, aligned=True)[0]
        assert torch.allclose(found[image, row].permute(2, 0, 1), wanted, atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), high=st.integers(1, 9), wide=st.integers(1, 9), largest=st.sampled_from((4.0, 60.0, 2000.0)))
def test_regions_and_their_gradients_are_roi_aligns_wherever_the_boxes_lie(seed, high, wide, largest):
    generator = torch.Generator().manual_seed(seed)
    sizes = [(-(-8 * high // 2**level), -(-8 * wide // 2**level)) for level in range(4)]
    ours = [torch.randn(2, 3, *size, generator=generator).requires_grad_() for size in sizes]
    theirs = [item.detach().clone().requires_grad_() for item in ours]
    places = torch.rand(2, 6, 2, generator=generator) * torch.tensor([32.0 * wide, 32.0 * high]) * 1.5 - 20  # also outside
    boxes = torch.cat([places, places + largest * torch.rand(2, 6, 2, generator=generator)], dim=2)
    found = network.pooled(ours, boxes)
    areas = (boxes[..., 2:] - boxes[..., :2]).prod(2)
    wanted = torch.zeros(12, 3, 7, 7)
    for row, (box, area) in enumerate(zip(boxes.flatten(0, 1), areas.flatten(), strict=True)):
        level = min(max(math.floor(2 + math.log2(math.sqrt(area) / 224 + 1e-8)), 0), 3)
        region = roi_align(theirs[level][row // 6 : row // 6 + 1], [box[None]], 7, 1 / network.STRIDES[level], 2, aligned=True)
        wanted = wanted.index_put((torch.tensor([row]),), region)
    wanted = wanted.flatten(2).transpose(1, 2)
    assert torch.allclose(found, wanted, atol=1e-4)
    sign = torch.randn(wanted.shape, generator=generator)
    (found * sign).sum().backward()
    (wanted * sign).sum().backward()
    for one, other in zip(ours, theirs, strict=True):
        assert torch.allclose(one.grad, torch.zeros_like(one) if other.grad is None else other.grad, atol=1e-3)


def test_a_later_stage_does_not_move_the_boxes_of_an_earlier_one(detector):
    stages, _ = detector.predict(IMAGES)
    stages[2].boxes.sum().backward()
    assert detector.stages[0].move[-1].weight.grad is None and detector.stages[1].move[-1].weight.grad is None
    assert detector.stages[2].move[-1].weight.grad.abs().sum() > 0 and detector.boxes.grad is None
    assert detector.stages[0].interaction.collect.weight.grad.abs().sum() > 0  # the queries are not cut


def test_the_first_boxes_are_the_pictures_and_are_learned(detector):
    stages, sizes = detector.predict(IMAGES)
    assert sizes == [(64, 48), (40, 64)]
    stages[0].boxes.sum().backward()
    assert detector.boxes.grad.abs().sum() > 0
    nn.init.zeros_(detector.stages[0].move[-1].weight)
    nn.init.zeros_(detector.stages[0].move[-1].bias)
    boxes = detector.predict(IMAGES)[0][0].boxes.detach()
    assert torch.allclose(boxes, torch.tensor([[[0.0, 0, 48, 64]], [[0, 0, 64, 40]]]).expand(2, 5, 4), atol=1e-5)


def test_the_first_boxes_may_lie_on_a_grid():
    # Five queries on three rows of three: cells of a third, drawn twice as large.
    assert torch.allclose(network.grid(5)[[0, 4]], torch.tensor([[1 / 6, 1 / 6, 2 / 3, 2 / 3], [0.5, 0.5, 2 / 3, 2 / 3]]))
    made = network.Istr(NarrowResNet(2), 3, 64, nn.Sigmoid(), 784, queries=5, stages=1, width=16, on_grid=True)
    assert torch.equal(made.boxes.detach(), network.grid(5)) and made.boxes.requires_grad


def test_a_width_must_suit_the_heads():
    with pytest.raises(UserError, match="'width' is 20"):
        METHOD(width=20)


def test_later_stages_look_through_the_boxes_of_earlier_ones(detector):
    detector.eval()
    with torch.no_grad():
        before = detector.predict(IMAGES)[0]
        detector.stages[0].move[-1].bias += 0.5
        after = detector.predict(IMAGES)[0]
    assert torch.equal(before[0].logits, after[0].logits) and not torch.allclose(before[1].logits, after[1].logits, atol=1e-4)


def test_queries_depend_on_the_picture(detector):
    maps = [torch.ones(2, 16, 4, 4), torch.ones(2, 16, 2, 2)]
    maps[0][1] = 3.0
    first = detector.first_queries(maps)
    assert torch.allclose(first[0], detector.embeddings + 2) and torch.allclose(first[1], detector.embeddings + 4)


def test_queries_may_come_in_any_order(detector):
    detector.eval()
    order = torch.tensor([3, 0, 4, 1, 2])
    with torch.no_grad():
        before, _ = detector.predict(IMAGES)
        detector.boxes.copy_(detector.boxes[order])
        detector.embeddings.copy_(detector.embeddings[order])
        after, _ = detector.predict(IMAGES)
    for one, other in zip(before, after, strict=True):
        assert all(torch.allclose(first[:, order], second, atol=1e-3) for first, second in zip(one, other, strict=True))


def test_the_dynamic_interaction_by_hand():
    torch.manual_seed(0)
    layer = network.Interaction(8)
    queries, regions = torch.randn(1, 2, 8), torch.randn(2, 49, 8)
    with torch.no_grad():
        theta = layer.generate(queries)[0]
        wanted = []
        for row in range(2):
            maps = regions[row] @ theta[row, :16].view(8, 2)
            maps = functional.elu(functional.layer_norm(maps, (2,))) @ theta[row, 16:].view(2, 8)
            flat = layer.collect(functional.elu(functional.layer_norm(maps, (8,))).flatten())
            wanted.append(functional.elu(functional.layer_norm(flat, (8,))))
        assert torch.allclose(layer(queries, regions)[0], torch.stack(wanted), atol=1e-5)


def test_double_boxes_are_kept_and_all_classes_of_a_query_count(detector):
    logits = torch.tensor([[[3.0, -1.0, -9.0], [2.0, 1.0, -9.0]]])
    boxes = torch.tensor([[[4.0, 4, 20, 20], [4, 4, 20, 20]]])
    raw = torch.full((1, 2, 784), 5.0)
    found = detector.detections(network.Found(logits, boxes, raw), 0, (64, 64), (128, 128))
    assert found["labels"].tolist() == [1, 1, 2, 2, 3, 3] and found["scores"].tolist() == sorted(found["scores"].tolist(), reverse=True)
    assert torch.equal(found["boxes"], torch.tensor([[8.0, 8, 40, 40]]).expand(6, 4))
    assert found["masks"].shape == (6, 1, 128, 128) and torch.equal(found["masks"][0, 0].nonzero().aminmax(dim=0).max, torch.tensor([39, 39]))
    assert len(nms(found["boxes"], found["scores"], 0.5)) == 1  # which would have left one


def test_at_most_a_hundred_detections_of_a_picture():
    torch.manual_seed(0)
    made = network.Istr(NarrowResNet(2), 80, 64, nn.Sigmoid(), 784, queries=5, stages=1, width=16).eval()
    with torch.inference_mode():
        found = made(IMAGES)
    assert [len(item["scores"]) for item in found] == [100, 100] and found[1]["masks"].shape == (100, 1, 50, 80)


def test_the_body_runs_in_the_kernel_without_the_towers_of_training(detector, discs):
    detector.decode = embedding.fit_embedding(discs, 20, seeded())
    for stage in detector.stages:
        stage.draw = network.tower(16, 20)
    with torch.no_grad():
        before = detector.eval()(IMAGES)
        detector.keep_last()
        after = detector(IMAGES)
    assert all(torch.equal(one[name], other[name]) for one, other in zip(before, after, strict=True) for name in one)
    body = network.IstrBody(detector).eval()
    batch = body.prepare(IMAGES[:1])
    plan = lower(body, batch)
    assert check(plan, body, batch) < 1e-4 and plan.macs_share > 0.8
    assert not any("cannot be traced" in reason for reason in plan.outside)


def test_the_paper_size():
    with torch.device("meta"):
        made = network.Istr(build("resnet50", 2, 64), 80, 1066, nn.Sigmoid(), 60, queries=300, stages=6, width=256)
    stage = sum(item.numel() for item in made.stages[0].parameters())
    attention, norms = 4 * 256 * 256 + 4 * 256, 3 * 512
    interaction = 256 * 32768 + 32768 + 12544 * 256 + 256 + 2 * (64 + 256 + 256)
    layers = 2 * 256 * 2048 + 2048 + 256
    towers = 3 * 3 * (256 * 256 + 512) + 256 * (80 + 4 + 60) + 80 + 4 + 60
    assert stage == attention + norms + interaction + layers + towers and len(made.stages) == 6
    options = METHOD()
    assert (options.queries, options.stages, options.embedding, options.width, options.rate) == (300, 6, 60, 256, 2.5e-5)


# The whole


def test_it_segments_and_notes_what_the_claims_need(suite_home):
    spec, record = fit_once("coco_segmentation", "istr")
    assert set(record["scores"]) == {metric.name for metric in spec.task.metrics}
    assert record["parents"]["backbone"].startswith("imagenet/plain/") and record["budget"]["total"] == 32
    assert record["profile"]["kernel"]["macs_share"] > 0.9
    notes = record["notes"]
    assert notes["reconstruction_iou_60"] > 0.9 > notes["reconstruction_iou_20"] > notes["reconstruction_iou_10"]
    assert len(notes["stage_AP"]) == spec.method.stages and {"stage_AP_first", "stage_AP_last", "stage_AP_step"} <= set(notes)
    for claim in METHOD.claims:
        for value in (claim.value, claim.rival_value):
            assert not value.startswith("note.") or value.removeprefix("note.") in notes


def test_the_rival_predicts_pixels_with_more_parameters(suite_home, tmp_path):
    spec, record = fit_once("coco_segmentation", "istr")
    rival = dataclasses.replace(spec.method, mask_head="direct")
    run = Run(0, "smoke", Budget(8), tmp_path, spec.source.folder, {"backbone": spec.references["backbone"].artifact})
    artifact = rival.fit(spec.task.setting(run), run)
    last = artifact.module.stages[-1].draw[-1]
    assert type(artifact.module.decode) is nn.Sigmoid and last.out_features == 784 and run.budget.total == 8
    assert run.notes["head_parameters"] - record["notes"]["head_parameters"] == 2 * (784 - 60) * (16 + 1)


def test_the_steps_between_stages():
    notes = method.stage_notes([1.0, 4.0, 3.5])
    assert (notes["stage_AP_first"], notes["stage_AP_last"], notes["stage_AP_step"]) == (1.0, 3.5, -0.5)
    assert method.stage_notes([2.0])["stage_AP_step"] == 0.0


def test_the_embedding_is_fitted_once_of_training_masks_alone(suite_home, tmp_path, monkeypatch):
    spec, _ = fit_once("coco_segmentation", "istr")
    run = Run(0, "smoke", Budget(0), tmp_path, spec.source.folder)
    setting = spec.task.setting(run)
    first = run.once("embedding", lambda: spec.method.fitted(setting, run))
    crops = embedding.mask_crops(setting.train, 100_000, run)
    assert torch.equal(first.mean, embedding.fit_embedding(crops, 60, run.generator("embedding")).mean)
    monkeypatch.setattr(embedding, "fit_embedding", None)
    assert torch.equal(run.once("embedding", lambda: spec.method.fitted(setting, run)).mean, first.mean)
    crowds = sum(int(setting.train.target(row)["iscrowd"].sum()) for row in range(len(setting.train)))
    objects_of = sum(len(setting.train.target(row)["labels"]) for row in range(len(setting.train)))
    assert crowds > 0 and len(crops) == objects_of - crowds


def test_a_step_and_a_look_at_real_pictures(real_data):
    scenes = Coco().read(real_data / "coco", "train")
    rows = sorted(range(len(scenes)), key=lambda row: -len(scenes.target(row)["labels"]))[:2]  # more objects than queries
    images, targets = map(list, zip(*(example(scenes, row, True, True) for row in rows), strict=True))
    decode = embedding.fit_embedding(torch.cat([embedding.crops(item["masks"], item["boxes"]) for item in targets]), 20, seeded())
    torch.manual_seed(0)
    made = network.Istr(NarrowResNet(2), len(scenes.categories), 128, decode, decode.size, queries=20, stages=2, width=16)
    found, sizes = made.predict(images)
    value = losses.set_loss(found, [method.objects(*item, decode) for item in zip(images, targets, sizes, strict=True)], decode)
    value.backward()
    assert torch.isfinite(value) and all(torch.isfinite(item.grad).all() for item in made.parameters() if item.grad is not None)
    with torch.inference_mode():
        (seen,) = made.eval()(images[:1])
    assert seen["masks"].shape == (100, 1, *images[0].shape[1:]) and len(targets[0]["labels"]) > 20

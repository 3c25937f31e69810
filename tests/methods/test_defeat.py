"""DeFeat: the masks and both losses by hand, the rivals as the same code with other parts, and a teacher that is gone afterwards."""

from __future__ import annotations

import importlib
import math

import pytest
import torch

from suite import plan, plugins
from suite.artifacts import Detector
from suite.context import Budget, Run, load, save
from suite.data import source
from suite.data.coco import Coco
from suite.errors import UserError
from suite.nn import NarrowResNet, build
from suite.nn.detection import rcnn
from suite.options import build as build_options
from suite.paths import cache_folder
from suite.settings import Detection
from suite.testing.contract import fit_once

METHOD = plugins.load("baselines", "defeat")
TEACHER = plugins.load("baselines", "faster_rcnn")
module = importlib.import_module("suite.baselines.defeat")


def test_an_object_is_marked_on_its_own_level_alone():
    boxes = torch.tensor([
        [8.0, 16, 40, 47.9],  # a side of about 33 pixels: level 0, columns 1 to 4, rows 2 to 4
        [0, 0, 111, 111],  # (111 + 1) / 28 = 4: level 2, of 32 pixels: 3 by 3 cells
        [50, 50, 53, 53],  # within one cell of level 0
        [126, 126, 128, 128],  # at the border
    ])  # fmt: skip
    masks = module.object_masks([boxes, boxes[:0]], [(16, 16), (8, 8), (4, 4), (2, 2), (1, 1)], 8, 28.0)
    wanted = [torch.zeros(2, 1, side, side, dtype=torch.bool) for side in (16, 8, 4, 2, 1)]
    wanted[0][0, 0, 2:5, 1:5] = True
    wanted[0][0, 0, 6, 6] = True
    wanted[0][0, 0, 15, 15] = True
    wanted[2][0, 0, :3, :3] = True
    assert all(torch.equal(found, mask) for found, mask in zip(masks, wanted, strict=True))


def test_imitation_by_hand():
    # Two levels, two channels. Level 0: one object cell with differences 3 and 1, three background cells with 1 and 1.
    found = [torch.ones(1, 2, 2, 2), torch.ones(1, 2, 1, 1)]
    wanted = [torch.zeros(1, 2, 2, 2), torch.zeros(1, 2, 1, 1)]
    found[0][0, 0, 0, 0] = 3
    objects = [torch.zeros(1, 1, 2, 2, dtype=torch.bool), torch.zeros(1, 1, 1, 1, dtype=torch.bool)]
    objects[0][0, 0, 0, 0] = True
    terms = METHOD().parts(objects)
    values = [float(module.imitation(found, wanted, masks)) for _, masks in terms]
    assert [weight for weight, _ in terms] == [4.0, 16.0]
    assert values == pytest.approx([10 / (2 * 2 * 1) / 2, (6 / (2 * 2 * 3) + 2 / (2 * 2 * 1)) / 2])
    # One mean over the whole map lets three background cells outvote the object, at the same total weight.
    ((weight, masks),) = METHOD(regions="whole").parts(objects)
    assert weight == 20.0 and float(module.imitation(found, wanted, masks)) == pytest.approx((16 / (2 * 2 * 4) + 2 / 4) / 2)
    assert [METHOD(regions=name).parts(objects)[0][0] for name in ("objects", "background")] == [4.0, 16.0]


def test_proposals_by_hand():
    # T = 2: the teacher says 1/(1 + e^-1) for the first class, the student one half; KL = ln 2 - H(teacher).
    p = 1 / (1 + math.exp(-1))
    each = math.log(2) + p * math.log(p) + (1 - p) * math.log(1 - p)
    found, wanted = torch.zeros(3, 2), torch.tensor([[2.0, 0.0], [0.0, 0.0], [2.0, 0.0]])
    value = module.proposal_loss(found, wanted, torch.tensor([True, False, False]), 2.0, 3.0, 2.0)
    assert float(value) == pytest.approx(4 * (2.0 * each + 3.0 * each / 2), rel=1e-5)
    assert math.isfinite(float(module.proposal_loss(found, wanted, torch.zeros(3, dtype=torch.bool), 2.0, 3.0, 2.0)))


def test_an_adapter_starts_next_to_zero():
    torch.manual_seed(0)
    layer = module.adapter(8, 16)
    assert layer.weight.shape == (16, 8, 3, 3) and float(layer.weight.detach().abs().max()) <= 2e-4
    assert 5e-5 < float(layer.weight.detach().std()) < 1.5e-4 and not layer.bias.detach().any()


def test_the_paper_size_is_torchvisions_and_imitates_resnet101():
    method = METHOD()
    assert method.needs()["teacher"].options == {"arch": "resnet101"} and METHOD(regions="none").needs().keys() == {"backbone"}
    with pytest.raises(UserError, match="no second stage"):
        METHOD(detector="retinanet", head=True)


def test_one_teacher_of_a_larger_scale_for_all_seeds(fresh_results):
    own = METHOD().needs()["teacher"]
    assert (own.scale, own.seed) == ("", None)
    wanted = [("defeat", {"teacher_scale": "long"})]
    specs = plan.specs("coco_detection", wanted, [0, 1], "short", task_options={"images": 140}).wanted
    (teacher,) = {spec.references["teacher"].id: spec.references["teacher"] for spec in specs}.values()
    assert (teacher.method_name, teacher.scale, teacher.seed, teacher.task.images) == ("faster_rcnn", "long", 0, 140)
    assert teacher.references["backbone"].scale == "long" and teacher.allowed == 4 * specs[0].allowed
    assert [(spec.scale, spec.seed, spec.references["backbone"].scale) for spec in specs] == [("short", 0, "short"), ("short", 1, "short")]
    assert len({spec.references["backbone"].id for spec in specs}) == 2


def test_claims_have_that_teacher_and_as_many_test_scenes_as_they_need():
    assert {claim.options["teacher_scale"] for claim in METHOD.claims} == {"long"}
    assert {claim.task_options["scenes"] for claim in METHOD.claims} == {1500}
    assert [tuple(side.options["regions"] for side in claim.sides) for claim in METHOD.claims] == [
        ("decoupled", "none"), ("objects", "none"), ("background", "none"), ("decoupled", "whole")]


@pytest.mark.parametrize("scale", ["smoke", "short", "long"])
def test_student_and_teacher_differ_in_the_backbone_alone(scale):
    student, teacher = build_options(METHOD, "defeat", {}, scale), build_options(TEACHER, "faster_rcnn", {}, scale)
    assert student.detector == "faster_rcnn" and (student.teacher, student.width) == (teacher.arch, teacher.width)
    assert (student.sampled, student.proposals) == (teacher.regions, teacher.proposals) and student.arch != teacher.arch
    assert student.recipe() == teacher.recipe() and student.background == 4 * student.foreground


def test_the_teacher_is_a_recorded_run_and_costs_the_student_nothing(suite_home):
    spec, record = fit_once("coco_detection", "defeat")
    assert record["parents"]["teacher"].startswith("coco_detection/faster_rcnn/")
    assert record["budget"]["total"] == 32
    student = load(spec.artifact).module
    parameters = sum(item.numel() for item in student.parameters() if item.requires_grad)
    assert record["profile"]["params"] == parameters and not any("adapter" in name for name, _ in student.named_modules())


@pytest.mark.parametrize("sampler", ["teacher", "student", "both"])
def test_two_stages_train_with_the_head_term(suite_home, tmp_path, sampler):
    dataset = Coco()
    data = dataset.read(source.embedded_folder(dataset, cache_folder()), "train").subset(torch.arange(4))
    teacher = rcnn(NarrowResNet(2), 7, 64, width=16, anchor=4.0, sampled=8, proposals=10, masks=False)
    save(Detector(teacher), tmp_path / "teacher.pt")
    run = Run(0, "smoke", Budget(8), tmp_path, tmp_path, {"teacher": tmp_path / "teacher.pt"})
    torch.manual_seed(0)
    method = METHOD(detector="faster_rcnn", head=True, sampler=sampler, width=8, batch=4, sampled=8, proposals=10)
    student = method.network(build("slim_resnet10", 2, 64), 7, 64)
    before = [item.clone() for item in student.parameters()]
    method.train(student, Detection(data, data, False, 64), run)
    assert run.budget.total == 8 and math.isfinite(run.curves["train_loss"][-1][1])
    after = list(student.parameters())
    assert all(torch.isfinite(item).all() for item in after)
    assert any(not torch.equal(old, new) for old, new in zip(before, after, strict=True))

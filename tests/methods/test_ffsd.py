"""FFSD: attention and its reversal by hand, every loss against loops, where gradients do not flow, and the leader's cost."""

from __future__ import annotations

import copy
import importlib
import math

import pytest
import torch
from torch import nn

from suite import plugins
from suite.context import Budget, Run
from suite.contract import Skip, options_of
from suite.data.pictures import Stored
from suite.errors import UserError
from suite.nn import build
from suite.options import build as build_options
from suite.settings import Classification
from suite.testing import contract
from suite.train import CropFlip, Normalise, ResizedFlip

METHOD = plugins.load("baselines", "ffsd")
module = importlib.import_module("suite.baselines.ffsd")
parts = importlib.import_module("suite.baselines._ffsd")
online = importlib.import_module("suite.baselines._online")
NORMALISE = Normalise((0.5,) * 3, (0.25,) * 3)


def team(arch: str = "resnet8", size: int = 32, students: int = 2, classes: int = 5):
    torch.manual_seed(0)
    return parts.Team([build(arch, classes, size) for _ in range(1 + students)], (3, size, size), classes).train()


def test_attention_by_hand():
    features = torch.tensor([[[[1.0, 2]], [[3, 0]]], [[[0, 0]], [[0, 0]]]])  # two samples, two channels of 1x2 pixels
    assert parts.attention(features).tolist() == [[(1 + 9) / 2, 4 / 2], [0, 0]]


def test_the_distance_is_between_unit_vectors_and_a_mean_over_all_elements():
    found, wanted = torch.tensor([[3.0, 4], [0, 0]]), torch.tensor([[1.0, 0], [0, 2]])
    assert float(parts.apart(found, wanted)) == pytest.approx(((0.6 - 1) ** 2 + 0.8**2 + 0 + 1) / 4)
    maps = torch.tensor([[[[3.0, 4]]]])  # a feature map counts as one vector
    assert float(parts.apart(maps, torch.tensor([[[[1.0, 0]]]]))) == pytest.approx(((0.6 - 1) ** 2 + 0.8**2) / 2)


def test_reversed_attention_by_hand():
    # Norm 10: a = (0.1, 0.1, 0.5, 0.7, 0.4, 0.4, ...); of six values the second lowest is the threshold.
    values = torch.tensor([[2.0, 1, 5, 7, 4, math.sqrt(100 - 4 - 1 - 25 - 49 - 16)]])
    a = (values / 10)[0].tolist()
    found = parts.reversed_attention(values)[0].tolist()
    assert found == pytest.approx([5.0, a[1], 10 - a[2], 10 - a[3], 10 - a[4], 10 - a[5]])  # at it r / 2, below a, above r - a
    assert parts.reversed_attention(torch.tensor([[3.0]])).tolist() == [[1.5]]  # less than three pixels: the lowest
    assert parts.reversed_attention(torch.zeros(1, 4)).tolist() == [[0.0] * 4]


def test_the_shifted_feature_by_hand():
    # One channel, att = (1, 4, 9, ...) with norm r; C = 1, so F~ = F + (rev - a) r.
    features = torch.tensor([[[[1.0, 2, 2]]]])
    r = math.sqrt(1 + 16 + 16)
    a = [1 / r, 4 / r, 4 / r]
    rev = [r / 2, r - a[1], r - a[2]]
    wanted = [before + (turned - own) * r for before, turned, own in zip([1, 2, 2], rev, a, strict=True)]
    assert parts.shifted(features).flatten().tolist() == pytest.approx(wanted)
    doubled = parts.shifted(features.repeat(1, 2, 1, 1))  # the same attention; the shift is spread over two channels
    assert (doubled[0, 0] - 1 * features[0, 0]).flatten().tolist() == pytest.approx([
        (turned - own) * r / 2 for turned, own in zip(rev, a, strict=True)])


def test_the_lambdas_rise_over_five_of_three_hundred_epochs():
    for epoch in range(1, 6):
        assert module.risen(epoch / 300) == pytest.approx(math.exp(-5 * (1 - epoch / 5) ** 2))
    assert module.risen(5 / 300) == 1 and module.risen(0.5) == 1 and module.risen(1e-9) == pytest.approx(math.exp(-5), rel=1e-3)


def loops(team, students, leader, fusion, method, targets, rise):
    """The losses of section "Losses" in plain loops over what the networks put out: `students` and `leader` are (logits, maps),
    `fusion` is (logits, U)."""

    def attend(features):
        return [[sum(v * v for v in pixel) / len(pixel) for pixel in zip(*[c.flatten().tolist() for c in one], strict=True)]
                for one in features]

    def norm(vector):
        return max(math.sqrt(sum(v * v for v in vector)), 1e-12)

    def unit(vector):
        size = norm(vector)
        return [v / size for v in vector]

    def mean_square(first, second):
        pairs = [(p - q) ** 2 for x, y in zip(first, second, strict=True) for p, q in zip(x, y, strict=True)]
        return sum(pairs) / len(pairs)

    def distance(first, second):
        return mean_square([unit(x) for x in first], [unit(y) for y in second])

    def turned(vector):
        r, a = norm(vector), unit(vector)
        lowest = sorted(a)[len(a) // 3 - 1]
        return [v if v < lowest else r / 2 if v == lowest else r - v for v in a]

    def cross(logits):
        return sum(math.log(sum(math.exp(v) for v in row)) - row[y] for row, y in zip(logits.tolist(), targets.tolist(), strict=True)) \
            / len(targets)

    def kl(wanted, found):  # T^2 KL(softmax(wanted / 2) || softmax(found / 2)), a mean over the batch
        total = 0.0
        for row, other in zip(wanted.tolist(), found.tolist(), strict=True):
            p, q = [math.exp(v / 2) for v in row], [math.exp(v / 2) for v in other]
            total += sum(x / sum(p) * math.log(x / sum(p) / (y / sum(q))) for x, y in zip(p, q, strict=True))
        return 4 * total / len(wanted)

    def tower(details, features, train):
        details.train(train)
        maps = []
        for step in details.steps:
            features = step(features)
            maps.insert(0, features.detach())
        details.train()
        return maps

    last = [maps[-1] for _, maps in students]
    found = {}
    for i, (logits, maps) in enumerate(students):
        loss = cross(logits) + sum(kl(other, logits) for j, (other, _) in enumerate(students) if j != i) / (len(students) - 1)
        if i:
            before = attend(last[i - 1])
            loss += rise * method.lambda_div * mean_square([unit(x) for x in attend(last[i])], [turned(y) for y in before])
            shift = [[(t - a) * norm(y) / last[i].shape[1] for t, a in zip(turned(y), unit(y), strict=True)] for y in before]
            moved = last[i - 1] + torch.tensor(shift).view(len(last[i]), 1, *last[i].shape[2:])
            for own, wanted in zip(maps[:-1], tower(team.details[i - 1], moved, False), strict=True):
                loss += rise * method.lambda_div * distance(attend(own), attend(wanted))
        found[f"student_{i + 1}"] = loss
    found["fusion"] = cross(fusion[0]) + kl(sum(logits for logits, _ in students) / len(students), fusion[0])
    loss = cross(leader[0]) + (kl(fusion[0], leader[0]) if method.fusion_kl else 0)
    loss += rise * method.lambda_f * distance(attend(leader[1][-1]), attend(fusion[1]))
    loss += rise * method.lambda_f * distance(attend(team.head(leader[1][-1])), attend(torch.cat(last, 1)))
    for own, wanted in zip(leader[1][:-1], tower(team.details[-1], fusion[1], False), strict=True):
        loss += rise * method.lambda_f * distance(attend(own), attend(wanted))
    found["leader"] = loss
    owners = [(f"student_{i + 1}", students[i][1]) for i in range(1, len(students))] + [("leader", leader[1])]
    for (name, maps), details in zip(owners, team.details, strict=True):
        loss = 0.0
        for made, own in zip(tower(details, maps[-1], True), maps[:-1], strict=True):
            loss += distance(made.flatten(1).tolist(), own.flatten(1).tolist()) + distance(attend(made), attend(own))
        found[f"details_{name}"] = rise * method.lambda_sd * loss
    return found


@pytest.mark.parametrize("students, fusion_kl", [(2, True), (3, True), (2, False)])
def test_every_loss_against_plain_loops(students, fusion_kl):
    made = team("resnet8", 16, students)
    method = METHOD(students=students, fusion_kl=fusion_kl, lambda_div=0.5, lambda_f=7.0, lambda_sd=50.0)
    generator = torch.Generator().manual_seed(1)
    inputs, targets = torch.randn(4, 3, 16, 16, generator=generator), torch.tensor([0, 1, 4, 2])
    for details in made.details:  # running statistics that differ from the batch's, so that the mode matters
        for layer in details.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.running_mean.uniform_(-1, 1, generator=generator)
    with torch.no_grad():
        same = copy.deepcopy(made)  # a forward pass moves running statistics
        seen = [same.see(network, inputs) for network in (*same.students, same.leader)]
        joined = torch.cat([item.maps[-1] for item in seen[:-1]], 1)
        wanted = loops(same, seen[:-1], seen[-1], same.fusion(joined), method, targets, 0.7)
    found = method.losses(made, inputs, targets, 0.7)
    assert list(found) == list(wanted)  # students, fusion, leader, self-distillation: the order of the steps
    assert {name: float(item.detach()) for name, item in found.items()} == pytest.approx(wanted, rel=2e-4)


def test_targets_come_from_the_shifted_map_of_the_student_before_and_from_the_fusion(monkeypatch):
    made, given = team(students=3), []
    targets = parts.Details.targets
    monkeypatch.setattr(parts.Details, "targets", lambda self, features: given.append((self, features)) or targets(self, features))
    inputs = torch.randn(4, 3, 32, 32)
    METHOD(students=3).losses(made, inputs, torch.tensor([0, 1, 2, 3]), 1.0)
    maps = [made.see(student, inputs).maps[-1].detach() for student in made.students]
    wanted = [parts.shifted(maps[0]), parts.shifted(maps[1]), made.fusion(torch.cat(maps, 1))[1]]
    assert [module for module, _ in given] == list(made.details)
    assert all(torch.allclose(features, other, atol=1e-5) for (_, features), other in zip(given, wanted, strict=True))


def test_fit_trains_every_part_with_lambdas_that_rise_and_notes_the_leaders_accuracy(tmp_path, monkeypatch):
    labels = torch.arange(8) % 4
    images = Stored(torch.randint(0, 256, (8, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8), labels)
    setting = Classification(images, images, 4, (3, 32, 32), CropFlip(NORMALISE), NORMALISE)
    method, given = METHOD(arch="resnet8"), {}
    monkeypatch.setattr(METHOD, "learn", lambda self, setting, run, learners, losses, helpers: given.update(
        learners=learners, losses=losses, helpers=helpers))
    monkeypatch.setattr(METHOD, "losses", lambda self, team, inputs, targets, rise: given.update(team=team) or {"rise": rise})
    run = Run(0, "smoke", Budget(64), tmp_path, tmp_path)
    leader = method.fit(setting, run).module
    assert given["losses"](None, None, 1 / 300) == {"rise": module.risen(1 / 300)} and given["helpers"] == 2
    trained = [id(weight) for learner in given["learners"].values() for weight in learner.part.parameters()]
    assert sorted(trained) == sorted(id(weight) for weight in given["team"].parameters())  # each once, the trans-fusion head too
    found = online.validated([leader, *given["team"].students], setting, run)
    assert len(set(found)) > 1 and [run.notes["val_top1"], *run.notes["val_top1_of_students"]] == found


def test_each_loss_moves_its_own_learner_alone():
    made = team(students=3)
    found = METHOD(students=3, lambda_div=1.0).losses(made, torch.randn(4, 3, 32, 32), torch.tensor([0, 1, 2, 3]), 1.0)
    owners = {**{f"student_{number}": student for number, student in enumerate(made.students, 1)}, "fusion": made.fusion,
              "leader": nn.ModuleList([made.leader, made.head]), **dict(made.named_details())}
    assert list(owners) == list(found) and sum(len(list(part.parameters())) for part in owners.values()) == len(
        list(made.parameters()))
    for name, loss in found.items():
        own = {id(weight) for weight in owners[name].parameters()}
        gradients = torch.autograd.grad(loss, list(made.parameters()), retain_graph=True, allow_unused=True)
        for weight, gradient in zip(made.parameters(), gradients, strict=True):
            assert (gradient is not None and gradient.abs().sum() > 0) == (id(weight) in own), name


def test_gradients_reach_self_distillation_modules_in_mixed_precision():
    made = team()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = METHOD().losses(made, torch.randn(4, 3, 32, 32), torch.tensor([0, 1, 2, 3]), 1.0)
    for name, details in made.named_details():
        found[name].backward()
        assert all(weight.grad.abs().sum() > 0 for weight in details.parameters())


def test_targets_are_made_in_evaluation_mode_and_leave_statistics_alone():
    made = team()
    details, features = made.details[0], torch.randn(4, 64, 8, 8)
    before = {name: values.clone() for name, values in details.named_buffers()}
    first, second = details.targets(features), details.targets(features[:1])
    assert all(torch.equal(before[name], values) for name, values in details.named_buffers())
    assert details.training and all(torch.allclose(a[:1], b, atol=1e-6) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("before, after", [(8, 16), (3, 5), (3, 6), (12, 25), (2, 5), (1, 2), (1, 1), (7, 7), (7, 28), (1, 3)])
def test_a_step_back_has_the_size_of_the_stage_before(before, after):
    assert parts._step_back((4, before, after), (2, after, 2 * after))(torch.zeros(1, 4, before, after)).shape[1:] == (
        2, after, 2 * after)


@pytest.mark.parametrize("arch, size", [("resnet20", 32), ("cifar_vgg16", 32), ("resnet18", 40), ("mobilenet_v2", 32)])
def test_self_distillation_modules_follow_the_stages_of_the_network(arch, size):
    made = team(arch, size).eval()
    with torch.no_grad():
        maps = made.see(made.leader, torch.randn(2, 3, size, size)).maps
        back = made.details[0](maps[-1])
        assert [item.shape for item in back] == [item.shape for item in maps[:-1]]
        assert made.head(maps[-1]).shape == torch.cat([maps[-1]] * 2, 1).shape
    if arch in ("resnet20", "resnet18"):  # the paper's: channels halve, stride 2
        layers = [layer for layer in made.details[0].modules() if isinstance(layer, nn.ConvTranspose2d)]
        assert all(layer.out_channels * 2 == layer.in_channels and layer.stride == (2, 2) for layer in layers)
    METHOD().losses(made.train(), torch.randn(2, 3, size, size), torch.tensor([0, 1]), 1.0)["leader"].backward()


def test_what_the_modules_add_to_a_step_of_resnet20():
    made, counts = team("resnet20", 32, classes=100).eval(), {}

    def count(layer, inputs, output):
        wide = inputs[0] if isinstance(layer, nn.ConvTranspose2d) else output
        counts[layer] = layer.weight.numel() * (wide[0, 0].numel() if wide.dim() == 4 else 1)

    for layer in made.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            layer.register_forward_hook(count)
    with torch.no_grad():
        METHOD().losses(made, torch.randn(2, 3, 32, 32), torch.tensor([0, 1]), 1.0)
    macs = {name: sum(counts.get(layer, 0) for layer in part.modules()) for name, part in made.named_children()}
    added = 3 * (macs["fusion"] + macs["head"]) + 4 * macs["details"]  # backward costs two forward passes; targets cost one more
    assert added / (3 * (macs["leader"] + macs["students"])) == pytest.approx(0.06, abs=0.005)


def test_fewer_than_two_students_or_stages_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"^students=1 is out of range for 'ffsd'; students lies in 2 to 16\.$"):
        build_options(METHOD, "ffsd", {"students": 1}, "short")
    setting = Classification(None, None, 5, (3, 32, 32), None, None)
    with pytest.raises(Skip, match="two stages, 'vit_ti_16' has one"):
        METHOD(arch="vit_ti_16").fit(setting, Run(0, "smoke", Budget(64), tmp_path, tmp_path))


def test_the_weights_of_the_losses_are_the_papers():
    method = METHOD()
    assert (method.lambda_div, method.lambda_f, method.lambda_sd, method.temperature, method.students) == (1e-5, 10, 1000, 2, 2)


def test_recipes_and_padding_are_the_papers_at_full_and_plains_below():
    full, short = build_options(METHOD, "ffsd", {}, "full"), build_options(METHOD, "ffsd", {}, "short")
    recipe = full.learner(nn.Linear(1, 1)).recipe
    assert [round(recipe.rate_at(done), 6) for done in (0.001, 0.5, 0.501, 0.75, 0.751, 1)] == [0.1, 0.1, 0.01, 0.01, 0.001, 0.001]
    assert (recipe.batch, recipe.weight_decay, recipe.momentum) == (128, 1e-4, 0.9) and full.reflect and not short.reflect
    rival = options_of(build_options(plugins.load("baselines", "plain"), "plain", {}, "short"))
    assert all(getattr(short, name) == rival[name] for name in ("rate", "batch", "weight_decay")) and short.schedule == "cosine"
    assert online.reflecting(CropFlip(NORMALISE)) == CropFlip(NORMALISE, mode="reflect")
    assert online.reflecting(ResizedFlip(NORMALISE)) == ResizedFlip(NORMALISE)


def test_every_learner_has_the_optimizer_of_the_paper(monkeypatch, tmp_path):
    seen = {}
    monkeypatch.setattr(METHOD, "learn", lambda self, setting, run, learners, losses, helpers: seen.update(learners, n=helpers))
    monkeypatch.setattr(module, "validated", lambda networks, setting, run: [0.0] * len(networks))
    setting = Classification(None, None, 5, (3, 32, 32), None, None)
    made = METHOD(arch="resnet8").fit(setting, Run(0, "smoke", Budget(64), tmp_path, tmp_path))
    assert seen.pop("n") == 2
    kinds = {name: (type(item.optimizer).__name__, item.recipe.weight_decay, item.recipe.rate) for name, item in seen.items()}
    sgd, adam = ("SGD", 1e-4, 0.1), ("Adam", 1e-4, 1e-3)
    assert kinds == {"student_1": sgd, "student_2": sgd, "fusion": ("SGD", 1e-5, 0.1), "leader": sgd, "details_student_2": adam,
                     "details_leader": adam}
    assert all(item.recipe.milestones == (0.5, 0.75) for item in seen.values())
    assert all(group["nesterov"] for item in seen.values() for group in item.optimizer.param_groups if "nesterov" in group)
    torch.manual_seed(Run(0, "smoke", Budget(0), tmp_path, tmp_path).seed("weights", "resnet8"))
    start = build("resnet8", 5, 32).state_dict()  # the leader starts as plain does, the students elsewhere
    assert all(torch.equal(start[name], values) for name, values in made.module.state_dict().items())
    assert not torch.equal(start["conv1.weight"], seen["student_1"].part.conv1.weight)
    assert not torch.equal(seen["student_2"].part.conv1.weight, seen["student_1"].part.conv1.weight)


def test_the_leader_costs_what_plain_costs_and_all_networks_are_charged(suite_home):
    spec, record = contract.fit_once("cifar100", "ffsd")
    _, plain = contract.fit_once("cifar100", "plain", options={"arch": "resnet8"})
    for name in ("params", "macs", "bytes_dense"):
        assert record["profile"][name] == plain["profile"][name]
    assert record["budget"] == {"allowed": 512, "total": 480, "final": 160}  # ten steps of 16 images in three networks
    contract.check_record(spec, record)
    contract.check_saved(spec)
    contract.check_resumes(spec)
    assert set(record["curves"]) == {f"online_{name}" for name in (
        "student_1", "student_2", "fusion", "leader", "details_student_2", "details_leader")}
    assert len(record["notes"]["val_top1_of_students"]) == 2

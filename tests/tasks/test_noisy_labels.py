"""Noisy labels: what is drawn, that the truth is out of a method's reach, clean validation, scores by hand, people's labels."""

from __future__ import annotations

import importlib
import shutil
import types
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from suite import plugins
from suite.artifacts import Network
from suite.cli.run import make_plan
from suite.context import Budget, Run
from suite.data import source
from suite.data.cifar import Cifar10
from suite.data.cifar10n import LABELS
from suite.errors import UserError

TASK = plugins.load("tasks", "noisy_labels")
module = importlib.import_module("suite.tasks.noisy_labels")


@pytest.fixture
def run(suite_home: Path, tmp_path: Path) -> Run:
    return Run(0, "smoke", Budget(0), tmp_path, source.embedded_folder(Cifar10(), suite_home / "cache"))


class Fixed(nn.Module):
    """Answers `labels` in order, whatever it is asked."""

    def __init__(self, labels: Tensor) -> None:
        super().__init__()
        self.labels, self.at = labels, 0

    def forward(self, inputs: Tensor) -> Tensor:
        chosen = self.labels[self.at : self.at + len(inputs)]
        self.at = (self.at + len(inputs)) % len(self.labels)
        return nn.functional.one_hot(chosen, 10).float()


@pytest.mark.parametrize("rate", [0.0, 0.2, 0.5, 1.0])
def test_symmetric_noise_draws_from_all_classes_the_true_one_too(rate):
    true = torch.arange(200_000) % 10
    noisy = module.corrupted(true, "symmetric", rate, torch.Generator().manual_seed(0))
    assert float((noisy != true).float().mean()) == pytest.approx(0.9 * rate, abs=0.004)  # r (K - 1) / K
    shares = module.transition(true, noisy, 10)
    others = shares[~torch.eye(10, dtype=torch.bool)]
    assert (others - 10 * rate).abs().max() < 1 and (shares.diagonal() - 100 + 90 * rate).abs().max() < 1.5


@pytest.mark.parametrize("rate", [0.4, 1.0])
def test_asymmetric_noise_takes_five_classes_for_their_likes(rate):
    true = torch.arange(100_000) % 10
    shares = module.transition(true, module.corrupted(true, "asymmetric", rate, torch.Generator().manual_seed(0)), 10)
    wanted = 100 * torch.eye(10, dtype=torch.float64)
    for label, other in ((9, 1), (2, 0), (4, 7), (3, 5), (5, 3)):
        wanted[label, label], wanted[label, other] = 100 * (1 - rate), 100 * rate
    assert (shares - wanted).abs().max() < 2.5 and torch.equal(shares == 0, wanted == 0)


def test_every_method_sees_the_same_noise_and_every_seed_another(run):
    first, second = TASK().setting(run), TASK().setting(replace(run, scale="short"))
    assert torch.equal(first.train.labels, second.train.labels) and torch.equal(first.train.values, second.train.values)
    true, noisy = TASK().labels(run)
    assert torch.equal(noisy, first.train.labels) and 53 < module.agreement(noisy, true) < 57  # 1 - 0.9 / 2
    other = replace(run, number=1)
    wrong = [torch.not_equal(*TASK().labels(item)).float().mean() for item in (run, other)]
    assert wrong[0] != wrong[1]


def test_only_training_labels_are_wrong_and_test_images_are_never_there(run):
    images = Cifar10().read(run.data, "train")
    label_of = {row.tobytes(): label for row, label in zip(images.values.numpy(), images.labels.tolist(), strict=True)}
    setting = TASK(rate=1.0).setting(run)
    val = [label_of.pop(row.tobytes()) for row in setting.val.values.numpy()]
    assert setting.val.labels.tolist() == val and len(val) == 1000
    train = torch.tensor([label_of.pop(row.tobytes()) for row in setting.train.values.numpy()])
    assert not label_of and torch.equal(train, TASK().labels(run)[0]) and 8 < module.agreement(train, setting.train.labels) < 12


def reached(start: object) -> Iterator[Tensor]:
    """All tensors that can be reached from an object by attributes, items and closures; views as the whole they are part of."""
    seen, left = set(), [start]
    while left:
        item = left.pop()
        if id(item) in seen or isinstance(item, types.ModuleType | type | str | bytes | int | float | None):
            continue
        seen.add(id(item))
        if isinstance(item, Tensor):
            yield torch.tensor([], dtype=item.dtype).set_(item.untyped_storage())  # type: ignore[call-overload]
        if isinstance(item, dict):
            left += [*item.keys(), *item.values()]
        elif isinstance(item, list | tuple | set | frozenset):
            left += item
        left += vars(item).values() if hasattr(item, "__dict__") else []
        left += [cell.cell_contents for cell in getattr(item, "__closure__", None) or ()]
        left += [getattr(item, name, None) for name in ("__self__", "__func__", "__defaults__", "func", "args", "keywords")]


@pytest.mark.parametrize("noise", ["symmetric", "asymmetric"])
def test_the_truth_cannot_be_reached_from_the_setting(run, noise):
    task = TASK(noise=noise)
    setting, (true, noisy) = task.setting(run), task.labels(run)
    secrets = true, Cifar10().read(run.data, "train").labels

    def leaks(start: object) -> bool:
        return any(len(found) >= len(secret) and torch.equal(found[: len(secret)], secret)
                   for found in reached(start) if found.dtype == torch.int64 for secret in secrets)

    assert any(torch.equal(found, noisy) for found in reached(setting))  # the walk gets there
    assert not leaks(setting)
    kept = secrets[1][5:]
    for hidden in (replace(setting, references=(true,)), replace(setting, augment=lambda images, generator: (images, kept)),
                   replace(setting, augment=types.MethodType(lambda task, images: images, replace(setting.train, labels=true)))):
        assert leaks(hidden)


def test_scores_by_hand(run):
    labels, (true, noisy) = Cifar10().read(run.data, "test").labels, TASK().labels(run)
    found = TASK().evaluate(Network(Fixed(labels)), run)
    assert found["top1"] == found["best_top1"] == 100 and found["trivial_top1"] == 10
    assert found["recovered"] == found["clean_share"] == module.agreement(noisy, true)
    halfway = torch.where(torch.arange(len(true)) % 2 == 0, true, (true + 1) % 10)
    wrong = torch.where(labels == 3, 5, labels)
    artifact = Network(Fixed(wrong), {"labels": halfway, "best": Fixed(labels)})
    scores = TASK().evaluate(artifact, run)
    assert scores["top1"] == 90 and scores["best_top1"] == 100 and scores["recovered"] == 50
    assert scores["clean_share"] == found["clean_share"] and torch.equal(artifact.spare["predictions"], wrong)
    with pytest.raises(ValueError, match=r"corrected labels are \(10000,\), the training images 9000"):
        TASK().evaluate(Network(Fixed(labels), {"labels": torch.zeros(10_000, dtype=torch.int64)}), run)


def test_the_picture_shows_what_became_of_the_labels(run):
    labels, (true, noisy) = Cifar10().read(run.data, "test").labels, TASK().labels(run)
    artifact = Network(Fixed(labels))
    TASK().evaluate(artifact, run)
    _, given = TASK().show(artifact, run)
    assert given.name == "labels" and len(given.figure.axes) == 1
    artifact.spare["labels"] = (true + 1) % 10
    _, figure = TASK().show(artifact, run)
    first, second, third = (torch.tensor(axes.images[0].get_array()) for axes in figure.figure.axes)
    assert torch.equal(first, module.transition(true, noisy, 10))
    assert torch.equal(second, 100 * torch.eye(10, dtype=torch.float64).roll(1, 1))  # all of class 0 are called 1
    assert torch.allclose(third.sum(1), torch.full((10,), 100.0, dtype=torch.float64)) and third[0, 1] > 50
    assert [axes.get_ylabel() for axes in figure.figure.axes] == ["true label", "true label", "noisy label"]


def test_labels_that_people_gave(run, tmp_path):
    folder = shutil.copytree(run.data, tmp_path / "home" / Cifar10.archive_folder)
    true = Cifar10().read(folder, "train").labels
    sets = {name: (true + place * (torch.arange(len(true)) < 1000 * place)).numpy() % 10 for place, name in enumerate(LABELS)}
    torch.save(sets, folder.parent / "CIFAR-10_human.pt")
    plan = make_plan("noisy_labels", ["cross_entropy"], ("task.noise=worse",), [0], "smoke", tmp_path / "home")
    assert plan.wanted[0].source.name == "cifar10n"
    run = replace(run, data=folder)
    for noise, name in module.HUMAN.items():
        rows, _ = TASK().split(len(true), run)
        labels = TASK(noise=noise).setting(run).train.labels
        assert torch.equal(labels, torch.from_numpy(sets[name])[rows]) and labels.dtype == torch.int64
        assert torch.equal(TASK(noise=noise).labels(run)[0], true[rows])


def test_there_is_no_made_up_form_of_them(suite_home):
    with pytest.raises(UserError, match="no embedded form"):
        make_plan("noisy_labels", ["cross_entropy"], ("task.noise=worse",), [0], "smoke", None)
    with pytest.raises(UserError, match="one of symmetric, asymmetric, aggregate, random1, random2, random3, worse"):
        make_plan("noisy_labels", ["cross_entropy"], ("task.noise=humans",), [0], "smoke", None)


def test_the_claims_run_what_a_plain_command_runs(suite_home):
    from suite.plan import specs

    ids = set()
    for claim in plugins.load("baselines", "pencil").claims:
        for side in claim.sides:
            (spec,) = specs(claim.task, [(side.method, {**claim.options, **side.options})], [0], "short", None, claim.task_options).wanted
            ids.add(spec.id)
            assert {name: getattr(spec.task, name) for name in claim.task_options} == dict(claim.task_options)
    assert len(ids) == 4 and make_plan("noisy_labels", ["pencil"], (), [0], "short", None).wanted[0].id in ids

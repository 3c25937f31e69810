"""Few-shot class-incremental learning: the sessions' guard, the order of classes, scores by hand, lists, impossible options."""

from __future__ import annotations

import gc
import itertools
import weakref
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from suite import judging, plugins
from suite.artifacts import Network
from suite.context import Budget, Run
from suite.data import source
from suite.data.pictures import Stored
from suite.data.sessions import Cifar100Sessions
from suite.errors import UserError
from suite.plan import specs
from suite.settings import Sessions
from suite.train import Normalise

TASK = plugins.load("tasks", "fscil")
GENERATOR = torch.Generator()


def tiny(ways: tuple[int, ...] = (4, 2, 2), shots: int = 3) -> Sessions:
    """Sessions of noise: `ways` classes in each, `shots` images of each; image and label tell one another."""
    parts, first = [], 0
    for count in ways:
        labels = torch.arange(first, first + count).repeat(shots)
        parts.append((Stored(labels.view(-1, 1, 1, 1).expand(-1, 3, 32, 32).to(torch.uint8), labels), None))
        first += count
    parts[0] = (parts[0][0], Stored(torch.zeros(2, 3, 32, 32, dtype=torch.uint8), torch.tensor([0, 1])))
    normalise = Normalise((0.0,) * 3, (1.0,) * 3)
    return Sessions(parts, ways, shape=(3, 32, 32), augment=lambda images, _: normalise(images), normalise=normalise)


@pytest.fixture
def run(suite_home: Path, tmp_path: Path) -> Run:
    return Run(0, "smoke", Budget(0), tmp_path, source.embedded_folder(Cifar100Sessions(), suite_home / "cache"))


# -- the guard -----------------------------------------------------------------------------------------------------------------


def test_a_session_shows_its_images_and_labels_while_it_lasts():
    sessions = tiny()
    for session, classes in zip(sessions, (range(4), range(4, 6), range(6, 8)), strict=True):
        assert session.classes == classes and set(session.train.labels.tolist()) == set(classes)
        rows = torch.tensor([1, 0])
        pixels = session.train.batch(rows, True, GENERATOR)
        assert pixels[:, 0, 0, 0].tolist() == session.train.labels[rows].tolist()  # image and label belong together
        part = session.train.subset(torch.tensor([2, 1, 0])).subset(rows)
        assert part.labels.tolist() == session.train.labels[torch.tensor([1, 2])].tolist() and len(part) == 2
        assert torch.equal(part.batch(torch.tensor([1]), True, GENERATOR), session.train.batch(torch.tensor([2]), True, GENERATOR))
        assert (session.val is None) == (session.number > 0)


@pytest.mark.parametrize("look", [
    lambda images: images.batch(torch.tensor([0]), True, GENERATOR), lambda images: images.labels,
    lambda images: images.subset(torch.tensor([0])).labels,
])
def test_an_earlier_session_cannot_be_read(look):
    walk = iter(tiny())
    base = next(walk)
    held = base.train, base.train.subset(torch.tensor([0, 1])), base.val
    next(walk)
    for images in held:
        with pytest.raises(LookupError, match=r"the images of session 0 are gone since the next session was taken; keep what"):
            look(images)


def test_the_pixels_of_an_earlier_session_are_released():
    pixels = torch.zeros(8, 3, 32, 32, dtype=torch.uint8)
    watched = weakref.ref(pixels)
    normalise = Normalise((0.0,) * 3, (1.0,) * 3)
    few = Stored(torch.zeros(2, 3, 32, 32, dtype=torch.uint8), torch.tensor([2, 3]))
    sessions = Sessions([(Stored(pixels, torch.arange(8) % 2), None), (few, None)], (2, 2), shape=(3, 32, 32),
                        augment=lambda images, _: normalise(images), normalise=normalise)
    del pixels
    walk = iter(sessions)
    base = next(walk)
    part = base.train.subset(torch.arange(4))
    gc.collect()
    assert watched() is not None
    second = next(walk)
    gc.collect()
    assert watched() is None and base.classes == range(2) and len(part) == 4 and len(second.train) == 2


def test_sessions_come_once_and_in_order():
    sessions = tiny()
    with pytest.raises(LookupError, match="session 2 cannot be picked; go through the sessions in their order"):
        sessions[2]
    assert [session.number for session in sessions] == [0, 1, 2] and len(sessions) == 3
    with pytest.raises(LookupError, match="have begun and can be gone through only once"):
        iter(sessions)


# -- what a method sees ----------------------------------------------------------------------------------------------------------


def test_the_sessions_of_the_embedded_data(run):
    task, images = TASK(sessions=3), Cifar100Sessions().read(run.data, "train")
    known = {row.tobytes(): label for row, label in zip(images.values.numpy(), images.labels.tolist(), strict=True)}
    test = {row.tobytes() for row in Cifar100Sessions().read(run.data, "test").values.numpy()}
    seen: set[bytes] = set()
    for session in task.setting(run):
        parts = [session.train, *([session.val] if session.val else [])]
        for part in parts:
            rows = torch.arange(len(part))
            pixels = [row.tobytes() for row in part.batch(rows, False, GENERATOR).numpy()]
            assert [known[row] for row in pixels] == part.labels.tolist()  # made lists are in the labels' order
            assert not seen & set(pixels) and not test & set(pixels)
            seen |= set(pixels)
        if session.number == 0:
            assert [len(part) for part in parts] == [5400, 600] and session.classes == range(60)
        else:
            assert session.train.labels.bincount()[session.classes.start:].tolist() == [5] * 5
    assert len(seen) == 6000 + 3 * 25 and session.classes == range(70, 75)


def test_another_seed_holds_out_other_images_and_learns_from_the_same_few(run):
    def shown(seed: int) -> list[bytes]:
        return [session.train.batch(torch.arange(20), False, GENERATOR).numpy().tobytes()
                for session in itertools.islice(TASK().setting(replace(run, number=seed)), 2)]

    first, second = shown(0), shown(1)
    assert first[0] != second[0] and first[1] == second[1]


def write_lists(folder: Path, run: Run, shots: int = 5, order: tuple[int, ...] = tuple(range(99, -1, -1))) -> None:
    """Lists of 60 + 8 x 5 classes in `order`, made of the last rows of each class."""
    folder.mkdir(parents=True)
    for split, name in (("train", "session"), ("test", "test")):
        labels = Cifar100Sessions().read(run.data, split).labels
        for number, start in enumerate((0, *range(60, 100, 5)), 1):
            own = order[start : start + (5 if start else 60)]
            rows = [torch.nonzero(labels == label).flatten().tolist() for label in own]
            chosen = [row for part in rows for row in (part[-shots:] if start and split == "train" else part)]
            (folder / f"{name}_{number}.txt").write_text("\n".join(map(str, chosen)))


def linked(run: Run, folder: Path) -> Run:
    """The run with its data in `folder`, so that lists may lie beside them."""
    (folder / run.data.name).mkdir(parents=True)
    for path in run.data.iterdir():
        (folder / run.data.name / path.name).symlink_to(path)
    return replace(run, data=folder / run.data.name)


def test_published_lists_are_used_and_classes_count_in_their_order(run, tmp_path):
    run = linked(run, tmp_path / "data")
    write_lists(tmp_path / "data" / "index_list" / "cifar100", run)
    task, images = TASK(), Cifar100Sessions().read(run.data, "train")
    known = {row.tobytes(): label for row, label in zip(images.values.numpy(), images.labels.tolist(), strict=True)}
    for session in itertools.islice(task.setting(run), 3):
        pixels = session.train.batch(torch.arange(len(session.train)), False, GENERATOR).numpy()
        # Session 0 has the classes 40 to 99 (ascending within a session), session 1 then 35 to 39, session 2 then 30 to 34.
        first = 40 - 5 * session.number
        assert [known[row.tobytes()] - first + session.classes.start for row in pixels] == session.train.labels.tolist()
        assert session.classes == (range(60) if not session.number else range(55 + 5 * session.number, 60 + 5 * session.number))


@pytest.mark.parametrize("options, shots", [({"base": 50}, 5), ({"ways": 4}, 5), ({"shots": 3}, 5), ({}, 6)])
def test_lists_that_are_not_what_the_options_say(run, tmp_path, options, shots):
    run = linked(run, tmp_path / "data")
    write_lists(tmp_path / "data" / "index_list" / "cifar100", run, shots)
    with pytest.raises(UserError, match="lists of sessions near the data have .* and the options say .*; choose task.base"):
        TASK(**options).setting(run)


def test_impossible_options():
    with pytest.raises(UserError, match="60 base classes and 9 sessions of 5 are 105 classes and CIFAR-100 has 100; choose smaller"):
        TASK(sessions=9)


# -- scores ----------------------------------------------------------------------------------------------------------------------


class Fixed(nn.Module):
    """Answers `answers` in order, whatever it is asked, with `outputs` logits."""

    def __init__(self, answers: Tensor, outputs: int) -> None:
        super().__init__()
        self.answers, self.outputs, self.at = answers, outputs, 0

    def forward(self, images: Tensor) -> Tensor:
        chosen = self.answers[self.at : self.at + len(images)]
        self.at += len(images)
        return nn.functional.one_hot(chosen, self.outputs).float()


def test_a_network_is_judged_on_all_classes_so_far(run):
    task = TASK()
    for step, seen in ((0, 60), (2, 70)):
        labels = task.test(run, task.parts(run)[: step + 1]).labels
        assert labels.bincount().tolist() == [20] * seen  # 20 test images of each class
        found = task.evaluate(Network(Fixed(labels, seen)), replace(run, step=step))
        assert found["accuracy"] == found["old_accuracy"] == 100 and found["trivial_accuracy"] == pytest.approx(100 / seen)
        assert ("new_accuracy" in found) == (step > 0)
        base_alone = task.evaluate(Network(Fixed(labels.clamp(max=59), seen)), replace(run, step=step))
        assert base_alone["accuracy"] == pytest.approx(100 * 60 / seen) and base_alone["old_accuracy"] == 100


@pytest.mark.parametrize("step, outputs, sentence", [
    (1, 60, "network of session 1 has 60 outputs for the 65 classes seen so far"), (1, 100, "100 outputs for the 65 classes"),
    (9, 100, "a network for session 9, and there are sessions 0 to 8"),
])
def test_a_network_with_other_classes_is_refused(run, step, outputs, sentence):
    with pytest.raises(ValueError, match=sentence):
        TASK().evaluate(Network(Fixed(torch.zeros(9999, dtype=torch.int64), outputs)), replace(run, step=step))


def test_scores_by_hand():
    scores = plugins.load("tasks", "fscil").evaluate.__globals__["scores"]
    labels = torch.tensor([0, 0, 1, 1, 2, 3, 3, 3])  # classes 0 and 1 are the base
    found = scores(torch.tensor([0, 0, 1, 2, 0, 3, 0, 1]), labels, 2)
    assert found["old_accuracy"] == 75 and found["new_accuracy"] == 25 and found["accuracy"] == 50
    assert found["harmonic_mean"] == pytest.approx(2 * 75 * 25 / 100) and found["trivial_accuracy"] == 37.5
    forgotten = scores(torch.full((8,), 3), labels, 2)
    assert forgotten["old_accuracy"] == forgotten["harmonic_mean"] == 0 and forgotten["new_accuracy"] == 75
    assert "new_accuracy" not in scores(torch.tensor([0, 1]), torch.tensor([0, 0]), 2)


def test_summary_by_hand():
    steps = [{"accuracy": 60.0, "old_accuracy": 60.0}, {"accuracy": 45.0, "old_accuracy": 50.0, "new_accuracy": 30.0},
             {"accuracy": 33.0, "old_accuracy": 36.0, "new_accuracy": 24.0, "harmonic_mean": 28.8}]
    found = TASK(sessions=2).summarise(steps)
    assert found == {"accuracy": 33, "mean_accuracy": 46, "drop": 27, "old_accuracy": 36, "new_accuracy": 24,
                     "harmonic_mean": 28.8, "forgetting": 24}
    with pytest.raises(ValueError, match="gave 3 networks for 9 sessions"):
        TASK().summarise(steps)


def test_a_step_needs_the_primary_score_and_the_summary_all(suite_home):
    spec = specs("fscil", [("ncm", {})], [0], "smoke").wanted[0]
    metrics = spec.task.metrics
    assert judging.checked({"accuracy": 1}, spec, metrics[:1]) == {"accuracy": 1.0}
    with pytest.raises(ValueError, match="promises the score 'mean_accuracy'"):
        judging.checked({"accuracy": 1}, spec, metrics)


def test_the_confusion_of_the_last_network_is_drawn(run):
    task = TASK()
    labels = task.test(run, task.parts(run)[:2]).labels
    artifact = Network(Fixed(labels, 65))
    task.evaluate(artifact, replace(run, step=1))
    (figure,) = task.show(artifact, run)
    assert figure.name == "confusion" and len(figure.figure.axes[0].get_xticks()) == 65

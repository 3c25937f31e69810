"""The activity task: what a method may see, its scores by hand, its options, and what the claims set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from suite import plugins
from suite.artifacts import Network
from suite.cli.run import make_plan
from suite.context import Budget, Run
from suite.data import source
from suite.data.har import FILE, AstarHar
from suite.errors import UserError

TASK = plugins.load("tasks", "astar_har")


@pytest.fixture
def run(suite_home: Path, tmp_path: Path) -> Run:
    return Run(0, "smoke", Budget(0), tmp_path, source.embedded_folder(AstarHar(), suite_home / "cache"))


class Fixed(nn.Module):
    """Answers `labels` in order, whatever it is asked."""

    def __init__(self, labels: torch.Tensor) -> None:
        super().__init__()
        self.labels, self.at = labels, 0

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        chosen = self.labels[self.at : self.at + len(inputs)]
        self.at += len(inputs)
        return nn.functional.one_hot(chosen, 20).float()


def test_validation_is_by_subject_and_test_windows_are_never_there(run):
    task, windows = TASK(), AstarHar().read(run.data, "train")
    setting = task.setting(run)
    subjects = [set(part.subjects.tolist()) for part in (setting.unlabelled, setting.val)]
    assert len(subjects[1]) == 1 and not subjects[0] & subjects[1] and subjects[0] | subjects[1] == set(windows.subjects.tolist())
    assert set(setting.labelled.subjects.tolist()) <= subjects[0]
    test = {row.tobytes() for row in AstarHar().read(run.data, "test").values.numpy()}
    pool = {row.tobytes() for row in setting.unlabelled.values.numpy()}
    assert {row.tobytes() for row in setting.labelled.values.numpy()} <= pool and not pool & test
    assert (setting.unlabelled.labels == -1).all() and (setting.val.labels >= 0).all()


def test_channels_are_standardised_by_the_training_pool_alone(run):
    setting = TASK().setting(run)
    made = setting.normalise(setting.unlabelled.values)
    assert made.mean((0, 1, 3)).abs().max() < 1e-3 and (made.std((0, 1, 3)) - 1).abs().max() < 1e-3
    assert setting.normalise(setting.val.values).mean((0, 1, 3)).abs().max() > 0.01  # another person


def test_the_share_of_labels_and_the_imbalance(run):
    plain = TASK().setting(run)
    assert len(plain.labelled) == round(0.05 * len(plain.unlabelled)) and plain.labelled.labels.bincount().min() == 8
    rare = TASK(label_choice="proportional", label_share=0.2).setting(run).labelled.labels.bincount()
    assert rare.sum() == round(0.2 * len(plain.unlabelled)) and rare.max() > 10 * rare.min()
    assert len(TASK(label_share=1.0).setting(run).labelled) == len(plain.unlabelled)
    for ratio in (1, 8):
        counts = TASK(imbalance=ratio, label_share=1.0).setting(run).labelled.labels.bincount()
        assert float(counts.max() / counts.min()) == pytest.approx(ratio, rel=0.04)


@pytest.fixture
def wide(suite_home: Path, tmp_path: Path) -> Run:
    return Run(0, "smoke", Budget(0), tmp_path, source.embedded_folder(AstarHar(24), suite_home / "cache"))


@pytest.mark.parametrize("imbalance", [0.0, 1.0, 8.0])
def test_people_without_labels_make_the_pool_larger_and_nothing_else(run, wide, imbalance):
    usual, larger = TASK(imbalance=imbalance).setting(run), TASK(imbalance=imbalance, unlabelled=24).setting(wide)
    assert 2.8 < len(larger.unlabelled) / len(usual.unlabelled) < 3.4 and (larger.unlabelled.labels == -1).all()
    for one, other in ((usual.labelled, larger.labelled), (usual.val, larger.val)):
        assert torch.equal(one.values, other.values) and torch.equal(one.labels, other.labels)
    assert usual.normalise == larger.normalise
    parts = [AstarHar().read(wide.data, "train"), AstarHar().read(wide.data, "unlabelled"), AstarHar().read(wide.data, "test")]
    trained, further, tested = (set(part.subjects.tolist()) for part in parts)
    assert not (trained & further or trained & tested or further & tested)
    held, pool = set(larger.val.subjects.tolist()), set(larger.unlabelled.subjects.tolist())
    assert pool == trained - held | further and set(larger.labelled.subjects.tolist()) <= trained - held
    own = larger.unlabelled.values[torch.isin(larger.unlabelled.subjects, torch.tensor(sorted(further)))]
    assert len(own) > 0.6 * len(larger.unlabelled)
    if imbalance:
        label_of = {row.tobytes(): int(label) for row, label in zip(parts[1].values.numpy(), parts[1].labels, strict=True)}
        counts = torch.tensor([label_of[row.tobytes()] for row in own.numpy()]).bincount()
        assert float(counts.max() / counts.min()) == pytest.approx(imbalance, rel=0.04)


@pytest.mark.parametrize("words, sentence", [
    ({"label_share": 0.0}, "leaves no label to learn from"), ({"imbalance": 0.5}, "is no ratio; give 1 for equal classes"),
])
def test_impossible_options(words, sentence):
    with pytest.raises(UserError, match=sentence):
        TASK(**words)


def test_an_unknown_choice_is_refused_on_the_command_line(suite_home):
    with pytest.raises(UserError, match="one of balanced, proportional"):
        make_plan("astar_har", ["mean_teacher"], ("task.label_choice=random",), [0], "smoke", None)


def test_scores_by_hand(run):
    labels = AstarHar().read(run.data, "test").labels
    perfect = TASK().evaluate(Network(Fixed(labels)), run)
    assert perfect["macro_f1"] == perfect["accuracy"] == perfect["tail_recall"] == perfect["f1_class_19"] == 100
    assert perfect["trivial_accuracy"] == pytest.approx(5) and perfect["trivial_macro_f1"] == pytest.approx(200 / 21 / 20)
    # Every Drinking (19) window taken for Eating (1): the five rarest classes lose a fifth of their recall.
    wrong = torch.where(labels == 19, 1, labels)
    scores = TASK().evaluate(Network(Fixed(wrong)), run)
    assert scores["tail_recall"] == 80 and scores["accuracy"] == 95 and scores["f1_class_19"] == 0
    assert scores["f1_class_01"] == pytest.approx(200 / 3) and scores["macro_f1"] == pytest.approx((18 * 100 + 200 / 3) / 20)


def test_a_class_without_test_windows_is_no_class(run, tmp_path):
    """Perfect predictions score 100 whatever the test split lacks."""
    arrays = dict(np.load(run.data / FILE))
    kept = arrays["test_y"] != 19  # one of the rarest
    np.savez(tmp_path / FILE, **{key: item[kept] if key.startswith("test") else item for key, item in arrays.items()})
    labels = AstarHar().read(tmp_path, "test").labels
    scores = TASK().evaluate(Network(Fixed(labels)), Run(0, "smoke", Budget(0), tmp_path, tmp_path))
    assert scores["macro_f1"] == scores["accuracy"] == scores["tail_recall"] == 100


def test_the_confusion_matrix_is_kept_and_drawn(run):
    artifact = Network(Fixed(torch.where((labels := AstarHar().read(run.data, "test").labels) == 19, 1, labels)))
    TASK().evaluate(artifact, run)
    assert artifact.spare["confusion"][19].tolist() == [0, 60] + [0] * 18
    (figure,) = TASK().show(artifact, run)
    assert figure.name == "confusion"
    texts = [label.get_text() for label in figure.figure.axes[0].get_yticklabels()]
    assert texts[0] == "Walking (100)" and texts[1] == "Eating (67)" and texts[19] == "Drinking (0)"


def test_claims_set_options_of_the_task(suite_home):
    from suite.plan import specs

    for claim in plugins.load("baselines", "mean_teacher").claims:
        rival = next(side for side in claim.sides if side.method == "supervised_cnn")
        assert rival.options == {"consistency": 0.0} and claim.least_scale == "long"  # the labels alone
        for side in claim.sides:
            plan = specs(claim.task, [(side.method, {**claim.options, **side.options})], [0], "smoke", None, claim.task_options)
            assert {name: getattr(plan.wanted[0].task, name) for name in claim.task_options} == dict(claim.task_options)
            assert plan.wanted[0].source.counts["unlabelled"] == 2 * plan.wanted[0].source.counts["train"]

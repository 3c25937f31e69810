"""Fine-tuning: the head grows, moves as a whole by cross-entropy, and nothing else does; the base is every method's."""

from __future__ import annotations

import importlib
import itertools
from pathlib import Path

import pytest
import torch
from torch import nn

from suite import plugins
from suite.context import Budget, Run
from suite.data.pictures import Stored
from suite.settings import Sessions
from suite.train import Normalise

METHOD = plugins.load("baselines", "finetune")
finetune = importlib.import_module("suite.baselines.finetune")
SMALL = {"arch": "resnet8", "batch": 8, "rate": 0.05, "base_share": 0.5}


def sessions() -> Sessions:
    """Four classes of noise, then two, then two."""
    parts = []
    for classes in ((0, 1, 2, 3), (4, 5), (6, 7)):
        labels = torch.tensor(classes).repeat(4)
        pixels = torch.randint(0, 256, (len(labels), 3, 32, 32), generator=torch.Generator().manual_seed(classes[0]))
        parts.append((Stored(pixels.to(torch.uint8), labels), None))
    normalise = Normalise((0.5,) * 3, (0.25,) * 3)
    return Sessions(parts, (4, 2, 2), shape=(3, 32, 32), augment=lambda images, _: normalise(images), normalise=normalise)


def fitted(folder: Path, method, budget: int = 128) -> tuple[list[nn.Module], Run]:
    run = Run(0, "smoke", Budget(budget), folder, folder)
    return [artifact.module for artifact in method.fit(sessions(), run)], run


def test_the_head_grows_behind_its_old_rows():
    head = nn.Linear(5, 3, bias=False)
    made = finetune.grown(head, 2)
    assert made.weight.shape == (5, 5) and torch.equal(made.weight[:3], head.weight) and made.bias is None


def test_the_head_alone_moves_and_all_of_it(tmp_path):
    networks, run = fitted(tmp_path, METHOD(**SMALL, scale=1.0))  # at 16 some rows have no gradient left in so few steps
    assert [network(torch.randn(2, 3, 32, 32)).shape[1] for network in networks] == [4, 6, 8]
    for before, after in itertools.pairwise(networks):
        changed = {name for name, values in before.state_dict().items()
                   if name != "head.weight" and not torch.equal(values, after.state_dict()[name])}
        old = before.head.weight
        assert not changed and (after.head.weight[: len(old)] != old).any(1).all()
    assert vars(run.budget) == {"allowed": 128, "total": 128, "final": 128}


def test_two_steps_by_hand(tmp_path):
    """The head moves by rate times the momentum's 0.9 m + (1 - 0.5) g, where g is cross-entropy's gradient and m first g itself."""
    method = METHOD(**SMALL, session_rate=0.3, epochs=2)
    run = Run(0, "smoke", Budget(128), tmp_path, tmp_path)
    walk = method.fit(sessions(), run)
    first, second = next(walk).module, next(walk).module
    torch.manual_seed(run.seed("weights", 1))
    weight = finetune.grown(first.head, 2).weight.detach()
    features = torch.load(tmp_path / "features-1.phase.pt", weights_only=False)["value"]
    u = features.values @ first.nodes.weight.T
    momentum, losses = None, []
    for _ in range(2):
        weight.requires_grad_()
        loss = nn.functional.cross_entropy(16 * (u / u.norm(dim=1, keepdim=True)) @ weight.T, features.labels)
        (gradient,) = torch.autograd.grad(loss, weight)
        momentum = gradient if momentum is None else 0.9 * momentum + 0.5 * gradient
        weight = weight.detach() - 0.3 * momentum
        losses.append(loss.item())
    assert torch.allclose(second.head.weight, weight, atol=1e-5)
    assert [value for _, value in run.curves["session-1_loss"]] == pytest.approx(losses, rel=1e-5)


def test_the_base_session_sees_augmented_images(tmp_path):
    setting, seen = sessions(), []
    usual = setting.augment
    setting.augment = lambda images, generator: seen.append(len(images)) or usual(images, generator)
    next(METHOD(**SMALL).fit(setting, Run(0, "smoke", Budget(128), tmp_path, tmp_path)))
    assert sum(seen) == 64  # half of the budget


def test_a_session_has_no_more_than_its_epochs_and_its_share(tmp_path):
    assert fitted(tmp_path / "share", METHOD(**SMALL))[1].curves["session-2_loss"][-1][0] == 32 // 8
    short, run = fitted(tmp_path / "epochs", METHOD(**SMALL, epochs=2))
    assert len(short) == 3 and run.curves["session-2_loss"][-1][0] == 2 and run.budget.total == 64 + 2 * 2 * 8


def test_every_method_goes_on_from_the_same_base_network(tmp_path):
    def base(name: str) -> dict[str, torch.Tensor]:
        method = plugins.load("baselines", name)(**SMALL)
        return fitted(tmp_path / name, method)[0][0].backbone.state_dict()

    mine, lec, ncm = base("finetune"), base("lec_net"), base("ncm")
    assert all(torch.equal(values, lec[name]) and torch.equal(values, ncm[name]) for name, values in mine.items())
    assert {"bn1.running_mean", "conv1.weight"} <= mine.keys()

"""Nearest class mean: the same answers as a plain one in numpy, session by session, and nothing trained behind the base."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from suite import plugins
from suite.context import Budget, Run
from suite.data.pictures import Stored
from suite.settings import Sessions
from suite.train import Normalise

METHOD = plugins.load("baselines", "ncm")


def images(classes: tuple[int, ...], shots: int, seed: int) -> Stored:
    """Noise whose brightness tells the class."""
    labels = torch.tensor(classes).repeat(shots)
    noise = torch.randint(0, 60, (len(labels), 3, 32, 32), generator=torch.Generator().manual_seed(seed))
    return Stored((noise + 20 * labels.view(-1, 1, 1, 1)).to(torch.uint8), labels)


def test_the_answers_of_a_plain_one(tmp_path: Path):
    classes = ((0, 1, 2, 3), (4, 5), (6, 7))
    normalise = Normalise((0.5,) * 3, (0.25,) * 3)
    parts = [(images(own, 5 - number, number), None) for number, own in enumerate(classes)]
    shown = [part[0] for part in parts]
    setting = Sessions(parts, (4, 2, 2), shape=(3, 32, 32), augment=lambda batch, _: normalise(batch), normalise=normalise)
    run = Run(0, "smoke", Budget(200), tmp_path, tmp_path)
    method = METHOD(arch="resnet8", batch=8, rate=0.05, base_share=0.8)
    networks = [artifact.module for artifact in method.fit(setting, run)]
    assert vars(run.budget) == {"allowed": 200, "total": 160, "final": 160}

    backbone = networks[0].backbone
    assert all(network.backbone is backbone for network in networks) and not backbone.training
    with torch.no_grad():
        train = [backbone(normalise(part.values)).double().numpy() for part in shown]
        asked = normalise(images(tuple(range(8)), 3, 99).values)
        queries, answers = backbone(asked).double().numpy(), [network(asked) for network in networks]
    means: list[np.ndarray] = []
    for own, part, features, answer in zip(classes, shown, train, answers, strict=True):
        means += [features[part.labels.numpy() == label].mean(0) for label in own]
        table = np.stack(means)
        cosines = queries @ table.T / np.linalg.norm(queries, axis=1)[:, None] / np.linalg.norm(table, axis=1)
        np.testing.assert_allclose(answer.numpy(), cosines, atol=1e-5)
        assert answer.argmax(1).tolist() == cosines.argmax(1).tolist()

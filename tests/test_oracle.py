"""Questions are counted to the unit, refused beyond the allowance, and counted once however often a run is killed."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from suite.context import Budget, Run
from suite.oracle import Oracle, Refused
from suite.train import loop, steps


def run_in(folder, **more) -> Run:
    return Run(0, "smoke", Budget(64), folder, folder, **more)


class Victim(nn.Module):
    """Class 1 where the first value is above zero."""

    def forward(self, inputs):
        return torch.stack([-inputs[:, 0], inputs[:, 0]], 1)


def test_labels_and_scores_and_their_count(tmp_path):
    run = run_in(tmp_path)
    asked = torch.tensor([[2.0], [-1.0]])
    assert Oracle(run, Victim(), 5)(asked).tolist() == [1, 0]
    assert torch.allclose(Oracle(run, Victim(), 5, scores=True)(asked), torch.stack([-asked[:, 0], asked[:, 0]], 1).softmax(1))
    assert run.ledger == {"queries": 4}


def test_refuses_beyond_the_allowance_and_counts_no_refused_question(tmp_path):
    run = run_in(tmp_path)
    oracle = Oracle(run, Victim(), 3, name="labels")
    oracle(torch.ones(2, 1))
    with pytest.raises(Refused, match="asked about 2 images, and of the allowed 'labels' only 1 are left"):
        oracle(torch.ones(2, 1))
    assert oracle.left == 1 and run.ledger == {"labels": 2}
    oracle(torch.ones(1, 1))  # an answer that was given before counts again
    assert oracle.left == 0


def test_a_method_gets_answers_and_neither_gradients_nor_the_run_that_reaches_the_network(tmp_path):
    network = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4)).train()
    oracle = Oracle(run_in(tmp_path, judges={"victim": tmp_path}), network, 9, scores=True)
    asked = torch.randn(3, 2, requires_grad=True)
    assert torch.equal(oracle(asked), oracle(asked)) and not oracle(asked).requires_grad  # evaluated: no batch statistics move
    held = [cell.cell_contents for item in vars(oracle).values() if callable(item) for cell in item.__closure__]
    assert not any(item.judges for item in held if isinstance(item, Run)) and not hasattr(oracle, "allowed")


def test_two_oracles_share_an_entry_and_not_an_allowance(tmp_path):
    run = run_in(tmp_path)
    Oracle(run, Victim(), 5)(torch.ones(5, 1))
    second = Oracle(run, Victim(), 2)
    assert second.left == 2
    second(torch.ones(1, 1))
    assert second.left == 1 and run.ledger == {"queries": 6}


def test_the_ledger_survives_a_kill(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1.0)

    def fit(stop=0):
        seen = []

        def report(what, done, total):
            seen.append(done)
            if len(seen) == stop:
                raise KeyboardInterrupt

        run = run_in(tmp_path, report=report)
        oracle = Oracle(run, Victim(), 64)
        run.once("ask", lambda: oracle(torch.ones(7, 1)))

        def update(batch, clock):
            oracle(torch.ones(3, 1))
            run.count(bytes=10)

        steps(run, "clone", {}, lambda generator: [lambda: None] * 8, update, size=8)
        return run.ledger, oracle.left

    with pytest.raises(KeyboardInterrupt):
        fit(stop=5)
    assert fit() == ({"queries": 7 + 8 * 3, "bytes": 80}, 64 - 31)

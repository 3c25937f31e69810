"""Somebody else's network that a method may only ask: every answer is counted, and none is given beyond an allowance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from suite.run import Run


class Refused(Exception):
    """More was asked than is allowed; the question was neither answered nor counted."""


class Oracle:
    """Answers of a hidden network, made by a task in its ``setting``: labels, or probabilities where `scores` is set.

    It may be asked about `allowed` images; each counts as one of the run's ledger entry `name`, also if asked before. As the
    ledger is part of every checkpoint, a resumed run has asked what it had asked. Several oracles may share an entry.
    """

    def __init__(self, run: Run, network: nn.Module, allowed: int, *, scores: bool = False, name: str = "queries") -> None:
        self.allowed, self.scores, self.name = allowed, scores, name
        self._run, self._before = run, run.ledger.get(name, 0.0)
        network = network.eval().requires_grad_(False).to(run.device)
        self._answer = lambda inputs: network(inputs)  # not an attribute that a method could take for itself by its name

    @property
    def left(self) -> int:
        """How many more images it answers."""
        return self.allowed - int(self._run.ledger.get(self.name, 0.0) - self._before)

    def __call__(self, inputs: Tensor) -> Tensor:
        """For `inputs` (N, ...), as the network takes them, labels int64 (N,) or probabilities float32 (N, classes).

        Refused where fewer than N answers are left.
        """
        if len(inputs) > self.left:
            raise Refused(f"asked about {len(inputs)} images, but of {self.allowed} '{self.name}' only {self.left} are left")
        self._run.count(**{self.name: len(inputs)})
        with torch.no_grad():
            logits = self._answer(inputs.to(self._run.device)).float()
        return (logits.softmax(1) if self.scores else logits.argmax(1)).to(inputs.device)

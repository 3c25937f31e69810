"""Somebody else's network that a method may only ask: every answer is counted, and none is given beyond an allowance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from suite.context import Run


class Refused(Exception):
    """More was asked than is allowed; the question was neither answered nor counted."""


class Oracle:
    """Answers of a hidden network, made by a task in its ``setting``: labels, or probabilities where `scores` is set.

    It may be asked about `allowed` images; each counts as one of the run's ledger entry `name`, also if asked before. As the
    ledger is part of every checkpoint, a resumed run has asked what it had asked. Several oracles may share an entry.
    """

    def __init__(self, run: Run, network: nn.Module, allowed: int, *, scores: bool = False, name: str = "queries") -> None:
        self.scores, self.name = scores, name
        books, before = run.for_method(), run.ledger.get(name, 0.0)  # the same ledger, and no way to what the task needs
        network = network.eval().requires_grad_(False).to(run.device)
        # In functions and not attributes: a method holds the oracle, and could take or change these by their names.
        self._answer = lambda inputs: network(inputs.to(books.device))
        self._count = lambda images: books.count(**{name: images})
        self._left = lambda: allowed - int(books.ledger.get(name, 0.0) - before)

    @property
    def left(self) -> int:
        """How many more images it answers."""
        return self._left()

    def __call__(self, inputs: Tensor) -> Tensor:
        """For `inputs` (N, ...), as the network takes them, labels int64 (N,) or probabilities float32 (N, classes).

        Refused where fewer than N answers are left.
        """
        if len(inputs) > self.left:
            raise Refused(f"asked about {len(inputs)} images, and of the allowed '{self.name}' only {self.left} are left")
        self._count(len(inputs))
        with torch.no_grad():
            logits = self._answer(inputs).float()
        return (logits.softmax(1) if self.scores else logits.argmax(1)).to(inputs.device)

"""The reference: from scratch, trained on, or the user's weights."""

import dataclasses

import pytest
import torch

from suite import plugins
from suite.context import Budget, Run
from suite.errors import UserError
from suite.nn import build
from suite.testing.contract import fit_once

METHOD = plugins.load("baselines", "plain")


def test_trained_on_starts_from_the_reference_and_gets_the_smaller_budget(suite_home):
    from suite.plan import specs
    from suite.runner import execute

    reference, _ = fit_once("cifar10", "plain")
    spec = specs("cifar10", [("plain", {"starts": "reference"})], [0], "smoke").wanted[0]
    record = execute(spec)
    assert record["parents"] == {"reference": reference.id}
    assert record["budget"]["total"] == 256 and record["method"]["starts"] == "reference"


def test_the_users_state_dict_is_the_reference(tmp_path, suite_home):
    theirs = build("resnet8", 10, 32)
    torch.save(theirs.state_dict(), tmp_path / "weights.pt")
    spec, _ = fit_once("cifar10", "plain")
    run = Run(0, "smoke", Budget(0), tmp_path, spec.source.folder)
    setting = dataclasses.replace(spec.task.setting(run), weights=str(tmp_path / "weights.pt"))
    network = METHOD(arch="resnet8").fit(setting, run).module
    assert all(torch.equal(ours, wanted) for ours, wanted in zip(network.parameters(), theirs.parameters(), strict=True))
    with pytest.raises(UserError, match="is no state-dict of this network"):
        METHOD(arch="resnet20").fit(setting, run)

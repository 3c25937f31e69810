"""The reference: from scratch, trained on, or the user's weights."""

import pytest
import torch

from suite import plugins
from suite.errors import UserError
from suite.nn import build
from suite.testing.contract import fit_once

METHOD = plugins.load("baselines", "plain")


def test_trained_on_starts_from_the_reference_and_gets_the_smaller_budget(suite_home):
    from suite.plan import specs
    from suite.runner import execute

    reference, _ = fit_once("cifar10", "plain")
    spec = specs("cifar10", [("plain", {"starts": "reference"})], [0], "smoke").wanted[0]
    record = execute(spec, say=lambda sentence: None)
    assert record["parents"] == {"reference": reference.id}
    assert record["budget"]["total"] == 256 and record["method"]["starts"] == "reference"


def test_the_users_state_dict_is_the_reference(tmp_path, suite_home):
    import importlib

    load_weights = importlib.import_module("suite.baselines.plain").load_weights
    network, other = build("resnet8", 10, 32), build("resnet8", 10, 32)
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    load_weights(other, str(tmp_path / "weights.pt"))
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), other.parameters(), strict=True))
    with pytest.raises(UserError, match="is no state-dict of this network"):
        load_weights(build("resnet20", 10, 32), str(tmp_path / "weights.pt"))
    (tmp_path / "weights.pt").write_bytes(b"nothing")
    with pytest.raises(UserError, match="is no state-dict of this network"):
        load_weights(other, str(tmp_path / "weights.pt"))

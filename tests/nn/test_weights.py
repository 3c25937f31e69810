"""State-dict files of users: those that fit, and one sentence for those that do not."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from suite.errors import UserError
from suite.nn import build
from suite.nn.weights import load_weights, read_weights


def test_a_file_that_fits_is_loaded_and_converted_first(tmp_path):
    network, other = build("resnet8", 10, 32), build("resnet8", 10, 32)
    state = {name: item for name, item in network.state_dict().items() if not name.endswith("num_batches_tracked")}
    torch.save(state, path := str(tmp_path / "weights.pt"))
    load_weights(other, path)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), other.parameters(), strict=True))
    load_weights(other, path, lambda state: {name: -item for name, item in state.items()})
    assert torch.equal(other.fc.weight, -network.fc.weight)


@pytest.mark.parametrize(("theirs", "problem"), [
    (nn.Linear(3, 2), r"'weight' is \(2, 3\) instead of \(2, 4\)"), (nn.Linear(4, 2, bias=False), "'bias' is missing"),
    (nn.Sequential(nn.Linear(4, 2)), "'weight' is missing"), (nn.Bilinear(4, 4, 2), r"'weight' is \(2, 4, 4\)"),
    (nn.ParameterDict({"weight": torch.ones(2, 4), "bias": torch.ones(2), "more": torch.ones(1)}), "'more' is unknown"),
])
def test_a_file_of_another_network_is_a_sentence_and_changes_nothing(theirs, problem, tmp_path):
    torch.save(theirs.state_dict(), path := str(tmp_path / "weights.pt"))
    network = nn.Linear(4, 2)
    before = network.weight.clone()
    with pytest.raises(UserError, match=f"weights.pt' is no state-dict of this network \\({problem}.*give the arch"):
        load_weights(network, path)
    assert torch.equal(network.weight, before)


class Evil:
    def __reduce__(self):
        return exec, ("raise SystemExit",)


@pytest.mark.parametrize(("held", "problem"), [
    (Evil(), "holds 'exec'; it could be read only by running"), ({"epoch": 3}, "holds 'epoch' and the like and no state-dict"),
    ([torch.ones(1)], "holds a list and no state-dict"),
])
def test_a_file_that_is_no_state_dict_is_a_sentence_and_runs_nothing(held, problem, tmp_path):
    torch.save(held, path := str(tmp_path / "weights.pt"))
    with pytest.raises(UserError, match=f"{problem}.*torch.save") as refused:
        read_weights(path)
    assert "weights_only" not in str(refused.value) and "\n" not in str(refused.value)  # torch advises to run it


def test_a_file_of_bytes_or_none_at_all_is_a_sentence(tmp_path):
    (tmp_path / "weights.pt").write_bytes(b"nothing")
    with pytest.raises(UserError, match="weights.pt' is no state-dict"):
        read_weights(str(tmp_path / "weights.pt"))
    with pytest.raises(UserError, match="There is no state-dict file 'nowhere.pt'; name one with weights="):
        read_weights("nowhere.pt")

"""L1 filter pruning: the filters of smallest norm go, cut with all that belongs to them; or they are masked as in a comparison."""

import pytest
import torch

from suite import plugins
from suite.cost import count
from suite.errors import UserError
from suite.nn import build, prunable

METHOD = plugins.load("baselines", "l1_filter")
EXAMPLE = torch.zeros(1, 3, 32, 32)


def pruned(method, arch="resnet20"):
    """A random network, and a copy pruned by `method`, with what it notes."""
    torch.manual_seed(0)
    before = build(arch, 10, 32)
    torch.manual_seed(0)
    after = build(arch, 10, 32)
    with method.pruned(after, prunable(after, EXAMPLE), EXAMPLE, None) as notes:
        pass
    return before, after, notes


def test_the_filters_of_largest_l1_norm_stay_and_the_others_are_gone():
    before, after, notes = pruned(METHOD(sparsity=0.75))
    for old, new in zip(*([*net.layer1, *net.layer2, *net.layer3] for net in (before, after)), strict=True):
        norms = old.conv1.weight.flatten(1).abs().sum(1)
        stay = norms.argsort(descending=True)[: len(norms) // 4].sort().values
        assert torch.equal(new.conv1.weight, old.conv1.weight[stay])
        assert torch.equal(new.conv2.weight, old.conv2.weight[:, stay])
        assert len(new.bn1.weight) == len(stay)
    macs = count(after, EXAMPLE).macs / count(before, EXAMPLE).macs
    assert 0.25 < macs < 0.27 and notes == {"sparsity": pytest.approx(0.75), "macs_kept": macs}


@pytest.mark.parametrize("arch", ["resnet20", "mobilenet_v2", "resnet50"])
def test_a_share_of_the_macs_is_reached_from_below(arch):
    before, after, notes = pruned(METHOD(macs=0.5), arch)
    share = count(after, EXAMPLE).macs / count(before, EXAMPLE).macs
    assert 0.49 < share <= 0.5 and notes["macs_kept"] == share


def test_masked_filters_leave_every_layer_as_large_as_it_was():
    before, after, notes = pruned(METHOD(sparsity=0.5, masked=True))
    assert [item.shape for item in after.parameters()] == [item.shape for item in before.parameters()]
    for layer in prunable(before, EXAMPLE):
        rows = after.get_submodule(layer.name).weight.flatten(1).abs().sum(1)
        assert int((rows == 0).sum()) == len(rows) // 2
    assert notes["sparsity"] == pytest.approx(0.5)


def test_a_mask_reaches_no_share_of_the_macs():
    with pytest.raises(UserError, match="masked=true cuts nothing"):
        METHOD(masked=True, macs=0.5)

"""Networks of timm, of which nothing was known when the kernel was written: each lowers, or what stays outside is named."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from suite.bench.pruned import settle
from suite.cost import count
from suite.errors import UserError
from suite.kernel import Plan, check, lower
from suite.kernel.plan import Call
from suite.nn import prunable

timm = pytest.importorskip("timm")

QUICK = ("resnet18", "mobilenetv3_small_050", "tf_mobilenetv3_small_minimal_100", "convnext_atto", "nf_regnet_b0")
#: Networks and the share of their MACs that is in the plan, in percent, rounded down. What is not is attention's matrix products.
SHARES = {
SHARES_HERE
}


def lowered(name: str) -> tuple[Plan, nn.Module, Tensor]:
    """A plan of a network whose weights hide no mistake: normalisations and scales of branches that are near 1, not 0."""
    torch.manual_seed(0)
    facts = timm.get_pretrained_cfg(name)
    size = facts.input_size[-1] if facts.fixed_input_size else 128 if "inception" in name else 64 if name in QUICK else 96
    network = timm.create_model(name, pretrained=False, num_classes=10)
    with torch.no_grad():
        for key, values in network.named_parameters():
            if values.dim() == 1 or key.endswith(("gamma", "layer_scale")):
                values.uniform_(*((-0.2, 0.2) if key.endswith("bias") else (0.9, 1.1)))
    settle(network, (1, 3, size, size))
    images = torch.randn(1, 3, size, size)
    return lower(network.eval(), images), network, images


@pytest.mark.parametrize("name", QUICK)
def test_layers_are_in_the_plan_and_no_normalisation_is_left(name: str) -> None:
    plan, network, images = lowered(name)
    assert plan.macs_share == pytest.approx(1) and not plan.outside
    assert check(plan, network, images) < 1e-4
    left = [part.function for part in plan.program if isinstance(part, Call) and "batch_norm" in str(part.variable)]
    assert not left
    names = {layer.name for layer in count(network, images).layers if layer.macs}
    assert {layer.name for layer in plan.layers} == names  # by the names that the network itself has for them
    assert {layer.name for layer in prunable(network, images)} <= names


@pytest.mark.slow
@pytest.mark.parametrize("name", SHARES)
def test_every_family_lowers_or_says_what_does_not(name: str) -> None:
    plan, network, images = lowered(name)
    assert int(100 * plan.macs_share + 1e-6) >= SHARES[name]
    assert plan.outside or plan.macs_share == pytest.approx(1)
    assert check(plan, network, images) < 1e-4
    try:
        assert prunable(network, images)
    except UserError as sentence:
        assert str(sentence).startswith("This network ")

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
    "resnet18": 100, "resnet26d": 100, "resnext50_32x4d": 100, "regnetx_002": 100, "regnety_002": 100, "mobilenetv2_050": 100,
    "mobilenetv3_small_100": 100, "mobilenetv4_conv_small": 100, "efficientnet_b0": 100, "efficientnet_lite0": 100,
    "tf_efficientnet_b0": 100, "tf_efficientnetv2_b0": 100, "mixnet_s": 100, "convnext_atto": 100, "convnextv2_atto": 100,
    "vgg11_bn": 100, "densenet121": 100, "inception_v3": 100, "inception_v4": 100, "ghostnet_100": 100, "hrnet_w18_small": 100,
    "vit_tiny_patch16_224": 85, "deit_tiny_patch16_224": 85, "swin_tiny_patch4_window7_224": 96, "mixer_s32_224": 100,
    "poolformer_s12": 100, "levit_128s": 91, "mobilevit_xxs": 96, "mobilevitv2_050": 100, "edgenext_xx_small": 98, "repvgg_a0":
    100, "rexnet_100": 100, "dm_nfnet_f0": 100, "nf_regnet_b0": 100, "xception41": 100, "dla34": 100, "selecsls42b": 100,
    "hardcorenas_a": 100, "fbnetc_100": 100, "tinynet_e": 100, "lcnet_050": 100, "mnasnet_050": 100, "spnasnet_100": 100,
    "seresnet18": 100, "res2net50_14w_8s": 100, "resnest14d": 100, "cspresnet50": 100, "darknet17": 100, "ese_vovnet19b_dw":
    100, "dpn68": 100, "skresnet18": 100, "efficientvit_b0": 97, "fastvit_t8": 100, "mobileone_s0": 100, "repvit_m0_9": 100,
    "starnet_s1": 100, "pit_ti_224": 71, "resmlp_12_224": 100, "convmixer_768_32": 100, "efficientformer_l1": 99,
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
            elif not values.any():  # a classifier that starts from nothing
                values.normal_(0, 0.02)
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


#: So ill-conditioned with these random weights that rounding alone exceeds what the gate allows, torch's own or all but: it refuses
#: them. They are held to float64 instead, on every input that is drawn.
ROUNDED = ("inception_v3", "inception_v4", "levit_128s", "res2net50_14w_8s")


@pytest.mark.slow
@pytest.mark.parametrize("name", ROUNDED)
def test_what_the_gate_refuses_is_as_far_from_the_truth_as_torch_is(name: str) -> None:
    plan, network, images = lowered(name)
    assert int(100 * plan.macs_share + 1e-6) >= SHARES[name]
    draws = [images, *(torch.randn(images.shape, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))]
    with torch.inference_mode():
        found = [(plan(draw), network(draw)) for draw in draws]
        network.double()
        for draw, (ours, theirs) in zip(draws, found, strict=True):
            truth = network(draw.double())
            assert (ours - truth).abs().max() < 3 * (theirs - truth).abs().max() + 1e-6 * truth.abs().max()


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in SHARES if name not in ROUNDED])
def test_every_family_lowers_or_says_what_does_not(name: str) -> None:
    plan, network, images = lowered(name)
    assert int(100 * plan.macs_share + 1e-6) >= SHARES[name]
    assert plan.outside or plan.macs_share == pytest.approx(1)
    assert check(plan, network, images) < 1e-4
    try:
        assert prunable(network, images)
    except UserError as sentence:
        assert str(sentence).startswith("This network ")

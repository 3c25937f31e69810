"""LRL: the frequency image, attention and similarity against literal computations, the targets by hand, what is deployed."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import torch
from scipy.fft import dctn, idctn
from torch import nn

from suite import plugins
from suite.context import load
from suite.cost import count
from suite.errors import UserError
from suite.nn import build
from suite.testing.contract import fit_once
from suite.train import Batch

METHOD = plugins.load("baselines", "local_relation")
module = importlib.import_module("suite.baselines._relation")
shared = importlib.import_module("suite.baselines._forgery")


def network(streams: str = "rfam", relation: bool = True, size: int = 32) -> nn.Module:
    torch.manual_seed(0)
    return module.RelationNetwork(build("resnet8", 10, 32), size, streams, relation, 4, 0.33, 0.2).eval()


def test_the_frequency_image_is_deepfakebenchs_without_its_constant():
    faces = torch.rand(2, 3, 24, 24)
    grey = (faces * 255 * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1).double().numpy()
    for face, found in zip(grey, module.HighPass(24, 0.33)(faces * 2 - 1)[:, 0], strict=True):
        coefficients = dctn(face, norm="ortho")
        for u in range(24):
            for v in range(24):
                if u + v < 0.33 * 24:
                    coefficients[u, v] = 0
        wanted = (idctn(coefficients, norm="ortho") / 255 - 0.5) / 0.5 + 1
        assert np.allclose(found.numpy(), wanted, atol=1e-5)


def test_a_flat_face_has_no_frequencies():
    assert module.HighPass(16, 0.33)(torch.full((1, 3, 16, 16), 0.7)).abs().max() < 1e-5


def test_attention_by_hand():
    attention = module.Attention(1).eval()
    colours, frequencies = torch.full((1, 1, 3, 3), 2.0), torch.full((1, 1, 3, 3), 5.0)
    attention.maps[0].weight.data[:] = torch.tensor([1.0, 0.2]).view(1, 2, 1, 1)  # 2 + 1 = 3
    attention.maps[3].weight.data.zero_()[:, 0, 1, 1] = torch.tensor([1.0, -1.0])
    attention.maps[3].bias.data[:] = torch.tensor([-1.0, 0.0])
    found = attention(colours, frequencies)
    three = 3 / (1 + 1e-5) ** 0.5
    assert found[0][0, 0, 1, 1].item() == pytest.approx(2 / (1 + np.exp(1 - three)), rel=1e-5)
    assert found[1][0, 0, 1, 1].item() == pytest.approx(5 / (1 + np.exp(three)), rel=1e-5)
    assert (colours == 2).all() and (frequencies == 5).all(), "changed in place"


def test_similarity_is_the_cosine_of_patches_row_by_row():
    made, fused = network(), torch.randn(2, 112, 8, 8)
    found = made.similarity(fused)
    assert found.shape == (2, 16, 16)
    patch = [fused[1, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2].flatten() for row in range(4) for column in range(4)]
    for i, j in ((0, 0), (0, 1), (3, 12), (15, 2)):
        assert found[1, i, j].item() == pytest.approx((torch.cosine_similarity(patch[i], patch[j], 0).item() + 1) / 2, abs=1e-5)
    assert torch.isfinite(made.similarity(fused * 0)).all(), "dead patches"


def test_the_classifier_sees_the_similarity_off_the_diagonal_alone():
    made = network()
    fused, similarity = torch.randn(1, 112, 8, 8), torch.rand(1, 16, 16)
    assert made.classify[0].in_features == 16 * 15

    def judged(fused, similarity):
        made.similarity = lambda fused: similarity
        return made.judge(fused)[0]

    other = similarity.clone()
    other[0].fill_diagonal_(9.0)
    assert torch.equal(judged(fused, similarity), judged(fused * 3, other))
    other[0, 0, 1] += 1
    assert not torch.equal(judged(fused, similarity), judged(fused, other))


def test_levels_are_fused_at_the_last_ones_resolution():
    made, faces = network(), torch.rand(1, 3, 32, 32) * 2 - 1
    found = made.fused(faces)
    assert found.shape == (1, 16 + 32 + 64, 8, 8)
    colours, guide = made.colours[0](faces), made.frequencies[0](made.highpass(faces))
    colours, guide = made.attention[0](colours, guide)
    assert torch.allclose(found[:, :16], (colours + guide)[:, :, ::4, ::4], atol=1e-6)


def test_targets_by_hand():
    masks = torch.zeros(2, 1, 8, 8)
    masks[0, 0, :4, :4] = 1
    masks[0, 0, :4, 4:6] = 1  # half of the second patch
    shares = module.forged_shares(masks, 2)
    assert shares[0].tolist() == [1, 0.5, 0, 0]
    found = module.similarity_target(shares)
    assert found[0, 0].tolist() == [1, 0.5, 0, 0] and found[0, 1, 2] == 0.5 and found[0, 2, 3] == 1
    assert (found[1] == 1).all(), "a real face resembles itself everywhere"


def test_the_loss_is_the_sum_of_three():
    method = METHOD(arch="resnet8", mask_weight=2.0, similarity_weight=3.0, patches=2)
    masks = torch.zeros(2, 1, 4, 4)
    masks[1, 0, :2] = 1
    found = torch.zeros(2, 2), torch.full((2, 4, 4), 0.5), torch.zeros(2, 1, 4, 4)
    loss = method.loss(found, Batch(None, masks, None), torch.tensor([0, 1]))
    # S* of the forged face: rho = 1, 1, 0, 0, so 0 and 1 in equal numbers; of the real one all 1
    assert loss.item() == pytest.approx(np.log(2) + 2 * np.log(2) + 3 * 0.25, rel=1e-5)


def test_parts_can_be_taken_away():
    assert network("rgb").frequencies is None and network("rgb").highpass is None
    both = network("sum")
    assert sum(item.numel() for item in both.attention.parameters()) == 0
    pooled = network("rfam", relation=False)
    assert pooled.classify.in_features == 112
    for made in (network(), network("rgb"), both, pooled):
        assert made(torch.rand(2, 3, 32, 32)).shape == (2, 2)


def test_without_the_relation_nothing_is_learned_from_similarity():
    method = METHOD(arch="resnet8", relation=False, similarity_weight=100.0)
    guided = module.Guided(network(relation=False), (8,))
    faces, masks = torch.rand(2, 3, 32, 32), torch.ones(2, 1, 32, 32)
    found = guided(faces)
    assert found[1] is None
    labels = torch.tensor([0, 1])
    wanted = nn.functional.cross_entropy(found[0], labels) + nn.functional.binary_cross_entropy_with_logits(found[2], masks)
    assert method.loss(found, Batch(None, masks, None), labels).item() == pytest.approx(wanted.item())


@pytest.mark.parametrize("size, patches", [(33, 3), (47, 4), (17, 5)])
def test_faces_of_odd_sizes(size, patches):
    made = module.RelationNetwork(build("resnet8", 10, 32), size, "rfam", True, patches, 0.33, 0.2)
    logits, similarity, mask = module.Guided(made, (8,))(torch.rand(2, 3, size, size))
    assert logits.shape == (2, 2) and similarity.shape == (2, patches**2, patches**2) and mask.shape == (2, 1, size, size)


@pytest.mark.parametrize("size, patches, advice", [(48, 5, "choose 2, 3, 4, 6, 12, or another task.size"), (48, 16, "choose 2, 3"),
                                                   (17, 4, "choose 5, or another"), (4, 4, "choose a larger task.size")])
def test_patches_that_do_not_divide_the_map_are_refused(size, patches, advice):
    with pytest.raises(UserError, match=f"patches={patches} does not divide the .* for faces of {size} pixels; {advice}"):
        module.RelationNetwork(build("resnet8", 10, 32), size, "rfam", True, patches, 0.33, 0.2)
    module.RelationNetwork(build("resnet8", 10, 32), size, "rfam", False, patches, 0.33, 0.2)


def test_the_frequency_stream_starts_from_the_backbone_but_for_its_first_layer():
    made = network()
    ours, theirs = made.colours.state_dict(), made.frequencies.state_dict()
    different = [name for name in ours if ours[name].shape != theirs[name].shape or not torch.equal(ours[name], theirs[name])]
    assert len(different) == 1 and theirs[different[0]].shape[1] == 1


def test_the_papers_backbone_has_its_three_levels():
    backbone = shared.levels(shared.classifier_of("efficientnet_b4", 2)).eval()
    assert backbone.widths == [56, 160, 1792] and backbone.strides == [8, 16, 32]
    maps, faces = [], torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        for part in backbone:
            faces = part(faces)
            maps.append(tuple(faces.shape[1:]))
    assert maps == [(56, 8, 8), (160, 4, 4), (1792, 2, 2)]


def test_the_decoder_is_not_deployed(suite_home):
    spec, record = fit_once("faceforensics", "local_relation")
    artifact = load(spec.artifact)
    names = [name for name, _ in artifact.module.named_modules()]
    assert not any("decoder" in name for name in names) and any("attention" in name for name in names)
    assert record["profile"]["macs"] == count(artifact.module, (torch.rand(1, 3, 32, 32),)).macs
    kernel, products = record["profile"]["kernel"], 4 * 32**3 + 16 * 16 * 112 * 4  # two cosine transforms, the similarity
    assert len(kernel["outside"]) == 5 and all("matmul" in name for name in kernel["outside"])
    assert (1 - kernel["macs_share"]) * record["profile"]["macs"] == pytest.approx(products)
    faces = torch.rand(2, 3, 32, 32) * 2 - 1
    found = artifact.spare["local_map"].eval()(faces)
    assert found.shape == (2, 32, 32) and 0 <= found.min() <= found.max() <= 1
    guided = artifact.spare["local_map"].guided.eval()
    assert torch.allclose(guided(faces)[0], artifact.module.eval()(faces), atol=1e-5)
    (parent,) = spec.references.values()
    assert parent.id.startswith("cifar10/plain/")

"""GQNet: contrast, queue and average by hand, one warp for picture and patches, regions and their interaction, PFENet's parts."""

from __future__ import annotations

import importlib
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from suite import plan, plugins
from suite.context import Budget, Run
from suite.data.episodes import fold_classes
from suite.errors import UserError
from suite.nn import build
from suite.testing.contract import fit_once
from suite.train import Recipe

METHOD = plugins.load("baselines", "gqnet")
module = importlib.import_module("suite.baselines.gqnet")
contrast = importlib.import_module("suite.baselines._contrastive")
shared = importlib.import_module("suite.baselines._fewshot")


def unit(*angles: float) -> torch.Tensor:
    return torch.tensor([[math.cos(item), math.sin(item)] for item in angles])


def test_infonce_by_hand():
    queries, keys, negatives = unit(0, 1), unit(0.5, 1.5), unit(2)
    def loss(positive: float, *others: float) -> float:
        return -math.log(math.exp(positive / 0.2) / sum(math.exp(item / 0.2) for item in (positive, *others)))

    cos = math.cos
    whole = (loss(cos(0.5), cos(2)) + loss(cos(0.5), cos(1))) / 2
    assert float(contrast.info_nce(queries, keys, negatives, 0.2)) == pytest.approx(whole, abs=1e-5)
    local = (loss(cos(0.5), cos(1.5), cos(2)) + loss(cos(0.5), cos(0.5), cos(1))) / 2  # the other rows' keys as well
    assert float(contrast.info_nce(queries, keys, negatives, 0.2, among=True)) == pytest.approx(local, abs=1e-5)


def test_the_queue_replaces_its_oldest_keys():
    queue = contrast.Queue(3, 1)
    for keys in ([1.0, 2.0], [3.0, 4.0], [5.0, 6.0, 7.0, 8.0]):
        queue.push(torch.tensor(keys)[:, None])
    assert sorted(queue.keys.flatten().tolist()) == [6, 7, 8]
    again = contrast.Queue(3, 1)
    again.load_state_dict(queue.state_dict())
    again.push(torch.tensor([[9.0]]))
    assert sorted(again.keys.flatten().tolist()) == [7, 8, 9]


def test_only_the_online_encoder_learns_and_the_average_follows():
    torch.manual_seed(0)
    made = contrast.Contrast(nn.Conv2d(3, 4, 1), 4, parts=("whole", "local"), width=2, length=8, momentum=0.75)
    start = made.average.encoder.weight.clone()
    patches = torch.zeros(2, 4, 4, dtype=torch.uint8)
    found = made.losses(torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4), (patches, patches))
    assert set(found) == {"whole", "local"} and int(made.queues["whole"].place) == int(made.queues["local"].place) == 2
    sum(found.values()).backward()
    assert all(item.grad is not None for item in made.online.parameters())
    assert all(item.grad is None for item in made.average.parameters())
    made.online.encoder.weight.data += 1
    made.follow()
    assert torch.allclose(made.average.encoder.weight, start + 0.25)
    assert set(contrast.Contrast(nn.Identity(), 3).losses(torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4))) == {"whole"}


def test_patches_are_warped_with_their_picture(monkeypatch):
    monkeypatch.setattr(contrast, "COLOURS", lambda images, generator: images)
    numbers = (torch.arange(24)[:, None] // 4 * 6 + torch.arange(24) // 4).to(torch.uint8).repeat(40, 1, 1)  # squares of 4 pixels
    images = (numbers * 7)[:, None].repeat(1, 3, 1, 1)
    view = contrast.seen_once(images, numbers, torch.Generator().manual_seed(0))
    apart = (view.images[:, 0].int() - view.patches.int() * 7).abs()
    assert (apart <= 3).float().mean() > 0.6  # all but the soft borders between squares
    assert len({item.numpy().tobytes() for item in view.patches}) > 35
    middle = view.patches[:, 12, 12]
    assert len(middle.unique()) > 3 and (view.patches[:, :, 0] > view.patches[:, :, -1]).any(1).sum() > 10  # mirrored


def test_patch_vectors_are_means_over_places_that_both_views_show():
    maps = torch.tensor([[[[1.0, 3.0], [10.0, 0.0]], [[0.0, 0.0], [0.0, 1.0]]]])  # (1, 2, 2, 2)
    first = torch.tensor([[[5, 5], [7, 255]]], dtype=torch.uint8)
    second = torch.tensor([[[7, 9], [5, 5]]], dtype=torch.uint8)
    queries, keys = contrast.patch_pairs(maps, maps, first, second)
    assert torch.allclose(queries, torch.tensor([[1.0, 0.0], [1.0, 0.0]]))  # patches 5 (mean of 1 and 3) and 7; 9 is in one view
    assert torch.allclose(keys, functional.normalize(torch.tensor([[5.0, 0.5], [1.0, 0.0]]), dim=1))
    large = first.repeat_interleave(8, 1).repeat_interleave(8, 2)
    large[:, 5, 5] = 30  # no place looks around it
    assert len(contrast.patch_pairs(maps, maps, large, large)[0]) == 2
    large[:, :7, :7] = 30  # a place does, but it is smaller than what a place stands for
    assert torch.allclose(contrast.patch_pairs(maps, maps, large, large)[0], functional.normalize(torch.tensor([[3.0, 0.0], [1.0, 0.0]]), dim=1))
    large[:, :8, :8] = 30
    assert len(contrast.patch_pairs(maps, maps, large, large)[0]) == 3
    assert len(contrast.patch_pairs(maps, maps, first * 0 + 1, first * 0 + 2)[0]) == 0


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_place_belongs_to_the_patch_that_a_strided_convolution_looks_around(mirrored):
    patches = torch.full((1, 33, 33), 255, dtype=torch.uint8)
    patches[..., 13:20, 21:28] = 5  # around the pixel (16, 24)
    patches = patches.flip(2) if mirrored else patches
    conv = nn.Conv2d(1, 1, 3, 8, 1, bias=False)
    conv.weight.data.fill_(1)
    with torch.no_grad():
        seen = conv((patches == 5)[:, None].float())
    vectors, counted = contrast._patch_means(torch.eye(25).view(1, 25, 5, 5), patches)
    assert counted[0].nonzero().tolist() == [[5]]
    assert vectors[0, 5].nonzero().tolist() == seen.flatten().nonzero().tolist() == [[2 * 5 + (1 if mirrored else 3)]]
    masks = shared.resized((patches == 5)[:, None].float(), 5)
    assert torch.equal(masks > 0, seen > 0)


def test_a_crop_that_fits_nowhere_is_the_whole_picture(monkeypatch):
    monkeypatch.setattr(contrast, "COLOURS", lambda images, generator: images)
    monkeypatch.setattr(contrast, "rectangles", lambda images, *_: (torch.zeros(len(images), dtype=torch.long),) * 2)
    numbers = torch.arange(64, dtype=torch.uint8).view(1, 8, 8).repeat(8, 1, 1)
    found = contrast.seen_once(numbers[:, None].repeat(1, 3, 1, 1), numbers, torch.Generator().manual_seed(0))
    assert all(torch.equal(item, numbers[0]) or torch.equal(item, numbers[0].flip(1)) for item in found.patches)


def test_superpixels_follow_edges():
    class Halves:
        def batch(self, index, train, generator):
            pixels = torch.zeros(1, 3, 24, 24, dtype=torch.uint8)
            pixels[..., 11:] = 250
            return pixels

    found = contrast.Superpixels(Halves(), 9)(torch.tensor([3]))
    assert found.shape == (1, 24, 24) and found.dtype == torch.uint8 and 4 <= len(found.unique()) <= 16
    assert not set(found[..., :11].unique().tolist()) & set(found[..., 11:].unique().tolist())


def test_spherical_clusters_find_directions_whatever_the_lengths():
    generator = torch.Generator().manual_seed(0)
    truth = functional.normalize(torch.randn(4, 16, generator=generator), dim=1)
    places = functional.normalize(truth.repeat(50, 1) + 0.1 * torch.randn(200, 16, generator=generator), dim=1)
    centres = module.spherical(places, 4, generator)
    assert torch.allclose(centres.norm(dim=1), torch.ones(4))
    assert ((truth @ centres.T).amax(1) > 0.98).all()
    for row in range(4):  # each the direction of the sum of those nearest to it
        own = places[(places @ centres.T).argmax(1) == row]
        assert torch.allclose(functional.normalize(own.sum(0), dim=0), centres[row], atol=1e-4)


def test_more_centres_than_places_and_a_prior_without_a_share_are_refused(tmp_path):
    run = Run(0, "smoke", Budget(1000), tmp_path, tmp_path)
    setting = SimpleNamespace(unlabelled=Coloured(), normalise=lambda item: item.float())
    encoder = nn.Conv2d(3, 4, 16, 16)  # 4 places in each of 8 pictures
    assert module.clusters(encoder, setting, run, 32)[1].shape == (32, 4)
    with pytest.raises(UserError, match="8 unlabelled pictures have 32 places for 33 centres; type a number of centres up to that"):
        module.clusters(encoder, setting, run, 33)
    with pytest.raises(UserError, match="share=0 leaves nothing of the budget to learn prior=global with; type prior=none, or a larger share"):
        METHOD(prior="global", share=0.0)


def test_regions_and_their_interaction_by_hand():
    class Two(nn.Module):
        def forward(self, images):
            return images[:, :2]

    regions = module.Regions(Two(), torch.tensor([0.5, 0.5]), unit(0, math.pi / 2), 0.5)
    query = torch.zeros(1, 3, 1, 2)
    query[0, :2, 0, 0], query[0, :2, 0, 1] = torch.tensor([2.5, 0.5]), torch.tensor([0.5, 3.5])  # less the mean: along each centre
    sure = math.exp(2) / (math.exp(2) + 1)
    assert torch.allclose(regions.maps(query)[0, 0, 0], torch.tensor([sure, 1 - sure]))
    reduced = torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]]])
    prototype = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1)
    means = np.array([[sure, 1 - sure], [1 - sure, sure]])  # r_k
    weights = means[:, 0] / np.linalg.norm(means, axis=1)
    before = weights @ means
    wanted = (before - before.min()) / (before.max() - before.min())
    assert torch.allclose(regions(query, reduced, prototype).flatten(), torch.tensor(wanted).float(), atol=1e-5)
    assert wanted.tolist() == [1, 0] and not any(item.requires_grad for item in regions.parameters())


def test_the_prior_mask_is_the_greatest_cosine_of_0_to_1():
    torch.manual_seed(0)
    query, support = torch.randn(2, 5, 3, 3), torch.randn(2, 5, 3, 3)
    mask = torch.tensor([1.0, 0, 0, 1, 0, 0, 0, 0, 0]).view(1, 1, 3, 3)
    found = shared.prior_mask(query, support * mask)
    for row in range(2):
        best = [max(float(functional.cosine_similarity(query[row, :, i, j], support[row, :, k, 0], dim=0)) for k in (0, 1))
                for i in range(3) for j in range(3)]
        best = np.maximum(best, 0)  # places outside the mask are zero
        assert np.allclose(found[row].flatten().numpy(), (best - best.min()) / (best.max() - best.min()), atol=1e-4)


def test_the_prototype_is_a_mean_over_the_mask_and_shots_are_averaged():
    maps = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    assert float(shared.pooled(maps, torch.tensor([[[[1.0, 0.0], [0.0, 1.0]]]]))) == pytest.approx(5 / 2.0005)
    assert float(shared.pooled(maps, torch.zeros(1, 1, 2, 2))) == 0
    torch.manual_seed(0)
    network = small(shots=2).eval()
    query, support, masks = torch.randn(1, 3, 32, 32), torch.randn(1, 2, 3, 32, 32), (torch.rand(1, 2, 32, 32) < 0.5).float()
    _, prototype, guidance = network.guided(query, support, masks)
    network.shots = 1
    each = [network.guided(query, support[:, [shot]], masks[:, [shot]]) for shot in range(2)]
    assert torch.allclose(prototype, (each[0][1] + each[1][1]) / 2, atol=1e-6)
    assert torch.allclose(guidance, (each[0][2] + each[1][2]) / 2, atol=1e-6)


def small(shots: int = 1, guide: nn.Module | None = None) -> nn.Module:
    return shared.EpisodeNetwork(shared.Frozen(build("slim_resnet10", 10, 32), 4), 8, shots, 32, 4, guide)


def test_the_backbone_keeps_its_size_its_weights_and_its_statistics():
    network = small()
    assert [item.shape[1:] for item in network.backbone.early(torch.zeros(1, 3, 32, 32))] == [(32, 8, 8), (64, 8, 8)]
    assert network.backbone(torch.zeros(1, 3, 32, 32)).shape == (1, 128, 8, 8)
    wide = shared.Dilated(build("resnet50", 10, 64), 8)
    assert wide(torch.zeros(1, 3, 64, 64)).shape == (1, 2048, 8, 8) and wide.widths == [256, 512, 1024, 2048]
    assert wide.layer3[2].conv2.dilation == (2, 2) and wide.layer4[0].conv2.dilation == (4, 4)
    before = {name: item.clone() for name, item in network.backbone.state_dict().items()}
    network.train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    parts = torch.randn(2, 3, 32, 32), torch.randn(2, 1, 3, 32, 32), (torch.rand(2, 1, 32, 32) < 0.5).float()
    network.loss(*parts, torch.randint(0, 2, (2, 32, 32))).backward()
    optimizer.step()
    assert all(torch.equal(item, before[name]) for name, item in network.backbone.state_dict().items())
    assert all(item.grad is not None for name, item in network.named_parameters() if not name.startswith("backbone"))


def test_every_scale_is_judged_and_255_is_not_counted():
    torch.manual_seed(0)
    network = small().eval()
    parts = torch.randn(1, 3, 32, 32), torch.randn(1, 1, 3, 32, 32), torch.ones(1, 1, 32, 32)
    target = torch.zeros(1, 32, 32, dtype=torch.long)
    target[:, :4] = 255
    scales = network.enrich.scales(*network.guided(*parts))
    assert [item.shape[2] for item in scales] == [8, 4, 2, 1]
    def entropy(logits: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(shared.resized(logits, 32)[:, :, 4:], target[:, 4:])

    each = [entropy(head(item)) for head, item in zip(network.enrich.heads, scales, strict=True)]
    assert torch.allclose(network.loss(*parts, target), entropy(network.enrich.decode(scales)) + sum(each) / 4, atol=1e-5)
    assert network(*parts).shape == (1, 2, 32, 32)


def test_a_trained_network_finds_what_the_support_shows():
    """Two queries show both classes each; which of them is to be found, the support alone tells."""
    torch.manual_seed(0)
    network = shared.EpisodeNetwork(shared.Frozen(build("slim_resnet10", 10, 32), 4), 16, 1, 33, 4, None, dropout=0.0, foreground=2.0)
    places = torch.zeros(2, 2, 33, 33, dtype=torch.long)  # of each class in each picture
    places[0, 0, 2:14, 4:16], places[0, 1, 18:30, 12:28] = 1, 1
    places[1, 0, 16:30, 16:30], places[1, 1, 3:15, 2:16] = 1, 1
    pictures = torch.randn(2, 3, 33, 33) * 0.1 + 2 * (places[:, :1] - places[:, 1:]) * torch.tensor([1.0, 0.2, -1.0]).view(1, 3, 1, 1)
    query, target = pictures.repeat_interleave(2, 0), places.flatten(0, 1)
    support, masks = pictures.flip(0).repeat_interleave(2, 0)[:, None], places.flip(0).flatten(0, 1)[:, None].float()
    optimizer = torch.optim.Adam([item for item in network.parameters() if item.requires_grad], 3e-3)
    network.train()
    for _ in range(100):
        loss = network.loss(query, support, masks, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    network.eval()
    other = torch.tensor([1, 0, 3, 2])  # episodes of the same query and the other class
    for rows in (torch.arange(4), other):
        found = network(query, support[rows], masks[rows]).argmax(1)
        assert float(((found & target[rows]).sum((1, 2)) / (found | target[rows]).sum((1, 2))).min()) > 0.7


def test_a_pixel_of_the_class_counts_as_often_as_is_said():
    torch.manual_seed(0)
    network = small().eval()
    parts = torch.randn(1, 3, 32, 32), torch.randn(1, 1, 3, 32, 32), torch.ones(1, 1, 32, 32)
    target = torch.zeros(1, 32, 32, dtype=torch.long)
    target[:, 8:16] = 1
    sides = [network.loss(*parts, torch.where(target == row, target, 255)) for row in (0, 1)]
    plain = (3 * sides[0] + sides[1]) / 4
    assert torch.allclose(network.loss(*parts, target), plain, atol=1e-5)
    network.foreground = 3.0
    assert torch.allclose(network.loss(*parts, target), (sides[0] + sides[1]) / 2, atol=1e-5)


def test_a_prior_compares_query_and_support_in_the_same_maps():
    class Kept(nn.Module):
        def forward(self, query, maps, prototype):
            self.given = maps, prototype
            return maps.mean(1, keepdim=True)

    torch.manual_seed(0)
    network = small(guide=Kept()).eval()
    query, masks = torch.randn(1, 3, 32, 32), torch.ones(1, 1, 32, 32)
    network.guided(query, query[:, None], masks)
    maps, prototype = network.guide.given
    assert maps.shape[1] == 96 and torch.allclose(prototype, maps.mean((2, 3), keepdim=True), atol=1e-4)


def test_the_papers_network_is_the_same_class_with_other_options():
    method = METHOD()
    assert (method.arch, method.stride, method.width, method.rate, method.batch) == ("resnet50", 8, 256, 0.025, 4)
    backbone = shared.Frozen(build("resnet50", 10, 64), method.stride)
    network = shared.EpisodeNetwork(backbone, method.width, 1, 473, method.stride, None)
    width = 256
    reduce, scale = 2 * 1536 * width, (2 * width + 1) * width + 2 * 9 * width**2
    head = 9 * width**2 + 2 * width + 2
    wanted = reduce + 4 * (scale + head) + 3 * 2 * width**2 + 4 * width**2 + 2 * 9 * width**2 + head
    assert sum(item.numel() for item in network.parameters() if item.requires_grad) == wanted
    assert network.enrich.bins == [60, 30, 15, 8]


def test_guidance_has_a_channel_more_with_a_prior():
    class Middle(nn.Module):
        def forward(self, query, reduced, prototype):
            return reduced.mean(1, keepdim=True) * 0 + 0.5

    network = small(guide=Middle()).eval()
    parts = torch.randn(1, 3, 32, 32), torch.randn(1, 1, 3, 32, 32), torch.ones(1, 1, 32, 32)
    assert network.guided(*parts)[2].shape == (1, 2, 8, 8) and (shared.PriorView(network)(*parts) == 0.5).all()
    assert network.enrich.merge[0][0].in_channels == small().enrich.merge[0][0].in_channels + 1


class Coloured:
    """Pictures of 16 coloured squares."""

    def __len__(self):
        return 8

    def batch(self, index, train, generator):
        coarse = [torch.randint(0, 256, (3, 4, 4), generator=torch.Generator().manual_seed(row)) for row in index.tolist()]
        return torch.stack(coarse).repeat_interleave(8, 2).repeat_interleave(8, 3).to(torch.uint8)


def test_contrast_learns_and_is_charged(tmp_path, monkeypatch):
    monkeypatch.setattr(contrast, "COLOURS", lambda images, generator: images)
    torch.manual_seed(0)
    made = contrast.Contrast(nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU()), 8, parts=("whole", "local"), width=8, length=1, momentum=0.9)
    run = Run(0, "smoke", Budget(1000), tmp_path, tmp_path)
    contrast.train_contrast(made, Coloured(), contrast.Superpixels(Coloured(), 9), run, normalise=lambda item: item.float() / 255,
                            recipe=Recipe(rate=0.01, batch=8, adam=True, weight_decay=0.0), samples=320)
    assert vars(run.budget) == {"allowed": 1000, "total": 320, "final": 320}
    curve = [value for _, value in run.curves["contrast_local"]]
    assert len(curve) == 40 == len(run.curves["contrast_whole"]) and curve[-1] < curve[0] - 0.1


def test_a_run_without_a_prior_leaves_the_priors_share_unless_there_is_none(suite_home):
    _, whole = fit_once("fewshot_segmentation", "gqnet")
    _, plain = fit_once("fewshot_segmentation", "gqnet", options={"prior": "none"})
    _, equal = fit_once("fewshot_segmentation", "gqnet", options={"prior": "none", "share": 0.0})
    assert [item["budget"]["total"] for item in (whole, plain, equal)] == [48, 32, 48]
    assert set(whole["curves"]) == {"contrast_whole", "contrast_local", "episodes_loss"} and set(plain["curves"]) == {"episodes_loss"}
    assert whole["profile"]["params"] > plain["profile"]["params"] == equal["profile"]["params"]
    assert whole["profile"]["kernel"]["macs_share"] > 0.9
    assert all("matmul" in item for item in whole["profile"]["kernel"]["outside"])
    (parent,) = plan.specs("fewshot_segmentation", [("gqnet", {})], [0], "smoke").wanted[0].references.values()
    assert parent.id.startswith("imagenet/plain/")


def test_the_claims_compare_what_they_say():
    claims = {claim.name: claim for claim in METHOD.claims}
    assert claims["beats global only"].sides[1].options == {"prior": "global"}
    assert claims["beats no prior"].sides[1].options == {"prior": "none", "share": 0.0} and claims["beats no prior"].held_equal
    assert fold_classes(20, 0, "blocks") == [1, 2, 3, 4, 5] and all(claim.least_scale == "short" for claim in METHOD.claims)

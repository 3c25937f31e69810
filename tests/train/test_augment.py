"""Augmentations against torchvision's kernels with the same draws, their distributions, and that only the given generator is drawn of."""

from __future__ import annotations

import pytest
import torch
from scipy import stats
from torch import Generator
from torchvision.transforms import v2
from torchvision.transforms.v2 import InterpolationMode, functional

from suite.train import Alternate, Compose, CropFlip, CutMix, Cutout, Erase, Flip, MixUp, Normalise, RandomCrop, ResizedFlip
from suite.train.augment import chosen, places, rectangles, uniform
from suite.train.mix import shares
from suite.train.transforms import (
    OPERATIONS,
    Blur,
    Colour,
    Grayscale,
    RandAugment,
    ResizedCrop,
    Rotate,
    brightness,
    contrast,
    hue,
    saturation,
)

NORMALISE = Normalise((0.5, 0.4, 0.3), (0.2, 0.25, 0.3))
ALL = [
    CropFlip(NORMALISE), CropFlip(NORMALISE, 4, "reflect"), ResizedFlip(NORMALISE), Flip(), RandomCrop(2, "replicate"), Erase(),
    Erase(fill=()), Cutout(8, (1, 2, 3)), Colour(0.4, 0.4, 0.4, 0.1, probability=0.8), Grayscale(), Blur(), Rotate(),
    ResizedCrop(24), ResizedCrop(40, interpolation="bicubic"), RandAugment(), RandAugment(2, 9, 10, 0.5, (125, 122, 113)),
    Compose((ResizedCrop(24, (0.2, 1)), Colour(0.4, 0.4, 0.4, 0.1, 0.8), Grayscale(), Blur(), Flip(), NORMALISE, Erase(fill=()))),
]  # fmt: skip


def generator(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def pictures(count: int = 64, channels: int = 3, height: int = 32, width: int = 32) -> torch.Tensor:
    """Noise on gradients, with some grey pixels: colours of all hues and saturations."""
    noise = torch.randint(0, 256, (count, channels, height, width), generator=generator(9))
    noise[:, :, :4] = noise[:, :1, :4]
    slope = torch.linspace(0, 255, width).view(1, 1, 1, -1)
    return torch.where(torch.arange(height).view(1, 1, -1, 1) < 16, noise, (noise + 3 * slope) // 4).to(torch.uint8)


def nearly(found: torch.Tensor, wanted: torch.Tensor, levels: int = 1, share: float = 1e-3) -> bool:
    """Equal but for a last bit of float32 that decided a rounding: at most `share` of all values, by at most `levels`."""
    apart = (found.int() - wanted.int()).abs()
    return found.dtype == wanted.dtype == torch.uint8 and int(apart.max()) <= levels and float((apart > 0).float().mean()) <= share


@pytest.mark.parametrize("augment", ALL, ids=repr)
def test_same_generator_same_images_and_nothing_else_is_drawn_or_changed(augment):
    images = pictures(16)
    before, state = images.clone(), torch.get_rng_state()
    first, again, other = (augment(images, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state) and torch.equal(images, before)
    assert first.shape[:2] == (16, 3) and first.dtype in (torch.uint8, torch.float32)
    same = augment(images[:1].expand(16, -1, -1, -1), generator(1))
    assert len({image.numpy().tobytes() for image in same}) > 1  # each image has its own draws


@pytest.mark.parametrize("augment", [item for item in ALL if "Normalise" not in repr(item) and "fill=(1" not in repr(item)], ids=repr)
def test_one_channel(augment):
    images = pictures(8, 1)
    assert augment(images, generator()).shape[:2] == (8, 1)
    if isinstance(augment, Grayscale):
        assert torch.equal(augment(images, generator()), images)


def test_crop_flip_draws_what_records_were_made_with():
    images, draw = pictures(), generator(3)
    top, left = torch.randint(0, 9, (2, 64), generator=draw).tolist()
    mirrored = (torch.rand(64, generator=draw) < 0.5).tolist()
    padded = torch.nn.functional.pad(images, (4,) * 4)
    cropped = torch.stack([image[:, y : y + 32, x : x + 32] for image, y, x in zip(padded, top, left, strict=True)])
    wanted = torch.stack([image.flip(2) if flip else image for image, flip in zip(cropped, mirrored, strict=True)])
    mean, deviation = (torch.tensor(item).view(1, 3, 1, 1) * 255 for item in (NORMALISE.mean, NORMALISE.deviation))
    assert torch.equal(CropFlip(NORMALISE)(images, generator(3)), (wanted.float() - mean) / deviation)
    draw = generator(4)
    mirrored = torch.rand(64, generator=draw) < 0.5
    wanted = torch.where(mirrored.view(-1, 1, 1, 1), images.flip(3), images)
    assert torch.equal(ResizedFlip(NORMALISE)(images, generator(4)), (wanted.float() - mean) / deviation)


@pytest.mark.parametrize(("mode", "name"), [("constant", "constant"), ("reflect", "reflect"), ("replicate", "edge")])
def test_crops_are_padded_as_torchvision_pads(mode, name):
    images = pictures()
    top, left = torch.randint(0, 11, (2, 64), generator=generator(5)).tolist()
    padded = functional.pad(images, [5] * 4, padding_mode=name)
    wanted = torch.stack([functional.crop(image, y, x, 32, 32) for image, y, x in zip(padded, top, left, strict=True)])
    assert torch.equal(RandomCrop(5, mode)(images, generator(5)), wanted)


@pytest.mark.parametrize("kernel, official, low, high", [
    (brightness, functional.adjust_brightness, 0, 2), (contrast, functional.adjust_contrast, 0, 2),
    (saturation, functional.adjust_saturation, 0, 2), (hue, functional.adjust_hue, -0.5, 0.5),
])  # fmt: skip
@pytest.mark.parametrize("channels", [1, 3])
def test_colours_equal_torchvisions(kernel, official, low, high, channels):
    images, factors = pictures(256, channels), uniform(generator(), low, high, 256)
    wanted = torch.stack([official(image, factor) for image, factor in zip(images, factors.tolist(), strict=True)])
    assert nearly(kernel(images, factors), wanted)
    assert torch.equal(wanted, images) == (channels == 1 and kernel in (saturation, hue))


def test_colour_jitter_changes_each_image_in_its_own_order():
    images, draw = pictures(128), generator(6)
    jittered = chosen(images, 0.8, draw)
    order = torch.rand((4, 128), generator=draw).argsort(0)
    factors = [uniform(draw, 1 - width, 1 + width, 128) for width in (0.4, 0.3, 0.2)] + [uniform(draw, -0.1, 0.1, 128)]
    kernels = [getattr(functional, f"adjust_{name}") for name in ("brightness", "contrast", "saturation", "hue")]
    wanted = []
    for row, image in enumerate(images):
        for number in order[:, row].tolist() if jittered[row] else ():
            image = kernels[number](image, float(factors[number][row]))
        wanted.append(image)
    found = Colour(0.4, 0.3, 0.2, 0.1, probability=0.8)(images, generator(6))
    assert nearly(found, torch.stack(wanted), levels=10)
    assert len({tuple(column) for column in order.T.tolist()}) == 24
    assert torch.equal(Colour(0.4, 0, 0, 0, probability=0)(images, generator()), images)


def test_a_strong_jitter_never_has_a_negative_factor():
    white = torch.full((500, 3, 1, 1), 100, dtype=torch.uint8)
    levels = Colour(brightness=1.5)(white, generator()).float() / 100
    assert (levels < 0.05).float().mean() < 0.05 and 2.4 < levels.max() <= 2.5


def test_grayscale_and_flip_hit_their_shares():
    images = pictures(4000, 3, 2, 2)
    grey = (Grayscale(0.2)(images, generator()) == functional.rgb_to_grayscale(images, 3)).all((1, 2, 3)).float().mean()
    mirrored = (Flip(0.7)(images, generator()) == images.flip(3)).all((1, 2, 3)).float().mean()
    plain = (images == functional.rgb_to_grayscale(images, 3)).all((1, 2, 3)).float().mean()
    assert grey == pytest.approx(0.2 + 0.8 * float(plain), abs=0.03) and mirrored == pytest.approx(0.7, abs=0.03)


@pytest.mark.parametrize(("size", "side"), [(32, 3), (64, 7), (224, 23)])
def test_blur_equals_torchvisions(size, side):
    images, draw = pictures(6, 3, size, size), generator(1)
    blurred = chosen(images, 0.5, draw)
    sigmas = uniform(draw, 0.1, 2.0, 6).tolist()
    wanted = [functional.gaussian_blur(image, [side] * 2, [sigma] * 2) for image, sigma in zip(images, sigmas, strict=True)]
    assert 0 < blurred.sum() < 6
    assert nearly(Blur()(images, generator(1)), torch.where(blurred.view(-1, 1, 1, 1), torch.stack(wanted), images))


def test_rotation_equals_torchvisions():
    images, draw = pictures(), generator(1)
    turned = chosen(images, 0.5, draw)
    angles = uniform(draw, -10, 10, 64).tolist()
    wanted = [functional.rotate(image, angle, InterpolationMode.BILINEAR, fill=[9.0, 8.0, 7.0]) for image, angle in zip(images, angles, strict=True)]
    found = Rotate(10, 0.5, (9, 8, 7))(images, generator(1))
    assert torch.equal(found, torch.where(turned.view(-1, 1, 1, 1), torch.stack(wanted), images))


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_resized_crops_equal_torchvisions(interpolation):
    images, draw = pictures(64, 3, 30, 48), generator(1)
    height, width = rectangles(images, (0.08, 1), (3 / 4, 4 / 3), draw)
    top, left = places(30 - height, draw), places(48 - width, draw)
    boxes = torch.stack([top, left, height, width], 1)[height > 0]
    wanted = [functional.resized_crop(image, *box.tolist(), [24, 24], InterpolationMode(interpolation), antialias=True)
              for image, box in zip(images[height > 0], boxes, strict=True)]
    assert torch.equal(ResizedCrop(24, interpolation=interpolation)(images, generator(1))[height > 0], torch.stack(wanted))
    assert len(wanted) > 60


@pytest.mark.parametrize("shape", [(10, 90), (90, 10), (32, 32)])
def test_where_no_crop_fits_it_is_torchvisions_middle(shape):
    image = pictures(1, 3, *shape)
    ratio = (0.5, 1.5) if shape[0] != shape[1] else (0.9, 0.9)  # of a whole square image: no ratio but 1 fits
    box = v2.RandomResizedCrop(8, (1, 1), ratio).make_params([image[0]])
    wanted = functional.resized_crop(image, **box, size=[8, 8])
    assert torch.equal(ResizedCrop(8, (1, 1), ratio)(image, generator()), wanted)


def test_rectangles_are_uniform_in_area_and_logarithm_of_ratio():
    images = torch.empty(20_000, 0, 1000, 1000)
    height, width = rectangles(images, (0.1, 0.5), (0.5, 2.0), generator())
    assert stats.kstest((height * width / 1e6).numpy(), stats.uniform(0.1, 0.4).cdf).pvalue > 1e-3
    assert stats.kstest((width / height).log2().numpy(), stats.uniform(-1, 2).cdf).pvalue > 1e-3
    counts = places(torch.full((30_000,), 2), generator()).bincount()
    assert len(counts) == 3 and stats.chisquare(counts.numpy()).pvalue > 1e-3


def test_erased_rectangles_equal_torchvisions():
    images, draw = pictures(), generator(1)
    erased = chosen(images, 0.5, draw)
    height, width = rectangles(images, (0.02, 0.33), (0.3, 1 / 0.3), draw)
    top, left = places(32 - height, draw), places(32 - width, draw)
    wanted = images.clone()
    fill = torch.tensor([3, 2, 1], dtype=torch.uint8).view(3, 1, 1)
    for row in torch.nonzero(erased).flatten().tolist():
        wanted[row] = functional.erase(images[row], int(top[row]), int(left[row]), int(height[row]), int(width[row]), fill)
    assert torch.equal(Erase(fill=(3, 2, 1))(images, generator(1)), wanted)
    assert 20 < erased.sum() < 44 and (wanted != images).float().mean((1, 2, 3)).max() < 0.36
    assert torch.equal(Erase(1, (1, 1), (4, 4))(images, generator()), images)  # nothing of that shape fits


def test_erasing_with_noise_is_normal_after_normalisation_and_bytes_before():
    images = torch.full((64, 3, 32, 32), 7, dtype=torch.uint8)
    noise = Erase(1, (0.5, 0.5), (1, 1), ())(images.float(), generator())
    noise = noise[noise != 7]
    assert len(noise) == pytest.approx(64 * 3 * 512, rel=0.05) and stats.kstest(noise[:20_000].numpy(), "norm").pvalue > 1e-3
    found = Erase(1, (0.5, 0.5), (1, 1), ())(images, generator())
    assert found.dtype == torch.uint8 and len(found.unique()) == 256


def test_cutout_is_a_square_around_any_pixel_cut_at_the_borders():
    images = torch.full((20_000, 1, 8, 8), 200, dtype=torch.uint8)
    holes = Cutout(4, (5,))(images, generator()) == 5
    assert set(holes.sum((1, 2, 3)).tolist()) == {y * x for y in (2, 3, 4) for x in (2, 3, 4)}  # a centre at a corner leaves 2 x 2
    corner = holes[:, 0, 0, 0].float().mean()
    assert corner == pytest.approx((3 / 8) ** 2, abs=0.02)  # covered by centres 0, 1 and 2 of 8, both ways


def test_operations_and_magnitudes_are_torchvisions():
    official, images = v2.RandAugment(), pictures(4)
    space = official._AUGMENTATION_SPACE
    assert list(OPERATIONS) == list(space)
    for name, (strengths, signed) in space.items():
        operation = OPERATIONS[name]
        assert operation.signed == signed
        for magnitude in (0, 3, 9, 16, 30):
            drawn = strengths(31, 32, 32)
            for sign in (1, -1) if signed else (1,):
                value = 0.0 if drawn is None else sign * float(drawn[magnitude])
                wanted = official._apply_image_or_video_transform(images, name, value, InterpolationMode.NEAREST, {torch.Tensor: [9.0, 8.0, 7.0]})
                found = operation.kernel(images, sign * operation.strongest * magnitude / 30, [9.0, 8.0, 7.0])
                if name == "Solarize":  # levels that are the threshold itself: its last bit decides
                    wanted = torch.where((images - 255 * value).abs() < 1e-3, found, wanted)
                assert nearly(found, wanted, share=0.05), (name, magnitude, sign)  # a float64 factor 1.27 is not the float32 one


@pytest.mark.parametrize(("largest", "deviation"), [(30, 0.0), (10, 0.5)])
def test_rand_augment_does_what_was_drawn_to_each_image(largest, deviation):
    images, draw = pictures(), generator(7)
    names, wanted = list(OPERATIONS), list(images)
    for _ in range(2):
        numbers = torch.randint(14, (64,), generator=draw).tolist()
        levels = (9 + deviation * torch.randn(64, generator=draw, dtype=torch.float64)).clamp(0, largest) / largest
        negative = torch.rand(64, generator=draw) < 0.5
        for row in range(64):
            operation = OPERATIONS[names[numbers[row]]]
            sign = -1 if operation.signed and negative[row] else 1
            wanted[row] = operation.kernel(wanted[row], sign * float(levels[row]) * operation.strongest, None)
    assert nearly(RandAugment(2, 9, largest, deviation)(images, generator(7)), torch.stack(wanted), levels=255)
    assert torch.equal(RandAugment(0)(images, generator()), images)


def test_shares_are_beta_distributed():
    for alpha in (0.2, 1.0, 3.0):
        assert stats.kstest(shares(alpha, 5000, generator()).numpy(), stats.beta(alpha, alpha).cdf).pvalue > 1e-3


@pytest.mark.parametrize("mix", [MixUp(64, 0.8), CutMix(64), Alternate((MixUp(64), CutMix(64)))], ids=repr)
def test_targets_have_the_shares_of_the_pixels(mix):
    labels = torch.randperm(64, generator=generator(3))
    images = labels.view(-1, 1, 1, 1).expand(-1, 3, 32, 32)  # each image shows its label, so the mixed ones show what they consist of
    state = torch.get_rng_state()
    mixed, targets = mix(images.float(), labels, generator(2))
    again = mix(images.float(), labels, generator(2))
    assert torch.equal(torch.get_rng_state(), state) and torch.equal(mixed, again[0]) and torch.equal(targets, again[1])
    assert targets.dtype == torch.float32 and targets.shape == (64, 64) and torch.allclose(targets.sum(1), torch.ones(64))
    assert torch.allclose(mixed.mean((1, 2, 3)), targets @ torch.arange(64.0), atol=1e-4)
    assert (targets > 0).sum(1).max() == 2 and len(targets.max(1).values.unique()) > 20
    whole = mix(images.to(torch.uint8), labels, generator(2))
    assert whole[0].dtype == torch.uint8 and torch.equal(whole[0], mixed.round().to(torch.uint8)) and torch.equal(whole[1], targets)


def test_cutmix_shows_one_rectangle_of_the_partner():
    images, labels = torch.arange(32.0).view(-1, 1, 1, 1).expand(-1, 1, 20, 30), torch.arange(32)
    mixed, targets = CutMix(32)(images, labels, generator())
    for row, (image, target) in enumerate(zip(mixed[:, 0], targets, strict=True)):
        foreign = image != row
        rows, columns = foreign.any(1), foreign.any(0)
        assert torch.equal(foreign, rows[:, None] & columns[None])
        assert all(int(line.int().diff().abs().sum()) <= 2 for line in (rows, columns))  # one stretch each
        assert float(target[row]) == pytest.approx(1 - float(foreign.float().mean()), abs=1e-6)


def test_cutmix_rectangles_have_the_images_shape_and_the_drawn_area():
    foreign = CutMix(64, 1e6)(torch.arange(64.0).view(-1, 1, 1, 1).expand(-1, 1, 20, 30), torch.arange(64), generator())[0]
    foreign = foreign != torch.arange(64.0).view(-1, 1, 1, 1)  # Beta(1e6, 1e6) is one half: sides of 14.1 and 21.2
    assert foreign.any(3).sum(2).max() == 14 and foreign.any(2).sum(2).max() == 20


def test_alternate_takes_each_in_turn_by_chance():
    images, labels = pictures(2, 1, 2, 2), torch.tensor([0, 1])
    kinds = Alternate((lambda images, labels, draw: (images, torch.zeros(1)), lambda images, labels, draw: (images, torch.ones(1))))
    draw = generator()
    assert sum(float(kinds(images, labels, draw)[1]) for _ in range(400)) == pytest.approx(200, abs=50)

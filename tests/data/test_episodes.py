"""Episodes: folds as published, what is in an episode, protocols, sizes."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from suite.data.episodes import PADDING, PROTOCOLS, Episode, EpisodePool, Unlabelled, binary, fold_classes
from suite.data.pictures import PictureCache
from suite.data.segmented import SegmentedPictures
from suite.data.voc import CLASSES
from suite.errors import UserError

COCO = ["person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic_light", "fire_hydrant", "stop_sign", "parking_meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard", "sports_ball", "kite", "baseball_bat", "baseball_glove", "skateboard", "surfboard", "tennis_racket", "bottle", "wine_glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange", "broccoli", "carrot", "hot_dog", "pizza", "donut", "cake", "chair", "couch", "potted_plant", "bed", "dining_table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard", "cell_phone", "microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors", "teddy_bear", "hair_drier", "toothbrush"]
# PFENet's and HSNet's split 0 and 3 of COCO-20i.
INTERLEAVED = {
    0: "person airplane boat parking_meter dog elephant backpack suitcase sports_ball skateboard wine_glass spoon sandwich hot_dog chair "
       "dining_table mouse microwave refrigerator scissors",
    3: "motorcycle truck stop_sign cat cow giraffe tie snowboard baseball_glove bottle knife apple carrot cake bed laptop cell_phone sink "
       "vase toothbrush",
}


def test_folds_are_the_published_ones():
    assert [CLASSES[label - 1] for label in fold_classes(20, 1, "blocks")] == ["bus", "car", "cat", "chair", "cow"]
    assert fold_classes(20, 3, "blocks") == [16, 17, 18, 19, 20]
    for fold, names in INTERLEAVED.items():
        assert [COCO[label - 1] for label in fold_classes(80, fold, "interleaved")] == names.split()
    assert fold_classes(80, 2, "blocks") == [*range(41, 61)]  # PANet's
    for order in ("blocks", "interleaved"):
        assert sorted(label for fold in range(4) for label in fold_classes(80, fold, order)) == [*range(1, 81)]


@pytest.mark.parametrize(("classes", "fold", "order"), [(3, 3, "interleaved"), (3, 0, "blocks"), (1, 0, "interleaved")])
def test_a_fold_without_a_class_on_either_side_is_refused(classes, fold, order):
    with pytest.raises(UserError, match=f"Of the data's {classes} classes fold {fold} tests [01], .* choose another task.fold"):
        fold_classes(classes, fold, order)
    assert fold_classes(3, 1, order) == [2 if order == "interleaved" else 1]


def pool(shots: int = 1, *, size: int = 16, stretched: bool = False, count: int = 24, shape: tuple[int, int] = (12, 16)) -> EpisodePool:
    """Pictures of one grey each, its row; picture k shows class 1 + k % 3 in its left half, and class 4 in its lower right corner."""
    def decoded(row: int) -> torch.Tensor:
        found = torch.full((4, *shape), row, dtype=torch.uint8)
        found[3] = 0
        found[3, :, : shape[1] // 2] = 1 + row % 3
        found[3, shape[0] // 2 :, shape[1] // 2 + 1 :] = 4
        found[3, :, shape[1] // 2] = 255
        return found

    pictures = SegmentedPictures(list(range(count)), PictureCache(decoded, count), list("abcd"), lambda row: decoded(row)[3].numpy())
    return EpisodePool(pictures, {label: [row for row in range(count) if row % 3 == label - 1] for label in (1, 2, 3)}, shots, size, stretched)


@pytest.mark.parametrize("shots", [1, 5])
@pytest.mark.parametrize("train", [False, True])
def test_an_episode_is_of_one_class_and_of_different_pictures(shots, train):
    made = pool(shots).batch(torch.arange(24), train, torch.Generator().manual_seed(0))
    assert made.query.shape == (24, 3, 16, 16) and made.support.shape == (24, shots, 3, 16, 16) and made.masks.shape == (24, shots, 16, 16)
    for row in range(24):
        greys = [int(item[0][mask != 255][0]) for item, mask in zip(made.support[row], made.masks[row], strict=True)]
        assert row not in greys and len(set(greys)) == shots
        assert all(grey % 3 == row % 3 == made.labels[row] - 1 for grey in greys)
    assert set(made.target.unique().tolist()) == set(made.masks.unique().tolist()) == {0, 1, 255}
    assert (made.target == 1).flatten(1).any(1).all() and (made.masks == 1).flatten(2).any(2).all()


def test_few_episodes_by_pairs_are_of_all_classes_and_many_go_round():
    made = pool()
    few = list(made.test_episodes(6, "pair", torch.Generator()))
    assert [item.label for item in few] == [1, 1, 2, 2, 3, 3] and len({item.query for item in few}) == 6
    many = list(made.test_episodes(30, "pair", torch.Generator()))
    assert [item.query for item in many[:3]] == [0, 3, 6] and [item.query for item in many[24:]] == [item.query for item in many[:6]]


def test_other_classes_are_background():
    assert binary(torch.tensor([0, 1, 4, 255], dtype=torch.uint8), 4).tolist() == [0, 0, 1, 255]
    target = pool().batch(torch.tensor([0]), False, torch.Generator()).target[0]
    assert target[8, 2] == 1 and target[8, 12] == 0  # class 4 in the corner


def test_seeds_decide_and_training_pictures_vary():
    made = pool(2)

    def drawn(seed: int, train: bool = True) -> torch.Tensor:
        return made.batch(torch.arange(24), train, torch.Generator().manual_seed(seed)).support

    assert torch.equal(drawn(0), drawn(0)) and not torch.equal(drawn(0), drawn(1))
    targets = made.batch(torch.zeros(32, dtype=torch.long), True, torch.Generator().manual_seed(0)).target
    assert len({item.numpy().tobytes() for item in targets}) > 8
    mirrored = (targets[:, 2, -2] == 1).sum()
    assert 6 < mirrored < 26


def test_protocols_draw_as_their_papers_do():
    made = pool()
    found = list(made.test_episodes(48, "query", torch.Generator().manual_seed(0)))
    assert Counter(item.query for item in found) == dict.fromkeys(range(24), 2)
    assert found != list(made.test_episodes(48, "query", torch.Generator().manual_seed(1)))
    pairs = list(made.test_episodes(30, "pair", torch.Generator().manual_seed(0)))
    assert [(item.label, item.query) for item in pairs[:3]] == [(1, 0), (1, 3), (1, 6)] and pairs[24][:2] == pairs[0][:2]
    rare = EpisodePool(made.pictures, {1: [0, 3], 2: made.rows[2]}, 1, 16)
    classes = Counter(item.label for item in rare.test_episodes(400, "class", torch.Generator().manual_seed(0)))
    assert 160 < classes[1] < 240  # of 2 pictures, as often as the class of 8
    assert all(item.query not in item.support for part in (found, pairs) for item in part)


def test_protocols_are_the_published_ones():
    assert {name: {layout: (item.episodes, len(item.seeds), item.stretched) for layout, item in found.items()}
            for name, found in PROTOCOLS.items()} == {
        "suite": {"voc": (1000, 5, False), "coco": (1000, 5, False)}, "hsnet": {"voc": (1000, 1, True), "coco": (1000, 1, True)},
        "pfenet": {"voc": (5000, 1, False), "coco": (20000, 1, False)}, "panet": {"voc": (1000, 5, False), "coco": (1000, 5, False)}}
    assert PROTOCOLS["panet"]["voc"].seeds == (1234, 1235, 1236, 1237, 1238) and PROTOCOLS["pfenet"]["coco"].seeds == (321,)
    assert (PROTOCOLS["hsnet"]["voc"].draws, PROTOCOLS["hsnet"]["coco"].draws) == ("pair", "class")


def test_pictures_keep_their_proportions_and_what_lies_beside_them_is_not_counted():
    found = pool(size=32).fitted(7)
    assert found.pixels[:, :24].unique().tolist() == [7] and (found.mask[24:] == 255).all()
    assert found.pixels[:, 24:].amax((1, 2)).tolist() == list(PADDING)
    assert (pool(size=32, stretched=True).fitted(7).mask[:, 20] != 255).all()


@pytest.mark.parametrize("size, shape", [(32, (12, 16)), (8, (12, 16)), (16, (16, 9))])
def test_predictions_are_judged_at_the_size_of_the_mask(size, shape):
    made = pool(size=size, shape=shape)
    episode = Episode(2, 1, (4,))
    mask = made.fitted(1).mask == 2
    guess, target = made.judged(episode, torch.stack([~mask, mask]).float())
    assert guess.shape == target.shape == (1, *shape)
    counted = target != 255
    assert ((guess == target)[counted]).float().mean() > 0.85 and (target == 1).sum() == shape[0] * (shape[1] // 2)
    stretched = pool(size=size, shape=shape, stretched=True)
    assert stretched.judged(episode, torch.zeros(2, size, size))[1].shape == (1, size, size)


def test_unlabelled_pictures_have_no_masks():
    made = pool()
    found = Unlabelled(made, made.queries)
    assert (found.batch(torch.tensor([7]), False, torch.Generator()) == 7).all()  # nothing but the picture
    assert found.labels.tolist() == [-1] * 24 and len(found.subset(torch.tensor([5, 3]))) == 2
    assert found.subset(torch.tensor([5, 3])).batch(torch.tensor([1]), True, torch.Generator())[0, 0, 0, 0] == 3

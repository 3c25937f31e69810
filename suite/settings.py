"""What methods receive: small frozen dataclasses, one per kind of problem."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, Protocol

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from suite.artifacts import Candidates


class Images(Protocol):
    """Indexable raw labelled images."""

    @property
    def labels(self) -> Tensor:
        """(N,) int64."""
        ...

    def __len__(self) -> int: ...

    def batch(self, index: Tensor, train: bool, generator: Generator) -> Tensor:
        """Images uint8 (B, C, H, W) for int64 `index` (B,).

        Where images differ in size on disk, `train` decides between a random resized crop drawn from `generator`
        and the centre crop; where they do not (CIFAR), both give the stored pixels.
        """
        ...

    def subset(self, index: Tensor) -> Images:
        """The images at `index`, in that order."""
        ...


#: Turns a uint8 batch (B, C, H, W) into normalised float32; random parts are drawn from the generator.
Augment = Callable[["Tensor", "Generator"], "Tensor"]


@dataclass(frozen=True)
class Classification:
    """Supervised image classification. `val` is for selection; the test images are never here.

    `augment` is the task's training augmentation, `normalise` its deterministic counterpart (uint8 to normalised
    float32). `shape` is (C, H, W) as evaluated. `references` are the architectures ``run.reference`` offers.
    """

    train: Images
    val: Images
    classes: int
    shape: tuple[int, int, int]
    augment: Augment
    normalise: Callable[[Tensor], Tensor]
    references: Sequence[str] = ()
    weights: str = ""  # the user's state-dict for the reference, if any

    def split(self, share: float, generator: Generator) -> tuple[Classification, Images]:
        """Carve a random `share` (0..1) of `train` off, for searches and rewards: (what is left, the share)."""
        import torch

        order = torch.randperm(len(self.train), generator=generator)
        cut = round(share * len(order))
        return replace(self, train=self.train.subset(order[cut:])), self.train.subset(order[:cut])


@dataclass(frozen=True)
class SemiSupervised:
    """Few labelled samples beside many without labels; `val` (labelled) is for selection, the test samples are never here.

    `unlabelled` is the whole training pool with all labels -1, the samples of `labelled` among it. `normalise` turns what
    ``batch`` gives into a network's float32 inputs of `shape` (C, H, W).
    """

    labelled: Images
    unlabelled: Images
    val: Images
    classes: int
    shape: tuple[int, int, int]
    normalise: Callable[[Tensor], Tensor]


class PassingImages:
    """The images at `rows` int64 (N,) of the one set in `store`, as long as it is there: LookupError once the store is emptied.

    Subsets share the store and end with it. `what` names the images in the error.
    """

    def __init__(self, store: list[Images], rows: Tensor, what: str) -> None:
        self._store, self._rows, self._what = store, rows, what

    def __len__(self) -> int:
        return len(self._rows)

    def _images(self) -> Images:
        if not self._store:
            raise LookupError(f"{self._what} are gone since the next session was taken; keep what you computed from them instead")
        return self._store[0]

    @property
    def labels(self) -> Tensor:
        return self._images().labels[self._rows]

    def batch(self, index: Tensor, train: bool, generator: Generator) -> Tensor:
        return self._images().batch(self._rows[index], train, generator)

    def subset(self, index: Tensor) -> PassingImages:
        return PassingImages(self._store, self._rows[index], self._what)


@dataclass(frozen=True)
class SessionData:
    """One session of `Sessions`. `classes` are the labels that it introduces; `val`, for selection, is the base's alone.

    The images can be read until the next session is taken.
    """

    number: int  # 0 is the base
    classes: range
    train: Images
    val: Images | None = None


class Sessions:
    """Classes that arrive in sessions: iterating gives one `SessionData` after the other, the base first; no old data is kept.

    Labels count the classes in the order in which they are introduced, and so do the outputs of a network: after session t it
    has one for each class seen so far. The sessions are gone through once, in order: going back, a second time or ahead is a
    LookupError, and so is looking at an earlier session's images. `ways` says how many classes each introduces; `shape` (C, H, W),
    `augment` and `normalise` are as in `Classification`.
    """

    def __init__(self, parts: Sequence[tuple[Images, Images | None]], ways: Sequence[int], *, shape: tuple[int, int, int],
                 augment: Augment, normalise: Callable[[Tensor], Tensor]) -> None:  # fmt: skip
        """`parts` are each session's images for training and for selection, with their labels counted as above."""
        self.ways, self.shape, self.augment, self.normalise = tuple(ways), shape, augment, normalise
        self._waiting, self._begun = deque(parts), False

    def __len__(self) -> int:
        return len(self.ways)

    def __getitem__(self, number: int) -> NoReturn:
        raise LookupError(f"session {number} cannot be picked; go through the sessions in their order with a for loop")

    def __iter__(self) -> Iterator[SessionData]:
        if self._begun:
            raise LookupError("the sessions have begun and can be gone through only once; do all that a session needs in its turn")
        self._begun = True
        return self._each()

    def _each(self) -> Iterator[SessionData]:
        first = 0
        for number, ways in enumerate(self.ways):
            stores = [[images] if images is not None else [] for images in self._waiting.popleft()]
            train, val = (_passing(store, number) for store in stores)
            yield SessionData(number, range(first, first + ways), train, val if stores[1] else None)
            for store in stores:
                store.clear()
            first += ways


def _passing(store: list[Images], number: int) -> PassingImages:
    import torch

    return PassingImages(store, torch.arange(len(store[0]) if store else 0), f"the images of session {number}")


class Pairs(Protocol):
    """Indexable pairs of pictures of one place, with the mask of what has changed between them."""

    def __len__(self) -> int: ...

    def batch(self, index: Tensor, train: bool, generator: Generator) -> Tensor:
        """uint8 (B, 7, H, W) for int64 `index` (B,): first picture, second picture, mask (0 same, 1 changed, 255 not counted).

        For training, crops drawn from `generator`.
        """
        ...

    def changed(self) -> float:
        """The share of counted pixels that have changed, 0..1."""
        ...


#: Turns a batch of `Pairs` into normalised float32 pictures (B, 6, H, W) and int64 targets (B, H, W).
PairAugment = Callable[["Tensor", "Generator"], tuple["Tensor", "Tensor"]]


@dataclass(frozen=True)
class ChangePairs:
    """Supervised change detection. `val` is for selection; the test pairs are never here.

    `augment` is the task's training augmentation, `normalise` turns uint8 pictures (B, 6, H, W), the first three channels
    the earlier one, into float32. `shape` is (6, H, W) of a training crop.
    """

    train: Pairs
    val: Pairs
    shape: tuple[int, int, int]
    augment: PairAugment
    normalise: Callable[[Tensor], Tensor]


class EpisodeBatch(NamedTuple):
    """Episodes: what belongs to one class is marked in the support pictures, and to be found in the query.

    Masks are 1 where the class is, 0 elsewhere, and 255 where nothing counts, beyond a picture's edge for example.
    """

    query: Tensor  # (B, 3, S, S) uint8
    target: Tensor  # (B, S, S) uint8, the query's mask
    support: Tensor  # (B, K, 3, S, S) uint8
    masks: Tensor  # (B, K, S, S) uint8
    labels: Tensor  # (B,) int64, the class of each


class Episodes(Protocol):
    """Pictures with masks, from which episodes are drawn."""

    @property
    def shots(self) -> int:
        """K, the support pictures of an episode."""
        ...

    def __len__(self) -> int:
        """The pictures that can be a query."""
        ...

    def batch(self, index: Tensor, train: bool, generator: Generator) -> EpisodeBatch:
        """An episode for each query in int64 `index` (B,): a class of it and other pictures of that class, drawn from `generator`,
        as are flips, sizes and crops for training.
        """
        ...


@dataclass(frozen=True)
class FewShotSegmentation:
    """Segmentation of classes that are known from `shots` marked pictures alone.

    Episodes of `train` and of `val`, for selection and empty where the data is small, are of other classes than those tested,
    whose pixels are background there; the test pictures are never here. `unlabelled` are the pictures of `train`, uint8
    (B, 3, `size`, `size`), with all labels -1. `normalise` turns uint8 pictures into a network's float32 inputs.
    """

    train: Episodes
    val: Episodes
    unlabelled: Images
    shots: int
    size: int
    normalise: Callable[[Tensor], Tensor]


class Faces(Protocol):
    """Indexable face crops out of videos, original or forged, each with the mask of what is forged."""

    @property
    def labels(self) -> Tensor:
        """(N,) int64: 0 real, 1 forged."""
        ...

    @property
    def masked(self) -> bool:
        """Whether the masks of all forged faces are known."""
        ...

    def __len__(self) -> int: ...

    def batch(self, index: Tensor, train: bool, generator: Generator) -> Tensor:
        """uint8 (B, 4, S, S) for int64 `index` (B,): RGB, and the mask cut out and scaled with it (0 real, 255 forged, between at
        borders). The mask is 0 everywhere for a real face, and where none is known.
        """
        ...

    def subset(self, index: Tensor) -> Faces:
        """The faces at `index`, in that order."""
        ...


@dataclass(frozen=True)
class FaceForgery:
    """Real faces or forged ones. `val` is for selection; the test videos, and all other videos of their people, are never here.

    In `train` faces may stand more than once, so that classes weigh alike. `augment` is the task's training augmentation: it turns
    uint8 (B, 4, S, S) into normalised float32 faces (B, 3, S, S) and float32 masks (B, 1, S, S) of 0 to 1. `normalise` turns uint8
    faces (B, 3, S, S) into float32; what it gives for 0 and 255 is -1 and 1. `shape` is (3, S, S).
    """

    train: Faces
    val: Faces
    shape: tuple[int, int, int]
    augment: PairAugment
    normalise: Callable[[Tensor], Tensor]


class Scenes(Protocol):
    """Indexable pictures with boxes and masks, in COCO's terms."""

    @property
    def categories(self) -> Sequence[str]:
        """Names; label ``k`` of a target, 1 and up, is ``categories[k - 1]``."""
        ...

    @property
    def ids(self) -> Sequence[int]:
        """The image id of each row."""
        ...

    def __len__(self) -> int: ...

    def image(self, row: int) -> Tensor:
        """uint8 (3, H, W)."""
        ...

    def target(self, row: int, with_masks: bool = False) -> dict[str, Tensor]:
        """torchvision's detection target of all objects, crowds too: ``boxes`` float32 (n, 4) x1, y1, x2, y2 in pixels,
        ``labels`` int64 (n,), ``iscrowd`` int64 (n,), and `with_masks` ``masks`` uint8 (n, H, W).
        """
        ...

    def subset(self, index: Tensor) -> Scenes:
        """The pictures at `index`, in that order."""
        ...

    def truth(self) -> dict[str, Any]:
        """The annotations of these pictures alone in COCO's own form, with its category ids, for judging."""
        ...


@dataclass(frozen=True)
class Detection:
    """Boxes, and with `masks` instance masks, in pictures. `val` is for selection; the test pictures are never here.

    `size` is the length in pixels to which a network should scale a picture's longer side.
    """

    train: Scenes
    val: Scenes
    masks: bool
    size: int


@dataclass(frozen=True)
class Suppression:
    """Boxes of a detector before suppression, in pictures to select on, with their annotations in COCO's form.

    `val` is empty where the candidates come from a file. Of each picture the judge looks at the `limit` highest scores kept.
    """

    val: Sequence[Candidates]
    truth: dict[str, Any]
    limit: int


class Clouds(Protocol):
    """Indexable lidar scans with boxes: x forward, y left, z up, in metres from the lidar."""

    @property
    def categories(self) -> Sequence[str]:
        """Names; label ``k`` of a target, 1 and up, is ``categories[k - 1]``."""
        ...

    @property
    def ids(self) -> Sequence[str]:
        """The frame's number of each row."""
        ...

    def __len__(self) -> int: ...

    def points(self, row: int) -> Tensor:
        """float32 (n, 4): x, y, z and reflectance of the points in the camera's view, where objects are annotated."""
        ...

    def target(self, row: int) -> dict[str, Tensor]:
        """``boxes`` float32 (n, 7): x, y, z of the middle, length, width, height, angle from the x axis to the length in radians,
        anticlockwise from above; ``labels`` int64 (n,); ``others`` float32 (m, 7), boxes of objects of no category.
        """
        ...

    def attributes(self, row: int) -> Mapping[str, str]:
        """What kind of frame it is, as far as known: ``time``, ``weather``, ``density``."""
        ...

    def subset(self, index: Tensor) -> Clouds:
        """The frames at `index`, in that order."""
        ...


@dataclass(frozen=True)
class CloudDetection:
    """Boxes that stand on the ground, in lidar scans. `val` is for selection; the test frames are never here."""

    train: Clouds
    val: Clouds


class PictureFeatures(NamedTuple):
    """What a detector and a backbone have made of one picture.

    `boxes` are x1, y1, x2, y2 in shares of the picture's width and height. The grid's cells lie row by row, as many in each row as
    there are rows; there are none where the features came without a grid.
    """

    regions: Tensor  # (n, D) float32, the most certain first
    boxes: Tensor  # (n, 4) float32
    grid: Tensor  # (cells, G) float32


class FeatureBatch(NamedTuple):
    """`PictureFeatures` of several pictures; regions and boxes are 0 where `present` says that there is none."""

    regions: Tensor  # (B, R, D) float32
    boxes: Tensor  # (B, R, 4) float32
    present: Tensor  # (B, R) bool; true in every row
    grid: Tensor  # (B, cells, G) float32


class CaptionedFeatures(Protocol):
    """Indexable pictures as features, with what people said of them."""

    @property
    def references(self) -> Sequence[Sequence[str]]:
        """The captions of each picture, as words with single spaces between them: what the scores count."""
        ...

    def __len__(self) -> int: ...

    def features(self, index: Tensor) -> FeatureBatch:
        """The features of the pictures at int64 `index` (B,)."""
        ...

    def subset(self, index: Tensor) -> CaptionedFeatures:
        """The pictures at `index`, in that order."""
        ...


@dataclass(frozen=True)
class Captioning:
    """Captions of pictures that are given as features. `val` is for selection; the test pictures are never here.

    `words` are those that occur often enough in the captions of `train`, in alphabetical order: all that a caption needs.
    ``reward(captions, rows)`` is the CIDEr-D (0 to 10) of each caption against the references of picture ``rows[i]`` of `train`,
    with the document frequencies of `train`. A caption should have at most `longest` words.
    """

    train: CaptionedFeatures
    val: CaptionedFeatures
    words: Sequence[str]
    reward: Callable[[Sequence[str], Sequence[int]], list[float]]
    longest: int


class Gallery(Protocol):
    """Indexable pictures to be searched."""

    def __len__(self) -> int: ...

    def image(self, row: int) -> Tensor:
        """uint8 (3, H, W)."""
        ...


@dataclass(frozen=True)
class InstanceSearch:
    """Search of pictures for one object: nothing is known of the `gallery` but its pictures, and the queries come later."""

    gallery: Gallery


Setting = (
    Classification | SemiSupervised | Sessions | ChangePairs | FewShotSegmentation | FaceForgery | Detection | Suppression
    | CloudDetection | Captioning | InstanceSearch
)

"""Images with labels, with few labels, in sessions."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NoReturn, Protocol

if TYPE_CHECKING:
    from torch import Generator, Tensor


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

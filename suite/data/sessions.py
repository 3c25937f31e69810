"""CIFAR-100 in sessions for few-shot class-incremental learning: base classes, then a few new ones with a few images each.

Source: Tao et al., "Few-Shot Class-Incremental Learning", CVPR 2020, and its repository xyutao/fscil: the lists
``data/index_list/cifar100/session_1.txt``, ``test_1.txt`` and so on hold rows of CIFAR-100's files ``train`` and ``test``, a
whole number on each line. Session 1 is the base.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from suite.data.cifar import Cifar100
from suite.data.dataset import near
from suite.data.files import lines_of, shown
from suite.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

LISTS = "index_list/cifar100"
PREFIXES = {"train": "session", "test": "test"}


class Session(NamedTuple):
    """What a session adds: rows of its training and of its test images, int64 (N,), and its classes, ascending."""

    train: Tensor
    test: Tensor
    classes: tuple[int, ...]


class Cifar100Sessions(Cifar100):
    """By the lists near its folder; where there are none, `base` classes, then `ways` at a time with `shots` images each."""

    def __init__(self, base: int = 60, ways: int = 5, shots: int = 5) -> None:
        self.base, self.ways, self.shots = base, ways, shots

    def files(self, folder: Path) -> dict[str, Path]:
        lists = near(folder, LISTS)
        return super().files(folder) | {path.name: path for path in (lists.glob("*_*.txt") if lists else ())}

    def parts(self, folder: Path) -> Iterable[Callable[[], object]]:
        return [*super().parts(folder), partial(self.sessions, folder)]

    def sessions(self, folder: Path) -> list[Session]:
        """The sessions, the base first; UserError for lists that contradict themselves or the images."""
        labels = {split: self.read(folder, split).labels for split in PREFIXES}
        if lists := near(folder, LISTS):
            return listed_sessions(lists, labels)
        return made_sessions(labels, self.base, self.ways, self.shots)


def listed_sessions(folder: Path, labels: Mapping[str, Tensor]) -> list[Session]:
    """The sessions of the lists in `folder`; `labels` (N,) of the images by split. UserError for lists that are wrong."""
    sessions: list[Session] = []
    used: dict[str, dict[int, str]] = {split: {} for split in PREFIXES}
    before: set[int] = set()
    count = max(1, *(len(list(folder.glob(f"{prefix}_*.txt"))) for prefix in PREFIXES.values()))
    for number in range(1, count + 1):
        train, test = (_rows(folder / f"{prefix}_{number}.txt", len(labels[split]), used[split])
                       for split, prefix in PREFIXES.items())
        new = set(labels["train"][train].tolist())
        if again := new & before:
            raise _wrong(f"Class {min(again)} is new in '{shown(folder)}/session_{number}.txt' and was in an earlier session")
        if other := set(labels["test"][test].tolist()) - new:
            raise _wrong(f"Class {min(other)} is in '{shown(folder)}/test_{number}.txt' and not in session_{number}.txt")
        before |= new
        sessions.append(Session(train, test, tuple(sorted(new))))
    return sessions


def made_sessions(labels: Mapping[str, Tensor], base: int, ways: int, shots: int) -> list[Session]:
    """All of the first `base` classes, then `ways` classes after the other with the first `shots` images of each.

    `labels` (N,) of the images by split. UserError where that does not come out even, or a class has fewer images.
    """
    import torch

    counts = labels["train"].bincount()
    if not 0 < base < len(counts) or (len(counts) - base) % ways or int(counts.min()) < shots:
        raise UserError(f"There are {len(counts)} classes with {int(counts.min())} images or more, not a base of {base} and whole "
                        f"sessions of {ways} classes with {shots} images each; choose task.base, task.ways, task.shots that fit.")
    sessions = []
    for start in (0, *range(base, len(counts), ways)):
        own = torch.arange(start, start + (ways if start else base))
        train = [torch.nonzero(labels["train"] == label).flatten()[: shots if start else None] for label in own]
        sessions.append(Session(torch.cat(train), torch.nonzero(torch.isin(labels["test"], own)).flatten(), tuple(own.tolist())))
    return sessions


def _rows(path: Path, count: int, used: dict[int, str]) -> Tensor:
    """The rows in a list, 0 to `count` - 1, none of which is in `used`; they are added there with the list's name."""
    import torch

    if not path.is_file():
        raise _wrong(f"'{shown(path)}' is missing, and sessions count from 1 without a gap")
    words = " ".join(lines_of(path)).split()
    if not words:
        raise _wrong(f"The list '{shown(path)}' is empty")
    for word in words:
        if not word.isdecimal() or int(word) >= count:
            raise _wrong(f"'{shown(path)}' names '{word}', expected rows of 0 to {count - 1}")
        if int(word) in used:
            raise _wrong(f"Row {word} is in '{shown(path)}' and in '{used[int(word)]}'")
        used[int(word)] = path.name
    return torch.tensor(list(map(int, words)))


def _wrong(what: str) -> UserError:
    return UserError(f"{what}; get data/{LISTS} of the repository xyutao/fscil on GitHub again, or take the folder away.")

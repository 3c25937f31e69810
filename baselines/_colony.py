"""An artificial bee colony: sources are moved towards each other, kept where that is better, and left where it never is.

Codes are tuples of whole numbers 1..most. Unlike in Karaboga's (2005), and ABCPruner's, all bees of a phase leave at once, so that
their codes can be judged side by side; a code is judged once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

Code = tuple[int, ...]
Judge = Callable[[Sequence[Code]], Sequence[tuple[float, Any]]]
MOVED = 2  # coordinates of a code that a bee moves
TRIES = 20  # moves of a bee until it finds a code that nobody knows


@dataclass
class Space:
    """Codes of `length` numbers 1..`most`. With a `target`, every code is mended until ``size(code)``, which must rise with each
    number, is at most `tolerance` from it; where numbers are too coarse for that, to the nearest seen."""

    length: int
    most: int
    size: Callable[[Code], float]
    target: float | None
    tolerance: float

    def draw(self, random: Random) -> Code:
        return self.mend(tuple(random.randint(1, self.most) for _ in range(self.length)), random)

    def move(self, code: Code, other: Code, random: Random) -> Code:
        """`code` with some numbers moved towards or from those of `other`, by up to their distance."""
        moved = list(code)
        for place in random.sample(range(self.length), min(MOVED, self.length)):
            moved[place] = min(self.most, max(1, int(code[place] + random.uniform(-1, 1) * (code[place] - other[place]))))
        return self.mend(tuple(moved), random)

    def mend(self, code: Code, random: Random) -> Code:
        if self.target is None:
            return code
        nearest = code
        for _ in range(2 * self.length * self.most):
            distance = self.size(code) - self.target
            if abs(distance) < abs(self.size(nearest) - self.target):
                nearest = code
            step = -1 if distance > 0 else 1
            movable = [place for place, number in enumerate(code) if 1 <= number + step <= self.most]
            if abs(distance) <= self.tolerance or not movable:
                break
            chosen = random.choice(movable)
            code = (*code[:chosen], code[chosen] + step, *code[chosen + 1:])
        return nearest


@dataclass
class Colony:
    """The sources, for how long each has not got better, and what is known. `judge` gives a fitness and whatever is worth keeping
    of the best code."""

    random: Random
    sources: list[Code] = field(default_factory=list)
    stale: list[int] = field(default_factory=list)
    fitness: dict[Code, float] = field(default_factory=dict)
    best: tuple[Code, Any] | None = None

    def look(self, codes: Sequence[Code], judge: Judge) -> None:
        """Judge those of `codes` that are not known."""
        new = [code for code in dict.fromkeys(codes) if code not in self.fitness]
        for code, (value, found) in zip(new, judge(new), strict=True):
            if self.best is None or value > self.fitness[self.best[0]]:
                self.best = code, found
            self.fitness[code] = value

    def settle(self, space: Space, size: int, judge: Judge) -> None:
        self.sources, self.stale = [space.draw(self.random) for _ in range(size)], [0] * size
        self.look(self.sources, judge)

    def cycle(self, space: Space, limit: int, judge: Judge) -> None:
        """Employed bees, onlookers, and a scout where a source was tried `limit` times in vain."""
        self.fly(range(len(self.sources)), space, judge)
        self.fly(self.watched(), space, judge)
        worst = max(range(len(self.stale)), key=self.stale.__getitem__)
        if self.stale[worst] >= limit:
            self.sources[worst], self.stale[worst] = space.draw(self.random), 0
            self.look([self.sources[worst]], judge)

    def fly(self, bees: Sequence[int], space: Space, judge: Judge) -> None:
        """One bee from each of the sources `bees`."""
        others = [self.random.choice([item for item in range(len(self.sources)) if item != bee]) for bee in bees]
        codes: list[Code] = []
        for bee, other in zip(bees, others, strict=True):
            for _ in range(TRIES):
                code = space.move(self.sources[bee], self.sources[other], self.random)
                if code not in self.fitness and code not in codes:
                    break
            codes.append(code)
        self.look(codes, judge)
        for bee, code in zip(bees, codes, strict=True):
            if self.fitness[code] > self.fitness[self.sources[bee]]:
                self.sources[bee], self.stale[bee] = code, 0
            else:
                self.stale[bee] += 1

    def watched(self) -> list[int]:
        """As many sources as there are, the better the likelier: walk round and round, stay with 0.1 + 0.9 fitness / best."""
        values, chosen, bee = [self.fitness[code] for code in self.sources], list[int](), 0
        while len(chosen) < len(values):
            if self.random.random() < 0.1 + 0.9 * values[bee] / (max(values) or 1):
                chosen.append(bee)
            bee = (bee + 1) % len(values)
        return chosen

"""Scores of captions against references: BLEU, ROUGE-L and CIDEr-D as pycocoevalcap 1.2 computes them, and METEOR by its program.

Captions are tokens with single spaces between them, as `suite.metrics.tokens` makes them; all scores are of a whole set, in percent
(CIDEr-D is at most 1000). Sources: Papineni et al., ACL 2002; Lin, ACL workshop 2004; Vedantam, Zitnick and Parikh, CVPR 2015.
"""

from __future__ import annotations

import math
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

ORDERS = (1, 2, 3, 4)  # words of an n-gram
SIGMA = 6.0  # words: width of CIDEr-D's penalty for another length
BETA = 1.2  # of ROUGE-L, which weighs recall higher
Ngram = tuple[str, ...]


def caption_scores(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
    """CIDEr-D, BLEU-1 to 4 and ROUGE-L of one candidate for each image, which has one reference or more."""
    scorer = CiderD(references)
    cider = scorer(candidates, range(len(candidates)))
    return {"CIDEr-D": 100 * sum(cider) / len(cider), **bleu(candidates, references), "ROUGE-L": rouge_l(candidates, references)}


def ngrams(words: Sequence[str]) -> Counter[Ngram]:
    """How often each n-gram of one to four words occurs."""
    return Counter(tuple(words[start : start + order]) for order in ORDERS for start in range(len(words) - order + 1))


def bleu(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
    """BLEU-n: exp(1 - r/c) if c < r, times the geometric mean of the shares of n-grams up to n that a reference has, each counted
    at most as often as in the reference with most of it; c and r are the sums of the candidates' lengths and of the closest
    references' (the shorter of two)."""
    right, given = dict.fromkeys(ORDERS, 0), dict.fromkeys(ORDERS, 0)
    long, wanted = 0, 0
    for candidate, sentences in zip(candidates, references, strict=True):
        words, others = candidate.split(), [sentence.split() for sentence in sentences]
        most: Counter[Ngram] = Counter()
        for other in others:
            most |= ngrams(other)
        for ngram, count in (ngrams(words) & most).items():
            right[len(ngram)] += count
        for order in ORDERS:
            given[order] += max(0, len(words) - order + 1)
        long += len(words)
        wanted += min((abs(len(other) - len(words)), len(other)) for other in others)[1]
    brevity = min(1.0, math.exp(1 - (wanted + 1e-9) / (long + 1e-15)) if long < wanted else 1.0)
    scores, product = {}, 1.0
    for order in ORDERS:
        product *= (right[order] + 1e-15) / (given[order] + 1e-9)
        scores[f"BLEU-{order}"] = 100 * brevity * product ** (1 / order)
    return scores


def rouge_l(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """The mean over images of (1 + b²) P R / (R + b² P), b = 1.2; P and R are the shares of the candidate and of a reference that
    are their longest common subsequence, each at its highest over the references."""
    total = 0.0
    for candidate, sentences in zip(candidates, references, strict=True):
        words, others = candidate.split(" "), [sentence.split(" ") for sentence in sentences]
        common = [_longest_common(words, other) for other in others]
        precision = max(common) / len(words)
        recall = max(length / len(other) for length, other in zip(common, others, strict=True))
        if precision and recall:
            total += (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)
    return 100 * total / len(candidates)


def _longest_common(first: Sequence[str], second: Sequence[str]) -> int:
    """The length of the longest common subsequence."""
    above = [0] * (len(second) + 1)
    for word in first:
        row = [0]
        for place, other in enumerate(second):
            row.append(above[place] + 1 if word == other else max(row[place], above[place + 1]))
        above = row
    return above[-1]


class _Weighted(NamedTuple):
    """A caption as CIDEr-D sees it."""

    weights: tuple[dict[Ngram, float], ...]  # of its n-grams, by order
    norms: tuple[float, ...]
    length: int  # in bigrams, as in the field's code


class CiderD:
    """CIDEr-D against the references of given images, whose document frequencies it counts once: one image is one document.

    ``scorer(candidates, rows)`` gives each candidate's score, 0 to 10, against the references of image ``rows[i]``. Over the test
    references it is the metric, over the training captions a reward.
    """

    def __init__(self, references: Sequence[Sequence[str]]) -> None:
        self.references = references
        self.frequency: Counter[Ngram] = Counter()
        for sentences in references:
            self.frequency.update({ngram for sentence in sentences for ngram in ngrams(sentence.split())})
        self.documents = math.log(len(references))

    def __call__(self, candidates: Sequence[str], rows: Sequence[int]) -> list[float]:
        seen: dict[int, list[_Weighted]] = {}
        scores = []
        for candidate, row in zip(candidates, rows, strict=True):
            if row not in seen:
                seen[row] = [self._weighted(sentence) for sentence in self.references[row]]
            mine = self._weighted(candidate)
            scores.append(10 * sum(_similarity(mine, other) for other in seen[row]) / len(seen[row]))
        return scores

    def _weighted(self, caption: str) -> _Weighted:
        """Term frequency times inverse document frequency of each n-gram."""
        weights: tuple[dict[Ngram, float], ...] = tuple({} for _ in ORDERS)
        length = 0
        for ngram, count in ngrams(caption.split()).items():
            weights[len(ngram) - 1][ngram] = count * (self.documents - math.log(max(1, self.frequency.get(ngram, 0))))
            length += count if len(ngram) == 2 else 0
        return _Weighted(weights, tuple(math.sqrt(sum(item * item for item in part.values())) for part in weights), length)


def _similarity(mine: _Weighted, other: _Weighted) -> float:
    """The mean over the orders of the cosine with weights clipped to the reference's, less for another length."""
    total = 0.0
    for weights, wanted, norm, norm_wanted in zip(mine.weights, other.weights, mine.norms, other.norms, strict=True):
        if norm and norm_wanted:
            total += sum(_products(weights, wanted)) / (norm * norm_wanted)
    return total / len(ORDERS) * math.exp(-((mine.length - other.length) ** 2) / (2 * SIGMA**2))


def _products(weights: dict[Ngram, float], wanted: dict[Ngram, float]) -> Iterator[float]:
    for ngram, weight in weights.items():
        if ngram in wanted:
            yield min(weight, wanted[ngram]) * wanted[ngram]


def meteor(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """METEOR 1.5 by its Java program, which comes with the extra ``captions``; NaN where either is missing, or Java fails."""
    try:
        from pycocoevalcap.meteor.meteor import Meteor
    except ImportError:
        return math.nan
    return _by_java(Meteor, candidates, references)


def spice(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """SPICE by its Java program, which comes with the extra ``captions``; NaN where either is missing, where Java fails (it is made
    for Java 8), or where ``pycocoevalcap/spice/lib`` lacks the user's ``stanford-corenlp-3.6.0.jar`` and ``-models.jar``, which the
    program would download."""
    try:
        from pycocoevalcap.spice import spice as program
    except ImportError:
        return math.nan
    folder = Path(program.__file__).parent / "lib"
    if not all((folder / f"stanford-corenlp-3.6.0{end}.jar").is_file() for end in ("", "-models")):
        return math.nan
    return _by_java(program.Spice, candidates, references)


def _by_java(program: Callable[[], Any], candidates: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """The score of one of pycocoevalcap's Java programs, in percent."""
    if shutil.which("java") is None:
        return math.nan
    rows = range(len(candidates))
    try:
        score, _ = program().compute_score({row: list(references[row]) for row in rows}, {row: [candidates[row]] for row in rows})
    except (OSError, subprocess.SubprocessError, ValueError):  # a program that ends early leaves a broken pipe or no number
        return math.nan
    return 100 * float(score)

"""Caption scores: as pycocoevalcap and its Java tokenizer have them (recorded), and by hand."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from suite.metrics import captions
from suite.metrics.captions import CiderD, bleu, caption_scores, meteor, rouge_l, spice
from suite.metrics.tokens import tokens

RECORDED = json.loads(Path(__file__).with_name("reference_captions.json").read_text(encoding="utf-8"))


def sets() -> tuple[list[str], list[list[str]]]:
    """The recorded candidates and references, as tokens."""
    texts = [spelled for _, spelled in RECORDED["captions"]]
    return [texts[row] for row, _ in RECORDED["sets"]], [[texts[row] for row in rows] for _, rows in RECORDED["sets"]]


def test_tokens_equal_the_java_tokenizers():
    assert len(RECORDED["captions"]) >= 480 and len(RECORDED["sets"]) >= 300
    different = {caption: (tokens(caption), spelled) for caption, spelled in RECORDED["captions"] if tokens(caption) != spelled}
    assert not different


@pytest.mark.parametrize("caption, expected", [
    ("", ""),
    (" A dog. ", "a dog"),
    ("a\nb", "a b"),
    ("Two (2) dogs' owners can't wait!", "two -lrb- 2 -rrb- dogs owners ca n't wait"),  # as in the field, brackets stay
])
def test_tokens(caption, expected):
    assert tokens(caption) == expected


def test_scores_equal_pycocoevalcaps():
    candidates, references = sets()
    for name, score in caption_scores(candidates, references).items():
        assert score == pytest.approx(100 * RECORDED["scores"][name], abs=1e-6), name


def test_scores_of_each_image_equal_pycocoevalcaps():
    candidates, references = sets()
    assert CiderD(references)(candidates, range(len(candidates))) == pytest.approx(RECORDED["each"]["CIDEr-D"], abs=1e-8)
    each = [rouge_l([candidate], [sentences]) / 100 for candidate, sentences in zip(candidates, references, strict=True)]
    assert each == pytest.approx(RECORDED["each"]["ROUGE-L"], abs=1e-8)


def test_bleu_by_hand():
    # 4 of 5 words and 2 of 4 pairs are right, no triple; the closest reference has 6 words: exp(1 - 6/5).
    found = bleu(["a cat on the rug"], [["a cat sat on the mat", "two dogs"]])
    assert found["BLEU-1"] == pytest.approx(100 * math.exp(-0.2) * 4 / 5)
    assert found["BLEU-2"] == pytest.approx(100 * math.exp(-0.2) * math.sqrt(4 / 5 * 2 / 4))
    assert found["BLEU-3"] == pytest.approx(0, abs=1e-3)
    assert bleu(["the the the"], [["the cat"]])["BLEU-1"] == pytest.approx(100 / 3)  # counted once, as in the reference
    assert bleu([""], [["a cat"]])["BLEU-1"] == 0


def test_rouge_by_hand():
    # "a cat on the" is common: precision 4/5, recall 4/6.
    precision, recall = 4 / 5, 4 / 6
    expected = 100 * (1 + 1.44) * precision * recall / (recall + 1.44 * precision)
    assert rouge_l(["a cat on the rug"], [["a cat sat on the mat"]]) == pytest.approx(expected)
    assert rouge_l(["x"], [["a cat"]]) == 0


def test_cider_by_hand():
    # Two images. "a" is in both: log 2 - log 2 = 0. Words of one image alone weigh log 2.
    scorer = CiderD([["a cat"], ["a dog"]])
    same, other = scorer(["a cat", "a cat"], [0, 1])
    assert same == pytest.approx(10 * (1 + 1) / 4)  # cosine 1 for words and for pairs, no triples
    assert other == 0
    # One pair more than the reference: all orders are less by exp(-1/72); words: a 0, cat log 2, big log 2 (seen nowhere).
    (longer,) = scorer(["a cat big"], [0])
    assert longer == pytest.approx(10 / 4 * math.exp(-1 / 72) * (1 / math.sqrt(2) + 1 / math.sqrt(2)))
    # A word twice counts as often as in the reference: min(2, 1) * 1 / (2 * 1).
    (twice,) = scorer(["cat cat"], [0])
    assert twice == pytest.approx(10 / 4 * 0.5)


def test_one_image_has_no_cider():
    assert CiderD([["a cat"]])(["a cat"], [0]) == [0]


def test_a_reward_counts_frequencies_where_it_was_made():
    """As a reward the frequencies are the training captions', and one image may be asked for several candidates."""
    scorer = CiderD([["a cat"], ["a dog"], ["a red cat"]])
    assert scorer(["a cat", "a dog", "a cat"], [0, 0, 0])[::2] == scorer(["a cat"], [0]) * 2
    assert scorer(["cat"], [0])[0] == pytest.approx(10 / 4 * math.exp(-1 / 72))


def test_meteor_is_missing_without_java(monkeypatch):
    monkeypatch.setattr(captions.shutil, "which", lambda program: None)
    assert math.isnan(meteor(["a cat"], [["a cat"]]))


def test_spice_is_missing_without_the_users_corenlp_or_where_java_fails(monkeypatch, tmp_path):
    class Program:
        def compute_score(self, references, candidates):
            if candidates == {0: ["a dog"]}:
                raise subprocess.CalledProcessError(1, "java")
            return np.float64(0.5), [{}] * len(references)

    package = types.ModuleType("pycocoevalcap.spice")
    package.spice = types.SimpleNamespace(Spice=Program, __file__=str(tmp_path / "spice.py"))
    monkeypatch.setitem(sys.modules, "pycocoevalcap", types.ModuleType("pycocoevalcap"))
    monkeypatch.setitem(sys.modules, "pycocoevalcap.spice", package)
    monkeypatch.setattr(captions.shutil, "which", lambda program: "/usr/bin/java")
    assert math.isnan(spice(["a cat"], [["a cat"]]))  # nothing is downloaded
    (tmp_path / "lib").mkdir()
    for end in ("", "-models"):
        (tmp_path / f"lib/stanford-corenlp-3.6.0{end}.jar").touch()
    assert spice(["a cat"], [["a cat"]]) == 50.0 and math.isnan(spice(["a dog"], [["a cat"]]))


@pytest.mark.skipif(shutil.which("java") is None, reason="METEOR is a Java program")
def test_meteor_equals_pycocoevalcaps():
    pytest.importorskip("pycocoevalcap")
    assert meteor(*sets()) == pytest.approx(100 * RECORDED["scores"]["METEOR"], abs=1e-6)

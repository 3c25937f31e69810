"""A method's paper as an entry of BibTeX."""

from __future__ import annotations

import re
import unicodedata

from suite.contract import Paper

_JOURNAL = re.compile(r"IEEE T|ACM T|Transactions|Journal|Pattern Recognition|Sensors|IJCV")
_ESCAPED = str.maketrans({**{sign: f"\\{sign}" for sign in "&%$#_{}"}, "\\": "\\textbackslash{}", "~": "\\textasciitilde{}",
                          "^": "\\textasciicircum{}"})
_SMALL = {"a", "an", "and", "by", "for", "from", "how", "in", "is", "of", "on", "the", "to", "towards", "via", "with"}


def entry(paper: Paper) -> str:
    """The entry: an article of a journal, a part of proceedings, or a preprint, by the venue. Braces keep the title's capitals."""
    if paper.venue == "arXiv":
        kind, venue = "misc", {"howpublished": "arXiv preprint"}
    elif _JOURNAL.search(paper.venue):
        kind, venue = "article", {"journal": paper.venue}
    else:
        kind, venue = "inproceedings", {"booktitle": paper.venue}
    fields = {"title": f"{{{escaped(paper.title)}}}", "author": " and ".join(map(_author, paper.authors.split(", ")))}
    fields |= {name: escaped(text) for name, text in venue.items()} | {"year": str(paper.year), "url": paper.url}
    return f"@{kind}{{{key(paper)},\n" + "".join(f"  {name} = {{{text}}},\n" for name, text in fields.items()) + "}"


def key(paper: Paper) -> str:
    """The key of the entry: first author, year and the title's first word that says something, in small ASCII letters and digits.

    It follows from the paper alone, and so stays as it is from version to version.
    """
    words = [plain(word) for word in re.split(r"[\s-]+", paper.title)]
    word = next((word for word in words if word and word not in _SMALL), "")
    return f"{plain(paper.authors.split(', ')[0])}{paper.year}{word}"


def plain(text: str) -> str:
    """The letters and digits of a text, small and without accents."""
    return "".join(re.findall("[a-z0-9]", unicodedata.normalize("NFKD", text.replace("ß", "ss")).lower()))


def escaped(text: str) -> str:
    """A text as BibTeX and LaTeX take it."""
    return text.translate(_ESCAPED)


def _author(name: str) -> str:
    """A surname of several words is one name, so it stands in braces."""
    return f"{{{escaped(name)}}}" if " " in name else escaped(name)

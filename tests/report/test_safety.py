"""Text in records is data: whatever a field holds, no report runs it, breaks on it, or loses it."""

from __future__ import annotations

import copy
import csv
import io
import shutil
import subprocess
from html.parser import HTMLParser

import pytest
from markdown_it import MarkdownIt
from records import family, record

from suite.reporting import page, tables
from suite.reporting.content import gather
from suite.reporting.declare import Report
from suite.reporting.render import texts

SCRIPT = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'"
LATEX = r"\input{/etc/passwd} \write18{ls} 100% & $x$ #1 a_b ~^{} -- łĐþ✓"
MARKDOWN = "[a](javascript:alert(3)) ![b](x) `c` **d** | e\n# f <!-- $g$ ~~h~~"
FORMULA = '=HYPERLINK("http://example.org")'
EVIL = (SCRIPT, LATEX, MARKDOWN, FORMULA, "\t=1+1", "@SUM(1)", "-1+1", "+1")
REPORT = Report(SCRIPT + LATEX + MARKDOWN, text="", caption=SCRIPT)
FIXED = {"status"}  # a record whose status is not one of four is none


def leaves(item, path=()):
    """The paths of all strings below a record."""
    if isinstance(item, dict):
        for key, value in item.items():
            yield from leaves(value, (*path, key))
    elif isinstance(item, list):
        for index, value in enumerate(item):
            yield from leaves(value, (*path, index))
    elif isinstance(item, str) and path[0] not in FIXED:
        yield path


def poisoned(made, text, paths=None):
    """A copy of a record with `text` in every string, or in those at `paths`."""
    made = copy.deepcopy(made)
    for path in leaves(copy.deepcopy(made)) if paths is None else paths:
        here = made
        for part in path[:-1]:
            here = here[part]
        here[path[-1]] = text
    primary = made["task"]["primary"]  # a poisoned name stays the name of the score
    made["scores"] = {primary: 78.0, text: 1.0}
    return made


def example():
    made = record("one_by_n", options={"note": "x"}, method__standins=["a choice"], task__options={"weights": ""},
                  notes={"why": "because"}, task__source__name="cifar10")
    made["profile"]["kernel"]["outside"] = ["layer"]
    made["published"] = [{"task": "cifar10", "metric": "top1", "value": 70.0, "where": "Table 1", "options": {}}]
    return made


def everything(text):
    """A report of one poisoned record, one that failed, and clean neighbours."""
    failed = record("magnitude", status="failed", reason=text, scores={})
    return gather(REPORT, [poisoned(example(), text), failed, *family(0, {"l1_filter": 1.0})])


class Reader(HTMLParser):
    """The elements and attributes of a page, and the text outside scripts."""

    def __init__(self):
        super().__init__()
        self.tags, self.attributes, self.words = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.words.append(data)


def read(html):
    reader = Reader()
    reader.feed(html)
    return reader


def harmless(reader):
    assert not [name for name, _ in reader.attributes if name.startswith("on")]
    assert not [value for name, value in reader.attributes if name in ("href", "src") and "javascript:" in (value or "")]


@pytest.mark.parametrize("text", EVIL[:4])
def test_the_page_shows_it_and_runs_nothing(text, monkeypatch):
    monkeypatch.setattr("plotly.offline.get_plotlyjs", lambda: "var Plotly")
    content = everything(text)
    reader = read(page.page(content, "../../results"))
    plots = len([group for group in content.groups if page.plots(group, ())])
    assert reader.tags.count("script") == 2 + plots + len(content.groups) and "img" not in reader.tags
    harmless(reader)
    shown = "".join(reader.words)
    assert text.split("\n")[0].strip() in shown and "magnitude" in shown


@pytest.mark.parametrize("text", EVIL[:3])
def test_markdown_shows_it_and_runs_nothing(text):
    rendered = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(texts(everything(text))["table.md"])
    reader = read(rendered)
    assert set(reader.tags) <= {"h1", "h2", "p", "ul", "li", "table", "thead", "tbody", "tr", "th", "td", "strong", "ins", "sup"}
    harmless(reader)
    assert text.split("\n")[0][:20].strip() in "".join(reader.words)


@pytest.mark.parametrize("text", EVIL)
def test_no_cell_of_a_csv_is_a_formula(text):
    made = [cell for line in csv.reader(io.StringIO(texts(everything(text))["table.csv"])) for cell in line]
    for cell in made:
        if cell[:1] in ("=", "+", "-", "@", "\t", "\r"):
            float(cell)  # a number and nothing else
    assert any(text.strip()[:6] in cell for cell in made)


@pytest.mark.parametrize("number", range(len(list(leaves(example())))))
def test_any_one_field_may_hold_anything(number):
    path = list(leaves(example()))[number]
    made = texts(gather(Report("x"), [poisoned(example(), SCRIPT, [path])]))
    assert "<script>" not in made["table.md"] and "<img" not in made["table.md"]


def test_latex_compiles_and_shows_it(tmp_path):
    if not shutil.which("pdflatex"):
        pytest.skip("pdflatex is not installed (Debian: texlive-latex-recommended)")
    made = "\n\\clearpage\n".join(texts(everything(text))["table.tex"] for text in EVIL)
    (tmp_path / "x.tex").write_text("\\documentclass{article}\\usepackage{booktabs,graphicx}\\begin{document}\n" + made +
                                    "\\end{document}\n", encoding="utf-8")
    done = subprocess.run(["pdflatex", "-no-shell-escape", "-interaction=nonstopmode", "-halt-on-error", "x.tex"], cwd=tmp_path,
                          capture_output=True, timeout=120)
    assert done.returncode == 0, done.stdout.decode(errors="replace")[-2000:]
    assert b"(/etc/passwd" not in done.stdout  # TeX names every file that it reads like this


def test_latex_escapes_by_hand():
    assert tables.escape_latex(r"\a{b}_c%") == r"\textbackslash{}a\{b\}\_c\%"
    assert tables.escape_latex("é Đ −") == r"é {[}U+0110{]} $-$"

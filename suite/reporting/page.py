"""``index.html``: one file that opens from disk without a network, whose tables are readable without JavaScript.

Plotly (the Python package ships its JavaScript) draws the interactive plots once they are opened; ``page.js`` sorts, filters, and
shows what stands behind a row. The page's own security policy lets nothing else run and nothing be loaded, so text from records is
data twice over.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from suite.reporting import verdicts
from suite.reporting.columns import columns
from suite.reporting.content import Content
from suite.reporting.figures import stem
from suite.reporting.front import Front, sheet
from suite.reporting.html import data, small_table, table, text
from suite.reporting.notes import STANDINS, STANDINS_TEXT, legend, standins, title
from suite.reporting.plots import plots
from suite.reporting.progress import sentence
from suite.reporting.rows import Group


def page(content: Content, back: str, diagrams: Mapping[str, Path] | None = None,
         pictures: Mapping[str, Path] | None = None) -> str:
    """The page. `back` leads from its folder to the results; `diagrams` are the SVGs of the whole report by what they show,
    `pictures` those of frontiers by the stem of their group.
    """
    from plotly.offline import get_plotlyjs

    glue = Path(__file__).with_name("page.js").read_text(encoding="utf-8")
    plotly = get_plotlyjs().replace("\r", "")
    report = content.report
    sections = [_front(found, back, (pictures or {}).get(stem(found.group))) for found in content.fronts]
    sections += [_section(group, content, back) for group in content.groups] if report.tables else []
    anchors = [f'<li><a href="#{stem(group)}">{text(title(group))}</a></li>' for group in content.groups if report.tables]
    return plain(report.title, "\n".join([
        f"<header><h1>{text(report.title)}</h1>",
        small_table(content.overview) if content.overview else "",
        f"<p>{text(sentence(content.progress))}</p>" if content.progress else "",
        *(f'<p class="diagram"><img alt="{text(what)}" src="{embedded(path)}"></p>' for what, path in (diagrams or {}).items()),
        f"<ul class=\"first\">{''.join(f'<li>{text(line)}</li>' for line in content.first)}</ul>",
        f"<p>{text(report.text)}</p>" if report.text else "",
        _controls(content.groups) if report.tables else "",
        f"<nav><details><summary>{len(anchors)} tables</summary><ul>{''.join(anchors)}</ul></details></nav>" if anchors else "",
        "</header><main>", *sections, _standins(content.groups if report.tables else []), _claims(content.claims),
        _unfinished(content), "</main>",
        f'<script type="text/plain" id="plotly">{plotly}</script>', f"<script>{glue}</script>",
    ]), glue, plotly)


def plain(title: str, body: str, *scripts: str) -> str:
    """A page around HTML, in which nothing but `scripts` runs and nothing is loaded."""
    style = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    return "\n".join([
        "<!DOCTYPE html>", '<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_policy(*scripts)}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{text(title)}</title><style>{style}</style></head><body>", body, "</body></html>", "",
    ])


def _policy(*scripts: str) -> str:
    hashes = " ".join(f"'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'" for script in scripts)
    return f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:"


def _controls(groups: Sequence[Group]) -> str:
    """The switch to all columns, which needs no script; and search box, choices and column groups, which ``page.js`` shows."""
    made = []
    for name in ("task", "source", "scale"):
        found = dict.fromkeys(str(group.facts[name]) for group in groups)
        options = "".join(f'<option value="{text(item)}">{text(item)}</option>' for item in found)
        made.append(f'<label>{name} <select name="{name}"><option value="">all</option>{options}</select></label>')
    kinds = dict.fromkeys(column.group.partition(",")[0] for group in groups for column in columns(group))
    switches = "".join(f'<label><input type="checkbox" name="{kind}" checked> {kind}</label>' for kind in kinds)
    return ('<p class="switch"><label><input type="checkbox" id="wide"> all columns</label></p>'
            '<noscript><p>Sorting, filters, plots, and what stands behind a row need JavaScript; the CSV beside this page has '
            'every number without it.</p></noscript><form class="controls" role="search" hidden>'
            '<label>filter <input type="search" placeholder="method, option, data …"></label>'
            f'{"".join(made)}<fieldset class="rest"><legend>columns</legend>{switches}</fieldset>'
            '<output aria-live="polite"></output></form>')


def _section(group: Group, content: Content, back: str) -> str:
    report, facts = content.report, group.facts
    keys = " ".join(f'data-{name}="{text(facts[name])}"' for name in ("task", "source", "scale"))
    charts = plots(group, report.figures)
    meanings = "".join(f"<li>{text(line)}</li>" for line in legend([group], report.columns, columns))
    files = "; as pictures they lie in the folder figures beside this page" if report.figures else ""
    figures = (f'<details class="plots"><summary>Plots</summary><p>They need JavaScript{files}.</p>'
               f'<script type="application/json">{data(charts)}</script></details>') if charts else ""
    return (f'<section id="{stem(group)}" {keys}><h2>{text(title(group))}</h2>'
            f"{table(group, report.columns, report.caption, back)}<details><summary>What the columns mean</summary>"
            f'<ul class="notes">{meanings}</ul></details>{figures}</section>')


def _front(found: Front, back: str, picture: Path | None) -> str:
    facts, heading = found.group.facts, text(f"At equal cost: {title(found.group)}")
    keys = " ".join(f'data-{name}="{text(facts[name])}"' for name in ("task", "source", "scale"))
    image = f'<p class="diagram"><img alt="quality against measured latency" src="{embedded(picture)}"></p>' if picture else ""
    small = sheet(found)
    tables = [f"<h3>{text(group.equal.title)}</h3>{table(group, (), group.equal.text, back)}"
              for group in found.tables if group.equal]
    return "".join([f'<section id="equal-{stem(found.group)}" {keys}><h2>{heading}</h2>', image,
                    small_table(small) if small else "", *tables, "</section>"])


def embedded(path: Path) -> str:
    """An SVG as an address that holds it."""
    return f"data:image/svg+xml;base64,{b64encode(path.read_bytes()).decode()}"


def _standins(groups: Sequence[Group]) -> str:
    found = standins(groups)
    items = "".join(f"<li><b>{text(method)}</b>: {text(' '.join(texts))}</li>" for method, texts in found.items())
    return f'<section id="standins"><h2>{STANDINS}</h2><p>{STANDINS_TEXT}</p><ul>{items}</ul></section>' if items else ""


def _claims(claims: Sequence[verdicts.Tested]) -> str:
    if not claims:
        return ""
    heads = "".join(f'<th scope="col">{text(head)}</th>' for head in verdicts.HEADINGS)
    rows = []
    for tested in claims:
        made = "".join(f"<td>{text(item)}</td>" for item in tested.texts)
        rows.append(f'<tr class="{tested.verdict.finding.replace(" ", "-")}">{made}</tr>')
    return ('<section id="claims"><h2>Claims</h2><div class="scroll" tabindex="0" role="region" aria-label="Claims">'
            f'<table class="sortable claims"><thead><tr>{heads}</tr></thead><tbody>{"".join(rows)}</tbody></table></div></section>')


def _unfinished(content: Content) -> str:
    items = "".join(f"<li>{text(item['id'])}: {text(item['status'])}: {text(item['reason'])}</li>" for item in content.unfinished)
    return f'<section id="unfinished"><h2>Runs without a number</h2><ul>{items}</ul></section>' if items else ""

"""``index.html``: one file that opens from disk without a network, and is readable without JavaScript.

Plotly (the Python package ships its JavaScript) draws the interactive plots once they are opened; ``page.js`` sorts and
filters. The page's own security policy lets nothing else run and nothing be loaded, so text from records is data twice over.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from suite.reporting import verdicts
from suite.reporting.columns import columns
from suite.reporting.content import Content
from suite.reporting.figures import stem
from suite.reporting.front import Front, sheet
from suite.reporting.html import small_table, table, text
from suite.reporting.notes import legend, title
from suite.reporting.plots import plots
from suite.reporting.rows import Group


def page(content: Content, back: str, diagram: Path | None = None, pictures: Mapping[str, Path] | None = None) -> str:
    """The page. `back` leads from its folder to the results; `diagram` is the SVG of the ranks, `pictures` those of frontiers by
    the stem of their group.
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
        f"<ul class=\"first\">{''.join(f'<li>{text(line)}</li>' for line in content.first)}</ul>", _ranks(diagram),
        f"<p>{text(report.text)}</p>" if report.text else "",
        _controls(content.groups) if report.tables else "",
        f"<nav><details><summary>{len(anchors)} tables</summary><ul>{''.join(anchors)}</ul></details></nav>" if anchors else "",
        "</header><main>", *sections, _claims(content.claims), _unfinished(content), "</main>",
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
    """Search box, choices and column switches; ``page.js`` shows them, as they do nothing without it."""
    made = []
    for name in ("task", "source", "scale"):
        found = sorted({str(group.facts[name]) for group in groups})
        options = "".join(f'<option value="{text(item)}">{text(item)}</option>' for item in found)
        made.append(f'<label>{name} <select name="{name}"><option value="">all</option>{options}</select></label>')
    kinds = dict.fromkeys(column.group.partition(",")[0] for group in groups for column in columns(group))
    switches = "".join(f'<label><input type="checkbox" name="{kind}" checked> {kind}</label>' for kind in kinds)
    return ('<form class="controls" role="search" hidden>'
            '<label>filter <input type="search" placeholder="method, option, data …"></label>'
            f"{''.join(made)}<fieldset><legend>columns</legend>{switches}</fieldset><output aria-live=\"polite\"></output></form>")


def _section(group: Group, content: Content, back: str) -> str:
    report, facts = content.report, group.facts
    keys = " ".join(f'data-{name}="{text(facts[name])}"' for name in ("task", "source", "scale"))
    charts = plots(group, report.figures)
    meanings = "".join(f"<li>{text(line)}</li>" for line in legend([group], report.columns, columns))
    files = "; as pictures they lie in the folder figures beside this page" if report.figures else ""
    figures = (f'<details class="plots"><summary>Plots</summary><p>They need JavaScript{files}.</p>'
               f'<script type="application/json">{_json(charts)}</script></details>') if charts else ""
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


def _ranks(diagram: Path | None) -> str:
    return f'<p class="diagram"><img alt="critical differences of the mean ranks" src="{embedded(diagram)}"></p>' if diagram else ""


def _json(found: Any) -> str:
    """JSON that no HTML parser leaves: every ``<`` is written as its code point."""
    return json.dumps(found).replace("<", "\\u003c")


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

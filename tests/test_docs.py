"""The pages of docs/: what they show is run, the commands that take long are understood, and the site is built without a warning."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").glob("*.md"))
BLOCK = re.compile(r"^```(\w+)(?: title=\"([^\"]+)\")?\n(.*?)^```$", re.M | re.S)


def blocks(page: Path) -> list[tuple[str, str, str]]:
    """(language, title, text) of the fenced blocks of a page."""
    return BLOCK.findall(page.read_text(encoding="utf-8"))


def typed(text: str) -> list[str]:
    """The commands of a console block."""
    return [line.removeprefix("$ ") for line in text.splitlines() if line.startswith("$ ")]


@pytest.mark.parametrize("page", [page for page in PAGES if "```console" in page.read_text(encoding="utf-8")], ids=lambda page: page.stem)
def test_what_a_page_shows_runs(page, suite_home, tmp_path):
    """Files with a title are written, the commands of a page are typed one after the other into a shell."""
    for name in re.findall(r"^(?:import|from) (onnxruntime)|(timm):", page.read_text(encoding="utf-8"), re.M):
        pytest.importorskip("".join(name))
    script = [f'{name}() {{ {shlex.quote(sys.executable)} {more} "$@"; }}' for name, more in (("suite", "-m suite"), ("python", ""))]
    script.append("set -euo pipefail")
    for language, title, text in blocks(page):
        if title:
            path = tmp_path / title
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        script += typed(text) if language == "console" else []
    done = subprocess.run(["bash", "-c", "\n".join(script)], cwd=tmp_path, capture_output=True, text=True, timeout=500,
                          env={key: value for key, value in os.environ.items() if key not in ("SUITE_DATA", "SUITE_RESULTS")})
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr and "stale" not in done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_that_a_page_does_not_run_are_understood(page):
    from suite.cli import command

    lines = [line for language, _, text in blocks(page) if language == "sh" for line in text.splitlines() if line.startswith("suite ")]
    lines += re.findall(r"`(suite [a-z]+ [^`]*)`", page.read_text(encoding="utf-8"))
    for line in lines:
        verb, *words = shlex.split(line.partition("#")[0])[1:]
        found = command.get_command(None, verb)
        found.make_context(verb, words)  # raises for an option that is not there


def test_examples_of_the_readmes_are_those_of_the_pages():
    (shown,) = re.findall(r"```python\n(.*?)```", (ROOT / "baselines" / "README.md").read_text(encoding="utf-8"), re.S)
    assert [text for _, title, text in blocks(ROOT / "docs" / "add-a-method.md") if title] == [shown]


@pytest.mark.skipif(not importlib.util.find_spec("material"), reason="mkdocs-material is not installed; `tox -e docs` builds the site")
def test_the_site_is_built_without_a_warning(tmp_path):
    done = subprocess.run([sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")], cwd=ROOT,
                          capture_output=True, text=True, timeout=300, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"})
    assert done.returncode == 0, done.stderr
    pages = {path.stem for path in (tmp_path / "site").glob("*.html")}
    assert {page.stem for page in PAGES} <= pages
    fetched = [path.name for path in (tmp_path / "site").glob("*.html")
               if re.search(r"<(?:script|link|img)[^>]+(?:src|href)=\"https?://(?![^\"]*canonical)", path.read_text(encoding="utf-8"))]
    assert not fetched  # opens without a network

"""Which version of the core made a number: a digest over the modules that a task and a method run through."""

from __future__ import annotations

import ast
import hashlib
import json
import typing
from functools import cache
from pathlib import Path

import suite
from suite import plugins
from suite.spec import Spec

#: Modules that no number of a record depends on, with all below them. The embedded data have digests of their own, and the
#: kernel's compiled part its version.
SILENT = ("bench", "cli", "claims", "core", "data.embedded", "errors", "kernel.recording", "kernel.stored", "launch", "looks",
          "options", "outcomes", "paths", "plan", "plugins", "record", "references", "reporting", "spec", "statistics", "testing",
          "tracking")  # fmt: skip


def digest_of(spec: Spec) -> str:
    """The digest of the core that a run goes through."""
    return digest(plugins.find("tasks")[spec.task_name].path, plugins.find("baselines")[spec.method_name].path)


def digest(task: Path, method: Path) -> str:
    """Sixteen hex digits over the code of every module of the suite that the two files import, directly or through others.

    As in a plug-in's digest, docstrings, comments and layout do not count, nor do modules that are `SILENT`. A module whose code
    ``unchanged.json`` declares to give the same numbers as earlier code counts as that, under the name it "was" known by, and one
    "same as" nothing not at all; so does a whole digest, as where a module is no longer imported.
    Empty where one of the two files cannot be parsed.
    """
    same = _unchanged()
    found: dict[str, tuple[str, str]] = {}
    try:
        left = ["runner", *_imports(task), *_imports(method)]
    except (SyntaxError, ValueError, OSError):
        return ""
    while left:
        name = left.pop()
        path = _file(name)
        if name not in found and path and not any(f"{name}.".startswith(f"{silent}.") for silent in SILENT):
            code = _code(path, path.stat().st_mtime_ns)
            declared = same.get(code, {})
            found[name] = (declared.get("was", name), declared.get("same as", code))
            left += _imports(path)
    counted = sorted((name, code) for name, code in found.values() if code)
    whole = hashlib.sha256(repr(counted).encode()).hexdigest()[:16]
    return same.get(whole, {}).get("same as", whole)


@cache
def _unchanged() -> dict[str, dict[str, str]]:
    """The declared changes that no number depends on: ``{code: {"module", "same as", "why"}}``, and "was" where it was moved."""
    path = Path(suite.__file__).with_name("unchanged.json")
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _file(name: str) -> Path | None:
    """The file of the module ``suite.<name>``; None where there is none, as for a function of that name, and of plug-ins, which
    have digests of their own: an installed suite holds their files, a checkout does not."""
    if name.split(".")[0] in typing.get_args(plugins.Kind):
        return None
    base = Path(suite.__file__).parent.joinpath(*name.split("."))
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)


@cache
def _code(path: Path, changed: int) -> str:
    return hashlib.sha256(plugins.code(ast.parse(path.read_bytes())).encode()).hexdigest()


def _imports(path: Path) -> list[str]:
    return _imported(path, path.stat().st_mtime_ns)


@cache
def _imported(path: Path, changed: int) -> list[str]:
    """Names below ``suite`` that a file imports, modules or what is in them; of a plug-in's siblings those of the sibling."""
    names = []
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    below = [name.removeprefix("suite.") for name in names if name.startswith("suite.")]
    siblings = {".".join(name.split(".")[:2]) for name in below if name.startswith(("tasks._", "baselines._"))}
    return below + [name for module in siblings for name in _imports(plugins.sibling(path, f"suite.{module}"))]

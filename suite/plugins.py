"""Finding tasks and methods: every file in ``suite/tasks`` and ``suite/baselines``, in ``SUITE_PLUGINS`` and in packages.

Listing parses files and imports none, so that it is quick and a plug-in with a missing dependency stays listed. A folder
in ``SUITE_PLUGINS`` (several separated as in PATH) holds ``tasks/`` and ``baselines/``; so does a package that the
entry-point group ``suite.plugins`` names.
"""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import importlib
import importlib.util
import json
import math
import os
import re
import sys
import typing
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, Literal

from suite.contract import Method, Task
from suite.errors import UserError, nearest

Kind = Literal["tasks", "baselines"]
#: Class attributes that tell people about a plug-in, or say how an option is found that is in every fingerprint; they change no
#: number and are not part of its digest.
DESCRIPTIVE = {"title", "paper", "tags", "published", "claims", "standins", "found_by"}


@dataclass(frozen=True)
class Found:
    """A plug-in as its file shows it, without importing it."""

    name: str
    kind: Kind
    path: Path
    summary: str  # first line of the docstring
    facts: dict[str, Any]  # literal class attributes: title, tags, takes, gives, data, accepts ...


def folders(kind: Kind) -> list[Path]:
    """Where plug-ins of a kind lie, in order of precedence."""
    own = importlib.util.find_spec(f"suite.{kind}")
    found = [Path(folder) for folder in (own.submodule_search_locations or [])] if own else []
    found += [Path(folder) / kind for folder in os.environ.get("SUITE_PLUGINS", "").split(os.pathsep) if folder]
    for package in _packages():
        try:
            spec = importlib.util.find_spec(package)
        except (ImportError, ValueError):  # an entry that names nothing harms nobody
            continue
        found += [Path(folder) / kind for folder in (spec.submodule_search_locations or [])] if spec else []
    return list(dict.fromkeys(folder for folder in found if folder.is_dir()))


@cache  # a plan asks for folders, files and digests hundreds of times
def _packages() -> list[str]:
    """The installed packages that bring plug-ins."""
    return [entry.value for entry in entry_points(group="suite.plugins")]


def find(kind: Kind) -> dict[str, Found]:
    """All plug-ins of a kind by name. UserError if two files share a name."""
    plugins: dict[str, Found] = {}
    for folder in folders(kind):
        for path in sorted(folder.glob("*.py")):
            if path.stem.startswith("_"):
                continue
            if path.stem in plugins and plugins[path.stem].path.resolve() != path.resolve():
                raise UserError(
                    f"'{path.stem}' is the name of both '{plugins[path.stem].path}' and '{path}'; rename one of the files."
                )
            plugins[path.stem] = _parse(path, kind, path.stat().st_mtime_ns if path.exists() else 0)  # a link may lead nowhere
    return plugins


@cache
def _parse(path: Path, kind: Kind, changed: int) -> Found:
    try:
        if not path.stem.isidentifier():
            raise ValueError(f"'{path.stem}' is no name of Python")
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, OSError, RecursionError, MemoryError) as error:
        return Found(path.stem, kind, path, f"cannot be read: {error}", {})
    facts: dict[str, Any] = {}
    for node in _plugin_classes(tree, kind):
        for statement in node.body:
            target = _assigned(statement)
            if target and (literal := _literal(statement.value)) is not None:  # type: ignore[attr-defined]
                facts[target] = literal
    summary = (ast.get_docstring(tree) or "").split("\n", 1)[0]
    return Found(path.stem, kind, path, summary, facts)


def _plugin_classes(tree: ast.Module, kind: Kind) -> list[ast.ClassDef]:
    base = "Task" if kind == "tasks" else "Method"
    return [node for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
            and any(getattr(item, "id", getattr(item, "attr", "")).endswith(base) for item in node.bases)]


def _assigned(statement: ast.stmt) -> str:
    if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and statement.value:
        return statement.target.id
    if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
        return statement.targets[0].id
    return ""


def _literal(node: ast.expr) -> Any | None:
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return None


def option_names(kind: Kind, name: str) -> list[str]:
    """The names of a plug-in's options as its file and others' show them, those of base classes first, without importing it.

    None of a plug-in that is not there or cannot be parsed.
    """
    found = find(kind).get(name)
    if not found:
        return []
    try:
        classes = [node for node in ast.parse(found.path.read_bytes()).body if isinstance(node, ast.ClassDef)]
        return list(dict.fromkeys(option for node in classes if node.name[0] != "_" for option in _fields(node, found.path)))
    except (SyntaxError, ValueError, OSError):
        return []


def _fields(node: ast.ClassDef, path: Path) -> list[str]:
    """The fields of a class in the file `path` that ``option(...)`` makes, after those of its bases there or in another file."""
    inherited = [name for base in node.bases for name in _fields_of(getattr(base, "id", ""), path)]
    return inherited + [_assigned(item) for item in node.body
                        if isinstance(item, ast.AnnAssign) and getattr(getattr(item.value, "func", None), "id", "") == "option"]


def _fields_of(name: str, path: Path) -> list[str]:
    """The fields of the class that is called `name` in the file `path`; none where it is not of a plug-in's files."""
    for node in ast.parse(path.read_bytes()).body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            return _fields(node, path)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(("suite.tasks.", "suite.baselines.")):
            original = next((item.name for item in node.names if name == (item.asname or item.name)), "")
            if original:
                return _fields_of(original, sibling(path, node.module or ""))
    return []


def load(kind: Kind, name: str) -> type[Any]:
    """Import a plug-in and return its class. UserError for an unknown name, and for a file that fails to import or whose class
    lacks what it must declare.
    """
    plugins = find(kind)
    what = "task" if kind == "tasks" else "method"
    if name not in plugins:
        raise UserError(f"There is no {what} '{name}'{nearest(name, plugins)}")
    extend_paths()
    try:
        module = importlib.import_module(f"suite.{kind}.{name}")
    except (UserError, KeyboardInterrupt):
        raise
    except BaseException as error:  # SystemExit too
        raise UserError(f"The {what} '{name}' cannot be imported ({type(error).__name__}: {error}); "
                        f"mend '{plugins[name].path}' or install what it needs.") from error
    found = plugin_class(module, kind)
    if found not in _declared:
        _check_declarations(found, kind, plugins[name].path)
        _declared.add(found)
    return found


_declared: set[type[Any]] = set()  # classes that have been checked


def _check_declarations(plugin: type[Any], kind: Kind, path: Path) -> None:
    """UserError unless a plug-in is a dataclass whose class attributes are there and of the types that its base says."""
    from pydantic import TypeAdapter, ValidationError

    def refuse(problem: str) -> UserError:
        return UserError(f"'{path}': {problem}; see the README of {kind}/ for what a plug-in declares.")

    if not dataclasses.is_dataclass(plugin):
        raise refuse(f"the class '{plugin.__name__}' is no dataclass, write @dataclass above it")
    base = Task if kind == "tasks" else Method
    for name, hint in typing.get_type_hints(base).items():
        wanted, found = typing.get_args(hint)[0] if typing.get_origin(hint) is ClassVar else hint, getattr(plugin, name, _NOTHING)
        if found is _NOTHING:
            raise refuse(f"the class '{plugin.__name__}' has no {name}, which is {_told(wanted)}")
        if isinstance(found, property) or name in plugin.__dataclass_fields__:
            continue  # an option, or what follows from options
        try:
            TypeAdapter(wanted).validate_python(found, strict=True)
        except ValidationError:
            raise refuse(f"{name} = {str(found)[:60]!r} of the class '{plugin.__name__}' is not {_told(wanted)}") from None
    for field in dataclasses.fields(plugin):
        if field.default is not dataclasses.MISSING and not _recordable(field.default):
            raise refuse(f"the default of option '{field.name}' is {field.default!r}, and no finite number, text or tuple of these")
    decided = plugin.found_by if issubclass(plugin, Task) else ""
    if decided and not any(field.name == decided and field.metadata.get("choices") for field in dataclasses.fields(plugin)):
        raise refuse(f"found_by names '{decided}', which is no option with choices")


_NOTHING = object()


def _told(wanted: Any) -> str:
    """A type as its author writes it."""
    plain = isinstance(wanted, type) and not typing.get_args(wanted)
    return re.sub(r"(suite\.contract|collections\.abc|typing)\.", "", wanted.__name__ if plain else str(wanted))


def _recordable(default: Any) -> bool:
    """Whether a record and a fingerprint can hold the default of an option."""
    if isinstance(default, tuple):
        return all(map(_recordable, default))
    return default is None or isinstance(default, bool | int | str) or (isinstance(default, float) and math.isfinite(default))


def extend_paths() -> None:
    """Let ``suite.tasks`` and ``suite.baselines`` span all plug-in folders, so that siblings (``_name.py``) import too."""
    for kind in typing.get_args(Kind):
        package = sys.modules.get(f"suite.{kind}") or importlib.import_module(f"suite.{kind}")
        package.__path__ = list(dict.fromkeys([*map(str, package.__path__), *map(str, folders(kind))]))


def plugin_class(module: ModuleType, kind: Kind) -> type[Any]:
    """The one public subclass of Task or Method that `module` itself defines."""
    base = Task if kind == "tasks" else Method
    classes = [item for item in vars(module).values() if isinstance(item, type) and issubclass(item, base)
               and item.__module__ == module.__name__ and not item.__name__.startswith("_")]
    if len(classes) != 1:
        raise UserError(f"'{module.__file__}' defines {len(classes)} classes based on {base.__name__}; "
                        "a plug-in file defines exactly one.")
    return classes[0]


def digest(path: Path) -> str:
    """A hash of what a plug-in's code does: its docstrings, comments, layout and `DESCRIPTIVE` attributes do not count.

    Private siblings (``from suite.baselines._pruning import ...``) count with it. Code that ``unchanged.json`` beside it declares
    to give the same numbers as earlier code has the digest of that.
    """
    found, declared = _digest(path), path.with_name("unchanged.json")
    known = json.loads(declared.read_text(encoding="utf-8")) if declared.is_file() else {}
    return known.get(found, {}).get("same as", found)


def _digest(path: Path) -> str:
    own, siblings = _own(path, path.stat().st_mtime_ns)
    text = own + "".join(_digest(sibling(path, name)) for name in siblings)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@cache
def _own(path: Path, changed: int) -> tuple[str, list[str]]:
    """What a file does by itself, and the siblings that it imports."""
    tree = ast.parse(path.read_bytes())
    siblings = sorted({node.module for node in ast.walk(tree)
                       if isinstance(node, ast.ImportFrom) and node.module and "._" in node.module})
    return code(tree), siblings


def sibling(path: Path, module: str) -> Path:
    """The file of ``suite.<kind>._<name>``, which the plug-in `path` imports: beside it, or in another plug-in folder."""
    _, kind, name = module.split(".")
    found = [folder / f"{name}.py" for folder in (path.parent, *folders(typing.cast(Kind, kind)))]
    return next((file for file in found if file.is_file()), found[0])


def code(tree: ast.Module) -> str:
    """What a file does, as text: the parsed `tree` without docstrings and `DESCRIPTIVE` attributes, which it loses."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and body:
            if isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
                del body[0]
            if isinstance(node, ast.ClassDef):
                node.body = [item for item in body if _assigned(item) not in DESCRIPTIVE]
    return ast.dump(tree)

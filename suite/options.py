"""Options: from ``key=value`` words on a command line to checked fields of a task or method dataclass."""

from __future__ import annotations

import dataclasses
import itertools
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from suite.contract import Method, Task
from suite.errors import UserError, nearest

_TOLD = "suite info {} shows them all"  # where a user finds the options


class Word(NamedTuple):
    """One ``[owner.]key=value[,value...]`` of the command line; `values` are not converted yet."""

    owner: str  # "task", a method's name, or "" for every method
    key: str
    values: tuple[str, ...]


def parse(words: Sequence[str], methods: Sequence[str]) -> list[Word]:
    """Split option words. UserError for a word that is none, or an owner that is not on the command line."""
    parsed = []
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name or not text:
            raise UserError(f"'{word}' is not an option; options look like key=value, for example sparsity=0.5.")
        owner, _, key = name.rpartition(".")
        if owner not in ("", "task", *methods):
            raise UserError(f"'{word}' is for '{owner}', which is neither 'task' nor one of {', '.join(methods)}.")
        parsed.append(Word(owner, key, tuple(text.split(","))))
    return parsed


def check_names(plugin: type[Any], owner: str, words: Sequence[Word]) -> None:
    """UserError unless every word names a field of the dataclass `plugin`, which is called `owner` on the command line."""
    names = [item.name for item in dataclasses.fields(plugin)]
    for word in words:
        if word.key not in names:
            hint = "" if word.owner else f", or write <method>.{word.key}={','.join(word.values)} for one method alone"
            near = nearest(word.key, names) or "; it has none"
            raise UserError(f"'{owner}' has no option '{word.key}'{near}{hint} ({_TOLD.format(owner)})")


def grid(plugin: type[Any], owner: str, words: Sequence[Word]) -> list[dict[str, Any]]:
    """Every combination of the words' values, converted and checked for `plugin`."""
    check_names(plugin, owner, words)
    keys = [word.key for word in words]
    repeated = {key for key in keys if keys.count(key) > 1}
    if repeated:
        raise UserError(f"'{sorted(repeated)[0]}' is given twice; write its values with commas: key=value,value.")
    lists = [[convert(plugin, owner, word.key, text) for text in word.values] for word in words]
    return [dict(zip(keys, values, strict=True)) for values in itertools.product(*lists)]


def convert(plugin: type[Any], owner: str, key: str, text: str) -> Any:
    """`text` as the type of the field `key`, inside its bounds and choices. UserError otherwise."""
    kind = typing.get_type_hints(plugin)[key]
    try:
        converted = _to(kind, text)
    except (ValueError, KeyError):
        raise UserError(f"{key}={text} does not fit option '{key}' of '{owner}', which is {described(kind)}.") from None
    check(plugin, owner, key, converted)
    return converted


def check(plugin: type[Any], owner: str, key: str, found: Any) -> None:
    """UserError if there is no such field, or its value lies outside its declared bounds or choices."""
    field = next((item for item in dataclasses.fields(plugin) if item.name == key), None)
    if field is None:
        names = [item.name for item in dataclasses.fields(plugin)]
        raise UserError(f"'{owner}' has no option '{key}'{nearest(key, names)} ({_TOLD.format(owner)})")
    bounds, choices = field.metadata.get("bounds"), field.metadata.get("choices")
    for item in found if isinstance(found, tuple) else (found,):
        if choices is not None and item not in choices:
            raise UserError(f"{key}={item} is not possible for '{owner}'; {key} is one of {', '.join(map(str, choices))}.")
        if bounds is not None and not bounds[0] <= item <= bounds[1]:
            raise UserError(f"{key}={item} is out of range for '{owner}'; {key} lies in {bounds[0]} to {bounds[1]}.")


def _to(kind: Any, text: str) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return {str(item): item for item in arguments}[text]
    if origin is tuple:
        return tuple(_to(arguments[0], part) for part in text.split(":"))
    if origin in (typing.Union, types.UnionType):
        return None if text == "none" else _to(next(item for item in arguments if item is not type(None)), text)
    if kind is bool:
        return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}[text.lower()]
    number = kind(text)
    if number != number:
        raise ValueError("nan")
    return number


def described(kind: Any) -> str:
    """What the type of an option is called before people."""
    if typing.get_origin(kind) is Literal:
        return "one of " + ", ".join(map(str, typing.get_args(kind)))
    if typing.get_origin(kind) is tuple:
        return f"a list of {described(typing.get_args(kind)[0])} separated by ':'"
    return {int: "a whole number", float: "a number", bool: "true or false", str: "a word"}.get(kind, str(kind))


def build(plugin: type[Any], owner: str, chosen: Mapping[str, Any], scale: str, task: Task | None = None) -> Any:
    """A task or method with its options resolved. The last of these counts: the paper's defaults, what the `task` that the method
    is for proposes, what shrinks with `scale`, what the task proposes at that scale, what the user has `chosen`.
    """
    names = {item.name for item in dataclasses.fields(plugin)}
    own: Mapping[str, Any] = plugin.scales.get(scale, {}) if issubclass(plugin, Method) else plugin.scales[scale].options
    proposed, here = (task.defaults, task.scales[scale].proposes) if task else ({}, {})
    layers = ({key: item for key, item in layer.items() if key in names} for layer in (proposed, own, here))
    merged = {key: item for layer in (*layers, chosen) for key, item in layer.items()}
    for key, item in merged.items():
        check(plugin, owner, key, item)
    try:
        return plugin(**merged)
    except OSError as error:  # from the test whether a file is there, such as one with a name of 300 letters
        raise UserError(f"An option of '{owner}' names a file that cannot be opened: {error.strerror}.") from None

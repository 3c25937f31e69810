"""How a network is made again without its file: by which function, and from what."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from torch import nn

P = ParamSpec("P")
Made = TypeVar("Made", bound=nn.Module)
Recipe = dict[str, Any]  # {"builder": its name, "arguments": by name, a network among them as its own recipe}


def noted(builder: Callable[P, Made]) -> Callable[P, Made]:
    """A function that notes on the network that it makes, as ``built``, its `Recipe`; none where an argument has none."""
    signature = inspect.signature(builder)

    @wraps(builder)
    def made(*arguments: P.args, **options: P.kwargs) -> Made:
        given = signature.bind(*arguments, **options).arguments
        found = {name: getattr(item, "built", None) if isinstance(item, nn.Module) else item for name, item in given.items()}
        network = builder(*arguments, **options)
        vars(network)["built"] = None if None in found.values() else {"builder": builder.__name__, "arguments": found}
        return network

    return made

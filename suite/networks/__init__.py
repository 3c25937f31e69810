"""Networks that are not the suite's own: a user's, torchvision's and timm's. This is all there is to know about them.

**Names.** An option `arch`, and ``suite profile``, take besides the names in `suite.nn.ARCHS`

- ``FILE.py:FUNCTION``, a function in a file (``MODULE:FUNCTION`` of a module in the current folder is the same);
- ``MODULE:FUNCTION``, a function in a module that is installed;
- ``torchvision:NAME``, or ``NAME`` alone where `suite.nn.ARCHS` has none of that name;
- ``timm:NAME``, with the extra `timm` (``pip install 'suite[timm]'``).

**What the function takes.** It is called with those of these two that it has parameters for, by name: ``classes``, the number of
outputs, and ``size``, height and width of the images in pixels. It draws random numbers from torch's global generator alone.

**What it returns.** An ``nn.Module`` that maps images float32 (N, 3, size, size) to logits (N, classes), one tensor, in training as
in evaluation mode. It may start from weights of its own. One image of zeros is tried at once, and what is wrong is said.

**Where the two numbers come from.** In a run they are the task's: 32 pixels for CIFAR, ``task.size`` for ImageNet.
``suite profile`` takes ``--classes`` and ``--size``; without, the size is the default of the function's own ``size``, else what
timm has for the network, else 224, and a function without ``classes`` decides alone how many there are.

**What counts as the same network.** Of a file its contents, and the function's name, count in a record's fingerprint; neither its
own name nor what it imports does. Of installed modules, torchvision and timm the name counts; their versions are in the record.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from suite.errors import UserError, nearest
from suite.paths import cache_folder

if TYPE_CHECKING:
    from torch import nn

LIBRARIES = ("torchvision", "timm")
PIXELS = 224  # of images, where nobody says
HOW = "name your own as FILE.py:FUNCTION, timm's as timm:NAME"


class Source(NamedTuple):
    """A function in a file."""

    path: Path
    function: str


class _Maker(NamedTuple):
    """What makes a network, and under which names it takes the number of classes and of pixels; "" where it does not."""

    function: Callable[..., Any]
    classes: str
    size: str
    pixels: int = PIXELS  # where nobody says


def source_of(arch: Any) -> Source | None:
    """The file that an `arch` names, and the function in it; None for everything else. Imports nothing."""
    place, _, function = arch.rpartition(":") if isinstance(arch, str) else ("", "", "")
    if not place or not function or place in LIBRARIES or "\0" in place:
        return None
    path = Path(place) if place.endswith(".py") else Path(*place.split(".")).with_suffix(".py")
    return Source(path, function) if path.is_file() else None


def is_named(arch: str) -> bool:
    """Whether `arch` can only be meant as a network's name: with a colon, or torchvision's."""
    return ":" in arch or arch in _torchvision()


def pixels(arch: str) -> int:
    """Height and width of the images that a network is for, where nobody says. UserError for what is no network."""
    return _maker(arch).pixels


def takes_classes(arch: str) -> bool:
    """Whether the number of outputs can be chosen."""
    return bool(_maker(arch).classes)


def build(arch: str, classes: int | None, size: int) -> nn.Module:
    """A network by a name as above: images (N, 3, size, size) -> logits (N, classes), or as many as it has (None).

    The random numbers are torch's global ones. UserError for a name that names nothing, a function that raises or returns
    something else, and a network that does not do this.
    """
    from torch import nn

    maker = _maker(arch)
    given = {name: item for name, item in ((maker.classes, classes), (maker.size, size)) if name and item is not None}
    try:
        network = maker.function(**given)
    except Exception as error:
        called = ", ".join(f"{name}={item}" for name, item in given.items())
        raise UserError(f"'{arch}', called with ({called}), raised {_told(error)}.") from error
    if not isinstance(network, nn.Module):
        raise UserError(f"'{arch}' gave {_article(type(network).__name__)} and must give an nn.Module, a network.")
    _try(network, arch, classes, size, bool(maker.classes))
    return network


def _try(network: nn.Module, arch: str, classes: int | None, size: int, chooses: bool) -> None:
    """UserError unless `network` maps one image of zeros to `classes` numbers."""
    import torch

    from suite.modes import evaluating

    like = next(network.parameters(), torch.zeros(()))
    images = torch.zeros(1, 3, size, size, device=like.device)
    try:
        with evaluating(network), torch.no_grad():
            output = network(images)
    except Exception as error:
        raise UserError(f"'{arch}' cannot take images of {size}x{size} pixels, {tuple(images.shape)}: it raised {_told(error)}. "
                        "Choose another size: task.size=PIXELS where the task has it, --size PIXELS for suite profile.") from error
    found = tuple(output.shape) if isinstance(output, torch.Tensor) else f"a {type(output).__name__}"
    wanted = (1, "classes" if classes is None else classes)
    if isinstance(found, str) or len(found) != 2 or (classes is not None and found != wanted):
        text = str(wanted).replace("'", "")
        hint = "" if chooses or isinstance(found, str) or len(found) != 2 else \
            "; let its function take the parameter 'classes', the number of outputs"
        raise UserError(f"'{arch}' gives {found} for images {tuple(images.shape)} and must give logits {text}{hint}.")


def _maker(arch: str) -> _Maker:
    place, colon, name = arch.rpartition(":")
    if place == "timm":
        return _of_timm(name)
    if place == "torchvision" or (not colon and name in _torchvision()):
        return _of_torchvision(name)
    if not colon:
        from suite.nn import ARCHS

        raise UserError(f"unknown network '{arch}'{nearest(arch, (*ARCHS, *_torchvision())) or '.'} ({HOW}.)")
    if source := source_of(arch):
        return _of_function(arch, _loaded(source), source.function, str(source.path))
    if place.endswith(".py"):
        raise UserError(f"There is no file '{place}'; '{arch}' names a function in a file as FILE.py:FUNCTION.")
    try:
        module = importlib.import_module(place)
    except Exception as error:
        raise UserError(f"'{arch}' names no network: there is no file '{place.replace('.', '/')}.py', and importing '{place}' "
                        f"raised {_told(error)} ({HOW}).") from error
    return _of_function(arch, module, name, place)


def _of_function(arch: str, module: Any, name: str, place: str) -> _Maker:
    function = getattr(module, name, None)
    if not callable(function) or (hasattr(function, "state_dict") and not isinstance(function, type)):
        own = [key for key, item in vars(module).items() if callable(item) and getattr(item, "__module__", "") == module.__name__]
        what = f"no function '{name}'{nearest(name, own) or '.'}" if function is None else \
            f"{_article(type(function).__name__)} called '{name}', and must have a function that makes one."
        raise UserError(f"'{place}' has {what}")
    try:
        parameters = dict(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        parameters = {}
    default = getattr(parameters.get("size"), "default", PIXELS)
    classes, size = (key if key in parameters else "" for key in ("classes", "size"))
    return _Maker(function, classes, size, default if isinstance(default, int) else PIXELS)


def _loaded(source: Source) -> Any:
    """The module in a file, imported from its copy in the cache."""
    from suite.record import write_text

    try:
        text = source.path.read_bytes().decode("utf-8")
    except (OSError, ValueError) as error:
        raise UserError(f"'{source.path}' cannot be read: {error}.") from error
    name = "network_" + hashlib.sha256(text.encode()).hexdigest()[:24]
    copy = cache_folder() / "networks" / f"{name}.py"
    if not copy.is_file():
        write_text(copy, text)
    from suite.networks import copies

    if str(copy.parent) not in copies.__path__:
        copies.__path__.insert(0, str(copy.parent))
    importlib.invalidate_caches()
    try:
        return importlib.import_module(f"{copies.__name__}.{name}")
    except Exception as error:
        raise UserError(f"'{source.path}' cannot be imported: it raised {_told(error)}.") from error


def _torchvision() -> list[str]:
    import torchvision

    return torchvision.models.list_models(module=torchvision.models)


def _of_torchvision(name: str) -> _Maker:
    import torchvision

    if name not in _torchvision():
        raise UserError(f"torchvision has no network '{name}'{nearest(name, _torchvision()) or '.'}")
    # Further outputs in training would make the result a tuple.
    further: dict[str, Any] = {"aux_logits": False, "init_weights": True} if name in ("googlenet", "inception_v3") else {}
    function = partial(torchvision.models.get_model, name, weights=None, **further)
    return _Maker(function, "num_classes", "image_size" if name.startswith("vit_") else "")


def _of_timm(name: str) -> _Maker:
    try:
        import timm
    except ImportError:
        raise UserError(f"'timm:{name}' needs timm, which is not installed; type: pip install 'suite[timm]'") from None
    if not timm.is_model(name):
        raise UserError(f"timm has no network '{name}'{nearest(name, timm.list_models()) or '.'}")
    facts = timm.get_pretrained_cfg(name, allow_unregistered=True)
    fixed = bool(facts and facts.fixed_input_size)
    function = partial(timm.create_model, name, pretrained=False)
    return _Maker(function, "num_classes", "img_size" if fixed else "", facts.input_size[-1] if facts else PIXELS)


def _article(noun: str) -> str:
    return f"{'an' if noun[0].lower() in 'aeiou' else 'a'} {noun}"


def _told(error: Exception) -> str:
    """An error in one line, with the place in a user's file where it was raised."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).parent == _copies()]
    text = " ".join(str(error).split()) or "without a word"
    return f"{type(error).__name__}{f' in line {lines[-1]}' if lines else ''} ({text[:300]})"


def _copies() -> Path:
    return cache_folder() / "networks"

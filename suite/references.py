"""Networks as safetensors files: beside their records, large ones in the folder ``SUITE_WEIGHTS``.

Kept are those that others rest on, and of what starts from them (pruners) those of seed 0, so that whoever repeats a recorded
command has it timed on a machine of theirs without training. A file holds the weights exactly as they were trained, and in its
header their digest and how `suite.nn` makes the network that they belong to, whose channels are then cut to the shapes of the
weights; nothing in it is run. What cannot be made so stays in the cache.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from suite.context import load, save
from suite.errors import UserError
from suite.paths import results_folder, weights_folder
from suite.record import Record, write_bytes

if TYPE_CHECKING:
    from torch import Tensor, nn

    from suite.artifacts import Detector, Network
    from suite.nn.built import Recipe

LIMIT = 2_000_000  # bytes of a file beside a record; larger ones go into SUITE_WEIGHTS
TOGETHER = 60_000_000  # bytes of all that are committed


def digest_of(artifact: Any) -> str:
    """64 hex digits over names, types, shapes and values of an artifact's tensors, in whatever order memory has them; "" of an
    artifact without a network."""
    import torch
    from torch import nn

    module = next((item for item in getattr(artifact, "__dict__", {}).values() if isinstance(item, nn.Module)), None)
    if module is None:
        return ""
    found = hashlib.sha256()
    for name, values in sorted(module.state_dict().items()):
        if isinstance(values, torch.Tensor):
            plain = (values.dequantize() if values.is_quantized else values).detach().cpu().contiguous()
            found.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
            found.update(plain.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def file_of(found: Record, *folders: Path) -> Path | None:
    """The file with the very weights that a record was made with, in `folders`, else in those of results and of weights; None where
    there is none. UserError for a damaged one."""
    for folder in folders or (results_folder(), weights_folder()):
        path = folder / f"{found['id']}.safetensors" if folder else None
        if found["weights"] and path and path.is_file() and _header(path).get("weights") == found["weights"]:
            return path
    return None


def provide(artifact: Path, found: Record | None) -> bool:
    """Make the cached `artifact` of a record from its file, if there is one and the cache has none or another; whether the cache
    has one now. UserError for a file that is not what it says."""
    path = file_of(found) if found else None
    if found and path and _cached(artifact) != found["weights"]:
        save(_read(path, found["weights"]), artifact)
    return artifact.exists()


def _cached(artifact: Path) -> str:
    """The digest of a cached artifact; empty where there is none that can be read."""
    try:
        return digest_of(load(artifact)) if artifact.exists() else ""
    except UserError:
        return ""


def keep(found: Record, artifact: Any) -> None:
    """Write the network of a record into a file: beside the record up to `LIMIT`, else into ``SUITE_WEIGHTS``.

    Nothing is written that is there already, that differs from what the record was made with, or that `suite.nn` could not make.
    """
    if not found["weights"] or file_of(found) or digest_of(artifact) != found["weights"]:
        return
    content = packed(artifact, found["weights"])
    folder = results_folder() if content and len(content) <= LIMIT else weights_folder()
    if content and folder:
        _write(folder / f"{found['id']}.safetensors", content)


def renew(found: Record, artifact: Any) -> None:
    """A record was made: a file with weights of before goes, and there is one again, or of seed 0 if it starts from a reference."""
    path = results_folder() / f"{found['id']}.safetensors"
    again = path.is_file()
    path.unlink(missing_ok=True)
    if again or (found["seed"] == 0 and found["method"]["starts"] == "reference"):
        keep(found, artifact)


def _write(path: Path, content: bytes) -> None:
    """Write by rename: others see the old file, the new one, or none."""
    try:
        write_bytes(path, content)
    except OSError as error:
        raise UserError(f"The weights '{path}' could not be written ({error.strerror}); free space, then repeat the "
                        "command.") from error


def _header(path: Path) -> dict[str, Any]:
    """Digest of the weights, type, recipe and memory format; in one entry, as several have no fixed order in a file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            return json.loads((file.metadata() or {})["network"])
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise _Damaged(path, str(error)) from error


class _Damaged(UserError):
    """A file beside a record that is not what it says, and what is wrong with it."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"'{path}' does not hold the weights of its record ({reason}); restore the file, or remove it and the "
                         "network is trained again.")
        self.reason = reason


def _read(path: Path, wanted: str) -> Network | Detector:
    """The artifact in a file. UserError where its weights are not the `wanted` ones."""
    from safetensors.torch import load_file

    facts = _header(path)
    try:
        artifact = _remade(facts["artifact"], facts["built"], load_file(path), facts["memory"])
    except (UserError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise _Damaged(path, str(error).split("\n")[0]) from error
    if digest_of(artifact) != wanted:
        raise _Damaged(path, "its digest is another")
    return artifact


def read(path: Path) -> Network | Detector:
    """The network in a file that ``suite export`` wrote, or in one beside a record. UserError for another, and a damaged one."""
    try:
        return _read(path, _header(path)["weights"])
    except _Damaged as error:
        raise UserError(f"'{path}' holds no network that can be made from it ({error.reason}); write it again with: "
                        f"suite export RECORD --to {path}") from error


def _remade(artifact: str, built: Recipe, state: dict[str, Tensor], memory: str) -> Network | Detector:
    """The artifact with these weights, in evaluation mode as after training. It draws no random numbers."""
    import torch

    from suite.artifacts import Detector, Network
    from suite.nn.detection import Body

    with torch.random.fork_rng(devices=[]):
        module = _rebuilt(built)
    _narrow(module, state, built)
    module.load_state_dict(state)
    module.to(memory_format=getattr(torch, memory)).eval()  # type: ignore[call-overload]
    if artifact == "Detector":
        return Detector(module, Body(module).eval())
    return {"Network": Network}[artifact](module)


def _rebuilt(recipe: Recipe) -> nn.Module:
    """A randomly initialised network by a recipe; KeyError for an unknown function."""
    from suite.nn import build
    from suite.nn.detection import rcnn, retinanet

    known: dict[str, Callable[..., nn.Module]] = {"build": build, "rcnn": rcnn, "retinanet": retinanet}
    builder = known[recipe["builder"]]
    return builder(**{name: _rebuilt(item) if isinstance(item, dict) else item for name, item in recipe["arguments"].items()})


def _narrow(module: nn.Module, state: dict[str, Tensor], built: Recipe) -> None:
    """Cut the channels of `module`, whichever, so that its layers have the sizes of the weights in `state`."""
    import torch

    from suite.nn.streams import streams
    from suite.nn.surgery import keep as cut

    if all(values.shape == state[name].shape for name, values in module.state_dict().items()):
        return
    size = built["arguments"]["size"]
    left = {stream: len(state[f"{stream.writers[0]}.weight"]) for stream in streams(module, torch.zeros(1, 3, size, size))}
    cut(module, {stream: tuple(range(count)) for stream, count in left.items() if count < stream.channels})


def packed(artifact: Any, weights: str, facts: Mapping[str, str] = MappingProxyType({}), *, exact: bool = True) -> bytes | None:
    """The content of a file with these `weights` (a digest), and what else its header says; None where what comes out of it would
    be another network, or its numbers are no float32. Unless `exact`, outputs may differ by the rounding of other memory formats,
    and the caller compares them."""
    import torch
    from safetensors.torch import save as serialised

    module = getattr(artifact, "module", None)
    built = getattr(module, "built", None)
    if module is None or not built:
        return None
    module.eval()
    state = {name: values.detach().cpu().contiguous().clone() for name, values in module.state_dict().items()}
    if any(values.dtype not in (torch.float32, torch.int64) for values in state.values()):
        return None
    filters = [values for values in module.state_dict().values() if values.ndim == 4]
    memory = next((name for name in ("contiguous_format", "channels_last")
                   if all(item.is_contiguous(memory_format=getattr(torch, name)) for item in filters)),
                  "" if exact else "contiguous_format")
    network = {"artifact": type(artifact).__name__, "built": built, "memory": memory}
    try:
        remade = _remade(**network, state=state)
        with torch.inference_mode():
            outputs = [_outputs(item, built["arguments"]["size"]) for item in (remade, artifact)]
    except (AttributeError, KeyError, RuntimeError, ValueError):  # strides of its own, another artifact, layers that are gone
        return None
    if repr(remade.module) != repr(module) or (exact and not all(map(torch.equal, *outputs))):
        return None
    return serialised(state, {**facts, "network": json.dumps({"weights": weights, **network})})


def _outputs(artifact: Any, size: int) -> list[Tensor]:
    """What an artifact makes of one image, of a detector the raw outputs too."""
    import torch
    from torch.utils._pytree import tree_leaves

    image, body = torch.linspace(0, 1, 3 * size**2).view(3, size, size), getattr(artifact, "body", None)
    if body is None:
        return [artifact.module(image[None])]
    return [body(body.prepare([image])), *tree_leaves(artifact.module([image]))]

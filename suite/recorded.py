"""The network of a record: taken from the cache, made from the file beside its record, or read from a file that was exported."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite import references
from suite.context import load
from suite.errors import UserError
from suite.paths import run_folder
from suite.record import Record, find

if TYPE_CHECKING:
    from torch import nn

    from suite.spec import Spec


def spec_with_artifact(found: Record, data: Path | None) -> Spec:
    """The run that made a record, whose artifact is in the cache, or comes from the file beside the record. UserError without."""
    from suite import plan

    spec = plan.spec_of(found, data)
    _provide(spec.artifact, found)
    return spec


def artifact_of(found: Record) -> Any:
    """The artifact of a record, whether or not its data is here. UserError where it is neither in the cache nor in a file."""
    from suite import plugins

    plugins.extend_paths()
    path = run_folder(found["id"]) / "artifact.pt"
    _provide(path, found)
    return load(path)


def _provide(path: Path, found: Record) -> None:
    if not references.provide(path, found):
        raise UserError(f"The network of '{found['id']}' is not in the cache; train it again with: {found['command']} --again")


def find_network(source: str | Path | Mapping[str, Any]) -> nn.Module:
    """The network of a record, of an id, or in a .safetensors file, in evaluation mode. UserError without one."""
    if not isinstance(source, str | Path):
        return _module_of(dict(source))
    path = Path(source)
    if path.suffix == ".safetensors":
        if not path.is_file():
            raise UserError(f"There is no file '{path}'; write one with: suite export RECORD --to {path}")
        return references.read(path).module.eval()
    if path.suffix in _LOADERS:
        raise UserError(f"'{path}' is no module of torch; load it with {_LOADERS[path.suffix]}.")
    return _module_of(find(str(source)))


_LOADERS = {".onnx": "onnxruntime.InferenceSession", ".pt2": "torch.export.load", ".plan": "suite.kernel.load"}


def _module_of(found: Record) -> nn.Module:
    from torch import nn

    if found["status"] != "done":
        raise UserError(f"'{found['id']}' is {found['status']} and has no network: {found['reason']}.")
    module = getattr(artifact_of(found), "module", None)
    if not isinstance(module, nn.Module):
        raise UserError(f"'{found['id']}' has no network: its method '{found['method']['name']}' trains none.")
    return module.eval()

"""What a file says about the network in it: texts by name, in ONNX's metadata_props and in the headers of the other formats."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from suite import __version__
from suite.contract import offers

if TYPE_CHECKING:
    from suite.record import Record
    from suite.spec import Spec

#: Texts by name; what is a list or a mapping is JSON. Of a record: ``suite, record, title, method, task, commit, weights, command,
#: data, quality, preprocessing, labels``; of a network by name ``suite, network, preprocessing``. Of both, when they are written:
#: ``inputs, outputs``.
Facts = dict[str, str]

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # channel means and deviations of ImageNet's images of 0..1
_PIXEL = 0.02  # of 255, by which a pixel that went through float32 may be off a whole number


def of_run(found: Record, spec: Spec, artifact: Any, call: tuple[Any, ...]) -> Facts:
    """The facts of a recorded network whose input is like `call`."""
    task, method = found["task"], found["method"]
    units = {item["name"]: item["unit"] for item in task["metrics"]}
    quality = {name: {"value": score, "unit": units[name]} for name, score in found["scores"].items() if name in units}
    source = {"name": task["source"]["name"], "kind": task["source"]["kind"], "digest": task["source"]["digest"]}
    labels, first = _labels(spec, artifact)
    return {
        "suite": __version__, "record": found["id"], "title": type(spec.task).title, "method": method["name"], "task": task["name"],
        "scale": found["scale"], "seed": str(found["seed"]), "options": json.dumps(method["options"], sort_keys=True),
        "commit": found["code"]["commit"] or "", "weights": found["weights"], "command": found["command"],
        "data": json.dumps(source), "quality": json.dumps(quality),
        "preprocessing": json.dumps(_preprocessing(spec, artifact, call)),
        "labels": json.dumps(labels), "first_label": str(first),
    }


def of_network(arch: str, classes: int, size: int) -> Facts:
    """The facts of a network with random weights."""
    told = _told([size, size], 3) | {"text": "float32 images; the weights are random, so no means and deviations belong to them"}
    return {"suite": __version__, "network": arch, "classes": str(classes), "weights": "random", "preprocessing": json.dumps(told)}


def _labels(spec: Spec, artifact: Any) -> tuple[list[str], int]:
    """The names of the classes in the order of the network's outputs, where that is the data set's, and the number of the first."""
    kind = type(artifact).__name__
    if kind == "ChangeSegmenter":
        return ["same", "changed"], 0
    if kind == "EpisodeSegmenter":
        return ["all else", "the class"], 0
    if kind == "Detector":
        return spec.task.dataset().class_names(spec.source.folder), 1  # 0 is the background
    if offers(spec.task) in ("Classification", "SemiSupervised"):
        return spec.task.dataset().class_names(spec.source.folder), 0
    return [], 0


def _preprocessing(spec: Spec, artifact: Any, call: tuple[Any, ...]) -> dict[str, Any]:
    """How a picture becomes the first input of `call`; only a sentence where that is no picture."""
    image = call[0]
    transform = getattr(getattr(artifact, "body", None), "transform", None)
    if not isinstance(image, Tensor) or image.dim() != 4 or image.shape[1] not in (3, 6):
        return {"text": f"as the task '{spec.task_name}' makes it; see its file in suite/tasks"}
    told = _told(list(image.shape[2:]), image.shape[1])
    if transform is not None and hasattr(transform, "image_mean"):
        mean, deviation = tuple(transform.image_mean), tuple(transform.image_std)
        return told | _normalised(mean, deviation) | {
            "resize": f"the longer side to {transform.max_size} pixels, bilinear; then zeros to the right and below"}
    for mean, deviation in _candidates(spec.task, image.shape[1]):
        if _whole(image, mean, deviation):
            return told | _normalised(mean, deviation)
    return told | {"text": f"float32 values as the task '{spec.task_name}' makes them; see its file in suite/tasks"}


def _told(size: Sequence[int], channels: int) -> dict[str, Any]:
    colour = "RGB" if channels == 3 else "RGB of the earlier picture, RGB of the later one"
    return {"layout": "NCHW", "size": list(size), "colour": colour}


def _normalised(mean: Sequence[float], deviation: Sequence[float]) -> dict[str, Any]:
    return {"range": [0, 1], "mean": list(mean), "std": list(deviation),
            "text": "float32 pixels of 0 to 1 (bytes over 255), less mean, over std, for each channel"}


def _candidates(task: Any, channels: int) -> list[tuple[tuple[float, ...], tuple[float, ...]]]:
    """Means and deviations that a task may normalise by: what it declares, what its file normalises with, ImageNet's."""
    import sys

    shared: Any = getattr(sys.modules[type(task).__module__], "NORMALISE", None)
    found = [(item.mean, item.deviation) for item in (task, shared) if hasattr(item, "mean") and hasattr(item, "deviation")]
    return [(mean * (channels // 3), deviation * (channels // 3)) for mean, deviation in [*found, _IMAGENET]]


def _whole(image: Tensor, mean: Sequence[float], deviation: Sequence[float]) -> bool:
    """Whether `image` is bytes normalised by these: that its pixels come out whole says so."""
    shift, scale = (torch.tensor(item, dtype=torch.float64).view(1, -1, 1, 1) for item in (mean, deviation))
    pixels = (image.double() * scale + shift) * 255
    return bool(((pixels - pixels.round()).abs() < _PIXEL).all() and (pixels > -0.5).all() and (pixels < 255.5).all())


def described(name: str, shape: Sequence[Any], kind: str) -> Mapping[str, Any]:
    """An input or an output in the facts: its name, its shape ("batch" where any number fits) and its type."""
    return {"name": name, "shape": list(shape), "type": kind}

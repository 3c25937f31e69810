"""``suite export``: a network in a file, for other programs."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

import click


@click.command()
@click.argument("what", metavar="RECORD|NETWORK")
@click.option("--to", "path", required=True, type=click.Path(path_type=Path), metavar="FILE",
              help="Where to; its suffix says how: .onnx, .safetensors, .pt2 (torch.export) or .plan (the kernel's packed plan).")
@click.option("--size", type=int, help="For a NETWORK: pixels (default 32 for CIFAR networks, else its own or 224).")
@click.option("--classes", default=10, show_default=True, help="For a NETWORK: outputs.")
@click.option("--data", type=click.Path(path_type=Path), help="For a RECORD: the data it was made on.")
def command(what: str, path: Path, size: int | None, classes: int, data: Path | None) -> None:
    """Write the network of a RECORD as it was deployed, or a NETWORK by name with random weights, into FILE.

    The file says where the network comes from, what goes in and comes out, how to prepare a picture, and how good it was. It is run
    and compared with torch first, on test inputs of the task, and not written where it differs.

    \b
    suite export cifar10/one_by_n/0d1a --to network.onnx
    suite export mobilenet_v2 --to network.pt2 --size 224 --classes 1000
    suite export my.py:net --to network.plan
    """
    from suite import networks, record
    from suite.errors import UserError, nearest
    from suite.export import export, of_arch, of_record
    from suite.export.files import format_of
    from suite.nn import ARCHS

    format_of(path)
    if what in ARCHS or networks.is_named(what):
        return _show(export(of_arch(what, size, classes), path), path)
    try:
        found = record.find(what)
    except UserError as error:
        if "/" in what or not nearest(what, ARCHS):
            raise
        raise UserError(f"There is no record and no network '{what}'{nearest(what, ARCHS)}") from error
    _show(export(of_record(found, data), path), path)


def _show(written: Any, path: Path) -> None:
    """What is in the file, so that it can be used without this suite."""
    from suite.export import BOUND

    facts = written.facts
    click.echo(f"{path}: {facts.get('record') or facts['network']}, {path.stat().st_size / 1e6:.2f} MB")
    for end in ("inputs", "outputs"):
        for item in json.loads(facts[end]):
            _line(end[:-1], f"{item['name']}: {item['type']} {' x '.join(map(str, item['shape']))}")
    for name, text in _lines(facts).items():
        _line(name, text)
    _line("checked", f"within {written.error:.1g} of torch (at most {BOUND:g}), on {written.inputs} inputs")
    _line("load it with", _LOADING[path.suffix].format(path=path))


def _line(name: str, text: str) -> None:
    """A fact and its name, on several lines where it is long; what is to be typed stays whole."""
    click.echo(textwrap.fill(text, 80, initial_indent=f"  {name:<13} ", subsequent_indent=" " * 16, break_long_words=False))


def _lines(facts: dict[str, str]) -> dict[str, str]:
    """Preparation, labels and quality, in words."""
    prepared, labels = json.loads(facts["preprocessing"]), json.loads(facts.get("labels", "[]"))
    lines = {"prepare": f"{prepared.get('colour', '')} {prepared['text']}".strip()}
    if "resize" in prepared:
        lines["resize"] = prepared["resize"]
    for name in ("mean", "std"):
        if name in prepared:
            lines[name] = ", ".join(f"{number:g}" for number in prepared[name])
    if labels:
        lines["labels"] = f"{len(labels)}: {', '.join(labels[:4])}{', ...' if len(labels) > 4 else ''}"
    if "quality" in facts:
        data = json.loads(facts["data"])
        scores = ", ".join(f"{name} {item['value']:.2f} {item['unit']}" for name, item in json.loads(facts["quality"]).items())
        lines["quality"] = f"{scores} ({data['name']}, {data['kind']} data, scale {facts['scale']}, seed {facts['seed']})"
    else:
        lines["weights"] = "random"
    return lines


_LOADING = {
    ".onnx": 'onnxruntime.InferenceSession("{path}")',
    ".safetensors": 'import suite; network = suite.load("{path}")',
    ".pt2": 'torch.export.load("{path}").module()',
    ".plan": 'from suite.kernel import load; plan = load("{path}")',
}

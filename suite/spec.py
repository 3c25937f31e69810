"""One run to make: everything that decides its numbers, its fingerprint, and the command that repeats it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from suite import networks
from suite.context import Budget, Run
from suite.contract import Method, Role, Task, options_of
from suite.data.dataset import digest_of
from suite.data.source import Source
from suite.options import build
from suite.paths import run_folder


@dataclass(frozen=True)
class Spec:
    """One run to make: everything that decides its numbers."""

    task_name: str
    task: Task
    method_name: str
    method: Method
    digest: str  # of the method's file
    source: Source
    scale: str
    seed: int
    device: str = "cpu"
    threads: int = 1  # of torch in training
    references: Mapping[str, Spec] = field(default_factory=dict)  # what fit may ask for, by the method's names
    judges: Mapping[str, Spec] = field(default_factory=dict)  # what the task may ask for, by its names
    needed_as: Mapping[str, Role] = field(default_factory=dict)  # the roles of both
    trained_on: Spec | None = None  # the rival that every method starting from a reference stands beside

    @property
    def fingerprint(self) -> str:
        """Twelve hex digits over task, method, options, data, scale and threads; not over the seed. Of a file its contents count.

        One thread, the default, is left out: records from before threads were counted have that many.
        """
        parts = [self.task_name, self.task.version, counted(self.task), self.method_name, counted(self.method),
                 *(part.digest for part in self.source.parts), self.scale, *([self.threads] if self.threads > 1 else [])]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def id(self) -> str:
        """``task/method/fingerprint-s<seed>``: the record's path without its suffix."""
        return f"{self.task_name}/{self.method_name}/{self.fingerprint}-s{self.seed}"

    @property
    def artifact(self) -> Path:
        """Where the run's artifact is cached."""
        return run_folder(self.id) / "artifact.pt"

    @property
    def needs(self) -> dict[str, Spec]:
        """The runs that this one rests on, by name."""
        return {**self.references, **self.judges}

    @property
    def parents(self) -> dict[str, Path]:
        """The artifacts that fit may ask for."""
        return {name: spec.artifact for name, spec in self.references.items()}

    @property
    def allowed(self) -> int:
        """The budget in samples."""
        scale = self.task.scales[self.scale]
        return scale.extra if self.method.starts == "reference" else scale.scratch

    @property
    def options(self) -> str:
        """The method's options and the seed in one line."""
        return " ".join(f"{key}={item}" for key, item in options_of(self.method).items()) + f" seed={self.seed}"

    @property
    def command(self) -> str:
        """The line that repeats this run, given the same data: the options that differ from what the scale would set."""
        words = ["suite", "run", self.task_name, self.method_name]
        usual = build(type(self.task), self.task_name, {}, self.scale)
        words += [f"task.{key}={_text(item)}" for key, item in options_of(self.task, whole=True).items()
                  if item != getattr(usual, key)]
        usual = build(type(self.method), self.method_name, {}, self.scale, self.task)
        words += [f"{key}={_text(item)}" for key, item in options_of(self.method, whole=True).items()
                  if item != getattr(usual, key)]
        words += ["--scale", self.scale, "--seed", str(self.seed)]
        words += ["--device", self.device] if self.device != "cpu" else []
        words += ["--threads", str(self.threads)] if self.threads > 1 else []
        return shlex.join([*words, "--data", "embedded" if self.source.kind == "embedded" else self.source.name])


def context(spec: Spec, budget: int = 0, **more: Any) -> Run:
    """The run of a spec: what its task and its method may ask for."""
    judges = {name: parent.artifact for name, parent in spec.judges.items()}
    return Run(spec.seed, spec.scale, Budget(budget), spec.artifact.parent, spec.source.folder, spec.parents, judges,
               training_data=spec.source.parts[-1].folder, device=spec.device, **more)


def counted(plugin: Task | Method) -> dict[str, Any]:
    """A plug-in's options, with the digest of each file that one of them names in the place of its name."""
    return {**options_of(plugin), **files_of(plugin)}


def files_of(plugin: Task | Method) -> dict[str, str]:
    """The digest of each file that an option names, by the option's name; of a network in a file with the function behind it."""
    found, digests = options_of(plugin), dict[str, str]()
    for name in (item.name for item in dataclasses.fields(plugin) if not item.metadata.get("choices")):  # type: ignore[arg-type]
        value = found.get(name)
        if isinstance(value, str) and os.path.isfile(value):
            digests[name] = _digest(Path(value))
        elif source := networks.source_of(value):
            digests[name] = f"{_digest(source.path)}:{source.function}"
    return digests


def own_network(spec: Spec) -> dict[str, str]:
    """What a record says of a user's network: the digest of the file, and the function in it, that each option names."""
    named = {name for name, item in options_of(spec.method).items() if networks.source_of(item)}
    return {f"{name}_sha256": digest for name, digest in files_of(spec.method).items() if name in named}


def _digest(path: Path) -> str:
    return _contents(path, path.stat().st_mtime_ns, path.stat().st_size)


@cache
def _contents(path: Path, changed: int, size: int) -> str:
    """The digest of a file, read once for each state it is seen in."""
    return digest_of({"": path})


def _text(item: Any) -> str:
    return ":".join(map(str, item)) if isinstance(item, tuple) else str(item).lower() if isinstance(item, bool) else str(item)

"""What a number was measured on and with: the processor, the package versions, the commit. Never a host or user name."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import math
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

#: The instruction sets that decide which code path a kernel takes, as /proc/cpuinfo writes them.
FEATURES = frozenset({
    "avx", "avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx512_bf16", "avx512_fp16",
    "amx_tile", "amx_int8", "amx_bf16", "asimd", "asimdhp", "asimddp", "sve", "sve2", "bf16", "i8mm",
})
PACKAGES = ("torch", "torchvision", "numpy", "mlflow", "suite")


def machine() -> dict[str, Any]:
    """The processor as this process sees it: ``cpu, cores`` (physical), ``features, id`` (hash of these three), ``system``."""
    info = _cpuinfo()
    cpu = info.get("model name") or platform.processor() or platform.machine()
    features = sorted(FEATURES.intersection((info.get("flags") or info.get("Features") or "").split()))
    facts = {"cpu": " ".join(cpu.split()), "cores": physical_cores(), "features": features}
    digest = hashlib.sha256(repr(sorted(facts.items())).encode()).hexdigest()[:12]
    return facts | {"id": digest, "system": f"{platform.system()} {platform.machine()}"}


def physical_cores() -> int:
    """Physical cores this process may use: its affinity without second hardware threads, within its container's quota."""
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    cores = {_core(cpu) for cpu in os.sched_getaffinity(0)}
    return int(max(1, min(len(cores), _quota(Path("/sys/fs/cgroup/cpu.max")))))


def packages() -> dict[str, str]:
    """Installed versions by distribution name, read from their metadata; absent ones are left out."""
    found = {}
    for name in (*PACKAGES, *(["timm"] if "timm" in sys.modules else [])):  # whose networks a run may have used
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def commit(package: Path = Path(__file__).parents[1]) -> dict[str, Any]:
    """``{"commit", "dirty"}`` of the checkout that the imported `package` lies in, else what its build wrote into it."""
    found = checkout(package)
    built = package / "commit.json"  # see CMakeLists.txt
    return json.loads(built.read_text(encoding="utf-8")) if not found["commit"] and built.exists() else found


def checkout(folder: Path) -> dict[str, Any]:
    """``{"commit", "dirty"}`` of the git checkout that tracks `folder`; ``""`` and False where none does.

    Untracked files do not count as dirty, nor do changed records and rendered reports: runs write these themselves.
    """
    head = _git(folder, "rev-parse", "--short=12", "HEAD")
    if not head or not _git(folder, "ls-files", "--", "."):  # an environment inside a checkout is not of that checkout
        return {"commit": "", "dirty": False}
    code = (":/", ":(top,exclude)results", ":(top,exclude)reports")
    return {"commit": head, "dirty": bool(_git(folder, "status", "--porcelain", "--untracked-files=no", "--", *code))}


def _git(folder: Path, *arguments: str) -> str:
    """The output of a git command in `folder`, ``""`` where it fails or git is missing."""
    command = ["git", "--no-optional-locks", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _cpuinfo() -> dict[str, str]:
    """The first processor's fields in /proc/cpuinfo; empty where there is no such file."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    pairs = (line.split(":", 1) for line in text.split("\n\n", 1)[0].splitlines() if ":" in line)
    return {name.strip(): value.strip() for name, value in pairs}


def _core(cpu: int) -> tuple[str, str]:
    """What two hardware threads of one physical core share; the logical number itself where the system does not say."""
    topology = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology")
    try:
        package = (topology / "physical_package_id").read_text(encoding="ascii").strip()
        return package, (topology / "core_id").read_text(encoding="ascii").strip()
    except OSError:
        return "", str(cpu)


def _quota(path: Path) -> float:
    """Processors' worth of time that a cgroup (version 2) grants, rounded up; infinite without a limit."""
    try:
        allowed, period = path.read_text(encoding="ascii").split()
        return math.ceil(int(allowed) / int(period))
    except (OSError, ValueError):  # no cgroup, or "max"
        return math.inf

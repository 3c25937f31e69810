"""``suite diff``: why two numbers differ."""

from __future__ import annotations

from typing import Any

import click

#: What is compared, in the order in which it explains a difference.
PARTS = {
    "options": "method.options", "method": "method.name", "code of the method": "method.digest", "task": "task.name",
    "task version": "task.version", "task options": "task.options", "data": "task.source", "scale": "scale", "seed": "seed",
    "budget": "budget", "spent": "ledger",
    "precision": "training.precision", "device": "training.device", "threads": "training.threads",
    "training machine": "machine", "started from": "parents", "roles": "roles", "parents' outcomes": "parent_digests",
    "core": "code.core", "commit": "code.commit", "uncommitted changes": "code.dirty", "packages": "code.packages",
    "timing machine": "timed_on", "kernel": "profile.kernel.version", "SIMD path": "profile.kernel.simd",
}


@click.command()
@click.argument("one", metavar="A")
@click.argument("other", metavar="B")
def command(one: str, other: str) -> None:
    """Compare records A and B: their scores and latencies, then everything that may explain the difference."""
    from suite import record

    first, second = record.find(one), record.find(other)
    click.echo(f"A  {first['id']}\nB  {second['id']}")
    for name, a in first["scores"].items():
        b = second["scores"].get(name)
        if a is not None and b is not None:
            click.echo(f"{name}: A {a:.2f}, B {b:.2f}, B - A {b - a:+.2f}")
    for way in ("torch", "dense", "sparse"):
        a, b = (record.value(item, f"profile.latency.one.{way}.median_ms") for item in (first, second))
        if a and b:
            click.echo(f"latency {way}, one thread: A {a:.3f} ms, B {b:.3f} ms, B / A {b / a:.2f}")
    lines = explained(first, second)
    click.echo("What differs:" if lines else "Nothing differs in options, data, code or machine: this is the run-to-run spread.")
    for line in lines:
        click.echo(f"  {line}")


def explained(first: dict[str, Any], second: dict[str, Any]) -> list[str]:
    """A line for everything that may explain why two records differ."""
    from suite import record

    return [line for title, path in PARTS.items()
            for line in _differences(title, record.value(first, path), record.value(second, path))]


def _differences(title: str, a: Any, b: Any) -> list[str]:
    if a == b:
        return []
    if isinstance(a, dict) and isinstance(b, dict):
        return [line for key in sorted({*a, *b}) for line in _differences(f"{title}: {key}", a.get(key), b.get(key))]
    return [f"{title}: A {'-' if a is None else a}, B {'-' if b is None else b}"]

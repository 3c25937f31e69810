"""``suite show``: everything about one number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from suite.record import timing_name

WAYS = ("torch", "dense", "sparse")
COST = ("params", "params_nonzero", "macs", "macs_effective", "bytes_dense", "bytes_packed")


@click.command()
@click.argument("name", metavar="RECORD")
@click.option("--command", "only_command", is_flag=True, help="Only the line that repeats the run.")
@click.option("--pictures", is_flag=True, help="Only the files of its pictures, drawn anew where they are gone.")
@click.option("--data", type=click.Path(path_type=Path), help="For --pictures: the data the record was made on.")
def command(name: str, only_command: bool, pictures: bool, data: Path | None) -> None:
    """Show RECORD, an id, a path, or the beginning of one: what was measured, on what, and how to repeat it."""
    from suite import record

    found = record.find(name)
    if only_command:
        click.echo(found["command"])
    elif pictures:
        files = _pictures(found, data)
        click.echo("\n".join(map(str, files)) or f"The task '{found['task']['name']}' has no pictures to show.")
    else:
        for heading, lines in _sections(found).items():
            click.echo(heading)
            for key, item in lines.items():
                click.echo(f"  {key:<24} {item}")


def _pictures(found: dict[str, Any], data: Path | None) -> list[Path]:
    """The picture files in the cache. Where there are none, the task draws the cached artifact."""
    from suite.errors import UserError
    from suite.paths import run_folder

    folder = run_folder(found["id"]) / "figures"
    if not any(folder.glob("*.png")):
        from suite import judging, plan, references

        spec = plan.spec_of(found, data)
        if not references.provide(spec.artifact, found):
            raise UserError(f"The artifact of '{spec.id}' is not in the cache; make it again with: {found['command']} --again")
        judging.draw_again(spec)
    return sorted(folder.glob("*.png"))


def _sections(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    task, method, profile = found["task"], found["method"], found["profile"] or {}
    sections = {
        f"{found['id']}: {found['status']} {found['reason']}": {"command": found["command"]},
        "scores": found["scores"],
        "scores by step": {step: ", ".join(f"{key} {'-' if item is None else f'{item:.4g}'}" for key, item in scores.items())
                           for step, scores in enumerate(found["steps"], 1)},
        "notes": found["notes"],
        "ledger": found["ledger"],
        f"method {method['name']}: {method['summary']}": {**method["options"], "paper": method["paper"]["url"]},
        "stand-ins": dict(enumerate(method["standins"], 1)),
        f"task {task['name']}, version {task['version']}": {**task["options"], **{
            key: task["source"][key] for key in ("kind", "digest", "counts")}},
        "budget, samples": {"scale": found["scale"], "seed": found["seed"], **found["budget"]},
        "training": found["training"],
        "cost": {**{key: profile[key] for key in COST if key in profile},
                 **{f"operations: {key}": item for key, item in profile.get("ops", {}).items()},
                 **({"not whole, uncounted": ", ".join(profile["uncounted"])} if profile.get("uncounted") else {})},
        "not timed": {"reason": found["untimed"]} if found["untimed"] else {},
        "timed by the task, ms": {timing_name(item["what"], item["items"]): f"{item['ms']:.3f}{' noisy' if item['noisy'] else ''}"
                                  for item in found["timings"]},
    }
    for threads in (profile.get("latency") or {}).values():
        sections[f"median latency with {threads['threads']} thread(s), ms [95 % interval]"] = {
            way: f"{item['median_ms']:.3f} [{item['low_ms']:.3f}, {item['high_ms']:.3f}]{' noisy' if item['noisy'] else ''}"
            for way, item in threads.items() if way in WAYS}
    sections["kernel"] = profile.get("kernel") or {}
    sections["timed on"] = found["timed_on"]
    sections["trained on"] = found["machine"]
    sections["code"] = {"commit": found["code"]["commit"], "changed since": found["code"]["dirty"],
                        "core": found["code"]["core"] or "unknown", **found["code"]["packages"]}
    parents = {f"{name}, {found['roles'][name]}" if name != found["roles"][name] else name: item
               for name, item in found["parents"].items()}
    sections["made from"] = {**parents, **({"beside": found["trained_on"]} if found["trained_on"] else {})}
    sections["seconds"] = found["time"]["seconds"]
    return {heading: lines for heading, lines in sections.items() if lines}

"""Ten thousand plausible records: what a laboratory has after a year, for the tests of how reports grow."""

from __future__ import annotations

import base64
import json
from itertools import product
from pathlib import Path
from random import Random
from typing import Any

from records import family

TASKS = ("cifar10", "cifar100", "imagenet", "tiny_set_compression", "self_supervised", "semi_supervised", "noisy_labels", "fscil",
         "astar_har", "coco_detection", "coco_segmentation", "change_detection", "faceforensics", "super_resolution",
         "image_restoration", "image_compression")
METHODS = ("one_by_n", "magnitude", "l1_filter", "random_filter", "white_box", "scop", "opq", "lottery_jackpots", "svd")


def records(count: int = 10_000) -> list[dict[str, Any]]:
    """`count` finished records of about 9 kB: methods at two sparsities with their references, by task, data, scale, network, seed."""
    random = Random(0)
    made: list[dict[str, Any]] = []
    for scale, task, source, arch in product(("short", "long"), TASKS, ("subset", "embedded"), ("resnet20", "resnet56")):
        for seed in range(8):
            drop = {name: random.gauss(1.0 + place / 2, 0.4) for place, name in enumerate(METHODS)}
            made += family(seed, drop, arch, scale=scale, source=source, task__name=task)
        if len(made) >= count:
            break
    assert len(made) >= count
    for item in made[:count]:
        item["curves"] = {name: [[step, round(random.random(), 4)] for step in range(0, 1200, 20)] for name in ("loss", "val_top1")}
        item["outcomes"] = {"score": "top1", "bits": base64.b64encode(random.randbytes(1250)).decode(), "count": 10_000}
        item["method"]["standins"] = [f"Where the paper of {item['method']['name']} is silent, this is what was done instead."] * 2
    return made[:count]


def store(folder: Path, made: list[dict[str, Any]]) -> None:
    """Write records as the suite does, without waiting for the disk."""
    for item in made:
        path = folder / f"{item['id']}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(item, indent=1, sort_keys=True), encoding="utf-8")

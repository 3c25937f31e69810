"""Parts of embedded data, small enough to break."""

from __future__ import annotations

import json
import shutil
from pathlib import Path


def some_of_coco(folder: Path, to: Path, kind: str, count: int) -> Path:
    """A copy of the first `count` pictures of each split with their annotations of a `kind`: instances or captions."""
    (to / "annotations").mkdir(parents=True)
    for name in ("train2017", "val2017"):
        content = json.loads((folder / "annotations" / f"{kind}_{name}.json").read_text())
        content["images"] = content["images"][:count]
        known = {item["id"] for item in content["images"]}
        content["annotations"] = [item for item in content["annotations"] if item["image_id"] in known]
        (to / "annotations" / f"{kind}_{name}.json").write_text(json.dumps(content))
        (to / name).mkdir()
        for item in content["images"]:
            shutil.copy(folder / name / item["file_name"], to / name)
    return to

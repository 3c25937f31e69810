"""One outcome per test image: whether it was answered rightly, as a task leaves it and as a record keeps it."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    Array = np.ndarray[Any, np.dtype[Any]]


def packed(spare: Mapping[str, Any]) -> dict[str, Any]:
    """What a record keeps of ``spare["outcomes"]``, one score's name with a bool tensor (N,) in the order of the test images.

    ``{"score", "bits", "count"}``: bits in base64, eight images a byte. {} where the task leaves none.
    """
    import numpy as np

    found: Mapping[str, Tensor] = spare.get("outcomes", {})
    for score, right in found.items():
        bits = np.packbits(right.cpu().numpy().astype(bool))
        return {"score": score, "bits": base64.b64encode(bits.tobytes()).decode(), "count": len(right)}
    return {}


def unpacked(outcomes: Mapping[str, Any], score: str) -> Array | None:
    """The outcomes bool (N,) of a record for `score`; None where it keeps none."""
    import numpy as np

    if outcomes.get("score") != score:
        return None
    bits = np.frombuffer(base64.b64decode(outcomes["bits"]), dtype=np.uint8)
    return np.unpackbits(bits, count=outcomes["count"]).astype(bool)

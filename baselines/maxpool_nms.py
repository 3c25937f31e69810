"""MaxpoolNMS: a box stays if its score is the maximum of a pooling window around its anchor; no overlaps are computed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from suite.baselines._pooling import Maps, place, survivors
from torch import Tensor

from suite.artifacts import Candidates, Suppressor
from suite.context import Run
from suite.contract import Method, Paper, Skip, option
from suite.settings import Suppression


@dataclass
class MaxpoolNMSMethod(Method):
    """Cell and channel of a box are those of the anchor that it came from."""

    paper = Paper("MaxpoolNMS: Getting Rid of NMS Bottlenecks in Two-Stage Object Detectors",
                  "Cai, Zhao, Wang, Lin, Foo, Sabry Aly, Chandrasekhar", "CVPR", 2019,
                  "https://openaccess.thecvf.com/content_CVPR_2019/html/Cai_MaxpoolNMS_Getting_Rid_of_NMS_Bottlenecks_in_Two-Stage_Object_Detectors_CVPR_2019_paper.html")
    tags = ("suppression",)
    takes = ("Suppression",)
    gives = "Suppressor"
    standins = (
        "Anchors and beta are given for pictures of 640 pixels and scale with the longer side.",
        "An anchor that the maps do not have gets the nearest channel.",
    )

    sides: tuple[int, ...] = option((64, 128, 256, 512), "anchor sides in pixels", bounds=(1, 4096))
    ratios: tuple[float, ...] = option((0.5, 1.0, 2.0), "anchor heights over widths", bounds=(0.01, 100))
    alpha: float = option(0.75, "window in anchor sizes: larger suppresses more", bounds=(0.01, 10))
    beta: float = option(16.0, "pixels of a score map's cell", bounds=(1, 256))
    steps: tuple[str, ...] = option(("single",), "channels pooled alone or together, in order",
                                    choices=("single", "ratios", "scales", "all"))

    def fit(self, setting: Suppression, run: Run) -> Suppressor:
        return Suppressor(partial(keep, maps=Maps(self.sides, self.ratios, self.alpha, self.beta), steps=self.steps))


def keep(item: Candidates, maps: Maps, steps: tuple[str, ...]) -> Tensor:
    """Rows int64. Skip where the anchors are not known."""
    if item.anchors is None:
        raise Skip("MaxpoolNMS needs the anchors that the boxes came from, and a results file has none")
    return survivors(place(item, maps, channel=item.anchors, cell=item.anchors), maps.kernels(), steps, shift=False)

"""PSRR-MaxpoolNMS: a pyramid of shifted poolings over score maps in which each regressed box has found its own cell and channel."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from suite.baselines._pooling import Maps, place, survivors
from torch import Tensor

from suite.artifacts import Candidates, Suppressor
from suite.context import Run
from suite.contract import Claim, Method, Paper, Side, Skip, option
from suite.settings import Suppression

OURS = Side("psrr_maxpool_nms")


@dataclass
class PSRRMaxpoolNMSMethod(Method):
    """Relationship recovery: cell and channel come from the regressed box itself, so it works for any detector and stage."""

    paper = Paper("PSRR-MaxpoolNMS: Pyramid Shifted MaxpoolNMS with Relationship Recovery", "Zhang, Lin, Hu, Zhao, Sabry Aly",
                  "CVPR", 2021, "https://arxiv.org/abs/2105.12990")
    tags = ("suppression",)
    takes = ("Suppression",)
    gives = "Suppressor"
    claims = (
        Claim("as good as greedy", "AP within 2 points of GreedyNMS.", "box_suppression", "AP", "within",
              (OURS, Side("greedy_nms")), margin=2.0),
        Claim("better than MaxpoolNMS", "At the final stage its AP is higher than MaxpoolNMS's ('by a large margin', of which "
              "no number could be read, so that any counts).", "box_suppression", "AP", "above",
              (OURS, Side("maxpool_nms"))),
        Claim("the shift helps", "Without the shifted pooling AP is lower.", "box_suppression", "AP", "above",
              (OURS, Side("psrr_maxpool_nms", {"shift": False}))),
        Claim("channel recovery helps", "With the anchors' channels AP is lower.", "box_suppression", "AP", "above",
              (OURS, Side("psrr_maxpool_nms", {"recover_channel": False}))),
        Claim("cell recovery helps", "With the anchors' cells AP is lower.", "box_suppression", "AP", "above",
              (OURS, Side("psrr_maxpool_nms", {"recover_cell": False}))),
        *(Claim(f"faster at {count}", f"It is faster than GreedyNMS, compiled by torchvision, at {count} boxes on one thread.",
                "box_suppression", f"timing.latency.{count}", "above", (Side("greedy_nms"), OURS))
          for count in (100, 300, 1000, 3000)),
        Claim("grows more slowly", "From 100 to 3,000 boxes the time of the greedy algorithm, step by step in torch, grows with a "
              "power of their number that is larger by half.", "box_suppression", "note.latency_exponent", "above",
              (Side("greedy_nms", {"way": "sequential"}), OURS), margin=0.5),
    )
    standins = (
        "The channel is the nearest scale by log side and the nearest ratio by log ratio; raw=true is the squared distance of "
        "NMS-Bench, in which the area decides alone.",
        "Anchors, alpha and beta are NMS-Bench's, given for pictures of 640 pixels; they scale with the longer side.",
        "A box survives a step if it is the maximum on the plain and on the shifted grid of what the step before left.",
    )

    sides: tuple[int, ...] = option((64, 128, 256, 512), "anchor sides in pixels", bounds=(1, 4096))
    ratios: tuple[float, ...] = option((0.5, 1.0, 2.0), "anchor heights over widths", bounds=(0.01, 100))
    alpha: float = option(0.75, "window in anchor sizes: larger suppresses more", bounds=(0.01, 10))
    beta: float = option(16.0, "pixels of a score map's cell", bounds=(1, 256))
    steps: tuple[str, ...] = option(("single", "ratios", "scales", "all"), "the pyramid, in order",
                                    choices=("single", "ratios", "scales", "all"))
    shift: bool = option(True, "pool a second time on a grid offset by half a kernel")
    recover_channel: bool = option(True, "channel by the regressed box; else by its anchor")
    recover_cell: bool = option(True, "cell by the regressed box; else by its anchor")
    raw: bool = option(False, "NMS-Bench's rule for the channel")

    def fit(self, setting: Suppression, run: Run) -> Suppressor:
        maps = Maps(self.sides, self.ratios, self.alpha, self.beta)
        return Suppressor(partial(keep, maps=maps, steps=self.steps, shift=self.shift, recover_channel=self.recover_channel,
                                  recover_cell=self.recover_cell, raw=self.raw))


def keep(item: Candidates, maps: Maps, steps: tuple[str, ...], shift: bool, recover_channel: bool, recover_cell: bool,
         raw: bool) -> Tensor:
    """Rows int64. Skip where anchors are asked for and not known."""
    if item.anchors is None and not (recover_channel and recover_cell):
        raise Skip("recovery can be left out only where the anchors are known, and a results file has none")
    channel, cell = (item.boxes if recovered else item.anchors for recovered in (recover_channel, recover_cell))
    return survivors(place(item, maps, channel=channel, cell=cell, raw=raw), maps.kernels(), steps, shift)

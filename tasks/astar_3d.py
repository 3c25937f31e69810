"""A*3D: boxes around road users in lidar scans, by time of day, weather and density (Pham et al. 2020), on KITTI's layout."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch

from suite.artifacts import CloudDetector, Detections, Figure, Probe, Timed
from suite.context import Run
from suite.contract import Metric, Scale, Task, option
from suite.data.calibration import found_labels
from suite.data.kitti import ATTRIBUTES, Kitti, KittiFrames
from suite.data.kitti_labels import JUDGED, Objects, objects
from suite.data.kitti_results import of_frames
from suite.metrics.kitti import LEVELS, Frame, View, average_precision
from suite.metrics.rotated import corners
from suite.paths import timing_lock
from suite.profile import call_latency
from suite.settings import CloudDetection

if TYPE_CHECKING:
    from matplotlib.axes import Axes

VIEWS: tuple[View, ...] = ("2d", "bev", "3d", "aos")
NONE = -1.0  # the score of a class that no object of the data, or of the frames of an attribute, has at a difficulty
SHOWN_ATTRIBUTES = ("day", "night", "low", "high")  # that tables have columns of
PICTURES = 8  # shown of a run
SHOWN_SCORE = 0.3  # of boxes in pictures
VIEW, MARGIN = 20.0, 4.0  # metres of a view from above at least, and around the boxes in it
COLOURS = {"Car": "tab:blue", "Pedestrian": "tab:red", "Cyclist": "tab:green"}


@dataclass
class Astar3dTask(Task):
    """3D detection in KITTI's layout by KITTI's rules; the primary score is of cars, moderate, in space, over 11 recalls, as are
    the published ones.

    Names are class, view (``2d``, ``bev``, ``3d``; ``aos`` for the similarity of directions), difficulty, and ``r40`` or ``r11``
    for the recalls that are averaged. A tenth of the training frames is held out for selection. The frames of val.txt are judged;
    where there are too few others to train on, all frames are, and methods are trained on the embedded scenes.
    """

    title = "A*3D detection in lidar scans"
    data = "kitti"
    version = 1
    metrics: ClassVar[tuple[Metric, ...]] = tuple(Metric(name, bounds=(-1.0, 100.0)) for name in (
        "car_3d_moderate_r11", "car_3d_moderate_r40", "car_aos_moderate_r40", "pedestrian_3d_moderate_r40",
        "cyclist_3d_moderate_r40",
        *(f"car_3d_moderate_r40_{value}" for value in SHOWN_ATTRIBUTES)))
    accepts = ("CloudDetector", "Detections")
    reference = "point_pillars"
    scales: ClassVar[Mapping[str, Scale]] = {
        "smoke": Scale(scratch=16, extra=8, options={"frames": 6}),
        "short": Scale(scratch=6_000, extra=2_000),
        "long": Scale(scratch=60_000, extra=20_000),
        "full": Scale(scratch=296_960, extra=296_960),  # 80 epochs of KITTI's 3,712 frames
    }

    frames: int = option(0, "judge on the first so many test frames; 0 is all", bounds=(0, 1_000_000))

    def dataset(self) -> Kitti:
        return Kitti()

    def setting(self, run: Run) -> CloudDetection:
        frames = self.dataset().read(run.training_data or run.data, "train")
        order = torch.randperm(len(frames), generator=run.generator("split"))
        held = max(1, len(frames) // 10)
        return CloudDetection(frames.subset(order[held:]), frames.subset(order[:held]))

    def test(self, run: Run) -> KittiFrames:
        """The frames to judge on."""
        frames = self.dataset().read(run.data, "test")
        return frames.subset(torch.arange(min(self.frames or len(frames), len(frames))))

    def evaluate(self, artifact: CloudDetector | Detections, run: Run) -> dict[str, float]:
        """Beside the scores of all frames, moderate ones in space by attribute; noted are all of these by attribute.

        Nothing found, the trivial answer, scores 0.
        """
        test = self.test(run)
        if isinstance(artifact, Detections):
            found = of_frames(artifact.entries, test.ids)
        else:
            found = list(detected(artifact, test, run))
        artifact.spare["found"] = found
        run.note(detections_per_frame=sum(map(len, found)) / len(found))
        frames = [Frame(frame.truth, labels) for frame, labels in zip(test.frames, found, strict=True)]
        groups = {value: [frame for frame, known in zip(frames, test.frames, strict=True) if known.attributes.get(name) == value]
                  for name, values in ATTRIBUTES.items() for value in values}
        by_attribute = {value: scores_of(group) for value, group in groups.items() if group}
        run.note(by_attribute=by_attribute, frames_by_attribute={value: len(groups[value]) for value in by_attribute})
        nothing = [Frame(frame.truth, objects([], np.zeros((0, 15)))) for frame in test.frames]
        return {
            **dict.fromkeys((metric.name for metric in self.metrics), NONE),
            **scores_of(frames),
            **{f"{kind.lower()}_3d_moderate_r40_{value}": scores[f"{kind.lower()}_3d_moderate_r40"]
               for value, scores in by_attribute.items() for kind in JUDGED},
            **{f"trivial_{name}": score for name, score in _score(nothing, "Car", "3d", "moderate").items()},
        }

    def show(self, artifact: CloudDetector | Detections, run: Run) -> Iterable[Figure]:
        """The first test frames: the camera's picture with the labels' boxes, and both labels and what was found from above."""
        from matplotlib.figure import Figure as Canvas

        test = self.test(run)
        for row in range(min(PICTURES, len(test))):
            frame, found = test.frames[row], artifact.spare["found"][row]
            canvas = Canvas(figsize=(12, 5), layout="constrained")
            picture, above = canvas.subplots(1, 2, width_ratios=(3, 2))
            picture.imshow(test.image(row).permute(1, 2, 0).numpy())
            picture.set_title(", ".join((frame.number, *frame.attributes.values())), fontsize=9)
            picture.set_axis_off()
            points = test.points(row).numpy()
            above.scatter(points[:, 0], points[:, 1], s=0.3, color="0.6", linewidths=0)
            good = found[found.field("score") >= SHOWN_SCORE]
            judged = frame.truth[np.isin(frame.truth.kinds, JUDGED)]
            _draw(picture, above, judged, frame.calibration.lidar_boxes(judged), "-")
            _draw(picture, above, good, frame.calibration.lidar_boxes(good), ":")
            (left, low), (right, high) = _around(np.concatenate([frame.calibration.lidar_boxes(item) for item in (judged, good)]))
            above.set(title=f"from above: {len(judged)} labelled (-), {len(good)} found (:)", aspect="equal",
                      xlabel="ahead, m", ylabel="left, m", xlim=(left, right), ylim=(low, high))
            yield Figure(frame.number, canvas)

    def probe(self, artifact: CloudDetector | Detections, run: Run) -> Probe | None:
        """The part of fixed shape on the first test frames; what makes its input has no fixed shape and is timed alone."""
        if isinstance(artifact, Detections):
            return None
        test = self.test(run)
        return Probe(artifact.body, tuple(artifact.body.prepare([test.points(row)]) for row in range(min(4, len(test)))))

    def timings(self, artifact: CloudDetector | Detections, run: Run) -> Sequence[Timed]:
        """The whole detector on the first test frame; ``encode``, which makes the body's input; and ``postprocess`` (decoding,
        suppression), the whole less both parts, 0 where the noise is larger.
        """
        if isinstance(artifact, Detections):
            return ()
        scan = [self.test(run).points(0)]
        module, body = artifact.module.cpu().eval(), artifact.body.cpu().eval()
        batch = body.prepare(scan)
        calls = {"whole": lambda: module(scan), "encode": lambda: body.prepare(scan), "body": lambda: body(batch)}
        timings = call_latency(calls, timing_lock())
        rest = timings["whole"]["median_ms"] - timings["encode"]["median_ms"] - timings["body"]["median_ms"]
        noisy = any(timing["noisy"] for timing in timings.values())
        return (*(Timed(name, timings[name]["median_ms"], noisy=timings[name]["noisy"]) for name in ("whole", "encode")),
                Timed("postprocess", max(0.0, rest), noisy=noisy))


@torch.inference_mode()
def detected(artifact: CloudDetector, test: KittiFrames, run: Run) -> Iterator[Objects]:
    """What is found in each frame, as labels."""
    module = artifact.module.eval().to(run.device)
    for row in run.progress(range(len(test)), "evaluate", total=len(test)):
        frame = test.frames[row]
        (found,) = module([test.points(row).to(run.device)])
        yield found_labels({key: item.cpu() for key, item in found.items()}, JUDGED, frame.calibration, frame.size)


def scores_of(frames: Sequence[Frame]) -> dict[str, float]:
    """The average precision of every class, view and difficulty over both sets of recalls."""
    found: dict[str, float] = {}
    for kind, view, level in itertools.product(JUDGED, VIEWS, LEVELS):
        found |= _score(frames, kind, view, level)
    return found


def _score(frames: Sequence[Frame], kind: str, view: View, level: str) -> dict[str, float]:
    precision = average_precision(frames, kind, view, level)
    return {f"{kind.lower()}_{view}_{level}_{which}": getattr(precision, which, NONE) for which in ("r11", "r40")}


def _around(boxes: np.ndarray) -> np.ndarray:
    """The least and the greatest x and y of a view from above of `boxes` (n, 7), at least `VIEW` wide: (2, 2)."""
    places = boxes[:, :2] if len(boxes) else np.array([[VIEW / 2, 0.0]])
    ends = np.stack([places.min(0) - MARGIN, places.max(0) + MARGIN])
    return ends + np.array([[-0.5], [0.5]]) * np.maximum(0, VIEW - (ends[1] - ends[0]))


def _draw(picture: Axes, above: Axes, found: Objects, boxes: np.ndarray, line: str) -> None:
    """Each object's box in the picture and on the ground, there with a stroke towards where it heads."""
    from matplotlib.patches import Rectangle

    for kind, (left, top, right, bottom), box, ground in zip(found.kinds, found.image_boxes, boxes, corners(boxes), strict=True):
        picture.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, color=COLOURS[kind], linestyle=line))
        above.plot(*np.concatenate([ground, ground[:1]]).T, line, color=COLOURS[kind], linewidth=1)
        ahead = box[:2] + box[3] / 2 * np.array([np.cos(box[6]), np.sin(box[6])])
        above.plot(*np.stack([box[:2], ahead]).T, line, color=COLOURS[kind], linewidth=1)

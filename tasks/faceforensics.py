"""FaceForensics++: which faces in videos are forged (Rössler et al., ICCV 2019), frame by frame and video by video."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Generator, Tensor

from suite.artifacts import Detections, Figure, Network, Probe
from suite.context import Run
from suite.contract import Metric, Scale, Task, option
from suite.data.faceforensics import MANIPULATIONS, ORIGINAL, FaceForensics
from suite.data.faces import Cropping, FaceFrame, FaceFrames
from suite.errors import UserError, nearest
from suite.metrics.forgery import by_video, forgery_scores
from suite.settings import FaceForgery
from suite.train import Flip, Normalise, predict
from suite.train.transforms import Rotate, brightness, contrast, uniform

PEOPLE = 3  # in the picture of maps
TRIVIAL = ("auc", "accuracy", "eer", "video_auc", "video_accuracy", "video_eer")
NORMALISE = Normalise((0.5,) * 3, (0.5,) * 3)


@dataclass
class FaceForensicsTask(Task):
    """A network's second logit says forged. A video's score is the mean of its frames'; videos go by manipulation and id.

    Beside the scores stand the AUC of each manipulation against all originals, and those of taking every face for real. Classes
    weigh alike in training: each original frame counts as often as there are manipulations. With `unseen` a manipulation is left
    out of training and selection, and alone is tested against the originals.
    """

    title = "FaceForensics++ face forgery detection"
    data = "faceforensics"
    version = 1
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("auc"), Metric("accuracy"), Metric("eer", higher_is_better=False), Metric("ap"), Metric("video_auc"),
        Metric("video_accuracy"), Metric("video_eer", higher_is_better=False), Metric("video_ap"))
    accepts = ("Network", "Detections")
    reference = "plain_forgery"
    scales: ClassVar[dict[str, Scale]] = {
        "smoke": Scale(scratch=64, extra=32, options={"size": 32, "train_frames": 1, "test_frames": 1}),
        "short": Scale(scratch=16_000, extra=5_000, options={"size": 48, "rotation": 0.0}),
        "long": Scale(scratch=200_000, extra=60_000, options={"size": 48, "rotation": 0.0}),
        "full": Scale(scratch=900_000, extra=300_000),  # 40 epochs of 8 frames of 2,880 videos
    }

    compression: Literal["c0", "c23", "c40"] = option("c23", "of the videos, trained and tested on; c0 is also called raw")
    manipulations: tuple[str, ...] = option(MANIPULATIONS, "ways of forging that are there")
    unseen: str = option("", "a manipulation that is not trained on and alone is tested")
    size: int = option(256, "side of the face crops in pixels", bounds=(16, 1024))
    train_frames: int = option(8, "frames of a training video, equally spaced", bounds=(1, 1000))
    test_frames: int = option(32, "frames of another video", bounds=(1, 1000))
    crop: Literal["boxes", "whole"] = option("boxes", "given boxes, else those that the cascade finds; or frames as they are")
    rotation: float = option(10.0, "largest rotation of a training face, degrees", bounds=(0, 90))
    margin: float = option(1.3, "side of the crop in sides of the box", bounds=(0.5, 4))

    def __post_init__(self) -> None:
        if self.unseen and self.unseen not in self.manipulations:
            raise UserError(f"There is no manipulation '{self.unseen}' for task.unseen{nearest(self.unseen, self.manipulations)}")
        for name in self.manipulations:
            if self.manipulations.count(name) > 1 or not name or set(name) & set("/\\.") or name == ORIGINAL:
                raise UserError(f"'{name}' in task.manipulations is no name of a folder below manipulated_sequences, or stands "
                                "there twice; give each once, such as task.manipulations=Deepfakes:FaceSwap.")
        if not self.manipulations or self.manipulations == (self.unseen,):
            raise UserError("Without the unseen manipulation there is none to train on; name more with task.manipulations=A:B.")

    def dataset(self) -> FaceForensics:
        return FaceForensics(self.compression, self.manipulations, (self.train_frames, self.test_frames),
                             Cropping(self.size, self.margin, self.crop))

    def setting(self, run: Run) -> FaceForgery:
        train, val = (self.seen(self.dataset().read(run.data, split)) for split in ("train", "val"))
        real, forged = (int((train.labels == label).sum()) for label in (0, 1))
        times = torch.where(train.labels == 0, max(1, round(forged / max(1, real))), 1)
        balanced = torch.arange(len(train)).repeat_interleave(times)
        return FaceForgery(train.subset(balanced), val, (3, self.size, self.size), Augment(self.rotation), NORMALISE)

    def seen(self, frames: FaceFrames) -> FaceFrames:
        """Those that may be trained on."""
        methods = {"", *self.manipulations} - ({self.unseen} if self.unseen else set())
        return _of(frames, methods)

    def test(self, run: Run) -> FaceFrames:
        """The frames to judge on."""
        return _of(self.dataset().read(run.data, "test"), {"", *([self.unseen] if self.unseen else self.manipulations)})

    def evaluate(self, artifact: Network | Detections, run: Run) -> dict[str, float]:
        test = self.test(run)
        if isinstance(artifact, Detections):
            forged = given(artifact.entries, test.frames)
        else:
            logits = predict(artifact.module, Colours(test), NORMALISE, run)
            forged = logits.double().softmax(1)[:, 1].numpy()
        artifact.spare["forged"] = forged
        run.note(frames_without_face=len(test.without_face))
        methods = np.array([frame.method for frame in test.frames])
        rows = {name: np.isin(methods, (name, "")) for name in dict.fromkeys(methods) if name}
        each = {f"auc_{name}": forgery_scores(forged[own], test.labels.numpy()[own])["auc"] for name, own in rows.items()}
        trivial = scores_of(np.zeros(len(test)), test)
        return {**scores_of(forged, test), **each, **{f"trivial_{name}": trivial[name] for name in TRIVIAL}}

    def show(self, artifact: Network | Detections, run: Run) -> Iterable[Figure]:
        """A frame of an original and of each forgery of a few people, its mask, and where the network finds it forged."""
        from matplotlib.figure import Figure as Canvas

        test, forged = self.test(run), artifact.spare["forged"]
        people = list(dict.fromkeys(frame.video for frame in test.frames if not frame.method))
        chosen = [people[place] for place in np.unique(np.linspace(0, len(people) - 1, min(PEOPLE, len(people))).astype(int))]
        firsts: dict[tuple[str, str], int] = {}
        for row, frame in enumerate(test.frames):
            firsts.setdefault((frame.video.partition("_")[0], frame.method), row)
        methods = list(dict.fromkeys(frame.method for frame in test.frames))
        local = artifact.spare.get("local_map")
        lines = ("face", "mask", "map") if local is not None else ("face", "mask")
        canvas = Canvas(figsize=(1.5 * len(methods) * len(chosen), 1.7 * len(lines)), layout="constrained")
        axes = canvas.subplots(len(lines), len(methods) * len(chosen), squeeze=False)
        for column, row in enumerate(firsts[person, method] for person in chosen for method in methods):
            pixels = test.image(row)
            panels = [pixels[:3].permute(1, 2, 0).numpy(), pixels[3].numpy() / 255]
            if local is not None:
                with torch.inference_mode():
                    panels.append(local.eval().to(run.device)(NORMALISE(pixels[None, :3]).to(run.device))[0].cpu().numpy())
            axes[0, column].set_title(f"{test.frames[row].method or ORIGINAL}\n{forged[row]:.2f}", fontsize=8)
            for axis, panel in zip(axes[:, column], panels, strict=True):
                axis.imshow(panel, vmin=0, vmax=1, cmap="magma")
                axis.set_axis_off()
        yield Figure("maps", canvas)

    def probe(self, artifact: Network | Detections, run: Run) -> Probe | None:
        if isinstance(artifact, Detections):
            return None
        test = self.test(run)
        return Probe(artifact.module, tuple(NORMALISE(test.image(row)[None, :3]) for row in range(min(4, len(test)))))


@dataclass
class Colours:
    """Faces without their masks (:class:`suite.settings.Images`)."""

    faces: FaceFrames

    @property
    def labels(self) -> Tensor:
        return self.faces.labels

    def __len__(self) -> int:
        return len(self.faces)

    def batch(self, index: Tensor, train: bool, generator: Generator) -> Tensor:
        return self.faces.batch(index, train, generator)[:, :3]

    def subset(self, index: Tensor) -> Colours:
        return Colours(self.faces.subset(index))


@dataclass(frozen=True)
class Augment:
    """Face and mask mirrored (p 0.5) and rotated by up to `rotation` degrees (p 0.5) together; the face's light changed by up to a
    tenth (p 0.5). The rest of DeepfakeBench's (blur, JPEG) would wipe out what tells a forgery in small faces.
    """

    rotation: float = 10.0

    def __call__(self, pixels: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        pixels = Rotate(self.rotation)(Flip()(pixels, generator), generator)
        faces, masks = pixels[:, :3], pixels[:, 3:].float() / 255
        lit = torch.rand(len(faces), generator=generator) < 0.5
        for change in (brightness, contrast):
            factors = torch.where(lit, uniform(generator, 0.9, 1.1, len(faces)), 1.0)
            faces = change(faces, factors)
        return NORMALISE(faces), masks


def scores_of(forged: np.ndarray, test: FaceFrames) -> dict[str, float]:
    """The scores of probabilities (N,) by metric name, of frames and of videos."""
    labels = test.labels.numpy()
    videos = by_video(forged, labels, [(frame.method, frame.video) for frame in test.frames])
    return forgery_scores(forged, labels) | {f"video_{name}": score for name, score in forgery_scores(*videos).items()}


def _of(frames: FaceFrames, methods: set[str]) -> FaceFrames:
    return frames.subset(torch.tensor([row for row, frame in enumerate(frames.frames) if frame.method in methods]))


def given(entries: Sequence[dict[str, object]], judged: Sequence[FaceFrame]) -> np.ndarray:
    """Somebody's scores of the judged frames. UserError for a frame that has none."""
    found = {(entry["method"], entry["video"], entry["frame"]): entry["score"] for entry in entries}
    wanted = [(frame.method or ORIGINAL, frame.video, frame.name) for frame in judged]
    if without := [frame for frame in wanted if frame not in found]:
        raise UserError(f"The scores have none for {'/'.join(without[0])} (and {len(without) - 1} others of the {len(wanted)} "
                        "judged frames); give one for each.")
    return np.array([found[frame] for frame in wanted], dtype=np.float64)

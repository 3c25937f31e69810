"""KITTI's calibration of a frame: from the lidar's place to the camera's and into its image, for points and for boxes.

The lidar's coordinates have x forward, y left, z up; a box there is x, y, z of its middle, length, width, height and its angle from
x to its length, anticlockwise from above (n, 7). The camera's have x right, y down, z forward; a label's place is the middle of
the bottom and its rotation_y is about y. Both are in metres, and both agree on what is upright.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from suite.data.files import lines_of, shown
from suite.data.kitti_labels import Objects, objects
from suite.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

SHAPES = {"P2": (3, 4), "R0_rect": (3, 3), "Tr_velo_to_cam": (3, 4)}
LINES = ("P0", "P1", "P2", "P3", "R0_rect", "Tr_velo_to_cam", "Tr_imu_to_velo")
NEAR = 0.1  # metres before the camera: what is nearer is drawn as if it were there


@dataclass(frozen=True)
class Calibration:
    """`projection` (3, 4) takes rectified camera coordinates to the left colour image, `forward` (3, 4) the lidar's to them."""

    projection: np.ndarray
    forward: np.ndarray

    def to_camera(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 3) of the lidar in the camera's coordinates."""
        return points @ self.forward[:, :3].T + self.forward[:, 3]

    def to_lidar(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 3) of the camera in the lidar's coordinates."""
        return (points - self.forward[:, 3]) @ np.linalg.inv(self.forward[:, :3]).T

    def to_image(self, points: np.ndarray) -> np.ndarray:
        """Camera points (..., 3) to right and down in pixels (..., 2)."""
        near = np.concatenate([points[..., :2], np.maximum(points[..., 2:], NEAR)], axis=-1)
        flat = near @ self.projection[:, :3].T + self.projection[:, 3]
        return flat[..., :2] / flat[..., 2:]

    def seen(self, points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Which lidar points (n, 3) lie before the camera and in its image of `size` height, width: bool (n,)."""
        camera = self.to_camera(points)
        where = self.to_image(camera)
        return (camera[:, 2] > NEAR) & (where >= 0).all(1) & (where < [size[1], size[0]]).all(1)

    def lidar_boxes(self, found: Objects) -> np.ndarray:
        """The boxes (n, 7) of labels."""
        high, wide, long, *bottom, turn = found.values[:, 7:14].T
        place = self.to_lidar(np.stack(bottom, axis=1))
        return np.column_stack([place[:, :2], place[:, 2] + high / 2, long, wide, high, wrapped(-turn - np.pi / 2)])

    def labels(self, boxes: np.ndarray, kinds: np.ndarray, scores: np.ndarray, size: tuple[int, int]) -> Objects:
        """Labels of lidar boxes (n, 7), with the boxes around what is seen in an image of `size` height, width.

        An object that is not in the image has a box without area there. How much of it is hidden is not known: 0.
        """
        camera = self.to_camera(boxes[:, :3] - np.array([0, 0, 0.5]) * boxes[:, 5:6])
        turn = wrapped(-boxes[:, 6] - np.pi / 2)
        sizes = boxes[:, [5, 4, 3]]
        whole = self.image_boxes(camera, sizes, turn)
        seen = np.clip(whole, 0, [size[1], size[0]] * 2)
        cut = 1 - _area(seen) / np.maximum(_area(whole), 1e-9)
        alpha = wrapped(turn - np.arctan2(camera[:, 0], camera[:, 2]))
        return objects(list(kinds), np.column_stack([cut, np.zeros(len(boxes)), alpha, seen, sizes, camera, turn, scores]))

    def image_boxes(self, places: np.ndarray, sizes: np.ndarray, turns: np.ndarray) -> np.ndarray:
        """The boxes (n, 4) in pixels around labels' corners, wherever the image ends; without area for one behind the camera.

        `places` (n, 3) and `turns` (n,) are labels', `sizes` (n, 3) height, width, length.
        """
        high, wide, long = (column[:, None] for column in sizes.T)
        along = np.array([1, 1, -1, -1, 1, 1, -1, -1]) * long / 2
        across = np.array([1, -1, -1, 1, 1, -1, -1, 1]) * wide / 2
        cos, sin = np.cos(turns)[:, None], np.sin(turns)[:, None]
        offsets = [cos * along + sin * across, np.array([0, 0, 0, 0, -1, -1, -1, -1]) * high, cos * across - sin * along]
        corners = places[:, None] + np.stack(offsets, axis=2)
        flat = self.to_image(corners)
        return np.concatenate([flat.min(1), flat.max(1)], axis=1) * (corners[..., 2].max(1) > NEAR)[:, None]


def _area(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def found_labels(found: Mapping[str, Tensor], names: tuple[str, ...], calibration: Calibration, size: tuple[int, int]) -> Objects:
    """What a detector found in the image (``boxes`` (n, 7), ``labels`` from 1, ``scores``) as labels in the camera's terms."""
    boxes, scores = found["boxes"].double().numpy(), found["scores"].double().numpy()
    kinds = np.array([names[label - 1] for label in found["labels"].tolist()], dtype=object)
    labels = calibration.labels(boxes, kinds, scores, size)
    return labels[_area(labels.image_boxes) > 0]


def wrapped(angles: np.ndarray) -> np.ndarray:
    """Angles between -pi and pi."""
    return (angles + np.pi) % (2 * np.pi) - np.pi


def read_calibration(path: Path) -> Calibration:
    """The calibration in a file; UserError where it is missing, not of the form, or cannot be turned round."""
    if not path.is_file():
        raise UserError(f"The calibration '{shown(path)}' is missing; copy the calib folder again, with a file for each cloud.")
    found: dict[str, np.ndarray] = {}
    for line in lines_of(path):
        name, _, numbers = line.partition(":")
        if name in SHAPES:
            try:
                found[name] = np.array(numbers.split(), float).reshape(SHAPES[name])
            except ValueError:
                raise UserError(f"Line '{name}' of '{shown(path)}' is not {np.prod(SHAPES[name])} numbers; expected those of a "
                                f"matrix {SHAPES[name][0]} x {SHAPES[name][1]}, row by row.") from None
    if missing := [name for name in SHAPES if name not in found or not np.isfinite(found[name]).all()]:
        raise UserError(f"'{shown(path)}' has no line '{missing[0]}:' of finite numbers; expected the lines {', '.join(LINES)}.")
    if abs(np.linalg.det(found["P2"][:, :3])) < 1:  # of a camera it is the square of its focal length in pixels
        raise UserError(f"P2 of '{shown(path)}' is no projection into an image; copy the calib folder again.")
    forward = found["R0_rect"] @ found["Tr_velo_to_cam"]
    if abs(np.linalg.det(forward[:, :3]) - 1) > 0.01:
        raise UserError(f"R0_rect and Tr_velo_to_cam of '{shown(path)}' are no rotations (together they scale by "
                        f"{np.linalg.det(forward[:, :3]):.3g}); copy the calib folder again.")
    return Calibration(found["P2"], forward)


def write_calibration(calibration: Calibration, path: Path) -> None:
    """Write a file as KITTI does, all four cameras in one place and what is not known as it is where nothing is turned."""
    one = np.eye(3, 4)
    matrices = {name: calibration.projection for name in LINES[:4]}
    matrices |= {"R0_rect": np.eye(3), "Tr_velo_to_cam": calibration.forward, "Tr_imu_to_velo": one}
    path.write_text("".join(f"{name}: {' '.join(f'{item:.12e}' for item in matrix.ravel())}\n"
                            for name, matrix in matrices.items()), encoding="utf-8")

"""The embedded activity data: simulated recordings of body-worn inertial sensors.

Every subject makes one recording of every activity. An activity is a rhythm (its rate, the size of its movement and its
second harmonic along three axes, how much the sensor turns and tilts, how much of the time it rests); a subject adds a
pace, a vigour, an own way the sensor is mounted, a gyroscope's bias. Activities come in pairs and triples that differ
in little (climbing up and down, lunges and squats). How often they occur follows A*HAR's 20-class release: the most
frequent has fourteen times the windows of the rarest.

The bytes must be the same on every machine: as in :mod:`suite.data.embedded.drawing`, numbers are PCG64's raw output and
signals come from +, -, *, / and square roots of float32 alone, so a sine is two parabolas.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from suite.data.embedded.drawing import Array, Draw, cosine_sine

VERSION = 1  # a change of any byte below gets a new one

RATE = 25  # samples per second
CHANNELS, LENGTH = 9, 64
SUBJECTS = {"train": tuple(range(1, 13)), "test": (21, 22, 23, 24)}
FIRST_UNLABELLED = 101  # number of the first subject of the part without labels, of which there are as many as are asked for
TEST_WINDOWS = 15  # of every activity and subject: a balanced test set, as the paper's
NOISE = (0.06, 9.0)  # deviation of the sensors' noise in g and in degrees per second
TAPS = 32  # of the low-pass filter, either side

class Activity(NamedTuple):
    """One activity. Vectors are along the sensor's x, y, z."""

    windows: int  # of training data, over all subjects
    posture: tuple[float, float, float]  # direction of gravity
    rate: tuple[float, float]  # movements per second
    sway: tuple[float, float, float]  # size of the movement in g
    jolt: tuple[float, float, float]  # size of its second harmonic in g
    turn: tuple[float, float, float]  # angular velocity in degrees per second
    tilt: float  # how far gravity swings with the movement
    rest: float  # share of the time without movement


ACTIVITIES: dict[str, Activity] = {
    "Walking": Activity(505, (0.9, 0.2, 0.3), (0.8, 1.1), (0.15, 0.10, 0.20), (0.20, 0.05, 0.12), (25, 60, 20), 0.10, 0.0),
    "Eating": Activity(416, (0.3, 0.4, 0.8), (0.2, 0.5), (0.05, 0.06, 0.05), (0.02, 0.03, 0.02), (30, 25, 45), 0.30, 0.5),
    "Typing": Activity(381, (0.1, 0.2, 0.97), (2.0, 3.5), (0.01, 0.01, 0.02), (0.02, 0.01, 0.02), (4, 6, 4), 0.02, 0.3),
    "UnwornSensor": Activity(230, (0.0, 0.1, 0.99), (1.0, 2.0), (0, 0, 0), (0, 0, 0), (0, 0, 0), 0.0, 1.0),
    "Jogging": Activity(203, (0.9, 0.2, 0.3), (1.2, 1.6), (0.50, 0.25, 0.40), (0.60, 0.15, 0.30), (70, 120, 60), 0.15, 0.0),
    "Biking": Activity(194, (0.6, 0.3, 0.7), (0.9, 1.5), (0.08, 0.12, 0.06), (0.10, 0.08, 0.10), (20, 20, 25), 0.08, 0.2),
    "CyclingIndoor": Activity(170, (0.6, 0.2, 0.75), (1.0, 1.6), (0.08, 0.13, 0.05), (0.03, 0.03, 0.03), (18, 24, 20), 0.08, 0.0),
    "ClimbingUp": Activity(162, (0.88, 0.2, 0.4), (0.7, 1.0), (0.20, 0.10, 0.18), (0.15, 0.05, 0.10), (35, 50, 20), 0.18, 0.0),
    "CombHair": Activity(161, (-0.5, 0.5, 0.6), (0.5, 1.0), (0.15, 0.12, 0.10), (0.05, 0.04, 0.04), (60, 45, 70), 0.25, 0.1),
    "Lunges": Activity(154, (0.9, 0.1, 0.3), (0.3, 0.5), (0.20, 0.08, 0.22), (0.12, 0.05, 0.12), (30, 35, 15), 0.30, 0.1),
    "WeightLifting": Activity(149, (0.5, 0.6, 0.5), (0.3, 0.5), (0.25, 0.20, 0.15), (0.06, 0.05, 0.04), (60, 50, 40), 0.50, 0.1),
    "SitUp": Activity(134, (0.4, 0.2, 0.85), (0.3, 0.5), (0.15, 0.06, 0.20), (0.05, 0.02, 0.06), (20, 80, 20), 0.70, 0.1),
    "Crunches": Activity(120, (0.3, 0.2, 0.9), (0.4, 0.7), (0.12, 0.05, 0.15), (0.04, 0.02, 0.05), (18, 60, 18), 0.40, 0.1),
    "Brushing": Activity(108, (-0.2, 0.6, 0.7), (2.0, 3.5), (0.12, 0.20, 0.10), (0.04, 0.06, 0.03), (40, 35, 60), 0.15, 0.1),
    "Squats": Activity(106, (0.9, 0.1, 0.35), (0.3, 0.6), (0.25, 0.05, 0.20), (0.08, 0.03, 0.08), (18, 45, 12), 0.30, 0.1),
    "Sprinting": Activity(103, (0.9, 0.2, 0.3), (1.5, 2.0), (0.70, 0.30, 0.55), (0.60, 0.20, 0.40), (90, 160, 80), 0.18, 0.0),
    "ClimbingDown": Activity(97, (0.9, 0.2, 0.32), (0.8, 1.1), (0.18, 0.12, 0.20), (0.30, 0.08, 0.16), (30, 50, 22), 0.12, 0.0),
    "PushUp": Activity(73, (0.2, 0.1, -0.95), (0.4, 0.7), (0.08, 0.04, 0.30), (0.03, 0.02, 0.08), (15, 20, 10), 0.12, 0.1),
    "Dumbbell": Activity(64, (0.5, 0.5, 0.6), (0.4, 0.6), (0.22, 0.25, 0.12), (0.05, 0.06, 0.04), (75, 40, 45), 0.60, 0.0),
    "Drinking": Activity(36, (0.3, 0.5, 0.75), (0.15, 0.35), (0.06, 0.05, 0.06), (0.02, 0.02, 0.02), (45, 20, 30), 0.45, 0.4),
}  # fmt: skip


class Subject(NamedTuple):
    """What is the same in all recordings of one subject."""

    pace: Array  # () factor of every rate
    vigour: Array  # (3,) factor of every movement, by axis
    mounting: Array  # (3,) tangents of half the angles by which the sensor is turned about x, y, z
    bias: Array  # (3,) of the gyroscope in degrees per second


class Recorded(NamedTuple):
    """Windows of a split: `values` float32 (N, 9, 64), `labels` int64 (N,) by the order of `ACTIVITIES`, `subjects` int64 (N,)."""

    values: Array
    labels: np.ndarray
    subjects: np.ndarray


def recordings(split: str, unlabelled: int = 0) -> Recorded:
    """The windows of all recordings of a split, subject by subject, in the order of time.

    ``"unlabelled"`` is made by as many subjects as are given, at what the training subjects do and as often. Its labels are for
    whoever thins it.

    Channels as in A*HAR: gyroscope x y z in degrees per second, low-passed accelerometer x y z in g, what the filter
    took away x y z in g. Windows overlap by half.
    """
    values, labels, subjects = [], [], []
    for place, subject in enumerate(SUBJECTS.get(split, range(FIRST_UNLABELLED, FIRST_UNLABELLED + unlabelled))):
        draw = Draw(VERSION, subject)
        person = Subject(draw.uniform(0.8, 1.25, 1), draw.uniform(0.6, 1.5, 3), draw.uniform(-0.2, 0.2, 3), draw.uniform(-6, 6, 3))
        for label, activity in enumerate(ACTIVITIES.values()):
            share, rest = divmod(activity.windows, len(SUBJECTS["train"]))
            count = TEST_WINDOWS if split == "test" else share + (place % len(SUBJECTS["train"]) < rest)
            signals = _recording(activity, person, (count + 1) * LENGTH // 2, draw)
            values += [signals[:, start : start + LENGTH] for start in range(0, count * LENGTH // 2, LENGTH // 2)]
            labels += [label] * count
            subjects += [subject] * count
    return Recorded(np.stack(values), np.array(labels), np.array(subjects))


def _recording(activity: Activity, person: Subject, length: int, draw: Draw) -> Array:
    """Signals (9, length) of one person at one activity; the recording ends `TAPS` samples of filter away from either end."""
    steps = np.arange(length + 2 * TAPS, dtype=np.float32)
    time = steps / np.float32(RATE)
    rate = draw.uniform(*activity.rate, 1) * person.pace
    start = draw.uniform(0, 1, 8)
    phase = time * rate + start[0] + np.float32(0.12) * _sine(time * draw.uniform(0.05, 0.2, 1) + start[1])
    waxing = 1 + np.float32(0.25) * _sine(time * draw.uniform(0.04, 0.1, 1) + start[2])  # effort rises and falls
    often = np.float32(1 - 2 * activity.rest)
    pause = np.clip(np.float32(4) * (often - _sine(time * draw.uniform(0.06, 0.12, 1) + start[3])), 0, 1)
    force = waxing * pause if 0 < activity.rest < 1 else waxing * np.float32(1 - activity.rest)
    lags = draw.uniform(0, 0.15, 3, 1) + np.array([[0.0], [0.25], [0.5]], np.float32)  # between the axes
    first, second = _sine(phase + lags), _sine(2 * phase + lags + start[4])
    vigour = person.vigour[:, None]
    posture = _column(activity.posture) + draw.uniform(-0.12, 0.12, 3, 1)
    lean = np.float32(activity.tilt) * force * _sine(phase + start[5]) * np.array([[-0.7], [0.3], [0.6]], np.float32)
    gravity = posture + lean
    gravity = gravity / np.sqrt(gravity[0] * gravity[0] + gravity[1] * gravity[1] + gravity[2] * gravity[2])
    body = force * vigour * (_column(activity.sway) * first + _column(activity.jolt) * second)
    turning = force * vigour * _column(activity.turn) * (first + np.float32(0.3) * second)
    worn = np.float32(0.3 if activity.rest == 1 else 1)  # a sensor on a table is not shaken
    acceleration = _turned(gravity + body, person.mounting) + worn * np.float32(NOISE[0]) * draw.noise(*body.shape)
    gyroscope = _turned(turning, person.mounting) + person.bias[:, None] + worn * np.float32(NOISE[1]) * draw.noise(*body.shape)
    inner = slice(TAPS, TAPS + length)
    slow = _low_passed(acceleration)
    return np.concatenate([gyroscope[:, inner], slow, acceleration[:, inner] - slow])


def _column(numbers: tuple[float, float, float]) -> Array:
    return np.array(numbers, np.float32)[:, None]


def _sine(x: Array) -> Array:
    """Nearly the sine of period 1, from two parabolas."""
    u = 2 * (x - np.floor(x)) - 1
    return -4 * u * (1 - np.abs(u))


def _turned(signals: Array, halves: Array) -> Array:
    """`signals` (3, T) rotated about x, then y, then z by angles whose halves have the tangents `halves` (3,)."""
    rows = list(signals)
    for axis, t in enumerate(halves[:, None]):  # arrays: with scalars, NumPy 1 would go on in float64
        cos, sin = cosine_sine(t)
        one, two = (axis + 1) % 3, (axis + 2) % 3
        rows[one], rows[two] = cos * rows[one] - sin * rows[two], sin * rows[one] + cos * rows[two]
    return np.stack(rows)


def _low_passed(signals: Array) -> Array:
    """`signals` (3, T) through a symmetric exponential of 0.3 Hz, (3, T - 2 TAPS).

    That is what a first-order low-pass run forward and backward (A*HAR's filter) comes to; each sample back in time
    counts for ``1 - 2 pi 0.3 / RATE`` of its successor.
    """
    length = signals.shape[1] - 2 * TAPS
    keep, weight, weights = np.array([[0.9246]], np.float32), np.array([[1]], np.float32), np.array([[1]], np.float32)
    total = signals[:, TAPS : TAPS + length].copy()
    for lag in range(1, TAPS + 1):
        weight = weight * keep
        total = total + weight * (signals[:, TAPS - lag : TAPS - lag + length] + signals[:, TAPS + lag : TAPS + lag + length])
        weights = weights + 2 * weight
    return total / weights

"""One uninterrupted story told by a sensor: the class that every reader returns.

- SI units only, acceleration with gravity; a reader of a data set converts, nobody after it does.
- Frozen, arrays read-only, checked when made: what exists is valid.
- One vocabulary of activities for all data sets.
"""

import itertools
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from llasa_lib.errors import RecordingError

STANDARD_GRAVITY = 9.80665  # m/s^2 per g, exact by definition
CHANNELS = ("acceleration x", "acceleration y", "acceleration z", "rotation x", "rotation y", "rotation z")
# The order of the first six is UCI-HAPT's numbering. Reports, prompts and confusion matrices all use this
# order.
ACTIVITIES = ("walking", "climbing stairs", "descending stairs", "sitting", "standing", "lying", "jogging", "biking")
TRANSITIONS = ("stand to sit", "sit to stand", "sit to lie", "lie to sit", "stand to lie", "lie to stand")


class Segment(NamedTuple):
    """A labelled stretch: the samples with ``start <= time < end`` (s)."""

    start: float
    end: float
    activity: str


@dataclass(frozen=True, eq=False)
class Recording:
    """What one device felt.

    Parameters
    ----------
    time : (T,) array, s, strictly increasing; steps may vary.
    acceleration : (T, 3) array, m/s^2, gravity included.
    rotation : (T, 3) array, rad/s.
    subject : str, such as ``"hapt-02"``.
    placement : str, where on the body: ``"waist"``, ``"wrist"``, ...; empty if unknown.
    device : str, make and model; empty if unknown.
    source : str, the data set, or the file name of a reader's own recording.
    segments : tuple of Segment, labelled stretches in order of time.

    Raises
    ------
    RecordingError
        If shapes do not match, a value is not finite, time does not increase, or a segment ends before it
        starts.

    Examples
    --------
    >>> still = Recording([0.0, 0.1], [[0, 0, 9.81]] * 2, [[0, 0, 0]] * 2, subject="table")
    >>> still.acceleration.shape, round(still.duration, 3)
    ((2, 3), 0.1)
    """

    time: np.ndarray
    acceleration: np.ndarray
    rotation: np.ndarray
    subject: str
    placement: str = ""
    device: str = ""
    source: str = ""
    segments: tuple[Segment, ...] = ()

    def __post_init__(self):
        time = _frozen(self, "time")
        if time.ndim != 1 or len(time) == 0:
            raise RecordingError(f"time must be a list of at least one number, not an array of shape {time.shape}.")
        for name in ("acceleration", "rotation"):
            values = _frozen(self, name)
            if values.shape != (len(time), 3):
                raise RecordingError(f"{name} must have shape ({len(time)}, 3) like time, not {values.shape}.")
        for name in ("time", "acceleration", "rotation"):
            finite = np.isfinite(getattr(self, name))
            if not finite.all():
                raise RecordingError(f"{name} is not a finite number at sample {np.argwhere(~finite)[0][0]}.")
        steps = np.diff(time)
        if (steps <= 0).any():
            where = int(np.argmax(steps <= 0)) + 1
            raise RecordingError(
                f"time must increase: sample {where} ({time[where]:g} s) does not come after "
                f"sample {where - 1} ({time[where - 1]:g} s)."
            )
        object.__setattr__(self, "segments", tuple(Segment(*segment) for segment in self.segments))
        for segment in self.segments:
            if not segment.end > segment.start:
                raise RecordingError(f"{segment} ends before it starts.")

    @property
    def duration(self):
        """From the first to the last sample, s."""
        return float(self.time[-1] - self.time[0])

    @property
    def rate(self):
        """Samples per second, from the median time step (so that a gap does not change it)."""
        return float(1 / np.median(np.diff(self.time))) if len(self.time) > 1 else float("nan")

    @property
    def imu(self):
        """(T, 6) array: acceleration (m/s^2) beside rotation (rad/s), in the order of ``CHANNELS``."""
        return np.concatenate([self.acceleration, self.rotation], axis=1)

    def __repr__(self):
        known = ", ".join(part for part in (self.subject, self.placement, self.source) if part)
        return f"<Recording {known}: {self.duration:.1f} s at {self.rate:.4g} Hz, {len(self.segments)} segments>"


def _frozen(recording, name):
    """Turn a field into a read-only float64 array (a view, so the caller's own array stays writable)."""
    try:
        values = np.asarray(getattr(recording, name), dtype=np.float64).view()
    except (TypeError, ValueError) as error:
        raise RecordingError(f"{name} must be numbers in rows of equal length ({error}).") from None
    values.flags.writeable = False
    object.__setattr__(recording, name, values)
    return values


def find_gaps(time, max_gap=None):
    """Find the places where samples are missing.

    Parameters
    ----------
    time : (T,) array, s, increasing.
    max_gap : float, s, optional
        The longest step that still counts as uninterrupted. By default three median steps, but at least 0.1 s
        (two samples at 20 Hz): phones stamp time unevenly, and that jitter is no gap.

    Returns
    -------
    (G,) array of int
        Indices i with a gap between samples i and i + 1.
    """
    steps = np.diff(time)
    if max_gap is None:
        max_gap = max(3 * np.median(steps), 0.1) if len(steps) else 0.1
    return np.flatnonzero(steps > max_gap * (1 + 1e-6))  # a hair of tolerance for time stamps written as decimals


def stretches(time, max_gap=None):
    """The slices of a recording between its gaps, in order; see :func:`find_gaps`."""
    bounds = [0, *(find_gaps(time, max_gap) + 1).tolist(), len(time)]
    return [slice(start, stop) for start, stop in itertools.pairwise(bounds)]

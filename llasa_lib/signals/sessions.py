"""One frame for all phones, and what the windows of one person's recording say about each other.

- ``to_frame``: every window with gravity along z, the direction of walking along x, and slow turns about the vertical
  removed. However the device was turned, the result is the same.
- ``calibrate``: the same for windows that belong together. Where the person moves, the recording shows which way is up
  in this pocket, so a window in which nobody moves is seen as a posture; and how this person moves on average.

NOTE: the staircases of HAPT wind and its walks are straight. A turn slower than ``SLOWEST_TURN`` belongs to a building,
not to a way of moving; removing it makes climbing alike in every building.
"""

from dataclasses import dataclass, fields, replace

import numpy as np
import scipy

from llasa_lib.errors import WindowError
from llasa_lib.signals.features import LINES
from llasa_lib.signals.gravity import rotate, split_gravity, upward
from llasa_lib.signals.windows import RATE, to_array

MOVING = 0.6  # m/s^2; the spread of |a| is below in every posture, above in every two seconds of every gait
SLOWEST_TURN = 0.5  # Hz
STEPS = (1.2, 2.6)  # Hz; steps of a walk. Swaying to the side takes two of them
PHASE = np.radians(150)  # of a step: a foot that lands lifts and brakes, at the waist of training people
NEIGHBOURS = 10  # moving windows that say which way is up for a still one: about a minute
ANOTHER_PLACE = 60.0  # degrees; a phone that hangs so differently while walking is worn in another way
_AT_ONCE = 2048  # windows in double precision; a day has 30,000
FEWEST = 12  # moving windows on either side, before a recording is taken for two

FRAME_CHANNELS = (
    "up", "forward", "left", "horizontal", "acceleration",
    "rotation about forward", "rotation about left", "rotation about up", "tipping", "rotation",
)  # fmt: skip
"""What the statistics describe: m/s^2, then rad/s. "horizontal" and "tipping" are lengths of horizontal vectors."""

AXES = ("forward", "left", "up", "rotation about forward", "rotation about left", "rotation about up")
"""The channels of a window in the frame, in their order."""

STATISTICS = tuple(
    f"{channel} {what}"
    for what in ("mean", "log spread", "log spread of differences", *(f"log line {k}" for k in range(1, LINES + 1)))
    for channel in FRAME_CHANNELS
)
"""Names of the 220 numbers of :func:`frame_statistics`."""


def is_moving(imu):
    """Whether somebody moves all through each window (..., T, 6): the spread of |a| is above :data:`MOVING`.

    Who stirs, or gets up, moves for a part of it. Such a window says nothing about which way is up while walking.
    """
    parts = np.array_split(np.linalg.norm(np.asarray(imu)[..., :3], axis=-1), 3, axis=-1)
    return np.min([part.std(axis=-1) for part in parts], axis=0) > MOVING


def to_frame(imu):
    """Each window in the frame that its own movement gives: x forward, y left, z up.

    Forward is the horizontal axis whose acceleration keeps time with the vertical, step by step: the sides sway once in
    two steps. A foot that lands lifts the body and brakes it, which tells front from back.

    Parameters
    ----------
    imu : (N, T, 6) array, m/s^2 with gravity and rad/s, at 20 Hz.

    Returns
    -------
    (N, T, 6) float64 array
        The same for any orientation of the device. Rotation about the vertical has no part below
        :data:`SLOWEST_TURN`.

    Raises
    ------
    RecordingError
        See :func:`gravity_direction`.
    """
    imu = np.asarray(imu, dtype=np.float64)
    gravity = split_gravity(imu[..., :3], RATE)[0].mean(axis=1)
    return _without_slow_turns(rotate(imu, _turns(imu[:, None], _unit(gravity))))


def frame_statistics(frame):
    """Describe windows of :func:`to_frame`, (N, T, 6): (N, 220) float32 array, named in :data:`STATISTICS`.

    Amplitudes are logarithms: a phone that sits looser shakes by a factor, and a factor becomes a shift that
    :func:`calibrate` can take away.
    """
    frame = np.asarray(frame, dtype=np.float64)
    length = lambda part: np.linalg.norm(part, axis=2, keepdims=True)
    acceleration, rotation = frame[..., [2, 0, 1]], frame[..., 3:]
    channels = np.concatenate(
        [
            acceleration,
            length(acceleration[..., 1:]),
            length(acceleration),
            rotation,
            length(rotation[..., :2]),
            length(rotation),
        ],
        axis=2,
    )
    mean = channels.mean(axis=1)
    window = np.hanning(frame.shape[1])[:, None]
    lines = np.abs(np.fft.rfft((channels - mean[:, None]) * window, axis=1)[:, 1 : LINES + 1])
    spreads = [np.log(part.std(axis=1) + 0.05) for part in (channels, np.diff(channels, axis=1))]
    table = [mean, *spreads, np.log(lines + 0.5).reshape(len(frame), -1)]
    return np.concatenate(table, axis=1).astype(np.float32)


@dataclass
class Calibrated:
    """Windows in the frame, and what is known of the recordings that they come from. Rows are chosen as of an array."""

    imu: np.ndarray  # (N, T, 6) float32, the device's own axes
    frame: np.ndarray  # (N, T, 6) float32
    statistics: np.ndarray  # (N, 220) float32
    moving: np.ndarray  # (N,) bool
    upright: np.ndarray  # (N,) bool: which way is up while this person walks is known
    mean: np.ndarray  # (N, 220): of the statistics of all moving windows of the recording; zeros where there is none
    variance: np.ndarray  # (N, 220)
    count: np.ndarray  # (N,): how many moving windows that were
    tipping: np.ndarray  # (N,) rad/s: how fast the sensor tips while the person moves; NaN where that is unknown
    placement: np.ndarray  # (N,) str: where the reader says that the device is worn, or ""

    def __len__(self):
        return len(self.imu)

    def __getitem__(self, rows):
        rows = [rows] if isinstance(rows, int | np.integer) else rows
        return replace(self, **{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    @classmethod
    def joined(cls, parts):
        """One after the other."""
        return cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)))


def calibrate(windows, sessions=None, placement=""):
    """Windows in the frame, together with what their recordings say.

    Parameters
    ----------
    windows : (N, T, 6) array in SI units, or datasets.Dataset of windows
        In the order of time.
    sessions : sequence of N labels, optional
        Windows of one label belong together: one person, one day, one pocket. The empty label, and no labels at all,
        mean windows that stand alone. A data set brings its own: its column ``session``, or else ``subject``.
    placement : str or sequence of N str
        Where the device is worn, for the model to be told (:data:`model.PLACEMENTS`); nothing is told by default, but
        what the column ``told`` of a corpus says.

    Returns
    -------
    Calibrated

    Raises
    ------
    WindowError
        If there are not as many labels as windows.
    """
    if hasattr(windows, "column_names"):
        if sessions is None:
            sessions = windows["session" if "session" in windows.column_names else "subject"]
        if not placement and "told" in windows.column_names:
            placement = windows["told"]
        windows = to_array(windows)
    imu, placement = np.asarray(windows, dtype=np.float32), "" if placement is None else placement
    labels = np.asarray([""] * len(imu) if sessions is None else list(sessions), dtype=str)
    if len(labels) != len(imu):
        raise WindowError(f"{len(labels)} session labels for {len(imu)} windows. Give one for each.")
    moving, size = is_moving(imu), len(STATISTICS)
    up, turns = np.zeros((len(imu), 3)), np.zeros((len(imu), 3, 3))
    frame, statistics = np.zeros_like(imu), np.zeros((len(imu), size), np.float32)
    pieces = [slice(first, first + _AT_ONCE) for first in range(0, len(imu), _AT_ONCE)]
    for rows in pieces:
        up[rows] = _unit(split_gravity(imu[rows, :, :3], RATE)[0].mean(axis=1))
        turns[rows] = _turns(imu[rows, None], up[rows])
    upright, place = np.zeros(len(imu), bool), np.full(len(imu), -1)
    for label in np.unique(labels[labels != ""]):
        for rows in _places(np.flatnonzero(labels == label), moving, up):
            steps = rows[moving[rows]]
            if len(steps):
                place[rows], upright[rows] = rows[0], True
                _refer(rows[~moving[rows]], steps, imu, up, turns)
    for rows in pieces:
        turned = _without_slow_turns(rotate(imu[rows].astype(np.float64), turns[rows]))
        frame[rows], statistics[rows] = turned, frame_statistics(turned)
    mean, variance = np.zeros((2, len(imu), size), np.float32)
    count, tipping = np.zeros(len(imu)), np.full(len(imu), np.nan)
    for first in np.unique(place[place >= 0]):
        rows = np.flatnonzero(place == first)
        steps = rows[moving[rows]]
        mean[rows], variance[rows] = statistics[steps].mean(axis=0), statistics[steps].var(axis=0)
        count[rows] = len(steps)
        tipping[rows] = np.sqrt((frame[steps, :, 3:5] ** 2).sum(axis=2).mean())
    return Calibrated(
        imu=imu,
        frame=frame,
        statistics=statistics,
        moving=moving,
        upright=upright,
        mean=mean,
        variance=variance,
        count=count,
        tipping=tipping,
        placement=np.array([placement] * len(imu) if isinstance(placement, str) else list(placement), dtype=object),
    )


def _unit(vectors):
    """Unit vectors (N, 3); without gravity (a sensor that is unplugged, a fall) any direction serves: z."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.where(length > 1e-6, vectors / np.maximum(length, 1e-6), [0.0, 0.0, 1.0])


def _turns(groups, up):
    """Turns (N, 3, 3) into the frame of N groups of windows (N, M, T, 6) whose up is (N, 3)."""
    level = upward(up)
    acceleration = np.einsum("nij,nmtj->nmti", level, groups[..., :3])
    body = acceleration - acceleration.mean(axis=2, keepdims=True)
    lines = np.fft.rfft(body * np.hanning(body.shape[2])[:, None], axis=2)
    frequency = np.fft.rfftfreq(body.shape[2], 1 / RATE)
    lines = lines[:, :, (frequency >= STEPS[0]) & (frequency <= STEPS[1])]
    # How the horizontal goes along with the vertical, step by step: (N, 2), complex because one comes later.
    x, y = (lines[..., :2] * lines[..., 2:].conj()).sum(axis=(1, 2)).T
    angle = 0.5 * np.arctan2(2 * (x * y.conj()).real, np.abs(x) ** 2 - np.abs(y) ** 2)
    along = x * np.cos(angle) + y * np.sin(angle)
    angle = np.where((along * np.exp(-1j * PHASE)).real < 0, angle + np.pi, angle)
    heading = np.zeros((len(up), 3, 3))
    heading[:, 0, 0] = heading[:, 1, 1] = np.cos(angle)
    heading[:, 0, 1], heading[:, 1, 0], heading[:, 2, 2] = np.sin(angle), -np.sin(angle), 1.0
    return heading @ level


def _refer(still, steps, imu, up, turns):
    """Turn still windows as the moving ones nearest to them in time are turned, in place."""
    nearest = np.searchsorted(steps, still)
    for place in np.unique(nearest):
        first = int(np.clip(place - NEIGHBOURS // 2, 0, max(0, len(steps) - NEIGHBOURS)))
        around = steps[first : first + NEIGHBOURS]
        mean = _unit(up[around].mean(axis=0, keepdims=True))
        turns[still[nearest == place]] = _turns(imu[None, around], mean)


def _places(rows, moving, up):
    """The rows of a recording, apart before and after the phone was put somewhere else."""
    steps = rows[moving[rows]]
    if len(steps) < 2 * FEWEST:
        return [rows]
    sums = np.cumsum(up[steps], axis=0)
    cuts = np.arange(FEWEST, len(steps) - FEWEST + 1)
    before, after = sums[cuts - 1], sums[-1] - sums[cuts - 1]
    lengths = np.linalg.norm(before, axis=1), np.linalg.norm(after, axis=1)
    best = (lengths[0] + lengths[1]).argmax()
    cosine = before[best] @ after[best] / (lengths[0][best] * lengths[1][best])
    if cosine > np.cos(np.radians(ANOTHER_PLACE)):
        return [rows]
    # A still window between the two belongs to the nearer one.
    border = (steps[cuts[best] - 1] + steps[cuts[best]]) / 2
    return [*_places(rows[rows <= border], moving, up), *_places(rows[rows > border], moving, up)]


def _without_slow_turns(frame):
    """Rotation about z without what is slower than :data:`SLOWEST_TURN`, forwards and backwards in time."""
    high_pass = scipy.signal.butter(2, SLOWEST_TURN, btype="high", fs=RATE, output="sos")
    frame[..., 5] = scipy.signal.sosfiltfilt(high_pass, frame[..., 5], axis=1, padtype="even", padlen=40)
    return frame

"""A whole recording as rows and bouts: who reads it needs no model."""

import itertools
import json
from dataclasses import dataclass, field, replace

import numpy as np

from llasa_lib import signals
from llasa_lib.errors import RecordingError
from llasa_lib.recordings import Recording
from llasa_lib.timeline import decoding
from llasa_lib.timeline.decoding import CHANGING, ON_FOOT, STILL, TICK, UNKNOWN
from llasa_lib.timeline.steps import steps_of

_SECONDS = TICK / signals.RATE  # of a tick
# The posture of each activity, in the words of HAPT's transitions.
_POSTURE = {"sitting": "sit", "lying": "lie", "standing": "stand", **dict.fromkeys(ON_FOOT, "stand")}
_TURN = 12.0  # degrees: a posture that changes by less has not changed


@dataclass(frozen=True)
class Row:
    """What one window shows, in the light of the others: times in seconds from the recording's beginning."""

    start: float
    end: float
    activity: str
    probability: float
    known: bool


@dataclass(frozen=True)
class Bout(Row):
    """A stretch of one activity; ``steps`` is None where nobody walks, climbs or runs."""

    steps: int | None = None

    @property
    def seconds(self):
        """How long it lasts."""
        return self.end - self.start

    def __str__(self):
        steps = f", {self.steps} steps" if self.steps is not None else ""
        return f"{clock(self.start)} to {clock(self.end)}  {self.activity} ({self.probability:.0%}{steps})"


@dataclass
class Timeline:
    """What somebody did in a recording.

    A sequence of rows, one per window; ``bouts`` are the stretches in between which something changes, and do not
    cross a gap of the recording.
    """

    rows: list[Row]
    bouts: list[Bout]
    duration: float
    activities: list[str] = field(default_factory=list)
    note: str = ""  # what the reader has to know before believing it

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, place):
        return self.rows[place]

    @property
    def steps(self):
        """Steps in all bouts."""
        return sum(bout.steps or 0 for bout in self.bouts)

    def seconds(self):
        """How long each activity lasted in all, s, the longest first."""
        total = {}
        for bout in self.bouts:
            total[bout.activity] = total.get(bout.activity, 0.0) + bout.seconds
        return dict(sorted(total.items(), key=lambda pair: -pair[1]))

    def answer(self, question):
        """Answer a question about the whole recording, or None if it is about none; see :mod:`timeline.answers`."""
        from llasa_lib.timeline import answers

        found = answers.answer(self, question)
        if found is not None and self.note:
            found.text += f" Beware: {self.note}"
        return found

    def to_json(self):
        """Everything as JSON text."""
        rounded = lambda row: {key: round(x, 3) if isinstance(x, float) else x for key, x in row.items()}
        whole = rounded({"note": self.note, "duration": self.duration, "steps": self.steps}) | {
            "seconds": rounded(self.seconds())
        }
        parts = {name: [rounded(vars(row)) for row in getattr(self, name)] for name in ("bouts", "rows")}
        return json.dumps(whole | parts, indent=1)

    def __str__(self):
        total = ", ".join(f"{name} {clock(seconds)}" for name, seconds in self.seconds().items())
        told = [f"beware: {self.note}"] if self.note else []
        return "\n".join([*told, *map(str, self.bouts), f"in all: {total}; {self.steps} steps"])


def clock(seconds):
    """12.3 s, 2:05 min or 1:02:05 h."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02d}:{whole % 60:02d} h"


def from_windows(imu):
    """The windows of one person, one after the other, as a recording at 20 Hz.

    Parameters
    ----------
    imu : (N, 120, 6) array, m/s^2 and rad/s
        Where a window ends with the samples that the next one begins with, they overlap by so much.

    Returns
    -------
    (Recording, (N,) array)
        And where each window begins, in seconds.

    Raises
    ------
    RecordingError
        If there are none, or if they are no windows.
    """
    imu = signals.check_windows(imu, signals.LENGTH)
    if not len(imu):
        raise RecordingError("There are no windows. Give an array of (N, 120, 6) with six seconds or more.")
    steps = np.full(len(imu), signals.LENGTH)  # from each window to the next one
    same = (imu[:-1] == imu[1:, :1]).all(axis=2)  # (N - 1, 120): where a window holds the next one's first sample
    for n in np.flatnonzero(same[:, 1:].any(axis=1)):
        first = 1 + same[n, 1:].argmax()
        if np.ptp(imu[n], axis=0).any() and (imu[n, first:] == imu[n + 1, : signals.LENGTH - first]).all():
            steps[n] = first
    flat = np.concatenate([window[:step] for window, step in zip(imu, steps, strict=True)])
    starts = np.concatenate([[0], np.cumsum(steps[:-1])]) / signals.RATE
    return Recording(np.arange(len(flat)) / signals.RATE, flat[:, :3], flat[:, 3:], subject=""), starts


def build(recording, pieces, starts, names, probabilities, known):
    """Rows and bouts from what a model says of the windows of a recording.

    Parameters
    ----------
    recording : Recording, at its own rate: the steps are counted on it.
    pieces : list of Recording
        The same at 20 Hz, one for each stretch without a gap; see :func:`signals.resample`.
    starts : (N,) array, s on the recording's clock: the beginnings of the windows, increasing.
    names : list of K str, activities
    probabilities : (N, K) array, each row sums to 1
    known : (N,) array of bool, false where a window is like nothing taught

    Returns
    -------
    Timeline
    """
    starts, known = np.asarray(starts, dtype=float), np.asarray(known, dtype=bool)
    probabilities = np.asarray(probabilities, dtype=float)
    if probabilities.shape != (len(starts), len(names)) or known.shape != starts.shape or not len(starts):
        raise RecordingError(
            f"{len(starts)} windows need as many rows of {len(names)} probabilities, not {probabilities.shape}."
        )
    if not np.isfinite(probabilities).all():
        raise RecordingError("A probability is not finite: the model that gave it is broken.")
    states = decoding.states_of(names)
    changes = decoding.changes_of(states)
    rows, bouts = [], []
    duration = recording.duration + 1 / recording.rate
    for piece in pieces:
        inside = (starts >= piece.time[0] - 1e-6) & (starts <= piece.time[-1])
        if not inside.any():
            continue
        first = np.rint((starts[inside] - piece.time[0]) / _SECONDS).astype(int)
        likelihoods = decoding.evidence(
            states, names, probabilities[inside], known[inside], first, piece.acceleration, piece.rotation
        )
        belief = decoding.posterior(likelihoods, changes)
        begin, end = piece.time[[0, -1]] - recording.time[0]
        end = min(end + 1 / signals.RATE, duration)
        rows += _rows(states, belief, first, starts[inside] - recording.time[0])
        path = decoding.best_path(likelihoods, changes)
        path = decoding.refine(path, states, piece.acceleration, piece.rotation)
        bouts += _bouts(states, path, belief, begin, end, piece.acceleration)
    bouts = [_counted(recording, bout) for bout in bouts]
    return Timeline(rows, bouts, duration, list(names))


def _by_name(states, belief):
    """(T, S) -> names, and (T, names): what is the same at rest and moving counts together."""
    names = list(dict.fromkeys(state.activity for state in states))
    member = np.array([[state.activity == name for name in names] for state in states], dtype=float)
    return names, belief @ member


def _rows(states, belief, first, starts):
    """One row per window: the activity that its ticks are likeliest to show; a change of posture is no activity."""
    names, belief = _by_name(states, belief)
    total = np.concatenate([np.zeros((1, len(names))), np.cumsum(belief, axis=0)])
    mean = (total[first + decoding.COVERED] - total[first])[:, : names.index(CHANGING)]
    mean /= mean.sum(axis=1, keepdims=True)
    return [
        Row(float(start), float(start) + signals.LENGTH / signals.RATE, names[k], float(row[k]), names[k] != UNKNOWN)
        for start, row, k in zip(starts, mean, mean.argmax(axis=1), strict=True)
    ]


def _bouts(states, path, belief, begin, end, acceleration):
    """Runs of one activity; a change of posture gets its name, or belongs to what it interrupts."""
    names, belief = _by_name(states, belief)
    path = np.array([names.index(state.activity) for state in states])[path]
    runs = _runs(path)
    labels = [names[path[first]] for first, _ in runs]
    for n, label in enumerate(labels):
        if label == CHANGING:
            around = [labels[n + step] if 0 <= n + step < len(runs) else None for step in (-1, 1)]
            labels[n] = _transition(*around, _turned(acceleration, runs[n]))
    found = []
    for (first, stop), label in zip(runs, labels, strict=True):
        ticks = belief[first:stop, path[first]].tolist()
        if found and found[-1][0] == label:
            found[-1][2:] = [stop, found[-1][3] + ticks]
        else:
            found.append([label, first, stop, ticks])
    time = lambda tick: float(min(begin + tick * _SECONDS, end))
    return [
        Bout(time(first), time(stop), label, float(np.mean(ticks)), label != UNKNOWN)
        for label, first, stop, ticks in found
    ]


def _runs(path):
    """(first, stop) of each stretch of equal values."""
    bounds = [0, *(np.flatnonzero(np.diff(path)) + 1).tolist(), len(path)]
    return list(itertools.pairwise(bounds))


def _turned(acceleration, run):
    """How far gravity has turned from the second before a run of ticks to the second behind it, degrees."""
    first, stop = run[0] * TICK, run[1] * TICK
    one, other = acceleration[max(first - 2 * TICK, 0) : first + 1], acceleration[stop - 1 : stop + 2 * TICK]
    one, other = one.mean(axis=0), (other if len(other) else acceleration[-TICK:]).mean(axis=0)
    cosine = one @ other / max(np.linalg.norm(one) * np.linalg.norm(other), 1e-9)
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))


def _transition(before, after, turned):
    """Name of a change of posture between two activities; one of these if none has taken place."""
    if before is None or after is None or UNKNOWN in (before, after):
        return before if before not in (None, UNKNOWN) else after or UNKNOWN
    postures = _POSTURE.get(before), _POSTURE.get(after)
    if None not in postures and postures[0] != postures[1]:
        return f"{postures[0]} to {postures[1]}"
    if before != after and "keeping still" in (before, after) and turned >= _TURN:
        return CHANGING
    # What was no change of posture was unrest, and belongs to the rest around it.
    return before if before in STILL or after not in STILL else after


def _counted(recording, bout):
    """The bout with its steps."""
    if bout.activity not in ON_FOOT:
        return bout
    first, stop = np.searchsorted(recording.time, recording.time[0] + np.array([bout.start, bout.end]))
    return replace(bout, steps=steps_of(recording.time[first:stop], recording.acceleration[first:stop]))

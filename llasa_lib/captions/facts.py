"""What can be said of a window, measured: named facts with unit, axis and the seconds that prove them.

Everything is computed *over time*, never across the axes of one sample. Nothing here knows what an activity looks like.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from llasa_lib.errors import RecordingError

RATE = 20.0  # samples per second
SECONDS = 6.0  # length of a window
AXES = "xyz"

# What the words mean. Spread is the standard deviation of |acceleration| over time, m/s^2.
LEVELS = ((0.3, "still"), (1.5, "light"), (2.5, "moderate"), (3.5, "strong"), (math.inf, "very strong"))
STILL = LEVELS[0][0]
STEP_SECONDS = (0.3, 0.8)  # time between two steps: 3.3 steps/s is a sprint, 1.25 a slow staircase
LEAST_REGULARITY = 0.3  # below this, a repetition is chance: of still windows about one in ten gets this far
AS_HIGH = 0.85  # of two peaks, the earlier counts if it has this share of the height of the other
LEAST_GAIT = 0.5  # m/s^2 of spread; below it there is noise that repeats, but nobody walks
TREND_RATIO = 1.25  # one half must move this much more than the other, and by 0.1 m/s^2, to be called a trend
TREND_LEAST = 0.1

_PLAUSIBLE = (5.0, 40.0)  # median |acceleration|, m/s^2, of a window that includes gravity
_FASTEST = 60.0  # rad/s; phones saturate at 35 (2,000 degrees per second)


def say(value):
    """A number as the texts print it: whole if it counts, two decimals below one, otherwise one."""
    if isinstance(value, (int, np.integer)):
        return str(int(value))
    text = f"{value:.1f}" if abs(value) >= 1 else f"{value:.2f}"
    return text.replace("-0.00", "0.00")


@dataclass(frozen=True)
class Fact:
    """One measured value.

    Attributes
    ----------
    name : str
    value : float, int, str or None
        None means that there is nothing to report, for example no regular step rhythm.
    unit : str or None
        ``"m/s²"``, ``"rad/s"``, ``"steps/s"``, ``"Hz"``, ``"degrees"`` or ``"s"``; None for words and ratios.
    axis : "x", "y", "z" or None
        The axis that the value belongs to; None if it belongs to the magnitude, which no rotation changes.
    interval : (float, float)
        First and last second of the samples that prove it, from the start of the window.
    """

    name: str
    value: float | int | str | None
    unit: str | None = None
    axis: str | None = None
    interval: tuple[float, float] = (0.0, SECONDS)

    def __str__(self):
        value = "none" if self.value is None else self.value if isinstance(self.value, str) else say(self.value)
        return " ".join(filter(None, [self.name, value, self.unit, self.axis and f"({self.axis})"]))


class Facts(Mapping):
    """Facts by name: ``facts["cadence"].value``. Prints as a table; goes to JSON and back unchanged."""

    def __init__(self, facts=()):
        self._facts = {fact.name: fact for fact in facts}

    def __getitem__(self, name):
        return self._facts[name]

    def __iter__(self):
        return iter(self._facts)

    def __len__(self):
        return len(self._facts)

    def __repr__(self):
        return "\n".join(str(fact) for fact in self._facts.values())

    def only(self, *names):
        """The facts of these names, in this order."""
        return Facts(self._facts[name] for name in names)

    def to_dict(self):
        """Plain lists and numbers, ready for ``json.dumps``."""
        return {f.name: [f.value, f.unit, f.axis, list(f.interval)] for f in self._facts.values()}

    @classmethod
    def from_dict(cls, values):
        """The inverse of ``to_dict``."""
        return cls(Fact(name, value, unit, axis, tuple(seen)) for name, (value, unit, axis, seen) in values.items())


def check_windows(imu, rate=RATE):
    """Return windows as float64, or say what is wrong with them.

    Parameters
    ----------
    imu : (N, T, 6) array
        Acceleration x, y, z in m/s^2 with gravity, then rotation x, y, z in rad/s. T is six seconds.
    rate : float
        Samples per second.

    Raises
    ------
    RecordingError
        Wrong shape, a value that is not a number, or a unit that cannot be m/s^2 and rad/s.
    """
    imu = np.asarray(imu, dtype=np.float64)
    length = round(SECONDS * rate)
    if imu.ndim != 3 or imu.shape[1:] != (length, 6):
        raise RecordingError(
            f"a window must be {length} samples x 6 channels ({SECONDS:g} s at {rate:g} Hz), "
            f"but the array has the shape {imu.shape[1:] if imu.ndim == 3 else imu.shape}. "
            "Cut windows with signals.make_windows."
        )
    bad = np.argwhere(~np.isfinite(imu))
    if len(bad):
        n, t, c = bad[0]
        raise RecordingError(
            f"window {n}, sample {t}, channel {c} is not a finite number. "
            "Drop windows with gaps before measuring; signals.make_windows does."
        )
    size = np.median(np.linalg.norm(imu[:, :, :3], axis=2), axis=1)
    for n in np.flatnonzero((size < _PLAUSIBLE[0]) | (size > _PLAUSIBLE[1]))[:1]:
        raise RecordingError(
            f"window {n} has a median |acceleration| of {size[n]:.3g}; with gravity, "
            "in m/s², it must be near 9.8. If it is near 1 the unit is g: multiply by 9.80665. "
            "If it is near 0, gravity was removed or the sensor is off."
        )
    if len(imu) and np.abs(imu[:, :, 3:]).max() > _FASTEST:
        raise RecordingError(
            f"rotation reaches {np.abs(imu[:, :, 3:]).max():.0f}, more than any phone can measure in rad/s. "
            "If the unit is degrees per second, convert with numpy.deg2rad."
        )
    return imu


def autocorrelation(signal, lags):
    """How alike a signal is to itself some samples later: Pearson's r of the two overlapping parts.

    Parameters
    ----------
    signal : (N, T) array
    lags : sequence of int, samples

    Returns
    -------
    (N, len(lags)) array, -1 to 1; 0 where a part is constant.
    """
    columns = []
    for lag in lags:
        early, late = signal[:, :-lag], signal[:, lag:]
        early = early - early.mean(axis=1, keepdims=True)
        late = late - late.mean(axis=1, keepdims=True)
        scale = np.sqrt((early**2).sum(axis=1) * (late**2).sum(axis=1))
        columns.append(np.divide((early * late).sum(axis=1), scale, out=np.zeros(len(signal)), where=scale > 1e-12))
    return np.stack(columns, axis=1)


def cadence(magnitude, rate=RATE):
    """Steps per second and their regularity, from the highest peak of the autocorrelation.

    Parameters
    ----------
    magnitude : (N, T) array
        |acceleration|, m/s^2. The magnitude, because a rotated phone has the same one.
    rate : float
        Samples per second.

    Returns
    -------
    steps, regularity : (N,) arrays
        Steps per second (NaN without a peak between 0.3 and 0.8 s) and the correlation there, 0 to 1.
        The search stops before the stride, two steps long, which often repeats better than the step.
    """
    first, last = (round(seconds * rate) for seconds in STEP_SECONDS)
    lags = np.arange(first - 1, last + 2)  # one more on each side, so that a peak can be told from a slope
    height = autocorrelation(magnitude, lags)
    left, middle, right = height[:, :-2], height[:, 1:-1], height[:, 2:]
    peak = np.where((middle > left) & (middle >= right), middle, -np.inf)
    # The first peak nearly as high as the highest: two fast steps repeat as well as one.
    best = (peak >= AS_HIGH * peak.max(axis=1, keepdims=True)).argmax(axis=1)
    row = np.arange(len(height))
    a, b, c = left[row, best], middle[row, best], right[row, best]
    found = np.isfinite(peak[row, best]) & (b > 0)
    # A parabola through the peak and its neighbours: at 20 Hz, lags 10 and 11 are 2.0 and 1.8 steps/s apart.
    bend = a - 2 * b + c
    shift = np.divide(0.5 * (a - c), bend, out=np.zeros(len(height)), where=np.abs(bend) > 1e-12)
    steps = rate / (lags[1:-1][best] + shift)
    return np.where(found, steps, np.nan), np.where(found, np.clip(b, 0, 1), 0.0)


def dominant_frequency(signals, rate=RATE, lowest=0.3):
    """Frequency of the highest spectral line over time, Hz: (N, T, C) array -> (N, C) array."""
    length = signals.shape[1]
    body = (signals - signals.mean(axis=1, keepdims=True)) * np.hanning(length)[None, :, None]
    power = np.abs(np.fft.rfft(body, n=8 * length, axis=1)) ** 2  # zero-padding: lines every 0.02 Hz
    frequency = np.fft.rfftfreq(8 * length, 1 / rate)
    return frequency[np.where((frequency >= lowest)[None, :, None], power, -1).argmax(axis=1)]


def level(spread):
    """The word for a spread of |acceleration| in m/s^2: still, light, moderate, strong or very strong."""
    return next(word for limit, word in LEVELS if spread < limit)


def trend(first, second):
    """``"rising"``, ``"falling"`` or ``"steady"``, from the spread in the two halves of a window, m/s^2."""
    if abs(second - first) < TREND_LEAST or max(first, second) < TREND_RATIO * min(first, second):
        return "steady"
    return "rising" if second > first else "falling"


def measure_all(imu, rate=RATE):
    """Measure many windows at once.

    Parameters
    ----------
    imu : (N, T, 6) array
        Acceleration in m/s^2 with gravity, rotation in rad/s; T is six seconds.
    rate : float
        Samples per second.

    Returns
    -------
    list of N :class:`Facts`

    Raises
    ------
    RecordingError
        See :func:`check_windows`.
    """
    imu = check_windows(imu, rate)
    if not len(imu):
        return []
    acceleration, rotation = imu[:, :, :3], imu[:, :, 3:]
    size, turning = np.linalg.norm(acceleration, axis=2), np.linalg.norm(rotation, axis=2)  # (N, T)
    gravity = acceleration.mean(axis=1)  # (N, 3): axis=1 is time
    upright = np.clip(gravity / np.maximum(np.linalg.norm(gravity, axis=1, keepdims=True), 1e-9), -1, 1)
    steps, regularity = cadence(size, rate)
    parts = lambda signal, count: np.array_split(signal, count, axis=1)
    spread = lambda count: np.stack([part.std(axis=1) for part in parts(size, count)], axis=1)  # (N, count)
    m = {
        "gravity": gravity,
        "tilt": np.degrees(np.arccos(np.abs(upright).max(axis=1))),
        "spread": acceleration.std(axis=1),
        "frequency": dominant_frequency(acceleration, rate),
        "intensity": size.std(axis=1),
        "halves": spread(2),
        "thirds": spread(3),
        "turning": np.stack([part.mean(axis=1) for part in parts(turning, 3)], axis=1),
        "still": (spread(int(SECONDS)) < STILL).sum(axis=1),
        "steps": steps,
        "regularity": regularity,
        "impact": size.max(axis=1),
        "impact_time": size.argmax(axis=1) / rate,
        "rotation": turning.mean(axis=1),
        "rotation_peak": turning.max(axis=1),
        "rotation_time": turning.argmax(axis=1) / rate,
        "rotation_rms": np.sqrt((rotation**2).mean(axis=1)),
    }
    return [_facts({name: values[n] for name, values in m.items()}) for n in range(len(imu))]


def _facts(m):
    """Name the measurements of one window."""
    down = int(np.abs(m["gravity"]).argmax())
    most, turns = int(m["spread"].argmax()), int(m["rotation_rms"].argmax())
    number = lambda value: round(float(value), 6)  # far below any sensor's noise
    regular = m["regularity"] >= LEAST_REGULARITY and m["intensity"] >= LEAST_GAIT
    around = lambda time: (max(0.0, number(time - 0.15)), min(SECONDS, number(time + 0.15)))
    facts = [
        Fact("gravity", number(m["gravity"][down]), "m/s²", AXES[down]),
        Fact("posture", f"{AXES[down]} axis {'up' if m['gravity'][down] > 0 else 'down'}", None, AXES[down]),
        Fact("tilt", number(m["tilt"]), "degrees", AXES[down]),
        Fact("intensity", number(m["intensity"]), "m/s²"),
        Fact("level", level(m["intensity"])),
        Fact("still_seconds", int(m["still"]), "s"),
        Fact("cadence", number(m["steps"]) if regular else None, "steps/s"),
        Fact("regularity", number(m["regularity"])),
        Fact("strongest_axis", number(m["spread"][most]), "m/s²", AXES[most]),
        Fact("rotation", number(m["rotation"]), "rad/s"),
        Fact("rotation_peak", number(m["rotation_peak"]), "rad/s", None, around(m["rotation_time"])),
        Fact("rotation_axis", number(m["rotation_rms"][turns]), "rad/s", AXES[turns]),
        Fact("impact", number(m["impact"]), "m/s²", None, around(m["impact_time"])),
        Fact("impact_time", number(m["impact_time"]), "s", None, around(m["impact_time"])),
        Fact("trend", trend(*m["halves"])),
    ]
    facts += [Fact(f"spread_{a}", number(m["spread"][i]), "m/s²", a) for i, a in enumerate(AXES)]
    facts += [Fact(f"frequency_{a}", number(m["frequency"][i]), "Hz", a) for i, a in enumerate(AXES)]
    for name, values, unit in (("intensity", m["thirds"], "m/s²"), ("rotation", m["turning"], "rad/s")):
        for i, value in enumerate(values):
            facts.append(Fact(f"{name}_third_{i + 1}", number(value), unit, None, (2.0 * i, 2.0 * i + 2.0)))
    return Facts(facts)


def measure(window, rate=RATE):
    """Measure one window.

    Parameters
    ----------
    window : (120, 6) array
        Acceleration x, y, z in m/s^2 with gravity, rotation x, y, z in rad/s.
    rate : float
        Samples per second.

    Returns
    -------
    Facts

    Examples
    --------
    >>> at_rest = np.zeros((120, 6))
    >>> at_rest[:, 0] = 9.81
    >>> print(measure(at_rest)["gravity"])
    gravity 9.8 m/s² (x)
    """
    return measure_all(np.asarray(window)[None], rate)[0]

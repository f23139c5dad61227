"""What can be said of a window, measured: named facts with unit, axis and the seconds that prove them.

Everything is computed *over time*, never across the axes of one sample. Nothing here knows what an activity looks like.

A fact's confidence, 0 to 1, says how far it is from being another statement:

=========================================  =======================================================================
gravity, posture                           (largest - second) / largest of the mean |acceleration x|, |y|, |z|
strongest_axis, rotation_axis              the same of the spreads, of the root mean squares of rotation
level, still_seconds                       distance to the nearest threshold of the words, relative to it
cadence, symmetry                          the regularity; without a cadence, the distance to the thresholds
frequency_x, _y, _z                        share of the power within 0.15 Hz of the dominant frequency
impacts                                    relative distance of the closest peak to the height that counts
trend, roughest_third, transition, change  relative distance to the thresholds at which the word changes
everything else                            1: a value that is averaged or read off
=========================================  =======================================================================
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import scipy

from llasa_lib.signals import check_windows

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
CLEAR_RHYTHM = 0.6  # regularity from which a rhythm is called clear, not loose
SYMMETRY_EVEN, SYMMETRY_UNEVEN = 0.8, 0.6  # from here on both steps are alike; up to here they differ
IMPACT_SPREADS = 2.0  # an impact rises this many spreads above the mean of |acceleration|, at least,
IMPACT_LEAST = 3.0  # and this many m/s^2
IMPACT_GAP = 0.25  # s, between two impacts: a foot that lands rings for a while
TURN_LEAST = 40.0  # degrees between the first and the last second that make a change of posture
CHANGE_RATIO = 2.0  # a change point has this many times the spread on one side of it
CHANGE_FLOOR = 0.1  # m/s^2, added to both spreads: noise that doubles is no change
CLIPPED_SAMPLES = 6  # so many samples at a channel's own extreme, and this far out, m/s^2: the sensor's range ended
CLIPPED_LEAST = 15.0
CONSTANT = 1e-6  # a channel that spreads less is dead: every real sensor has noise

_THIRDS = ((0.0, 2.0), (2.0, 4.0), (4.0, 6.0))  # seconds
_CHUNK = 512  # windows measured at once: spectra of a whole data set would not fit into memory


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
    confidence : float
        How far the statement is from being another one, 0 to 1. The module's table defines it for each fact.
    """

    name: str
    value: float | int | str | None
    unit: str | None = None
    axis: str | None = None
    interval: tuple[float, float] = (0.0, SECONDS)
    confidence: float = 1.0

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
        return {f.name: [f.value, f.unit, f.axis, list(f.interval), f.confidence] for f in self._facts.values()}

    @classmethod
    def from_dict(cls, values):
        """The inverse of ``to_dict``."""
        return cls(Fact(name, v, unit, axis, tuple(seen), sure) for name, (v, unit, axis, seen, sure) in values.items())


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


def symmetry(magnitude, steps, rate=RATE):
    """How alike the two steps of a stride are (after the step and stride regularity of Moe-Nilssen & Helbostad 2004).

    Parameters
    ----------
    magnitude : (N, T) array
        |acceleration|, m/s^2.
    steps : (N,) array
        Steps per second; NaN without a rhythm.
    rate : float
        Samples per second.

    Returns
    -------
    (N,) array
        Autocorrelation at one step and at two, the smaller over the larger, 0 to 1: a limp repeats only
        every second step. NaN without a rhythm.
    """
    last = round(2 * STEP_SECONDS[1] * rate) + 2
    height = autocorrelation(magnitude, range(1, last + 1))  # column n belongs to lag n + 1

    def at(lag):  # linear between two samples
        low = np.nan_to_num(lag, nan=1).astype(int)
        below, above = (np.take_along_axis(height, low[:, None] + place, axis=1)[:, 0] for place in (-1, 0))
        return np.maximum(below + (lag - low) * (above - below), 0)

    one, two = at(rate / steps), at(2 * rate / steps)
    return np.where(np.isnan(steps), np.nan, np.minimum(one, two) / np.maximum(np.maximum(one, two), 1e-9))


def dominant_frequency(signals, rate=RATE, lowest=0.3):
    """Frequency of the highest spectral line over time, Hz: (N, T, C) array -> (N, C) array."""
    return spectral_peak(signals, rate, lowest)[0]


def spectral_peak(signals, rate=RATE, lowest=0.3, around=0.15):
    """The highest spectral line over time, and how much of the power lies near it.

    Parameters
    ----------
    signals : (N, T, C) array
    rate : float
        Samples per second.
    lowest : float, Hz
        Slower movement is a change of posture, not a swing.
    around : float, Hz
        What is as near as this to the line belongs to it.

    Returns
    -------
    frequency, share : (N, C) arrays
        Hz, and the share of the power, 0 to 1; NaN and 0 for a channel that does not change.
    """
    length = signals.shape[1]
    body = (signals - signals.mean(axis=1, keepdims=True)) * np.hanning(length)[None, :, None]
    power = np.abs(np.fft.rfft(body, n=8 * length, axis=1)) ** 2  # zero-padding: lines every 0.02 Hz
    frequency = np.fft.rfftfreq(8 * length, 1 / rate)
    power = power[:, frequency >= lowest]
    frequency = frequency[frequency >= lowest]
    best = power.argmax(axis=1)  # (N, C)
    reach = int(around * 8 * length / rate)
    total = np.pad(power.cumsum(axis=1), ((0, 0), (1, 0), (0, 0)))
    ends = (np.clip(best + end, 0, len(frequency))[:, None] for end in (-reach, reach + 1))
    below, above = (np.take_along_axis(total, end, axis=1)[:, 0] for end in ends)
    alive = signals.std(axis=1) >= CONSTANT
    share = np.divide(above - below, total[:, -1], out=np.zeros(best.shape), where=alive)
    return np.where(alive, frequency[best], np.nan), share


def count_impacts(magnitude, rate=RATE):
    """How often |acceleration| peaks far above its mean.

    Parameters
    ----------
    magnitude : (N, T) array
        |acceleration|, m/s^2.
    rate : float
        Samples per second.

    Returns
    -------
    count : (N,) array of int
        Local maxima at least 2 spreads and 3 m/s^2 above the mean, no two within 0.25 s.
    closest : (N,) array
        Relative distance of the closest local maximum to the height that counts, 0 to 1.
    """
    gap = round(IMPACT_GAP * rate)
    mean, spread = magnitude.mean(axis=1, keepdims=True), magnitude.std(axis=1, keepdims=True)
    height = (magnitude - mean) / np.maximum(IMPACT_SPREADS * spread, IMPACT_LEAST)
    # All windows in one row, with walls between them: a wall is no peak of a window and too far away to hide one.
    wall = 2 * gap + 2
    row = np.pad(height, ((0, 0), (0, wall)), constant_values=np.inf)
    peaks, _ = scipy.signal.find_peaks(row.ravel(), distance=gap)
    window, sample = np.divmod(peaks, row.shape[1])
    window, sample = window[sample < magnitude.shape[1]], sample[sample < magnitude.shape[1]]
    distance = height[window, sample] - 1
    closest = np.ones(len(magnitude))
    np.minimum.at(closest, window, np.abs(distance))
    return np.bincount(window[distance >= 0], minlength=len(magnitude)), closest


def change_point(magnitude, rate=RATE):
    """The whole second before and after which |acceleration| spreads most differently.

    Parameters
    ----------
    magnitude : (N, T) array
        |acceleration|, m/s^2.
    rate : float
        Samples per second.

    Returns
    -------
    second : (N,) array of int
        1 to 5.
    ratio : (N,) array
        The later spread over the earlier, each with 0.1 m/s^2 added: above 1 if the motion grows there.
    """
    seconds = np.arange(1, int(SECONDS))
    logs = []
    for second in seconds:
        before, after = np.split(magnitude, [round(second * rate)], axis=1)
        logs.append(np.log(after.std(axis=1) + CHANGE_FLOOR) - np.log(before.std(axis=1) + CHANGE_FLOOR))
    logs = np.stack(logs, axis=1)
    best = np.abs(logs).argmax(axis=1)
    return seconds[best], np.exp(logs[np.arange(len(logs)), best])


def sensor_problems(imu):
    """What is wrong with the sensor in each window, in words, or None: (N, T, 6) array -> list of N."""
    sensors = [f"{sensor} {axis}" for sensor in ("acceleration", "rotation") for axis in AXES]
    constant = imu.std(axis=1) < CONSTANT  # (N, 6)
    clipped = np.zeros_like(constant)
    for extreme in (imu.max(axis=1), imu.min(axis=1)):
        often = (imu == extreme[:, None]).sum(axis=1) >= CLIPPED_SAMPLES
        clipped |= often & (np.abs(extreme) > CLIPPED_LEAST)
    clipped[:, 3:] = False  # the limit is one of acceleration
    said = [None] * len(imu)
    for n in np.flatnonzero((constant | clipped).any(axis=1)):
        words = [
            f"{sensors[i]} is {'constant' if constant[n, i] else 'clipped'}"
            for i in range(6)
            if constant[n, i] or clipped[n, i]
        ]
        said[n] = ", ".join(words)
    return said


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
    WindowError
        See :func:`llasa_lib.signals.check_windows`.
    """
    imu = check_windows(imu, round(SECONDS * rate), dtype=np.float64)
    return [facts for n in range(0, len(imu), _CHUNK) for facts in _measure(imu[n : n + _CHUNK], rate)]


def _measure(imu, rate):
    """Measure windows that have been checked."""
    columns = [
        *_posture_facts(imu[:, :, :3], rate),
        *_motion_facts(np.linalg.norm(imu[:, :, :3], axis=2), rate),
        *_axis_facts(imu[:, :, :3], rate),
        *_rotation_facts(imu[:, :, 3:], rate),
        _column("sensor_problem", sensor_problems(imu)),
    ]
    return [Facts(row) for row in zip(*columns, strict=True)]


def _column(name, values, unit=None, axis=None, interval=(0.0, SECONDS), confidence=1.0):
    """One fact of all windows. NaN becomes None; an axis, interval or confidence given once holds for all."""
    values = np.round(values, 6).tolist() if isinstance(values, np.ndarray) else values  # far below a sensor's noise
    every = lambda given: given if isinstance(given, list) else [given] * len(values)
    confidence = np.round(np.clip(confidence, 0, 1), 6).tolist()
    return [
        Fact(name, None if value != value else value, unit, a, seen, sure)
        for value, a, seen, sure in zip(values, every(axis), every(interval), every(confidence), strict=True)
    ]


def _lead(sizes):
    """Which of three is largest, and how far it is ahead: (N, 3) array -> ((N,) places, (N,) shares)."""
    ordered = np.sort(sizes, axis=1)
    return sizes.argmax(axis=1), 1 - ordered[:, -2] / np.maximum(ordered[:, -1], 1e-9)


def _margin(*conditions):
    """How far all of some conditions are from holding, or one of them from failing.

    Each condition is (value, threshold) and holds from the threshold on; the distance is relative to it.
    """
    return np.abs(np.min([value / threshold - 1 for value, threshold in conditions], axis=0))


def _letters(places):
    return [AXES[place] for place in places]


def _instants(samples, rate):
    """The seconds around a sample, as an interval inside the window."""
    return [(max(0.0, round(s / rate - 0.15, 6)), min(SECONDS, round(s / rate + 0.15, 6))) for s in samples.tolist()]


def _spreads(magnitude, count):
    """Standard deviation in each of some equal parts of a window: (N, T) array -> (N, count) array."""
    return np.stack([part.std(axis=1) for part in np.array_split(magnitude, count, axis=1)], axis=1)


def _larger(sizes):
    """The two conditions of TREND_RATIO and TREND_LEAST for the largest and smallest of some spreads."""
    least, most = sizes.min(axis=1), sizes.max(axis=1)
    return (most, TREND_RATIO * np.maximum(least, 1e-9)), (most - least, TREND_LEAST)


def _posture_facts(acceleration, rate):
    """Gravity: which axis carries it, how it leans, and whether that changes."""
    mean = acceleration.mean(axis=1)  # (N, 3): axis=1 is time
    down, lead = _lead(np.abs(mean))
    value = mean[np.arange(len(mean)), down]
    tilt = np.degrees(np.arccos(np.clip(np.abs(value) / np.maximum(np.linalg.norm(mean, axis=1), 1e-9), 0, 1)))
    second = round(rate)
    first, last = acceleration[:, :second].mean(axis=1), acceleration[:, -second:].mean(axis=1)
    turn = np.degrees(np.arctan2(np.linalg.norm(np.cross(first, last), axis=1), (first * last).sum(axis=1)))
    words = [f"{AXES[axis]} axis {'up' if up else 'down'}" for axis, up in zip(down, value > 0, strict=True)]
    transition = ["posture change" if angle >= TURN_LEAST else None for angle in turn]
    return [
        _column("gravity", value, "m/s²", _letters(down), confidence=lead),
        _column("posture", words, None, _letters(down), confidence=lead),
        _column("tilt", tilt, "degrees", _letters(down)),
        _column("turn", turn, "degrees"),
        _column("transition", transition, confidence=_margin((turn, TURN_LEAST))),
    ]


def _motion_facts(size, rate):
    """|acceleration|, which no rotation of the sensor changes: how strong, how regular, and when."""
    spread, seconds = size.std(axis=1), _spreads(size, int(SECONDS))
    edges = np.array([limit for limit, _ in LEVELS[:-1]])
    impacts, closest = count_impacts(size, rate)
    highest = size.argmax(axis=1)
    moments = _instants(highest, rate)
    return [
        _column("intensity", spread, "m/s²"),
        _column("level", [level(s) for s in spread], confidence=np.abs(spread[:, None] / edges - 1).min(axis=1)),
        _column(
            "still_seconds", (seconds < STILL).sum(axis=1), "s", confidence=np.abs(seconds / STILL - 1).min(axis=1)
        ),
        *_rhythm_facts(size, spread, rate),
        _column("impact", size.max(axis=1), "m/s²", None, moments),
        _column("impact_time", highest / rate, "s", None, moments),
        _column("impacts", impacts, confidence=closest),
        *_course_facts(size, rate),
    ]


def _rhythm_facts(size, spread, rate):
    """Steps, if something repeats like steps."""
    steps, regularity = cadence(size, rate)
    conditions = (regularity, LEAST_REGULARITY), (spread, LEAST_GAIT)
    regular = (regularity >= LEAST_REGULARITY) & (spread >= LEAST_GAIT)
    steps, sure = np.where(regular, steps, np.nan), np.where(regular, regularity, _margin(*conditions))
    return [
        _column("cadence", steps, "steps/s", confidence=sure),
        _column("regularity", regularity),
        _column("symmetry", symmetry(size, steps, rate), confidence=sure),
    ]


def _course_facts(size, rate):
    """What happens between the first second and the last."""
    halves, thirds = _spreads(size, 2), _spreads(size, 3)
    second, ratio = change_point(size, rate)
    change = _margin((np.maximum(ratio, 1 / ratio), CHANGE_RATIO))
    changed = np.maximum(ratio, 1 / ratio) >= CHANGE_RATIO
    direction = [
        ("starts moving" if r > 1 else "calms down") if c else None for r, c in zip(ratio, changed, strict=True)
    ]
    conditions = _larger(thirds)
    rougher = np.all([value >= threshold for value, threshold in conditions], axis=0)
    most = thirds.argmax(axis=1)
    roughest = [("first", "middle", "last")[place] if r else None for place, r in zip(most, rougher, strict=True)]
    seen = [_THIRDS[place] if r else (0.0, SECONDS) for place, r in zip(most, rougher, strict=True)]
    return [
        _column("trend", [trend(*pair) for pair in halves], confidence=_margin(*_larger(halves))),
        _column(
            "change_time", [int(s) if c else None for s, c in zip(second, changed, strict=True)], "s", confidence=change
        ),
        _column("change", direction, confidence=change),
        _column("roughest_third", roughest, None, None, seen, _margin(*conditions)),
        *(
            _column(f"intensity_third_{i + 1}", thirds[:, i], "m/s²", None, interval)
            for i, interval in enumerate(_THIRDS)
        ),
    ]


def _axis_facts(acceleration, rate):
    """How much each axis of acceleration varies, and how fast."""
    spread = acceleration.std(axis=1)
    frequency, share = spectral_peak(acceleration, rate)
    most, lead = _lead(spread)
    return [
        _column("strongest_axis", spread.max(axis=1), "m/s²", _letters(most), confidence=lead),
        *(_column(f"spread_{axis}", spread[:, i], "m/s²", axis) for i, axis in enumerate(AXES)),
        *(
            _column(f"frequency_{axis}", frequency[:, i], "Hz", axis, confidence=share[:, i])
            for i, axis in enumerate(AXES)
        ),
    ]


def _rotation_facts(rotation, rate):
    """How fast the sensor turns, when fastest, and about which axis."""
    speed = np.linalg.norm(rotation, axis=2)
    fastest = speed.argmax(axis=1)
    strength = np.sqrt((rotation**2).mean(axis=1))
    most, lead = _lead(strength)
    thirds = [part.mean(axis=1) for part in np.array_split(speed, 3, axis=1)]
    return [
        _column("rotation", speed.mean(axis=1), "rad/s"),
        _column("rotation_peak", speed.max(axis=1), "rad/s", None, _instants(fastest, rate)),
        _column("rotation_axis", strength.max(axis=1), "rad/s", _letters(most), confidence=lead),
        *(_column(f"rotation_third_{i + 1}", values, "rad/s", None, _THIRDS[i]) for i, values in enumerate(thirds)),
    ]


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

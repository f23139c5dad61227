"""From a window to sentences that can be proved: measure first, write second.

Notable features:

- ``measure``/``measure_all``: named facts with unit, axis and the seconds they come from, computed *over
  time*, never across the axes of one sample.
- ``describe``: a caption of 20 to 25 words and a step-by-step narration, from a small grammar. Every number
  in it is a rounded fact with its unit. The same seed gives the same words.
- ``check_text``: reads such a sentence back, recomputes every number from the raw window in plain numpy, by
  code that shares nothing with ``measure`` but the definitions, and says claim by claim whether it holds.
- Nothing here knows what an activity looks like. A label is copied into the text if given, never guessed.
"""

import math
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .errors import ModelError, RecordingError

RATE = 20.0  # samples per second
SECONDS = 6.0  # length of a window
AXES = "xyz"
WORDS = (20, 25)  # shortest and longest caption, in words

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


@dataclass(frozen=True)
class Caption:
    """A caption (20 to 25 words), a narration (4 to 6 sentences) and the facts that they cite."""

    text: str
    narration: str
    facts: Facts


@dataclass(frozen=True)
class Claim:
    """One statement found in a text, beside what the window says.

    ``start`` and ``end`` are places in the text, ``channels`` and ``interval`` (s) the samples that decide,
    ``holds`` is True, False, or None for a number that cannot be attached to any quantity.
    """

    text: str
    start: int
    end: int
    quantity: str
    claimed: float | str
    measured: float | str | None
    holds: bool | None
    channels: tuple[int, ...] = ()
    interval: tuple[float, float] = (0.0, SECONDS)


# ---------------------------------------------------------------------------------------------------- measure


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


# --------------------------------------------------------------------------------------------------- describe


def say(value):
    """A number as the texts print it: whole if it counts, two decimals below one, otherwise one."""
    if isinstance(value, (int, np.integer)):
        return str(int(value))
    text = f"{value:.1f}" if abs(value) >= 1 else f"{value:.2f}"
    return text.replace("-0.00", "0.00")


def is_moving(facts):
    """Whether the spread of acceleration is above what we call still."""
    return facts["level"].value != "still"


def phrases(facts):
    """Every clause that is true of these facts, by the name of the fact it cites.

    Returns
    -------
    dict of str -> list of str
        Each string is a full clause (subject and verb), so that any two can be joined.
    """
    f = facts
    n = lambda name: say(f[name].value)
    x, most, turns = f["gravity"].axis, f["strongest_axis"].axis, f["rotation_axis"].axis
    up, word, moving = f["posture"].value.split()[-1], f["level"].value, is_moving(f)
    said = {
        "gravity": [
            f"gravity lies along {x} at {n('gravity')} m/s²",
            f"the {x} axis carries gravity, {n('gravity')} m/s²",
            f"the {x} axis points {up}, reading {n('gravity')} m/s²",
            f"axis {x} points {up} with {n('gravity')} m/s²",
        ],
        "tilt": [
            f"the {x} axis leans {f['tilt'].value:.0f} degrees from vertical",
            f"the tilt is {f['tilt'].value:.0f} degrees",
        ],
        "impact": [
            f"the largest impact reaches {n('impact')} m/s²",
            f"the largest impact, {n('impact')} m/s², comes after {n('impact_time')} s",
        ]
        if moving
        else [f"acceleration peaks at {n('impact')} m/s²", f"acceleration peaks at only {n('impact')} m/s²"],
        "rotation": [
            f"rotation averages {n('rotation')} rad/s",
            f"turning averages only {n('rotation')} rad/s",
        ][: 1 if moving else 2],
        "rotation_peak": [
            f"turning peaks at {n('rotation_peak')} rad/s",
            f"rotation peaks at {n('rotation_peak')} rad/s",
        ],
        "still_seconds": [
            f"it stays still for {n('still_seconds')} of 6 seconds",
            f"{n('still_seconds')} of 6 seconds are still",
        ],
        "trend": {
            "rising": ["the motion grows towards the end", "the second half moves more"],
            "falling": ["the motion fades towards the end", "the second half moves less"],
            "steady": ["both halves move alike", "the motion keeps steady throughout"],
        }[f["trend"].value],
    }
    if moving:
        said["intensity"] = [
            f"motion is {word} at {n('intensity')} m/s²",
            f"acceleration varies by {n('intensity')} m/s², {word} motion",
            f"{word} motion spreads acceleration by {n('intensity')} m/s²",
        ]
        said["strongest_axis"] = [
            f"axis {most} varies most, {n('strongest_axis')} m/s²",
            f"most variation is on {most}, {n('strongest_axis')} m/s²",
        ]
        said["rotation_axis"] = [f"it turns mostly about {turns}", f"most turning is about {turns}"]
        said["frequency_" + most] = [f"axis {most} swings at {n('frequency_' + most)} Hz"]
    else:
        said["intensity"] = [
            f"acceleration varies by only {n('intensity')} m/s², still",
            f"motion is still at {n('intensity')} m/s²",
            f"the sensor keeps still, varying by {n('intensity')} m/s²",
        ]
    if f["cadence"].value is None:
        said["cadence"] = ["no step rhythm appears", "there is no regular step rhythm"]
    else:
        clear = "clear" if f["regularity"].value >= 0.6 else "loose"
        said["cadence"] = [
            f"steps repeat at {n('cadence')} steps/s",
            f"a {clear} rhythm runs at {n('cadence')} steps/s",
            f"the cadence is {n('cadence')} steps/s",
        ]
    return said


_OPENINGS = (
    "{A}:",
    "The person is {a}:",
    "Someone is {a}:",
    "A person {a}:",
    "Signal of {a}:",
    "During {a}:",
)
_BLIND_OPENINGS = ("", "", "Six seconds:", "The sensor reports:", "In this window,", "Here")
_JOINS = ("; ", "; ", ". ", ". ", ", and ", ", while ")


def _count(text):
    return sum(any(character.isalnum() for character in word) for word in text.split())


def _fit(text, slots, low, high):
    """Append clauses until the number of words lies between low and high; None if no choice does it.

    Depth-first, in the order given, so that the first slots are kept whenever possible. ``slots`` holds
    (join, variants) pairs.
    """
    words = _count(text)
    if words > high:
        return None
    if low <= words:
        return text
    for i, (join, variants) in enumerate(slots):
        for variant in variants:
            if (found := _fit(text + join + variant, slots[i + 1 :], low, high)) is not None:
                return found
    return None


def describe(facts, activity=None, seed=0):
    """Write a caption and a narration in which every number is a measured fact.

    Parameters
    ----------
    facts : Facts
    activity : str, optional
        The label, if the caption may give it away. It is copied, never checked.
    seed : int or str
        The same seed gives the same words.

    Returns
    -------
    Caption
        ``text`` has 20 to 25 words.

    Raises
    ------
    ModelError
        If the activity has more than eight words, or none.
    """
    if activity is not None and not 1 <= _count(activity) <= 8:
        raise ModelError(f"an activity must be named in one to eight words, not {activity!r}.")
    rng = random.Random(f"{seed}-caption")
    opening = rng.choice(_BLIND_OPENINGS if activity is None else _OPENINGS)
    opening = opening.format(a=activity, A=activity and activity[0].upper() + activity[1:])
    said = phrases(facts)
    # Gravity and motion come first, because they tell postures and gaits apart; the rest varies.
    core, rest = ["gravity", "intensity"], [name for name in said if name not in ("gravity", "intensity")]
    rng.shuffle(core)
    rng.shuffle(rest)
    joins = [" " if opening else "", *rng.sample(_JOINS, len(_JOINS))]
    joins += ["; "] * (len(said) - len(joins))
    slots = [(join, rng.sample(said[name], len(said[name]))) for join, name in zip(joins, core + rest, strict=False)]
    text = _fit(opening, slots, *WORDS)
    text = re.sub(r"(^|[.] )([a-z])", lambda match: match[1] + match[2].upper(), text) + "."
    return Caption(text, narrate(facts, seed), facts)


def narrate(facts, seed=0):
    """Tell the six seconds step by step: one sentence per two seconds, then what holds throughout.

    Returns
    -------
    str
        Five or six sentences, each from facts.
    """
    rng = random.Random(f"{seed}-narration")
    said = phrases(facts)
    sentences = []
    thirds = [facts[f"intensity_third_{i}"].value for i in (1, 2, 3)]
    turning = [facts[f"rotation_third_{i}"].value for i in (1, 2, 3)]
    for i, (spread, rotation) in enumerate(zip(thirds, turning, strict=True)):
        when = f"{rng.choice(('to begin, ', 'at first, ', '')) if i == 0 else ''}from {2 * i} to {2 * i + 2} s"
        joint = rng.choice((", and", ", while"))
        verb = _change(thirds[i - 1] if i else None, spread)
        sentences.append(
            f"{when} the motion {verb} {level(spread)}, with a spread of {say(spread)} m/s²"
            f"{joint} rotation averages {say(rotation)} rad/s"
        )
    more = rng.choice(["tilt", "rotation_axis"] if is_moving(facts) else ["tilt", "still_seconds"])
    sentences.append(f"throughout, {rng.choice(said['gravity'])}, and {rng.choice(said[more])}")
    sentences.append(rng.choice(said["impact"]))
    if is_moving(facts) or rng.random() < 0.5:
        sentences.append(rng.choice(said["cadence"]))
    return " ".join(sentence[0].upper() + sentence[1:] + "." for sentence in sentences)


def _change(before, now):
    """The verb between two spreads: what is said must agree with both the trend and the two words for it."""
    if before is None:
        return "is"
    direction = trend(before, now)
    if direction == "steady":
        return "remains" if level(before) == level(now) else "is now"
    return "grows and is" if direction == "rising" else "eases and is"


# ----------------------------------------------------------------------------------------------------- check

_NUMBER = re.compile(
    r"(?<![\w.])(?P<value>-?\d+(?:\.\d+)?) ?(?P<unit>m/s²|m/s\^2|rad/s|steps/s|steps per second|Hz|degrees|°|"
    r"of 6 seconds|seconds|s)(?![\w/])"
)
_RANGE = re.compile(r"from (\d(?:\.\d+)?) to (\d(?:\.\d+)?) s\b", re.IGNORECASE)

# What a number of some unit is about: the keyword nearest before it, in the same sentence, decides.
_KEYWORDS = {
    "m/s²": {
        "gravity": r"gravity|points (?:up|down)",
        "impact": r"impact|acceleration peaks",
        "axis spread": r"varies most|most variation",
        "spread": r"spread|varies by|varying by|motion|intensity",
    },
    "rad/s": {"mean rotation": r"averages|averaging", "largest rotation": r"peaks|peaking"},
    "s": {"impact time": r"impact"},
}
_BY_UNIT = {"steps/s": "cadence", "Hz": "frequency", "degrees": "tilt", "of 6 seconds": "still seconds"}
_SAME_UNIT = {"m/s^2": "m/s²", "steps per second": "steps/s", "°": "degrees", "seconds": "s"}

# Claims made in words alone.
_STATEMENTS = {
    "gravity axis": r"gravity lies along (?P<said>[xyz])|(?P<said2>[xyz]) axis carries gravity",
    "up": r"(?P<axis>[xyz]) (?:axis )?points (?P<said>up|down)",
    "most varied axis": r"axis (?P<said>[xyz]) varies most|most variation is on (?P<said2>[xyz])",
    "main rotation axis": r"(?:turns mostly|most turning is) about (?P<said>[xyz])",
    "trend": r"(?P<said>motion grows towards|motion fades towards|second half moves (?:more|less)|"
    r"both halves move alike|motion keeps steady)",
    "level": r"motion (?:\w+ and )?(?:is|is now|remains|stays) "
    r"(?P<said>still|light|moderate|strong|very strong)|"
    r"(?P<said2>light|moderate|(?:very )?strong) motion|"
    r"(?P<said3>keeps still)",
    "no cadence": r"(?P<said>no (?:regular )?step rhythm)",
}
_TREND_WORDS = {"grows": "rising", "more": "rising", "fades": "falling", "less": "falling"}


def check_text(text, window, rate=RATE):
    """Read a text of ours back and recompute, from the raw window, every claim that it makes.

    The recomputation uses plain numpy on the window and none of the facts; cadence is verified by another
    method than the one that measured it (see ``_cadence_holds``). This is a checker for our own grammar, not
    for free English: a number whose meaning it cannot tell is returned with ``holds=None``.

    Parameters
    ----------
    text : str
    window : (120, 6) array, SI units
    rate : float, samples per second

    Returns
    -------
    list of Claim
        In the order of the text. ``all(claim.holds for claim in claims)`` is the proof.
    """
    window = check_windows(np.asarray(window)[None], rate)[0]
    claims = []
    for sentence in re.finditer(r"[^.;:]+(?:\.\d+[^.;:]*)*", text):
        span = _RANGE.search(sentence[0])
        seconds = (float(span[1]), float(span[2])) if span else (0.0, SECONDS)
        part = window[round(seconds[0] * rate) : round(seconds[1] * rate)]
        if len(part) < 2:
            continue
        for quantity, pattern in _STATEMENTS.items():
            for match in re.finditer(pattern, sentence[0], re.IGNORECASE):
                claims.append(_check_words(quantity, match, sentence.start(), part, seconds, rate))
        for match in _NUMBER.finditer(sentence[0]):
            if span and match.start() >= span.start() and match.end() <= span.end():
                continue
            claims.append(_check_number(sentence[0], match, sentence.start(), part, seconds, rate))
    return sorted(claims, key=lambda claim: (claim.start, claim.end))


def _check_number(sentence, match, offset, part, seconds, rate):
    """Recompute the quantity that a number stands for; equal up to the digits printed."""
    unit = _SAME_UNIT.get(match["unit"], match["unit"])
    before = sentence[: match.start()]
    quantity = _BY_UNIT.get(unit)
    if quantity is None:
        places = {
            name: max((k.end() for k in re.finditer(pattern, before, re.IGNORECASE)), default=-1)
            for name, pattern in _KEYWORDS.get(unit, {}).items()
        }
        quantity = max(places, key=places.get) if max(places.values(), default=-1) >= 0 else "unknown"
    letters = re.findall(r"\b([xyz])\b", before, re.IGNORECASE)
    axis = AXES.index(letters[-1].lower()) if letters else None
    claimed = float(match["value"])
    digits = len(match["value"].partition(".")[2])
    truth, channels = _recompute(quantity, axis, claimed, part, rate)
    if truth is None:
        holds = None
    elif quantity in ("cadence", "frequency"):
        holds = bool(truth)
        truth = claimed if holds else None
    else:
        truth = float(truth)
        holds = abs(truth - claimed) <= 0.5 * 10.0**-digits + 2e-6
    if quantity in ("impact", "impact time", "largest rotation") and truth is not None:
        size = np.linalg.norm(part[:, list(channels)], axis=1)
        time = seconds[0] + size.argmax() / rate
        seconds = (max(seconds[0], time - 0.15), min(seconds[1], time + 0.15))
    start = offset + match.start()
    return Claim(match[0], start, start + len(match[0]), quantity, claimed, truth, holds, channels, seconds)


def _recompute(quantity, axis, claimed, part, rate):
    """(value from the samples or None, channels that it was computed from)."""
    acceleration, rotation = part[:, :3], part[:, 3:]
    size = (acceleration * acceleration).sum(axis=1) ** 0.5
    turning = (rotation * rotation).sum(axis=1) ** 0.5
    if quantity in ("gravity", "axis spread", "frequency") and axis is None:
        return None, ()
    if quantity == "gravity":
        return acceleration[:, axis].sum() / len(part), (axis,)
    if quantity == "axis spread":
        centred = acceleration[:, axis] - acceleration[:, axis].sum() / len(part)
        return float((centred @ centred / len(part)) ** 0.5), (axis,)
    if quantity == "spread":
        return float(max(0.0, (size * size).mean() - size.mean() ** 2) ** 0.5), (0, 1, 2)
    if quantity == "impact":
        return float(sorted(size)[-1]), (0, 1, 2)
    if quantity == "impact time":
        return int(np.flatnonzero(size == max(size))[0]) / rate, (0, 1, 2)
    if quantity == "mean rotation":
        return float(turning.sum() / len(part)), (3, 4, 5)
    if quantity == "largest rotation":
        return float(sorted(turning)[-1]), (3, 4, 5)
    if quantity == "still seconds":
        second = round(rate)
        return sum(size[i : i + second].std() < STILL for i in range(0, len(size), second)), (0, 1, 2)
    if quantity == "tilt":
        x, y, z = sorted(abs(acceleration.sum(axis=0)))
        return math.degrees(math.atan2(math.hypot(x, y), z)), (0, 1, 2)
    if quantity == "cadence":
        return _cadence_holds(size, claimed, rate), (0, 1, 2)
    if quantity == "frequency":
        return _frequency_holds(acceleration[:, axis], claimed, rate), (axis,)
    return None, ()


def _likeness(size, seconds, rate):
    """Correlation of a signal with itself some seconds later, between samples by linear interpolation."""
    time = np.arange(len(size)) / rate
    early = time[time + seconds <= time[-1]]
    now, later = np.interp(early, time, size), np.interp(early + seconds, time, size)
    return 0.0 if min(now.std(), later.std()) < 1e-9 else float(np.corrcoef(now, later)[0, 1])


def _cadence_holds(size, claimed, rate):
    """Shift the signal by one claimed step: it must look like itself, nearly as much as with any other."""
    if claimed <= 0 or size.std() < LEAST_GAIT:
        return False
    steps = np.arange(STEP_SECONDS[0], STEP_SECONDS[1] + 1e-9, 0.01)
    best = max(_likeness(size, step, rate) for step in steps)
    near = max(_likeness(size, step / claimed, rate) for step in (0.95, 0.975, 1.0, 1.025, 1.05))
    return near >= LEAST_REGULARITY - 0.05 and near >= (AS_HIGH - 0.05) * best


def _frequency_holds(signal, claimed, rate):
    """Correlate with a sine and a cosine of the claimed frequency, and of all others: none may fit better."""
    time = np.arange(len(signal)) / rate
    shaped = (signal - signal.mean()) * (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(len(signal)) / (len(signal) - 1)))
    strength = lambda f: np.abs(np.exp(-2j * np.pi * np.outer(f, time)) @ shaped)
    return (
        strength(claimed + np.linspace(-0.05, 0.05, 5)).max() >= 0.98 * strength(np.arange(0.3, rate / 2, 0.04)).max()
    )


def _check_words(quantity, match, offset, part, seconds, rate):
    """Recompute a claim that is made in words alone."""
    said = next(v.lower() for k, v in sorted(match.groupdict().items()) if v and k.startswith("said"))
    acceleration = part[:, :3]
    size = (acceleration * acceleration).sum(axis=1) ** 0.5
    mean, channels = acceleration.sum(axis=0) / len(part), (0, 1, 2)
    if quantity == "gravity axis":
        truth = AXES[int(np.argmax(mean**2))]
        channels = (AXES.index(said),)
    elif quantity == "up":
        axis = AXES.index(match["axis"].lower())
        truth = ("up" if mean[axis] > 0 else "down") if axis == np.argmax(mean**2) else "neither"
        channels = (axis,)
    elif quantity == "most varied axis":
        truth = AXES[int(((acceleration - mean) ** 2).sum(axis=0).argmax())]
        channels = (AXES.index(said),)
    elif quantity == "main rotation axis":
        truth = AXES[int((part[:, 3:] ** 2).sum(axis=0).argmax())]
        channels = (3 + AXES.index(said),)
    elif quantity == "trend":
        half = len(size) // 2
        truth = trend(size[:half].std(), size[half:].std())
        said = next((word for key, word in _TREND_WORDS.items() if key in said), "steady")
    elif quantity == "level":
        said, truth = said.removeprefix("keeps "), level(size.std())
    else:
        lags = np.arange(STEP_SECONDS[0], STEP_SECONDS[1] + 1e-9, 1 / rate)
        found = size.std() >= LEAST_GAIT and max(_likeness(size, lag, rate) for lag in lags) >= LEAST_REGULARITY + 0.05
        said, truth = "none", "some" if found and _has_inner_peak(size, lags, rate) else "none"
    start = offset + match.start()
    return Claim(match[0], start, start + len(match[0]), quantity, said, truth, said == truth, channels, seconds)


def _has_inner_peak(size, lags, rate):
    """Whether the likeness has a top between the shortest and the longest step, not only a slope."""
    curve = [_likeness(size, lag, rate) for lag in (lags[0] - 1 / rate, *lags, lags[-1] + 1 / rate)]
    tops = [b for a, b, c in zip(curve, curve[1:], curve[2:], strict=False) if b > a and b >= c]
    return max(tops, default=0.0) >= LEAST_REGULARITY + 0.05

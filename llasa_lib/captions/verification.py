"""Texts read back: every claim is recomputed from the samples, and holds or does not.

The code shares nothing with the measurement of facts but the definitions.
"""

import math
import re
from dataclasses import dataclass

import numpy as np

from llasa_lib.captions.facts import (
    AS_HIGH,
    AXES,
    LEAST_GAIT,
    LEAST_REGULARITY,
    RATE,
    SECONDS,
    STEP_SECONDS,
    STILL,
    check_windows,
    level,
    trend,
)


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

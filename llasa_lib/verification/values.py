"""What a number stands for, recomputed: every way to understand it, and whether one of them agrees."""

import re
from typing import NamedTuple

import numpy as np

from llasa_lib.captions.facts import AXES, CONSTANT, SECONDS
from llasa_lib.verification.claims import Finding
from llasa_lib.verification.samples import ACCELERATION, ROTATION, STATISTICS, spread
from llasa_lib.verification.vocabulary import GRAVITY

ABOUT = 0.1  # share that "about" allows
ROUNDING = 2e-6  # facts are rounded to six decimals before they are printed
LINE = 0.02  # Hz between two spectral lines
AS_STRONG = 0.98  # a frequency this nearly as strong as the strongest is as good
MOMENT = 0.15  # s on each side of a sample that proves something
EARTH = (9.75, 9.85)  # m/s²: gravity as textbooks give it
STEPS_WITHIN = 1.0  # a count of steps may miss half a step at both ends

_AT = re.compile(r"(?:\b(?:at|after|around|near|about|approximately|roughly|only|just)\b *|\bt ?= *)$")
_LONG = re.compile(r"\b(?:window|recording|segment|clip|excerpt|lasts?|long|duration|spans?)\b")
_STAYS = re.compile(r"\b(?:stays?|remains?|lies|keeps?|always|within|is|are)\b")
_GOES = re.compile(
    r"\b(?:rises?|rising|grows?|growing|increases?|increasing|drops?|dropping|falls?|falling|decreases?|decreasing|"
    r"changes?|shrinks?|climbs?|fades?|eases) (?:\w+ )?(?:from )?$"
)


class Reading(NamedTuple):
    """One way to understand a number: what it is called, its value recomputed, and from which samples."""

    quantity: str
    value: float | None
    channels: tuple[int, ...]
    interval: tuple[float, float] | None = None
    holds: bool | None = None  # if it was decided in another way than by comparing values


def judge(number, samples):
    """Recompute what a number stands for.

    Parameters
    ----------
    number : numbers.Number
    samples : Samples
        Of the seconds that its clause is about.

    Returns
    -------
    Finding or None
        None for a number that stands for nothing known and has no unit.
    """
    if number.kind is None:
        return None
    claimed = number.value * number.factor if number.high is None else f"{number.value:g} to {number.high:g}"
    readings = _READERS[number.kind](number, samples) if samples.enough else []
    if not readings:
        return Finding(claimed, quantity="unknown")
    verdicts = [_holds(number, reading) for reading in readings]
    best = verdicts.index(True) if True in verdicts else 0
    chosen = readings[best]
    return Finding(claimed, chosen.value, verdicts[best], chosen.channels, chosen.interval, chosen.quantity)


def _holds(number, reading):
    """Whether a value is the number: up to the digits printed, by a tenth if "about", or beyond a bound."""
    if reading.holds is not None or reading.value is None:
        return reading.holds
    value, claimed = reading.value, number.value * number.factor
    if number.context.unsigned and claimed >= 0:
        value = abs(value)
    step = 0.5 * 10.0**-number.digits * number.factor + ROUNDING
    slack = (
        max(step, ABOUT * max(abs(claimed), abs((number.high or 0.0) * number.factor)))
        if number.relation == "about"
        else step
    )
    if number.high is not None:
        return claimed - slack <= value <= number.high * number.factor + slack
    if number.relation == "above":
        return value >= claimed - ROUNDING
    if number.relation == "below":
        return value <= claimed + ROUNDING
    return abs(value - claimed) <= slack


# ------------------------------------------------------------------------------------- readings, by kind of unit


def _cadence(number, samples):
    if not samples.long_enough:
        return [Reading("cadence", None, ACCELERATION)]
    steps = samples.rhythm and samples.rhythm[0]
    if steps is None:
        return [Reading("cadence", None, ACCELERATION, holds=False)]
    if number.kind == "count of steps":
        count = steps * (samples.interval[1] - samples.interval[0])
        return [Reading("steps", count, ACCELERATION, holds=abs(count - number.value) <= STEPS_WITHIN)]
    return [Reading("cadence", steps, ACCELERATION)]


def _frequency(number, samples):
    context = number.context
    if context.statistic == "sampling":
        return [Reading("sampling rate", float(samples.rate), tuple(range(6)))]
    if context.statistic == "cadence":
        return _cadence(number, samples)
    if context.axis:
        return [_swing(number, samples, (_channel(context.axis, context.sensor),))]
    strongest = int(np.argmax([spread(samples.part[:, i]) for i in ACCELERATION]))
    magnitude = ROTATION if context.sensor == "rotation" else ACCELERATION
    return [_swing(number, samples, magnitude), _swing(number, samples, (strongest,)), *_cadence(number, samples)]


def _swing(number, samples, channels):
    """The dominant frequency; where two are equally strong, either."""
    if spread(samples.signal(channels)) < CONSTANT:
        return Reading("frequency", None, channels, holds=False)
    frequencies, strength = samples.swing(channels)
    measured = float(frequencies[strength.argmax()])
    near = np.abs(frequencies - number.value) <= 0.05
    as_strong = number.relation == "exact" and near.any() and strength[near].max() >= AS_STRONG * strength.max()
    close = number.relation == "exact" and abs(measured - number.value) <= 0.5 * 10.0**-number.digits + LINE
    return Reading("frequency", measured, channels, holds=True if as_strong or close else None)


def _angle(number, samples):
    context = number.context
    if context.statistic == "turn" or (
        context.sensor == "rotation" and not context.own_axis and context.statistic != "tilt"
    ):
        return [Reading("turn", samples.turn, ACCELERATION)]
    if context.statistic != "tilt" and not context.own_axis:
        return []
    axis = AXES.index(context.axis) if context.own_axis else None
    lean = samples.lean(axis)
    level = "horizontal" in context.clause
    return [Reading("tilt", 90 - lean if level else lean, ACCELERATION)]


def _time(number, samples):
    context = number.context
    if context.statistic == "period":
        steps = _cadence(number, samples)[0]
        return [steps._replace(quantity="step time", value=steps.value and 1 / steps.value)]
    if context.statistic in ("maximum", "minimum", "impact") and _AT.search(context.before):
        return [_moment(context, axis, samples) for axis in (context.axis, *context.asides)]
    if _LONG.search(context.clause):
        return [Reading("duration", SECONDS, tuple(range(6)))]
    return []


def _moment(context, axis, samples):
    sensor = "acceleration" if context.statistic == "impact" else context.sensor
    channels = (_channel(axis, sensor),) if axis else ROTATION if sensor == "rotation" else ACCELERATION
    time = samples.moment(channels, context.statistic == "minimum")
    name = "impact time" if channels == ACCELERATION and context.statistic != "minimum" else "time"
    return Reading(name, time, channels, _around(time, samples))


def _samples(number, samples):
    return [Reading("duration", float(len(samples.whole.part)), tuple(range(6)))]


def _value(number, samples):
    """A number in m/s² or rad/s, or one that stands for such a value without a unit."""
    context = number.context
    if number.kind == "acceleration" and context.statistic == "gravity":
        return _gravity(context, samples)
    if context.statistic == "change" or (_GOES.search(context.before) and number.high is not None):
        return [Reading("change", None, ())]
    statistic = {"motion": "standard deviation", "impact": "maximum"}.get(context.statistic, context.statistic)
    explicit = statistic in STATISTICS
    if not explicit and not (context.axis or context.sensor or context.asides):
        return []
    axes = [context.axis, *context.asides]
    if context.statistic in ("motion", "standard deviation") and not context.own_axis:
        axes = sorted(axes, key=lambda axis: axis is not None)  # "the spread", in another clause than the axis
    readings = []
    for axis in axes:
        channels = (_channel(axis, number.kind),) if axis else ROTATION if number.kind == "rotation" else ACCELERATION
        readings += _statistic(number, samples, channels, statistic if explicit else None)
        if context.inherited and context.own_axis and explicit:  # "x has a spread of 0.5, y is at 9.8"
            readings += _statistic(number, samples, channels, None)
    return readings


def _statistic(number, samples, channels, statistic):
    signal = samples.signal(channels)
    read = lambda name, signal=signal: Reading(_name(name, channels), STATISTICS[name](signal), channels)
    if number.high is not None and statistic in (None, "standard deviation", "range", "amplitude"):
        return [_limits(number, signal, channels), *([read(statistic)] if statistic == "standard deviation" else [])]
    if statistic is None and number.relation in ("above", "below"):
        stays = number.relation == "above" and _STAYS.search(number.context.before)
        return [read("minimum") if stays else read("maximum", np.abs(signal))]
    if statistic == "maximum":
        time = samples.moment(channels)
        sizes = [np.abs(signal)] if len(channels) == 1 else []
        return [read("maximum", each)._replace(interval=_around(time, samples)) for each in (signal, *sizes)]
    if statistic == "amplitude":  # as physicists say it, and as others do
        return [read("amplitude"), read("range")]
    return [read(statistic or "mean")]


def _limits(number, signal, channels):
    """ "Between a and b": the lowest and the highest value are these, or with "stays" lie within."""
    low, high = float(signal.min()), float(signal.max())
    step = (0.5 * 10.0**-number.digits) * number.factor + ROUNDING
    if number.relation == "about":
        step = max(step, ABOUT * (high - low), ABOUT * abs(number.high * number.factor))
    least, most = number.value * number.factor, number.high * number.factor
    inside = least - step <= low and high <= most + step
    reached = low <= least + step and high >= most - step
    holds = inside and (reached or bool(_STAYS.search(number.context.before)))
    return Reading("limits", None, channels, holds=holds)


def _gravity(context, samples):
    axis = context.axis or next((aside for aside in context.asides if aside), None)
    if axis:
        place = AXES.index(axis)
        return [Reading("gravity", float(samples.gravity[place]), (place,))]
    size = float(np.linalg.norm(samples.gravity))
    down = samples.gravity_axis
    return [
        Reading("gravity", float(samples.gravity[down]), (down,)),
        Reading("gravity", size, ACCELERATION),
        Reading("gravity", GRAVITY, ACCELERATION),
    ]


def _channel(axis, sensor):
    return AXES.index(axis) + (3 if sensor == "rotation" else 0)


def _name(statistic, channels):
    """What a statistic of some columns is called."""
    return {
        ("standard deviation", ACCELERATION): "spread",
        ("maximum", ACCELERATION): "impact",
        ("mean", ROTATION): "mean rotation",
        ("maximum", ROTATION): "largest rotation",
    }.get((statistic, channels), "axis spread" if statistic == "standard deviation" and channels[0] < 3 else statistic)


def _around(time, samples):
    start, end = samples.whole.interval
    return max(start, time - MOMENT), min(end, time + MOMENT)


_READERS = {
    "acceleration": _value,
    "rotation": _value,
    "degrees": _angle,
    "steps": _cadence,
    "count of steps": _cadence,
    "frequency": _frequency,
    "seconds": _time,
    "samples": _samples,
}

"""How statements in words are recomputed: each function takes what a pattern caught and the samples.

It returns a :class:`Finding`. The thresholds of what words mean are those of the facts; the few that facts do not
have are named here.
"""

import math
import re

import numpy as np

from llasa_lib.captions.facts import AXES, CLEAR_RHYTHM, LEVELS, STILL, SYMMETRY_EVEN, SYMMETRY_UNEVEN, TURN_LEAST
from llasa_lib.verification.claims import Finding
from llasa_lib.verification.samples import ACCELERATION, ROTATION, course, spread
from llasa_lib.verification.text import number

QUIET_TURNING = 0.2  # rad/s of mean |rotation| below which a sensor "does not turn"
HARDLY = 2.0  # times the limit of stillness: what "hardly moves" may spread at most
UPRIGHT = 10.0  # degrees up to which an axis is "not tilted"
FREE_OF_GRAVITY = 0.25  # share of gravity below which an axis "carries no gravity"
MIDDLE = (SYMMETRY_EVEN + SYMMETRY_UNEVEN) / 2  # between even and uneven steps
CHANGE_WITHIN = 0.5  # s, around a change point

_LIGHT, _MODERATE, _STRONG = (limit for limit, word in LEVELS if word in ("light", "moderate", "strong"))
# What words for motion mean: least and most spread of |acceleration|, m/s².
_RANGES = (
    (0, STILL, "still, motionless, stationary, at rest, static, immobile, quiet, inactive, resting, flat"),
    (STILL, _LIGHT, "light"),
    (0, _LIGHT, "gentle, mild, slight, low, weak"),
    (0, HARDLY * STILL, "minimal, negligible, little, very little, hardly any, almost no"),
    (_LIGHT, _MODERATE, "moderate, medium"),
    (_MODERATE, _STRONG, "strong"),
    (_STRONG, math.inf, "very strong, extremely strong"),
    (_MODERATE, math.inf, "vigorous, intense, violent, energetic, high, heavy"),
)
INTENSITIES = {word: (low, high) for low, high, words in _RANGES for word in words.split(", ")}
AT_LEAST = {"a": 1, "an": 1, "some": 2, "a few": 2, "repeated": 2, "multiple": 2, "several": 3}
AT_LEAST |= dict.fromkeys(("many", "numerous", "frequent"), 5)
SMALLER = ("less", "smaller", "lower", "weaker", "calmer", "quieter")
LEAST = ("least", "smallest", "lowest", "weakest", "calmest", "quietest")
TIMES = {"twice": 2.0, "two times": 2.0, "double": 2.0, "half": 0.5, "thrice": 3.0, "three times": 3.0}
TIMES |= {"four times": 4.0, "five times": 5.0, "ten times": 10.0}


def _axis(said, name="axis"):
    return AXES.index(said[name])


def gravity_axis(said, samples):
    truth = AXES[samples.gravity_axis]
    return Finding(said["axis"], truth, said["axis"] == truth, (_axis(said),))


def free_of_gravity(said, samples):
    share = abs(samples.gravity[_axis(said)]) / np.linalg.norm(samples.gravity)
    return Finding("no gravity", float(share), share < FREE_OF_GRAVITY, (_axis(said),))


def up(said, samples):
    axis, claimed = _axis(said), "up" if said["side"].startswith("up") else "down"
    side = "up" if samples.gravity[axis] > 0 else "down"
    truth = side if axis == samples.gravity_axis else "neither"
    return Finding(claimed, truth, claimed == truth, (axis,))


def tilted(said, samples):
    tilt = samples.lean()
    return Finding("tilted", tilt, tilt >= UPRIGHT, ACCELERATION)


def _opposite(judge, claimed):
    """The recomputation of a claim that holds where another does not."""

    def opposite(said, samples):
        finding = judge(said, samples)
        return finding._replace(claimed=claimed, holds=not finding.holds)

    return opposite


upright = _opposite(tilted, "upright")


def level(said, samples):
    low, high = INTENSITIES[said["level"]]
    return Finding(said["level"], samples.level, low <= samples.motion < high, ACCELERATION)


def still(said, samples):
    return level({"level": "still"}, samples)


def moving(said, samples):
    return Finding("moving", samples.level, samples.motion >= STILL, ACCELERATION)


def hardly(said, samples):
    return Finding("hardly moving", samples.level, samples.motion < HARDLY * STILL, ACCELERATION)


def still_seconds(said, samples):
    length = round(samples.interval[1] - samples.interval[0])
    word = said["n"]
    claimed = {"all": float(length), "never": 0.0}.get(word) if word in ("all", "never") else number(word)
    return Finding(claimed, float(samples.still_seconds), claimed == samples.still_seconds, ACCELERATION)


def most_varied(said, samples):
    channels = ROTATION if (said["sensor"] or "acceleration")[0] in "rg" else ACCELERATION
    spreads = [spread(samples.part[:, channel]) for channel in channels]
    best = min if said["most"] in LEAST else max
    truth = AXES[spreads.index(best(spreads))]
    return Finding(said["axis"], truth, said["axis"] == truth, (channels[_axis(said)],))


def turning_axis(said, samples):
    power = (samples.part[:, 3:] ** 2).sum(axis=0)
    truth = AXES[int(power.argmax())] if power.any() else "none"
    return Finding(said["axis"], truth, said["axis"] == truth, (3 + _axis(said),))


def turns(said, samples):
    mean = float(samples.turning.mean())
    return Finding("turning", mean, mean >= QUIET_TURNING, ROTATION)


no_turning = _opposite(turns, "no rotation")


def compare_spreads(said, samples):
    one, other = (spread(samples.part[:, _axis(said, name)]) for name in ("axis", "other"))
    ratio, channels = one / max(other, 1e-9), (_axis(said), _axis(said, "other"))
    if said.get("times"):
        claimed = TIMES.get(said["times"]) or number(said["times"].split()[0])
        return Finding(said["times"], float(ratio), abs(ratio - claimed) <= 0.25 * claimed, channels)
    more = said["more"] not in SMALLER
    return Finding("more" if more else "less", float(ratio), (ratio > 1) == more, channels)


def compare_means(said, samples):
    one, other = (samples.gravity[_axis(said, name)] for name in ("axis", "other"))
    more = said["more"] not in SMALLER
    return Finding(said["more"], float(one - other), bool(one > other) == more, (_axis(said), _axis(said, "other")))


def rhythm(said, samples):
    if not samples.long_enough:
        return Finding("rhythm", None, None, ACCELERATION)
    kind, found = said.get("kind") or said.get("adjective"), samples.rhythm
    truth = "none" if found is None else "clear" if found[1] >= CLEAR_RHYTHM else "loose"
    if kind in ("clear", "strong", "distinct", "pronounced"):
        return Finding("clear", truth, truth == "clear", ACCELERATION)
    if kind in ("loose", "weak", "faint"):
        return Finding("loose", truth, truth == "loose", ACCELERATION)
    return Finding("rhythm", truth, truth != "none", ACCELERATION)


def no_rhythm(said, samples):
    finding = rhythm(said, samples)
    holds = None if finding.holds is None else samples.rhythm is None
    return finding._replace(claimed="none", holds=holds)


def even(said, samples):
    if not samples.long_enough:
        return Finding("even", None, None, ACCELERATION)
    if samples.symmetry is None:
        return Finding("even", "no steps", False, ACCELERATION)
    return Finding("even", samples.symmetry, samples.symmetry >= MIDDLE, ACCELERATION)


def uneven(said, samples):
    finding = even(said, samples)
    holds = not finding.holds if isinstance(finding.measured, float) else finding.holds
    return finding._replace(claimed="uneven", holds=holds)


def impacts(said, samples):
    word, count = said["n"], len(samples.impacts)
    if word in AT_LEAST:
        return Finding(word, float(count), count >= AT_LEAST[word], ACCELERATION)
    claimed = 0.0 if word.startswith(("no", "without", "free")) else number(word)
    return Finding(claimed, float(count), claimed == count, ACCELERATION)


def _courses(said, samples):
    """Every way to read that something grows or fades: half against half, or against as many seconds before."""
    rotation = bool(said.get("sensor"))
    value = (lambda part: float(part.turning.mean())) if rotation else (lambda part: part.motion)
    start, end = samples.interval
    ways = [samples.parts(2)]
    if start >= end - start:  # "then the motion grows": more than before
        ways.insert(0, [samples.between(start - (end - start), start), samples])
    return [course(*map(value, way)) for way in ways], ROTATION if rotation else ACCELERATION


def trend(said, samples):
    word = next(name for name in ("rising", "falling", "steady") if said.get(name))
    truths, channels = _courses(said, samples)
    return Finding(word, truths[0], word in truths, channels)


def half(said, samples):
    more = said["more"] not in SMALLER
    claimed = "rising" if more == (said["half"] in ("second", "latter", "last", "end")) else "falling"
    truths, channels = _courses(said, samples)
    return Finding(claimed, truths[0], claimed == truths[0], channels)


def third(said, samples):
    spreads = [part.motion for part in samples.parts(3)]
    calm = said["most"] in LEAST
    truth = ("first", "middle", "last")[spreads.index(min(spreads) if calm else max(spreads))]
    claimed = {"final": "last", "initial": "first"}.get(said["third"], said["third"])
    return Finding(claimed, truth, claimed == truth, ACCELERATION)


def change(said, samples):
    claimed = "starts moving" if said.get("starts") else "calms down"
    found = samples.change
    truth = None if found is None else "starts moving" if found[1] > 1 else "calms down"
    if not said.get("n"):
        return Finding(claimed, truth or "no change", claimed == truth, ACCELERATION)
    second = number(said["n"])
    holds = claimed == truth and abs(found[0] - second) <= CHANGE_WITHIN
    return Finding(f"{claimed} at {second:g} s", truth and f"{truth} at {found[0]} s", holds, ACCELERATION)


def rest(said, samples):
    """Coming to rest: still in the seconds that are named, or by the last second, after more motion before."""
    if samples.interval != samples.whole.interval:
        return Finding("still", samples.level, samples.motion < STILL, ACCELERATION)
    end = samples.interval[1]
    holds = samples.between(end - 1, end).motion < STILL <= samples.between(samples.interval[0], end - 1).motion
    return Finding("comes to rest", "comes to rest" if holds else samples.level, holds, ACCELERATION)


def transition(said, samples):
    truth = "posture change" if samples.turn >= TURN_LEAST else "same posture"
    return Finding("posture change", truth, samples.turn >= TURN_LEAST, ACCELERATION)


same_posture = _opposite(transition, "same posture")


def steady_axis(said, samples):
    """Not still to the last digit, as a dead channel is, but no more than what we call still."""
    rotation = (said["sensor"] or "acceleration")[0] in "rg"
    value = spread(samples.part[:, _axis(said) + 3 * rotation])
    return Finding("steady", value, value < (QUIET_TURNING if rotation else STILL), (_axis(said) + 3 * rotation,))


def sensor_problem(said, samples):
    """A list of channels, "acceleration y and rotation x and z are constant", each of which must be so."""
    claimed = "clipped" if said["problem"] in ("clipped", "saturated", "clipping", "saturating") else "constant"
    channels = tuple(
        next((channel for channel in either if samples.problem(channel) == claimed), either[0])
        for either in _channels(said["channels"])
    )
    if not channels:  # "an axis is clipped", whichever
        problems = {samples.problem(channel) for channel in range(6)}
        return Finding(claimed, claimed if claimed in problems else "fine", claimed in problems, tuple(range(6)))
    truth = ", ".join(sorted({samples.problem(channel) or "fine" for channel in channels}))
    return Finding(claimed, truth, all(samples.problem(channel) == claimed for channel in channels), channels)


def _channels(words):
    """The columns that a list names; each as a tuple, of two where the sensor is not said."""
    words = re.sub(r"(.*)\bof the (accel\w*|gyro\w*)", r"\2 \1", words)  # "the y channel of the accelerometer"
    listed, group = [], None
    for sensor, letters in re.findall(r"(accel\w*|rotation|gyro\w*)|((?:\b[xyz]\b[^a-z]*(?:and[^a-z]*)?)+)", words):
        if sensor:
            group = ROTATION if sensor[0] in "rg" else ACCELERATION
            listed.append([(channel,) for channel in group])  # "rotation is constant": all of its axes
            continue
        axes = [AXES.index(letter) for letter in re.findall(r"\b[xyz]\b", letters)]
        named = [(axis, axis + 3) if group is None else (group[axis],) for axis in axes]
        if group is None:
            listed.append(named)
        else:
            listed[-1] = named
    return [channels for part in listed for channels in part]


def any_problem(said, samples):
    found = sorted({problem for channel in range(6) if (problem := samples.problem(channel))})
    return Finding("a problem", ", ".join(found) or "fine", bool(found), tuple(range(6)))

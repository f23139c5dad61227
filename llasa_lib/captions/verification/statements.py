"""What texts say in words: a table of (quantity, how it is said, how it is recomputed).

To teach the verifier a new statement, add a row. In a pattern ``@axis`` stands for any way to name an axis and
``@other`` for a second one; what a named group catches is handed to the recomputation, with the samples of the
seconds that the clause is about. A "not" or "no" in front of a match turns the statement round.
"""

import math
import re
from typing import NamedTuple

import numpy as np

from llasa_lib.captions.facts import (
    AXES,
    CLEAR_RHYTHM,
    LEVELS,
    STILL,
    SYMMETRY_EVEN,
    SYMMETRY_UNEVEN,
    TURN_LEAST,
)
from llasa_lib.captions.verification.claims import Finding
from llasa_lib.captions.verification.samples import ACCELERATION, ROTATION, course, spread
from llasa_lib.captions.verification.text import number

QUIET_TURNING = 0.2  # rad/s of mean |rotation| below which a sensor "does not turn"
HARDLY = 2.0  # times the limit of stillness: what "hardly moves" may spread at most
UPRIGHT = 10.0  # degrees up to which an axis is "not tilted"
FREE_OF_GRAVITY = 0.25  # share of gravity below which an axis "carries no gravity"
MIDDLE = (SYMMETRY_EVEN + SYMMETRY_UNEVEN) / 2  # between even and uneven steps
CHANGE_WITHIN = 0.5  # s, around a change point

_LIMIT = {word: limit for limit, word in LEVELS}
# What words for motion mean: least and most spread of |acceleration|, m/s².
_SYNONYMS = {
    "still": (0, STILL), "light": (STILL, _LIMIT["light"]), "moderate": (_LIMIT["light"], _LIMIT["moderate"]),
    "strong": (_LIMIT["moderate"], _LIMIT["strong"]), "very strong": (_LIMIT["strong"], math.inf),
    "extremely strong": (_LIMIT["strong"], math.inf), "motionless": (0, STILL), "stationary": (0, STILL),
    "at rest": (0, STILL), "static": (0, STILL), "immobile": (0, STILL), "quiet": (0, STILL),
    "inactive": (0, STILL), "resting": (0, STILL), "gentle": (0, _LIMIT["light"]), "mild": (0, _LIMIT["light"]),
    "slight": (0, _LIMIT["light"]), "low": (0, _LIMIT["light"]), "weak": (0, _LIMIT["light"]),
    "minimal": (0, HARDLY * STILL), "negligible": (0, HARDLY * STILL), "little": (0, HARDLY * STILL),
    "very little": (0, HARDLY * STILL), "hardly any": (0, HARDLY * STILL), "almost no": (0, HARDLY * STILL),
    "medium": (_LIMIT["light"], _LIMIT["moderate"]), "vigorous": (_LIMIT["moderate"], math.inf),
    "intense": (_LIMIT["moderate"], math.inf), "violent": (_LIMIT["moderate"], math.inf),
    "energetic": (_LIMIT["moderate"], math.inf), "high": (_LIMIT["moderate"], math.inf),
    "heavy": (_LIMIT["moderate"], math.inf),
}  # fmt: skip
_LEVEL = "|".join(sorted(_SYNONYMS, key=len, reverse=True))
_TIMES = {"twice": 2.0, "two times": 2.0, "double": 2.0, "half": 0.5, "thrice": 3.0, "three times": 3.0}
_TIMES |= {"four times": 4.0, "five times": 5.0, "ten times": 10.0}
_COUNTS = r"[0-9]{1,3}(?:\.[0-9]+)?|zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve"


class Statement(NamedTuple):
    """One row: what is claimed, the patterns that claim it, and the recomputation.

    ``whole`` rows are about the course of the window: their words ("the second half moves more") name parts of it
    that no other claim is about, so they are read first and taken out.
    """

    quantity: str
    patterns: tuple[re.Pattern, ...]
    judge: object
    whole: bool = False


# ------------------------------------------------------------------------------------------------ recomputations
# Each takes what the pattern caught and the samples, and returns a Finding.


def _axis(said, name="axis"):
    return AXES.index(said[name])


def _gravity_axis(said, samples):
    truth = AXES[samples.gravity_axis]
    return Finding(said["axis"], truth, said["axis"] == truth, (_axis(said),))


def _free_of_gravity(said, samples):
    share = abs(samples.gravity[_axis(said)]) / np.linalg.norm(samples.gravity)
    return Finding("no gravity", f"{share:.0%} of gravity", share < FREE_OF_GRAVITY, (_axis(said),))


def _up(said, samples):
    axis, claimed = _axis(said), "up" if said["side"].startswith("up") else "down"
    side = "up" if samples.gravity[axis] > 0 else "down"
    truth = side if axis == samples.gravity_axis else "neither"
    return Finding(claimed, truth, claimed == truth, (axis,))


def _flat(said, samples):
    claimed, tilt = said["flat"] or "tilted", samples.lean()
    return Finding(claimed, tilt, tilt < UPRIGHT, ACCELERATION)


def _level(said, samples):
    low, high = _SYNONYMS[said["level"]]
    return Finding(said["level"], samples.level, low <= samples.motion < high, ACCELERATION)


def _moving(said, samples):
    return Finding("moving", samples.level, samples.motion >= STILL, ACCELERATION)


def _hardly(said, samples):
    return Finding("hardly moving", samples.level, samples.motion < HARDLY * STILL, ACCELERATION)


def _still_seconds(said, samples):
    length = round(samples.interval[1] - samples.interval[0])
    word = said["n"]
    claimed = float(length) if word in ("all", "entire", "whole") else 0.0 if word in ("never", "no") else number(word)
    return Finding(claimed, float(samples.still_seconds), claimed == samples.still_seconds, ACCELERATION)


def _most_varied(said, samples):
    channels = ROTATION if (said["sensor"] or "acceleration")[0] in "rg" else ACCELERATION
    spreads = [spread(samples.part[:, channel]) for channel in channels]
    best = min if said["most"] in ("least", "smallest", "lowest", "weakest") else max
    truth = AXES[spreads.index(best(spreads))]
    return Finding(said["axis"], truth, said["axis"] == truth, (channels[_axis(said)],))


def _turning_axis(said, samples):
    power = (samples.part[:, 3:] ** 2).sum(axis=0)
    truth = AXES[int(power.argmax())] if power.any() else "none"
    return Finding(said["axis"], truth, said["axis"] == truth, (3 + _axis(said),))


def _turning(said, samples):
    mean = float(samples.turning.mean())
    return Finding("turning", mean, mean >= QUIET_TURNING, ROTATION)


def _no_turning(said, samples):
    mean = float(samples.turning.mean())
    return Finding("no rotation", mean, mean < QUIET_TURNING, ROTATION)


def _compare_spreads(said, samples):
    one, other = (spread(samples.part[:, _axis(said, name)]) for name in ("axis", "other"))
    ratio, channels = one / max(other, 1e-9), (_axis(said), _axis(said, "other"))
    if said.get("times"):
        claimed = _TIMES.get(said["times"]) or number(said["times"].split()[0])
        return Finding(said["times"], float(ratio), abs(ratio - claimed) <= 0.25 * claimed, channels)
    more = said["more"] not in ("less", "smaller", "lower", "weaker", "calmer")
    return Finding("more" if more else "less", float(ratio), (ratio > 1) == more, channels)


def _compare_means(said, samples):
    one, other = (samples.gravity[_axis(said, name)] for name in ("axis", "other"))
    higher = said["more"] in ("higher", "larger", "greater", "above")
    return Finding(said["more"], float(one - other), bool(one > other) == higher, (_axis(said), _axis(said, "other")))


def _rhythm(said, samples):
    if not samples.long_enough:
        return Finding("rhythm", None, None, ACCELERATION)
    kind, found = said.get("kind") or said.get("kind2"), samples.rhythm
    truth = "none" if found is None else "clear" if found[1] >= CLEAR_RHYTHM else "loose"
    if kind in ("clear", "strong", "distinct", "pronounced"):
        return Finding("clear", truth, truth == "clear", ACCELERATION)
    if kind in ("loose", "weak", "faint"):
        return Finding("loose", truth, truth == "loose", ACCELERATION)
    return Finding("rhythm", truth, truth != "none", ACCELERATION)


def _no_rhythm(said, samples):
    finding = _rhythm(said, samples)
    holds = None if finding.holds is None else samples.rhythm is None
    return finding._replace(claimed="none", holds=holds)


def _symmetry(said, samples):
    claimed = "uneven" if said.get("uneven") else "even"
    truth = samples.symmetry
    holds = truth is not None and (truth >= MIDDLE) == (claimed == "even")
    return Finding(claimed, "no steps" if truth is None else truth, holds if samples.long_enough else None, ACCELERATION)


def _impacts(said, samples):
    word, count = said["n"], len(samples.impacts)
    if word == "several":
        return Finding(word, float(count), count >= 3, ACCELERATION)
    if word in ("many", "numerous", "frequent"):
        return Finding(word, float(count), count >= 5, ACCELERATION)
    if word in ("repeated", "multiple", "a few", "some"):
        return Finding(word, float(count), count >= 2, ACCELERATION)
    claimed = 0.0 if word.startswith(("no", "without", "free")) else number(word)
    return Finding(claimed, float(count), claimed == count, ACCELERATION)


def _courses(said, samples):
    """Every way to read that something grows or fades: half against half, or against as many seconds before."""
    rotation = bool(said.get("sensor")) and said["sensor"][0] in "rtg"
    value = (lambda part: float(part.turning.mean())) if rotation else (lambda part: part.motion)
    start, end = samples.interval
    ways = [samples.parts(2)]
    if start >= end - start:  # "then the motion grows": more than before
        ways.insert(0, [samples.between(start - (end - start), start), samples])
    return [course(*map(value, way)) for way in ways], ROTATION if rotation else ACCELERATION


def _trend(said, samples):
    word = next(name for name in ("rising", "falling", "steady") if said.get(name))
    truths, channels = _courses(said, samples)
    return Finding(word, truths[0], word in truths, channels)


def _half(said, samples):
    more = said["more"] in ("more", "stronger", "rougher", "larger", "greater", "higher", "livelier", "bigger")
    claimed = "rising" if more == (said["half"] in ("second", "latter", "last")) else "falling"
    truths, channels = _courses(said, samples)
    return Finding(claimed, truths[0], claimed == truths[0], channels)


def _third(said, samples):
    spreads = [part.motion for part in samples.parts(3)]
    calm = said["most"] in ("least", "calmest", "quietest")
    truth = ("first", "middle", "last")[spreads.index(min(spreads) if calm else max(spreads))]
    claimed = {"final": "last", "initial": "first"}.get(said["third"], said["third"])
    return Finding(claimed, truth, claimed == truth, ACCELERATION)


def _change(said, samples):
    claimed = "starts moving" if said.get("starts") else "calms down"
    found = samples.change
    truth = None if found is None else "starts moving" if found[1] > 1 else "calms down"
    if not said.get("n"):
        return Finding(claimed, truth or "no change", claimed == truth, ACCELERATION)
    second = number(said["n"])
    holds = claimed == truth and abs(found[0] - second) <= CHANGE_WITHIN
    return Finding(f"{claimed} at {second:g} s", truth and f"{truth} at {found[0]} s", holds, ACCELERATION)


def _rest(said, samples):
    """Coming to rest: still in the seconds that are named, or by the last second, after more motion before."""
    if samples.interval != samples.whole.interval:
        return Finding("still", samples.level, samples.motion < STILL, ACCELERATION)
    end = samples.interval[1]
    holds = samples.between(end - 1, end).motion < STILL <= samples.between(samples.interval[0], end - 1).motion
    return Finding("comes to rest", "comes to rest" if holds else samples.level, holds, ACCELERATION)


def _transition(said, samples):
    truth = "posture change" if samples.turn >= TURN_LEAST else "same posture"
    return Finding("posture change", truth, samples.turn >= TURN_LEAST, ACCELERATION)


def _same_posture(said, samples):
    finding = _transition(said, samples)
    return finding._replace(claimed="same posture", holds=not finding.holds)


def _steady_axis(said, samples):
    """"Remains stable": not still to the last digit, but no more than what we call still."""
    rotation = bool(said["sensor"]) and said["sensor"][:3] in ("rot", "gyr", "ang")
    value = spread(samples.part[:, _axis(said) + 3 * rotation])
    return Finding("steady", value, value < (QUIET_TURNING if rotation else STILL), (_axis(said) + 3 * rotation,))


def _sensor_problem(said, samples):
    """A list of channels, "acceleration y and rotation x and z are constant", each of which must be so."""
    claimed = "clipped" if said["problem"] in ("clipped", "saturated", "clipping", "saturating") else "constant"
    channels, group, letters = [], ACCELERATION, True
    for word in [*re.findall(r"accel\w*|rotation|gyro\w*|\b[xyz]\b", said["channels"]), None]:
        if word is not None and len(word) == 1:
            channels.append(group[AXES.index(word)])
            letters = True
            continue
        if not letters:  # "rotation is constant": all of its axes
            channels += group
        group, letters = (ROTATION if word and word[0] in "rg" else ACCELERATION), False
    found = [samples.problem(channel) for channel in channels]
    truth = ", ".join(sorted({problem or "fine" for problem in found}))
    return Finding(claimed, truth, all(problem == claimed for problem in found), tuple(channels))


def _any_problem(said, samples):
    found = sorted({problem for channel in range(6) if (problem := samples.problem(channel))})
    return Finding("a problem", ", ".join(found) or "fine", bool(found), tuple(range(6)))


# ------------------------------------------------------------------------------------------------------ patterns

_SENSOR = r"(?:(?:acceleration|accelerometer|rotation|gyroscope|gyro|sensor|phone|device)(?:'s)? )?"
_NAMED = r"(?:\b(?:axis|channel|component)[ -])?(?<![\w'])[xyz](?![\w'])"
_AFTER = r"(?:[- ](?:axis|direction|channel|component)\b)?"
_SUBJECT = "|".join(rf"(?<=\b{word} )" for word in ("not", "sensor", "phone", "device", "person", "wearer", "it", "is", "keeps"))
_SUBJECT += "|(?<=n't )"
_MACROS = {
    "@axis": rf"(?:the )?(?:(?:positive|negative|sensor's|phone's|device's) |[-+])?{_SENSOR}"
    rf"{_NAMED.replace('[xyz]', '(?P<axis>[xyz])')}{_AFTER}",
    "@other": rf"(?:the )?{_SENSOR}{_NAMED.replace('[xyz]', '(?P<other>[xyz])')}{_AFTER}",
    "@level": rf"(?P<level>{_LEVEL})",
    "@thing": r"(?:sensor|phone|device|smartphone|signal|person|wearer|user|it|motion|movement|activity|intensity|recording)",
    "@be": r"(?:is|are|was|were|be|being|becomes?|became|stays?|stayed|remains?|remained|keeps?|kept|lies|appears?|seems?|gets?)",
    "@very": r"(?:(?:now|only|again|rather|fairly|quite|relatively|completely|entirely|almost|nearly|mostly|perfectly|"
    r"largely|overall|generally|practically|essentially|basically|virtually) ){0,2}",
    "@gap": r"(?:(?!\b(?:and|but|while|whereas|with|than|most|no)\b)[^,;:]){0,30}?",
    "@n": rf"(?P<n>{_COUNTS})",
    "@s": r"(?:s|secs?|seconds?)\b",
    "@at": r"(?:at|after|around|near|from|by|about) (?:about |around |roughly |t ?= ?)?",
    "@motion": r"(?:motion|movement|activity|intensity|variation|signal|shaking|spread)",
    "@rotation": r"(?P<sensor>rotation(?:al (?:motion|movement))?|turning|gyroscope(?: signal)?)",
}  # fmt: skip


def _row(quantity, judge, *patterns, whole=False):
    filled = (re.sub(r"@\w+", lambda name: _MACROS[name[0]], pattern) for pattern in patterns)
    return Statement(quantity, tuple(map(re.compile, filled)), judge, whole)


_GROWS = (
    r"\b(?:@motion|@rotation)(?: (?:level|strength))? (?:\w+ly )?(?:(?P<rising>grows?|growing|increas(?:es|ing)|rises?|rising|builds? up|intensif\w+|strengthens?|gets? stronger|becomes? stronger|picks? up)|"
    r"(?P<falling>fades?|fading|decreas(?:es|ing)|declines?|weakens?|diminish\w*|eases|subsides?|drops|falls|gets? weaker|becomes? weaker|calms? down|dies down|dwindles)|"
    r"(?P<steady>(?:@be|holds) @very(?:steady|constant|consistent|stable|unchanged|even|uniform|the same)))"
)  # fmt: skip

STATEMENTS = (
    # --- the course of the window
    _row(
        "trend", _half,
        r"\b(?P<more>more|less|stronger|weaker|larger|smaller|greater|higher|lower) (?:\w+ )?(?:motion|movement|activity|"
        r"variation|intensity) (?:is )?(?:in|during) the (?P<half>first|second|latter|last) half\b",
        r"\bthe (?P<half>first|second|latter|last) half (?:of the \w+ )?(?:moves|is|varies|shows|has) (?:much |far |clearly )?"
        r"(?P<more>more|less|stronger|weaker|rougher|calmer|quieter|livelier|larger|smaller|higher|lower)"
        r"(?: motion| movement| activity| variation| intense| active)?(?: than the (?:first|second|other))?\b",
        whole=True,
    ),
    _row("trend", _trend, r"\b(?P<steady>(?:both|the two) halves (?:\w+ )?(?:are |is |move |look )?(?:much |very )?(?:alike|similar|the same))\b", whole=True),
    _row("trend", _trend, _GROWS + r" (?:\w+ly )?(?:towards?|until|by) the (?:very )?end\b", whole=True),
    _row(
        "roughest third", _third,
        r"\bthe (?P<third>first|initial|middle|last|final) (?:(?:two|2) seconds|third) (?:of the \w+ )?(?:moves?|varies|vary|is|are) "
        r"(?:the )?(?P<most>most|roughest|liveliest|strongest|least|calmest|quietest)(?: intense| active)?\b",
        r"\b(?P<most>most|least) (?:of the )?(?:motion|movement|activity|variation) (?:is |occurs |happens )?(?:in|during) the "
        r"(?P<third>first|initial|middle|last|final) (?:(?:two|2) seconds|third)\b",
        r"\bthe (?P<most>roughest|liveliest|calmest|quietest) (?:two seconds|third|part) (?:is|are|comes?) (?:the |in the )?"
        r"(?P<third>first|middle|last|final)\b",
        whole=True,
    ),
    _row(
        "change", _change,
        r"\b(?:(?P<starts>(?:starts?|begins?) (?:moving|to move)|picks? up|picking up|sets? in|(?:motion|movement) (?:starts|begins))|"
        r"(?:calms? down|calming down|settles?(?: down)?|quietens?|stops? moving|(?:motion|movement) (?:stops|ends|ceases)))"
        r" (?:again )?@at@n ?@s",
        r"(?:\b(?:at|after|around|from) (?:about |around |roughly )?)@n ?@s,? (?:on(?:wards)?,? )?(?:the )?(?:@thing )?"
        r"(?:(?P<starts>(?:starts?|begins?)(?: moving| to move)?\b|picks? up|sets? in)|(?:calms? down|settles?(?: down)?|stops(?: moving)?))\b",
        whole=True,
    ),
    _row(
        "still seconds", _still_seconds,
        r"\b(?:still|at rest|rests?|resting|motionless|stationary|quiet|without motion)(?: for| during)? "
        r"(?P<n>all|[0-9](?:\.[0-9]+)?|one|two|three|four|five|six) (?:of (?:the |its |all )?(?:6|six) )?@s(?: of (?:the )?(?:6|six)(?: @s)?)?",
        r"\b(?P<n>all|[0-9](?:\.[0-9]+)?|one|two|three|four|five|six) (?:of (?:the |its |all )?)?(?:(?:6|six) )?seconds (?:are |is )?"
        r"(?:still|quiet|motionless)\b",
        r"\b(?P<n>never) (?:\w+ )?(?:still|at rest|motionless|stationary)\b",
        whole=True,
    ),
    # --- posture
    _row(
        "gravity axis", _gravity_axis,
        r"\bgravity\b@gap\b(?:along|on|onto|upon|in|by|through|across|(?:aligned|line|parallel) (?:with|to)|dominates|via) @axis",
        r"@axis (?:\w+ ){0,2}?(?:carries|carrying|bears|bearing|feels|holds|senses|measures|registers|captures|experiences|takes|"
        r"shows|reflects|aligned with|aligns with|parallel to|dominated by|affected by) (?:most of |mainly |mostly )?"
        r"(?:the )?(?:(?:force|pull|effect|influence|full force|component) of )?gravity\b",
        r"@axis@gap[^;]{0,45}?\b(?:indicat\w+|due to|because of|reflect\w+|consistent with|suggest\w+|caused by|corresponding to|"
        r"representing|close to|near|dominated by|includes|containing) (?:the )?"
        r"(?:(?:force|pull|effect|influence|presence|acceleration due to|acceleration of) (?:of )?(?:the )?)?(?:earth's )?gravity\b",
        r"@axis (?:\w+ )?(?:is|being) (?:the )?(?:roughly |nearly |almost |mostly )?vertical\b",
        r"\bvertical(?: axis)? (?:is|being) @axis",
        r"\baligned vertically (?:with|along) @axis",
    ),
    _row("gravity share", _free_of_gravity, r"@axis (?:carries|feels|senses|shows|has|sees) (?:almost |hardly |practically )?(?:no|any|little|zero) gravity\b"),
    _row(
        "up", _up,
        r"@axis (?:is )?(?:mostly |mainly |straight |roughly |nearly |almost |vertically )?(?:points?|pointing|faces?|facing|directed|oriented|aimed)? ?"
        r"(?:mostly |mainly |straight |roughly |nearly |almost |vertically )?(?P<side>up|down|upwards?|downwards?)\b(?! to)",
    ),
    _row("flatness", _flat, r"\b(?:is|are|with|stays?|hardly|barely|sits?) (?:hardly |barely )?(?P<flat>un|no )?(?:tilted|tilt)\b(?! (?:of|by|is|angle|[0-9]))"),
    _row(
        "transition", _transition,
        r"\b(?:posture|orientation) changes\b", r"\bchanges? (?:of|in) (?:the )?(?:\w+ )?(?:posture|orientation)\b",
        r"\bchang(?:es|ing) (?:its |their |the |his |her )?(?:posture|orientation)\b", r"\b(?:posture|orientation) change\b",
        r"\bturns? (?:upside down|over|around)\b", r"\bposture (?:transition|switch)\b",
    ),
    _row(
        "transition", _same_posture,
        r"\b(?:posture|orientation)(?: of the \w+)? @be @very(?:the same|constant|stable|steady|unchanged|fixed|consistent)\b",
        r"\b(?:same|constant|stable|steady|unchanging|fixed|consistent) (?:posture|orientation)\b",
    ),
    # --- intensity
    _row("level", _hardly, r"\b(?:hardly|barely|scarcely)(?: anything)? (?:moves?|moving)\b"),
    _row("level", _moving, rf"(?:{_SUBJECT})(?:constantly |continuously )?(?:moves?|moving|active)\b(?! (?:most|more|less|about|along|between))", r"\bin (?:constant )?motion\b"),
    _row(
        "level", _level,
        r"\b@thing(?: of the \w+)?(?: (?:level|strength))?,? (?:(?:grows|grow|eases|fades|increases|decreases|drops|but|and|then) ){0,3}@be @very@level\b(?! [a-z]+ing\b| [a-z]+s\b| has\b)",
        r"\b@thing,? @very(?P<level>still|at rest|motionless|stationary|strong|light|moderate|very strong)(?=,| and\b|$)",
        r"\b(?:but|and) (?:stays|becomes|is) @very@level\b(?! [a-z]+ing\b| and | gait| rhythm)",
        r"\b@level[ -](?:(?!rotat|turn)\w+ )?(?:motion|movement|activity|shaking|intensity)\b",
        r"(?:^ ?|[,:] |\b(?:completely|entirely|perfectly|almost|initially|first|then|is|be|stays|lies|keeps|remains|sits|stands|holds|held|kept) )"
        r"(?P<level>still|motionless|stationary|at rest|immobile)\b(?! [a-z]+(?:ing|s)\b| has\b| of\b)",
    ),
    _row("level", lambda said, samples: _level({"level": "still"}, samples), r"\b(?:sensor|phone|device) rests\b", r"\b(?:no|without(?: any)?|absence of|lack of) (?:\w+ )?(?:motion|movement)\b(?! in)", r"\bnothing moves\b"),
    _row("level", _rest, r"\bcom(?:es|ing) to (?:a )?(?:rest|stop|standstill|halt)\b"),
    # --- axes
    _row(
        "most varied axis", _most_varied,
        r"(?P<sensor>rotation|gyroscope|acceleration|accelerometer)?(?: |^|)@axis (?:var(?:ies|ying)|moves|moving|fluctuat(?:es|ing)|swings|changes|changing) (?:the )?(?P<most>most|least)\b",
        r"\b(?P<most>most|least) (?:of the )?(?P<sensor>rotational |acceleration )?(?:variation|variability|movement|motion|activity|fluctuation) "
        r"(?:is|occurs|happens|appears|lies|takes place)? ?(?:on|along|in|at) @axis",
        r"\b(?P<sensor>acceleration |rotation )?(?:variation|variability|spread|variance|standard deviation|movement|motion|fluctuation) (?:is )?"
        r"(?P<most>largest|greatest|highest|strongest|smallest|lowest|weakest)(?: (?:on|along|in|at)) @axis",
        r"@axis (?:of the (?P<sensor>accelerometer|gyroscope) )?(?:shows|has|exhibits|displays|experiences|with|showing|having|sees) the (?P<most>most|largest|greatest|highest|strongest|least|smallest|lowest|weakest) "
        r"(?:variation|variability|variance|spread|standard deviation|fluctuations?|movement|motion|activity|changes)",
        r"\b(?:the )?(?P<most>most|least) (?:variable|varied|active|dynamic) (?P<sensor>acceleration |rotation )?axis (?:is|being) @axis",
    ),
    _row(
        "main rotation axis", _turning_axis,
        r"\b(?:turns?|turning|rotat(?:es?|ing|ion)|spins?|spinning)\b@gap\b(?:about|around) @axis",
        r"\bmost (?:of the )?(?:turning|rotation)\b@gap(?:about|around|on) @axis",
        r"\b(?:main|dominant|primary|principal) (?:axis of rotation|rotation axis|turning axis) (?:is|being) @axis",
        r"\b(?:rotation|turning|angular velocity) is (?:largest|strongest|greatest|highest|most pronounced)\b@gap(?:about|around|on|along) @axis",
    ),
    _row(
        "axes compared", _compare_spreads,
        r"@axis (?:varies|moves|swings|fluctuates|changes) (?:much |far |clearly |slightly )?(?P<more>more|less)(?: strongly| widely)? than @other",
        r"\b(?P<more>more|less|larger|smaller|greater|higher|lower|stronger|weaker) (?:variation|movement|motion|variability|variance|spread|standard deviation|fluctuation) (?:on|along|in) @axis than (?:on |along |in )?@other",
        r"\b(?:variation|movement|motion|variability|variance|spread|standard deviation) (?:on|along|in|of) @axis is (?:much |far |clearly |slightly )?(?P<more>larger|smaller|greater|higher|lower|stronger|weaker) than (?:on |along |in |that (?:on|of) )?@other",
        r"@axis (?:varies|moves|swings|fluctuates|changes) (?:about |around |roughly )?(?P<times>twice|half|thrice|two times|three times|four times|five times|ten times|[0-9.]{1,5} times) as (?:much|strongly|widely) as @other",
    ),
    _row("means compared", _compare_means, r"@axis (?:acceleration |value |reading |mean )?is (?:on average |much |clearly |slightly )?(?P<more>higher|larger|greater|lower|smaller|above|below) than @other(?! (?:varies|moves))"),
    _row("steadiness", _steady_axis, r"\b(?P<sensor>rotation |gyroscope |acceleration )?@axis(?: acceleration| rotation| reading| value| signal)? (?:remains|stays|is|keeps) (?:relatively|fairly|nearly|almost|mostly|quite|rather|largely|very) (?:constant|stable|steady|flat|unchanged)\b", r"(?P<sensor>\b)@axis(?: acceleration| reading| value| signal)? (?:remains|stays) (?:constant|stable|steady|unchanged)\b"),
    # --- rotation
    _row("turning", _no_turning, r"\b(?:no|little|hardly any|almost no|minimal|negligible|without(?: any)?|barely any|very little) (?:significant |noticeable |substantial )?(?:rotation(?:al (?:motion|movement))?|turning|angular (?:motion|movement|velocity))\b", r"\b(?:hardly|barely|scarcely) (?:turns?|rotates?|turning|rotating)\b(?! mo)"),
    _row("turning", _turning, r"(?:(?<=\bnot )|(?<=n't ))(?:turn|rotate|turning|rotating)\b(?! (?:most|main|over|about|around|by|the))"),
    # --- rhythm
    _row("rhythm", _rhythm, r"\b(?:(?P<kind>clear|strong|distinct|pronounced|loose|weak|faint|regular|steady|stable|consistent) )?(?:(?:and )?(?:regular|periodic) )?(?:step |walking |gait |stepping |repeating )?(?:rhythm|cadence|periodicity)\b(?: (?:is|looks) (?P<kind2>clear|loose|weak|regular)\b)?", r"\b(?P<kind>regular|clear|periodic|repeating|repetitive|rhythmic|cyclic) (?:step |stepping )?(?:pattern|steps|oscillations?|peaks|motion)\b"),
    _row("rhythm", _no_rhythm, r"\b(?:irregular|aperiodic|non-periodic|nonperiodic|arrhythmic)\b"),
    _row(
        "symmetry", _symmetry,
        r"\b(?:steps|strides) (?:are|look|seem|appear) (?:very |quite |fairly |rather |nearly )?(?:(?P<uneven>uneven|asymmetric(?:al)?|unequal|different)|(?P<even>even|alike|equal|symmetric(?:al)?|similar))\b",
        r"\b(?:(?P<uneven>uneven|asymmetric(?:al)?|unequal|limping)|(?P<even>even|symmetric(?:al)?|equal)) (?:steps|gait|strides?|rhythm)\b",
        r"\bboth steps (?:of (?:a|each|the) stride )?(?:are |look )?(?:alike|equal|the same|similar)\b",
        r"\b(?P<uneven>every (?:second|other) step (?:differs|is different|different))\b",
    ),
    # --- impacts
    _row(
        "impacts", _impacts,
        rf"\b(?P<n>no|without an?y?|without|free of|a single|single|an?|several|a few|some|many|numerous|frequent|multiple|repeated|{_COUNTS}) "
        r"(?:\w+ )?(?<!largest )(?<!heaviest )(?<!hardest )(?<!strongest )(?<!biggest )(?<!highest )(?<!maximum )(?:impacts?|shocks?|jolts?|bumps?|spikes)\b(?! (?:of|at|reaching) [0-9])",
    ),
    # --- trends that need the seconds of their clause
    _row(
        "trend", _trend,
        _GROWS + r"\b(?! (?:to|by|from) [0-9])",
        r"\b(?:(?P<rising>growing|increasing|rising)|(?P<falling>fading|decreasing|declining|falling)|(?P<steady>steady|uniform)) (?:motion|movement|activity|intensity)\b",
        r"\bmotion (?:is |stays )?(?P<steady>steady)\b",
    ),
    _row("change", _change, r"\b(?:sensor|phone|device|person|it|wearer) (?P<starts>(?:starts?|begins?) (?:moving|to move))\b", r"\b(?:sensor|phone|device|person|it|wearer|motion|movement) (?:stops moving|settles down|calms down)\b"),
    # --- the sensor itself
    _row(
        "sensor problem", _sensor_problem,
        r"\b(?P<channels>(?:(?:acceleration|accelerometer|rotation|gyroscope|channels?|axis|axes|the|and|both|sensor|,|[xyz]-axis|[xyz])(?![\w'])[ ,]*){1,14})"
        r"(?:is|are|looks?|appears?|seems?) (?:completely |entirely )?(?P<problem>constant|dead|flat|stuck|frozen|clipped|saturated|clipping|saturating)\b",
    ),
    _row("sensor problem", _any_problem, r"\bsome channels are constant or clipped\b", r"\b(?:sensor (?:problems?|faults?|errors?|failures?)|clipping|saturation|dead (?:axis|channel|sensor))\b", r"\b(?:axis|channel|sensor) (?:is|seems) (?:broken|faulty|defective)\b"),
)  # fmt: skip

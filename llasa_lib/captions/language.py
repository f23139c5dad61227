"""Sentences from facts: a caption and a narration in which every number is a measured value, rounded, with its unit.

The same seed gives the same words. A label is copied into the text if given, never guessed.
"""

import random
import re
from dataclasses import dataclass

from llasa_lib.captions.facts import Facts, level, say, trend
from llasa_lib.errors import ModelError

WORDS = (20, 25)  # shortest and longest caption, in words


@dataclass(frozen=True)
class Caption:
    """A caption (20 to 25 words), a narration (4 to 6 sentences) and the facts that they cite."""

    text: str
    narration: str
    facts: Facts


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

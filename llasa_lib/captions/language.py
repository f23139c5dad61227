"""Sentences from facts: a caption and a narration in which every number is a measured value, rounded, with its unit.

The phrases and the shapes of the sentences are tables in ``grammar``. The same seed gives the same words. A label is
copied into the text if given, never guessed.
"""

import random
import re
from dataclasses import dataclass

from llasa_lib.captions import grammar
from llasa_lib.captions.facts import AXES, Facts, level, say, trend
from llasa_lib.errors import ModelError

WORDS = (20, 25)  # shortest and longest caption, in words

_SLOT = re.compile(r"\b[CA]\b")  # in a shape: a clause or an adjunct
_CORE = ("gravity", "intensity")  # in every caption: they tell postures and gaits apart
_WEIGHTS = {"transition": 100, "change": 100, "cadence": 2}  # how soon the others are chosen; 1 if not listed
_POSTURE = ("gravity", "tilt", "transition")
_BESIDE_POSTURE = (*_POSTURE, "intensity", "rotation")  # what else would hang loosely on a clause about posture
_COURSE = ("change", "roughest_third", "trend")  # one of these is enough


@dataclass(frozen=True)
class Caption:
    """A caption (20 to 25 words), a narration (4 to 6 sentences) and the facts that they cite."""

    text: str
    narration: str
    facts: Facts


def _count(text):
    return len(text.split())


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
    openings = grammar.BLIND_OPENINGS if activity is None else grammar.OPENINGS
    said = {"C": grammar.phrases(facts, "clause"), "A": grammar.phrases(facts, "adjunct")}
    for opening in rng.sample(openings, len(openings)):
        opening = opening.format(a=activity, A=activity and activity[0].upper() + activity[1:])
        text = _write(opening, said, rng)
        if text is not None:
            return Caption(text, _narrate(facts, said["C"], seed), facts)
    raise ModelError(
        f"no caption of {WORDS[0]} to {WORDS[1]} words fits the activity {activity!r}. Use a shorter name."
    )


def _write(opening, said, rng):
    """The first sentence shape, in random order, that phrases can fill with the right number of words, or None."""
    tiers = (grammar.SHAPES, grammar.SHORT_SHAPES)
    if "sensor_problem" in said["C"]:  # nothing is more important
        tiers = [f"C. {shape}" for shape in grammar.SHORT_SHAPES], ["C. C.", "C."]
    for shape in (shape for tier in tiers for shape in rng.sample(tier, len(tier)) if _joins(opening, shape)):
        fixed = _count(opening) + _count(shape) - len(_SLOT.findall(shape))
        chosen = _choose(shape, said, rng) or ()
        slots = [[(_count(phrase), phrase) for phrase in rng.sample(some, len(some))] for some in chosen]
        found = _fill(slots, WORDS[0] - fixed, WORDS[1] - fixed)
        if found:
            first, *parts = _SLOT.split(shape)
            return _capitalise(opening + first + "".join(map("".join, zip(found, parts, strict=True))))
    return None


def _order(names, rng):
    """The facts in the order in which they are tried: random, but what happens only sometimes comes first."""
    names = sorted(names, key=lambda name: rng.random() / _WEIGHTS.get(name, 1))
    course = [name for name in names if name in _COURSE]
    return [name for name in names if name not in course[1:]]


def _joins(opening, shape):
    """Whether a sentence of this shape can follow this opening."""
    if not opening or opening.rstrip()[-1] in ":.":
        return True
    first = shape.split(".")[0]
    return first.startswith("C") and not ("while" in opening.lower() and "while" in first)


def _choose(shape, said, rng):
    """A fact for every slot, as the phrases that say it; None if there are too few facts for this shape."""
    forms = _SLOT.findall(shape)
    names, free = [None] * len(forms), list(range(len(forms)))
    if "sensor_problem" in said["C"]:
        names[free.pop(0)] = "sensor_problem"
    for name, place in zip(rng.sample(_CORE, len(_CORE)), rng.sample(free, min(len(free), len(_CORE))), strict=False):
        names[place] = name
    order, hosts = _order(said["C"], rng), _hosts(shape)
    for place in sorted(range(len(forms)), key=forms.__getitem__, reverse=True):  # an adjunct follows its clause
        if names[place] is None:
            fitting = (name for name in order if said[forms[place]][name] and name not in names)
            if forms[place] == "A" and names[hosts[place]] in _POSTURE:
                fitting = (name for name in fitting if name in _BESIDE_POSTURE)
            names[place] = next(fitting, None)
    if None in names:
        return None
    variants = [said[form][name] for form, name in zip(forms, names, strict=True)]
    if "C, C" in shape:  # a comma inside a list of clauses would end the clause
        return [[phrase for phrase in some if "," not in phrase] for some in variants]
    return variants


def _hosts(shape):
    """For each slot the place of the first clause in its sentence, which an adjunct there leans on."""
    hosts, place = [], 0
    for sentence in re.split("[.;]", shape):
        forms = _SLOT.findall(sentence)
        hosts += [place + forms.index("C")] * len(forms) if forms else []
        place += len(forms)
    return hosts


def _fill(slots, low, high):
    """One phrase for each slot, in the order given, so that their words add up to low..high; None if none do.

    ``slots`` holds lists of (words, phrase).
    """
    if not slots:
        return [] if low <= 0 <= high else None
    least, most = (sum(end(words for words, _ in slot) for slot in slots[1:]) for end in (min, max))
    for words, phrase in slots[0]:
        if low - most <= words <= high - least:
            found = _fill(slots[1:], low - words, high - words)
            if found is not None:
                return [phrase, *found]
    return None


def _capitalise(text):
    return re.sub(r"(^|[.] )([a-z])", lambda match: match[1] + match[2].upper(), text)


def _narrate(facts, said, seed):
    """Tell the six seconds step by step: one sentence per two seconds, then what holds throughout."""
    rng = random.Random(f"{seed}-narration")
    one = lambda name: rng.choice(said[name])
    lasting = ["tilt", *(name for name in ("rotation_axis", "strongest_axis") if name in said)]
    sentences = [
        *said.get("sensor_problem", ())[:1],
        *_thirds(facts, rng),
        rng.choice(grammar.OVERALL).format(one("gravity"), one(rng.choice(lasting))),
    ]
    events = [name for name in ("transition", "change", "impact") if name in said]
    events += ["impacts"] if facts["impacts"].value > 1 else []
    sentences.append(", and ".join(one(name) for name in events[:2]))
    if grammar.is_moving(facts):
        sentences.append(", and ".join(one(name) for name in ("cadence", "symmetry") if name in said))
    return " ".join(_capitalise(sentence) + "." for sentence in sentences[:6])


def _thirds(facts, rng):
    """Three sentences, one for each two seconds."""
    before = None
    for i, whens in enumerate(grammar.WHEN):
        spread = facts[f"intensity_third_{i + 1}"].value
        yield rng.choice(grammar.THIRDS).format(
            when=rng.choice(whens),
            motion=_motion(before, spread),
            spread=say(spread),
            rotation=say(facts[f"rotation_third_{i + 1}"].value),
        )
        before = spread


def _motion(before, now):
    """What moves in a third, and how that differs from the third before."""
    same = before is not None and ("same" if level(before) == level(now) else "other")
    if level(now) == "still":
        return grammar.REST[same or "first"]
    return grammar.MOTION[f"{trend(before, now)}, {same}" if same else "first"].format(level=level(now))


def measurement_line(facts):
    """What was measured, in one line for a prompt: values under the names that the answers use, no activity.

    A language model that finds a number in its prompt can repeat it; out of a soft token it has to guess the digits.
    What is missing is said as "none" in the same place as the value: a small model copies what stands there, and makes
    something up where nothing does.

    Parameters
    ----------
    facts : Facts
        Of one window, from :func:`captions.measure`.

    Returns
    -------
    str
        In SI units, rounded as the answers round them.
    """
    f = facts
    motion = f"moving {f['level'].value}" if grammar.is_moving(f) else "keeps still"
    change = f"{f['change'].value} {f['change_time'].value}" if f["change"].value else "none"
    return "; ".join(
        [
            f"gravity {f['posture'].value.replace(' axis', '')} {say(f['gravity'].value)}",
            f"leans {f['tilt'].axis} {f['tilt'].value:.0f}",
            f"{motion} {say(f['intensity'].value)}",
            f"still {f['still_seconds'].value}",
            f"varies most {_first(f['strongest_axis'])}",
            *(_axis(f, axis) for axis in AXES),
            f"cadence {_or_none(f['cadence'].value)}",
            f"impacts {f['impacts'].value or 'no'}",
            f"peaks {say(f['impact'].value)} after {say(f['impact_time'].value)}",
            f"rotation {say(f['rotation'].value)}",
            f"turns {_turning(f)}",
            f"fastest {say(f['rotation_peak'].value)}",
            "thirds " + " ".join(say(f[f"intensity_third_{number}"].value) for number in (1, 2, 3)),
            f"roughest {f['roughest_third'].value or 'none'}",
            f"halves {f['trend'].value}",
            f"change {change}",
            f"turned {f['turn'].value:.0f}",
        ]
    )


def _or_none(value):
    return "none" if value is None else say(value)


def _first(fact):
    """The axis that comes first in something and its value, where one does."""
    return f"{fact.axis} {say(fact.value)}" if fact.confidence >= grammar.LEAST_LEAD else "none"


def _turning(facts):
    """Whether the sensor turns at all, and about which axis most."""
    if facts["rotation"].value < grammar.LEAST_TURNING:
        return "hardly"
    axis = facts["rotation_axis"]
    return f"mostly {axis.axis if axis.confidence >= grammar.LEAST_LEAD else 'none'}"


def _axis(facts, axis):
    """Spread of an axis, and the frequency of its swing where it swings."""
    spread, frequency = facts[f"spread_{axis}"], facts[f"frequency_{axis}"]
    swings = frequency.value is not None and frequency.confidence >= grammar.LEAST_SHARE
    return f"{axis} {say(spread.value)}" + (f" at {say(frequency.value)}" if swings else "")

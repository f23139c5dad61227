"""The grammar of captions and narrations, as data: what can be said of a fact, and how phrases become sentences.

Notable features:

- A phrase says one fact and nothing else, so a text can be proved phrase by phrase.
- A phrase is a clause, which can stand alone, or an adjunct ("with ..."), which leans on one.
- ``phrases`` picks those that are true of some facts. What is shaky is left out: no axis "varies most" by a hair.
"""

import re

from llasa_lib.captions.facts import CLEAR_RHYTHM, SYMMETRY_EVEN, SYMMETRY_UNEVEN, say

LEAST_LEAD = 0.05  # confidence below which no axis is called the first: another window of the same walk would differ
LONGEST_PROBLEM = 9  # words; a caption has room for no more, and the fact names the channels
LEAST_SHARE = 0.3  # confidence below which no frequency is called dominant
LEAST_TURNING = 0.1  # rad/s; below it there is an axis of most rotation, but nobody turns

# What can be said: by fact, or by fact and case (see _cases), the clauses and the adjuncts that say it. A name in
# braces is the rounded value of that fact; the others are explained in _fillers.
PHRASES = {
    "sensor_problem": (("{problem}",), ()),
    "gravity": (
        ("the {x} axis carries gravity at {gravity} m/s²", "axis {x} carries gravity at {gravity} m/s²",
         "gravity lies along {x} at {gravity} m/s²", "gravity is felt on the {x} axis at {gravity} m/s²",
         "gravity on the {x} axis is {gravity} m/s²", "gravity reads {gravity} m/s² on the {x} axis",
         "the {x} axis points {side}, reading {gravity} m/s²", "axis {x} points {side}, reading {gravity} m/s²"),
        ("with gravity on {x} at {gravity} m/s²", "with gravity along axis {x} at {gravity} m/s²",
         "with gravity of {gravity} m/s² along {x}", "with the {x} axis carrying gravity at {gravity} m/s²",
         "with axis {x} pointing {side}, reading {gravity} m/s²"),
    ),
    "tilt": (
        ("the {x} axis leans {lean} from vertical", "axis {x} is {lean} from vertical", "the tilt is {lean}",
         "axis {x} is tilted by {lean}", "the sensor leans {lean} from vertical"),
        ("with a tilt of {lean}", "with axis {x} leaning {lean} from vertical"),
    ),
    "transition": (
        ("the posture changes by {turn} degrees", "a change of posture turns the sensor by {turn} degrees"),
        ("with a change of posture of {turn} degrees",),
    ),
    "intensity": (
        ("the motion is {level} at {intensity} m/s²", "the motion is {level}, varying by {intensity} m/s²",
         "{level} motion spreads acceleration by {intensity} m/s²",
         "acceleration varies by {intensity} m/s² in {level} motion",
         "{level} motion has a spread of {intensity} m/s²", "the sensor feels {level} motion of {intensity} m/s²",
         "{level} motion shakes the sensor by {intensity} m/s²",
         "acceleration spreads by {intensity} m/s² in {level} motion",
         "the spread is {intensity} m/s² in {level} motion", "the motion, {level}, has a spread of {intensity} m/s²"),
        ("with {level} motion of {intensity} m/s²", "with {level} motion varying by {intensity} m/s²",
         "with {level} motion and a spread of {intensity} m/s²",
         "with {level} motion spreading acceleration by {intensity} m/s²"),
    ),
    "intensity, still": (
        ("acceleration varies by only {intensity} m/s²", "the sensor keeps still, varying by {intensity} m/s²",
         "the sensor is still, varying by only {intensity} m/s²", "the sensor rests with a spread of {intensity} m/s²",
         "hardly anything moves, with a spread of {intensity} m/s²",
         "the sensor barely moves, with a spread of {intensity} m/s²", "acceleration spreads by only {intensity} m/s²",
         "the spread is only {intensity} m/s²", "the sensor stays still with a spread of {intensity} m/s²",
         "the sensor barely moves, varying by {intensity} m/s²"),
        ("with a spread of only {intensity} m/s²", "with acceleration varying by only {intensity} m/s²",
         "with the sensor still, varying by {intensity} m/s²", "with acceleration spreading by only {intensity} m/s²",
         "with the sensor at rest and a spread of {intensity} m/s²"),
    ),
    "cadence": (
        ("steps repeat at {cadence} steps/s", "the cadence is {cadence} steps/s",
         "steps follow each other at {cadence} steps/s", "the step rhythm is {cadence} steps/s"),
        ("with a cadence of {cadence} steps/s", "with steps repeating at {cadence} steps/s"),
    ),
    "cadence, clear": (
        ("a clear rhythm runs at {cadence} steps/s", "the step rhythm is clear at {cadence} steps/s"),
        ("with a clear rhythm of {cadence} steps/s",),
    ),
    "cadence, loose": (
        ("a loose rhythm runs at {cadence} steps/s", "the step rhythm is loose at {cadence} steps/s"),
        ("with a loose rhythm of {cadence} steps/s",),
    ),
    "cadence, none": (
        ("there is no regular step rhythm", "no step rhythm appears", "no regular step rhythm shows"),
        ("with no regular step rhythm", "without a step rhythm"),
    ),
    "symmetry, even": (
        (("the steps are even", "successive steps are alike"), ("with even steps", "with successive steps alike"))
    ),
    "symmetry, uneven": (
        ("the steps alternate", "successive steps differ"),
        ("with alternating steps", "with successive steps different"),
    ),
    "strongest_axis": (
        ("axis {most} varies most, by {strongest_axis} m/s²", "most variation is on {most} at {strongest_axis} m/s²",
         "the {most} axis varies most, by {strongest_axis} m/s²",
         "variation is largest on axis {most} at {strongest_axis} m/s²"),
        ("with axis {most} varying most, by {strongest_axis} m/s²", "with most variation on axis {most}"),
    ),
    "frequency": (
        ("axis {most} swings at {frequency} Hz", "the {most} axis swings at {frequency} Hz"),
        ("with axis {most} swinging at {frequency} Hz",),
    ),
    "rotation": (
        ("rotation averages {rotation} rad/s", "the mean rotation is {rotation} rad/s",
         "the sensor turns at {rotation} rad/s on average"),
        ("with rotation averaging {rotation} rad/s", "with an average rotation of {rotation} rad/s"),
    ),
    "rotation_peak": (
        ("rotation peaks at {rotation_peak} rad/s", "the fastest turn reaches {rotation_peak} rad/s",
         "the fastest rotation is {rotation_peak} rad/s"),
        ("with rotation peaking at {rotation_peak} rad/s",),
    ),
    "rotation_axis": (
        ("the sensor turns mostly about {turns}", "most turning is about {turns}",
         "most rotation is about the {turns} axis"),
        ("with most turning about {turns}", "with the sensor turning mostly about {turns}"),
    ),
    "impact": (
        ("the largest impact reaches {impact} m/s²", "the heaviest impact reaches {impact} m/s² after {impact_time} s",
         "the largest impact, {impact} m/s², comes after {impact_time} s", "the strongest impact is {impact} m/s²"),
        ("with the largest impact at {impact} m/s²", "with the heaviest impact reaching {impact} m/s²"),
    ),
    "impact, none": (
        ("acceleration peaks at {impact} m/s²", "acceleration peaks at {impact} m/s² after {impact_time} s"),
        ("with acceleration peaking at {impact} m/s²",),
    ),
    "impacts, some": (
        (("there are {impacts} impacts", "the sensor registers {impacts} impacts"), ("with {impacts} impacts",))
    ),
    "impacts, one": (("there is 1 impact", "a single impact stands out"), ("with a single impact",)),
    "impacts, none": (("there is no impact", "no impact stands out"), ("without any impact", "with no impact")),
    "still_seconds, some": (
        ("the sensor rests for {still_seconds} of 6 seconds", "it stays still for {still_seconds} of 6 seconds"),
        ("with the sensor at rest for {still_seconds} of 6 seconds",),
    ),
    "still_seconds, all": (
        (("all 6 seconds are still", "the sensor rests for all 6 seconds"), ("with all 6 seconds still",))
    ),
    "trend, rising": (
        (("the motion grows towards the end", "the second half moves more"), ("with more motion in the second half",))
    ),
    "trend, falling": (
        (("the motion fades towards the end", "the second half moves less"), ("with less motion in the second half",))
    ),
    "trend, steady": (
        ("both halves move about equally", "both halves are about alike", "both halves move alike",
         "the two halves are about alike"),
        ("with both halves about alike",),
    ),
    "change, starts moving": (
        ("the motion picks up after {change_time} s", "the motion picks up at {change_time} s"),
        ("with the motion picking up after {change_time} s",),
    ),
    "change, calms down": (
        ("the motion calms down after {change_time} s", "the motion calms down at {change_time} s"),
        ("with the motion calming down after {change_time} s",),
    ),
    "roughest_third": (
        ("motion is largest in the {roughest_third} two seconds", "the {roughest_third} two seconds are the roughest"),
        ("with most motion in the {roughest_third} two seconds",),
    ),
}  # fmt: skip

# How phrases become sentences: C is a clause, A an adjunct.
SHAPES = (
    "C, A. C.", "C. C, A.", "A, C. C.", "C. A, C.", "C, and C. C.", "C. C, and C.", "C, while C. C.",
    "C. C, while C.", "while C, C. C.", "C; C, and C.", "C, C, and C.", "C, A, and C.", "A, C, and C.", "C, A; C.",
    "C, A. At the same time, C.", "C. At the same time, C, and C.", "C. In addition, C, A.", "C, A and A.",
    "C, A. C, and C.", "C, and C. C, A.", "C, C, and C. C.", "C. C, A, and C.", "A, C. C, and C.",
    "while C, C. C, A.", "C, A. C, while C.", "C, while C. C, A.", "C, A. A, C.",
)  # fmt: skip
SHORT_SHAPES = ("C, and C.", "C, A.", "A, C.", "C, while C.", "C; C.")  # behind a long label or a sensor problem

OPENINGS = (
    "{A}: ", "The person is {a}: ", "The person is {a}. ", "Someone is {a}: ", "Someone is {a}. ",
    "This is someone {a}: ", "This window shows {a}: ", "Six seconds of {a}: ", "While the person is {a}, ",
    "While someone is {a}, ", "The person is {a} while ",
)  # fmt: skip
BLIND_OPENINGS = (
    *("",) * 5, "In this window, ", "In these six seconds, ", "Over six seconds, ", "During this window, ",
    "The signal shows that ",
)  # fmt: skip

# A third of the narration: what moves, when, and how much.
WHEN = (
    ("from 0 to 2 s", "in the first two seconds", "to begin with, from 0 to 2 s"),
    ("from 2 to 4 s", "in the middle two seconds", "then, from 2 to 4 s", "next, from 2 to 4 s"),
    ("from 4 to 6 s", "in the last two seconds", "finally, from 4 to 6 s", "lastly, from 4 to 6 s"),
)
THIRDS = (
    "{when}, {motion}, with a spread of {spread} m/s², and rotation averages {rotation} rad/s",
    "{when}, {motion}, with a spread of {spread} m/s², while rotation averages {rotation} rad/s",
    "{when}, {motion}, varying by {spread} m/s², and rotation averages {rotation} rad/s",
    "{when}, {motion}, with a spread of {spread} m/s² and a mean rotation of {rotation} rad/s",
    "{when}, rotation averages {rotation} rad/s, while {motion}, varying by {spread} m/s²",
    "{when}, rotation averages {rotation} rad/s, and {motion} with a spread of {spread} m/s²",
    "{when}, the mean rotation is {rotation} rad/s, and {motion}, varying by {spread} m/s²",
)
# The verb agrees with the trend from the third before and with the words for both.
MOTION = {
    "first": "the motion is {level}",
    "steady, same": "the motion stays {level}",
    "steady, other": "the motion is now {level}",
    "rising, same": "the motion grows but stays {level}",
    "rising, other": "the motion grows and becomes {level}",
    "falling, same": "the motion eases but stays {level}",
    "falling, other": "the motion eases and becomes {level}",
}
REST = {"first": "the sensor is still", "same": "the sensor stays still", "other": "the sensor comes to rest"}
OVERALL = (
    "throughout, {}, and {}",
    "over all six seconds, {}, and {}",
    "overall, {}, while {}",
    "all in all, {}, and {}",
    "on the whole, {}, and {}",
)


def is_moving(facts):
    """Whether the spread of acceleration is above what we call still."""
    return facts["level"].value != "still"


def phrases(facts, form="clause"):
    """Every phrase that is true of these facts, by the name of the fact it cites.

    Parameters
    ----------
    facts : Facts
    form : "clause" or "adjunct"
        A clause has subject and verb, so that any two can be joined. An adjunct begins with "with" or "without".

    Returns
    -------
    dict of str -> list of str
    """
    fillers, which = _fillers(facts), ("clause", "adjunct").index(form)
    return {
        name: [phrase.format_map(fillers) for row in rows for phrase in PHRASES[row][which]]
        for name, rows in _cases(facts).items()
    }


def _cases(facts):
    """The rows of the table that are true of these facts, by fact."""
    f = facts
    moving, still, symmetry = is_moving(f), f["still_seconds"].value, f["symmetry"].value
    rhythm = "none" if f["cadence"].value is None else "clear" if f["regularity"].value >= CLEAR_RHYTHM else "loose"
    rows = {
        "sensor_problem": f["sensor_problem"].value and ["sensor_problem"],
        "gravity": ["gravity"],
        "intensity": ["intensity" if moving else "intensity, still"],
        "tilt": ["tilt"],
        "transition": f["transition"].value and ["transition"],
        "cadence": [*(["cadence"] if rhythm != "none" else ()), f"cadence, {rhythm}"],
        "rotation": ["rotation"],
        "rotation_peak": ["rotation_peak"],
        "impact": ["impact" if f["impacts"].value else "impact, none"],
        "still_seconds": still and [f"still_seconds, {'all' if still == 6 else 'some'}"],
        "trend": [f"trend, {f['trend'].value}"],
        "change": f["change"].value and [f"change, {f['change'].value}"],
        "roughest_third": f["roughest_third"].value and ["roughest_third"],
    }
    if moving:
        rows["impacts"] = [f"impacts, {('none', 'one', 'some')[min(f['impacts'].value, 2)]}"]
    if symmetry is not None and not SYMMETRY_UNEVEN < symmetry < SYMMETRY_EVEN:
        rows["symmetry"] = [f"symmetry, {'even' if symmetry >= SYMMETRY_EVEN else 'uneven'}"]
    rows |= _leading_axes(f) if moving else {}
    return {name: row for name, row in rows.items() if row}


def _leading_axes(facts):
    """Facts about one axis and their rows: not of a dead axis, and not of one that is hardly ahead of the others."""
    most, turns, rows = facts["strongest_axis"], facts["rotation_axis"], {}
    swing, problem = facts[f"frequency_{most.axis}"], facts["sensor_problem"].value or ""
    if most.confidence >= LEAST_LEAD:
        rows["strongest_axis"] = ["strongest_axis"]
    if swing.value is not None and swing.confidence >= LEAST_SHARE:
        rows[swing.name] = ["frequency"]
    if turns.confidence >= LEAST_LEAD and f"rotation {turns.axis} is constant" not in problem:
        rows["rotation_axis"] = ["rotation_axis"]
    return rows


def _fillers(facts):
    """What the names in braces stand for: a rounded value, or the word for it."""
    most, lean = facts["strongest_axis"].axis, round(facts["tilt"].value)
    values = {name: fact.value for name, fact in facts.items() if fact.value is not None}
    return {name: value if isinstance(value, str) else say(value) for name, value in values.items()} | {
        "x": facts["gravity"].axis,  # the axis that carries gravity
        "side": facts["posture"].value.split()[-1],  # up or down
        "lean": "1 degree" if lean == 1 else f"{lean} degrees",
        "turn": f"{facts['turn'].value:.0f}",
        "most": most,  # the axis that varies most
        "frequency": say(values.get(f"frequency_{most}", 0)),
        "turns": facts["rotation_axis"].axis,  # the axis that the sensor turns about
        "problem": _problem(facts["sensor_problem"].value or ""),
    }


def _problem(said):
    """Sensor problems in one clause: "acceleration x is constant, acceleration y is constant" gets one verb."""
    found = {}
    for channel, axis, kind in re.findall(r"(\w+) (\w) is (\w+)", said):
        found.setdefault(kind, {}).setdefault(channel, []).append(axis)
    clauses = []
    for kind, channels in found.items():
        names = [name if len(axes) == 3 else f"{name} {' and '.join(axes)}" for name, axes in channels.items()]
        one = sum(map(len, channels.values())) == 1 or names == [*channels][:1]
        clauses.append(f"{' and '.join(names)} {'is' if one else 'are'} {kind}")
    text = ", and ".join(clauses)
    return text if len(text.split()) <= LONGEST_PROBLEM else f"several channels are {' or '.join(found)}"

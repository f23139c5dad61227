"""What can be asked, and how facts answer it: tables of (question, answer function).

An answer function takes facts and returns (text, names of the facts that it cites). For facts that are missing there is
an answer as well ("There is no regular step rhythm."), because a question is chosen before the facts are looked at.
"""

from functools import partial

from llasa_lib.captions import AXES, CONSTANT, RATE, SECONDS, is_moving, say
from llasa_lib.captions.grammar import LEAST_LEAD, LEAST_SHARE, LEAST_TURNING

GRAVITY = 9.80665  # m/s^2 in one g

NO_RHYTHM = "There is no regular step rhythm."


def degrees(value):
    """An angle as the texts print it: whole, singular if it is one."""
    return f"{value:.0f} degree{'' if f'{value:.0f}' == '1' else 's'}"


# --- perception: one property ------------------------------------------------------------------------------------


def _gravity_axis(f):
    return f"Axis {f['gravity'].axis} carries gravity, {say(f['gravity'].value)} m/s².", ["gravity"]


def _points_up(f):
    axis, side = f["posture"].value[0], f["posture"].value.split()[-1]
    return f"Axis {axis} points {side}, reading {say(f['gravity'].value)} m/s².", ["posture", "gravity"]


def _most_varied(f):
    fact = f["strongest_axis"]
    if fact.confidence < LEAST_LEAD:
        return "No axis stands out.", ["strongest_axis"]
    return f"Axis {fact.axis} varies most, by {say(fact.value)} m/s².", ["strongest_axis"]


def _axis(axis, f):
    spread, frequency = f[f"spread_{axis}"], f[f"frequency_{axis}"]
    if spread.value < CONSTANT:
        return f"Axis {axis} is constant: its sensor may be dead.", [spread.name]
    said = f"Axis {axis} varies by {say(spread.value)} m/s²"
    if frequency.value is None or frequency.confidence < LEAST_SHARE:
        return f"{said}.", [spread.name]
    return f"{said} and swings at {say(frequency.value)} Hz.", [spread.name, frequency.name]


def _still_or_moving(f):
    spread = say(f["intensity"].value)
    if is_moving(f):
        return f"It is moving: {f['level'].value} motion, varying by {spread} m/s².", ["level", "intensity"]
    return f"It keeps still, varying by only {spread} m/s².", ["level", "intensity"]


def _turning_axis(f):
    fact, average = f["rotation_axis"], f"rotation averages {say(f['rotation'].value)} rad/s."
    if f["rotation"].value < LEAST_TURNING:
        return f"It hardly turns; {average}", ["rotation"]
    if fact.confidence < LEAST_LEAD:
        return f"No axis stands out; {average}", ["rotation_axis", "rotation"]
    return f"It turns mostly about {fact.axis}; {average}", ["rotation_axis", "rotation"]


def _regular(f):
    if f["cadence"].value is None:
        return "No, there is no regular step rhythm.", ["cadence"]
    return f"Yes, a rhythm repeats at {say(f['cadence'].value)} steps/s.", ["cadence"]


PERCEPTION = (
    ("Which axis carries gravity?", _gravity_axis),
    ("Which axis points up or down?", _points_up),
    ("Which axis varies the most?", _most_varied),
    ("Is the sensor moving or still?", _still_or_moving),
    ("About which axis does it turn most?", _turning_axis),
    ("Does the signal repeat regularly?", _regular),
    *((f"What does axis {axis} do?", partial(_axis, axis)) for axis in AXES),
)

# --- temporal: what changes, and when ----------------------------------------------------------------------------


def _halves(f):
    said = {
        "rising": "The motion grows towards the end.",
        "falling": "The motion fades towards the end.",
        "steady": "No, both halves move alike.",
    }
    return said[f["trend"].value], ["trend"]


def _change_point(f):
    if f["change"].value is None:
        return "Neither: there is no clear change.", ["change"]
    verb = "picks up" if f["change"].value == "starts moving" else "calms down"
    return f"The motion {verb} after {f['change_time'].value} s.", ["change", "change_time"]


def _roughest(f):
    part = f["roughest_third"].value
    if part is None:
        return "None of them: all three parts move alike.", ["roughest_third"]
    number = ("first", "middle", "last").index(part) + 1
    spread = f[f"intensity_third_{number}"]
    return f"The {part} two seconds, with a spread of {say(spread.value)} m/s².", ["roughest_third", spread.name]


def _ends(f):
    names = ["intensity_third_1", "intensity_third_3"]
    first, last = (say(f[name].value) for name in names)
    return f"From 0 to 2 s the spread is {first} m/s². From 4 to 6 s the spread is {last} m/s².", names


def _posture_change(f):
    turn = degrees(f["turn"].value)
    if f["transition"].value is None:
        return f"No, the sensor turns by only {turn} in between.", ["transition", "turn"]
    return f"Yes, the posture changes by {turn}.", ["transition", "turn"]


def _strongest_moment(f):
    impact, time = say(f["impact"].value), say(f["impact_time"].value)
    return f"Acceleration peaks at {impact} m/s² after {time} s.", ["impact", "impact_time"]


TEMPORAL = (
    ("Does the motion change between the halves?", _halves),
    ("Does the motion pick up or calm down?", _change_point),
    ("Which two seconds move the most?", _roughest),
    ("How do the first and last two seconds compare?", _ends),
    ("Does the posture change between start and end?", _posture_change),
    ("When is acceleration largest?", _strongest_moment),
)

# --- numeric -----------------------------------------------------------------------------------------------------


def _cadence(f):
    if f["cadence"].value is None:
        return NO_RHYTHM, ["cadence"]
    return f"The cadence is {say(f['cadence'].value)} steps/s.", ["cadence"]


def _intensity(f):
    return f"The spread of acceleration is {say(f['intensity'].value)} m/s².", ["intensity"]


def _fastest(f):
    return f"Rotation peaks at {say(f['rotation_peak'].value)} rad/s.", ["rotation_peak"]


def _turning(f):
    return f"Rotation averages {say(f['rotation'].value)} rad/s.", ["rotation"]


def _impact(f):
    impact, time = say(f["impact"].value), say(f["impact_time"].value)
    if not f["impacts"].value:
        return f"There are no impacts; acceleration peaks at {impact} m/s².", ["impacts", "impact"]
    return f"The largest impact is {impact} m/s², after {time} s.", ["impact", "impact_time"]


def _impacts(f):
    count = f["impacts"].value
    said = "is 1 impact" if count == 1 else f"are {count or 'no'} impacts"
    return f"There {said}.", ["impacts"]


def _tilt(f):
    return f"The {f['tilt'].axis} axis leans {degrees(f['tilt'].value)} from vertical.", ["tilt"]


def _still_seconds(f):
    return f"It stays still for {f['still_seconds'].value} of 6 seconds.", ["still_seconds"]


NUMERIC = (
    ("How fast is the step rhythm?", _cadence),
    ("What is the cadence in steps per second?", _cadence),
    ("How intense is the motion?", _intensity),
    ("How much does the acceleration vary?", _intensity),
    ("How fast is the fastest rotation?", _fastest),
    ("What is the mean rotation rate?", _turning),
    ("How large is the largest impact, and when?", _impact),
    ("How many impacts are there?", _impacts),
    ("How far does the sensor lean?", _tilt),
    ("For how many seconds is it still?", _still_seconds),
)

# --- counterfactual: another sensor, the same person -------------------------------------------------------------
# What "would" be is no claim about this window. It follows from a fact by a transformation that can be carried out.


def _upside_down(f):
    return f"Axis {f['gravity'].axis} would read {say(-f['gravity'].value)} m/s².", ["gravity"]


def _quarter_turn(f):
    axis = f["gravity"].axis
    if axis == "z":
        return "Axis z would still carry gravity.", ["gravity"]
    return f"Gravity would move from axis {axis} to axis {'y' if axis == 'x' else 'x'}.", ["gravity"]


def _turned_spread(f):
    spread = say(f["intensity"].value)
    return f"No, its spread would stay {spread} m/s²: a length has no direction.", ["intensity"]


def _half_speed(f):
    if f["cadence"].value is None:
        return "There would still be no step rhythm.", ["cadence"]
    return f"The cadence would be {say(f['cadence'].value / 2)} steps/s.", ["cadence"]


def _in_g(f):
    return f"Its peak would read {f['impact'].value / GRAVITY:.2f} g.", ["impact"]


def _backwards(f):
    last = SECONDS - 1 / RATE  # of the window's samples
    return f"Its peak would come after {say(round(last - f['impact_time'].value, 6))} s.", ["impact_time"]


COUNTERFACTUAL = (
    ("What would the gravity axis read upside down?", _upside_down),
    ("Where would gravity go after a quarter turn about z?", _quarter_turn),
    ("Would the magnitude vary differently if the phone were turned?", _turned_spread),
    ("Played at half speed, what would the cadence be?", _half_speed),
    ("What would acceleration peak at, measured in g?", _in_g),
    ("Played backwards, when would acceleration peak?", _backwards),
)

# --- reliability: what cannot be told, and what can --------------------------------------------------------------

REFUSALS = (
    "{topic} cannot be told from six seconds of acceleration and rotation.",
    "I cannot know. Six seconds of acceleration and rotation do not show it; that needs {needs}.",
    "Acceleration and rotation do not settle it: {topic} cannot be told without {needs}.",
)
# What no accelerometer and gyroscope can say, and what it would take.
UNKNOWABLE = (
    ("What is the person's heart rate?", "Heart rate", "a pulse sensor"),
    ("Where is the person right now?", "The place", "a position sensor"),
    ("How old is the person?", "Age", "asking the person"),
    ("Who is the person?", "Identity", "a camera or a login"),
    ("How heavy is the person?", "Body weight", "a scale"),
    ("Is the person happy or sad?", "Mood", "a word from the person"),
    ("What is the weather like?", "The weather", "a weather report"),
    ("Is the person ill?", "Health", "a physician"),
    ("What is the person looking at?", "The view", "a camera"),
    ("What is the body temperature?", "Body temperature", "a thermometer"),
    ("Is somebody else in the room?", "Company", "a camera or microphone"),
    ("What time of day is it?", "The time of day", "a clock"),
    ("How far did the person get, in metres?", "Distance", "a position sensor"),
)
# Each takes something for granted that the sensor has not seen.
FALSE_PREMISES = (
    ("Which finger presses the screen?", "that a screen is touched"),
    ("What is the person saying on the phone?", "that somebody speaks"),
    ("Which hand holds the phone?", "that a hand holds it"),
)
PREMISE = "The question assumes {what}, and that cannot be told from acceleration or rotation."


def _way_up(f):
    side = f["posture"].value.split()[-1]
    return f"Yes: the {f['gravity'].axis} axis points {side}, reading {say(f['gravity'].value)} m/s².", [
        "posture",
        "gravity",
    ]


def _anything_moves(f):
    return f"Yes: acceleration varies by {say(f['intensity'].value)} m/s².", ["intensity"]


def _can_tilt(f):
    return f"Yes: the {f['tilt'].axis} axis leans {degrees(f['tilt'].value)} from vertical.", ["tilt"]


# They sound like the others, and can be answered: refusing everything is no virtue.
KNOWABLE = (
    ("Can you tell which way is up?", _way_up),
    ("Can you tell how much it moves?", _anything_moves),
    ("Can you tell how the phone leans?", _can_tilt),
)


def refuse(topic, needs, wording):
    """The answer to a question that no motion sensor can answer."""
    text = wording.format(topic=topic, needs=needs)
    return text.replace(f": {topic}", f": {topic[0].lower()}{topic[1:]}")


# --- two windows -------------------------------------------------------------------------------------------------


def _more(name, unit, verb, what, first, second):
    one, two = first[name].value, second[name].value
    if say(one) == say(two):
        return f"Neither: {what} is {say(one)} {unit} in both.", [name]
    more, less = ("first", "second") if one > two else ("second", "first")
    values = f"{say(max(one, two))} {unit}, against {say(min(one, two))} {unit} in the {less}"
    return f"The {more} {verb}: {what} is {values}.", [name]


def _same_axis(first, second):
    one, two = first["gravity"], second["gravity"]
    if one.axis == two.axis:
        return f"Yes, axis {one.axis}: {say(one.value)} m/s² and {say(two.value)} m/s².", ["gravity"]
    return f"No, axis {one.axis} in the first and axis {two.axis} in the second.", ["gravity"]


def _faster_steps(first, second):
    if first["cadence"].value is None or second["cadence"].value is None:
        which = [word for word, f in (("first", first), ("second", second)) if f["cadence"].value is None]
        where = "either" if len(which) == 2 else f"the {which[0]}"
        return f"That cannot be compared: there is no regular step rhythm in {where}.", ["cadence"]
    return _more("cadence", "steps/s", "has the faster steps", "its cadence", first, second)


COMPARISONS = (
    ("Which window moves more?", partial(_more, "intensity", "m/s²", "moves more", "the spread")),
    ("Which window turns more?", partial(_more, "rotation", "rad/s", "turns more", "the mean rotation")),
    ("Which window peaks higher?", partial(_more, "impact", "m/s²", "peaks higher", "the peak")),
    ("Does the same axis carry gravity in both?", _same_axis),
    ("Which window has the faster steps?", _faster_steps),
)

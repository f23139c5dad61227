"""Questions about a window, with answers that its facts prove.

Notable features:

- Five questions per window, one of each kind: recognition, evidence, perception, numeric, reliability.
- The choice of a question depends on the seed alone, never on the label or on the facts. So the question by
  itself tells nothing, and a model has to read its sensor (a test holds this).
- Short: questions of 4 to 10 words, answers of 4 to 22. A language model trains on every one of them.
- ``make_corpus``: the text of a whole data set; the seed of a window is the hash of its content, so order,
  subset and process do not change a word.
"""

import hashlib
import json
import random
from dataclasses import dataclass

import numpy as np

from . import captions
from .captions import Facts, is_moving, say
from .errors import ModelError

RECOGNITION_QUESTION = "What is the person doing?"
KINDS = ("recognition", "evidence", "perception", "numeric", "reliability")

_RECOGNITION = (
    RECOGNITION_QUESTION,
    "Which activity is this?",
    "What activity does the sensor show?",
    "What is happening in these six seconds?",
)
_RECOGNITION_WEIGHTS = (6, 1, 1, 1)

_EVIDENCE = (
    "How can you tell what the person is doing?",
    "Which measurements support your answer?",
    "What evidence does the signal give?",
    "Why do you think so? Name two facts.",
)


@dataclass(frozen=True)
class QuestionAnswer:
    """A question, its answer, its kind, and the facts that the answer cites."""

    question: str
    answer: str
    kind: str
    facts: Facts


# ------------------------------------------------------------------------------------- perception and numbers
# Each answer is a function of the facts and returns (text, names of the facts cited).


def _gravity_axis(f):
    return f"Axis {f['gravity'].axis} carries gravity, {say(f['gravity'].value)} m/s².", ["gravity"]


def _points_up(f):
    axis, side = f["posture"].value[0], f["posture"].value.split()[-1]
    return f"Axis {axis} points {side}, reading {say(f['gravity'].value)} m/s².", ["posture", "gravity"]


def _most_varied(f):
    fact = f["strongest_axis"]
    return f"Axis {fact.axis} varies most, by {say(fact.value)} m/s².", ["strongest_axis"]


def _still_or_moving(f):
    spread = say(f["intensity"].value)
    if is_moving(f):
        return f"It is moving: {f['level'].value} motion, varying by {spread} m/s².", ["level", "intensity"]
    return f"It keeps still, varying by only {spread} m/s².", ["level", "intensity"]


def _turning_axis(f):
    fact = f["rotation_axis"]
    return (
        f"It turns mostly about {fact.axis}; rotation averages {say(f['rotation'].value)} rad/s.",
        ["rotation_axis", "rotation"],
    )


def _change(f):
    said = {
        "rising": "The motion grows towards the end.",
        "falling": "The motion fades towards the end.",
        "steady": "No, both halves move alike.",
    }
    return said[f["trend"].value], ["trend"]


def _regular(f):
    if f["cadence"].value is None:
        return "No, there is no regular step rhythm.", ["cadence"]
    return f"Yes, a rhythm repeats at {say(f['cadence'].value)} steps/s.", ["cadence"]


def _cadence(f):
    if f["cadence"].value is None:
        return "There is no regular step rhythm.", ["cadence"]
    return f"The cadence is {say(f['cadence'].value)} steps/s.", ["cadence"]


def _intensity(f):
    return f"The spread of acceleration is {say(f['intensity'].value)} m/s².", ["intensity"]


def _fastest(f):
    return f"Rotation peaks at {say(f['rotation_peak'].value)} rad/s.", ["rotation_peak"]


def _turning(f):
    return f"Rotation averages {say(f['rotation'].value)} rad/s.", ["rotation"]


def _impact(f):
    impact, time = say(f["impact"].value), say(f["impact_time"].value)
    return f"The largest impact is {impact} m/s², after {time} s.", ["impact", "impact_time"]


def _tilt(f):
    return f"The {f['tilt'].axis} axis leans {f['tilt'].value:.0f} degrees from vertical.", ["tilt"]


def _still_seconds(f):
    return f"It stays still for {f['still_seconds'].value} of 6 seconds.", ["still_seconds"]


_PERCEPTION = (
    ("Which axis carries gravity?", _gravity_axis),
    ("Which axis points up or down?", _points_up),
    ("Which axis varies the most?", _most_varied),
    ("Is the sensor moving or still?", _still_or_moving),
    ("About which axis does it turn most?", _turning_axis),
    ("Does the motion change between the halves?", _change),
    ("Does the signal repeat regularly?", _regular),
)

_NUMERIC = (
    ("How fast is the step rhythm?", _cadence),
    ("What is the cadence in steps per second?", _cadence),
    ("How intense is the motion?", _intensity),
    ("How much does the acceleration vary?", _intensity),
    ("How fast is the fastest rotation?", _fastest),
    ("What is the mean rotation rate?", _turning),
    ("How large is the largest impact, and when?", _impact),
    ("How far does the sensor lean?", _tilt),
    ("For how many seconds is it still?", _still_seconds),
)

# ------------------------------------------------------------------------------------------------ reliability

# What no accelerometer and gyroscope can say, and what it would take.
_UNKNOWABLE = (
    ("What is the person's heart rate?", "Heart rate", "a pulse sensor"),
    ("Where is the person right now?", "The place", "a position sensor"),
    ("How old is the person?", "Age", "the person's own word"),
    ("Who is the person?", "Identity", "a name"),
    ("How heavy is the person?", "Body weight", "a scale"),
    ("Is the person happy or sad?", "Mood", "the person's own word"),
    ("What is the weather like?", "The weather", "a weather report"),
    ("Is the person ill?", "Health", "a physician"),
    ("What is the person looking at?", "What is seen", "a camera"),
    ("What is the body temperature?", "Temperature", "a thermometer"),
    ("Is somebody else in the room?", "Company", "a camera or microphone"),
    ("What time of day is it?", "The time of day", "a clock"),
)
_REFUSALS = (
    "{topic} cannot be told: the sensor measures only acceleration and rotation.",
    "I cannot know. Acceleration and rotation do not show it; that needs {needs}.",
    "{topic} is not in acceleration or rotation; that would need {needs}.",
)


def _evidence(facts, activity, rng):
    """Two measured facts, then the conclusion that they fit (they need not prove it)."""
    f = facts
    said = {
        "intensity": f"acceleration varies by {say(f['intensity'].value)} m/s²",
        "gravity": f"axis {f['gravity'].axis} carries gravity at {say(f['gravity'].value)} m/s²",
        "tilt": f"the tilt is {f['tilt'].value:.0f} degrees",
        "rotation": f"rotation averages {say(f['rotation'].value)} rad/s",
        "impact": f"the largest impact is {say(f['impact'].value)} m/s²",
    }
    if f["cadence"].value is not None:
        said["cadence"] = f"the cadence is {say(f['cadence'].value)} steps/s"
    # A posture is seen in gravity, a gait in rhythm and force. The choice follows the facts, not the label.
    names = ["intensity", "cadence", "impact", "rotation"] if is_moving(f) else ["gravity", "tilt"]
    names = [name for name in names if name in said]
    cited = rng.sample(names, 2) if is_moving(f) else ["intensity", rng.choice(names)]
    text = f"{said[cited[0]]} and {said[cited[1]]}, which fits {activity}."
    return text[0].upper() + text[1:], cited


def make(facts, activity, seed=0):
    """Ask five questions about one window, one of each kind.

    Parameters
    ----------
    facts : Facts
        From :func:`llasa_lib.captions.measure`.
    activity : str
        The label. It appears in the recognition and evidence answers and in no question.
    seed : int or str
        The same seed gives the same questions, whatever the label and the facts.

    Returns
    -------
    list of five QuestionAnswer
        In the order of :data:`KINDS`.

    Raises
    ------
    ModelError
        If there is no label.
    """
    if not isinstance(activity, str) or not activity.strip():
        raise ModelError(f"questions need a label to answer with, not {activity!r}. Drop unlabelled windows first.")
    # Two streams: what one of them draws must not shift the other, or the questions would know the facts.
    ask, tell = random.Random(f"{seed}-questions"), random.Random(f"{seed}-answers")
    recognition = ask.choices(_RECOGNITION, _RECOGNITION_WEIGHTS)[0]
    evidence, evidence_facts = _evidence(facts, activity, tell)
    pairs = [
        (recognition, recognition_answer(activity), []),
        (ask.choice(_EVIDENCE), evidence, evidence_facts),
    ]
    for pool in (_PERCEPTION, _NUMERIC):
        question, answer = ask.choice(pool)
        pairs.append((question, *answer(facts)))
    question, topic, needs = ask.choice(_UNKNOWABLE)
    pairs.append((question, ask.choice(_REFUSALS).format(topic=topic, needs=needs), []))
    return [
        QuestionAnswer(question, answer, kind, facts.only(*cited))
        for kind, (question, answer, cited) in zip(KINDS, pairs, strict=True)
    ]


def recognition_answer(activity):
    """The one sentence that names an activity: taught in training, scored and parsed in the evaluation."""
    return f"The person is {activity}."


def window_seed(window):
    """A seed made from the content of a window: the same samples get the same words anywhere."""
    content = np.ascontiguousarray(window, dtype="<f4").tobytes()
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "big")


def _write(batch):
    imu = np.asarray(batch["imu"], dtype=np.float32)
    columns = {name: [] for name in ("caption", "caption_blind", "narration", "facts", "questions")}
    for window, facts, activity in zip(imu, captions.measure_all(imu), batch["activity"], strict=True):
        seed = window_seed(window)
        caption = captions.describe(facts, activity, seed)
        columns["caption"].append(caption.text)
        columns["caption_blind"].append(captions.describe(facts, None, seed).text)
        columns["narration"].append(caption.narration)
        columns["facts"].append(json.dumps(facts.to_dict(), ensure_ascii=False))
        columns["questions"].append(
            [{k: getattr(pair, k) for k in ("question", "answer", "kind")} for pair in make(facts, activity, seed)]
        )
    return columns


def make_corpus(windows, processes=1):
    """Write the training text of a data set.

    Parameters
    ----------
    windows : datasets.Dataset
        With columns ``imu`` (120 x 6, SI units) and ``activity``.
    processes : int
        How many write at the same time. The text is the same, whatever their number.

    Returns
    -------
    datasets.Dataset
        The same rows with ``caption`` (names the activity), ``caption_blind`` (does not), ``narration``,
        ``facts`` (JSON, see ``Facts.from_dict``) and ``questions`` (five of question, answer, kind).
    """
    as_arrays = windows.with_format("numpy", columns=["imu"], output_all_columns=True)
    corpus = as_arrays.map(
        _write,
        batched=True,
        batch_size=256,
        num_proc=processes if processes > 1 else None,
        load_from_cache_file=False,
        desc="captions",
    )
    return corpus.with_format(None)

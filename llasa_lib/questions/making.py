"""Which questions a window gets, and the text of a whole data set."""

import hashlib
import json
import random
from dataclasses import dataclass

import datasets
import numpy as np

from llasa_lib import captions
from llasa_lib.captions import Facts, is_moving, say
from llasa_lib.errors import ModelError
from llasa_lib.questions import answers, augmenting

RECOGNITION_QUESTION = "What is the person doing?"
SLOTS = (
    ("recognition",),
    ("evidence", "causal"),
    ("perception", "temporal"),
    ("numeric", "counterfactual"),
    ("reliability",),
)
"""Kinds of the five questions about a window. Where there are two, the first is asked twice as often."""
KINDS = tuple(kind for slot in SLOTS for kind in slot)

RECOGNITION_QUESTIONS = (
    RECOGNITION_QUESTION,
    "Which activity is this?",
    "What activity does the sensor show?",
    "What is happening in these six seconds?",
)
_RECOGNITION_WEIGHTS = (6, 1, 1, 1)


@dataclass(frozen=True)
class QuestionAnswer:
    """A question, its answer, its kind, and the facts that the answer cites (of a comparison: a pair of Facts)."""

    question: str
    answer: str
    kind: str
    facts: Facts


# --- evidence and causes: facts first, then the label ---------------------------------------------------------------


def _said(f):
    """Clauses for the facts that speak for an activity, the strongest first."""
    said = {
        "intensity": f"acceleration varies by {say(f['intensity'].value)} m/s²",
        "gravity": f"axis {f['gravity'].axis} carries gravity at {say(f['gravity'].value)} m/s²",
        "tilt": f"the {f['tilt'].axis} axis leans {answers.degrees(f['tilt'].value)} from vertical",
        "rotation": f"rotation averages {say(f['rotation'].value)} rad/s",
    }
    if f["impacts"].value:
        said["impact"] = f"the largest impact is {say(f['impact'].value)} m/s²"
    if f["cadence"].value is not None:
        said["cadence"] = f"the cadence is {say(f['cadence'].value)} steps/s"
    return said


def _cited(f, said, count, rng):
    """Names of facts to cite. A posture is seen in gravity, a gait in rhythm and force: it follows the facts alone."""
    if is_moving(f):
        return rng.sample([name for name in ("intensity", "cadence", "impact", "rotation") if name in said], count)
    return ["intensity", *rng.sample(["gravity", "tilt"], count - 1)]


def _capital(text):
    return text[0].upper() + text[1:]


def _two_facts(f, activity, rng):
    """Two measured facts, then the conclusion that they fit (they need not prove it)."""
    said = _said(f)
    cited = _cited(f, said, 2, rng)
    return f"{_capital(said[cited[0]])} and {said[cited[1]]}, which fits {activity}.", cited


def _step_by_step(f, activity, rng):
    """A chain of three facts, each in its own sentence: posture, motion, rhythm."""
    said = _said(f)
    cited = ["gravity", "intensity", "cadence" if "cadence" in said else "rotation"]
    facts = " ".join(f"{_capital(said[name])}." for name in cited)
    return f"{facts} Together, these fit {activity}.", cited


_EVIDENCE = (
    ("How can you tell what the person is doing?", _two_facts),
    ("Which measurements support your answer?", _two_facts),
    ("What evidence does the signal give?", _two_facts),
    ("Which two facts point to the activity?", _two_facts),
    ("Step by step: what is the person doing?", _step_by_step),
    ("What do three facts tell about the activity?", _step_by_step),
)


def _looks(f, activity, rng):
    if not is_moving(f):
        text = f"Hardly anything moves, so gravity is what is left: axis {f['gravity'].axis} carries gravity at "
        return f"{text}{say(f['gravity'].value)} m/s². This fits {activity}.", ["level", "gravity"]
    if f["cadence"].value is None:
        text = f"Acceleration varies by {say(f['intensity'].value)} m/s², but there is no regular step rhythm."
        return f"{text} The label says {activity}.", ["intensity", "cadence"]
    text = (
        f"Steps repeat at {say(f['cadence'].value)} steps/s, and acceleration peaks at {say(f['impact'].value)} m/s²."
    )
    return f"{text} This fits {activity}.", ["cadence", "impact"]


def _large_axis(f, activity, rng):
    axis, side = f["posture"].value[0], f["posture"].value.split()[-1]
    return f"Gravity: axis {axis} points {side} and reads {say(f['gravity'].value)} m/s².", ["posture", "gravity"]


def _repeats(f, activity, rng):
    if f["cadence"].value is None:
        return "It does not repeat: there is no regular step rhythm.", ["cadence"]
    return f"Each step shakes the sensor in the same way, at {say(f['cadence'].value)} steps/s.", ["cadence"]


_CAUSAL = (
    ("Why does the signal look like this?", _looks),
    ("What causes this pattern?", _looks),
    ("Why is one axis so far from zero?", _large_axis),
    ("Why does the signal repeat, if it does?", _repeats),
)

# --- the five questions -----------------------------------------------------------------------------------------------


def _ask(kind, rng):
    """A question of some kind, and its answer: a function of facts, label and generator -> (text, facts cited)."""
    if kind == "recognition":
        question = rng.choices(RECOGNITION_QUESTIONS, _RECOGNITION_WEIGHTS)[0]
        return question, lambda f, activity, tell: (recognition_answer(activity), [])
    if kind in ("evidence", "causal"):
        return rng.choice(_EVIDENCE if kind == "evidence" else _CAUSAL)
    if kind == "reliability":
        return _ask_for_the_unknown(rng)
    pools = {"perception": answers.PERCEPTION, "temporal": answers.TEMPORAL, "numeric": answers.NUMERIC}
    question, answer = rng.choice(pools.get(kind, answers.COUNTERFACTUAL))
    return question, lambda f, activity, tell: answer(f)


def _ask_for_the_unknown(rng):
    question, *rest = rng.choice(answers.UNKNOWABLE + answers.FALSE_PREMISES + answers.KNOWABLE)
    wording = rng.choice(answers.REFUSALS)
    if len(rest) == 2:
        return question, lambda f, activity, tell: (answers.refuse(*rest, wording), [])
    if isinstance(rest[0], str):
        return question, lambda f, activity, tell: (answers.PREMISE.format(what=rest[0]), [])
    return question, lambda f, activity, tell: rest[0](f)


def make(facts, activity, seed=0):
    """Ask five questions about one window, one for each of the :data:`SLOTS`.

    Parameters
    ----------
    facts : Facts
        From :func:`llasa_lib.captions.measure`.
    activity : str
        The label. It appears in recognition, evidence and causal answers and in no question.
    seed : int or str
        The same seed gives the same questions, whatever the label and the facts.

    Returns
    -------
    list of five QuestionAnswer
        In the order of :data:`SLOTS`.

    Raises
    ------
    ModelError
        If there is no label.
    """
    if not isinstance(activity, str) or not activity.strip():
        raise ModelError(f"questions need a label to answer with, not {activity!r}. Drop unlabelled windows first.")
    # Two streams: what one of them draws must not shift the other, or the questions would know the facts.
    ask, tell = random.Random(f"{seed}-questions"), random.Random(f"{seed}-answers")
    pairs = []
    for slot in SLOTS:
        kind = slot[0] if len(slot) == 1 else ask.choices(slot, (2, 1))[0]
        question, answer = _ask(kind, ask)
        text, cited = answer(facts, activity, tell)
        pairs.append(QuestionAnswer(question, text, kind, facts.only(*cited)))
    return pairs


def compare(first, second, seed=0):
    """Ask one question about two windows.

    Parameters
    ----------
    first, second : Facts
    seed : int or str
        The same seed gives the same question, whatever the facts.

    Returns
    -------
    QuestionAnswer
        Of the kind "comparison"; its facts are a pair of Facts. The answer cites both values.
    """
    question, answer = random.Random(f"{seed}-comparison").choice(answers.COMPARISONS)
    text, cited = answer(first, second)
    return QuestionAnswer(question, text, "comparison", (first.only(*cited), second.only(*cited)))


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


def _prompted(batch):
    odd = [window_seed(window) % 2 for window in np.asarray(batch["imu"], dtype=np.float32)]
    told = [place if here else "" for place, here in zip(batch["placement"], odd, strict=True)]
    return {"session": batch["subject"], "told": told}


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
        ``facts`` (JSON, see ``Facts.from_dict``) and ``questions`` (five of question, answer, kind). And how the prompt
        is written: ``session`` (windows that belong together) and ``told`` (the placement that is said: of every second
        window).
    """
    windows = windows.map(_prompted, batched=True, load_from_cache_file=False)
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


def add_augmented(corpus, copies, seed=0):
    """Append copies of every window, as other people, buildings and places would have given it, with their own texts.

    Parameters
    ----------
    corpus : datasets.Dataset
        Of :func:`make_corpus`.
    copies : list of str
        Of :data:`augmenting.COPIES`; an empty list returns the corpus as it is.
    seed : int

    Returns
    -------
    datasets.Dataset
        (1 + copies) times as many rows: the corpus first, then copy after copy in the same order.
    """
    parts = [corpus]
    for columns in augmenting.augmented(corpus, copies, seed):
        parts.append(datasets.Dataset.from_dict({**columns, **_write(columns)}, features=corpus.features))
    return datasets.concatenate_datasets(parts) if copies else corpus


def make_comparisons(corpus, count, seed=0):
    """Questions about pairs of windows of a corpus.

    Parameters
    ----------
    corpus : datasets.Dataset
        Of :func:`make_corpus`.
    count : int
        Number of pairs.
    seed : int
        Of the pairs and of the questions.

    Returns
    -------
    datasets.Dataset
        Columns ``first`` and ``second`` (rows of the corpus, never the same), ``question`` and ``answer``.

    Raises
    ------
    ModelError
        If there are fewer than two windows.
    """
    if len(corpus) < 2:
        raise ModelError(f"a comparison needs two windows, but the corpus has {len(corpus)}.")
    rng, told = random.Random(f"{seed}-pairs"), corpus["facts"]
    rows = []
    for number in range(count):
        first, second = rng.sample(range(len(corpus)), 2)
        pair = compare(*(Facts.from_dict(json.loads(told[row])) for row in (first, second)), f"{seed}-{number}")
        rows.append({"first": first, "second": second, "question": pair.question, "answer": pair.answer})
    return datasets.Dataset.from_list(rows)

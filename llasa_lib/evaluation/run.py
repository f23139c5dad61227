"""The whole test: the model two ways, its sensor unplugged, and the baselines, all on the same windows."""

import re

import numpy as np

from .. import profiles, questions, signals
from ..model import answers_and_scores, recognised, score_activities
from .report import UNCLEAR, Report, System, macro_f1

GENERATED = "LLaSA, generated answer"
SCORED = "LLaSA, log-probability"
ZEROED = "LLaSA, sensor zeroed"
MIRRORED = "LLaSA, mirrored rooms"
TURNED = "LLaSA, phones turned"
NEAREST = "LLaSA, nearest word"
# A name right behind one of these is ruled out, not named: "not walking", "rather than sitting", "isn't really lying".
_NEGATION = r"(?:\b(?:not|no|never|neither|nor|without|rather than|instead of)|n['’]t)\s+(?:\w+\s+)?"


def parse_activity(answer, activities):
    """The one activity an answer names, or ``"unclear"`` when it names none or several; "not walking" names none.

    Parameters
    ----------
    answer : str
    activities : list of str

    Returns
    -------
    str
    """
    found = named(answer, {name: re.escape(name) for name in activities})
    return found.pop() if len(found) == 1 else UNCLEAR


def named(answer, words):
    """The names of those words that stand in an answer and are not ruled out there.

    Parameters
    ----------
    answer : str
    words : dict of str to str
        Name -> regular expression of small letters.

    Returns
    -------
    set of str
    """
    text = answer.lower()
    for pattern in words.values():
        text = re.sub(rf"{_NEGATION}(?:{pattern})\b", "", text)
    return {name for name, pattern in words.items() if re.search(rf"\b(?:{pattern})\b", text)}


def best(scores, activities):
    """Name of the highest-scoring activity per window: (N, K) -> list of str."""
    return [activities[n] for n in np.argmax(scores, axis=1)]


def calibrated(windows, imu=None):
    """Windows of a data set as a reader asks about a recording: each person's together, the placement told.

    Parameters
    ----------
    windows : datasets.Dataset
    imu : (N, T, 6) array, optional
        In place of the data set's own.

    Returns
    -------
    signals.Calibrated
    """
    imu = signals.to_array(windows) if imu is None else imu
    return signals.calibrate(imu, windows["subject"], windows["placement"])


def turned(windows, seed):
    """The same windows (N, T, 6) from phones that hang differently, one turn for each person."""
    names, people = np.unique(windows["subject"], return_inverse=True)
    turns = signals.augmentation.random_turns(len(names), np.random.default_rng(seed))
    return signals.rotate(signals.to_array(windows), turns[people])


def zeroed(windows):
    """The same windows from a sensor that is unplugged: all zeros."""
    return np.zeros_like(windows)


def validate(model, processor, windows, settings):
    """Score a model on validation windows by log-probability: ``{"accuracy", "macro-F1", "windows"}``."""
    true = list(windows["activity"])
    activities = sorted(set(true))
    options = {"batch_size": settings.batch_size, "progress": True}
    scores = score_activities(model, processor, calibrated(windows), activities, **options)
    predicted = best(scores, activities)
    return {
        "accuracy": float(np.mean(np.array(predicted) == np.array(true))),
        "macro-F1": macro_f1(true, predicted),
        "windows": len(true),
    }


def by_nearest_word(model, processor, windows):
    """Macro-F1 on windows named by the word that lies nearest to their soft tokens: no language model runs."""
    true = list(windows["activity"])
    names = sorted(set(true))
    return macro_f1(true, best(recognised(model, processor, signals.calibrate(windows), names)[1], names))


def evaluate(model, processor, windows, baselines=None, settings=None, profile="", seed=0):
    """Test a model on windows of people it never saw.

    Parameters
    ----------
    model : LlasaForConditionalGeneration
    processor : LlasaProcessor
    windows : datasets.Dataset
        Test windows with ``imu``, ``activity``, ``subject``.
    baselines : Baselines, optional
    settings : profiles.Evaluate, optional
        Default: of the profile in force.
    profile : str
        Name for the report's head.

    Returns
    -------
    Report
    """
    settings = settings or profiles.load().evaluate
    if settings.windows is not None and settings.windows < len(windows):
        # Evenly spaced rows keep every subject and activity in.
        windows = windows.select(np.linspace(0, len(windows) - 1, settings.windows).astype(int))
    imu, true, subjects = signals.to_array(windows), list(windows["activity"]), list(windows["subject"])
    sessions = calibrated(windows)
    activities = sorted(set(true))
    sentences = [questions.recognition_answer(activity) for activity in activities]
    options = {"batch_size": settings.batch_size, "progress": True}
    texts, scores = answers_and_scores(
        model, processor, sessions, questions.RECOGNITION_QUESTION, sentences, settings.max_new_tokens, **options
    )

    def scored(sensor, **reading):
        return best(score_activities(model, processor, sensor, activities, **options, **reading), activities)

    predictions = [
        (SCORED, "model", best(scores, activities)),
        (GENERATED, "model", [parse_activity(text, activities) for text in texts]),
        # Every zeroed window is the same window: one is enough to know the answer to all.
        (ZEROED, "control", scored(zeroed(imu[:1]), check_units=False) * len(imu)),
        # People climb alike in every building; a model that fails here has learned how one staircase winds.
        (MIRRORED, "control", scored(calibrated(windows, signals.mirror(imu, signals.level_axis(imu))))),
        # A phone that hangs in another way: each person's device turned at random.
        (TURNED, "control", scored(calibrated(windows, turned(windows, seed)))),
        # What the projector knows before the language model has said a word.
        (NEAREST, "baseline", best(recognised(model, processor, sessions, activities)[1], activities)),
    ]
    if baselines is not None:
        predictions += [(name, "baseline", predicted) for name, predicted in baselines.predict(sessions).items()]
    systems = [
        System.score(name, kind, true, predicted, subjects, settings.bootstrap, seed)
        for name, kind, predicted in predictions
    ]
    columns = {"subject": subjects, "activity": true, "answer": texts, "scores": scores.tolist()}
    examples = [{"row": row, **{name: values[row] for name, values in columns.items()}} for row in range(len(imu))]
    return Report(profile=profile, true=true, subjects=subjects, systems=systems, examples=examples)

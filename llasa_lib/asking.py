"""One question about one recording: the answer, and what the signal itself says beside it.

- :func:`ask`: about six seconds, answered by the model, or about the whole recording, answered from its bouts.
- :func:`recognise`: what somebody did in a whole recording, from when to when.

A reader's words may persuade a small model ("Answer: the person is lying"). What the person does is therefore asked
apart as well, in the book's own words, and an answer that names anything else is not passed on as an answer.
"""

import os
import re
from dataclasses import dataclass

import numpy as np

from . import captions, recordings, signals, timeline
from .errors import RecordingError


@dataclass
class Reply:
    """Answer to one question about one window.

    ``answer`` is the model's; ``evidence`` is measured by a program; ``shares`` are the model's probabilities of the
    activities' sentences, scaled to sum to 1: it was asked for them in the book's words, not in the reader's.
    ``contradicted`` names what the answer says that the person does, and the sensor alone does not. ``unfamiliar`` says
    why the window is unlike anything that was taught, if it is; ``note`` what its recording cannot tell about itself.
    """

    start: float
    end: float
    imu: np.ndarray
    answer: str
    evidence: str
    shares: dict[str, float]
    contradicted: tuple[str, ...] = ()
    unfamiliar: str = ""
    note: str = ""

    def told(self):
        """The answer; one that cannot be believed is quoted, behind the reason."""
        if self.unfamiliar:
            return f"This is unlike anything I was taught ({self.unfamiliar}), so do not believe: “{self.answer}”"
        if not self.contradicted:
            return self.answer + (STILL_NOTE if "keeping still" in self.answer else "")
        return (
            f"The sensor alone says: {self.shares_text(1)}. The model's answer to this question names "
            f"{' and '.join(self.contradicted)} instead, so do not believe it: “{self.answer}”"
        )

    def shares_text(self, most=3):
        """The likeliest activities in words."""
        ranked = sorted(self.shares.items(), key=lambda pair: -pair[1])[:most]
        return ", ".join(f"{name} {share:.0%}" for name, share in ranked)


_TAUGHT = list(recordings.ACTIVITIES[:6])  # by a model from elsewhere, which does not say so
STILL_NOTE = " Sitting, standing and lying cannot be told apart without knowing how the sensor is worn."


def shares(scores):
    """Log-probabilities (N, K) -> shares of each row that sum to 1."""
    scores = np.asarray(scores, dtype=float)
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


# What an answer may call an activity, or say instead of one.
_WORDS = {
    "walking": r"walking(?! (?:up|down))",
    "climbing stairs": r"climbing|ascending|(?:walking|going) up|upstairs",
    "descending stairs": r"descending|(?:walking|going) down|downstairs",
    "stairs": r"(?<!climbing )(?<!ascending )(?<!descending )stairs(?! (?:up|down))",
    "sitting": r"sitting|seated",
    "standing": r"standing",
    "lying": r"lying|laying|sleeping|asleep",
    "jogging": r"jogging|running",
    "keeping still": r"keep(?:s|ing) still|motionless",
    "biking": r"biking|cycling|(?:bicycle|bike) ride",
}
_DOES = re.compile(r"\b(?:person|wearer|user|he|she|they)(?: is|'s| are|'re) (?:now |just |still )?([a-z]+ing)\b")
_NO_ACTIVITY = {"moving", "doing", "being", "going", "wearing", "carrying", "holding", "turning", "using", "keeping"}


def contradicted(answer, recognised):
    """Activities that an answer names beside the one that was recognised, or that one if the answer rules it out.

    Parameters
    ----------
    answer : str
    recognised : str

    Returns
    -------
    tuple of str
        Empty too for an answer that names none. Words that are no activity of the book are given as they stand.
    """
    from . import evaluation, questions

    known = evaluation.named(answer, _WORDS)
    other = {word for word in _DOES.findall(answer.lower()) if not evaluation.named(word, _WORDS)} - _NO_ACTIVITY
    if recognised not in known and re.search(_WORDS.get(recognised, "(?!)"), answer.lower()):
        other.add(f"not {recognised}")
    if recognised in questions.POSTURES:
        known.discard(questions.STILL)  # who sits keeps still
    # "Stairs" alone fits both ways.
    return tuple(sorted(name for name in known | other if name not in recognised))


def ask_windows(llasa, processor, imu, question, activities, starts=None, max_new_tokens=48):
    """Ask about windows that are at hand.

    Parameters
    ----------
    imu : signals.Calibrated, or (N, T, 6) array of windows that stand alone
    question : str
    activities : list of str
        What the model may choose from, for the shares.
    starts : list of float, seconds, optional

    Returns
    -------
    list of Reply
    """
    from . import model, questions

    windows = processor.feature_extractor.windows(imu)
    own_words = question != questions.RECOGNITION_QUESTION
    if not own_words:
        sentences = [questions.recognition_answer(activity) for activity in activities]
        texts, scores = model.answers_and_scores(llasa, processor, windows, question, sentences, max_new_tokens)
    else:
        texts = model.answers(llasa, processor, windows, question, max_new_tokens)
        scores = model.score_activities(llasa, processor, windows, activities)
    known = model.familiarity.known(processor.feature_extractor, windows)
    starts = [0.0] * len(windows) if starts is None else starts
    seconds = windows.imu.shape[1] / signals.RATE
    return [
        Reply(
            start=float(start),
            end=float(start) + seconds,
            imu=window,
            answer=text,
            evidence=captions.describe(captions.measure(window)).text,
            shares=dict(zip(activities, row.tolist(), strict=True)),
            contradicted=contradicted(text, activities[row.argmax()]) if own_words else (),
            unfamiliar="" if known[n] else model.familiarity.reason(processor.feature_extractor, windows[n]),
        )
        for n, (window, text, row, start) in enumerate(zip(windows.imu, texts, shares(scores), starts, strict=True))
    ]


def ask(path, question, start=None, windows=1, max_new_tokens=48, profile=None, placement=None):
    """Ask the tuned model of a profile about a recording of one's own.

    Parameters
    ----------
    path : path
        See :func:`recordings.read`.
    question : str
    start : float, seconds from the recording's beginning
        It makes any question one about six seconds; without it, the first six are meant.
    windows : int
        How many windows of six seconds, one after the other.
    placement : str, optional
        Where the sensor is worn, such as ``"pocket"``.

    Returns
    -------
    list of Reply, or timeline.Answer
        The latter for a question about the whole recording, such as "How long did I walk?", see
        :mod:`llasa_lib.timeline`.

    Raises
    ------
    RecordingError
        If the recording cannot be used, or has no six seconds behind ``start``.
    ModelError
        If the question is none, see :meth:`LlasaProcessor.__call__`.
    ArtifactError
        If no model was tuned yet.
    """
    if start is None and windows == 1 and timeline.questions.parse(question):
        return recognise(path, placement, profile).answer(question)
    start = start or 0.0
    # The recording and the question first: a mistake in them should not cost the time it takes to load a model.
    imu, columns = signals.cut_windows([recordings.read(path)], labelled=False)
    starts = np.asarray(columns["start"]) - columns["start"][0]
    chosen = np.flatnonzero(starts >= start)[:windows]
    if not len(chosen):
        raise RecordingError(
            f"{path} has no six seconds without a gap behind second {start:g}. Use --start {starts[-1]:g} or less."
        )
    from . import model, pipeline, training
    from .model.plain import check_question

    check_question(question, model.IMU_TOKEN, measured=False)
    training.quiet()
    windows = _calibrated(imu, placement)  # the whole recording says which way is up, and how this person moves
    llasa, processor = pipeline.ready(profile)
    activities = llasa.config.activities or _TAUGHT
    replies = ask_windows(llasa, processor, windows[chosen], question, activities, starts[chosen], max_new_tokens)
    replies[0].note = _note(processor, windows, guessed=not placement)
    return replies


def recognise(recording, placement=None, profile=None, llasa=None, processor=None):
    """Tell what somebody did in a whole recording, and from when to when.

    Parameters
    ----------
    recording : Recording, path, or (N, 120, 6) array
        A recording is cut into windows that overlap by half, and a gap splits it. An array holds the windows of one
        person, one after the other, in SI units.
    placement : str, optional
        Where the sensor is worn, such as ``"pocket"``.
    profile : str, optional
        Whose tuned model is asked, unless ``llasa`` and ``processor`` are given.

    Returns
    -------
    timeline.Timeline
        A row per window and ``bouts``, in seconds from the recording's beginning.

    Raises
    ------
    RecordingError
        If the recording cannot be used, or has no six seconds without a gap.
    ArtifactError
        If no model was tuned yet.
    """
    if isinstance(recording, recordings.Recording | str | os.PathLike):
        recording = recording if isinstance(recording, recordings.Recording) else recordings.read(recording)
        pieces = signals.resample(recording)
        imu, columns = signals.cut_windows(pieces, stride=signals.LENGTH // 2, labelled=False)
        starts = columns["start"]
    else:
        imu = signals.check_windows(recording)
        recording, starts = timeline.from_windows(imu)
        pieces = [recording]
    windows = _calibrated(imu, placement)
    if llasa is None or processor is None:
        from . import pipeline, training

        training.quiet()
        llasa, processor = pipeline.ready(profile)
    found = timeline.build(recording, pieces, starts, *_probabilities(llasa, processor, windows))
    found.note = _note(processor, windows, guessed=not placement)
    return found


def _note(processor, windows, guessed):
    """What a recording cannot tell about itself, in a sentence; empty if it can."""
    from . import model

    said, moving = [], windows[windows.moving]
    if guessed and model.familiarity.swings(windows).any():
        said.append("the sensor tips as a leg does, so it is taken to be in a pocket; say where it is worn if not.")
    if len(moving) and processor.feature_extractor.calibration(moving).max() == 0:
        said.append(
            "this recording holds too few kinds of movement to calibrate by, so walking, climbing and descending may "
            "be mistaken for each other, above all in a pocket. Record walking and stairs in one go to know better."
        )
    return " ".join(said)


def _probabilities(llasa, processor, windows):
    """What a model says of the windows of one person: K names, (N, K) probabilities, (N,) whether they are known."""
    from . import model, questions

    names, probabilities = model.recognised(llasa, processor, windows, llasa.config.activities or _TAUGHT)
    if questions.STILL in names:
        # Nobody has walked: no posture can be known, however sure the model is.
        lost = probabilities * np.outer(~(windows.moving | windows.upright), np.isin(names, questions.POSTURES))
        probabilities = probabilities - lost
        probabilities[:, names.index(questions.STILL)] += lost.sum(axis=1)
    return names, probabilities, model.familiarity.known_in_time(processor.feature_extractor, windows)


def _calibrated(imu, placement=None):
    """The windows of one recording together; a sensor that tips as no waist does is taken to be in a pocket."""
    from . import model

    model.said_placement(placement)  # an unknown word is refused before anything is calculated
    windows = signals.calibrate(imu, ["recording"] * len(imu), placement)
    if not placement:
        windows.placement = np.where(model.familiarity.swings(windows), "trouser pocket", "")
    return windows

"""One question about one recording: the answer, and what the signal itself says beside it."""

from dataclasses import dataclass

import numpy as np

from . import captions, recordings, signals
from .errors import RecordingError


@dataclass
class Reply:
    """Answer to one question about one window.

    ``answer`` is the model's; ``evidence`` is measured by a program; ``shares`` are the model's probabilities of the
    activities' sentences, scaled to sum to 1.
    """

    start: float
    end: float
    imu: np.ndarray
    answer: str
    evidence: str
    shares: dict[str, float]

    def shares_text(self, most=3):
        """The likeliest activities in words."""
        ranked = sorted(self.shares.items(), key=lambda pair: -pair[1])[:most]
        return ", ".join(f"{name} {share:.0%}" for name, share in ranked)


def shares(scores):
    """Log-probabilities (N, K) -> shares of each row that sum to 1."""
    scores = np.asarray(scores, dtype=float)
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


def ask_windows(llasa, processor, imu, question, activities, starts=None, max_new_tokens=48):
    """Ask about windows that are at hand.

    Parameters
    ----------
    imu : (N, T, 6) array, SI units
    question : str
    activities : list of str
        What the model may choose from, for the shares.
    starts : list of float, seconds, optional

    Returns
    -------
    list of Reply
    """
    from . import model, questions

    if question == questions.RECOGNITION_QUESTION:
        sentences = [questions.recognition_answer(activity) for activity in activities]
        texts, scores = model.answers_and_scores(llasa, processor, imu, question, sentences, max_new_tokens)
    else:
        texts = model.answers(llasa, processor, imu, question, max_new_tokens)
        scores = model.score_activities(llasa, processor, imu, activities)
    starts = [0.0] * len(imu) if starts is None else starts
    seconds = imu.shape[1] / signals.RATE
    return [
        Reply(
            start=float(start),
            end=float(start) + seconds,
            imu=window,
            answer=text,
            evidence=captions.describe(captions.measure(window)).text,
            shares=dict(zip(activities, row.tolist(), strict=True)),
        )
        for window, text, row, start in zip(imu, texts, shares(scores), starts, strict=True)
    ]


def ask(path, question, start=0.0, windows=1, max_new_tokens=48, profile=None):
    """Ask the tuned model of a profile about a recording of one's own.

    Parameters
    ----------
    path : path
        See :func:`recordings.read`.
    question : str
    start : float, seconds from the recording's beginning
    windows : int
        How many windows of six seconds, one after the other.

    Returns
    -------
    list of Reply

    Raises
    ------
    RecordingError
        If the recording cannot be used, or has no six seconds behind ``start``.
    ArtifactError
        If no model was tuned yet.
    """
    # The recording first: a mistake in it should not cost the time it takes to load a model.
    imu, columns = signals.cut_windows([recordings.read(path)], labelled=False)
    starts = np.asarray(columns["start"]) - columns["start"][0]
    chosen = np.flatnonzero(starts >= start)[:windows]
    if not len(chosen):
        raise RecordingError(
            f"{path} has no six seconds without a gap behind second {start:g}. Use --start {starts[-1]:g} or less."
        )
    from . import pipeline, training

    training.quiet()
    llasa, processor = pipeline.ready(profile)
    # A model from elsewhere may not say what it was taught.
    activities = llasa.config.activities or list(recordings.ACTIVITIES[:6])
    return ask_windows(llasa, processor, imu[chosen], question, activities, starts[chosen], max_new_tokens)

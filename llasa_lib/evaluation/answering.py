"""Asking a model about many windows: greedy answers, and log-probabilities of given ones."""

import re

import numpy as np
import torch
from rich.progress import track
from transformers import DynamicCache

from .. import questions
from ..errors import ModelError

UNCLEAR = "unclear"
# A name right behind one of these is ruled out, not named: "not walking", "rather than sitting", "isn't really lying".
_NEGATION = r"(?:\b(?:not|no|never|neither|nor|without|rather than|instead of)|n['’]t)\s+(?:\w+\s+)?"


def _batches(windows, size, description, progress=True):
    starts = range(0, len(windows), size)
    for start in track(starts, description=description, disable=not progress or len(starts) < 3):
        yield windows[start : start + size]


@torch.inference_mode()
def answers(
    model, processor, windows, question, batch_size=32, max_new_tokens=12, progress=True, check_units=True, notes=False
):
    """Greedy answers to one question about every window.

    Parameters
    ----------
    windows : (N, T, 6) array, SI units
    question : str
    check_units : bool
        False for the controls that feed something else than a sensor.
    notes : bool
        With the measured values in the prompt: see :class:`model.LlasaProcessor`.

    Returns
    -------
    list of str, length N
    """
    texts = []
    for batch in _batches(windows, batch_size, "answering", progress):
        inputs = processor(imu=batch, text=question, check_units=check_units, notes=notes).to(model.device)
        generated = model.generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False)
        texts += processor.answers(generated, inputs)
    return texts


@torch.inference_mode()
def score_labels(model, processor, windows, question, sentences, batch_size=16, progress=True, check_units=True):
    """Log-probability of each sentence as the answer, for every window.

    The prompt is the same for all sentences of a window, so it runs once; only the sentences' own tokens run apart.

    Parameters
    ----------
    windows : (N, T, 6) array, SI units
    question : str
    sentences : list of str, length K
        Complete answers, for example ``"The person is walking."``

    Returns
    -------
    (N, K) float array
        Sum over the tokens of a sentence, its end mark included.
    """
    if not sentences:
        raise ModelError("There is no sentence to score: give at least one complete answer.")
    tokenizer = processor.tokenizer
    # The end mark is what a finished answer is followed by in training.
    pairs = [processor.conversation([(question, sentence)]) for sentence in sentences]
    replies = [
        [token for token, label in zip(p["input_ids"], p["labels"], strict=True) if label != -100] for p in pairs
    ]
    longest = max(map(len, replies))
    targets = torch.full((len(replies), longest), tokenizer.pad_token_id)
    real = torch.zeros((len(replies), longest), dtype=torch.bool)
    for n, reply in enumerate(replies):
        targets[n, : len(reply)] = torch.tensor(reply)
        real[n, : len(reply)] = True
    targets, real = targets.to(model.device), real.to(model.device)
    scores = [
        _score_batch(
            model,
            processor(imu=batch, text=question, check_units=check_units).to(model.device),
            targets,
            real,
        )
        for batch in _batches(windows, batch_size, "scoring", progress)
    ]
    return torch.cat(scores).float().cpu().numpy()


def score_activities(model, processor, windows, activities, batch_size=16, **options):
    """Log-probability of each activity's sentence as the answer to the recognition question: (N, K).

    ``options`` are those of :func:`score_labels`.
    """
    sentences = [questions.recognition_answer(activity) for activity in activities]
    return score_labels(model, processor, windows, questions.RECOGNITION_QUESTION, sentences, batch_size, **options)


def _score_batch(model, inputs, targets, real):
    """Scores (B, K) of K sentences (K, L) behind B prompts."""
    batch, sentences = len(inputs["input_ids"]), len(targets)
    prefix = model(**inputs, past_key_values=DynamicCache(), use_cache=True, logits_to_keep=1)
    first = prefix.logits[:, -1].log_softmax(-1)  # (B, V): the first token needs no second pass
    scores = first[:, targets[:, 0]]  # (B, K)
    if targets.shape[1] == 1:
        return scores
    cache = prefix.past_key_values
    cache.batch_repeat_interleave(sentences)
    mask = inputs["attention_mask"].repeat_interleave(sentences, 0)  # (B * K, P)
    tokens, kept = targets.repeat(batch, 1), real.repeat(batch, 1)  # (B * K, L)
    output = model(
        input_ids=tokens[:, :-1],
        attention_mask=torch.cat([mask, kept[:, :-1].to(mask.dtype)], dim=1),
        past_key_values=cache,
        use_cache=True,
    )
    rest = output.logits.log_softmax(-1).gather(2, tokens[:, 1:, None]).squeeze(2)  # (B * K, L - 1)
    return scores + (rest * kept[:, 1:]).sum(1).view(batch, sentences)


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
    text = answer.lower()
    for name in activities:
        text = re.sub(rf"{_NEGATION}{re.escape(name)}\b", "", text)
    found = {name for name in activities if re.search(rf"\b{re.escape(name)}\b", text)}
    return found.pop() if len(found) == 1 else UNCLEAR


def best(scores, activities):
    """Name of the highest-scoring activity per window: (N, K) -> list of str."""
    return [activities[n] for n in np.argmax(scores, axis=1)]

"""Asking a model about many windows: greedy answers, and log-probabilities of given ones."""

import contextlib
import re

import numpy as np
import torch
from rich.progress import track
from transformers import DynamicCache

from .. import questions
from ..errors import ModelError
from .packing import packed

UNCLEAR = "unclear"
ROUND = 6  # tokens between two looks at which answers have ended
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
    """Greedy answers to one question about every window, or to a question about each.

    Parameters
    ----------
    windows : (N, T, 6) array, SI units
    question : str, or list of N str
    check_units : bool
        False for the controls that feed something else than a sensor.
    notes : bool
        With the measured values in the prompt: see :class:`model.LlasaProcessor`.

    Returns
    -------
    list of str, length N
    """
    texts = []
    asked = [question] * len(windows) if isinstance(question, str) else question
    if len(asked) != len(windows):
        raise ModelError(f"{len(asked)} questions for {len(windows)} windows. Give one for each, or a single one.")
    pairs = list(zip(windows, asked, strict=True))
    # A single answer is written before the weights are laid out.
    with packed(model) if len(pairs) > 1 else contextlib.nullcontext():
        for batch in _batches(pairs, batch_size, "answering", progress):
            imu, text = (list(column) for column in zip(*batch, strict=True))
            inputs = processor(imu=np.stack(imu), text=text, check_units=check_units, notes=notes).to(model.device)
            texts += processor.answers(_greedy(model, processor, inputs, max_new_tokens), inputs)
    return texts


def _greedy(model, processor, inputs, max_new_tokens, cache=None):
    """Prompts and what the model says to them, (B, L), ended rows filled up with padding.

    ``generate`` goes on with ended rows until the longest answer has ended. Here it is called for a few tokens at a
    time, and rows that have ended are left out of the next call.
    """
    prompts = inputs["input_ids"]
    device, end = prompts.device, model.generation_config.eos_token_id
    ends = torch.tensor(-1 if end is None else end, device=device).reshape(-1)
    said = torch.full((len(prompts), max_new_tokens), processor.tokenizer.pad_token_id, device=device)
    rows, done, given = torch.arange(len(prompts), device=device), 0, dict(inputs)
    while len(rows) and done < max_new_tokens:
        length = given["input_ids"].shape[1]
        made = model.generate(
            **given,
            past_key_values=cache,
            max_new_tokens=min(ROUND, max_new_tokens - done),
            do_sample=False,
            use_cache=True,
            return_dict_in_generate=True,
        )
        new, cache = made.sequences[:, length:], made.past_key_values
        said[rows, done : done + new.shape[1]] = new
        done += new.shape[1]
        going = (~torch.isin(new, ends).any(1)).nonzero().squeeze(1)
        if len(going) < len(rows):
            cache.batch_select_indices(going)
        rows, kept = rows[going], given["attention_mask"][going]
        # The windows are in the cache by now.
        given = {
            "input_ids": made.sequences[going],
            "attention_mask": torch.cat([kept, kept.new_ones(len(going), new.shape[1])], dim=1),
        }
    return torch.cat([prompts, said], dim=1)


@torch.inference_mode()
def score_labels(model, processor, windows, question, sentences, batch_size=16, progress=True, check_units=True):
    """Log-probability of each sentence as the answer, for every window.

    The prompt is the same for all sentences of a window, and so are their first words: both run once.

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
    # The end mark is what a finished answer is followed by in training.
    pairs = [processor.conversation([(question, sentence)]) for sentence in sentences]
    replies = [
        [token for token, label in zip(p["input_ids"], p["labels"], strict=True) if label != -100] for p in pairs
    ]
    scores = [
        _score_batch(model, processor(imu=batch, text=question, check_units=check_units).to(model.device), replies)
        for batch in _batches(windows, batch_size, "scoring", progress)
    ]
    return torch.cat(scores).float().cpu().numpy()


def score_activities(model, processor, windows, activities, batch_size=16, **options):
    """Log-probability of each activity's sentence as the answer to the recognition question: (N, K).

    ``options`` are those of :func:`score_labels`.
    """
    sentences = [questions.recognition_answer(activity) for activity in activities]
    return score_labels(model, processor, windows, questions.RECOGNITION_QUESTION, sentences, batch_size, **options)


def _score_batch(model, inputs, replies):
    """Scores (B, K) of K replies, lists of tokens, behind B prompts.

    The prompt and what all replies begin with run once. What they end with runs side by side in one row per prompt:
    every ending sees the prompt, the common beginning and itself, but no other ending.
    """
    device, prompts = inputs["input_ids"].device, len(inputs["input_ids"])
    shared = _common_prefix(replies)
    ends = [reply[len(shared) :] for reply in replies]
    begun = torch.tensor(shared, dtype=torch.long, device=device).expand(prompts, -1)  # (B, C)
    mask = torch.cat([inputs["attention_mask"], torch.ones_like(begun)], dim=1)  # (B, P)
    read = model(
        **{**inputs, "input_ids": torch.cat([inputs["input_ids"], begun], dim=1), "attention_mask": mask},
        past_key_values=DynamicCache(config=model.config.get_text_config()),
        use_cache=True,
        logits_to_keep=len(shared) + 1,
    )
    predicted = read.logits.float().log_softmax(-1)  # (B, C + 1, V)
    common = predicted[:, :-1].gather(2, begun[..., None]).sum((1, 2))  # (B,)
    scores = common[:, None] + predicted[:, -1][:, [end[0] for end in ends]]  # (B, K)
    if max(map(len, ends)) == 1:
        return scores
    # The last token of an ending is predicted, and never read.
    places = [(k, d) for k, end in enumerate(ends) for d in range(len(end) - 1)]
    context = model.config.context
    sliding = any(getattr(layer, "is_sliding", False) for layer in read.past_key_values.layers)
    if sliding or (context and mask.shape[1] + len(places) > context):
        return scores + _score_apart(model, mask, ends, read.past_key_values)
    tokens, following = (torch.tensor([ends[k][d + n] for k, d in places], device=device) for n in (0, 1))  # (S,)
    branch, depth = torch.tensor(places, device=device).T
    own = (branch[:, None] == branch) & (depth[:, None] >= depth)  # (S, S)
    seen = torch.cat([mask.bool()[:, None].expand(-1, len(tokens), -1), own.expand(prompts, -1, -1)], dim=2)
    dtype = read.logits.dtype  # the language model's; model.dtype is that of the encoder
    blocked = torch.zeros(seen.shape, dtype=dtype, device=device).masked_fill(~seen, torch.finfo(dtype).min)
    output = model(
        input_ids=tokens.expand(prompts, -1),
        attention_mask=blocked[:, None],  # (B, 1, S, P + S), added to the attention's scores
        position_ids=mask.sum(1, keepdim=True) + depth,
        past_key_values=read.past_key_values,
        use_cache=True,
    )
    rest = output.logits.float().log_softmax(-1).gather(2, following.expand(prompts, -1)[..., None]).squeeze(2)
    return scores.index_add(1, branch, rest)


def _score_apart(model, mask, ends, cache):
    """Scores (B, K) of the endings behind their first token, a row for each.

    A window of attention that slides makes masks of its own, and side by side the endings may be too long together.
    """
    longest, rows = max(map(len, ends)) - 1, len(mask)

    def table(part, fill):
        filled = [part(end) + [fill] * (longest + 1 - len(end)) for end in ends]
        return torch.tensor(filled, device=mask.device).repeat(rows, 1)  # (B * K, L)

    read, following = table(lambda end: end[:-1], 0), table(lambda end: end[1:], 0)
    kept = table(lambda end: [1] * (len(end) - 1), 0)
    cache.batch_repeat_interleave(len(ends))
    mask = mask.repeat_interleave(len(ends), 0)
    output = model(
        input_ids=read,
        attention_mask=torch.cat([mask, kept], dim=1),
        position_ids=mask.sum(1, keepdim=True) + torch.arange(longest, device=mask.device),
        past_key_values=cache,
        use_cache=True,
    )
    rest = output.logits.float().log_softmax(-1).gather(2, following[..., None]).squeeze(2)
    return (rest * kept).sum(1).view(rows, -1)


def _common_prefix(rows, spare=1):
    """What all lists of tokens begin with; at least ``spare`` tokens of each are left over."""
    longest = min(map(len, rows)) - spare
    same = [len(set(column)) == 1 for column in zip(*(row[:longest] for row in rows), strict=True)]
    return rows[0][: same.index(False) if False in same else longest]


@torch.inference_mode()
def answers_about(model, processor, window, asked, max_new_tokens=48, notes=False):
    """Greedy answers to several questions about one window; what their prompts share is read once.

    Parameters
    ----------
    window : (T, 6) array, SI units
    asked : list of str
        Questions.
    notes : bool
        With the measured values in the prompt: see :class:`model.LlasaProcessor`.

    Returns
    -------
    list of str
    """
    if not asked:
        return []
    padded = processor(imu=np.repeat(np.asarray(window)[None], len(asked), 0), text=list(asked), notes=notes)
    rows = zip(padded["input_ids"], padded["attention_mask"], strict=True)
    prompts = [ids[kept.bool()].tolist() for ids, kept in rows]
    shared = _common_prefix(prompts)
    sensor = {name: padded[name][:1].to(model.device) for name in processor.feature_extractor.model_input_names}
    cache = DynamicCache(config=model.config.get_text_config())
    model.model(torch.tensor([shared], device=model.device), **sensor, past_key_values=cache, use_cache=True)
    cache.batch_repeat_interleave(len(asked))
    # The pads stand between what is shared and what is not: generation goes on at the right end of every row.
    gaps = [max(map(len, prompts)) - len(prompt) for prompt in prompts]
    pad, common = processor.tokenizer.pad_token_id, len(shared)
    ids = [shared + [pad] * gap + prompt[common:] for prompt, gap in zip(prompts, gaps, strict=True)]
    kept = [[1] * common + [0] * gap + [1] * (len(row) - common - gap) for row, gap in zip(ids, gaps, strict=True)]
    inputs = {
        "input_ids": torch.tensor(ids, device=model.device),
        "attention_mask": torch.tensor(kept, device=model.device),
    }
    with packed(model):
        return processor.answers(_greedy(model, processor, inputs, max_new_tokens, cache), inputs)


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

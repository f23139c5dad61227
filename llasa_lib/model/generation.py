"""From windows and questions to answers, and to the log-probability of given ones: the one way to both.

- ``answers``: greedy, in batches; what several questions about one window share is read once, and rows that have ended
  are left out of the next step.
- ``score_sentences``: what the sentences share is read once, and their endings side by side.
- ``answers_and_scores``: both behind one reading of the prompt.
"""

import contextlib

import numpy as np
import torch
from rich.progress import track
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from llasa_lib import questions
from llasa_lib.errors import ModelError
from llasa_lib.model.packing import packed

ROUND = 6  # tokens between two looks at which answers have ended


def _batches(items, size, progress, description):
    starts = range(0, len(items), size)
    for start in track(starts, description=description, disable=not progress or len(starts) < 3):
        yield items[start : start + size]


@torch.inference_mode()
def answers(model, processor, windows, question, max_new_tokens=12, batch_size=32, progress=False, **reading):
    """Greedy answers to one question about every window, to a question about each, or to several about each.

    Parameters
    ----------
    model : LlasaForConditionalGeneration
    processor : LlasaProcessor
    windows : (N, T, 6) array, SI units, or Calibrated, or None
        Those of an array stand alone (:func:`signals.calibrate`). None asks a list of questions without a sensor.
    question : str, list of N str, or list of N lists of str
    batch_size : int
        Questions that are answered together.
    reading
        ``measurements`` and ``check_units``: see :meth:`LlasaProcessor.__call__`.

    Returns
    -------
    list of N str
        Of several questions about each window, N lists.
    """
    count = len(windows) if windows is not None else 1 if isinstance(question, str) else len(question)
    windows = (
        None if windows is None else processor.feature_extractor.windows(windows, reading.get("check_units", True))
    )
    asked = [question] * count if isinstance(question, str) else list(question)
    if len(asked) != count:
        raise ModelError(f"{len(asked)} questions for {count} windows. Give one for each, or a single one.")
    several = any(not isinstance(one, str) for one in asked)
    pairs = [(n, one) for n, some in enumerate(asked) for one in (some if several else [some])]
    # Apart: beside a prompt with measured values, one without would be mostly padding.
    choice = reading.get("measurements", "auto")
    parts = [
        [k for k, (_, one) in enumerate(pairs) if processor.measures(one, choice) == told] for told in (False, True)
    ]
    texts = [""] * len(pairs)
    # A single answer is written before the weights are laid out.
    with packed(model) if len(pairs) > 1 else contextlib.nullcontext():
        for batch in (batch for part in parts for batch in _batches(part, batch_size, progress, "answering")):
            rows, text = (list(column) for column in zip(*(pairs[k] for k in batch), strict=True))
            imu = None if windows is None else windows[rows]
            inputs, cache = processor(imu=imu, text=text, **reading).to(model.device), None
            if several:
                inputs, cache = _read_shared(model, processor, inputs, rows)
            said = processor.answers(_greedy(model, processor, inputs, max_new_tokens, cache), inputs)
            for k, one in zip(batch, said, strict=True):
                texts[k] = one
    if not several:
        return texts
    told = iter(texts)
    return [[next(told) for _ in some] for some in asked]


def _read_shared(model, processor, inputs, owners):
    """Read what prompts about a window begin with, once.

    Parameters
    ----------
    inputs : dict
        Of the processor, for R prompts.
    owners : list of R int
        The window that each prompt is about.

    Returns
    -------
    (dict, DynamicCache)
        ``input_ids`` and ``attention_mask`` (R, L), and the cache of their beginnings: the pads stand in between.
    """
    whole = zip(inputs["input_ids"], inputs["attention_mask"], strict=True)
    prompts = [ids[kept.bool()].tolist() for ids, kept in whole]
    first = {owner: owners.index(owner) for owner in owners}
    shared = [_common_prefix([p for p, one in zip(prompts, owners, strict=True) if one == owner]) for owner in first]
    pad, device = processor.tokenizer.pad_token_id, model.device
    ids, mask = _padded(shared, pad, device)
    sensor = {
        name: inputs[name][list(first.values())]
        for name in processor.feature_extractor.model_input_names
        if name in inputs
    }
    cache = DynamicCache(config=model.config.get_text_config())
    places = (mask.cumsum(1) - 1).clamp(min=0)
    model.model(ids, attention_mask=mask, position_ids=places, **sensor, past_key_values=cache, use_cache=True)
    begun = [list(first).index(owner) for owner in owners]
    cache.batch_select_indices(torch.tensor(begun, device=device))
    rest_ids, rest_mask = _padded([p[len(shared[n]) :] for p, n in zip(prompts, begun, strict=True)], pad, device)
    joined = {
        "input_ids": torch.cat([ids[begun], rest_ids], dim=1),
        "attention_mask": torch.cat([mask[begun], rest_mask], dim=1),
    }
    return joined, cache


def _padded(rows, pad, device):
    """Lists of tokens, padded on the left: ids and mask, (R, L)."""
    longest = max(map(len, rows))
    ids = [[pad] * (longest - len(row)) + row for row in rows]
    mask = [[0] * (longest - len(row)) + [1] * len(row) for row in rows]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


def _common_prefix(rows):
    """What all lists of tokens begin with; at least one token of each is left over."""
    longest = min(map(len, rows)) - 1
    same = [len(set(column)) == 1 for column in zip(*(row[:longest] for row in rows), strict=True)]
    return rows[0][: same.index(False) if False in same else longest]


def _greedy(model, processor, inputs, max_new_tokens, cache=None):
    """Prompts and what the model says to them, (B, L), ended rows filled up with padding.

    ``generate`` goes on with ended rows until the longest answer has ended. Here it is called for a few tokens at a
    time, and rows that have ended are left out of the next call. A cache holds all but the end of the prompts.
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


def score_sentences(model, processor, windows, question, sentences, batch_size=32, progress=False, **reading):
    """Log-probability of each sentence as the answer, for every window.

    The prompt is the same for all sentences of a window, and so are their first words: both run once.

    Parameters
    ----------
    windows : (N, T, 6) array, SI units
    question : str
    sentences : list of str, length K
        Complete answers, for example ``"The person is walking."``
    reading
        See :func:`answers`.

    Returns
    -------
    (N, K) float array
        Sum over the tokens of a sentence, its end mark included.
    """
    return answers_and_scores(model, processor, windows, question, sentences, 0, batch_size, progress, **reading)[1]


def score_activities(model, processor, windows, activities, **options):
    """:func:`score_sentences` of each activity's sentence as the answer to the recognition question: (N, K)."""
    sentences = [questions.recognition_answer(activity) for activity in activities]
    return score_sentences(model, processor, windows, questions.RECOGNITION_QUESTION, sentences, **options)


@torch.inference_mode()
def answers_and_scores(
    model, processor, windows, question, sentences, max_new_tokens=12, batch_size=32, progress=False, **reading
):
    """What :func:`answers` and :func:`score_sentences` give, behind one reading of every prompt.

    Parameters
    ----------
    windows : (N, T, 6) array, SI units
    question : str
    sentences : list of str, length K
    max_new_tokens : int
        0 for scores alone.
    reading
        See :func:`answers`.

    Returns
    -------
    (list of N str, (N, K) float array)
    """
    if not sentences:
        raise ModelError("There is no sentence to score: give at least one complete answer.")
    # The end mark is what a finished answer is followed by in training.
    pairs = [processor.conversation([(question, sentence)]) for sentence in sentences]
    replies = [
        [token for token, label in zip(p["input_ids"], p["labels"], strict=True) if label != -100] for p in pairs
    ]
    windows = processor.feature_extractor.windows(windows, reading.get("check_units", True))
    texts, scores = [], []
    with packed(model) if max_new_tokens and len(windows) > 1 else contextlib.nullcontext():
        for batch in _batches(windows, batch_size, progress, "answering" if max_new_tokens else "scoring"):
            inputs = processor(imu=batch, text=question, **reading).to(model.device)
            score, cache = _score(model, inputs, replies)
            scores.append(score.float().cpu().numpy())
            if max_new_tokens:
                given = inputs
                if cache is not None:
                    cache.crop(inputs["input_ids"].shape[1] - 1 - cache.get_seq_length())
                    given = {name: inputs[name] for name in ("input_ids", "attention_mask")}
                texts += processor.answers(_greedy(model, processor, given, max_new_tokens, cache), inputs)
    return texts, np.concatenate(scores)


def _score(model, inputs, replies):
    """Scores (B, K) of K replies, lists of tokens, behind B prompts; and a cache that begins with the prompts, or None.

    The prompt and what all replies begin with run once. What they end with runs side by side in one row per prompt:
    every ending sees the prompt, the common beginning and itself, but no other ending.
    """
    device, prompts = inputs["input_ids"].device, len(inputs["input_ids"])
    shared = _common_prefix(replies)
    ends = [reply[len(shared) :] for reply in replies]
    begun = torch.tensor(shared, dtype=torch.long, device=device).expand(prompts, -1)  # (B, C)
    mask = torch.cat([inputs["attention_mask"], torch.ones_like(begun)], dim=1)  # (B, P)
    cache = DynamicCache(config=model.config.get_text_config())
    read = model(
        **{**inputs, "input_ids": torch.cat([inputs["input_ids"], begun], dim=1), "attention_mask": mask},
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=len(shared) + 1,
    )
    predicted = read.logits.float().log_softmax(-1)  # (B, C + 1, V)
    common = predicted[:, :-1].gather(2, begun[..., None]).sum((1, 2))  # (B,)
    scores = common[:, None] + predicted[:, -1][:, [end[0] for end in ends]]  # (B, K)
    plain = all(type(layer) is DynamicLayer for layer in cache.layers)  # others cannot forget what they have read
    if max(map(len, ends)) == 1:
        return scores, cache if plain else None
    # The last token of an ending is predicted, and never read.
    places = [(k, d) for k, end in enumerate(ends) for d in range(len(end) - 1)]
    context = model.config.context
    sliding = any(getattr(layer, "is_sliding", False) for layer in cache.layers)
    if sliding or (context and mask.shape[1] + len(places) > context):
        return scores + _score_apart(model, mask, ends, cache), None
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
        past_key_values=cache,
        use_cache=True,
    )
    rest = output.logits.float().log_softmax(-1).gather(2, following.expand(prompts, -1)[..., None]).squeeze(2)
    return scores.index_add(1, branch, rest), cache if plain else None


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

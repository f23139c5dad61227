"""How little a set of texts repeats itself."""

import math
import re
from collections import Counter
from dataclasses import dataclass

from llasa_lib.errors import ModelError

_SMALLEST = 0.1  # matches counted where there are none, or one new phrase would make the whole product zero


@dataclass(frozen=True)
class Variety:
    """Measures of variety, 0 to 1, and the number of texts that they describe.

    ``distinct_1`` and ``distinct_2`` are high, ``self_bleu_4`` is low if the texts differ. They fall or rise with the
    number of texts: compare sets of the same size only.
    """

    distinct_1: float
    distinct_2: float
    self_bleu_4: float
    texts: int


def variety(texts):
    """Distinct-1, distinct-2 and self-BLEU-4 of a set of texts.

    A token is a word, a number or a mark, in lower case. Distinct-n is the number of different n-grams over the
    number of all n-grams of the set (Li et al. 2016). Self-BLEU-4 is the mean over the texts of the BLEU of that text
    with all others as references (Zhu et al. 2018): geometric mean of the clipped precisions of 1- to 4-grams, where
    no match counts as 0.1 matches, times the brevity penalty against the reference closest in length.

    Parameters
    ----------
    texts : sequence of str
        At least two.

    Returns
    -------
    Variety

    Raises
    ------
    ModelError
        If there are fewer than two texts, or one of fewer than four tokens.
    """
    tokens = [re.findall(r"\d+(?:\.\d+)?|\w+|[^\w\s]", text.lower()) for text in texts]
    if len(tokens) < 2 or min(map(len, tokens)) < 4:
        raise ModelError("variety needs at least two texts of at least four words each.")
    counts = {n: [_ngrams(one, n) for one in tokens] for n in (1, 2, 3, 4)}
    distinct = {n: len(set().union(*counts[n])) / sum(map(Counter.total, counts[n])) for n in (1, 2)}
    logs = zip(*(_log_precisions(counts[n]) for n in counts), strict=True)
    scores = [math.exp(sum(log) / 4 + penalty) for log, penalty in zip(logs, _brevity(tokens), strict=True)]
    return Variety(distinct[1], distinct[2], sum(scores) / len(scores), len(tokens))


def _ngrams(tokens, n):
    return Counter(zip(*(tokens[i:] for i in range(n)), strict=False))


def _log_precisions(counts):
    """For each text, the log of the share of its n-grams that another text has as often."""
    # The two texts in which an n-gram is most frequent: whatever text is asked about, one of them is another text.
    highest = {}
    for text, grams in enumerate(counts):
        for gram, count in grams.items():
            first, second = highest.get(gram, ((0, -1), (0, -1)))
            if count > first[0]:
                highest[gram] = ((count, text), first)
            elif count > second[0]:
                highest[gram] = (first, (count, text))
    for text, grams in enumerate(counts):
        others = (highest[gram][highest[gram][0][1] == text][0] for gram in grams)
        matches = sum(min(count, other) for count, other in zip(grams.values(), others, strict=True))
        yield math.log(max(matches, _SMALLEST) / grams.total())


def _brevity(tokens):
    """For each text, the log of BLEU's penalty for being shorter than the other text closest in length."""
    lengths = Counter(map(len, tokens))
    for length in map(len, tokens):
        others = (other for other in lengths if other != length or lengths[other] > 1)
        closest = min(others, key=lambda other: (abs(other - length), other))
        yield min(0.0, 1 - closest / length)

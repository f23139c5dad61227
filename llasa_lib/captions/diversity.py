"""How little a set of texts repeats itself."""

import itertools
import re
from dataclasses import dataclass

import numpy as np

from llasa_lib.errors import ModelError

_MOST = 100  # texts that self-BLEU compares: its cost grows with their square


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
    with all others as references (Zhu et al. 2018), by sacrebleu: where no n-gram of a length matches, 0.1 matches are
    counted; a text without one common word has 0. Of more than 100 texts it takes 100, evenly spaced.

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
    from sacrebleu.metrics import BLEU  # here, because only this needs it

    tokens = [re.findall(r"\d+(?:\.\d+)?|\w+|[^\w\s]", text.lower()) for text in texts]
    if len(tokens) < 2 or min(map(len, tokens)) < 4:
        raise ModelError("variety needs at least two texts of at least four words each.")
    pairs = [pair for text in tokens for pair in itertools.pairwise(text)]
    words = [word for text in tokens for word in text]
    bleu = BLEU(tokenize="none", smooth_method="floor", smooth_value=0.1, effective_order=True)
    some = [" ".join(tokens[i]) for i in np.linspace(0, len(tokens) - 1, min(len(tokens), _MOST)).round().astype(int)]
    scores = [bleu.sentence_score(text, some[:i] + some[i + 1 :]).score / 100 for i, text in enumerate(some)]
    return Variety(len(set(words)) / len(words), len(set(pairs)) / len(pairs), float(np.mean(scores)), len(tokens))

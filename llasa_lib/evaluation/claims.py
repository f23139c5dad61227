"""Are the answers true? Every checkable claim of an answer, held against the samples."""

import numpy as np

from .. import signals, verification


def check_answers(corpus, answers):
    """Count what of the answers to a corpus' own questions holds.

    Parameters
    ----------
    corpus : datasets.Dataset
        N windows with ``questions`` (:func:`questions.make_corpus`), best of people nobody trained on.
    answers : list of N lists of str
        To each question of each window, as :func:`model.answers` gives them.

    Returns
    -------
    list of dict, one per kind of question
        ``kind``, ``questions``, ``as in the corpus`` (share of answers that are the corpus' own, word for word),
        ``claims``, ``supported``, ``contradicted`` and ``not checkable`` (numbers of claims), and ``share``: supported
        among the checkable ones, NaN without any.
    """
    kinds = {}
    for window, pairs, texts in zip(signals.to_array(corpus), corpus["questions"], answers, strict=True):
        for pair, text in zip(pairs, texts, strict=True):
            verdicts = [claim.holds for claim in verification.verify(text, window)]
            kinds.setdefault(pair["kind"], []).append((text == pair["answer"], verdicts))
    rows = []
    for kind, items in kinds.items():
        verdicts = [holds for _, claims in items for holds in claims]
        supported, contradicted = verdicts.count(True), verdicts.count(False)
        rows.append(
            {
                "kind": kind,
                "questions": len(items),
                "as in the corpus": float(np.mean([same for same, _ in items])),
                "claims": len(verdicts),
                "supported": supported,
                "contradicted": contradicted,
                "not checkable": verdicts.count(None),
                "share": supported / (supported + contradicted) if supported + contradicted else float("nan"),
            }
        )
    return rows

"""Are the answers true? Every checkable claim of an answer, held against the samples."""

import numpy as np

from .. import captions, signals
from ..model import answers


def check_answers(model, processor, corpus, max_new_tokens=64, batch_size=32, progress=False):
    """Ask a corpus' own questions and count what of the answers holds.

    Parameters
    ----------
    corpus : datasets.Dataset
        Windows with ``questions`` (:func:`questions.make_corpus`), best of people nobody trained on.

    Returns
    -------
    list of dict, one per kind of question
        ``kind``, ``questions``, ``as in the corpus`` (share of answers that are the corpus' own, word for word),
        ``claims``, ``supported``, ``contradicted`` and ``not checkable`` (numbers of claims), and ``share``: supported
        among the checkable ones, NaN without any.
    """
    imu, said = signals.to_array(corpus), {}
    # Two rounds, since all prompts of a window but the recognition's share its measured values, and read them once.
    for recognition in (True, False):
        chosen = [[p for p in pairs if (p["kind"] == "recognition") == recognition] for pairs in corpus["questions"]]
        asked = [[pair["question"] for pair in pairs] for pairs in chosen]
        told = answers(model, processor, imu, asked, max_new_tokens, batch_size, progress)
        for window, pairs, texts in zip(imu, chosen, told, strict=True):
            for pair, text in zip(pairs, texts, strict=True):
                verdicts = [claim.holds for claim in captions.verify(text, window)]
                said.setdefault(pair["kind"], []).append((text == pair["answer"], verdicts))
    rows = []
    for kind, items in said.items():
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

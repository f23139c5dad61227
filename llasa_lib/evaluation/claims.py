"""Are the answers true? Every checkable claim of an answer, held against the samples."""

import numpy as np
import torch

from .. import signals, verification
from .answering import answers


@torch.inference_mode()
def check_answers(model, processor, corpus, batch_size=32, max_new_tokens=64, progress=False):
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
    imu, asked = signals.to_array(corpus), {}
    for row, pairs in enumerate(corpus["questions"]):
        for pair in pairs:
            asked.setdefault(pair["kind"], []).append((row, pair["question"], pair["answer"]))
    rows = []
    for kind, items in asked.items():
        windows = imu[[row for row, _, _ in items]]
        # The activity is told from the sensor alone: see asking.ask_windows.
        notes = processor.notes and kind != "recognition"
        texts = answers(
            model, processor, windows, [q for _, q, _ in items], batch_size, max_new_tokens, progress, notes=notes
        )
        verdicts = [claim.holds for pair in zip(texts, windows, strict=True) for claim in verification.verify(*pair)]
        supported, contradicted = verdicts.count(True), verdicts.count(False)
        same = [text == answer for text, (_, _, answer) in zip(texts, items, strict=True)]
        rows.append(
            {
                "kind": kind,
                "questions": len(items),
                "as in the corpus": float(np.mean(same)),
                "claims": len(verdicts),
                "supported": supported,
                "contradicted": contradicted,
                "not checkable": verdicts.count(None),
                "share": supported / (supported + contradicted) if supported + contradicted else float("nan"),
            }
        )
    return rows

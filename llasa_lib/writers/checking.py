"""Nothing contradicted is kept: every claim of an answer is held against the samples of its window."""

import itertools
from bisect import bisect_right
from collections import Counter

from llasa_lib.verification import verify

VERDICTS = ("supported", "contradicted", "not checkable")


def claims(units, window):
    """Every claim of a text, with the number of the unit that makes it.

    Parameters
    ----------
    units : list of str (sentences of one text), or of dict (``question``, ``answer``)
    window : (120, 6) array, SI units

    Returns
    -------
    list of (int, Claim)
    """
    if units and isinstance(units[0], dict):
        return [
            (number, claim)
            for number, pair in enumerate(units)
            for part in (pair["question"], pair["answer"])
            for claim in verify(part, window)
        ]
    # The text as a whole: a sentence may speak of what the one before it named.
    starts = list(itertools.accumulate((len(unit) + 1 for unit in units), initial=0))
    return [(bisect_right(starts, claim.start) - 1, claim) for claim in verify(" ".join(units), window)]


def contradicted(units, window):
    """The claims among :func:`claims` that the samples contradict."""
    return [(number, claim) for number, claim in claims(units, window) if claim.verdict == "contradicted"]


def drop_contradicted(units, window):
    """The units without those that the samples contradict, checked until none is left that they do."""
    while wrong := {number for number, _ in contradicted(units, window)}:
        units = [unit for number, unit in enumerate(units) if number not in wrong]
    return units


def count(units, window):
    """How many claims are supported, contradicted and not checkable."""
    found = Counter(claim.verdict for _, claim in claims(units, window))
    return {verdict: found[verdict] for verdict in VERDICTS}


def list_false(found, units):
    """What a writer is told to repair: each false claim, the sentence it stands in, and what the samples say."""
    lines = []
    for number, claim in found:
        unit = units[number]
        said = f"{unit['question']} {unit['answer']}" if isinstance(unit, dict) else unit
        measured = "" if claim.measured is None else f"; measured: {_short(claim.measured)}"
        lines.append(f'- "{claim.text}" in "{said}" ({claim.quantity}{measured})')
    return "\n".join(lines)


def _short(value):
    return value if isinstance(value, str) else f"{value:.2f}"

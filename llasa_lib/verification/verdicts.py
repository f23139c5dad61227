"""Texts read back: every claim is recomputed from the samples, and holds or does not."""

import re
from itertools import zip_longest

import numpy as np

from llasa_lib.captions.facts import RATE, SECONDS
from llasa_lib.signals import check_windows
from llasa_lib.verification import numbers, values
from llasa_lib.verification.claims import Claim, Finding
from llasa_lib.verification.samples import Samples
from llasa_lib.verification.statements import STATEMENTS
from llasa_lib.verification.text import Sentence, plain, sentences
from llasa_lib.verification.topics import HYPOTHETICAL, REFUSALS, TOPICS

_NEGATION = re.compile(
    r"(?:\b(?:no|not|never|without|neither|nor|lacks|lacking|cannot|hardly any|absence of)|"
    r"n't)(?: (?!only\b|doubt\b|longer\b)\w+){0,2} *$|\b(?:nothing suggests|no (?:sign|evidence|indication))\b.*$"
)
_REACH = 40  # characters before a statement in which a "not" may stand


def verify(text, window, rate=RATE):
    """Find what an English text claims about a window, and say claim by claim whether the samples agree.

    The text may be anybody's, for example a language model's. What a rule recognises is recomputed from the raw
    window and none of the facts. A number holds if it equals the recomputed value up to the digits printed, with
    "about" up to a tenth. What acceleration and rotation cannot decide (activity, place, heart rate, ...), and
    what is said with "would", is not checkable. Words without a recognised claim give nothing.

    Parameters
    ----------
    text : str
    window : (120, 6) array
        Acceleration in m/s^2 with gravity, rotation in rad/s.
    rate : float
        Samples per second.

    Returns
    -------
    list of Claim
        In the order of the text. No contradicted claim is no proof of a text: it proves the claims that were found.

    Raises
    ------
    WindowError
        If the window cannot be measured, see :func:`llasa_lib.signals.check_windows`.

    Examples
    --------
    >>> at_rest = np.zeros((120, 6))
    >>> at_rest[:, 0] = 9.81
    >>> [claim.verdict for claim in verify("Gravity lies along x at 9.8 m/s², and the heart rate is 72 bpm.", at_rest)]
    ['supported', 'supported', 'not checkable']
    """
    samples = Samples(check_windows(np.asarray(window)[None], round(SECONDS * rate), dtype=np.float64)[0], rate)
    claims, context = [], None
    for offset, words in sentences(plain(text)):
        sentence = Sentence(words, offset)
        found = _statements(sentence, samples)
        said, context = _numbers(sentence, samples, context)
        found += said
        if HYPOTHETICAL.search(words):
            found = [(start, end, quantity, finding._replace(holds=None)) for start, end, quantity, finding in found]
        if not REFUSALS.search(words):
            found += _topics(sentence)
        claims += [_claim(text, offset, *one) for one in found]
    return sorted(claims, key=lambda claim: (claim.start, claim.end))


def _claim(text, offset, start, end, quantity, finding):
    return Claim(
        text[offset + start : offset + end],
        offset + start,
        offset + end,
        finding.quantity or quantity,
        finding.claimed,
        float(finding.measured) if isinstance(finding.measured, np.floating) else finding.measured,
        None if finding.holds is None else bool(finding.holds),
        finding.channels,
        finding.interval,
    )


def _statements(sentence, samples):
    """The claims in words. Those about the course of the window come first and are taken out of the sentence."""
    found = _match([row for row in STATEMENTS if row.whole], sentence, samples, take=True)
    sentence.read_intervals()
    return found + _match([row for row in STATEMENTS if not row.whole], sentence, samples)


def _match(rows, sentence, samples, take=False):
    found, seen = [], {}
    for row in rows:
        for pattern in row.patterns:
            for match in list(pattern.finditer(sentence.unread)):
                start, end = match.span("n") if "n" in pattern.groupindex and match["n"] else match.span()
                if any(start < last and first < end for first, last in seen.get(row.quantity, ())):
                    continue
                seen.setdefault(row.quantity, []).append(match.span())
                found.append((start, match.end(), row.quantity, _judge(row, match, sentence, samples)))
                if take:
                    sentence.blank(*match.span())
    return found


def _judge(row, match, sentence, samples):
    """Recompute a statement for the seconds that it is about; "not" turns it round."""
    seconds = sentence.seconds(match.start())
    part = samples.between(*seconds)
    finding = row.judge(match.groupdict(), part) if part.enough else Finding(match[0])
    clause = sentence.clause(match.start())[0]
    before = sentence.text[max(clause, match.start() - _REACH) : match.start()]
    if finding.holds is not None and _NEGATION.search(before):
        finding = finding._replace(holds=not finding.holds, claimed=f"not {finding.claimed}")
    return finding._replace(interval=finding.interval or seconds)


def _numbers(sentence, samples, context):
    """The claims in numbers, and the context of the last of them for a next sentence that begins with "it"."""
    found = []
    known = numbers.read(sentence, context)
    for number, after in zip_longest(known, known[1:]):
        seconds = sentence.seconds(number.start, after.start if after else len(sentence.text))
        finding = values.judge(number, samples.between(*seconds))
        if finding is not None:
            found.append((number.start, number.end, "unknown", finding._replace(interval=finding.interval or seconds)))
            context = number.context
    return found, context


def _topics(sentence):
    """What is named that no sample decides."""
    found, places = [], set()
    for quantity, pattern in TOPICS:
        for match in pattern.finditer(sentence.text):
            if not places & set(range(*match.span())):
                places |= set(range(*match.span()))
                words = match[0].strip()
                found.append(
                    (match.start(), match.end(), quantity, Finding(words, interval=sentence.seconds(match.start())))
                )
    return found

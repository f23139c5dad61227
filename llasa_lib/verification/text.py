"""English, made readable for rules: one spelling, sentences, clauses, and the seconds that a clause is about.

Every step keeps the length of the text, so that a place in a sentence is a place in the text.
"""

import re
from bisect import bisect_right
from dataclasses import dataclass, field

from llasa_lib.captions.facts import SECONDS

NUMBER_WORDS = {
    word: float(value)
    for value, word in enumerate("zero one two three four five six seven eight nine ten eleven twelve".split())
} | {"no": 0.0, "a": 1.0, "an": 1.0, "a single": 1.0, "single": 1.0, "both": 2.0}
_ORDINALS = {"first": 1, "second": 2, "third": 3, "fourth": 4, "fifth": 5, "sixth": 6}

_CHARACTERS = str.maketrans('−–‑‒—’‘*_`"“”\u00a0\u202f\t\r⁻≥≤⁄', "----,''" + " " * 10 + "-><" + "/")
_ABBREVIATIONS = re.compile(r"\b(?:approx|e\.g|i\.e|vs|ca|avg|std|resp)\.")
_SENTENCE_ENDS = re.compile(r"\.(?![0-9])|[;!?]|(?<=[.:;!?])\n|\n(?=[ ]*(?:[-•#|\n]|[0-9]{1,2}[.)]))")
_CLAUSE_ENDS = re.compile(r",|:(?! *[-+~≈]?[0-9.])|\b(?:and|while|whereas|but|then|although|though|before)\b")

_COUNT = r"(?:[0-9]{1,3}(?:\.[0-9]{1,3})?|one|two|three|four|five|six)"
_SECONDS = r"(?:s|secs?|seconds?)\b"
_ABOUT = r"(?:about |around |roughly |approximately |t ?= ?)?"


def number(word):
    """The value of a number in digits or in words; None if it is neither."""
    if word in NUMBER_WORDS:
        return NUMBER_WORDS[word]
    try:
        return float(word)
    except (TypeError, ValueError):
        return None


def plain(text):
    """The text in small letters and plain characters, as long as before."""
    text = "".join(low if len(low := character.lower()) == 1 else character for character in text)
    text = text.translate(_CHARACTERS)
    return _ABBREVIATIONS.sub(lambda match: match[0].replace(".", " "), text)


def sentences(text):
    """(start, sentence) of every sentence of a plain text; questions are left out, as they claim nothing."""
    start = 0
    for end in [*_SENTENCE_ENDS.finditer(text), None]:
        stop = end.start() if end else len(text)
        if text[start:stop].strip() and not (end and end[0] == "?"):
            yield start, text[start:stop].replace("\n", " ")
        start = end.end() if end else stop


def _third(word):
    place = {"first": 0, "second": 1, "middle": 1, "last": 2, "final": 2, "third": 2}[word]
    return 2.0 * place, 2.0 * place + 2.0


def _stretch(side, length):
    """Some seconds at the start, in the middle or at the end."""
    if side in ("first", "initial", "opening"):
        return 0.0, length
    if side in ("last", "final", "closing"):
        return SECONDS - length, SECONDS
    return (SECONDS - length) / 2, (SECONDS + length) / 2


# Words for a part of the window, and what they mean in seconds. The first that fits a place is taken.
INTERVALS = [
    (re.compile(pattern), seconds)
    for pattern, seconds in (
        (rf"\bbetween (?:seconds? |t ?= ?)?(?P<a>{_COUNT}) ?(?:{_SECONDS} ?)?(?:and|to|-) ?(?:seconds? )?"
         rf"(?P<b>{_COUNT}) ?{_SECONDS}", lambda m: (number(m["a"]), number(m["b"]))),
        (rf"(?:\bfrom )?\b(?:seconds? |t ?= ?)?(?P<a>{_COUNT}) ?(?:{_SECONDS} ?)?(?:to|until|till|-) ?(?:seconds? )?"
         rf"(?P<b>{_COUNT}) ?{_SECONDS}", lambda m: (number(m["a"]), number(m["b"]))),
        (rf"\bseconds? (?P<a>{_COUNT}) ?(?:to|and|until|till|-) ?(?P<b>{_COUNT})\b",
         lambda m: (number(m["a"]), number(m["b"]))),
        (rf"\b(?P<side>first|initial|opening|last|final|closing|middle|central) (?:(?P<n>{_COUNT}) ?)?{_SECONDS}",
         lambda m: _stretch(m["side"], number(m["n"]) if m["n"] else 1.0)),
        (r"\b(?P<side>first|second|latter|last|former|other) half\b",
         lambda m: (0.0, 3.0) if m["side"] in ("first", "former") else (3.0, 6.0)),
        (r"\b(?P<side>first|second|middle|last|final) third\b", lambda m: _third(m["side"])),
        (r"\b(?P<n>second|third|fourth|fifth|sixth) second\b",
         lambda m: (_ORDINALS[m["n"]] - 1.0, float(_ORDINALS[m["n"]]))),
        (rf"(?:^ ?|[,:] |\b(?:and|then|but|while) )(?:after|from|since) (?:the )?{_ABOUT}(?P<a>{_COUNT}) ?{_SECONDS}"
         r"(?: on(?:wards?)?)?(?! *$)", lambda m: (number(m["a"]), SECONDS)),
        (rf"\bfrom {_ABOUT}(?P<a>{_COUNT}) ?{_SECONDS} on(?:wards?)?\b", lambda m: (number(m["a"]), SECONDS)),
        (rf"\b(?:until|till|before|up to) {_ABOUT}(?P<b>{_COUNT}) ?{_SECONDS}", lambda m: (0.0, number(m["b"]))),
        (r"\b(?:initially|at first|(?:at|in) the (?:very )?(?:start|beginning|outset))\b", lambda m: (0.0, 2.0)),
        (r"\b(?:at|towards?|by|in) the (?:very )?end\b", lambda m: (4.0, 6.0)),
        (r"\bin the middle\b", lambda m: (2.0, 4.0)),
        (r"\b(?:throughout|overall|all in all|(?:over|in|during|for|across) (?:all|these|the (?:whole|entire|full))"
         r"(?: (?:six|6))?(?: seconds| window| recording| time)?)\b", lambda m: (0.0, SECONDS)),
    )
]  # fmt: skip
_LEAD = re.compile(
    r"(?:(?:in|during|over|for|within|at|from|between|the|to begin with|next|finally|lastly|first|,|:) ?)*"
)
_AFTERWARDS = re.compile(r"\b(?:after (?:which|that)|afterwards|then|thereafter|followed by|subsequently)\b")
_GOES_ON = re.compile(
    r"[,: ]*(?:and |with |where |when )*(?:an? |its? |varying|averaging|reaching|peaking|spread|by |at )"
)


@dataclass
class Sentence:
    """A sentence of a plain text, its clauses, and what of it is still unread.

    Attributes
    ----------
    text : str
        As it stands.
    unread : str
        The same with blanks where a rule has read everything there is.
    offset : int
        Place of its first character in the text.
    """

    text: str
    offset: int
    unread: str = ""
    ends: list[int] = field(default_factory=list)
    intervals: list[tuple[int, int, tuple[float, float]]] = field(default_factory=list)

    def __post_init__(self):
        self.unread = self.text
        self.ends = [match.end() for match in _CLAUSE_ENDS.finditer(self.text)]

    def blank(self, start, end):
        """Take a piece out of what later rules can read."""
        self.unread = self.unread[:start] + " " * (end - start) + self.unread[end:]

    def clause(self, place):
        """(start, end) of the clause that a place lies in."""
        n = bisect_right(self.ends, place)
        return (self.ends[n - 1] if n else 0), (self.ends[n] if n < len(self.ends) else len(self.text))

    def read_intervals(self):
        """Find the parts of the window that are named, and take them out."""
        for pattern, seconds in INTERVALS:
            for match in list(pattern.finditer(self.unread)):
                first, last = seconds(match)
                if first < last:
                    self.intervals.append((match.start(), match.end(), (first, min(last, SECONDS))))
                    self.blank(*match.span())
        self.intervals.sort()

    def seconds(self, place, until=0):
        """The part of the window that the words at a place are about.

        It is named in the same clause, first of all between the place and another; or at the head of an earlier
        clause of the sentence; or at the end of the one before, if this one only goes on; or in a clause of its own
        right after. What comes "then" has the rest. Else it is the whole window.
        """
        if not self.intervals:
            return 0.0, SECONDS
        start, end = self.clause(place)
        inside = [known for known in self.intervals if start <= known[0] < end or start < known[1] <= end]
        if inside:
            after = [known for known in inside if place <= known[0] < until]
            return (after or [min(inside, key=lambda known: abs(known[0] - place))])[0][2]
        before = [known for known in self.intervals if known[0] < start]
        if before:
            first, _, seconds = before[-1]
            begin, stop = self.clause(first)
            if seconds[1] < SECONDS and _AFTERWARDS.search(self.text[max(stop, start - 6) - 6 : place]):
                return seconds[1], SECONDS
            if _LEAD.fullmatch(self.unread[begin:first].strip()):
                return seconds
            if stop == start and _GOES_ON.match(self.text[start : start + 40]):
                return seconds
            return 0.0, SECONDS
        first, _, seconds = self.intervals[0]
        begin, stop = self.clause(first)
        alone = not re.sub(r"\b(?:in|during|over|for|within|the)\b|[,: ]", "", self.unread[begin:stop])
        return seconds if alone else (0.0, SECONDS)

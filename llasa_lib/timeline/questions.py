"""Questions about a whole recording: words -> a kind, activities, and a stretch of time."""

import re
from dataclasses import dataclass

from llasa_lib.recordings import TRANSITIONS
from llasa_lib.timeline.decoding import CHANGING, ON_FOOT, STILL, UNKNOWN

STAIRS = ("climbing stairs", "descending stairs")
CHANGES = (*TRANSITIONS, CHANGING)
_UP, _DOWN = r"(?:up(?:wards)?|upstairs)", r"(?:down(?:wards)?|downstairs)"
_GO = r"(?:w(?:alk|ent)|go|r[au]n)\w*"
_STAIR = r"(?: (?:a|the|some|any))?(?: (?:flight|set)s? of)?(?: (?:stair|step|staircase)s?)"
# What people call it; the first that fits takes its words away, so that nobody who climbs stairs walks as well. Who
# asks how often somebody sat down means the change of posture, who asks how long means the posture: the third column.
_WORDS = [
    (r"(?:sit|lie|stand) to (?:sit|lie|stand)", None),
    (r"(?:chang\w+|transitions?)(?: of| in)?(?: (?:my|the|their|his|her))? ?postures?|postures? chang\w+", CHANGES),
    (r"(?:s[ia]t|sitting)(?: \w+self)? down|take a seat|took a seat", ("stand to sit",), ("sitting",)),
    (r"(?:l[ia]e|l[ai]y|laid|lying|laying)(?: \w+self)? down", ("stand to lie", "sit to lie"), ("lying",)),
    (r"s[ia]t(?:ting)? up", ("lie to sit",), ("sitting",)),
    (r"(?:st(?:an|oo)d(?:ing)?|g[eo]t(?:ting)?|rise|rose) up", ("sit to stand", "lie to stand"), ("standing",)),
    (rf"(?:{_GO} |climb\w* )?up and down{_STAIR}", STAIRS),
    (rf"climb\w*(?: {_DOWN}){_STAIR}?|descend\w*{_STAIR}?|descent|{_GO} {_DOWN}{_STAIR}?|downstairs", STAIRS[1:]),
    (rf"climb\w*(?: {_UP})?{_STAIR}?|ascend\w*{_STAIR}?|ascent|{_GO} {_UP}{_STAIR}?|upstairs", STAIRS[:1]),
    (r"stairs?|staircases?|stairways?|stairwells?", STAIRS),
    (r"walk\w*|stroll\w*|hik(?:e|ed|ing)|on foot", ("walking",)),
    (r"jog\w*|r[au]n|runs|running", ("jogging",)),
    (r"bik(?:e|ed|ing)|bicycl\w*|cycl(?:e|ed|ing)|rid(?:e|ing) a bike", ("biking",)),
    (r"sit|sits|sat|sitting|seated", ("sitting",)),
    (r"lie|lies|lay|lain|lying|laying|sleep\w*|slept|asleep|in bed", ("lying",)),
    (r"keep\w* still|kept still|still|rest|rests|rested|resting|inactive|motionless|sedentary|not mov\w+", STILL),
    (r"stand|stands|stood|standing", ("standing",)),
    (r"mov(?:e|es|ed|ing)|active|in motion|exercis\w+", (*ON_FOOT, "biking")),
    (r"unlike anything(?: taught)?|unknown|unfamiliar", (UNKNOWN,)),
]
_NUMBERS = {word: n for n, word in enumerate("a one two three four five six seven eight nine ten".split()) if n} | {
    "a": 1,
    "an": 1,
    "half a": 0.5,
}
_N = rf"(\d+(?:\.\d+)?|{'|'.join(sorted(_NUMBERS, key=len, reverse=True))})"
_UNIT = r"(seconds?|secs?|s|minutes?|mins?|hours?|h)\b"
_CLOCK = rf"(?:(\d+):(\d\d)(?::(\d\d))?|{_UNIT} {_N}\b|{_N}(?: ?{_UNIT})?)"
_WHEN = r"(?:when|(?:at )?(?:what|which) (?:times?|moment|second|minute))"
_KINDS = [
    ("steps", r"how many (?:steps|strides|paces|stairs)|steps? count|number of steps|(?:count|total) (?:\w+ )?steps"),
    ("share", r"(?:what|which|how much) (?:share|percentage|percent|fraction|proportion|part) of|how many percent"),
    ("most", r"(?:what (?:did|have|has|took)|which activity) .*\b(?:most|mostly|longest|majority)\b"),
    ("longest", r"\b(?:longest|shortest)\b"),
    ("duration", r"how long|how much(?: of \w+)? time|how many (?:seconds|minutes|hours)|total (?:time|duration)"),
    ("duration", r"how much (?:did|have|has) (?:i|\w+ person|s?he|they)\b|how much \w+ing did|time (?:\w+ )?spent"),
    ("duration", r"^(?:(?:total|my|the) )*\w+ (?:time|duration)$"),
    ("count", r"how (?:often|frequently)|how many|number of (?:times|bouts)|count\b"),
    ("last", rf"{_WHEN}.*\b(?:last|final|most recent)\b|^what .*\blast time\b|when.*\b(?:stop|end|finish)"),
    ("first", rf"{_WHEN}.*\b(?:first|start|begin|began)|^what .*\bfirst time\b"),
    ("when", rf"^(?:and )?{_WHEN}\b|which times?"),
    ("order", r"\border\b|sequence|chronolog\w+|^(?:which|what) .*\bfirst\b.* or "),
    ("beginning", r"what (?:did|was|were|activity|came|happened).*\b(?:first|at the (?:start|beginning))\b"),
    ("ending", r"what (?:did|was|were|activity|came|happened).*\b(?:last|at the end|in the end|finally)\b"),
    ("after", r"what .*\b(?:after|next)\b"),
    ("before", r"what .*\bbefore\b"),
    ("ever", r"^(?:did|was|were|have|has) "),
    ("summary", r"what (?:did|have|has|was|were) .*\b(?:do|done|doing|up to|happen\w*|chang\w+)\b"),
    ("summary", r"what(?: has| have)? (?:happened|changed)|summar\w+|overview|tell me what .* did$"),
    ("summary", r"describe (?:the|my) (?:whole )?(?:recording|day|session)|(?:what|which) activities"),
    ("summary", r"list (?:my|the|all) (?:bouts|activities)"),
]  # fmt: skip
# Questions about the signal, or about one window, are a model's or a chapter's.
_ABOUT_SIGNAL = re.compile(
    r"\b(?:it|its|sensor|phone|device|signal|acceleration|ax[ie]s|gravity|rotation|window|six seconds|cadence|rhythm"
    r"|impacts?|metres|meters|calories|why|people|per|fast|far)\b"
)
# The bouts could tell, but not these patterns: no answer is better than the opposite one.
_NEGATED = re.compile(
    r"\b(?:not(?! mov)|never|without|except|(?:other|rather) than|apart from|(?:did|was|were|ha[ds]|have)nt)\b"
)
# A time that was not understood.
_LEFT = re.compile(rf"\d(?!\d*(?:st|nd|rd|th)\b)|\b(?!an? ){_N} {_UNIT}|\b{_UNIT} (?!an? ){_N}\b")
_NEEDS_ACTIVITY = {"share", "duration", "count", "first", "last", "when", "ever", "after", "before"}
_EVENTS = {"count", "first", "last", "when", "after", "before"}
_ORDINALS = {
    word: n for n, word in enumerate("first second third fourth fifth sixth seventh eighth ninth tenth".split())
}
_ORDINAL = re.compile(rf"(?<!what )(?<!which )\b(?:({'|'.join(_ORDINALS)}|last)|(\d+)(?:st|nd|rd|th))\b")


@dataclass(frozen=True)
class Question:
    """A question that was understood.

    ``start`` and ``end`` are in seconds, None where it does not say; ``nth`` bout alone, from 0, or -1 for the last.
    """

    kind: str
    names: tuple[str, ...] = ()
    start: float | None = None
    end: float | None = None
    nth: int | None = None
    shortest: bool = False
    groups: tuple[tuple[str, ...], ...] = ()


def parse(question, duration=float("inf")):
    """Understand a question about a whole recording.

    Parameters
    ----------
    question : str
    duration : float, s
        Of the recording, for "the last minute".

    Returns
    -------
    Question or None
        None for a question about anything else.
    """
    if len(question) > 1000:
        return None
    text = re.sub(r"[^\w\s:.]|\.(?!\d)", " ", question.lower().replace("'", ""))
    text = " ".join(text.split()).replace("did it take", "did take")
    if _ABOUT_SIGNAL.search(text) or _NEGATED.search(text):
        return None
    start, end, text = _stretch(text, duration)
    if _LEFT.search(text):
        return None
    kind = next((kind for kind, pattern in _KINDS if re.search(pattern, text)), None)
    within = start is not None or end is not None
    if within and re.match(r"what|which", text) and kind in (None, "ever"):
        kind = "summary"
    said = re.sub(r"how many (?:steps|strides|paces)|(?:number of|count|total) steps", "steps:", text)
    groups = _activities(said, kind in _EVENTS)
    groups = [group for group in groups if not any(set(other) < set(group) for other in groups)]
    names = tuple(dict.fromkeys(name for group in groups for name in group))
    if kind == "ever" and len(groups) == 2 and (word := re.search(r"\b(?:longer|more|before|after)\b", text)):
        kind = "order" if word[0] in ("before", "after") else "compare"
    if kind is None or (kind in _NEEDS_ACTIVITY and not names):
        return None
    nth = None
    if kind in ("duration", "steps", "when", "first", "last") and (found := _ORDINAL.search(text)):
        nth = -1 if found[1] == "last" else _ORDINALS[found[1]] if found[1] else int(found[2]) - 1
        nth = None if found[1] == kind else nth
    return Question(kind, names, start, end, nth, "shortest" in text, tuple(groups))


def _activities(text, events):
    """Groups of activities that a text names, in its order; ``events``: sitting down is something that happens."""
    found = []
    for pattern, names, *held in _WORDS:
        for match in re.finditer(rf"\b(?:{pattern})\b", text):
            found.append((match.start(), (held[0] if held and not events else names) or (match[0],)))
            text = text[: match.start()] + "#" * len(match[0]) + text[match.end() :]
    return [names for _, names in sorted(found, key=lambda pair: pair[0])]


def _number(text):
    return float(_NUMBERS[text]) if text in _NUMBERS else float(text)


def _unit(word):
    return {"s": 1.0, "m": 60.0, "h": 3600.0}[(word or "s")[0]]


def _second(groups, otherwise=None):
    """The groups of ``_CLOCK`` -> seconds; ``otherwise`` is the unit of a number without one."""
    first, second, third, before, number, alone, behind = groups
    if first:
        parts = [int(part) for part in (first, second, third) if part]
        return sum(part * 60**n for n, part in enumerate(reversed(parts)))
    return _number(number or alone) * _unit(before or behind or otherwise)


def _stretch(text, duration):
    """(start, end, what is left of the text) of a stretch of time that a question names."""
    patterns = [
        (rf"(?:between|from) (?:the )?{_CLOCK} (?:and|to|until|till) (?:the )?{_CLOCK}", "both"),
        (rf"(?:in|during|within|for|over)? ?(?:the |my )?(first|last) {_N}? ?{_UNIT}\b", "edge"),
        (r"(?:in|during) the (first|second|last) half", "half"),
        (r"(?:in|during) (?:the )?()(second|minute|hour) (\d+)\b", "nth"),
        (rf"(?:in|during) the (\d+(?=[snrt])|{'|'.join(_ORDINALS)})(?:st|nd|rd|th)? (second|minute|hour)()", "nth"),
        (rf"\b(after|before|since|until|at) (?:the )?(?={_UNIT} {_N}|\d|{_N} {_UNIT}){_CLOCK}", "one"),
        (rf"\b{_N} {_UNIT} in(?:to)?\b(?: the recording)?", "into"),
    ]
    for pattern, form in patterns:
        if not (match := re.search(pattern, text)):
            continue
        rest = " ".join((text[: match.start()] + " " + text[match.end() :]).split())
        groups = match.groups()
        if form == "both":
            units = [groups[3] or groups[6], groups[10] or groups[13]]
            ends = [_second(part, units[1 - n]) for n, part in enumerate((groups[:7], groups[7:]))]
            return min(ends), max(ends), rest
        if form == "edge":
            length = _number(groups[1] or "a") * _unit(groups[2])
            return (0.0, length, rest) if groups[0] == "first" else (max(duration - length, 0.0), duration, rest)
        if form == "half":
            return (0.0, duration / 2, rest) if groups[0] == "first" else (duration / 2, duration, rest)
        if form == "nth":
            length = _unit(groups[1])
            word = groups[0] or groups[2]
            place = _ORDINALS[word] + 1 if word in _ORDINALS else int(word)
            return (place - 1) * length, place * length, rest
        # The look-ahead has groups as well.
        moment = _number(groups[0]) * _unit(groups[1]) if form == "into" else _second(groups[5:])
        if groups[0] in ("after", "since"):
            return moment, None, rest
        if groups[0] in ("before", "until"):
            return None, moment, rest
        return moment, moment, rest
    return None, None, text

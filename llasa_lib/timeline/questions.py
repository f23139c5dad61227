"""Questions about a whole recording, answered by a program from its bouts.

- :func:`parse`: words -> a kind, activities and a stretch of time, or None if the question is about none of these.
- :func:`answer`: the value, a sentence that says it, and the bouts that prove it.
"""

import re
from dataclasses import dataclass, field

from llasa_lib.recordings import TRANSITIONS
from llasa_lib.timeline.bouts import clock
from llasa_lib.timeline.decoding import CHANGING, ON_FOOT, STILL, UNKNOWN

_STAIRS = ("climbing stairs", "descending stairs")
_CHANGES = (*TRANSITIONS, CHANGING)
_UP, _DOWN = r"(?:up(?:wards)?|upstairs)", r"(?:down(?:wards)?|downstairs)"
_GO = r"(?:w(?:alk|ent)|go|r[au]n)\w*"
_STAIR = r"(?: (?:a|the|some|any))?(?: (?:flight|set)s? of)?(?: (?:stair|step|staircase)s?)"
# What people call it; the first that fits takes its words away, so that nobody who climbs stairs walks as well. Who
# asks how often somebody sat down means the change of posture, who asks how long means the posture: the third column.
_WORDS = [
    (r"(?:sit|lie|stand) to (?:sit|lie|stand)", None),
    (r"(?:chang\w+|transitions?)(?: of| in)?(?: (?:my|the|their|his|her))? ?postures?|postures? chang\w+", _CHANGES),
    (r"(?:s[ia]t|sitting)(?: \w+self)? down|take a seat|took a seat", ("stand to sit",), ("sitting",)),
    (r"(?:l[ia]e|l[ai]y|laid|lying|laying)(?: \w+self)? down", ("stand to lie", "sit to lie"), ("lying",)),
    (r"s[ia]t(?:ting)? up", ("lie to sit",), ("sitting",)),
    (r"(?:st(?:an|oo)d(?:ing)?|g[eo]t(?:ting)?|rise|rose) up", ("sit to stand", "lie to stand"), ("standing",)),
    (rf"(?:{_GO} |climb\w* )?up and down{_STAIR}", _STAIRS),
    (rf"climb\w*(?: {_DOWN}){_STAIR}?|descend\w*{_STAIR}?|descent|{_GO} {_DOWN}{_STAIR}?|downstairs", _STAIRS[1:]),
    (rf"climb\w*(?: {_UP})?{_STAIR}?|ascend\w*{_STAIR}?|ascent|{_GO} {_UP}{_STAIR}?|upstairs", _STAIRS[:1]),
    (r"stairs?|staircases?|stairways?|stairwells?", _STAIRS),
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


@dataclass
class Answer:
    """``value`` is for a program, ``text`` for people, and ``bouts`` prove it; times in seconds."""

    kind: str
    value: object
    text: str
    bouts: list = field(default_factory=list)

    def __str__(self):
        more = [f"  and {len(self.bouts) - 12} more"] if len(self.bouts) > 12 else []
        return "\n".join([self.text, *(f"  {bout}" for bout in self.bouts[:12]), *more])


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
        kind = {"before": "earlier", "after": "later"}.get(word[0], "compare")
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


def answer(timeline, question):
    """Answer a question from the bouts of a timeline.

    Parameters
    ----------
    timeline : Timeline
    question : str or Question

    Returns
    -------
    Answer or None
        None if the question is not about a whole recording.
    """
    asked = parse(question, timeline.duration) if isinstance(question, str) else question
    if asked is None:
        return None
    low, high = asked.start or 0.0, timeline.duration if asked.end is None else asked.end
    inside = [bout for bout in timeline.bouts if bout.start < high and bout.end > low] if high > low else [
        bout for bout in timeline.bouts if bout.start <= low < bout.end
    ]  # fmt: skip
    chosen = [bout for bout in inside if not asked.names or bout.activity in asked.names]
    if asked.nth is not None:
        only = (_joined(chosen)[-1:] if asked.nth < 0 else _joined(chosen)[asked.nth :][:1]) or [(0.0, 0.0)]
        chosen = [bout for bout in chosen if only[0][0] <= bout.start < only[0][1]]
    lasted = lambda bout: min(bout.end, high) - max(bout.start, low)
    value, text, proof = _ANSWERS[asked.kind](asked, inside, chosen, lasted)
    if (asked.start, asked.end) != (None, None):
        text = f"Between {clock(low)} and {clock(high)}: {text}" if high > low else f"At {clock(low)}: {text}"
    text = " ".join([text[:1].upper() + text[1:], *_beware(timeline, asked, inside, lasted)])
    return Answer(asked.kind, value, text, proof)


def _beware(timeline, asked, inside, lasted):
    """What the bouts cannot tell, said with the answer."""
    if max(asked.start or 0.0, asked.end or 0.0) > timeline.duration:
        yield f"The recording lasts {clock(timeline.duration)}."
    missing = [name for name in asked.names if name not in (*timeline.activities, *_CHANGES, UNKNOWN)]
    strange = sum(lasted(bout) for bout in inside if bout.activity == UNKNOWN)
    if missing and len(asked.names) == 1 and strange:
        yield f"The model was never taught {missing[0]}; {clock(strange)} are unlike anything it was taught."
    still = sum(lasted(bout) for bout in inside if bout.activity == "keeping still")
    if still and set(asked.names) & {"sitting", "standing", "lying"} and "keeping still" not in asked.names:
        yield f"Besides, the person keeps still for {clock(still)}; in which posture cannot be known."
    if asked.kind == "steps" and strange:
        yield f"Not counted: {clock(strange)} unlike anything taught."


def _called(names):
    """Activities in words."""
    if names in (STILL, (*ON_FOOT, "biking"), _STAIRS, _CHANGES):
        return {STILL: "keeping still", _STAIRS: "stairs", _CHANGES: "changes of posture"}.get(names, "moving")
    return " or ".join(names) or "any activity"


def _several(count, word="time"):
    return f"{count} {word}{'' if count == 1 else 's'}"


def _joined(bouts):
    """Bouts that follow each other without a pause, as (start, end): one stretch of what was asked for."""
    found = []
    for bout in bouts:
        if found and bout.start - found[-1][1] < 1e-6:
            found[-1] = (found[-1][0], bout.end)
        else:
            found.append((bout.start, bout.end))
    return found


def _none(asked):
    return f"no {_called(asked.names)} was found."


def _duration(asked, inside, chosen, lasted):
    total = sum(map(lasted, chosen))
    if not chosen:
        return 0.0, _none(asked), []
    bouts = _several(len(_joined(chosen)), "bout")
    return total, f"{_called(asked.names)} lasted {clock(total)} in all, in {bouts}.", chosen


def _share(asked, inside, chosen, lasted):
    total = sum(map(lasted, inside))
    share = sum(map(lasted, chosen)) / total if total else 0.0
    return share, f"{_called(asked.names)} took {share:.0%} of the time.", chosen


def _count(asked, inside, chosen, lasted):
    count = len(_joined(chosen))
    return count, f"{_called(asked.names)} was found {_several(count)}.", chosen


def _steps(asked, inside, chosen, lasted):
    # Of a bout that a question cuts, the share of its steps.
    proof = [bout for bout in chosen if bout.steps is not None]
    count = round(sum(bout.steps * lasted(bout) / bout.seconds for bout in proof))
    return count, f"{_several(count, 'step')}{f' of {_called(asked.names)}' if asked.names else ''}.", proof


def _longest(asked, inside, chosen, lasted):
    if not chosen:
        return None, _none(asked), []
    found = (min if asked.shortest else max)(chosen, key=lasted)
    word = "shortest" if asked.shortest else "longest"
    where = f"from {clock(found.start)} to {clock(found.end)}"
    return lasted(found), f"the {word} bout is {found.activity}, {clock(lasted(found))} {where}.", [found]


def _moment(kind):
    def find(asked, inside, chosen, lasted):
        if not chosen:
            return None, _none(asked), []
        stretches = _joined(chosen)
        start, end = stretches[0 if kind == "first" else -1]
        words = f"{'first' if kind == 'first' else 'last'} from {clock(start)} to {clock(end)}"
        proof = [bout for bout in chosen if start <= bout.start < end]
        return (start, end), f"{_called(asked.names)} was found {words}.", proof

    return find


def _when(asked, inside, chosen, lasted):
    if not chosen:
        return [], _none(asked), []
    times = _joined(chosen)
    said = ", ".join(f"{clock(start)} to {clock(end)}" for start, end in times[:6])
    more = f" and {len(times) - 6} more" if len(times) > 6 else ""
    return times, f"{_called(asked.names)} was found {_several(len(times))}: {said}{more}.", chosen


def _sequence(bouts):
    """Bouts that are no change of posture, of which neighbours of one activity are one."""
    found = []
    for bout in bouts:
        if bout.activity not in _CHANGES and (not found or found[-1].activity != bout.activity):
            found.append(bout)
    return found


def _order(asked, inside, chosen, lasted):
    bouts = _sequence(chosen)
    if len(asked.groups) > 1:  # of those that are named, which came first
        bouts = [bout for n, bout in enumerate(bouts) if bout.activity not in [b.activity for b in bouts[:n]]]
    names = [bout.activity for bout in bouts]
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return names, f"in this order: {', '.join(names[:20])}{more}." if names else _none(asked), bouts


def _most(asked, inside, chosen, lasted):
    total = {}
    for bout in chosen:
        total[bout.activity] = total.get(bout.activity, 0.0) + lasted(bout)
    if not total:
        return None, _none(asked), []
    name = max(total, key=total.get)
    return name, f"mostly {name}, {clock(total[name])} in all.", [b for b in chosen if b.activity == name]


def _edge(last):
    def find(asked, inside, chosen, lasted):
        bouts = _sequence(inside)[-1:] if last else _sequence(inside)[:1]
        if not bouts:
            return None, _none(asked), []
        return bouts[0].activity, f"{'last' if last else 'first'} came {bouts[0].activity}.", bouts

    return find


def _beside(step):
    def find(asked, inside, chosen, lasted):
        bouts = _sequence(inside) if not set(asked.names) & set(_CHANGES) else inside
        for n, bout in enumerate(bouts):
            if bout.activity in asked.names and 0 <= n + step < len(bouts):
                other = bouts[n + step]
                word = "after" if step > 0 else "before"
                return other.activity, f"{word} {bout.activity} came {other.activity}.", [bout, other]
        return None, f"nothing was found {'after' if step > 0 else 'before'} {_called(asked.names)}.", []

    return find


def _ever(asked, inside, chosen, lasted):
    if not chosen:
        return False, f"no: {_none(asked)}", []
    start, end = _joined(chosen)[0]
    return True, f"yes: {_called(asked.names)} was found, first from {clock(start)} to {clock(end)}.", chosen


def _compare(asked, inside, chosen, lasted):
    one, other = (sum(lasted(bout) for bout in chosen if bout.activity in group) for group in asked.groups[:2])
    words = [f"{_called(group)} {clock(time)}" for group, time in zip(asked.groups, (one, other), strict=False)]
    return one > other, f"{'yes' if one > other else 'no'}: {words[0]}, {words[1]}.", chosen


def _earlier(later):
    def find(asked, inside, chosen, lasted):
        firsts = [next((bout for bout in chosen if bout.activity in group), None) for group in asked.groups[:2]]
        proof = [bout for bout in firsts if bout]
        if len(proof) < 2:
            return False, "no: at least one of them was not found.", proof
        one, other = (bout.start for bout in firsts)
        value = one > other if later else one < other
        said = ", ".join(f"{bout.activity} began at {clock(bout.start)}" for bout in firsts)
        return value, f"{'yes' if value else 'no'}: {said}.", proof

    return find


def _summary(asked, inside, chosen, lasted):
    total = {}
    for bout in inside:
        total[bout.activity] = total.get(bout.activity, 0.0) + (lasted(bout) or bout.seconds)
    if not total:
        return {}, "nothing was found there.", []
    ranked = sorted(total.items(), key=lambda pair: -pair[1])
    return dict(ranked), ", ".join(f"{name} {clock(time)}" for name, time in ranked) + ".", inside


_ANSWERS = {
    "steps": _steps, "share": _share, "longest": _longest, "duration": _duration, "count": _count,
    "first": _moment("first"), "last": _moment("last"), "when": _when, "order": _order, "most": _most,
    "beginning": _edge(False), "ending": _edge(True), "after": _beside(1), "before": _beside(-1),
    "ever": _ever, "compare": _compare, "earlier": _earlier(False), "later": _earlier(True),
    "summary": _summary,
}  # fmt: skip

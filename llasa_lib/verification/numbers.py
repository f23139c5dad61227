"""Numbers in English, each with what the words around it say it is.

Statistic, sensor and axis come from the words before a number in its own clause; else from those right after it;
else from what the sentence said before, unless a new subject came in between.
"""

import re
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

from llasa_lib.verification.vocabulary import UNITS, WORDS

_DIGITS = re.compile(r"(?<![\w.])[-+]?(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?:e[-+]?[0-9]{1,2})?")
_UNIT = re.compile("[ -]?(?:" + "|".join(f"(?P<u{n}>{pattern})" for n, (_, _, pattern) in enumerate(UNITS)) + ")")
_WORD = re.compile("|".join(f"(?P<w{n}>{pattern})" for n, (_, _, pattern) in enumerate(WORDS)))
_RELATIONS = (
    ("about",
     r"(?:\b(?:about|around|approximately|approx|roughly|nearly|almost|close to|circa|ca|near|some|in the order of|"
     r"(?:just|slightly) (?:over|under|above|below))|~|≈) *(?:[+-] ?)?$"),
    ("below", r"(?:\b(?:below|under|less than|lower than|smaller than|at most|no more than|not more than|not above|"
     r"never above|" r"within|(?:not|never|without|n't|\bno(?:ne)?\b[^,;:]{0,25}) exceed(?:s|ing)?)|<=?) *$"),
    ("above",
     r"(?:\b(?:above|over|more than|greater than|higher than|larger than|at least|exceed(?:s|ed|ing)?|not below|"
     r"never below|beyond)|>=?) *$"),
)  # fmt: skip
_RELATIONS = tuple((name, re.compile(pattern)) for name, pattern in _RELATIONS)
_REACH = 36  # characters before a number in which such words may stand
_BETWEEN_BEFORE = re.compile(r"\bbetween (?:about |around |roughly )?$")
_BETWEEN, _TO, _AND_SPREAD = re.compile(r" *(?:and|to|-) *"), re.compile(r" *(?:to|-) *"), re.compile(r" *(?:±|\+/-) *")
_LIST = re.compile(r" *(?:,|/|,? ?and|&) *(?:the )?(?:axis )?")
_IT = re.compile(r" *it (?=(?:is|was|becomes|rises to|grows to|falls to|drops to) )")
_BARE_BEFORE = re.compile(r"(?:[=:(]|\b(?:is|are|was|of|at|by|reads?|reading|shows?|value|to|about|around|roughly)) *$")
_BARE_AFTER = re.compile(
    r" *(?:$|[,:)\]|=]|(?:and|or|but|while|with|on|at|in|for|along|about|around|which|indicating|showing|suggesting|"
    r"to)\b)"
)
_NEVER_BARE = ("impact", "tilt", "turn", "period", "sampling", "duration")  # statistics that need a unit
_SUBJECTS = ("motion", "impact", "tilt", "turn", "cadence", "sampling", "duration")  # never about an axis named before


@dataclass(frozen=True)
class Word:
    """A word of the vocabulary in a sentence."""

    start: int
    end: int
    role: str
    value: str


class Context(NamedTuple):
    """What a number stands for; ``asides`` are axes that it may be about as well (None: the magnitude)."""

    statistic: str | None = None
    sensor: str | None = None
    axis: str | None = None
    own_axis: bool = False
    inherited: bool = False  # whether the statistic was said in an earlier clause
    asides: tuple = ()
    unsigned: bool = False
    clause: str = ""
    before: str = ""


@dataclass(frozen=True)
class Number:
    """A number in a sentence, or two that make a range.

    ``value`` and ``high`` are in the unit of the text; ``factor`` makes them m/s², rad/s, degrees, seconds or per
    second. ``digits`` are those after the point. ``kind`` is the kind of unit, None if nothing says what it is.
    """

    start: int
    end: int
    value: float
    digits: int
    kind: str | None
    factor: float = 1.0
    relation: str = "exact"
    high: float | None = None
    context: Context | None = None


def read(sentence, before=None):
    """The numbers of a sentence, each with its context.

    Parameters
    ----------
    sentence : text.Sentence
    before : Context, optional
        Of the last number before this sentence: what "it" means in "It is 2.7 m/s² in the second half".

    Returns
    -------
    list of Number
    """
    text = sentence.unread
    if before and (it := _IT.match(text)):
        text = " " * it.end() + text[it.end() :]
    numbers = _numbers(text)
    if not numbers:
        return []
    words = [Word(*match.span(), *_meaning(match)) for match in _WORD.finditer(text)]
    given = _lists(text, words, numbers)
    starts, axes = [word.start for word in words], [word for word in words if word.role == "axis"]
    found, hearing, heard = [], _Hearing(before if text != sentence.unread else None), 0
    for n, number in enumerate(numbers):
        for word in words[heard : (heard := bisect_left(starts, number.start))]:
            hearing.hear(word, sentence.clause(word.start))
        clause = sentence.clause(number.start)
        hearing.enter(clause)
        stop = min(clause[1], numbers[n + 1].start) if n + 1 < len(numbers) else clause[1]
        after = {}
        for word in words[bisect_left(starts, number.end) : bisect_left(starts, stop)]:
            after.setdefault("statistic" if word.role == "weak" else word.role, word.value)
        later = bisect_left(axes, number.end, key=lambda word: word.start)
        context = hearing.context(given.get(n, {}), after, axes[later].value if later < len(axes) else None)
        context = context._replace(
            clause=text[slice(*clause)], before=text[max(clause[0], number.start - 40) : number.start]
        )
        found.append(replace(number, context=context))
        if number.kind is None:
            found[-1] = replace(
                found[-1], kind=_bare_kind(found[-1], text, hearing.own.keys() | after.keys() | given.get(n, {}).keys())
            )
    return found


def _meaning(match):
    role, value, _ = WORDS[int(match.lastgroup[1:])]
    return role, value or match[0]


def _numbers(text):
    """The numbers of a text with their units, in order; the two ends of a range as one."""
    found = []
    for match in _DIGITS.finditer(text):
        if found and match.start() < found[-1].end:  # the 2 of m/s^2
            continue
        unit = _UNIT.match(text, match.end())
        following = text[match.end() : match.end() + 1]
        if unit is None and (following.isalnum() or following in ("%", "°", "/") or text[match.end() :][:2] == " %"):
            continue
        kind, factor, _ = UNITS[int(unit.lastgroup[1:])] if unit else (None, 1.0, None)
        before = text[max(0, match.start() - _REACH) : match.start()]
        relation = next((name for name, pattern in _RELATIONS if pattern.search(before)), "exact")
        digits = len(match[0].partition("e")[0].partition(".")[2])
        end = unit.end() if unit else match.end()
        found.append(Number(match.start(), end, float(match[0]), digits, kind, factor, relation))
    return _join(text, found)


def _join(text, numbers):
    """Make one of the two ends of a range, and let the numbers of a list share the unit of the last."""
    found = []
    for number in reversed(numbers):
        after = found[-1] if found else None
        gap = text[number.end : after.start] if after else None
        if after is None or len(gap) > 12 or number.kind not in (None, after.kind):
            found.append(number)
            continue
        between = _BETWEEN_BEFORE.search(text[max(0, number.start - 24) : number.start])
        if after.high is None and (_BETWEEN if between else _TO).fullmatch(gap) and number.value <= after.value:
            relation = "about" if "about" in (number.relation, after.relation) else "range"
            digits = min(number.digits, after.digits)
            found[-1] = replace(
                after, start=number.start, value=number.value, high=after.value, relation=relation, digits=digits
            )
        elif number.kind is None and (_LIST.fullmatch(gap) or _TO.fullmatch(gap) or _AND_SPREAD.fullmatch(gap)):
            found.append(replace(number, kind=after.kind, factor=after.factor))
        else:
            found.append(number)
    return found[::-1]


class _Hearing:
    """What has been said so far in a sentence: the last word of each role, in this clause and in all."""

    def __init__(self, before=None):
        known = before and {"statistic": before.statistic, "sensor": before.sensor, "axis": before.axis}
        self.clause, self.own = None, {}
        self.all = {role: value for role, value in (known or {}).items() if value}
        self.statistics, self.aside = set(), None

    def enter(self, clause):
        """Begin a clause, unless it is the one we are in."""
        if clause != self.clause:
            self.clause, self.own, self.statistics = clause, {}, set()

    def hear(self, word, clause):
        """Let a word change what the next number is about."""
        self.enter(clause)
        role, value = word.role, word.value
        if role == "weak":  # "the mean reaches": the mean it is
            if "statistic" in self.own:
                return
            role = "statistic"
        if role in ("sensor", "magnitude", "subject") or value in _SUBJECTS:
            self._change_subject(role, value)
        if role == "statistic":
            self.statistics.add(value)
        if role == "axis" and len(value) > 1:  # "ax", "gyro z"
            self.own["sensor"] = self.all["sensor"] = "acceleration" if value[0] == "a" else "rotation"
        self.own[role] = self.all[role] = value[-1] if role == "axis" else value

    def _change_subject(self, role, value):
        """The axis of an earlier clause is not that of a new subject, but may be if the sensor is the same."""
        if "axis" not in self.own and self.all.get("axis"):
            same = role == "sensor" and self.all.get("sensor", value) == value
            self.aside = self.all.pop("axis") if same else None

    def context(self, given, after, later):
        """What a number at this place is about: from lists, the clause before and after it, and the sentence."""
        near = {**after, **self.own, **given}
        statistic = near.get("statistic") or self.all.get("statistic")
        if statistic == "frequency" and "cadence" in self.statistics:  # "step frequency"
            statistic = "cadence"
        axis, asides = near.get("axis"), ()
        if axis is None and self.all.get("axis"):
            axis, asides = self.all["axis"], (None,)
        elif axis is None and self.aside:
            asides = (self.aside,)
        elif axis is None and later and not {"sensor", "magnitude", "subject"} & near.keys():
            asides = (later[-1],)
        sensor = near.get("sensor") or self.all.get("sensor") or ("acceleration" if "magnitude" in near else None)
        inherited = "statistic" not in near
        return Context(statistic, sensor, axis and axis[-1], "axis" in near, inherited, asides, "sign" in near)


def _bare_kind(number, text, roles):
    """The kind of a number without a unit, or None if the words beside it do not say what it is."""
    context = number.context
    if not _BARE_AFTER.match(text, number.end) or context.statistic in _NEVER_BARE:
        return None
    if context.statistic in ("cadence", "frequency") and "statistic" in roles:
        stated = _BARE_BEFORE.search(context.before)
        return {"cadence": "steps", "frequency": "frequency"}[context.statistic] if stated else None
    named = "statistic" in roles and (
        context.axis or context.sensor or context.asides or roles & {"magnitude", "subject"}
    )
    stated = "axis" in roles and (context.statistic or context.sensor) and _BARE_BEFORE.search(context.before)
    if not (named or stated) or context.statistic in ("cadence", "frequency"):
        return None
    return "rotation" if context.sensor == "rotation" else "acceleration"


def _lists(text, words, numbers):
    """ "mean x, y and z of 9.8, 0.1 and 0.3": which axis, or which statistic, belongs to which number."""
    given = {}
    for role in ("axis", "statistic"):
        named = [word for word in words if word.role == role]
        lists = [run for run in _runs(text, named) if len(run) > 1]
        ends = [named[run[-1]].end for run in lists]
        for run in _runs(text, numbers):
            before = bisect_right(ends, numbers[run[0]].start) - 1
            if len(run) > 1 and before >= 0 and len(lists[before]) == len(run):
                for n, place in zip(run, lists[before], strict=True):
                    given.setdefault(n, {})[role] = named[place].value
    for n, (number, after) in enumerate(pairwise(numbers)):
        if _AND_SPREAD.fullmatch(text[number.end : after.start][:12]):
            given.setdefault(n + 1, {})["statistic"] = "standard deviation"
    return given


def _runs(text, items):
    """Places of items with nothing but commas and "and" between them."""
    runs = []
    for n, item in enumerate(items):
        gap = text[items[n - 1].end : item.start] if n else ""
        if n and len(gap) < 20 and _LIST.fullmatch(gap):
            runs[-1].append(n)
        else:
            runs.append([n])
    return runs

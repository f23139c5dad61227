"""Answers to questions about a whole recording, by a program: a value, a sentence, and the bouts that prove it."""

from dataclasses import dataclass, field

from llasa_lib.timeline.bouts import clock
from llasa_lib.timeline.decoding import ON_FOOT, STILL, UNKNOWN
from llasa_lib.timeline.questions import CHANGES, STAIRS, parse

_CALLED = {STILL: "keeping still", STAIRS: "stairs", CHANGES: "changes of posture", (*ON_FOOT, "biking"): "moving"}
# What the answer is where nothing was found.
_NOTHING = {
    "duration": 0.0,
    "share": 0.0,
    "count": 0,
    "steps": 0,
    "when": [],
    "order": [],
    "ever": False,
    "summary": {},
}


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
    # A moment lies in the bout around it.
    inside = [b for b in timeline.bouts if (b.start < high and b.end > low) or b.start <= low == high < b.end]
    chosen = [bout for bout in inside if not asked.names or bout.activity in asked.names]
    if asked.nth is not None:
        stretches = _joined(chosen)
        nth = stretches[asked.nth] if asked.nth < len(stretches) and stretches else (0.0, 0.0)
        chosen = [bout for bout in chosen if nth[0] <= bout.start < nth[1]]
    lasted = lambda bout: min(bout.end, high) - max(bout.start, low) if high > low else bout.seconds
    text, value, proof = f"no {_called(asked.names)} was found.", _NOTHING.get(asked.kind), []
    if chosen:
        value, text, proof = _found(asked, inside, chosen, lasted)
    if (asked.start, asked.end) != (None, None):
        text = f"Between {clock(low)} and {clock(high)}: {text}" if high > low else f"At {clock(low)}: {text}"
    text = " ".join([text[:1].upper() + text[1:], *_beware(timeline, asked, inside, lasted)])
    return Answer(asked.kind, value, text, proof)


def _beware(timeline, asked, inside, lasted):
    """What the bouts cannot tell, said with the answer."""
    if max(asked.start or 0.0, asked.end or 0.0) > timeline.duration:
        yield f"The recording lasts {clock(timeline.duration)}."
    missing = [name for name in asked.names if name not in (*timeline.activities, *CHANGES, UNKNOWN)]
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
    return _CALLED.get(names) or " or ".join(names) or "activity"


def _times(count, word="time"):
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


def _sequence(bouts):
    """Bouts that are no change of posture, of which neighbours of one activity are one."""
    found = []
    for bout in bouts:
        if bout.activity not in CHANGES and (not found or found[-1].activity != bout.activity):
            found.append(bout)
    return found


def _listed(parts, most=12):
    more = f" and {len(parts) - most} more" if len(parts) > most else ""
    return ", ".join(parts[:most]) + more


def _found(asked, inside, chosen, lasted):
    """Value, sentence and proof; there is at least one bout of what was asked for."""
    what, kind, times, total = _called(asked.names), asked.kind, _joined(chosen), {}
    spans = [f"{clock(start)} to {clock(end)}" for start, end in times]
    for bout in chosen:
        total[bout.activity] = total.get(bout.activity, 0.0) + lasted(bout)
    total = dict(sorted(total.items(), key=lambda pair: -pair[1]))
    seconds = sum(total.values())
    if kind == "duration":
        return seconds, f"{what} lasted {clock(seconds)} in all, in {_times(len(times), 'bout')}.", chosen
    if kind == "share":
        share = seconds / sum(map(lasted, inside))
        return share, f"{what} took {share:.0%} of the time.", chosen
    if kind == "count":
        return len(times), f"{what} was found {_times(len(times))}.", chosen
    if kind == "steps":  # of a bout that the question cuts, the share of its steps
        proof = [bout for bout in chosen if bout.steps is not None]
        count = round(sum(bout.steps * lasted(bout) / bout.seconds for bout in proof))
        return count, f"{_times(count, 'step')}{f' of {what}' if asked.names else ''}.", proof
    if kind == "longest":
        best = (min if asked.shortest else max)(chosen, key=lasted)
        word = "shortest" if asked.shortest else "longest"
        return lasted(best), f"the {word} bout is {best.activity}, {clock(lasted(best))}.", [best]
    if kind in ("first", "last"):
        place = 0 if kind == "first" else -1
        start, end = times[place]
        return times[place], f"{what} was found {kind} from {spans[place]}.", [
            bout for bout in chosen if start <= bout.start < end
        ]  # fmt: skip
    if kind == "when":
        return times, f"{what} was found {_times(len(times))}: {_listed(spans)}.", chosen
    if kind == "ever":
        return True, f"yes: {what} was found, first from {spans[0]}.", chosen
    if kind == "most":
        name = next(iter(total))
        return name, f"mostly {name}, {clock(total[name])} in all.", [b for b in chosen if b.activity == name]
    if kind == "compare":
        one, other = (sum(total.get(name, 0.0) for name in group) for group in asked.groups[:2])
        said = f"{_called(asked.groups[0])} {clock(one)}, {_called(asked.groups[1])} {clock(other)}"
        return one > other, f"{'yes' if one > other else 'no'}: {said}.", chosen
    if kind == "order":
        bouts = _sequence(chosen)
        if len(asked.groups) > 1:  # of those that are named, which came first
            bouts = list({bout.activity: bout for bout in reversed(bouts)}.values())[::-1]
            bouts.sort(key=lambda bout: bout.start)
        return [b.activity for b in bouts], f"in this order: {_listed([b.activity for b in bouts], 20)}.", bouts
    if kind == "summary":
        return total, f"{', '.join(f'{name} {clock(time)}' for name, time in total.items())}.", inside
    return _beside(asked, inside)


def _beside(asked, inside):
    """What came first or last, or before or after something else."""
    bouts = inside if set(asked.names) & set(CHANGES) else _sequence(inside)
    if asked.kind in ("beginning", "ending"):
        bout = bouts[0 if asked.kind == "beginning" else -1]
        return bout.activity, f"{'first' if asked.kind == 'beginning' else 'last'} came {bout.activity}.", [bout]
    step = 1 if asked.kind == "after" else -1
    for n, bout in enumerate(bouts):
        if bout.activity in asked.names and 0 <= n + step < len(bouts):
            other = bouts[n + step]
            return other.activity, f"{asked.kind} {bout.activity} came {other.activity}.", [bout, other]
    return None, f"nothing was found {asked.kind} {_called(asked.names)}.", []

"""What a chat about a window holds: questions and answers, captions and narrations, as JSON or as plain text.

Published text is read line by line, with patterns whose every repetition has a bound: no text, however odd, makes the
reading slow.
"""

import json
import re

import numpy as np

from llasa_lib.recordings import ACTIVITIES, STANDARD_GRAVITY

LONGEST_CAPTION = 40  # words; a longer paragraph without a heading is taken for a narration
MOST_BROKEN = 200  # "{" in a text that begin no JSON; after so many, no more are tried
SHORTEST_SIGNAL = 8  # numbers in a row; fewer belong to a sentence


def first(mapping, *names):
    """The first of these entries that is there and not empty."""
    return next((mapping[name] for name in names if mapping.get(name)), None)


# --- questions and answers --------------------------------------------------------------------------------------------

# The beginning of a line: a bullet, a number, "Question 3:", each of them or none.
_LEAD = re.compile(
    r"[^\w\n]{0,12}(?:(?P<number>\d{1,3})[.):](?=[\s*_\"“]|$)[\s*_\"“]{0,12})?"
    r"(?:(?P<word>question|answer|q|a)[ \t#]{0,3}(?:\d{1,3})?(?!\w)[*_ \t]{0,4}"
    r"(?P<end>[:.)]|(?<= )[-–—] |$)[\s*_]{0,6})?",
    re.I,
)
_INLINE = re.compile(
    r"(?:(?<=[?!*\"”])|(?<=[^\d\n][.)]))[ \t]{1,4}(?=[*_]{0,2}(?:Q|A|Question|Answer)[ \t]?\d{0,3}[*_]{0,2}:)"
)
_OPTION = re.compile(r"^[^\w\n]{0,6}B[.)]\s", re.M)  # then "A." is no answer, but the first of several to choose from
_AROUND = ' \t\r\n*_"“”'


def read_pairs(text):
    """A list of questions and answers, from JSON (alone or inside other text) or from lines.

    The lines may be "Q: ... A: ...", or a numbered list of questions, with "Answer:" before the answers or without.

    Parameters
    ----------
    text : str

    Returns
    -------
    list of dict (``question``, ``answer``), empty if there is none.
    """
    return find_pairs(text)[0]


def find_pairs(text):
    """The pairs of :func:`read_pairs`, and how many questions there are, with those that nothing answers."""
    pairs = []
    for found in _json_objects(text):
        found = {str(name).lower(): value for name, value in found.items()}
        question, answer = first(found, "question", "q"), first(found, "answer", "a")
        if isinstance(question, str) and isinstance(answer, str):
            pairs.append({"question": question.strip(), "answer": answer.strip()})
    if pairs:
        return pairs, len(pairs)
    items = _items(text)
    pairs = [{"question": question, "answer": answer} for question, answer in items if question and answer]
    return pairs, len(items)


def _items(text):
    """Questions in a text with lines, each with what stands below it: a list of (question, answer)."""
    lines = _INLINE.sub("\n", text).split("\n")
    leads = [_LEAD.match(line) for line in lines]
    options = bool(_OPTION.search(text))
    words = [_word(lead, options) for lead in leads]
    labelled = "q" in words
    below = [""] * len(lines)  # the label of the next line that holds something
    for at in range(len(lines) - 1, 0, -1):
        below[at - 1] = words[at] if lines[at].strip() else below[at]
    items, last = [], 0  # each question, answer as lists of lines, and whether a label stood before the answer
    for line, lead, word, follows in zip(lines, leads, words, below, strict=True):
        rest, number = line[lead.end() :], int(lead["number"] or 0)
        if word == "q" or (not word and number and not labelled and _asks(rest, number, last, follows)):
            items.append([[rest], [], False])
            last = number or last
        elif not items or line.lstrip().startswith("#"):
            continue
        elif word == "a" and not items[-1][2]:
            question, before, _ = items[-1]
            items[-1] = [question + before, [rest], True]  # what stood between them was still the question
        elif items[-1][1] or _ends_as_question(items[-1][0][-1]):
            items[-1][1].append(line.strip())
        else:
            items[-1][0].append(line.strip())
    return [_cleaned(question, answer) for question, answer, _ in items]


def _word(lead, options):
    """ "q" or "a" if a line begins with that label, else ""."""
    word = (lead["word"] or "").lower()
    return "" if options and word == "a" and lead["end"] != ":" else word[:1]


def _asks(rest, number, last, follows):
    """Whether a numbered line is the next question, and not part of an answer."""
    return (number >= last and (_ends_as_question(rest) or follows == "a")) or (number == last + 1 and "?" in rest)


def _ends_as_question(line):
    return line.rstrip(_AROUND + ")").endswith("?")


def _cleaned(question, answer):
    question, answer = ("\n".join(part).strip(_AROUND) for part in (question, answer))
    if not answer and "?" in question:  # both in one line
        question, _, answer = question.rpartition("?")
        question, answer = f"{question}?", answer.strip(_AROUND)
    if answer.count("\n-") == 0:
        answer = re.sub(r"^[-•–]\s{1,4}", "", answer)
    return question, answer.strip(_AROUND)


def _json_objects(text):
    """Every JSON object in a text that holds no other object or list; what is broken is skipped."""
    decoder, place, broken = json.JSONDecoder(), 0, 0
    while broken < MOST_BROKEN and (place := text.find("{", place)) >= 0:
        try:
            found, place = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):  # also of numbers with thousands of digits
            place, broken = place + 1, broken + 1
            continue
        inside = [found]
        while inside:
            value = inside.pop()
            values = list(value.values()) if isinstance(value, dict) else value
            nested = [one for one in values if isinstance(one, list | dict)]
            inside += reversed(nested)  # {"questions": [...]}: look inside
            if isinstance(value, dict) and not nested:
                yield value


_ASKED = re.compile(
    r"\b(?:generate|write|make|create|give|produce|provide)\W{1,3}"
    r"(?:(?!answer|to\b)(?P<number>\d{1,3}|two|three|four|five|six|seven|eight|nine|ten)?[\w-]{0,20}\W{1,3}){0,6}?"
    r"(?:questions|question\W{1,3}(?:and\W{1,3})?answer|q\s?&\s?a|qa)\b",
    re.I,
)
_WORDS = dict(zip("two three four five six seven eight nine ten".split(), range(2, 11), strict=True))


def asked_for(prompt):
    """How many questions a prompt asks to be written: 0 if none, None if it gives no number."""
    found = _ASKED.search(prompt)
    if not found:
        return 0
    number = re.search(rf"\b(\d{{1,3}}|{'|'.join(_WORDS)})\b", found[0].lower())
    return number and (_WORDS.get(number[1]) or int(number[1]))


# --- captions and narrations ------------------------------------------------------------------------------------------

# At the beginning of a line in any case; within a line only as a word with a capital and a colon.
_HEADING = re.compile(
    r"(?:^[^\w\n]{0,12}|(?-i:(?<=\s)[*_]{0,2}(?=[A-Z]))(?=[a-z]{1,13}[*_]{0,2}:))"
    r"(caption|summary|features|narration|narrative|gyroscope|accelerometer|activity)\b"
    r"[^\w\n:]{0,6}[:\n][\s*_]{0,6}",
    re.I | re.M,
)
_NAMES = {"narrative": "narration"}
_CAPTIONS = ("caption", "summary", "features")  # the first that is there counts


def read_description(text):
    """``caption`` and ``narration`` of a text: by JSON key, by heading, or by the length of its paragraphs."""
    found = {}
    for entry in _json_objects(text):
        found |= {str(name).lower(): value.strip() for name, value in entry.items() if isinstance(value, str)}
    found = _described(found)
    if not any(found.values()):
        found = _described(read_sections(text))
    if any(found.values()):
        return found
    head, _, rest = text.strip().partition("\n\n")
    short = len(head.split()) <= LONGEST_CAPTION
    return {"caption": head.strip(), "narration": rest.strip()} if short else found | {"narration": text.strip()}


def read_sections(text):
    """What stands below each heading of a text, by the heading in small letters."""
    _, *parts = _HEADING.split(text)
    return {name.lower(): value.strip(" \n*") for name, value in zip(parts[::2], parts[1::2], strict=True)}


def _described(sections):
    sections = {_NAMES.get(name, name): value for name, value in sections.items()}
    return {"caption": first(sections, *_CAPTIONS) or "", "narration": sections.get("narration", "")}


def read_prompt(text):
    """``activity``, ``caption`` and ``narration`` that a user's turn states under headings; "" where it does not.

    A summary that is an activity's name is the activity: "Summary: standing".
    """
    sections = read_sections(_without_signals(text))
    found = _described({name: value for name, value in sections.items() if name != "summary"})
    summary = sections.get("summary", "").partition("\n")[0].strip()
    activity = _ACTIVITY.get(" ".join(re.split(r"[\W_]+", summary[:60].lower())).strip())
    if summary and not activity:
        found["caption"] = sections.get("caption") or summary
    found["narration"] = found["narration"].partition("\n\n")[0].strip()  # below it: what is to be done
    return {"activity": activity or find_activity(text)} | found


_ACTIVITY = {name: name for name in ACTIVITIES} | {
    "walk": "walking",
    "stairs up": "climbing stairs",
    "stairsup": "climbing stairs",
    "upstairs": "climbing stairs",
    "walking upstairs": "climbing stairs",
    "going upstairs": "climbing stairs",
    "ascending stairs": "climbing stairs",
    "stairs down": "descending stairs",
    "stairsdown": "descending stairs",
    "downstairs": "descending stairs",
    "walking downstairs": "descending stairs",
    "going downstairs": "descending stairs",
    "sit": "sitting",
    "stand": "standing",
    "lie": "lying",
    "laying": "lying",
    "jog": "jogging",
    "bike": "biking",
    "cycling": "biking",
}


def find_activity(text):
    """The activity that a chat states as such ("activity: walking", "label is walking"), in our words; "" if none."""
    names = "|".join(ACTIVITIES)
    found = re.search(rf"\b(?:activity|label|class)\b\W{{0,4}}(?:(?:is|was|name)\W{{1,4}})?({names})\b", text, re.I)
    return found[1].lower() if found else ""


# --- signals ----------------------------------------------------------------------------------------------------------

_NUMBER = re.compile(r"(?<![\w.])[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|\bnan\b", re.I)
# Numbers with what lists and numpy put between them. "++" gives nothing back, so a long run is gone through once.
_SIGNAL = re.compile(
    r"(?:\b(?P<sensor>gyro|acc)[a-z]{0,12}(?:[ \t][a-z]{1,12}){0,3}[ \t]{0,3}:[ \t\n]{0,4})?"
    r"(?P<values>(?:array\(|dtype=\w{1,12}|[\[\](){},;\s]|[+-]?\.?\d[\d.]*+(?:e[+-]?\d+)?(?![a-z%°])|nan\b)++)",
    re.I,
)
_TAG = re.compile(r"<(?:image|imu|video|audio|sensor)>", re.I)


def without_numbers(text):
    """A question without the signals that stand before or after it, and without the place of an image."""
    return re.sub(r"[ \t]{0,8}\n\s*+", "\n", _without_signals(text)).strip()


def _without_signals(text):
    cut = lambda found: found[0] if len(_NUMBER.findall(found["values"])) < SHORTEST_SIGNAL else "\n"
    return _SIGNAL.sub(cut, _TAG.sub(" ", text))


def find_window(text):
    """The window that a text holds, if all of it is there.

    Parameters
    ----------
    text : str
        With 120 x 3 numbers of an accelerometer and 120 x 3 of a gyroscope, under their names; or with 120 x 6,
        acceleration first.

    Returns
    -------
    (120, 6) float32 array, m/s^2 and rad/s, or None
        Acceleration around 1, as the published text has it, is in g, and is converted.
    """
    if len(text) < 720:
        return None
    found = [
        (one["sensor"], [float(number) for number in _NUMBER.findall(one["values"])]) for one in _SIGNAL.finditer(text)
    ]
    found = [((sensor or "").lower(), values) for sensor, values in found if len(values) >= SHORTEST_SIGNAL]
    if sorted((sensor, len(values)) for sensor, values in found) == [("acc", 360), ("gyro", 360)]:
        sensors = dict(found)
        window = np.hstack([np.reshape(sensors[name], (120, 3)) for name in ("acc", "gyro")])
    elif [(sensor, len(values)) for sensor, values in found] == [("", 720)]:
        window = np.reshape(found[0][1], (120, 6))
    else:
        return None
    if not np.isfinite(window).all() or not np.abs(window).max() < 1e4:
        return None
    if np.median(np.linalg.norm(window[:, :3], axis=1)) < 3:
        window = window * ([STANDARD_GRAVITY] * 3 + [1] * 3)
    return window.astype(np.float32)

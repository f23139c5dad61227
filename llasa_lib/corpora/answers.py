"""What a chat about a window holds: questions and answers, captions and narrations, as JSON or as plain text."""

import json
import re

from llasa_lib.recordings import ACTIVITIES

LONGEST_CAPTION = 40  # words; a longer paragraph without a heading is taken for a narration


def first(mapping, *names):
    """The first of these entries that is there and not empty."""
    return next((mapping[name] for name in names if mapping.get(name)), None)


_QUESTION = re.compile(r"^[\W\d_]*q(?:uestion)?\s*\d*\W*[:.)]\W*", re.I | re.M)
_ANSWER = re.compile(r"^[\W\d_]*a(?:nswer)?\s*\d*\W*[:.)]\W*", re.I | re.M)


def read_pairs(text):
    """A list of questions and answers, from JSON (alone or inside other text) or from lines "Q: ... A: ...".

    Parameters
    ----------
    text : str

    Returns
    -------
    list of dict (``question``, ``answer``), empty if there is none.
    """
    pairs = []
    for found in _json_objects(text):
        found = {str(name).lower(): value for name, value in found.items()}
        question, answer = first(found, "question", "q"), first(found, "answer", "a")
        if isinstance(question, str) and isinstance(answer, str):
            pairs.append({"question": question.strip(), "answer": answer.strip()})
    if pairs:
        return pairs
    for piece in _QUESTION.split(text)[1:]:
        question, *answer = _ANSWER.split(piece, maxsplit=1)
        if answer and question.strip() and answer[0].strip():
            pairs.append({"question": question.strip(" \n*"), "answer": answer[0].strip(" \n*")})
    return pairs


def _json_objects(text):
    """Every JSON object in a text that holds no other object; what is broken is skipped."""
    decoder, place = json.JSONDecoder(), 0
    while (place := text.find("{", place)) >= 0:
        try:
            found, end = decoder.raw_decode(text, place)
        except json.JSONDecodeError:
            place += 1
            continue
        nested = [value for value in found.values() if isinstance(value, list | dict)]
        if nested:
            place += 1  # {"questions": [...]}: look inside
        else:
            yield found
            place = end


_HEADING = re.compile(r"^\W*(caption|summary|narration|narrative)\W*[:\n]\W*", re.I | re.M)
_NAMES = {"summary": "caption", "narrative": "narration"}


def read_description(text):
    """``caption`` and ``narration`` of a text: by JSON key, by heading, or by the length of its paragraphs."""
    found = dict.fromkeys(("caption", "narration"), "")
    for entry in _json_objects(text):
        for name, value in entry.items():
            name = _NAMES.get(str(name).lower(), str(name).lower())
            if name in found and isinstance(value, str):
                found[name] = value.strip()
    if any(found.values()):
        return found
    _, *parts = _HEADING.split(text)
    for name, value in zip(parts[::2], parts[1::2], strict=True):
        found[_NAMES.get(name.lower(), name.lower())] = value.strip(" \n*")
    if any(found.values()):
        return found
    head, _, rest = text.strip().partition("\n\n")
    short = len(head.split()) <= LONGEST_CAPTION
    return {"caption": head.strip(), "narration": rest.strip()} if short else found | {"narration": text.strip()}


_NUMBERS = re.compile(
    r"[\[\](){},;\s]*(?:-?\d+(?:\.\d+)?(?:e[-+]?\d+)?[\[\](){},;\s]+){8,}(?:-?\d+(?:\.\d+)?)?[\])}]*", re.I
)


def without_numbers(text):
    """A question without the signals that stand before or after it: runs of at least eight bare numbers."""
    return re.sub(r"[ \t]*\n\s*", "\n", _NUMBERS.sub(" ", text)).strip()


def find_activity(text):
    """The activity that a chat states as such ("activity: walking", "label is walking"), in our words; "" if none."""
    names = "|".join(ACTIVITIES)
    found = re.search(rf"\b(?:activity|label|class)\b\W*(?:is|was|name)?\W*({names})\b", text, re.I)
    return found[1].lower() if found else ""

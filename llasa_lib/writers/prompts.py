"""What a writer is told, and what its answers are cut into.

The prompts are plain text beside the library (``llasa_lib/prompts/*.md``) with ``$placeholders``; another folder with
files of these names replaces them.
"""

import math
import re
from dataclasses import dataclass
from pathlib import Path
from string import Template

from llasa_lib import captions, files, signals
from llasa_lib.corpora import read_pairs
from llasa_lib.errors import WriterError
from llasa_lib.recordings import ACTIVITIES

FOLDER = files.PACKAGE / "prompts"

# The longest answer of each kind, in tokens: a third more than what is asked for.
LONGEST = {"caption": 100, "narration": 320, "questions": 600}
KINDS = tuple(LONGEST)

_ACTIVITY_WORDS = re.compile(rf"\b({'|'.join(sorted({w for name in ACTIVITIES for w in name.split()}))})\b", re.I)
_SENTENCE = re.compile(r"(?<=[.!?])\s+")
CHARACTERS_PER_TOKEN = 2.5  # SmolLM2, which spends a token on every digit, needs one for 3 characters of our prompts
MOST_CHARACTERS_PER_TOKEN = 12
MOST_TOKENS = 10**9
_CHUNK = 256  # windows measured at once: facts are bigger than the prompts made of them


class UnusableAnswer(WriterError):
    """An answer holds nothing that can be kept. It costs one window, not the run."""


@dataclass(frozen=True)
class Task:
    """One window to be written about: its place in the data set, its hash, and the prompt."""

    row: int
    window: str
    prompt: str


def check_kind(kind):
    """Raise WriterError unless ``kind`` is one of :data:`KINDS`."""
    if kind not in KINDS:
        raise WriterError(f"{kind!r} cannot be written; use one of {', '.join(KINDS)}.")


def load(name, folder=None):
    """A prompt as a ``string.Template``."""
    path = Path(folder or FOLDER) / f"{name}.md"
    if not path.exists():
        raise WriterError(f"{path} is missing. A folder of prompts needs {', '.join(KINDS)} and repair, all .md.")
    return Template(path.read_text(encoding="utf-8").strip())


def fill(template, **values):
    """The text of a prompt; a placeholder that is not known is named."""
    try:
        return template.substitute(values)
    except (KeyError, ValueError) as error:
        known = ", ".join(f"${name}" for name in values)
        raise WriterError(
            f"a prompt has an unknown placeholder ({error}). Known here: {known}; $$ is a dollar."
        ) from error


def list_facts(facts):
    """What is true of a window, one clause per line: first the whole of it, then every two seconds."""
    clauses = [variants[0] for variants in captions.phrases(facts).values()]
    for part in (1, 2, 3):
        spread, rotation = facts[f"intensity_third_{part}"], facts[f"rotation_third_{part}"]
        first, last = spread.interval
        clauses.append(
            f"from {first:g} to {last:g} s acceleration varies by {captions.say(spread.value)} m/s², "
            f"and rotation averages {captions.say(rotation.value)} rad/s"
        )
    return "\n".join(f"- {clause}" for clause in clauses)


def plan(windows, kind, labels=False, folder=None):
    """The prompt for every window.

    Parameters
    ----------
    windows : datasets.Dataset
        With ``imu`` (120 x 6, SI units) and, if ``labels``, ``activity``.
    kind : {"caption", "narration", "questions"}
    labels : bool
        Tell the writer the activity.
    folder : path, optional
        Prompts to use instead of the library's.

    Returns
    -------
    list of Task

    Raises
    ------
    WindowError
        If a window cannot be measured; all are looked at before anything is sent.
    """
    check_kind(kind)
    if not len(windows):
        return []
    imu = signals.to_array(windows)
    signals.check_windows(imu)
    told = load(kind, folder)
    activities = list(windows["activity"]) if labels else [None] * len(windows)
    texts = []
    for start in range(0, len(imu), _CHUNK):
        for facts in captions.measure_all(imu[start : start + _CHUNK]):
            activity = activities[len(texts)]
            known = f"The person is {activity}." if activity else "The activity is not known: do not name one."
            texts.append(fill(told, activity=known, facts=list_facts(facts)))
    return [Task(row, *pair) for row, pair in enumerate(zip(signals.window_hashes(imu), texts, strict=True))]


def tokens(text):
    """A cautious guess at the number of tokens. Prompts full of numbers have fewer characters to a token than prose."""
    return math.ceil(len(text) / CHARACTERS_PER_TOKEN)


def believed(reported, text):
    """The number of tokens of a text that a server reports, if it can be true; else our own, which is cautious.

    A budget must hold whatever the server says: no text has fewer than one token in a dozen characters.
    """
    least, own = len(text) // MOST_CHARACTERS_PER_TOKEN, tokens(text)
    return reported if reported and least <= reported <= MOST_TOKENS else own


def parse(text, kind, cut=False):
    """Cut an answer into what is kept or dropped as a whole.

    Parameters
    ----------
    text : str
    kind : {"caption", "narration", "questions"}
    cut : bool
        The answer ran into its limit: what follows its last full stop is dropped.

    Returns
    -------
    list of str (sentences), or of dict (``question``, ``answer``)
        Without questions that name an activity, which would give the answer away.

    Raises
    ------
    UnusableAnswer
        If there is nothing in it that can be kept.
    """
    if not text.strip():
        raise UnusableAnswer("the answer is empty")
    if kind == "questions":
        pairs = [pair for pair in read_pairs(text) if not _ACTIVITY_WORDS.search(pair["question"])]
        if not pairs:
            raise UnusableAnswer("the answer holds no JSON list of questions and answers that can be used")
        return pairs
    sentences = _SENTENCE.split(" ".join(text.split()))
    if cut and sentences[-1][-1] not in ".!?":
        sentences.pop()
    if not sentences:
        raise UnusableAnswer("the answer was cut off in its first sentence")
    return sentences

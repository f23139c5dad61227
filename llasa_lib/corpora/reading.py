"""Chats as the hub stores them, read row by row: what cannot be read is counted and named, and ends nothing."""

import contextlib
import itertools
import json
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset, Features, Value

from llasa_lib.corpora import answers
from llasa_lib.corpora.answers import first
from llasa_lib.errors import DataError, first_line

PUBLISHED = {"sensorcaps": "BASH-Lab/SensorCaps", "opensqa": "BASH-Lab/OpenSQA"}
COLUMNS = ("question", "answer", "kind", "caption", "narration", "activity", "source", "line", "window")
DESCRIPTION = "caption and narration"  # the kind of a turn that describes; it is no question
FAILURES = 10  # kept for the report; the others are only counted
LONGEST_LINE = 16 << 20  # bytes; five hundred times a chat with its signals


@dataclass(frozen=True)
class Failure:
    """A line that could not be read, or not all of it, counted from 1, and why; of several files, also which."""

    line: int
    reason: str
    file: str = ""

    def __str__(self):
        return f"{self.file}{', ' if self.file else ''}line {self.line}: {self.reason}"


@dataclass(frozen=True)
class Parsed:
    """What was read, and how much of the file that is.

    Attributes
    ----------
    pairs : datasets.Dataset
        One row per question and answer: ``question``, ``answer``, ``kind`` ("caption and narration" for a description,
        "open" where the file names none), ``caption``, ``narration``, ``activity``, ``source``, ``line``; "" where
        unknown. ``window`` is the place of the row's signals in ``windows``, -1 if they are not there as a whole.
    rows, parsed : int
        Lines that hold something, and those of them that gave at least one pair.
    expected : int
        Pairs that the rows should hold: as many as the prompt asks for, else as many as the answer has questions; one
        for an answer that is no list, and for a row that cannot be read.
    matching : int
        Those of them that were found.
    failures, mismatches : list of Failure
        The first ten rows that gave nothing, and the first ten that gave more or fewer pairs than expected.
    windows : list of (120, 6) float32 arrays, m/s^2 and rad/s.
    """

    pairs: Dataset
    rows: int
    parsed: int
    expected: int = 0
    matching: int = 0
    failures: list = field(default_factory=list)
    mismatches: list = field(default_factory=list)
    windows: list = field(default_factory=list)

    @property
    def rate(self):
        """Share of the expected pairs that were found, 0 to 1."""
        return self.matching / self.expected if self.expected else 0.0

    def __str__(self):
        text = (
            f"{self.parsed} of {self.rows} rows read; {len(self.pairs)} questions and answers, "
            f"{self.matching} of the {self.expected} expected ({self.rate:.1%})"
        )
        return "\n".join([text, *map(str, [*self.failures, *self.mismatches])])


def read_chat(data, source=""):
    """Read chats about sensor windows, such as SensorCaps and OpenSQA, into questions and answers.

    Parameters
    ----------
    data : path or iterable of dict
        A file of JSON lines, of one JSON list, or parquet; or its rows. A row holds ``messages`` or ``conversations``,
        a message ``role`` or ``from`` (user/human, assistant/gpt, system) and ``content`` or ``value``. A user turn may
        hold signals as lists of numbers, which are cut out of the question, and a summary, features or a narration
        under these headings. An assistant turn is an answer, a list of questions and answers, or a caption and a
        narration; each as text or as JSON.
    source : str
        What to call the data where a row does not say.

    Returns
    -------
    Parsed

    Raises
    ------
    DataError
        If there is no such file, or it is no text.
    """
    return _read(_rows(data), source)


def _read(numbered, source):
    """Read rows that come as (line, row, file)."""
    pairs, windows, failures, mismatches = {name: [] for name in COLUMNS}, [], [], []
    rows = parsed = expected = matching = 0
    for line, row, file in numbered:
        rows += 1
        try:
            found, wanted, window = _read_row(_as_row(row))
            reason = f"asked for questions and answers, and none is in it, of {wanted}"
        except (ValueError, RecursionError) as error:  # the latter from brackets nested a thousand deep
            found, wanted, reason = [], 1, str(error)
        expected, matching = expected + wanted, matching + min(wanted, len(found))
        if not found:
            failures.append(Failure(line, reason, file))
            continue
        parsed += 1
        if len(found) != wanted:
            mismatches.append(Failure(line, f"{len(found)} questions and answers instead of {wanted}", file))
        if window is not None:
            windows.append(window)
        for pair in found:
            pair["source"] = pair["source"] or source
            pair |= {"line": line, "window": -1 if window is None else len(windows) - 1}
            for name in COLUMNS:
                pairs[name].append(pair[name])
    features = Features({name: Value("int64" if name in ("line", "window") else "string") for name in COLUMNS})
    table = Dataset.from_dict(pairs, features=features)
    return Parsed(table, rows, parsed, expected, matching, failures[:FAILURES], mismatches[:FAILURES], windows)


def _rows(data, file=""):
    """(line number from 1, row, file) for all that a file or an iterable holds; a row of a text file is still text."""
    if not isinstance(data, str | Path):
        return zip(itertools.count(1), data, itertools.repeat(file))
    path = Path(data)
    if not path.is_file():
        raise DataError(f"{path}: no such file. Give a file of chats: JSON lines, a JSON list, or parquet.")
    if path.suffix == ".parquet":
        try:
            rows = pq.read_table(path).to_pylist()
        except (pa.ArrowException, OSError, ValueError) as error:
            raise DataError(f"{path} is not a parquet file: {' '.join(str(error).split())[:200]}.") from error
        return _rows(rows, file)
    whole = _whole_list(path)
    return _lines(path, file) if whole is None else _rows(whole, file)


def _lines(path, file):
    with path.open("rb") as lines:
        for number in itertools.count(1):
            line = lines.readline(LONGEST_LINE)
            if not line:
                return
            whole = line
            while len(line) == LONGEST_LINE and not line.endswith(b"\n"):  # the rest of it is gone over
                whole, line = None, lines.readline(LONGEST_LINE)
            if whole is None or whole.strip():
                yield number, whole, file


def _whole_list(path):
    """The rows of a file that is one JSON list; None if it is not, for its lines may be lists."""
    with path.open("rb") as file:
        if file.read(1) != b"[":
            return None
        with contextlib.suppress(ValueError, RecursionError):
            return json.loads(b"[" + file.read())


def _as_row(row):
    """A row as a dict; ValueError says why it is none."""
    if row is None:
        raise ValueError(f"longer than {LONGEST_LINE >> 20} MiB, which no chat is")
    if isinstance(row, bytes):
        try:
            row = json.loads(row)
        except UnicodeDecodeError:
            raise ValueError("not UTF-8") from None
        except json.JSONDecodeError as error:
            raise ValueError(f"not JSON: {error.msg} at character {error.pos + 1}") from None
        except ValueError:
            raise ValueError("a number of thousands of digits, which no chat holds") from None
    if isinstance(row, list):
        return {"messages": row}
    if not isinstance(row, dict):
        raise ValueError(f"a {type(row).__name__} instead of an object with messages")
    return row


_ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "model": "assistant"}


def _read_row(row):
    """Questions and answers of one chat, as dicts of its columns; how many it should hold; its window, or None."""
    known = {name: str(row.get(name) or "") for name in ("caption", "narration", "activity", "source")}
    kinds = list(row["kinds"]) if isinstance(row.get("kinds"), list) else []
    asked, system, context, pairs, expected, window = None, "", "", [], 0, None
    for role, text in _turns(row):
        if role != "assistant":
            context = f"{context}\n{text}"
            if role == "user":
                asked = text
                window = answers.find_window(text) if window is None else window
                stated = answers.read_prompt(text)
                known |= {name: value for name, value in stated.items() if value and not known[name]}
            else:
                system = text
        elif asked is None:
            raise ValueError("an answer without a question before it")
        else:
            kind = str(kinds.pop(0)) if kinds else None
            more, wanted = _read_answer(asked, system, text, kind, known)
            pairs, expected, asked = pairs + more, expected + wanted, None
    if not pairs and not expected:
        raise ValueError("no answer of an assistant that holds anything")
    known["activity"] = known["activity"] or answers.find_activity(context)
    pairs = [known | pair for pair in pairs]
    "".join(str(value) for pair in pairs for value in pair.values()).encode()  # half a character is a ValueError
    return pairs, expected, window


def _turns(row):
    """(role, text) of every message; ValueError names the message that has none."""
    messages = first(row, "messages", "conversations", "conversation")
    if isinstance(messages, str):
        messages = json.loads(messages)  # a JSONDecodeError is a ValueError
    if not isinstance(messages, list):
        raise ValueError(f"no list of messages or conversations; there is {', '.join(map(str, row))[:60] or 'nothing'}")
    for number, message in enumerate(messages, 1):
        if not isinstance(message, dict):
            raise ValueError(f"message {number} is a {type(message).__name__}, not an object")
        role, text = first(message, "role", "from"), first(message, "content", "value")
        if isinstance(text, list):  # content in parts, as for images and text
            text = "\n".join(str(part.get("text", "")) for part in text if isinstance(part, dict))
        if not isinstance(role, str) or not isinstance(text, str):
            raise ValueError(f"message {number} lacks a role or a text")
        yield _ROLES.get(role.lower(), role.lower()), text


def _read_answer(asked, system, text, kind, known):
    """The pairs of one assistant turn, and how many there should be. A description also sets ``known``."""
    if not text.strip():
        return [], 0
    question = answers.without_numbers(asked)
    if not kind:
        wanted = answers.asked_for(f"{system}\n{question}")
        pairs, found = answers.find_pairs(text)
        if pairs or wanted != 0:  # a list that cannot be read is no narration
            return [{"kind": "open"} | pair for pair in pairs], wanted or max(found, 1)
    if not kind and "?" not in question:
        description = answers.read_description(text)
        known.update({name: value for name, value in description.items() if value})
        kind = DESCRIPTION if all(description.values()) else next(n for n, v in description.items() if v)
    elif kind == DESCRIPTION:
        known.update(answers.read_description(text))
    return [{"question": question, "answer": text.strip(), "kind": kind or "open"}], 1


def load(name):
    """SensorCaps or OpenSQA, from the Hugging Face hub.

    Parameters
    ----------
    name : {"sensorcaps", "opensqa"}

    Returns
    -------
    Parsed

    Raises
    ------
    DataError
        Another name, no connection, or nothing in it that can be read.
    """
    if name not in PUBLISHED:
        raise DataError(f"{name!r} is not a published corpus known here; use {' or '.join(PUBLISHED)}.")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    where = PUBLISHED[name]
    try:
        folder = snapshot_download(where, repo_type="dataset", allow_patterns=["*.json", "*.jsonl", "*.parquet"])
    except (OSError, HfHubHTTPError) as error:
        reason = first_line(error)
        raise DataError(
            f"{where} could not be fetched from the Hugging Face hub ({reason}). Check the connection, "
            "or download it elsewhere and give the file to corpora.read_chat."
        ) from error
    files_there = [path for path in sorted(Path(folder).rglob("*")) if path.suffix in (".json", ".jsonl", ".parquet")]
    rows = (row for path in files_there for row in _rows(path, path.relative_to(folder).as_posix()))
    found = _read(rows, name)
    if not found.parsed:
        raise DataError(f"{where} holds nothing that can be read as chats: {found}")
    return found

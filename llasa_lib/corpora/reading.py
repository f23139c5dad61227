"""Chats as the hub stores them, read row by row: what cannot be read is counted and named, and ends nothing."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset, Features, Value, concatenate_datasets

from llasa_lib.corpora.answers import find_activity, first, read_description, read_pairs, without_numbers
from llasa_lib.errors import DataError

PUBLISHED = {"sensorcaps": "BASH-Lab/SensorCaps", "opensqa": "BASH-Lab/OpenSQA"}
COLUMNS = ("question", "answer", "kind", "caption", "narration", "activity", "source", "line")
DESCRIPTION = "caption and narration"  # the kind of a turn that describes; it is no question
FAILURES = 10  # kept for the report; the others are only counted


@dataclass(frozen=True)
class Failure:
    """A line that could not be read, counted from 1, and why."""

    line: int
    reason: str

    def __str__(self):
        return f"line {self.line}: {self.reason}"


@dataclass(frozen=True)
class Parsed:
    """What was read, and how much of the file that is.

    Attributes
    ----------
    pairs : datasets.Dataset
        One row per question and answer: ``question``, ``answer``, ``kind`` ("caption and narration" for a description,
        "open" where the file names none), ``caption``, ``narration``, ``activity``, ``source``, ``line``; "" where
        unknown.
    rows, parsed : int
        Lines that hold something, and those of them that gave at least one pair.
    failures : list of Failure, the first ten.
    """

    pairs: Dataset
    rows: int
    parsed: int
    failures: list = field(default_factory=list)

    @property
    def rate(self):
        """Share of the rows that could be read, 0 to 1."""
        return self.parsed / self.rows if self.rows else 0.0

    def __str__(self):
        text = f"{self.parsed} of {self.rows} rows read ({self.rate:.1%}), {len(self.pairs)} questions and answers"
        return "\n".join([text, *map(str, self.failures)])


def read_chat(data, source=""):
    """Read chats about sensor windows, such as SensorCaps and OpenSQA, into questions and answers.

    Parameters
    ----------
    data : path or iterable of dict
        A file of JSON lines, of one JSON list, or parquet; or its rows. A row holds ``messages`` or ``conversations``,
        a message ``role`` or ``from`` (user/human, assistant/gpt, system) and ``content`` or ``value``. A user turn may
        hold signals as lists of numbers, which are cut out of the question. An assistant turn is an answer, a list of
        questions and answers, or a caption and a narration; each as text or as JSON.
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
    pairs, failures, rows, parsed = {name: [] for name in COLUMNS}, [], 0, 0
    for line, row in _rows(data):
        rows += 1
        try:
            found = _read_row(_as_row(row))
        except (ValueError, RecursionError) as error:  # the latter from brackets nested a thousand deep
            failures.append(Failure(line, str(error)))
            continue
        parsed += 1
        for pair in found:
            pair["source"] = pair["source"] or source
            for name in COLUMNS:
                pairs[name].append(line if name == "line" else pair[name])
    features = Features({name: Value("int64" if name == "line" else "string") for name in COLUMNS})
    return Parsed(Dataset.from_dict(pairs, features=features), rows, parsed, failures[:FAILURES])


def _rows(data):
    """(line number from 1, row) for all that a file or an iterable holds; a row of a text file is still text."""
    if not isinstance(data, str | Path):
        yield from enumerate(data, 1)
        return
    path = Path(data)
    if not path.is_file():
        raise DataError(f"{path}: no such file. Give a file of chats: JSON lines, a JSON list, or parquet.")
    if path.suffix == ".parquet":
        try:
            yield from enumerate(pq.read_table(path).to_pylist(), 1)
        except pa.ArrowInvalid as error:
            raise DataError(f"{path} is not a parquet file: {error}.") from error
        return
    with path.open("rb") as file:
        if file.read(1) == b"[" and (whole := _whole_list(path)) is not None:
            yield from enumerate(whole, 1)
            return
        file.seek(0)
        for number, line in enumerate(file, 1):
            if line.strip():
                yield number, line


def _whole_list(path):
    """The rows of a file that is one JSON list; None if it is not, for its lines may be lists."""
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return None


def _as_row(row):
    """A row as a dict; ValueError says why it is none."""
    if isinstance(row, bytes):
        try:
            row = json.loads(row)
        except UnicodeDecodeError:
            raise ValueError("not UTF-8") from None
        except json.JSONDecodeError as error:
            raise ValueError(f"not JSON: {error.msg} at character {error.pos + 1}") from None
    if isinstance(row, list):
        return {"messages": row}
    if not isinstance(row, dict):
        raise ValueError(f"a {type(row).__name__} instead of an object with messages")
    return row


_ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "model": "assistant"}


def _read_row(row):
    """The questions and answers of one chat, as dicts with all columns but ``line``."""
    known = {name: str(row.get(name) or "") for name in ("caption", "narration", "activity", "source")}
    kinds = list(row["kinds"]) if isinstance(row.get("kinds"), list) else []
    asked, context, pairs = None, "", []
    for role, text in _turns(row):
        if role != "assistant":
            context = f"{context}\n{text}"
            asked = text if role == "user" else asked
        elif asked is None:
            raise ValueError("an answer without a question before it")
        else:
            kind = str(kinds.pop(0)) if kinds else None
            pairs += _read_answer(without_numbers(asked), text, kind, known)
            asked = None
    if not pairs:
        raise ValueError("no answer of an assistant that holds anything")
    known["activity"] = known["activity"] or find_activity(context)
    pairs = [known | pair for pair in pairs]
    "".join(str(value) for pair in pairs for value in pair.values()).encode()  # half a character is a ValueError
    return pairs


def _turns(row):
    """(role, text) of every message; ValueError names the message that has none."""
    messages = first(row, "messages", "conversations", "conversation")
    if isinstance(messages, str):
        messages = json.loads(messages)  # a JSONDecodeError is a ValueError
    if not isinstance(messages, list):
        raise ValueError(f"no list of messages or conversations; there is {', '.join(map(str, row)) or 'nothing'}")
    for number, message in enumerate(messages, 1):
        if not isinstance(message, dict):
            raise ValueError(f"message {number} is a {type(message).__name__}, not an object")
        role, text = first(message, "role", "from"), first(message, "content", "value")
        if isinstance(text, list):  # content in parts, as for images and text
            text = "\n".join(str(part.get("text", "")) for part in text if isinstance(part, dict))
        if not isinstance(role, str) or not isinstance(text, str):
            raise ValueError(f"message {number} lacks a role or a text")
        yield _ROLES.get(role.lower(), role.lower()), text


def _read_answer(question, text, kind, known):
    """The pairs of one assistant turn. A description also sets ``caption`` and ``narration`` of the whole chat."""
    pairs = [] if kind else read_pairs(text)
    if pairs:
        return [{"kind": "open"} | pair for pair in pairs]
    if not text.strip():
        return []
    if not kind and "?" not in question:
        description = read_description(text)
        known.update({name: value for name, value in description.items() if value})
        kind = DESCRIPTION if all(description.values()) else next(n for n, v in description.items() if v)
    elif kind == DESCRIPTION:
        known.update(read_description(text))
    return [{"question": question, "answer": text.strip(), "kind": kind or "open"}]


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
        reason = str(error).strip().splitlines()[0]
        raise DataError(
            f"{where} could not be fetched from the Hugging Face hub ({reason}). Check the connection, "
            "or download it elsewhere and give the file to corpora.read_chat."
        ) from error
    files_there = [path for path in sorted(Path(folder).rglob("*")) if path.suffix in (".json", ".jsonl", ".parquet")]
    found = [read_chat(path, name) for path in files_there]
    if not sum(part.parsed for part in found):
        raise DataError(f"{where} holds nothing that can be read as chats:\n" + "\n".join(map(str, found)))
    failures = [failure for part in found for failure in part.failures][:FAILURES]
    pairs = concatenate_datasets([part.pairs for part in found])
    return Parsed(pairs, sum(part.rows for part in found), sum(part.parsed for part in found), failures)

"""What has been paid for: one line of JSON per finished window, appended as soon as it is there."""

import json
import re
import threading
from pathlib import Path
from typing import Annotated, Literal

import pydantic
from filelock import FileLock, Timeout

from llasa_lib.errors import ArtifactError, WriterError

KEY = ("window", "prompt", "model")
_BEGIN = b'{"window": "'  # of every line
_OURS = re.compile(_BEGIN + rb'[0-9a-f]{8,}+", "prompt": "')
Count = Annotated[int, pydantic.Field(ge=0, le=10**12, strict=True)]


class _Pair(pydantic.BaseModel):
    question: str
    answer: str


class _Line(pydantic.BaseModel):
    """The form of a line; what else it holds is kept as it is."""

    model_config = pydantic.ConfigDict(extra="allow")

    window: str
    prompt: str
    model: str
    output: str | list[_Pair] | None
    problem: str | None
    repaired: bool
    draft: str | None
    false: list[dict]
    claims: dict[Literal["supported", "contradicted", "not checkable"], Count]
    requests: Count
    prompt_tokens: Count
    answer_tokens: Count
    kept: Count
    dropped: Count


class Journal:
    """A JSONL file that a killed run leaves whole, but for half a last line, which is dropped.

    Nothing else is ever taken from a file, and nothing that was paid for is written a second time.

    Use it as a context; only one process can at a time.

    Parameters
    ----------
    path : path

    Attributes
    ----------
    done : dict of (window, prompt, model) -> dict, the finished lines
    """

    def __init__(self, path):
        self.path = Path(path)
        self._file_lock = FileLock(f"{self.path}.lock")
        self._lock = threading.Lock()
        self.done = {}

    def __enter__(self):
        if self.path.exists() and not self.path.is_file():
            raise ArtifactError(f"{self.path} is no file, so it cannot be a journal. Name another one.")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._file_lock.acquire(timeout=0)
        except Timeout:
            raise WriterError(f"another run is writing {self.path}. Wait for it, or name another journal.") from None
        try:
            self._recover()
            self._file = open(self.path, "ab")
        except BaseException:
            self._file_lock.release()
            raise
        return self

    def __exit__(self, *error):
        self._file.close()
        self._file_lock.release()

    def append(self, line):
        """Write one finished window; it is in the file when this returns."""
        content = json.dumps(line, ensure_ascii=False).encode() + b"\n"
        with self._lock:
            self._file.write(content)
            self._file.flush()
            self.done[key(line)] = line

    def _recover(self):
        """Read what is there, and cut off a last line that a kill left unfinished."""
        content = self.path.read_bytes() if self.path.exists() else b""
        *lines, last = content.split(b"\n")
        whole = _read(last) is not None  # only its line break is missing, and it is paid for
        half = last and not whole and (_OURS.match(last) or (lines and _BEGIN.startswith(last[: len(_BEGIN)])))
        for number, line in enumerate(lines if half or not last else [*lines, last], 1):
            read = _read(line)
            if read is None:
                raise ArtifactError(
                    f"{self.path}, line {number}, is not a line of a writer's journal. "
                    "Remove that line, and its window is written again; or name another journal."
                )
            self.done[key(read)] = read
        if half:
            with open(self.path, "r+b") as file:
                file.truncate(len(content) - len(last))
        elif whole:
            with open(self.path, "ab") as file:
                file.write(b"\n")


def key(line):
    """What must be the same for a line to answer a request."""
    return tuple(line[name] for name in KEY)


def _read(line):
    """A line as a dict, or None if it has another form."""
    try:
        return _Line.model_validate_json(line).model_dump()
    except pydantic.ValidationError:
        return None

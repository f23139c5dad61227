"""What has been paid for: one line of JSON per finished window, appended as soon as it is there."""

import json
import threading
from pathlib import Path

from filelock import FileLock, Timeout

from llasa_lib.errors import ArtifactError, WriterError

KEY = ("window", "prompt", "model")


class Journal:
    """A JSONL file that a killed run leaves whole, but for half a last line, which is dropped.

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
        if _read(last) is not None:  # only its line break is missing, and it is paid for
            self.path.write_bytes(content + b"\n")
            lines, last = [*lines, last], b""
        for number, line in enumerate(lines, 1):
            read = _read(line)
            if read is None:
                raise ArtifactError(
                    f"{self.path}, line {number}, is not a line of a writer's journal. "
                    "Remove that line, and its window is written again; or name another journal."
                )
            self.done[key(read)] = read
        if last:
            with open(self.path, "r+b") as file:
                file.truncate(len(content) - len(last))


def key(line):
    """What must be the same for a line to answer a request."""
    return tuple(line[name] for name in KEY)


def _read(line):
    """A line as a dict, or None."""
    try:
        read = json.loads(line)
        key(read)
    except (ValueError, KeyError, TypeError):
        return None
    return read

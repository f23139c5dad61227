"""Files that are either whole or absent.

- ``atomic(path)``: write to a temporary name beside the target, rename on success, remove on failure; nothing of
  somebody else's is replaced. ``recover(path)``: what a kill left.
- ``sha256(path)``, ``content(folder)``, ``fingerprint(*parts)``: name a file, a folder, or a plain value.
- ``root()``: where artifacts and downloads live.
"""

import contextlib
import glob
import hashlib
import json
import os
import shutil
import uuid
from pathlib import Path

from .errors import ArtifactError, first_line

PACKAGE = Path(__file__).resolve().parent
MARKER = ".llasa"  # stands in every folder that atomic made


def root():
    """Folder that holds ``artifacts/`` and ``data/downloads/``.

    ``LLASA_HOME`` if set; else the source checkout that the package is imported from; else a cache folder of the
    user (an installed package must not write into site-packages).
    """
    if os.environ.get("LLASA_HOME"):
        return Path(os.environ["LLASA_HOME"]).expanduser().resolve()
    checkout = PACKAGE.parent
    if (checkout / "pyproject.toml").exists():
        return checkout
    return Path.home() / ".cache" / "llasa"


def sha256(path):
    """Hex digest of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(*parts):
    """Sixteen hex digits that change when any part does; parts are anything JSON can hold."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(json.dumps(part, sort_keys=True, default=str).encode() + b"\0")
    return digest.hexdigest()[:16]


def content(folder, without=()):
    """Sixteen hex digits that name what the files of a folder hold, whatever they were made by.

    Parameters
    ----------
    folder : path
    without : iterable of str
        Names of files that do not count.
    """
    paths = sorted(path for path in Path(folder).rglob("*") if path.is_file() and path.name not in without)
    return fingerprint([(path.relative_to(folder).as_posix(), sha256(path)) for path in paths])


@contextlib.contextmanager
def atomic(path, folder=False):
    """Give a temporary path to write to; move it to ``path`` when the block ends well.

    An exception, or a kill, leaves whatever stood at ``path`` before; :func:`recover` says how. Example::

        with atomic("report.json") as temporary:
            temporary.write_text("{}")

    Parameters
    ----------
    path : path
        A file is replaced by a file, and a folder by a folder if :func:`atomic` made it, or nothing is in it.
    folder : bool
        What is written: the temporary path is then an empty folder.

    Raises
    ------
    ArtifactError
        If anything else stands at ``path``; before the block begins, and it may train for hours.
    """
    path = Path(path)
    check_target(path, folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    _restore(path)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.partial")
    if folder:
        temporary.mkdir()
    try:
        yield temporary
        _open_to_others(temporary)
        if folder:
            (temporary / MARKER).touch()
            # A folder cannot be replaced in one step: move the old one aside first.
            aside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.old")
            if path.exists():
                path.rename(aside)
            temporary.rename(path)
            shutil.rmtree(aside, ignore_errors=True)
        else:
            os.replace(temporary, path)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)


def check_target(path, folder=False):
    """Refuse a place for a file, or a folder, where something of somebody else's would be lost: see :func:`atomic`."""
    path, wrong = Path(path), None
    if path.name in ("", ".."):
        wrong = "is no name to write to"
    elif path.is_symlink():
        wrong = "is a link"
    elif path.is_dir():
        ours = folder and (any((path / name).exists() for name in (MARKER, "stage.json")) or not any(path.iterdir()))
        wrong = None if ours else "is a folder that this library did not write" if folder else "is a folder"
    elif path.exists() and (folder or not path.is_file()):
        wrong = "is a file, not a folder" if path.is_file() else "is no ordinary file"
    if wrong:
        raise ArtifactError(f"{os.fspath(path) or '(nothing)'} {wrong}: nothing is written there. Give another name.")


def _open_to_others(written):
    """The permissions that the user's umask gives: what goes by way of a temporary file is often its owner's alone."""
    mask = os.umask(0)
    os.umask(mask)
    for path in (written, *written.rglob("*")):
        path.chmod((0o777 if path.is_dir() else 0o666) & ~mask)


def _restore(path):
    """Put back a folder that a writer had moved aside when it was killed."""
    if not path.exists():
        for aside in path.parent.glob(f".{glob.escape(path.name)}.*.old"):
            aside.rename(path)
            return


def recover(path):
    """Mend what killed writers left beside a file or folder; nobody may be writing it now.

    What :func:`atomic` had moved aside is put back if nothing has taken its place; what was half written is removed.
    """
    path = Path(path)
    _restore(path)
    name = glob.escape(path.name)
    # Two dots: of what was being written as a whole into such a half-written folder.
    for pattern in (f".{name}.*.partial", f"..{name}.*.partial", f".{name}.*.old"):
        for left in path.parent.glob(pattern):
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)


def read_json(path, shape=object):
    """The value in a JSON file.

    Parameters
    ----------
    path : path
    shape : type, optional
        As in an annotation: ``dict[str, float]``, a TypedDict, a dataclass; what comes back is of it.

    Raises
    ------
    ArtifactError
        If there is no such file, or it holds anything else.
    """
    try:
        return parse_json(Path(path).read_bytes(), shape)
    except (OSError, ValueError) as error:
        raise ArtifactError(
            f"{path} cannot be read ({first_line(error)[:200]}). Delete its folder and run the stage again."
        ) from error


def parse_json(text, shape=object):
    """The value that a JSON text holds; ValueError for all that is no JSON, of another shape, or no text to print.

    Parameters
    ----------
    text : str or bytes
    shape : type, optional
        See :func:`read_json`.
    """
    from pydantic import TypeAdapter

    try:
        value = json.loads(text)
        # Half of a surrogate pair passes the parser, and fails wherever it is printed or written.
        json.dumps(value, ensure_ascii=False).encode()
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    return TypeAdapter(shape).validate_python(value)


def write_json(value, path):
    """Write a value as JSON, whole or not at all."""
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1), encoding="utf-8")

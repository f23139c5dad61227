"""Files that are either whole or absent.

- ``atomic(path)``: write to a temporary name beside the target, rename on success, remove on failure.
- ``sha256(path)``, ``content(folder)``, ``fingerprint(*parts)``: name a file, a folder, or a plain value.
- ``root()``: where artifacts and downloads live.
"""

import contextlib
import hashlib
import json
import os
import shutil
import uuid
from pathlib import Path

from .errors import ArtifactError

PACKAGE = Path(__file__).resolve().parent


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
def atomic(path):
    """Give a temporary path to write a file or a folder to; move it to ``path`` when the block ends well.

    An exception, or a kill, leaves whatever stood at ``path`` before. Example::

        with atomic("report.json") as temporary:
            temporary.write_text("{}")
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        yield temporary
        if path.is_dir() and not path.is_symlink():
            # A folder cannot be replaced in one step: move the old one aside first.
            aside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.old")
            path.rename(aside)
            temporary.rename(path)
            shutil.rmtree(aside)
        else:
            os.replace(temporary, path)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)


def remove_leftovers(path):
    """Remove what killed writers of a folder left beside it: see :func:`atomic`. Nobody may be writing it now."""
    # Two dots: of what was being written as a whole into such a half-written folder.
    for pattern in (f".{path.name}.*.partial", f"..{path.name}.*.partial", f".{path.name}.*.old"):
        for left in path.parent.glob(pattern):
            shutil.rmtree(left, ignore_errors=True)


def read_json(path):
    """The value in a JSON file; :class:`ArtifactError` if it cannot be read."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path} cannot be read ({error}). Delete its folder and run the stage again.") from error


def write_json(value, path):
    """Write a value as JSON, whole or not at all."""
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1), encoding="utf-8")

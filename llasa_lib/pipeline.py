"""The stages in order, each made once.

- ``Pipeline().tune()`` gives the tuned model: loaded if it was made from the same settings, code and inputs; else made,
  upstream stages first. So every chapter starts alone, in any order.
- A stage's key is its settings, its own code (:mod:`provenance`) and the *content* of what it reads: a change that
  leaves a stage's output as it was makes nothing behind it again.
- An artifact is a folder ``artifacts/<profile>/<stage>/``: whole or absent; ``stage.json`` says what made it.
- An interrupted stage goes on from its last checkpoint in ``artifacts/<profile>/.work/``; what is trained stays there
  until it is saved, so that a full disk costs no training.
- Under a launcher, all processes train ``align`` and ``tune`` together; every other stage is made by the main one while
  the others wait. All need the same folder: several machines have to share it.
"""

import contextlib
import importlib
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock
from safetensors import SafetensorError
from threadpoolctl import ThreadpoolController

from . import files, processes, profiles, provenance
from .errors import ArtifactError, first_line


class Stage(NamedTuple):
    """How an artifact is made and loaded, by name, and what it is made of.

    By name, because what makes a stage takes seconds to import, and what is made already needs none of it.
    """

    make: str  # (run, folder to fill, folder for what an interrupted run goes on from)
    load: str  # (folder) -> what the stage gives
    reads: tuple = ()  # stages before it
    settings: tuple = ()  # sections of the profile
    together: bool = False  # trained by all processes of a launcher: a language model is run forwards and backwards

    @property
    def code(self):
        """Where the code of the stage begins, for :mod:`provenance`."""
        return [tuple(name.rsplit(".", 1)) for name in (self.make, self.load)]


@dataclass
class _Made:
    """What ``stage.json`` says of an artifact; nothing if there is none."""

    key: str | None = None
    content: str | None = None
    seconds: float | None = None


_ENCODERS = ("prepare", "pretrain"), ("data", "encoder", "ablate", "seed")
_PROJECTORS = ("pretrain", "caption"), ("align", "compare", "evaluate", "language_model", "seed")
STAGES = {
    "prepare": Stage("stages.prepare", "stages.load_splits", (), ("data",)),
    "pretrain": Stage("stages.pretrain", "encoder.loading.load", ("prepare",), ("data", "encoder", "seed")),
    "ablate": Stage("ablation.encoders", "ablation.load_encoders", *_ENCODERS),
    "ablate-full": Stage("ablation.all_encoders", "ablation.load_encoders", *_ENCODERS),
    "caption": Stage("stages.caption", "stages.load_splits", ("prepare",), ("caption", "seed")),
    "align": Stage(
        "stages.align",
        "model.storing.load",
        ("prepare", "pretrain", "caption"),
        ("align", "language_model", "seed"),
        True,
    ),
    "compare": Stage("ablation.projectors", "ablation.load_projectors", *_PROJECTORS),
    "compare-full": Stage("ablation.all_projectors", "ablation.load_projectors", *_PROJECTORS),
    "tune": Stage("stages.tune", "model.storing.load", ("caption", "align"), ("tune", "seed"), True),
    "evaluate": Stage("stages.evaluate", "stages.load_report", ("prepare", "pretrain", "tune"), ("evaluate", "seed")),
}

# What the book is made of; the full grids are made by those who ask for them.
IN_BOOK = tuple(name for name in STAGES if not name.endswith("-full"))

# A stage reads data sets; a reader's own recording is read by those who ask about it.
NOT_BY_A_STAGE = (("recordings.own", "read"),)


class Pipeline:
    """All stages under one profile.

    Parameters
    ----------
    profile : str or profiles.Profile, optional
        Default: ``LLASA_PROFILE``, else what fits the machine.
    folder : path, optional
        Default: ``artifacts/<profile>`` under :func:`files.root`.
    """

    def __init__(self, profile=None, folder=None):
        self.profile = profile if isinstance(profile, profiles.Profile) else profiles.load(profile)
        self.folder = Path(folder) if folder else files.root() / "artifacts" / self.profile.name

    # --- the stages -----------------------------------------------------------------------------------------------

    def prepare(self):
        """Stage 1: recordings -> windows, split by subject (``DatasetDict`` of train, validation, test)."""
        return self._load("prepare")

    def pretrain(self):
        """Stage 2: windows of training subjects -> ``LimuBertForPreTraining``."""
        return self._load("pretrain")

    def ablate(self, full=False):
        """Beside stage 2: the published network, variants, and what labels are worth.

        Parameters
        ----------
        full : bool
            Everything that the profile lists, in a folder of its own; else what it shows by default.

        Returns
        -------
        published : LimuBertForPreTraining, the published network under its own settings.
        variants : list of dict; networks trained on as many windows, and macro-F1 of a linear probe, trained and
            untrained, across all but the test subjects (:func:`encoder.probe_across_people`).
        efficiency : list of dict, from :func:`encoder.label_efficiency`, on test subjects.
        """
        return self._load("ablate-full" if full else "ablate")

    def caption(self):
        """Stage 3: windows -> corpus of captions and questions (``DatasetDict``)."""
        return self._load("caption")

    def training_corpus(self):
        """Of stage 3: the training windows and their augmented copies, each with captions and questions of its own."""
        from . import stages

        self.make("caption")
        return stages.load_table(self.folder / "caption", "augmented")

    def align(self):
        """Stage 4: encoder + captions -> ``(model, processor)`` with a trained projector."""
        return self._load("align")

    def compare(self, full=False):
        """Beside stage 4: what kinds and numbers of sensor tokens bring and cost, on validation subjects.

        Parameters
        ----------
        full : bool
            As for :meth:`ablate`.

        Returns
        -------
        comparisons : list of dict; models aligned for a while, scored by log-probability.
        projectors : list of dict; projectors after a warm-up alone, scored by the nearest word; seconds of a step.
        """
        return self._load("compare-full" if full else "compare")

    def tune(self):
        """Stage 5: aligned model + questions -> ``(model, processor)`` with a LoRA adapter, merged for speed."""
        return self._load("tune")

    def evaluate(self):
        """Stage 6: the test on unseen subjects (``evaluation.Report``)."""
        return self._load("evaluate")

    def run(self):
        """Make all stages in order, full grids left out."""
        for name in IN_BOOK:
            self.make(name)

    # --- what is known of a stage ---------------------------------------------------------------------------------

    def history(self, stage):
        """Loss curve of a training stage (``pretrain``, ``align``, ``tune``): list of dicts."""
        self.make(stage)
        return files.read_json(self.folder / stage / "history.json", list[dict[str, int | float]])

    def seconds(self, stage):
        """How long it took to make a stage's artifact, without its upstream stages."""
        return self._made(stage).seconds

    def content(self, stage):
        """Sixteen hex digits of what a stage's artifact holds; None if there is none that its code would make now."""
        made = self._made(stage)
        fresh = all(map(self.content, STAGES[stage].reads)) and made.key == self.key(stage)
        return made.content if fresh else None

    def key(self, stage):
        """What a stage is made of: settings, code, and the content of the artifacts that it reads."""
        made, settings = STAGES[stage], self.profile.model_dump()
        settings["data"].pop("processes")  # how many cut the windows changes none
        return files.fingerprint(
            provenance.code_of([*made.code, *(STAGES[name].code[1] for name in made.reads)], NOT_BY_A_STAGE),
            {section: settings[section] for section in made.settings},
            {name: self._made(name).content for name in made.reads},
        )

    # --- load or make -----------------------------------------------------------------------------------------------

    def _load(self, name):
        self.make(name)
        return _loaded(_function(STAGES[name].load), self.folder / name)

    def make(self, name):
        """Make a stage's artifact, and those it reads, unless they are there."""
        stage = STAGES[name]
        for upstream in stage.reads:
            self.make(upstream)
        key = processes.agree(self.key(name))
        if not processes.agree(self._made(name).key != key):
            return
        if stage.together and processes.count() > 1:  # before anything is made for hours in vain
            from . import training

            training.share(getattr(self.profile, name).batch_size, name)
        if processes.count() == 1 or stage.together:
            self._make_once(name, key)
        else:
            # In a process of its own, where nothing of the launcher changes how a model is trained or loaded.
            processes.main_first(lambda: processes.alone(_make_alone, self.profile, self.folder, name))
        if self._made(name).key != key:
            raise ArtifactError(
                f"Process {processes.rank()} does not see {self.folder / name}, which another one made. "
                "Let LLASA_HOME name a folder that all machines share."
            )

    def _make_once(self, name, key):
        with contextlib.ExitStack() as stack:
            if processes.is_main():
                self.folder.mkdir(parents=True, exist_ok=True)
                stack.enter_context(FileLock(self.folder / f".{name}.lock"))
                files.recover(self.folder / name)
            # Somebody else may have made it while this one waited for the lock.
            if processes.agree(self._made(name).key != key):
                self._make(name, key)
            processes.agree()

    def _make(self, name, key):
        from . import training

        training.quiet()
        # Checkpoints of another key are another run's: never resumed from.
        target, work = self.folder / name, self.folder / ".work" / f"{name}-{key}"
        if not processes.is_main():
            self._fill(name, None, work)
            return
        print(f"llasa: making {name} ({self.profile.name} profile) ...", flush=True)
        started = time.perf_counter()
        with files.atomic(target, folder=True) as temporary, one_blas_thread():
            self._fill(name, temporary, work)
            seconds = time.perf_counter() - started
            # Losses and settings of a run are no content: two runs may differ in them and give the same model.
            content = files.content(temporary, without=("history.json",))
            files.write_json({"key": key, "content": content, "seconds": seconds}, temporary / "stage.json")
        for done in work.parent.glob(f"{name}-{'[0-9a-f]' * len(key)}"):  # also of keys that the stage no longer has
            shutil.rmtree(done, ignore_errors=True)
        print(f"llasa: {name} done in {seconds:.0f} s", flush=True)

    def _fill(self, name, folder, work):
        _function(STAGES[name].make)(self, folder, work)

    def _made(self, name):
        try:
            return files.read_json(self.folder / name / "stage.json", _Made)
        except ArtifactError:
            return _Made()


def one_blas_thread():
    """One thread for the OpenBLAS inside NumPy and SciPy: from now on, or as long as a ``with`` lasts.

    What scikit-learn multiplies here is small, and two threads wait for each other ten times as long as they compute.
    torch multiplies with a library of its own.
    """
    return ThreadpoolController().select(prefix="libscipy_openblas").limit(limits=1)


def _function(name):
    module, _, function = name.rpartition(".")
    return getattr(importlib.import_module(f"{__package__}.{module}"), function)


def _make_alone(profile, folder, name):
    Pipeline(profile, folder).make(name)


def _loaded(load, folder):
    try:
        return load(folder)
    except (OSError, SafetensorError) as error:
        reason = first_line(error)
        raise ArtifactError(
            f"{folder} holds a broken file ({reason}). Delete the folder and run the stage again."
        ) from error


def ready(profile=None):
    """The tuned model of a profile as it lies on disk, whatever code made it.

    Raises
    ------
    ArtifactError
        If no model was tuned yet.
    """
    run = Pipeline(profile)
    folder = run.folder / "tune"
    if not (folder / "stage.json").exists():
        raise ArtifactError(f"No tuned model under {folder}. Make one with: llasa tune --profile {run.profile.name}")
    return _loaded(_function(STAGES["tune"].load), folder)

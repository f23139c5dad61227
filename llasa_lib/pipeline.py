"""The stages in order, each made once.

- ``Pipeline().tune()`` gives the tuned model: loaded if it was made from the same profile, data and code; else made,
  upstream stages first. So every chapter starts alone, in any order.
- An artifact is a folder ``artifacts/<profile>/<stage>/``: whole or absent; ``stage.json`` says what made it.
- An interrupted stage goes on from its last checkpoint in ``artifacts/<profile>/.work/``; what is trained stays there
  until it is saved, so that a full disk costs no training.
- Under a launcher, all processes train ``align`` and ``tune`` together; every other stage is made by the main one while
  the others wait. All need the same folder: several machines have to share it.
"""

import contextlib
import functools
import shutil
import time
from pathlib import Path

import datasets
import pyarrow.parquet as pq
from filelock import FileLock
from safetensors import SafetensorError
from threadpoolctl import ThreadpoolController

from . import (
    ablation,
    encoder,
    evaluation,
    files,
    model,
    processes,
    profiles,
    questions,
    recordings,
    signals,
    training,
    tuning,
)
from .errors import ArtifactError

STAGES = ("prepare", "pretrain", "ablate", "caption", "align", "compare", "tune", "evaluate")

# Trained by all processes of a launcher together: where a language model is run forwards and backwards.
_TOGETHER = ("align", "tune")

# What a stage is made of: (upstream stages, modules whose code counts, sections of the profile that count).
_INGREDIENTS = {
    "prepare": ((), ("recordings", "signals"), ("data",)),
    "pretrain": (("prepare",), ("encoder", "training.py"), ("encoder", "seed")),
    "ablate": (("pretrain",), ("ablation.py",), ("ablate",)),
    "caption": (("prepare",), ("captions", "questions"), ()),
    "align": (
        ("pretrain", "caption"),
        ("model", "language_models.py"),
        ("align", "language_model", "seed"),
    ),
    "compare": (("align",), ("ablation.py", "evaluation"), ("compare", "evaluate")),
    "tune": (("align",), ("tuning.py",), ("tune",)),
    "evaluate": (("tune",), ("evaluation",), ("evaluate",)),
}


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
        splits = self._stage("prepare", self._prepare, _load_splits)
        signals.check_disjoint(splits)
        return splits

    def pretrain(self):
        """Stage 2: windows of training subjects -> ``LimuBertForPreTraining``."""
        return self._stage("pretrain", self._pretrain, encoder.load)

    def ablate(self, full=False):
        """Beside stage 2: the published network, variants, and what labels are worth.

        Parameters
        ----------
        full : bool, everything that the profile lists, in a folder of its own; else what it shows by default.

        Returns
        -------
        published : LimuBertForPreTraining, the published network under its own settings.
        variants : list of dict; networks trained on as many windows, and macro-F1 of a linear probe, trained and
            untrained, across all but the test subjects (:func:`encoder.probe_across_people`).
        efficiency : list of dict, from :func:`encoder.label_efficiency`, on test subjects.
        """
        return self._beside("ablate", full, self._ablate, ablation.load_encoders)

    def caption(self):
        """Stage 3: windows -> corpus of captions and questions (``DatasetDict``)."""
        splits = self._stage("caption", self._caption, _load_splits)
        signals.check_disjoint(splits)
        return splits

    def align(self):
        """Stage 4: encoder + captions -> ``(model, processor)`` with a trained projector."""
        return self._stage("align", self._align, model.load)

    def compare(self, full=False):
        """Beside stage 4: what kinds and numbers of sensor tokens bring and cost, on validation subjects.

        Parameters
        ----------
        full : bool, as for :meth:`ablate`.

        Returns
        -------
        comparisons : list of dict; models aligned for a while, scored by log-probability.
        projectors : list of dict; projectors after a warm-up alone, scored by the nearest word; seconds of a step.
        """
        return self._beside("compare", full, self._compare, ablation.load_projectors)

    def _beside(self, name, full, make, load):
        if full:
            return self._stage(f"{name}-full", functools.partial(make, full=True), load)
        return self._stage(name, make, load)

    def _ablate(self, folder, work, full=False):
        ablation.encoders(self, folder, work, full)

    def _compare(self, folder, work, full=False):
        ablation.projectors(self, folder, work, full)

    def tune(self):
        """Stage 5: aligned model + questions -> ``(model, processor)`` with a LoRA adapter, merged for speed."""
        return self._stage("tune", self._tune, model.load)

    def evaluate(self):
        """Stage 6: the test on unseen subjects (``evaluation.Report``)."""
        return self._stage("evaluate", self._evaluate, lambda folder: evaluation.Report.load(folder / "report.json"))

    def run(self):
        """All stages in order; returns the report."""
        self.ablate()
        self.compare()
        return self.evaluate()

    def history(self, stage):
        """Loss curve of a training stage (``pretrain``, ``align``, ``tune``): list of dicts."""
        getattr(self, stage)()
        return files.read_json(self.folder / stage / "history.json")

    def seconds(self, stage):
        """How long it took to make a stage's artifact, without its upstream stages."""
        return files.read_json(self.folder / stage / "stage.json")["seconds"]

    def fingerprint(self, stage):
        """What the stage is made of: profile, data, code of the stage and of all stages before it."""
        upstream, modules, sections = _INGREDIENTS[stage.removesuffix("-full")]
        settings = self.profile.model_dump()
        return files.fingerprint(
            [self.fingerprint(name) for name in upstream],
            *(files.PACKAGE / module for module in modules),
            {section: settings[section] for section in sections},
        )

    # --- how each is made: a function that fills a folder -----------------------------------------------------------

    def _windows(self, folder, subjects=None, **options):
        """Windows of the profile's sets, by way of a file per person: large sets do not fit into memory as a whole."""
        data = self.profile.data
        chosen = subjects or data.subjects
        people = {name: _of_set(chosen, name) if chosen else recordings.people(name) for name in data.sets}
        return signals.make_shards(people, folder, data.rate, data.length, processes=data.processes, **options)

    def _prepare(self, folder, work):
        data = self.profile.data
        windows = self._windows(work)
        splits = signals.split_by_subject(windows, test=data.test_subjects, validation=data.validation_subjects)
        _save_splits(splits, folder)

    def _pretrain(self, folder, work):
        settings = self.profile.encoder
        windows = self.unlabelled(settings, work)
        limu_bert, history = self.pretrained(settings, windows, work / "training", keep=True)
        limu_bert.save_pretrained(folder)
        files.write_json(history, folder / "history.json")

    def unlabelled(self, settings, work):
        """Windows of the training subjects for pretraining, cut once for all settings of the same stride."""
        subjects = sorted(set(self.prepare()["train"]["subject"]))
        # No label is needed, so the transitions between the labelled activities are read as well.
        return self._windows(work / "windows" / str(settings.stride), subjects, stride=settings.stride, labelled=False)

    def pretrained(self, settings, windows, work, keep=False):
        """An encoder under any settings, and its loss curve."""
        config = encoder.LimuBertConfig(
            max_position_embeddings=self.profile.data.length, **settings.network.model_dump()
        )
        return encoder.pretrain(windows, settings, work, self.profile.seed, config, keep)

    def _caption(self, folder, work):
        splits = self.prepare()
        _save_splits(datasets.DatasetDict({k: questions.make_corpus(v) for k, v in splits.items()}), folder)

    @functools.cached_property
    def training_corpus(self):
        """The training corpus of alignment and tuning, with the copies that the profile asks for.

        Kept: measuring the copies takes a quarter of a minute, and every model of a comparison learns from them.
        """
        settings = self.profile.align
        return questions.add_augmented(
            self.caption()["train"], settings.copies, settings.copy_turn, settings.copy_mirror, self.profile.seed
        )

    def build(self, settings):
        """A fresh model and processor under the settings of an alignment, and the training corpus."""
        corpus = self.training_corpus
        llasa, processor = model.build(
            self.pretrain().limu_bert,
            signals.to_array(corpus),
            self.profile.language_model,
            settings.steps_per_token,
            settings.summary_tokens,
            settings.standardise,
            self.profile.seed,
            settings.projector,
        )
        return llasa, processor, corpus

    def _align(self, folder, work):
        settings = self.profile.align
        llasa, processor, corpus = self.build(settings)
        history = model.align(llasa, processor, corpus, settings, work, self.profile.seed, keep=True)
        _keep(llasa, processor, history, folder)

    def _tune(self, folder, work):
        llasa, processor = self.align()
        corpus = self.training_corpus
        tuned, history = tuning.tune(llasa, processor, corpus, self.profile.tune, work, self.profile.seed, keep=True)
        _keep(tuned, processor, history, folder)

    def _evaluate(self, folder, work):
        splits = self.prepare()
        train = splits["train"]
        baselines = evaluation.fit_baselines(
            signals.to_array(train), train["activity"], self.pretrain(), self.profile.seed
        )
        llasa, processor = self.tune()
        report = evaluation.evaluate(
            llasa,
            processor,
            splits["test"],
            baselines,
            self.profile.evaluate,
            profile=self.profile.name,
            seed=self.profile.seed,
        )
        report.save(folder / "report.json")

    # --- load or make -----------------------------------------------------------------------------------------------

    def _stage(self, name, make, load):
        target, wanted = self.folder / name, self.fingerprint(name)
        if processes.agree(self._made_from(name) != wanted):
            if name in _TOGETHER:  # before anything is made for hours in vain
                training.share(getattr(self.profile, name).batch_size, name)
            for upstream in _INGREDIENTS[name.removesuffix("-full")][0]:
                getattr(self, upstream)()
            if processes.count() == 1 or name in _TOGETHER:
                self._make_once(name, make, target, wanted)
            else:
                # In a process of its own, where nothing of the launcher changes how a model is trained or loaded.
                processes.main_first(lambda: processes.alone(_make_alone, self.profile, self.folder, name))
            if self._made_from(name) != wanted:
                raise ArtifactError(
                    f"Process {processes.rank()} does not see {target}, which another one made. "
                    "Let LLASA_HOME name a folder that all machines share."
                )
        return _loaded(load, target)

    def _make_once(self, name, make, target, wanted):
        with contextlib.ExitStack() as stack:
            if processes.is_main():
                stack.enter_context(FileLock(_parent(self.folder / f".{name}.lock")))
            # Somebody else may have made it while this one waited for the lock.
            if processes.agree(self._made_from(name) != wanted):
                self._make(name, make, target, wanted)
            processes.agree()

    def _make(self, name, make, target, wanted):
        training.quiet()
        # Checkpoints of another fingerprint are another run's: never resumed from.
        work = self.folder / ".work" / f"{name}-{wanted}"
        if not processes.is_main():
            make(None, work)
            return
        print(f"llasa: making {name} ({self.profile.name} profile) ...", flush=True)
        started = time.perf_counter()
        for killed in self.folder.glob(f".{name}.*.partial"):  # the lock is ours: nobody writes there any more
            shutil.rmtree(killed, ignore_errors=True)
        with files.atomic(target) as temporary, one_blas_thread():
            temporary.mkdir(parents=True)
            make(temporary, work)
            seconds = time.perf_counter() - started
            files.write_json({"fingerprint": wanted, "seconds": seconds}, temporary / "stage.json")
        shutil.rmtree(work, ignore_errors=True)
        print(f"llasa: {name} done in {seconds:.0f} s", flush=True)

    def _made_from(self, name):
        try:
            return files.read_json(self.folder / name / "stage.json")["fingerprint"]
        except (ArtifactError, KeyError):
            return None


def one_blas_thread():
    """One thread for the OpenBLAS inside NumPy and SciPy: from now on, or as long as a ``with`` lasts.

    What scikit-learn multiplies here is small, and two threads wait for each other ten times as long as they compute.
    torch multiplies with a library of its own.
    """
    return ThreadpoolController().select(prefix="libscipy_openblas").limit(limits=1)


def _make_alone(profile, folder, name):
    stage = getattr(Pipeline(profile, folder), name.removesuffix("-full"))
    stage(full=True) if name.endswith("-full") else stage()


def _keep(llasa, processor, history, folder):
    """Write what was trained; processes other than the main one trained along, and have no folder."""
    if folder is not None:
        model.save(llasa, processor, folder)
        files.write_json(history, folder / "history.json")


def _of_set(subjects, name):
    return [subject for subject in subjects if subject.startswith(f"{name}-")]


def _parent(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _save_splits(splits, folder):
    for name, split in splits.items():
        split.to_parquet(str(folder / f"{name}.parquet"))


def _load_splits(folder):
    def read(path):
        # Read into memory: the set is small, and the hub library's own cache would keep a second copy on disk.
        return datasets.Dataset(datasets.table.InMemoryTable(pq.read_table(path)))

    try:
        return datasets.DatasetDict(
            {name: read(folder / f"{name}.parquet") for name in ("train", "validation", "test")}
        )
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{folder} is incomplete ({error}). Delete it and run the stage again.") from error


def _loaded(load, folder):
    try:
        return load(folder)
    except (OSError, SafetensorError) as error:
        reason = str(error).splitlines()[0]
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
    return _loaded(model.load, folder)


__all__ = ["STAGES", "Pipeline", "ready"]

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
import json
import shutil
import time
from pathlib import Path

import datasets
import numpy as np
import pyarrow.parquet as pq
from filelock import FileLock
from safetensors import SafetensorError
from threadpoolctl import ThreadpoolController

from . import (
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

STAGES = ("prepare", "pretrain", "represent", "caption", "align", "compare", "tune", "evaluate")

# Trained by all processes of a launcher together: where a language model is run forwards and backwards.
_TOGETHER = ("align", "tune")

# What a stage is made of: (upstream stages, modules whose code counts, sections of the profile that count).
_INGREDIENTS = {
    "prepare": ((), ("recordings", "signals"), ("data",)),
    "pretrain": (("prepare",), ("encoder", "training.py"), ("encoder", "seed")),
    "represent": (("pretrain",), (), ("represent",)),
    "caption": (("prepare",), ("captions", "questions"), ()),
    "align": (
        ("pretrain", "caption"),
        ("model", "language_models.py"),
        ("align", "language_model", "seed"),
    ),
    "compare": (("align",), ("evaluation",), ("evaluate",)),
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

    def represent(self):
        """Beside stage 2: the published network, variants, and what labels are worth.

        Returns
        -------
        published : LimuBertForPreTraining, the published network under its own settings.
        variants : list of dict; networks trained on as many windows, and macro-F1 of a linear probe, trained and
            untrained, across all but the test subjects (:func:`encoder.probe_across_people`).
        efficiency : list of dict, from :func:`encoder.label_efficiency`, on test subjects.
        """
        return self._stage("represent", self._represent, _load_represent)

    def caption(self):
        """Stage 3: windows -> corpus of captions and questions (``DatasetDict``)."""
        splits = self._stage("caption", self._caption, _load_splits)
        signals.check_disjoint(splits)
        return splits

    def align(self):
        """Stage 4: encoder + captions -> ``(model, processor)`` with a trained projector."""
        return self._stage("align", self._align, model.load)

    def compare(self):
        """Beside stage 4: what kinds and numbers of sensor tokens bring and cost, on validation subjects.

        Returns
        -------
        comparisons : list of dict; models aligned for a while, scored by log-probability.
        projectors : list of dict; projectors after a warm-up alone, scored by the nearest word; seconds of a step.
        """
        return self._stage("compare", self._compare, _load_compare)

    def tune(self):
        """Stage 5: aligned model + questions -> ``(model, processor)`` with a LoRA adapter, merged for speed."""
        return self._stage("tune", self._tune, model.load)

    def evaluate(self):
        """Stage 6: the test on unseen subjects (``evaluation.Report``)."""
        return self._stage("evaluate", self._evaluate, lambda folder: evaluation.Report.load(folder / "report.json"))

    def run(self):
        """All stages in order; returns the report."""
        self.represent()
        self.compare()
        return self.evaluate()

    def history(self, stage):
        """Loss curve of a training stage (``pretrain``, ``align``, ``tune``): list of dicts."""
        getattr(self, stage)()
        return _read_json(self.folder / stage / "history.json")

    def seconds(self, stage):
        """How long it took to make a stage's artifact, without its upstream stages."""
        return _read_json(self.folder / stage / "stage.json")["seconds"]

    def fingerprint(self, stage):
        """What the stage is made of: profile, data, code of the stage and of all stages before it."""
        upstream, modules, sections = _INGREDIENTS[stage]
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
        return signals.make_shards(people, folder, processes=data.processes, **options)

    def _prepare(self, folder, work):
        data = self.profile.data
        windows = self._windows(work)
        splits = signals.split_by_subject(windows, test=data.test_subjects, validation=data.validation_subjects)
        _save_splits(splits, folder)

    def _pretrain(self, folder, work):
        settings = self.profile.encoder
        windows = self._unlabelled(settings, work)
        limu_bert, history = self._pretrained(settings, windows, work / "training", keep=True)
        limu_bert.save_pretrained(folder)
        _write_json(history, folder / "history.json")

    def _unlabelled(self, settings, work):
        """Windows of the training subjects for pretraining, cut once for all settings of the same stride."""
        subjects = sorted(set(self.prepare()["train"]["subject"]))
        # No label is needed, so the transitions between the labelled activities are read as well.
        return self._windows(work / "windows" / str(settings.stride), subjects, stride=settings.stride, labelled=False)

    def _pretrained(self, settings, windows, work, keep=False):
        """An encoder under any settings, and its loss curve."""
        config = encoder.LimuBertConfig(max_position_embeddings=signals.LENGTH, **settings.network.model_dump())
        return encoder.pretrain(windows, settings, work, self.profile.seed, config, keep)

    def _represent(self, folder, work):
        settings, splits = self.profile.represent, self.prepare()
        sides = {
            name: (signals.to_array(split), np.array(split["activity"]), np.array(split["subject"]))
            for name, split in splits.items()
        }
        rows = encoder.label_efficiency(
            self.pretrain(), sides["train"][:2], sides["test"][:2], settings, work / "efficiency", self.profile.seed
        )
        _write_json(rows, folder / "efficiency.json")
        # What is finished stays in the work folder, so that an interrupted stage need not train it again.
        published = work / "published"
        if not published.exists():
            windows = self._unlabelled(settings.published, work)
            limu_bert, history = self._pretrained(settings.published, windows, work / "training")
            with files.atomic(published) as temporary:
                limu_bert.save_pretrained(temporary)
                _write_json(history, temporary / "history.json")
        shutil.copytree(published, folder / "published")
        rows = [
            _once(work / "variants" / f"{name}.json", lambda kept, name=name: self._variant(name, sides, work, kept))
            for name in settings.variants
        ]
        _write_json(rows, folder / "variants.json")

    def _variant(self, name, sides, work, kept):
        """Train one variant for a while and probe it, trained and untrained, across all but the test subjects."""
        settings = self.profile.variant(name)
        settings = settings.model_copy(update={"epochs": self.profile.represent.comparison_epochs})
        windows = self._unlabelled(settings, work)
        started = time.perf_counter()
        limu_bert, _ = self._pretrained(settings, windows, kept.with_suffix(".training"))
        row = {"variant": name, "seconds": time.perf_counter() - started}
        fresh = encoder.random_like(limu_bert, sides["train"][0], self.profile.seed)
        imu, activities, subjects = (
            np.concatenate(side) for side in zip(sides["train"], sides["validation"], strict=True)
        )
        for kind, one in (("untrained", fresh), ("trained", limu_bert)):
            states = encoder.embed(one, imu, reduce=encoder.pool)
            row[kind] = encoder.probe_across_people(states, activities, subjects)
        return row

    def _caption(self, folder, work):
        splits = self.prepare()
        _save_splits(datasets.DatasetDict({k: questions.make_corpus(v) for k, v in splits.items()}), folder)

    @functools.cached_property
    def _lessons(self):
        """The training corpus of alignment and tuning, with the copies that the profile asks for.

        Kept: measuring the copies takes a quarter of a minute, and every model of a comparison learns from them.
        """
        settings = self.profile.align
        return questions.add_carried(
            self.caption()["train"], settings.copies, settings.copy_turn, settings.copy_mirror, self.profile.seed
        )

    def _build(self, settings):
        """A fresh model and processor under the settings of an alignment, and the training corpus."""
        corpus = self._lessons
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
        llasa, processor, corpus = self._build(settings)
        history = model.align(llasa, processor, corpus, settings, work, self.profile.seed, keep=True)
        _keep(llasa, processor, history, folder)

    def _compare(self, folder, work):
        settings = self.profile.align
        for where, make in (("comparisons", self._aligned_row), ("projectors", self._projector_row)):
            rows = [
                _once(
                    work / where / f"{name}.json",
                    lambda kept, name=name, where=where, make=make: make(name, settings.variant(where, name), kept),
                )
                for name in getattr(settings, where)
            ]
            _write_json(rows, folder / f"{where}.json")

    def _aligned_row(self, name, settings, kept):
        """A variant aligned for a while, and its score on validation subjects."""
        llasa, processor, corpus = self._build(settings)
        started = time.perf_counter()
        model.align(
            llasa,
            processor,
            corpus,
            settings,
            kept.with_suffix(".training"),
            self.profile.seed,
            epochs=settings.comparison_epochs,
            caption_share=0.0,
        )
        seconds = time.perf_counter() - started
        score = evaluation.validate(llasa.eval(), processor, self.prepare()["validation"], self.profile.evaluate)
        return {"tokens": name, "per window": processor.tokens_per_window, "seconds": seconds, **score}

    def _projector_row(self, name, settings, kept):
        """A variant after its warm-up: what the nearest word scores, and what a step of alignment would cost."""
        llasa, processor, corpus = self._build(settings)
        settings = settings.model_copy(update={"warm_up_epochs": settings.projector_epochs})
        model.warm_up(llasa, processor, corpus, settings, self.profile.seed)
        return {
            "projector": name,
            "kind": settings.projector,
            "per window": processor.tokens_per_window,
            "parameters": training.count(llasa.model.projector)[1],
            "seconds per step": model.step_seconds(llasa, processor, corpus, settings.batch_size, self.profile.seed),
            "macro-F1": evaluation.by_nearest_word(llasa.eval(), processor, self.prepare()["validation"]),
        }

    def _tune(self, folder, work):
        llasa, processor = self.align()
        corpus = self._lessons
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
            for upstream in _INGREDIENTS[name][0]:
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
            _write_json({"fingerprint": wanted, "seconds": seconds}, temporary / "stage.json")
        shutil.rmtree(work, ignore_errors=True)
        print(f"llasa: {name} done in {seconds:.0f} s", flush=True)

    def _made_from(self, name):
        try:
            return _read_json(self.folder / name / "stage.json")["fingerprint"]
        except (ArtifactError, KeyError):
            return None


def one_blas_thread():
    """One thread for the OpenBLAS inside NumPy and SciPy: from now on, or as long as a ``with`` lasts.

    What scikit-learn multiplies here is small, and two threads wait for each other ten times as long as they compute.
    torch multiplies with a library of its own.
    """
    return ThreadpoolController().select(prefix="libscipy_openblas").limit(limits=1)


def _make_alone(profile, folder, name):
    getattr(Pipeline(profile, folder), name)()


def _keep(llasa, processor, history, folder):
    """Write what was trained; processes other than the main one trained along, and have no folder."""
    if folder is not None:
        model.save(llasa, processor, folder)
        _write_json(history, folder / "history.json")


def _of_set(subjects, name):
    return [subject for subject in subjects if subject.startswith(f"{name}-")]


def _parent(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _write_json(value, path):
    path.write_text(json.dumps(value, indent=1), encoding="utf-8")


def _read_json(path):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path} cannot be read ({error}). Delete its folder and run the stage again.") from error


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


def _once(kept, make):
    """A row of a table that is long in the making: it is kept, so that an interrupted stage need not make it again."""
    if not kept.exists():
        row = make(kept)
        with files.atomic(kept) as temporary:
            _write_json(row, temporary)
    return _read_json(kept)


def _load_compare(folder):
    return tuple(_read_json(folder / f"{name}.json") for name in ("comparisons", "projectors"))


def _load_represent(folder):
    published = encoder.load(folder / "published")
    return published, _read_json(folder / "variants.json"), _read_json(folder / "efficiency.json")


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

"""How each stage is made: a function that fills a folder, from what the stages before it left.

Each takes ``run`` (the :class:`pipeline.Pipeline`: its profile and its loaded stages), ``folder`` to fill, and ``work``
for what an interrupted run goes on from. :mod:`pipeline` decides when one is called.
"""

import warnings

import datasets
import numpy as np
import pyarrow.parquet as pq

from . import encoder, evaluation, files, model, processes, questions, recordings, signals, tuning
from .errors import ArtifactError, FetchError

SPLITS = ("train", "validation", "test")


def prepare(run, folder, work):
    """Recordings -> windows, split by subject."""
    data = run.profile.data
    everybody, missing = _within_reach(data)
    of_those = lambda named: [one for one in named if one.rpartition("-")[0] not in missing]
    test, validation = of_those(data.test_subjects), of_those(data.validation_subjects)
    if missing and not (everybody and test and validation):  # nobody is left in one of them
        raise next(iter(missing.values()))
    for name, reason in missing.items():
        warnings.warn(
            f"{name} is left out, because it cannot be fetched: {reason} "
            f"To try again, delete {run.folder / 'prepare'} and run the stage once more.",
            stacklevel=2,
        )
    _save_splits(signals.split_by_subject(windows(run, work, everybody), test, validation), folder)


def pretrain(run, folder, work):
    """Windows of training subjects -> LIMU-BERT."""
    settings = run.profile.encoder
    frame = signals.calibrate(unlabelled(run, settings, work)).frame
    limu_bert, history = pretrained(run, settings, frame, work / "training", keep=True)
    limu_bert.save_pretrained(folder)
    files.write_json(history, folder / "history.json")


def caption(run, folder, work):
    """Windows -> captions and questions; of the training windows also those of their augmented copies."""
    settings = run.profile.caption
    splits = {name: questions.make_corpus(split) for name, split in run.prepare().items()}
    augmented = questions.add_augmented(splits["train"], settings.copies, run.profile.seed)
    _save_splits({**splits, "augmented": augmented}, folder)


def align(run, folder, work):
    """Encoder + captions -> model with a trained projector."""
    settings = run.profile.align
    llasa, processor, corpus = build(run, settings)
    history = model.align(llasa, processor, corpus, settings, work, run.profile.seed, keep=True)
    if processes.count() == 1:  # shared out among several, the projector is whole in none of them
        _fit_temperature(llasa, processor, run.caption()["validation"])
    _save_model(llasa, processor, history, folder)


def tune(run, folder, work):
    """Aligned model + questions -> LoRA adapter."""
    llasa, processor = run.align()
    corpus, settings = run.training_corpus(), run.profile.tune
    tuned, history = tuning.tune(llasa, processor, corpus, settings, work, run.profile.seed, keep=True)
    _save_model(tuned, processor, history, folder)


def evaluate(run, folder, work):
    """The tuned model and its rivals on test subjects -> report."""
    profile, splits = run.profile, run.prepare()
    train = splits["train"]
    rivals = evaluation.fit_baselines(signals.calibrate(train), train["activity"], run.pretrain(), profile.seed)
    report = evaluation.evaluate(
        *run.tune(), splits["test"], rivals, profile.evaluate, profile=profile.name, seed=profile.seed
    )
    report.save(folder / "report.json")
    (folder / "report.txt").write_text(f"{report}\n", encoding="utf-8")  # to be read without any of the library


# --- what several of them need ------------------------------------------------------------------------------------


def windows(run, folder, subjects=None, **options):
    """Windows of the profile's sets, by way of a file per person: large sets do not fit into memory as a whole."""
    data = run.profile.data
    chosen = subjects or data.subjects
    people = {name: _of_set(chosen, name) if chosen else recordings.people(name) for name in data.sets}
    return signals.make_shards(people, folder, processes=data.processes, **options)


def unlabelled(run, settings, work):
    """Windows of the training subjects for pretraining, cut once for all settings of the same stride."""
    subjects = sorted(set(run.prepare()["train"]["subject"]))
    # No label is needed, so the transitions between the labelled activities are read as well.
    return windows(run, work / "windows" / str(settings.stride), subjects, stride=settings.stride, labelled=False)


def pretrained(run, settings, imu, work, keep=False):
    """An encoder under any settings, and its loss curve."""
    config = encoder.LimuBertConfig(max_position_embeddings=signals.LENGTH, **settings.network.model_dump())
    return encoder.pretrain(imu, settings, work, run.profile.seed, config, keep)


def build(run, settings):
    """A fresh model and processor under the settings of an alignment, and the training corpus."""
    corpus = run.training_corpus()
    taught, validation = signals.calibrate(corpus), signals.calibrate(run.caption()["validation"])
    llasa, processor = model.build(
        run.pretrain().limu_bert,
        taught,
        run.profile.language_model,
        settings.steps_per_token,
        settings.summary_tokens,
        settings.standardise,
        run.profile.seed,
        settings.projector,
    )
    model.familiarity.fit(processor.feature_extractor, taught, corpus["activity"], validation)
    return llasa, processor, corpus


def _fit_temperature(llasa, processor, validation):
    """How sure the model is, corrected on validation people; kept with the processor."""
    told = signals.calibrate(validation, placement=validation["placement"])
    names, probabilities = model.recognised(llasa, processor, told)
    truth = np.array([names.index(one) for one in validation["activity"]])
    processor.feature_extractor.familiar["temperature"] = model.familiarity.fit_temperature(probabilities, truth)


def _within_reach(data):
    """([person, ...], {set: error}): everybody whom a profile reads, and why some sets cannot be fetched.

    A damaged file is no such reason: whoever has a set wants to know.
    """
    everybody, missing = [], {}
    for name in data.sets:
        try:
            theirs = _of_set(data.subjects, name) if data.subjects else recordings.people(name)
            if theirs:
                recordings.sources.find(name)
            everybody += theirs
        except FetchError as error:
            missing[name] = error
    return everybody, missing


def _of_set(subjects, name):
    return [subject for subject in subjects if subject.startswith(f"{name}-")]


# --- files --------------------------------------------------------------------------------------------------------


def load_splits(folder):
    """``DatasetDict`` of train, validation, test; nobody is in two of them."""
    splits = datasets.DatasetDict({name: load_table(folder, name) for name in SPLITS})
    signals.check_disjoint(splits)
    return splits


def load_table(folder, name):
    """One data set of a stage, read into memory: the hub library's own cache would keep a second copy on disk."""
    try:
        return datasets.Dataset(datasets.table.InMemoryTable(pq.read_table(folder / f"{name}.parquet")))
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{folder} is incomplete ({error}). Delete it and run the stage again.") from error


def _save_splits(splits, folder):
    for name, split in splits.items():
        split.to_parquet(str(folder / f"{name}.parquet"))


def _save_model(llasa, processor, history, folder):
    """Write what was trained; processes other than the main one trained along, and have no folder."""
    if folder is not None:
        model.save(llasa, processor, folder)
        files.write_json(history, folder / "history.json")


def load_report(folder):
    """What :func:`evaluate` left."""
    return evaluation.Report.load(folder / "report.json")

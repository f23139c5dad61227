"""What each part is worth: the same model with one thing changed, beside what was chosen (chapters 2 and 4).

- ``encoders``: variants of the encoder, the published network, and what labels are worth to readers of it.
- ``projectors``: kinds and numbers of sensor tokens, and what stands between encoder and language model.

Nothing here is part of the model that is tuned. So a few rows, trained for a while, answer the chapters' questions; the
full grid is made on request. Whatever rows have in common is read once, and every finished row is kept at once.
"""

import functools
import shutil
import time

import numpy as np
import torch

from . import encoder, evaluation, files, language_models, model, processes, signals, stages, training

ROWS = list[dict[str, str | int | float]]


def encoders(run, folder, work, full=False):
    """Variants of the encoder, the published network, and label efficiency.

    Parameters
    ----------
    run : Pipeline
    folder : path, gets ``published/``, ``variants.json`` and ``efficiency.json``: see :func:`load_encoders`.
    work : path, keeps what is finished, so that an interrupted run goes on behind it.
    full : bool, the full grid of the profile.
    """
    settings, splits, seed = run.profile.ablate.grid(full), run.prepare(), run.profile.seed
    sides = {name: (signals.calibrate(split).frame, np.array(split["activity"])) for name, split in splits.items()}
    workers = 1 if torch.cuda.is_available() or processes.count() > 1 else run.profile.data.processes
    rows = encoder.label_efficiency(
        run.pretrain(), sides["train"], sides["test"], settings, work / "efficiency", seed, workers
    )
    files.write_json(rows, folder / "efficiency.json")

    @functools.cache
    def windows(stride):
        chosen = run.profile.encoder.model_copy(update={"stride": stride})
        return signals.calibrate(stages.unlabelled(run, chosen, work)).frame

    published = work / "published"
    if not published.exists():
        limu_bert, history = stages.pretrained(
            run, settings.published, windows(settings.published.stride), work / "training"
        )
        with files.atomic(published, folder=True) as temporary:
            limu_bert.save_pretrained(temporary)
            files.write_json(history, temporary / "history.json")
    shutil.copytree(published, folder / "published")

    imu, activities = (np.concatenate(parts) for parts in zip(sides["train"], sides["validation"], strict=True))
    people = [*splits["train"]["subject"], *splits["validation"]["subject"]]

    def probed(one):
        return encoder.probe_across_people(encoder.embed(one, imu, reduce=encoder.pool), activities, people)

    def row(name, kept):
        chosen = run.profile.variant(name).model_copy(update={"epochs": settings.comparison_epochs})
        started = time.perf_counter()
        trained, _ = stages.pretrained(run, chosen, windows(chosen.stride), kept.with_suffix(".training"))
        seconds = time.perf_counter() - started
        fresh = encoder.random_like(trained, sides["train"][0], seed)
        return {"variant": name, "seconds": seconds, "untrained": probed(fresh), "trained": probed(trained)}

    _table(settings.rows("variants"), row, work / "variants", folder / "variants.json")


def projectors(run, folder, work, full=False):
    """Models aligned for a while, and projectors after a warm-up alone.

    Parameters
    ----------
    run, work, full : as for :func:`encoders`.
    folder : path, gets ``comparisons.json`` and ``projectors.json``: see :func:`load_projectors`.
    """
    settings, seed = run.profile.compare.grid(full), run.profile.seed
    corpus, validation = _some(run.training_corpus(), settings.windows), run.prepare()["validation"]
    imu, text = signals.calibrate(corpus), run.profile.language_model
    # Nobody trains the language model, and only a row whose encoder is thawed reads the windows anew.
    loaded = language_models.load(text.name, chat=text.chat, quantize=text.quantize)
    sensor = {}

    def build(table, name):
        shared = {"warm_up_epochs": settings.warm_up_epochs, "batch_size": settings.batch_size, "caption_share": 0.0}
        shared["epochs"] = settings.steps * settings.batch_size / len(corpus)
        chosen = run.profile.variant(name, table).model_copy(update=shared)
        kind = chosen.steps_per_token, chosen.summary_tokens, chosen.standardise, seed, chosen.projector
        llasa, processor = model.build(run.pretrain().limu_bert, imu, text, *kind, loaded)
        if chosen.steps_per_token and not sensor:
            sensor.update(model.read_once(training.freeze(llasa), processor, imu))
        return chosen, llasa, processor

    def aligned(name, kept):
        chosen, llasa, processor = build("comparisons", name)
        started = time.perf_counter()
        model.align(llasa, processor, corpus, chosen, kept.with_suffix(".training"), seed, sensor=sensor)
        seconds = time.perf_counter() - started
        score = evaluation.validate(llasa.eval(), processor, _some(validation, settings.judges), run.profile.evaluate)
        return {"tokens": name, "per window": processor.tokens_per_window, "seconds": seconds, **score}

    def warmed(name, kept):
        chosen, llasa, processor = build("projectors", name)
        model.warm_up(llasa, processor, corpus, chosen, seed, sensor)
        return {
            "projector": name,
            "kind": chosen.projector,
            "per window": processor.tokens_per_window,
            "parameters": training.count(llasa.model.projector)[1],
            "seconds per step": model.step_seconds(llasa, processor, corpus, chosen.batch_size, seed),
            "macro-F1": evaluation.by_nearest_word(llasa.eval(), processor, validation),
        }

    for table, row in (("comparisons", aligned), ("projectors", warmed)):
        _table(settings.rows(table), row, work / table, folder / f"{table}.json")


def all_encoders(run, folder, work):
    """:func:`encoders` with everything that the profile lists."""
    encoders(run, folder, work, full=True)


def all_projectors(run, folder, work):
    """:func:`projectors` with everything that the profile lists."""
    projectors(run, folder, work, full=True)


def load_encoders(folder):
    """What :func:`encoders` left: (LimuBertForPreTraining, rows of variants, rows of label efficiency)."""
    published = encoder.load(folder / "published")
    return published, *(files.read_json(folder / f"{name}.json", ROWS) for name in ("variants", "efficiency"))


def load_projectors(folder):
    """What :func:`projectors` left: (rows of comparisons, rows of projectors)."""
    return tuple(files.read_json(folder / f"{name}.json", ROWS) for name in ("comparisons", "projectors"))


def _some(windows, count):
    """Evenly spaced rows of a data set, so that everybody and every activity stays in."""
    if count is None or count >= len(windows):
        return windows
    return windows.select(np.linspace(0, len(windows) - 1, count).astype(int))


def _table(names, make, work, path):
    """Write a row for each name; those that an interrupted run finished are taken from ``work``."""
    rows = []
    for name in names:
        kept = work / f"{name}.json"
        if not kept.exists():
            files.write_json(make(name, kept), kept)
        rows.append(files.read_json(kept, dict))
    files.write_json(rows, path)

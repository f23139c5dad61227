"""LoRA on question-answer pairs: the aligned model learns to explain itself (chapter 5).

- The adapter is peft's, on the language model's layers; the projector is trained along, at its own learning rate.
- Several questions about one window are packed into one conversation, so that its sensor tokens are paid for once.
"""

import json

import numpy as np
import torch
from transformers.pytorch_utils import Conv1D

from . import captions, questions, signals, training
from .errors import ModelError
from .model import Conversations, collate, freeze_mask_token, read_once, with_measurements, with_placement


def tuning_samples(corpus, turns, epochs, seed, measured_share=0.0):
    """Conversations of ``turns`` questions about each window; one is always the recognition.

    Parameters
    ----------
    corpus : datasets.Dataset
        Windows with ``questions`` and ``facts`` (chapter 3).
    turns : int
        Up to five are questions of the corpus, of different kinds. More of them, for conversations with measured
        values alone, are made from the window's facts: the line of values is long, and is paid for once.
    epochs : float
        Passes over the windows; every pass draws other questions.
    measured_share : float
        Share of conversations with the measured values in the prompt (:func:`with_measurements`). The others then ask
        for the activity alone: an answer with numbers would teach to make them up. At 0, as published, all ask
        everything.

    Returns
    -------
    list of (int, list of (question, answer))
    """
    rng = np.random.default_rng(seed)
    asked, facts, activities, told = (corpus[name] for name in ("questions", "facts", "activity", "told"))
    samples = []
    for number, row in enumerate(training.passes(len(corpus), epochs, rng)):
        measured = rng.random() < measured_share
        pairs = [(pair["question"], pair["answer"]) for pair in asked[row]]
        named = [n for n, pair in enumerate(asked[row]) if pair["kind"] == "recognition"][:1]
        measurements = captions.Facts.from_dict(json.loads(facts[row])) if measured else None
        if measured:
            pairs += _further(pairs, measurements, activities[row], turns, f"{seed}-{number}")
        others = [n for n in range(len(pairs)) if n not in named] if measured or not measured_share else []
        chosen = named + rng.permutation(others)[: turns - 1].tolist()
        rng.shuffle(chosen)
        talk = [pairs[n] for n in chosen]
        if measured:
            talk[0] = (with_measurements(talk[0][0], measurements), talk[0][1])
        talk[0] = (with_placement(talk[0][0], told[row]), talk[0][1])
        samples.append((row, talk))
    return samples


def _further(pairs, facts, activity, turns, seed):
    """Questions about a window beyond its ``pairs``, until there are ``turns`` in all; none is asked twice."""
    known, further, rounds = {question for question, _ in pairs}, [], 0
    while len(known) < turns:
        for pair in questions.make(facts, activity, f"{seed}-{rounds}"):
            if pair.kind != "recognition" and pair.question not in known:
                known.add(pair.question)
                further.append((pair.question, pair.answer))
        rounds += 1
    return further


def add_adapter(model, settings):
    """Put a LoRA adapter on the language model's layers; the projector stays trainable as a whole.

    Parameters
    ----------
    model : LlasaForConditionalGeneration
    settings : profiles.Tune

    Returns
    -------
    peft.PeftModel

    Raises
    ------
    ModelError
        If the language model has no layer of the profile's ``targets``: families name them differently. If the encoder
        is to learn and no token is made of what it says.
    """
    from peft import LoraConfig, get_peft_model

    training.freeze(model)
    # What peft adds is float32; what is trained beside it may have been loaded in half precision.
    model.model.projector.to(torch.float32)
    if settings.encoder_learning_rate:
        model.model.thaw_encoder()
    inner = model.model.language_model
    kinds = (torch.nn.Linear, Conv1D)  # GPT-2 writes its layers the other way round
    layers = {name.split(".")[-1] for name, part in inner.named_modules() if isinstance(part, kinds)}
    if not layers & set(settings.targets):
        raise ModelError(
            f"{type(inner).__name__} has no layer {' or '.join(settings.targets)} to put an adapter on. "
            f"In the profile, set tune: targets to some of: {', '.join(sorted(layers))}."
        )
    targets = "|".join(settings.targets)
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        # Only inside the language model: the encoder has layers of the same kind.
        target_modules=rf".*language_model\..*\.({targets})",
        modules_to_save=["projector", *(["encoder"] if settings.encoder_learning_rate else [])],
        task_type=None,
    )
    tuned = get_peft_model(model, config)
    freeze_mask_token(tuned)  # peft thaws its copy of the encoder as a whole
    return tuned


def tune(model, processor, corpus, settings, folder, seed, keep=False):
    """Train adapter and projector on question-answer pairs.

    Parameters
    ----------
    model : LlasaForConditionalGeneration
        The aligned model; gets the adapter in place.
    processor : LlasaProcessor
        Its ``measurements`` are set to whether any conversation brought them.
    corpus : datasets.Dataset
        Training windows with questions.
    settings : profiles.Tune
    folder : path
        For checkpoints while the run lasts.
    keep : bool
        See :func:`training.fit`.

    Returns
    -------
    (peft.PeftModel, list of dict)
        The tuned model and its loss curve.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)  # the adapter's first weights must not depend on what ran before in this process
        tuned = add_adapter(model, settings)
    groups = {"projector": settings.projector_learning_rate}
    if settings.encoder_learning_rate:
        groups["model.encoder"] = settings.encoder_learning_rate
    history = training.fit(
        tuned,
        Conversations(
            processor,
            read_once(tuned.get_base_model(), processor, signals.calibrate(corpus)),
            tuning_samples(corpus, settings.turns, settings.epochs, seed, settings.measured_share),
            settings.batch_size,
            seed,
        ),
        folder,
        settings,
        seed,
        groups=groups,
        collate=lambda batch: collate(batch, processor.tokenizer.pad_token_id),
        repeat=False,
        shuffle=False,
        description="tuning",
        keep=keep,
    )
    processor.measurements = settings.measured_share > 0
    return tuned, history

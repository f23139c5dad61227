"""One training loop for every stage, on ``transformers.Trainer``.

- Only what training changes is written to checkpoints - trainable weights, and buffers such as running means: a frozen
  language model is not saved again and again.
- A run that was interrupted goes on from its last checkpoint; a finished run removes them.
- Parameter groups by name, so that projector and adapter get their own learning rate.
- A loss that is not a number stops the run with a sentence, and the last good checkpoint stays.
"""

import contextlib
import json
import logging
import math
import shutil
import sys
import warnings
from pathlib import Path

import numpy as np
import torch
import transformers
from safetensors.torch import load_file, save_file
from tqdm import tqdm
from transformers import Trainer, TrainerCallback, TrainingArguments, set_seed
from transformers.trainer_callback import PrinterCallback
from transformers.trainer_utils import get_last_checkpoint

from . import files
from .errors import ArtifactError, ModelError

TRAINABLE = "trainable.safetensors"


class _StopOnNaN(TrainerCallback):
    """NaN is seen at the next logging step; what was saved before it is kept."""

    def on_log(self, args, state, control, logs=None, **kwargs):
        loss = (logs or {}).get("loss")
        if loss is not None and not math.isfinite(loss):
            raise ModelError(
                f"The loss became {loss} at step {state.global_step}. The last good checkpoint is kept: "
                "lower the learning rate in the profile and run the stage again."
            )


class _LogLast(TrainerCallback):
    """A history ends with the last step, also where the run is shorter than the logging interval."""

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == state.max_steps:
            control.should_log = True


class _Progress(TrainerCallback):
    """One bar per run, with the last loss; the Trainer's own prints a dictionary at every logging step."""

    def __init__(self, description):
        self.description = description

    def on_train_begin(self, args, state, control, **kwargs):
        # Without a terminal (a log file, a notebook that is being built) ten lines are enough.
        interval = 0.5 if sys.stderr.isatty() else 30
        self.bar = tqdm(
            total=state.max_steps,
            initial=state.global_step,
            desc=self.description,
            unit="step",
            mininterval=interval,
        )

    def on_step_end(self, args, state, control, **kwargs):
        self.bar.update(state.global_step - self.bar.n)

    def on_log(self, args, state, control, logs=None, **kwargs):
        if "loss" in (logs or {}):
            self.bar.set_postfix(loss=f"{logs['loss']:.4f}", refresh=False)

    def on_train_end(self, args, state, control, **kwargs):
        self.bar.close()


class _Trainer(Trainer):
    """A Trainer that saves only what it trains, and takes learning rates per group of parameters."""

    def __init__(self, *args, groups=None, **kwargs):
        self.groups = groups or {}
        super().__init__(*args, **kwargs)

    def create_optimizer(self, model=None):
        if self.optimizer is None:
            rest = _trainable(self.model)
            groups = []
            for part, rate in self.groups.items():
                mine = [rest.pop(name) for name in list(rest) if part in name]
                if mine:
                    groups.append({"params": mine, "lr": rate})
            if rest:
                groups.append({"params": list(rest.values()), "lr": self.args.learning_rate})
            self.optimizer = torch.optim.AdamW(groups, weight_decay=self.args.weight_decay)
        return self.optimizer

    def _save(self, output_dir=None, state_dict=None):
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        with files.atomic(folder / TRAINABLE) as temporary:
            save_file({name: value.detach().contiguous() for name, value in _changing(self.model).items()}, temporary)

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None):
        load_trainable(model or self.model, Path(resume_from_checkpoint) / TRAINABLE)


def _trainable(model):
    return {name: value for name, value in model.named_parameters() if value.requires_grad}


def _changing(model):
    """Trainable parameters, and buffers that belong to the model's state: scales and running means."""
    state = model.state_dict().keys()  # without what follows from the configuration, such as tables of angles
    return _trainable(model) | {name: value for name, value in model.named_buffers() if name in state}


def load_trainable(model, path):
    """Copy what a checkpoint saved into a model: trainable parameters and buffers, with no name missing or left over.

    Raises
    ------
    ArtifactError
        If the file cannot be read, or belongs to another model.
    """
    try:
        saved = load_file(path)
    except Exception as error:
        raise ArtifactError(f"{path} cannot be read ({error}). Delete its folder and run the stage again.") from error
    own = _changing(model)
    shapes = [{name: tuple(value.shape) for name, value in side.items()} for side in (own, saved)]
    if shapes[0] != shapes[1]:
        odd = min({name for name, _ in shapes[0].items() ^ shapes[1].items()})
        raise ArtifactError(f"{path} belongs to another model (first difference: {odd}). Delete it and run again.")
    with torch.no_grad():
        for name, value in own.items():
            value.copy_(saved[name])


def fit(
    model,
    dataset,
    folder,
    settings,
    seed,
    *,
    collate=None,
    groups=None,
    repeat=True,
    shuffle=True,
    max_grad_norm=1.0,
    log_every=5,
    save_every=50,
    callbacks=(),
    description="training",
):
    """Train a model in place; go on from the last checkpoint in ``folder`` if there is one.

    Parameters
    ----------
    model : transformers.PreTrainedModel or peft.PeftModel
        Its forward returns an output with ``loss``. Only parameters with ``requires_grad`` are trained; they and the
        buffers are saved.
    dataset : torch or datasets Dataset
    folder : path
        Checkpoints live here while the run lasts.
    settings : profiles.Training
    seed : int
        Of the order, and of whatever the model draws.
    collate : callable, optional
        List of samples -> dict of tensors.
    groups : dict of str to float, optional
        Part of a parameter name -> learning rate, for those that differ from ``learning_rate``.
    repeat : bool
        False runs through the data set once, for one that holds all passes already (:func:`passes`).
    shuffle : bool
        False keeps the order of the data set, for one that was put in order already (:func:`order_by_length`).
    description : str
        What the progress bar says; empty for no bar.

    Returns
    -------
    list of dict
        ``step``, ``epoch``, ``loss``, ``learning_rate`` at every logged step, of which the last step is one.

    Raises
    ------
    ModelError
        If the data set is empty, or the loss is no longer a number.
    ArtifactError
        If the checkpoint in ``folder`` belongs to another model.
    """
    if not len(dataset):
        raise ModelError("There is nothing to learn from: the data set is empty. Which windows were chosen?")
    folder = Path(folder)
    set_seed(seed)
    cuda = torch.cuda.is_available()
    modern = cuda and torch.cuda.get_device_capability()[0] >= 8
    epochs = settings.epochs if repeat else 1
    steps = math.ceil(len(dataset) / (settings.batch_size * settings.accumulate)) * epochs
    arguments = TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=epochs,
        per_device_train_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.accumulate,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.scheduler,
        warmup_steps=int(settings.warmup_ratio * steps),
        weight_decay=settings.weight_decay,
        max_grad_norm=max_grad_norm,
        logging_steps=log_every,
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_steps=save_every,
        save_total_limit=1,
        seed=seed,
        bf16=bool(modern),
        fp16=bool(cuda and not modern),
        dataloader_num_workers=0,
        dataloader_pin_memory=cuda,
        remove_unused_columns=False,
        report_to=[],
        disable_tqdm=True,
        train_sampling_strategy="random" if shuffle else "sequential",
    )
    trainer = _Trainer(
        model=model,
        args=arguments,
        train_dataset=dataset,
        data_collator=collate,
        callbacks=[_StopOnNaN(), _LogLast(), *([_Progress(description)] if description else []), *callbacks],
        groups=groups,
    )
    trainer.remove_callback(PrinterCallback)
    checkpoint = _last_complete(folder)
    with warnings.catch_warnings():
        # torch tells CPU users on every run that pinned memory and GPU autocast are off: nothing to act on.
        warnings.filterwarnings("ignore", module="torch")
        trainer.train(resume_from_checkpoint=checkpoint)
    history = [
        {key: row[key] for key in ("step", "epoch", "loss", "learning_rate") if key in row}
        for row in trainer.state.log_history
        if "loss" in row
    ]
    shutil.rmtree(folder, ignore_errors=True)
    return history


def _last_complete(folder):
    """Path of the last checkpoint that was written to its end, or None; a half-written one is removed."""
    while folder.is_dir() and (found := get_last_checkpoint(str(folder))):
        with contextlib.suppress(OSError, ValueError):
            # The Trainer writes this file last.
            json.loads((Path(found) / "trainer_state.json").read_text(encoding="utf-8"))
            return found
        shutil.rmtree(found)
    return None


def passes(count, epochs, rng):
    """Rows of a data set of ``count`` in the order of ``epochs`` shuffled passes, the last of which may be a part.

    Returns
    -------
    list of int
    """
    order = [row for _ in range(math.ceil(epochs)) for row in rng.permutation(count).tolist()]
    return order[: round(epochs * count)]


def order_by_length(lengths, batch_size, seed):
    """Order of samples in which every batch holds similar lengths, and long and short batches are mixed.

    Padding is paid for like text; batches in order of length, on the other hand, would teach one kind of sample first
    and the other last.

    Parameters
    ----------
    lengths : list of int
        Tokens per sample.
    batch_size : int
    seed : int

    Returns
    -------
    (N,) array of int
        A permutation; only its last batch may be smaller than ``batch_size``.
    """
    rng = np.random.default_rng(seed)
    lengths = np.asarray(lengths)
    order = rng.permutation(len(lengths))
    order = order[np.argsort(lengths[order], kind="stable")]
    full = len(order) // batch_size * batch_size
    batches = order[:full].reshape(-1, batch_size)
    return np.concatenate([batches[rng.permutation(len(batches))].ravel(), order[full:]])


def freeze(module):
    """Switch off the gradients of all parameters of a module and return it."""
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    return module


def count(module):
    """(trainable, all) number of parameters."""
    sizes = [(p.numel(), p.requires_grad) for p in module.parameters()]
    return sum(n for n, on in sizes if on), sum(n for n, _ in sizes)


def quiet():
    """Only warnings of the project itself: transformers' and datasets' notices help no reader of a chapter."""
    warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    logging.getLogger("httpx").setLevel(logging.WARNING)

"""One training loop for every stage, on ``transformers.Trainer``.

- Only what training changes is written to checkpoints - trainable weights, and buffers such as running means: a frozen
  language model is not saved again and again.
- A run that was interrupted goes on from its last checkpoint; a finished run removes them, unless asked to keep the
  last one until the model that was trained is saved.
- Parameter groups by name, so that projector and adapter get their own learning rate.
- A loss that is not a number, or a full disk, stops the run with a sentence, and the last good checkpoint stays.
- Several processes of a launcher train one model together, as one process would: see :func:`fit`.
"""

import contextlib
import inspect
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
from accelerate.data_loader import SeedableRandomSampler
from accelerate.utils import save_fsdp_optimizer
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from torch.utils.data import DataLoader
from tqdm import tqdm
from transformers import Trainer, TrainerCallback, TrainingArguments, set_seed
from transformers.trainer_callback import PrinterCallback
from transformers.trainer_utils import get_last_checkpoint

from . import files, processes
from .errors import ArtifactError, ModelError, ProfileError

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


def share(batch_size, where="the settings"):
    """How many samples of a batch each process of the launcher takes; all of them without a launcher.

    Raises
    ------
    ProfileError
        If the batch cannot be shared out evenly.
    """
    count = processes.count()
    if batch_size % count:
        raise ProfileError(
            f"The batch_size of {where} is {batch_size}, which {count} processes cannot share evenly. "
            f"Choose a multiple of {count} in the profile, or another --num_processes."
        )
    return batch_size // count


class _Shares:
    """A batch sampler: of every batch that one process would take, the part that belongs to this process.

    Accelerate's own fills up the last batch with samples from the beginning; they would count twice.
    """

    def __init__(self, sampler, batch_size):
        self.batch_sampler = sampler  # where the Trainer looks for an order that changes from epoch to epoch
        self.batch_size, self.drop_last = batch_size, False

    def __len__(self):
        return math.ceil(len(self.batch_sampler) / self.batch_size)

    def __iter__(self):
        rows, rank, count = list(self.batch_sampler), processes.rank(), processes.count()
        for start in range(0, len(rows), self.batch_size):
            batch = rows[start : start + self.batch_size]
            mine = batch[rank * len(batch) // count : (rank + 1) * len(batch) // count]
            # All processes have to take every step: one that gets nothing takes a sample that does not count.
            yield [*(mine or batch[:1]), _Share(len(mine) / len(batch))]

    def set_epoch(self, epoch):
        if hasattr(self.batch_sampler, "set_epoch"):
            self.batch_sampler.set_epoch(epoch)


class _Share(float):
    """How much of a batch this process has; travels behind the rows of its samples."""


class _Shared(torch.utils.data.Dataset):
    """A data set, read by the rows that :class:`_Shares` gives out."""

    def __init__(self, dataset):
        self.dataset = dataset

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, row):
        return row if isinstance(row, _Share) else self.dataset[row]


class _Trainer(Trainer):
    """A Trainer that saves only what it trains, and takes learning rates per group of parameters."""

    def __init__(self, *args, groups=None, **kwargs):
        self.groups = groups or {}
        super().__init__(*args, **kwargs)
        self.weighs = "share" in inspect.signature(self.model.forward).parameters

    # --- several processes: each reads its share, and the sum of their losses is that of the whole batch ---

    def get_train_dataloader(self):
        if processes.count() == 1:
            return super().get_train_dataloader()
        sampler = self._get_train_sampler()
        if isinstance(sampler, torch.utils.data.RandomSampler):
            # The order that accelerate gives to one process; here it must be the same in all.
            sampler = SeedableRandomSampler(self.train_dataset, generator=torch.Generator())
        return DataLoader(
            _Shared(self.train_dataset),
            batch_sampler=_Shares(sampler, self.args.per_device_train_batch_size * processes.count()),
            collate_fn=lambda samples: {**self.data_collator(samples[:-1]), "share": samples[-1]},
            pin_memory=self.args.dataloader_pin_memory,
        )

    def _get_num_items_in_batch(self, batch_samples, device):
        """NOTE: extends a private method; the tokens of a sample that does not count must not be counted."""
        counted = [
            {**batch, "labels": torch.full_like(batch["labels"], -100)} if batch.get("share") == 0 else batch
            for batch in batch_samples
        ]
        return super()._get_num_items_in_batch(counted, device)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """The Trainer divides a sum over tokens by their number in all processes; a mean is weighed here.

        Gradients are averaged over processes afterwards, so each loss is multiplied by their number.
        """
        if "share" not in inputs:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        weight = inputs["share"] if self.weighs else inputs.pop("share")
        loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch)
        if num_items_in_batch is None:
            loss = loss * weight * processes.count()
        elif weight == 0:
            loss = loss * 0
        return (loss, outputs) if return_outputs else loss

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

    # --- checkpoints: whole weights, however the model is spread over processes ---

    def _save_checkpoint(self, model, trial):
        try:
            super()._save_checkpoint(model, trial)
        except (OSError, RuntimeError, SafetensorError) as error:
            half = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
            shutil.rmtree(half, ignore_errors=True)  # on a full disk, every byte counts
            raise ArtifactError(
                f"{half} could not be written ({str(error).splitlines()[0]}). Is the disk full? "
                "The last good checkpoint is kept: free some space and run the stage again."
            ) from error

    def _save(self, output_dir=None, state_dict=None):
        if not self.args.should_save:
            return
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        changing = _changing(self.model)
        whole = changing if state_dict is None else {name: state_dict[name] for name in changing}
        with files.atomic(folder / TRAINABLE) as temporary:
            save_file({name: value.detach().contiguous() for name, value in whole.items()}, temporary)

    def _save_optimizer_and_scheduler(self, output_dir):
        if not self.is_fsdp_enabled:
            super()._save_optimizer_and_scheduler(output_dir)
            return
        # The Trainer would add the whole model, frozen weights included.
        save_fsdp_optimizer(
            self.accelerator.state.fsdp_plugin, self.accelerator, self.optimizer, self.model, output_dir
        )
        if self.args.should_save:
            torch.save(self.lr_scheduler.state_dict(), Path(output_dir) / "scheduler.pt")

    def _save_rng_state(self, output_dir):
        super()._save_rng_state(output_dir)
        # The main process marks the checkpoint as complete next: it has to be so for all.
        self.accelerator.wait_for_everyone()

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None):
        if not self.is_fsdp_enabled:  # there it was done before the weights were spread
            load_trainable(model or self.model, Path(resume_from_checkpoint) / TRAINABLE)

    def is_sharded(self):
        return self.is_fsdp_enabled or self.is_deepspeed_enabled


def _gather(trainer, model):
    """Give the main process's model whole weights again, after FSDP or ZeRO-3 spread them over all processes."""
    whole = trainer.accelerator.get_state_dict(trainer.model_wrapped)  # every process sends its part
    if not processes.is_main():
        return
    made = {}  # tied weights stay tied
    for name, old in list(model.named_parameters(remove_duplicate=False)):
        if id(old) not in made and name in whole:
            made[id(old)] = nn.Parameter(whole[name], requires_grad=old.requires_grad)
    for name, old in list(model.named_parameters(remove_duplicate=False)):
        if id(old) not in made:
            raise ArtifactError(f"The weights of {name} were not gathered. Set the state dict type to full.")
        where, _, leaf = name.rpartition(".")
        model.get_submodule(where)._parameters[leaf] = made[id(old)]


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
    keep=False,
):
    """Train a model in place; go on from the last checkpoint in ``folder`` if there is one.

    Under a launcher (``accelerate launch``), all processes call this with the same arguments. Then
    ``settings.batch_size`` is still the number of samples of one forward pass over all processes *together*: each of N
    takes ``batch_size / N``. Batches, their order, and the loss of each are those of one process, so the same profile
    gives the same model on any number of processes, up to rounding (and dropout, which each process draws for itself).
    The main process alone writes checkpoints, always of whole weights. If a sharding engine (FSDP, ZeRO-3) spread the
    weights, the main process's model is whole again afterwards, for saving; the others' can be thrown away.

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
    keep : bool
        Leave the last checkpoint, of the finished run, in ``folder``: whoever then fails to save the model, on a full
        disk, gets it back by calling again. The caller removes the folder.

    Returns
    -------
    list of dict
        ``step``, ``epoch``, ``loss``, ``learning_rate`` at every logged step, of which the last step is one.

    Raises
    ------
    ModelError
        If the data set is empty, or the loss is no longer a number.
    ArtifactError
        If the checkpoint in ``folder`` belongs to another model, or a new one cannot be written.
    ProfileError
        If the processes cannot share a batch evenly.
    """
    if not len(dataset):
        raise ModelError("There is nothing to learn from: the data set is empty. Which windows were chosen?")
    folder = Path(folder)
    set_seed(seed)
    cuda = torch.cuda.is_available()
    mine, several = share(settings.batch_size), processes.count() > 1
    if several:
        processes.join()
    modern = cuda and torch.cuda.get_device_capability()[0] >= 8
    epochs = settings.epochs if repeat else 1
    steps = math.ceil(len(dataset) / (settings.batch_size * settings.accumulate)) * epochs
    arguments = TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=epochs,
        per_device_train_batch_size=mine,
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
        # FSDP would round what goes into the model as well, and a window in half precision holds no sway of somebody
        # who stands. The language model itself is in bfloat16 already.
        bf16=bool(modern and not processes.is_sharded()),
        fp16=bool(cuda and not modern),
        dataloader_num_workers=0,
        dataloader_pin_memory=cuda,
        remove_unused_columns=False,
        report_to=[],
        disable_tqdm=True,
        train_sampling_strategy="random" if shuffle else "sequential",
        use_cpu=several and not cuda,
        accelerator_config={"use_configured_state": several},
        # Everything trained takes part in every step; looking for exceptions costs a walk over the graph.
        ddp_find_unused_parameters=False,
    )
    if arguments.n_gpu > 1:
        # One process on a machine with several GPUs: the Trainer would multiply the batch by their number.
        arguments._n_gpu = 1
    shown = [_Progress(description)] if description and processes.is_main() else []
    trainer = _Trainer(
        model=model,
        args=arguments,
        train_dataset=dataset,
        data_collator=collate,
        callbacks=[_StopOnNaN(), _LogLast(), *shown, *callbacks],
        groups=groups,
    )
    trainer.remove_callback(PrinterCallback)
    checkpoint = processes.agree(_last_complete(folder) if processes.is_main() else None)
    if checkpoint and trainer.is_fsdp_enabled:
        load_trainable(model, Path(checkpoint) / TRAINABLE)
    with warnings.catch_warnings():
        # torch tells CPU users on every run that pinned memory and GPU autocast are off: nothing to act on.
        warnings.filterwarnings("ignore", module="torch")
        trainer.train(resume_from_checkpoint=checkpoint)
    history = [
        {key: row[key] for key in ("step", "epoch", "loss", "learning_rate") if key in row}
        for row in trainer.state.log_history
        if "loss" in row
    ]
    if trainer.is_sharded():
        _gather(trainer, model)
    processes.agree()
    if processes.is_main() and not keep:
        _remove(folder)
    return history


def _remove(folder):
    """Remove a run's checkpoints, so that a kill in between leaves none that seems complete."""
    for mark in folder.glob("checkpoint-*/trainer_state.json"):
        mark.unlink()
    shutil.rmtree(folder, ignore_errors=True)


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

"""One training loop for every stage, on ``accelerate``: for one process or for several, copied or sharded.

- :func:`fit` is the loop: loss, gradients, AdamW, a schedule, and now and then a checkpoint.
- Only what training changes is written to checkpoints - trainable weights, buffers such as running means, the
  optimizer's averages: a frozen language model is not saved again and again. They are safetensors and JSON.
- A run that was interrupted goes on from its last checkpoint, to the same weights; a finished run removes them, unless
  asked to keep the last one until the model that was trained is saved.
- Parameter groups by name, so that projector and adapter get their own learning rate.
- A loss that is not a number, or a full disk, stops the run with a sentence, and the last good checkpoint stays.
"""

import contextlib
import ctypes
import inspect
import itertools
import json
import logging
import math
import shutil
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import transformers
from accelerate import Accelerator
from accelerate.utils import gather_object, set_seed
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.utils.data import default_collate
from tqdm import tqdm

from . import files, language_models, processes
from .errors import ArtifactError, ModelError, ProfileError, first_line

TRAINABLE, OPTIMIZER, STATE = "trainable.safetensors", "optimizer.safetensors", "state.json"


@dataclass
class _State:
    """What stands in :data:`STATE`: how far a run has come, and the random numbers it goes on with."""

    step: int
    history: list[dict[str, int | float]]
    loss: float
    scaler: dict
    random: list[list[str]]  # of each process, and of each of its generators, in hex


# --- the loop -----------------------------------------------------------------------------------------------------


def fit(
    model,
    dataset,
    folder,
    settings,
    seed,
    *,
    collate=default_collate,
    groups=None,
    repeat=True,
    shuffle=True,
    max_grad_norm=1.0,
    log_every=5,
    save_every=50,
    on_step=None,
    description="training",
    keep=False,
):
    """Train a model in place; go on from the last checkpoint in ``folder`` if there is one.

    Under a launcher (``accelerate launch``), all processes call this with the same arguments. Then
    ``settings.batch_size`` is still the number of samples of one forward pass over all processes *together*: each of N
    takes ``batch_size / N``. Batches, their order, and the loss of each are those of one process, so the same profile
    gives the same model on any number of processes, up to rounding (and dropout, which each process draws for itself).
    The main process alone writes checkpoints, always of whole weights. If FSDP spread the weights, the
    main process's model is whole again afterwards, for saving; the others' can be thrown away.

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
        Of the order, and of whatever the model draws from torch.
    collate : callable, optional
        List of samples -> dict of tensors; by default they are stacked.
    groups : dict of str to float, optional
        Part of a parameter name -> learning rate, for those that differ from ``learning_rate``.
    repeat : bool
        False runs through the data set once, for one that holds all passes already (:func:`passes`).
    shuffle : bool
        False keeps the order of the data set, for one that was put in order already (:func:`order_by_length`).
    on_step : callable, optional
        Called as ``on_step(step, model)`` with the number of steps made: before the first one, and after each, when its
        gradients are still there and the checkpoint that was due is written.
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
    share(settings.batch_size)
    _keep_memory()
    folder, several = Path(folder), processes.count() > 1
    set_seed(seed)
    if several:
        processes.join()
    accelerator = Accelerator(cpu=several and not torch.cuda.is_available())
    device, precision = accelerator.device, language_models.pick_autocast(accelerator.device)
    # FSDP fetches and frees what autocast would remember. The language model itself is in bfloat16 on a GPU.
    rounded = precision is not torch.float32 and not processes.is_sharded()
    autocast = torch.autocast(device.type, precision, enabled=rounded)
    scaler = torch.amp.GradScaler(device.type, enabled=precision is torch.float16)
    per_epoch = math.ceil(len(dataset) / (settings.batch_size * settings.accumulate))
    epochs = settings.epochs if repeat else 1
    steps = math.ceil(per_epoch * epochs)

    checkpoint = processes.agree(_last_complete(folder) if processes.is_main() else None)
    if checkpoint:  # while every process still has whole weights
        load_trainable(model, checkpoint / TRAINABLE)
    wishes = _wishes(model)
    optimizer = torch.optim.AdamW(
        _groups(model, groups or {}, settings.learning_rate), weight_decay=settings.weight_decay
    )
    vars(model).pop("_is_accelerate_prepared", None)  # else one that was trained before stays where it was moved since
    wrapped, optimizer = accelerator.prepare(model.train(), optimizer)
    warm_up = int(settings.warmup_ratio * per_epoch * epochs)
    schedule = transformers.get_scheduler(settings.scheduler, optimizer, warm_up, steps)
    state = {"step": 0, "history": [], "loss": 0.0}
    if checkpoint:
        state = _resume(checkpoint, model, optimizer, scaler, device)
    history, total = state["history"], torch.tensor(state["loss"], device=device)
    tell = on_step or (lambda step, model: None)

    with _bar(description, state["step"], steps) as bar, warnings.catch_warnings():
        # torch tells CPU users on every run that pinned memory and GPU autocast are off: nothing to act on.
        warnings.filterwarnings("ignore", module="torch")
        # Learning rates follow from the number of steps; torch would rather see the optimizer's steps as well.
        warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step")
        for _ in range(state["step"]):
            schedule.step()
        tell(state["step"], model)
        order = _order(len(dataset), settings, seed if shuffle else None)
        for step, batches in enumerate(itertools.islice(order, state["step"], steps), state["step"] + 1):
            optimizer.zero_grad()
            parts = [_part(rows, dataset, collate, device) for rows in batches]
            total += _backward(accelerator, wrapped, parts, wishes, autocast, scaler)
            scaler.unscale_(optimizer)
            accelerator.clip_grad_norm_(wrapped.parameters(), max_grad_norm)
            rate = schedule.get_last_lr()[0]
            scaler.step(optimizer)
            scaler.update()
            schedule.step()

            log = step % log_every == 0 or step == steps
            save = step % save_every == 0 or (step == steps and keep)
            if log or save:
                since = step - (history[-1]["step"] if history else 0)
                mean = accelerator.reduce(total, "mean").item() / since
                if not math.isfinite(mean):
                    raise ModelError(
                        f"The loss became {mean} at step {step}. The last good checkpoint is kept: "
                        "lower the learning rate in the profile and run the stage again."
                    )
            if log:
                history.append({"step": step, "epoch": step / per_epoch, "loss": mean, "learning_rate": rate})
                total.zero_()
                bar.set_postfix(loss=f"{mean:.4f}", refresh=False)
            if save:
                state = {"step": step, "history": history, "loss": accelerator.reduce(total, "mean").item()}
                _save(folder, state, model, optimizer, scaler, device)
            bar.update()
            tell(step, model)

    if processes.is_sharded():
        _gather(accelerator, wrapped, model)
    processes.agree()
    if processes.is_main() and not keep:
        _remove(folder)
    return history


def _keep_memory():
    """Let glibc keep what a step frees for the next one: to ask the system for it anew cost 6 % of a tuning step."""
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD
        libc.mallopt(-3, 2**30)  # M_MMAP_THRESHOLD


def _bar(description, done, steps):
    """One bar per run, with the last loss."""
    # Without a terminal (a log file, a notebook that is being built) a line every half minute is enough.
    interval = 0.5 if sys.stderr.isatty() else 30
    hidden = not description or not processes.is_main()
    return tqdm(total=steps, initial=done, desc=description, unit="step", mininterval=interval, disable=hidden)


def _groups(model, rates, rate):
    """Trainable parameters in groups with a learning rate each: by parts of their names, and the rest."""
    rest, groups = _trainable(model), []
    for part, own in rates.items():
        if mine := [rest.pop(name) for name in list(rest) if part in name]:
            groups.append({"params": mine, "lr": own})
    return groups + ([{"params": list(rest.values()), "lr": rate}] if rest else [])


def _order(count, settings, seed):
    """Rows of each batch of every step, without an end; as they come if ``seed`` is None."""
    size, together = settings.batch_size, settings.accumulate
    for epoch in itertools.count():
        rows = list(range(count))
        if seed is not None:
            rows = torch.randperm(count, generator=torch.Generator().manual_seed(seed + epoch)).tolist()
        batches = [rows[start : start + size] for start in range(0, count, size)]
        yield from (batches[start : start + together] for start in range(0, len(batches), together))


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


def _part(rows, dataset, collate, device):
    """Of a batch that one process would take, what belongs to this process, and how much of it that is."""
    rank, count = processes.rank(), processes.count()
    mine = rows[rank * len(rows) // count : (rank + 1) * len(rows) // count]
    # All processes have to take every step: one that gets nothing takes a sample that does not count.
    batch = collate([dataset[row] for row in mine or rows[:1]])
    return {name: value.to(device, non_blocking=True) for name, value in batch.items()}, len(mine) / len(rows)


def _backward(accelerator, model, parts, wishes, autocast, scaler):
    """Add up the gradients of a step's batches, as if one process had seen them at once; return the loss."""
    counts_tokens, takes_share = wishes
    tokens = _tokens(parts, accelerator) if counts_tokens else None
    told, total = {} if tokens is None else {"num_items_in_batch": tokens}, 0.0
    for n, (part, weight) in enumerate(parts):
        if takes_share:
            told["share"] = weight
        # Processes tell each other their gradients once a step.
        with contextlib.nullcontext() if n == len(parts) - 1 else accelerator.no_sync(model):
            with autocast:
                loss = model(**part, **told)["loss"]
            # The model has divided a sum over tokens by their number in all processes; a mean is weighed here. Then
            # gradients are averaged over processes, and are to be the sum.
            scale = weight / len(parts) if tokens is None else float(weight > 0)
            loss = loss * (scale * processes.count())
            accelerator.backward(scaler.scale(loss))
        total += loss.detach()
    return total


def _wishes(model):
    """Whether a model's forward divides its loss by the tokens of a step, and whether it takes its share of a batch."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model  # peft's wrapper takes anything
    kinds = [parameter.kind for parameter in inspect.signature(inner.forward).parameters.values()]
    counts = getattr(inner, "accepts_loss_kwargs", inspect.Parameter.VAR_KEYWORD in kinds)
    return counts, "share" in inspect.signature(model.forward).parameters


def _tokens(parts, accelerator):
    """Tokens with a label in all processes, or None without labels; the first token of a sample is never predicted."""
    if "labels" not in parts[0][0]:
        return None
    mine = [(part["labels"][..., 1:] != -100).sum() for part, weight in parts if weight]
    return accelerator.reduce(sum(mine, torch.zeros((), device=accelerator.device)), "sum")


# --- checkpoints: whole weights, however the model is spread over processes ---------------------------------------


def _save(folder, state, model, optimizer, scaler, device):
    """Write a checkpoint, and remove the one before; a disk that is full leaves the one before."""
    path = folder / f"checkpoint-{state['step']}"
    # All processes bring together what is spread; the main one writes.
    weights = {name: _whole(value) for name, value in _changing(model).items()}
    averages = {
        f"{name}/{key}": _whole(value)
        for name, parameter in _trainable(model).items()
        for key, value in optimizer.state.get(parameter, {}).items()
    }
    drawn = [bytes(module.get_rng_state().tolist()).hex() for module in _generators(device)]
    state = state | {"scaler": scaler.state_dict(), "random": gather_object([drawn])}

    def write():
        try:
            with files.atomic(path, folder=True) as temporary:
                save_file(weights, temporary / TRAINABLE)
                save_file(averages, temporary / OPTIMIZER)
                (temporary / STATE).write_text(json.dumps(state), encoding="utf-8")
        except (OSError, RuntimeError, SafetensorError) as error:
            raise ArtifactError(
                f"{path} could not be written ({first_line(error)}). Is the disk full? "
                "The last good checkpoint is kept: free some space and run the stage again."
            ) from error
        for old in folder.glob("checkpoint-*"):
            if old != path:
                _remove(old)

    processes.main_first(write)


def _resume(path, model, optimizer, scaler, device):
    """Give optimizer, scaler and random generators what they had when a checkpoint was written; return its state."""
    state, saved = vars(files.read_json(path / STATE, _State)), _read(path / OPTIMIZER)
    try:
        _restore(state, saved, model, optimizer, scaler, device)
    except (LookupError, ValueError, TypeError, RuntimeError, ZeroDivisionError) as error:
        raise ArtifactError(
            f"{path} holds no checkpoint of this run ({first_line(error)}). Delete it and run again."
        ) from error
    return state


def _restore(state, saved, model, optimizer, scaler, device):
    own, whole = _trainable(model), optimizer.state_dict()
    numbers = {id(p): n for n, p in enumerate(p for group in optimizer.param_groups for p in group["params"])}
    for key, value in saved.items():
        name, _, kind = key.rpartition("/")
        parameter = own[name]
        if value.ndim and value.shape != parameter.shape:
            raise ValueError(f"{key} has the shape {tuple(value.shape)}, not {tuple(parameter.shape)}")
        if isinstance(parameter, DTensor) and value.ndim:
            value = distribute_tensor(value.to(device), parameter.device_mesh, parameter.placements)
        whole["state"].setdefault(numbers[id(parameter)], {})[kind] = value
    optimizer.load_state_dict(whole)
    if scaler.is_enabled() and state["scaler"]:
        scaler.load_state_dict(state["scaler"])
    drawn = state["random"][processes.rank() % len(state["random"])]
    for module, text in zip(_generators(device), drawn, strict=False):
        module.set_rng_state(torch.tensor(list(bytes.fromhex(text)), dtype=torch.uint8))


def _whole(value):
    """A tensor on the CPU, with the parts that other processes hold of it."""
    value = value.full_tensor() if isinstance(value, DTensor) else value
    return value.detach().cpu().contiguous()


def _generators(device):
    """Modules with a generator of random numbers: torch, and a GPU's."""
    return [torch] if device.type == "cpu" else [torch, torch.get_device_module(device)]


def _remove(folder):
    """Remove a checkpoint or a folder of them, so that a kill in between leaves none that seems complete."""
    for mark in folder.rglob(STATE):
        mark.unlink()
    shutil.rmtree(folder, ignore_errors=True)


def _last_complete(folder):
    """Path of the last checkpoint that was written to its end, or None; what else lies there is removed."""
    for half in folder.glob(".checkpoint-*"):  # of a process that was killed
        shutil.rmtree(half, ignore_errors=True)
    steps = [path.name.removeprefix("checkpoint-") for path in folder.glob("checkpoint-*")]
    for step in sorted((int(step) for step in steps if step.isdecimal()), reverse=True):
        path = folder / f"checkpoint-{step}"
        with contextlib.suppress(OSError, ValueError):
            state = files.parse_json((path / STATE).read_bytes(), _State)
            if state.step == step and all("step" in row for row in state.history):
                return path
        shutil.rmtree(path, ignore_errors=True)
    return None


def _gather(accelerator, wrapped, model):
    """Give the main process's model whole weights again, after FSDP spread them over all processes."""
    whole = accelerator.get_state_dict(wrapped)  # every process sends its part
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
    saved, own = _read(path), _changing(model)
    shapes = [{name: tuple(value.shape) for name, value in side.items()} for side in (own, saved)]
    if shapes[0] != shapes[1]:
        odd = min({name for name, _ in shapes[0].items() ^ shapes[1].items()})
        raise ArtifactError(f"{path} belongs to another model (first difference: {odd}). Delete it and run again.")
    with torch.no_grad():
        for name, value in own.items():
            value.copy_(saved[name])


def _read(path):
    try:
        return load_file(path)
    except Exception as error:
        raise ArtifactError(f"{path} cannot be read ({error}). Delete its folder and run the stage again.") from error


# --- what goes into the loop ----------------------------------------------------------------------------------------


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

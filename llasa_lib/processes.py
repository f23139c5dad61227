"""Several processes that one launcher started: who they are, and what one of them does for all.

- Without a launcher there is one process, the main one, and nothing here costs anything.
- ``agree(value)``: every process gets what the main one has; so no two of them decide differently.
- ``main_first(make)``: the main process works, the others wait, for days if need be.
- ``alone(function, ...)``: in a fresh process that knows nothing of the launcher.

A process that fails ends, and the launcher then ends the others: nobody waits for the dead.
"""

import functools
import os
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from datetime import timedelta
from multiprocessing import get_context

from .errors import ArtifactError, LlasaError

# What a launcher (accelerate, torchrun) tells its processes by; a process without these is on its own.
_LAUNCHER = ("RANK", "WORLD_SIZE", "LOCAL_", "GROUP_", "ROLE_", "MASTER_", "TORCHELASTIC_", "ACCELERATE_", "FSDP_")


def count():
    """How many processes the launcher started; 1 without one."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank():
    """Number of this process, from 0; 0 is the main one."""
    return int(os.environ.get("RANK", "0"))


def is_main():
    """Whether this is the main process: it prints and writes."""
    return rank() == 0


def is_sharded():
    """Whether the launcher asks for FSDP: every process holds a part of each weight."""
    return os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true"


@functools.cache
def join():
    """Connect the processes, once, and return the group in which they wait for each other.

    Its timeout is a week, for the main process may pretrain an encoder meanwhile. The group that training uses keeps
    a short one, so that a machine that hangs is noticed.
    """
    import torch
    from accelerate import PartialState
    from accelerate.utils import DistributedType

    cpu = not torch.cuda.is_available()
    state = PartialState(cpu=cpu, timeout=timedelta(minutes=30))
    if cpu and is_sharded():
        # NOTE: accelerate 1.15 shards a model only where it sees GPUs, although gloo and torch do it on CPUs as well.
        state.distributed_type = DistributedType.MULTI_GPU
    return torch.distributed.new_group(backend="gloo", timeout=timedelta(days=7))


def agree(value=None):
    """The main process's value, in every process. Whoever calls it waits until all do."""
    if count() == 1:
        return value
    group = join()
    import torch

    box = [value]
    torch.distributed.broadcast_object_list(box, src=0, group=group, device=torch.device("cpu"))
    # A broadcast lets its sender go at once; a barrier does not.
    torch.distributed.barrier(group=group)
    return box[0]


def main_first(make):
    """Run ``make()`` in the main process while the others wait; a :class:`LlasaError` is raised in all of them."""
    failure = None
    if is_main():
        try:
            make()
        except LlasaError as error:
            failure = error
    failure = agree(failure)
    if failure is not None:
        raise failure


def alone(function, *arguments):
    """Call a function in a fresh process without a launcher; everything has to be picklable.

    Raises
    ------
    ArtifactError
        If that process was killed; else whatever the function raises.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_forget_launcher) as pool:
        try:
            return pool.submit(function, *arguments).result()
        except BrokenProcessPool as error:
            raise ArtifactError(
                "The process that worked for all others was killed. Is there enough memory? Run the command again."
            ) from error


def _forget_launcher():
    for name in list(os.environ):
        if name.startswith(_LAUNCHER):
            del os.environ[name]

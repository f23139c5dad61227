"""Makes a stage in a process that is killed, again and again, until it is made: ``python interrupted.py PROFILE``.

Each attempt is a fork of this process, so that the libraries are imported and the code is read once. Prints what
happened as JSON.
"""

import functools
import json
import os
import random
import signal
import sys
import threading

import peft  # noqa: F401 - else each fork would import it
import transformers.optimization  # noqa: F401

from llasa_lib import stages, training  # noqa: F401 - stages imports what makes one
from llasa_lib.pipeline import Pipeline

STEPS = 10


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


def kill_after(delay):
    """SIGKILL some time after this, wherever the process is then."""
    threading.Timer(delay, kill).start()


def kill_while_writing():
    """SIGKILL as soon as one file of the next checkpoint is written."""
    write = training.save_file
    training.save_file = lambda *args: [write(*args), kill()]


def half_written(folder):
    return [path.name for path in folder.glob(".work/*/.checkpoint-*.partial")]


def complete(folder):
    return sorted(path.parent.name for path in folder.glob(f".work/*/checkpoint-*/{training.STATE}"))


def attempt(run, stage, step=None, end=None):
    """Exit status of a process that makes the stage, with a checkpoint after every step; ``end`` comes at a step."""
    process = os.fork()
    if not process:
        fit, begun = training.fit, []

        def on_step(made, model):
            if not begun:
                begun.append(made)
                print(f"begins at {made}", file=sys.stderr, flush=True)
            if made == step:
                end()

        training.fit = lambda *args, **kwargs: fit(*args, **kwargs, save_every=1, on_step=on_step)
        code = 1
        try:
            getattr(run, stage)()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def main(profile, seed):
    run, draw, happened = Pipeline(profile), random.Random(seed), {}
    run.key("tune")
    for stage in ("align", "tune"):
        first = draw.randrange(1, 4)
        plan = [
            (first, functools.partial(kill_after, draw.uniform(0, 0.3))),
            (first + 3, kill_while_writing),
            (draw.randrange(first + 4, STEPS), functools.partial(kill_after, draw.uniform(0, 0.05))),
            (),
        ]
        happened[stage] = [
            {"status": attempt(run, stage, *how), "half": half_written(run.folder), "complete": complete(run.folder)}
            for how in plan
        ]
    print(json.dumps(happened))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))

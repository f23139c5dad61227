"""Makes a stage in a process that is killed, again and again, until it is made: ``python interrupted.py PROFILE``.

Each attempt is a fork of this process, so that the libraries are imported once. Prints what happened as JSON.
"""

import json
import os
import random
import signal
import sys
import threading
import time

from transformers import TrainerCallback

from llasa_lib import training
from llasa_lib.pipeline import Pipeline

STEPS = 10


class KillAt(TrainerCallback):
    """SIGKILL some time after a step began, wherever the process is then."""

    def __init__(self, step, delay):
        self.step, self.delay = step, delay

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            threading.Timer(self.delay, os.kill, [os.getpid(), signal.SIGKILL]).start()


class KillWhileWriting(TrainerCallback):
    """SIGKILL as soon as there is a checkpoint without the file that is written last."""

    def __init__(self, step, folder):
        self.step, self.folder = step, folder

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            threading.Thread(target=self._wait, daemon=True).start()

    def _wait(self):
        while True:
            if half_written(self.folder):
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(0.0005)


class Begin(TrainerCallback):
    """Says with which step the run begins."""

    def on_train_begin(self, args, state, control, **kwargs):
        print(f"begins at {state.global_step}", file=sys.stderr, flush=True)


def half_written(folder):
    found = folder.glob(".work/*/checkpoint-*")
    return [path.name for path in found if not (path / "trainer_state.json").exists()]


def complete(folder):
    return sorted(path.parent.name for path in folder.glob(".work/*/checkpoint-*/trainer_state.json"))


def attempt(run, stage, callback):
    """Exit status of a process that makes the stage, with a checkpoint after every step."""
    process = os.fork()
    if not process:
        fit, callbacks = training.fit, [Begin(), *([callback] if callback else [])]
        training.fit = lambda *args, **kwargs: fit(*args, **kwargs, save_every=1, callbacks=callbacks)
        code = 1
        try:
            getattr(run, stage)()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def main(profile, seed):
    run, draw, happened = Pipeline(profile), random.Random(seed), {}
    for stage in ("align", "tune"):
        first = draw.randrange(1, 4)
        plan = [
            KillAt(first, draw.uniform(0, 0.3)),
            KillWhileWriting(first + 3, run.folder),
            KillAt(draw.randrange(first + 4, STEPS), draw.uniform(0, 0.05)),
        ]
        happened[stage] = [
            {"status": attempt(run, stage, kill), "half": half_written(run.folder), "complete": complete(run.folder)}
            for kill in [*plan, None]
        ]
    print(json.dumps(happened))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))

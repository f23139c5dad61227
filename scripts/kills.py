"""Sixty kills, and what is left of the pipeline: make kills.

The smoke profile is made by processes that are killed (SIGKILL) at random moments; each goes on where the last stopped.
In the end every file has to be what a process makes that nobody kills. ``kills.py 60 17``: 60 kills under seed 17.
"""

import collections
import hashlib
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

from llasa_lib import stages  # noqa: F401 - what makes a stage, imported once for all processes
from llasa_lib.pipeline import Pipeline

LONGEST = 0.3  # of the time of the whole, until a kill; what no kill leaves a beginning of must fit in


def attempt(home, seconds=None):
    """Make what is missing in a process that is killed after so many seconds; the stage it was at, None at the end."""
    log, child = home / "log.txt", os.fork()
    if not child:
        os.setsid()
        os.environ["LLASA_HOME"] = str(home)
        for stream in (1, 2):
            os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
        try:
            Pipeline("smoke").run()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        os._exit(1)
    end, ended = time.monotonic() + (seconds or 3600), (0, 0)
    while not ended[0] and time.monotonic() < end:
        time.sleep(0.002)
        ended = os.waitpid(child, os.WNOHANG)
    if not ended[0]:
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
    if ended[1]:
        sys.exit(f"A process failed by itself:\n{log.read_text()[-3000:]}")
    made = re.findall(r"llasa: making (\S+)", log.read_text(errors="replace"))
    return None if ended[0] else made[-1] if made else "before the first"


def made(home):
    """{file: digest} of all artifacts; without how long anything took."""
    untimed = lambda path: re.sub(rb'"(seconds[^"]*|content)": [^,}\n]+', b"", path.read_bytes())
    paths = sorted(path for path in (home / "artifacts" / "smoke").rglob("*") if path.is_file())
    return {str(path.relative_to(home)): hashlib.sha256(untimed(path)).hexdigest() for path in paths}


def main(kills=60, seed=None):
    """Kill and go on, as many chains of processes as it takes; exit status 1 if one ends with other files."""
    seed, reached, wrong = seed or random.randrange(10**6), collections.Counter(), []
    rng = random.Random(seed)
    print(f"{kills} kills, seed {seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        whole, chain = Path(folder, "whole"), Path(folder, "chain")
        whole.mkdir()
        Pipeline("smoke").key("evaluate")  # the code is read once for all
        begun = time.monotonic()
        expected = attempt(whole) or made(whole)
        longest = LONGEST * (time.monotonic() - begun)
        while reached.total() < kills:
            shutil.rmtree(chain, ignore_errors=True)
            chain.mkdir()
            while at := attempt(chain, rng.uniform(0, longest) if reached.total() < kills else None):
                reached[at] += 1
                print(at, end=" ", flush=True)
            found = made(chain)
            wrong += sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
            print(f"{reached.total()} kills, {len(wrong)} files differ: {dict(reached)}", flush=True)
    print("\n".join(wrong) or f"all {len(expected)} files are those of a process that nobody killed")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))

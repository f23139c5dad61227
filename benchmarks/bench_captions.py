"""Does writing a corpus stay fast, small and the same? As many windows as SensorCaps has, five questions for each.

- 35,960 windows of HAPT, cut every few samples, become captions, narrations, facts and 179,800 question-answer pairs:
  on two processes, on one, and half of them on one. Each run is a process of its own; the limits are below.
- One process and two must write the same bytes.
- The peak of the memory counts every process as if it shared nothing with the others: the truth is less.
- Of 1,000 captions the variety is printed: distinct-1, distinct-2 and self-BLEU-4 (see ``captions.variety``).

``python benchmarks/bench_captions.py [WINDOWS]``, by default 35960; exit code 1 if a limit is broken.
"""

import hashlib
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import datasets

from llasa_lib import captions, questions, recordings, signals

WINDOWS = 35_960
QUESTIONS = 5  # of every window
SLOWEST = 240  # seconds for all windows on two processes
LARGEST = 2.0  # GB
HALF = (0.4, 0.6)  # time of half the windows against that of all
REPEATS = 2  # of the runs on one process, of which the faster counts
SAMPLE = 1000  # captions whose variety is measured


def many_windows(count):
    """So many different windows of HAPT: cut again a few samples later, as often as it takes, in random order."""
    recorded = recordings.load("hapt")
    apart = signals.make_windows(recorded)
    length = apart.features["imu"].shape[0]
    stride = max(1, round(length * len(apart) / (1.5 * count)))  # a stretch's end is lost: cut more than needed
    windows = signals.make_windows(recorded, stride=stride).shuffle(seed=0)
    return windows.select(range(count))


def measure(folder, count, processes):
    """Write the corpus of the first windows of a folder; print seconds, peak memory and a digest of all its text."""
    datasets.disable_progress_bars()
    windows = datasets.load_from_disk(folder).select(range(int(count)))
    started = time.perf_counter()
    corpus = questions.make_corpus(windows, int(processes))
    seconds = time.perf_counter() - started
    digest, pairs = hashlib.sha256(), 0
    for row in corpus.remove_columns(windows.column_names):
        digest.update(json.dumps(row, sort_keys=True).encode())
        pairs += len(row["questions"])
    peak = peak_gb(int(processes) if int(processes) > 1 else 0)
    result = {"windows": len(corpus), "pairs": pairs, "seconds": seconds, "peak_gb": peak, "sha256": digest.hexdigest()}
    print(json.dumps(result))


def peak_gb(children):
    """The most memory this program and so many children of it have held together, at most, GB."""
    status = Path("/proc/self/status")
    if status.exists():  # NOTE: Linux's getrusage would count what the program that started this one held
        own = int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1]) / 1e6
        return own + children * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
    usage = [resource.getrusage(who).ru_maxrss / 1e9 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return usage[0] + children * usage[1]


def measured(folder, count, processes):
    """The same in a process of its own; the result as a dict."""
    command = [sys.executable, __file__, "--measure", str(folder), str(count), str(processes)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout) | {"processes": processes}


def fastest(folder, count):
    """The fastest of some runs on one process."""
    return min((measured(folder, count, 1) for _ in range(REPEATS)), key=lambda row: row["seconds"])


def variety():
    """Variety of the captions of some windows that share no sample: overlapping ones share their numbers."""
    windows = signals.make_windows(recordings.load("hapt")).shuffle(seed=0)
    corpus = questions.make_corpus(windows.select(range(SAMPLE)))
    return {"captions of": "windows that do not overlap", **asdict(captions.variety(corpus["caption"]))}


def run(count=WINDOWS):
    """Measure; returns (rows of a table, sentences about broken limits)."""
    datasets.disable_progress_bars()
    with tempfile.TemporaryDirectory(prefix="captions-") as folder:
        windows = many_windows(count)
        windows.save_to_disk(folder)
        two = measured(folder, count, 2)
        one, half = fastest(folder, count), fastest(folder, count // 2)
    wrong = []
    if two["pairs"] != QUESTIONS * count:
        wrong.append(f"{two['pairs']} questions were written, not {QUESTIONS * count}.")
    if two["sha256"] != one["sha256"]:
        wrong.append("One process and two must write the same text, and do not.")
    if two["seconds"] > SLOWEST:
        wrong.append(f"{count} windows took {two['seconds']:.0f} s, more than {SLOWEST}.")
    for row in (two, one, half):
        if row["peak_gb"] > LARGEST:
            wrong.append(f"{row['windows']} windows on {row['processes']} processes took {row['peak_gb']:.2f} GB.")
    share = half["seconds"] / one["seconds"]
    if not HALF[0] <= share <= HALF[1]:
        wrong.append(f"Half the windows took {share:.2f} of the time of all.")
    return [two, one, half | {"share": share}, variety()], wrong


def main(count=WINDOWS):
    """Measure and print."""
    table, wrong = run(int(count))
    for row in table:
        print(", ".join(f"{name} {f'{one:.3g}' if isinstance(one, float) else one}" for name, one in row.items()))
    print(*wrong, sep="\n", file=sys.stderr)
    return min(len(wrong), 1)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        measure(*sys.argv[2:])
    else:
        sys.exit(main(*sys.argv[1:]))

"""Does reading HHAR stay fast and small? Time, memory and throughput on generated files of 1, 10 and 40 million rows.

- Every size is read five times, each in a process of its own, whose peak memory the operating system reports; the
  median counts, and of the smallest size the fastest.
- The plain way - csv module, one dict per row, joined sample by sample - reads the first size too, and must give the
  same recordings.
- The files lie in a temporary folder that is removed in the end; 40 million rows take about 5 GB with the cache.

``python benchmarks/bench_hhar.py [MILLIONS ...]``, by default 1 10 40; exit code 1 if a limit is broken.
"""

import csv
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

import numpy as np

from llasa_lib.recordings import Recording, hhar

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
import formats_hhar

BYTES_PER_ROW = 130  # of CSV and cache together
SLOWEST_GROWTH = 1.1  # time of 40 million rows against 4 times that of 10 million
LARGEST_GROWTH = 1.2  # memory of the largest size against the one before
LARGEST = 1.5  # GB
SPEEDUP = 30
REPEATS = 5  # of every size


def streaming(folder):
    """The library's way."""
    return hhar.read(folder)


def plain(folder):
    """The plain way: a dict for every row, all rows in memory, then joined sample by sample."""
    rows = {}
    for kind in hhar.PLACEMENT:
        for sensor in hhar.SENSORS:
            with open(folder / f"{kind}_{sensor}.csv", newline="") as file:
                for row in csv.DictReader(file):
                    sample = {
                        "arrival": int(row["Arrival_Time"]),
                        "creation": int(row["Creation_Time"]),
                        "values": [float(row[axis]) for axis in hhar.AXES],
                        "label": row["gt"],
                    }
                    rows.setdefault((row["User"], row["Device"], kind), {}).setdefault(sensor, []).append(sample)
    names = list(hhar.LABELS)
    for _, sensors in sorted(rows.items()):
        if len(sensors) == 2:
            streams = (
                hhar.Stream(
                    np.array([one["arrival"] for one in sensors[sensor]]),
                    np.array([one["creation"] for one in sensors[sensor]]),
                    np.array([one["values"] for one in sensors[sensor]], np.float32),
                    np.array([names.index(one["label"]) for one in sensors[sensor]]),
                )
                for sensor in hhar.SENSORS
            )
            for fields in plain_join(*streams):
                yield Recording(**fields, subject="")


def plain_join(accelerometer, gyroscope):
    """The same join, sample by sample. Only the choice of a clock and the sorting are the library's."""
    clocks = hhar._clocks(accelerometer, gyroscope)
    stamps, values, labels = hhar._in_order(accelerometer, *clocks[0], Counter())
    times, turns, _ = hhar._in_order(gyroscope, *clocks[1], Counter())
    largest = [max(3 * np.median(np.diff(one)) / 1e9, 0.1) * (1 + 1e-6) for one in (stamps, times)]
    stamps, times, values, turns = stamps.tolist(), times.tolist(), values.tolist(), turns.tolist()
    pieces, at, last = [], 0, None
    for row, stamp in enumerate(stamps):
        skipped = last is not None and (stamp - last) / 1e9 > largest[0]
        while at < len(times) - 2 and times[at + 1] <= stamp:
            skipped = skipped or (times[at + 1] - times[at]) / 1e9 > largest[1]
            at += 1
        weight = (stamp - times[at]) / (times[at + 1] - times[at])
        last = stamp
        if not 0 <= weight <= 1 or (times[at + 1] - times[at]) / 1e9 > largest[1]:
            continue
        if skipped or not pieces:
            pieces.append([])
        turn = [a * (1 - weight) + b * weight for a, b in zip(turns[at], turns[at + 1], strict=True)]
        pieces[-1].append((stamp, values[row], turn, labels[row]))
    for piece in pieces:
        clock, acceleration, rotation, named = zip(*piece, strict=True)
        time = (np.array(clock) - clock[0]) / 1e9
        if time[-1] >= hhar.SHORTEST:
            yield {
                "time": time,
                "acceleration": np.array(acceleration),
                "rotation": np.array(rotation),
                "segments": hhar._segments(time, np.array(named)),
            }


def measure(way, folder):
    """Read all; print seconds, peak memory and a summary of what was read as JSON."""
    warnings.simplefilter("ignore")
    seconds, summary = 0.0, []
    recordings = {"streaming": streaming, "plain": plain}[way](Path(folder))
    while True:
        started = time.perf_counter()
        recording = next(recordings, None)
        seconds += time.perf_counter() - started
        if recording is None:
            break
        summary.append([len(recording.time), len(recording.segments), *recording.imu.sum(axis=0).tolist()])
    print(json.dumps({"seconds": seconds, "peak_gb": peak_gb(), "summary": summary}))


def peak_gb():
    """The most memory this program has held, GB."""
    status = Path("/proc/self/status")
    if status.exists():  # NOTE: Linux's getrusage would count what the program that started this one held
        return int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1]) / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e9


def measured(way, folder, home):
    """The same in a process of its own, with an empty cache; the result of that process as a dict."""
    shutil.rmtree(home, ignore_errors=True)
    os.sync()  # what the generator or the run before left to be written would be charged to this one
    command = [sys.executable, __file__, "--measure", way, str(folder)]
    environment = os.environ | {"LLASA_HOME": str(home), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def same(one, other):
    """Are these the same recordings?"""
    return len(one) == len(other) and np.allclose(one, other, rtol=1e-9, atol=1e-9)


def run(millions=(1, 10, 40)):
    """Measure all sizes; returns (rows of a table, sentences about broken limits)."""
    table, wrong, before = [], [], None
    with tempfile.TemporaryDirectory(prefix="hhar-") as place:
        place = Path(place)
        needed = max(millions) * 1e6 * BYTES_PER_ROW
        if shutil.disk_usage(place).free < needed:
            return [], [f"{place} has less than the {needed / 1e9:.0f} GB that the files need. Set TMPDIR."]
        for size in millions:
            # One person per million rows, up to HHAR's nine: about as many rows of each sensor as the real files have.
            users = "abcdefghi"[: max(1, min(9, int(size)))]
            folder = formats_hhar.write(place / "raw", int(size * 1e6), users)
            runs = [measured("streaming", folder, place / "home") for _ in range(REPEATS)]
            # A fifth of a second is at the mercy of whatever else the machine does: there the fastest run counts.
            place_in_order = 0 if size == min(millions) else REPEATS // 2
            found = sorted(runs, key=lambda one: one["seconds"])[place_in_order]
            seconds, peak = found["seconds"], found["peak_gb"]
            row = {"millions": size, "seconds": seconds, "rows_per_second": size * 1e6 / seconds, "peak_gb": peak}
            table.append(row)
            if peak > LARGEST:
                wrong.append(f"{size} million rows took {peak:.2f} GB, more than {LARGEST}.")
            if size == min(millions):
                slow = measured("plain", folder, place / "home")
                row |= {"plain_seconds": slow["seconds"], "speedup": slow["seconds"] / seconds}
                if not same(found["summary"], slow["summary"]):
                    wrong.append("Both ways must give the same recordings, and do not.")
                if row["speedup"] < SPEEDUP:
                    wrong.append(f"{row['speedup']:.1f} times the plain way is less than {SPEEDUP} times.")
            elif before is not None and before["millions"] != min(millions):
                if seconds / before["seconds"] > SLOWEST_GROWTH * size / before["millions"]:
                    wrong.append(f"{size} million rows took {seconds / before['seconds']:.2f} times as long.")
                if peak / before["peak_gb"] > LARGEST_GROWTH:
                    wrong.append(f"{size} million rows took {peak / before['peak_gb']:.2f} times the memory.")
            before = row
            shutil.rmtree(folder)
    return table, wrong


def main(*millions):
    """Measure and print."""
    table, wrong = run([float(one) if "." in one else int(one) for one in millions] or (1, 10, 40))
    for row in table:
        print(", ".join(f"{name} {value:.3g}" for name, value in row.items()))
    print(*wrong, sep="\n", file=sys.stderr)
    return min(len(wrong), 1)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        measure(*sys.argv[2:])
    else:
        sys.exit(main(*sys.argv[1:]))

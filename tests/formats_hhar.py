"""Writes files in the raw format of HHAR, quirks included, quickly enough for millions of rows.

What is imitated: four CSV files with one header line; rows of one person and device together; phones whose creation
time is Unix time in ns, two seconds behind the arrival time; Samsung watches that count ns since they were switched
on; LG watches whose creation clock jumps; Galaxy S+ phones without a gyroscope; late and doubled samples; breaks.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import csv

HEADER = "Index,Arrival_Time,Creation_Time,x,y,z,User,Model,Device,gt\n"
LABELS = np.array(["stand", "null", "sit", "walk", "stairsup", "stairsdown", "bike"])
RATES = {"nexus4": 200, "s3": 150, "s3mini": 100, "samsungold": 50, "gear": 100, "lgwatch": 200}  # Hz
PHONES, WATCHES = ("nexus4", "s3", "s3mini", "samsungold"), ("gear", "lgwatch")
START = 1_424_696_631_913_248_572  # ns
BOOTED = 27_920_678_471_000  # ns on a watch's own clock


def truth(time):
    """What the sensors feel at ``time`` (s): acceleration (T, 3) in m/s^2, rotation (T, 3) in rad/s."""
    phase = 2 * np.pi * 0.5 * time
    acceleration = np.stack([np.sin(phase), np.cos(phase), 9.81 + 0.5 * np.sin(2 * phase)], axis=1)
    rotation = np.stack([0.3 * np.cos(phase), -0.2 * np.sin(phase), 0.1 * np.cos(2 * phase)], axis=1)
    return acceleration, rotation


def stream(rows, model, sensor, seed, spell=20.0, quirks=True):
    """One person's samples of one sensor, as columns: arrival (ms), creation (ns), x, y, z, label number."""
    rng = np.random.default_rng([seed, sensor == "gyroscope"])
    rate = RATES[model]
    shift = 0.3 / rate if sensor == "gyroscope" else 0.0  # the sensors do not start together
    time = np.arange(rows) / rate + shift + rng.uniform(-0.2, 0.2, rows) / rate
    if quirks:
        time[rows // 2 :] += 7.0  # a break
    values = truth(time)[sensor == "gyroscope"].round(6)
    labels = (time // spell).astype(int) % len(LABELS)
    since = (time * 1e9).astype(np.int64)
    arrival = (START + since) // 1_000_000 + 1995 + rng.integers(0, 3, rows)
    creation = {"gear": BOOTED}.get(model, START) + since
    if model == "gear":
        creation -= creation % 1000
    order = np.arange(rows)
    if quirks:
        if model == "lgwatch":
            creation[rows // 3 :] -= 3_600_000_000_000
        late = np.arange(50, rows - 1, 1000)
        order[late], order[late + 1] = late + 1, late
        twice = np.arange(80, rows, 1000)
        order[twice] = twice - 1  # the sample before comes again
    return [column[order] for column in (arrival, creation, *values.T, labels)]


def table(user, device, model, columns):
    """Those samples with the names that HHAR's columns have."""
    arrival, creation, x, y, z, labels = columns
    rows = len(arrival)
    same = lambda text: pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int8)), [text]).cast(pa.string())
    return pa.table(
        [
            np.arange(rows),
            arrival,
            creation,
            x,
            y,
            z,
            same(user),
            same(model),
            same(device),
            pa.array(LABELS).take(pa.array(labels)),
        ],
        names=HEADER.strip().split(","),
    )


def write(folder, rows, users="abcdefghi", models=PHONES + WATCHES, spell=20.0, quirks=True):
    """Write the four files with about ``rows`` rows in total; returns the folder."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    plain = csv.WriteOptions(include_header=False, quoting_style="none")
    streams = sum(2 - (model == "samsungold") for model in models) * 2 * len(users)
    for kind, known in (("Phones", PHONES), ("Watch", WATCHES)):
        for sensor in ("accelerometer", "gyroscope"):
            with open(folder / f"{kind}_{sensor}.csv", "wb") as file:
                file.write(HEADER.encode())
                for seed, user in enumerate(users):
                    for model in (one for one in known if one in models):
                        if (model, sensor) == ("samsungold", "gyroscope"):
                            continue
                        for number in (1, 2):
                            columns = stream(rows // streams, model, sensor, 10 * seed + number, spell, quirks)
                            csv.write_csv(table(user, f"{model}_{number}", model, columns), file, plain)
    return folder

"""HHAR: nine people with eight phones in a pouch at the waist and a watch or two on each arm, six activities.

Notable features:

- 43.9 million rows in four CSV files are read as a stream and set apart by person and device, once, into a cache;
  after that one recording at a time is built, so memory stays flat however long the files are.
- Accelerometer and gyroscope run on their own: the gyroscope is interpolated onto the accelerometer's time stamps
  where both were on, and never across a gap.
- Every sample has two time stamps. The sensor's own is finer; where it is not to be trusted, the time of arrival is
  taken. Samples out of order are sorted, repeated and stray ones dropped, and a warning counts them.
"""

import contextlib
import itertools
import json
import os
import re
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from filelock import FileLock
from pyarrow import csv

from llasa_lib.errors import DataError
from llasa_lib.files import atomic, fingerprint, parse_json, recover, root
from llasa_lib.recordings.archives import AGAIN, LARGEST_SET, Archive
from llasa_lib.recordings.recording import Recording, Segment, find_gaps
from llasa_lib.recordings.subjects import choose, subject_name
from llasa_lib.recordings.tables import runs

LABELS = {
    "null": "",  # between two activities
    "walk": "walking",
    "stairsup": "climbing stairs",
    "stairsdown": "descending stairs",
    "sit": "sitting",
    "stand": "standing",
    "bike": "biking",
}
ACTIVITY = tuple(LABELS.values())
CODES = {label: code for code, label in enumerate(LABELS)}
SENSORS = ("accelerometer", "gyroscope")
PLACEMENT = {"Phones": "waist", "Watch": "wrist"}  # phones were carried in a pouch around the waist
MODELS = {
    "nexus4": "LG Nexus 4",
    "s3": "Samsung Galaxy S3",
    "s3mini": "Samsung Galaxy S3 mini",
    "samsungold": "Samsung Galaxy S+",
    "gear": "Samsung Galaxy Gear",
    "lgwatch": "LG G Watch",
}
COLUMNS = ("Index", "Arrival_Time", "Creation_Time", "x", "y", "z", "User", "Model", "Device", "gt")
STAMPS, AXES, NAMES = COLUMNS[1:3], COLUMNS[3:6], ("User", "Device", "gt")
TYPES = (
    dict.fromkeys(("Index", *STAMPS), pa.int64())
    | dict.fromkeys(AXES, pa.float32())  # what Android gives; the decimals in the files are its shortest spelling
    | dict.fromkeys(NAMES, pa.string())
)
SCHEMA = pa.schema([*((name, TYPES[name]) for name in (*STAMPS, *AXES)), ("gt", pa.int8())])
BLOCK = 1 << 21  # bytes of CSV in memory at a time, and file

ASTRAY = 1_000_000_000  # ns; a message between sensor and file takes less than a second
MOST_ASTRAY = 0.01  # of a stream; beyond that it is the clock that is wrong
SHORTEST = 1.0  # s; shorter pieces between two gaps are dropped


def read(path, subjects=None, devices=None):
    """Read HHAR, one recording in memory at a time.

    Parameters
    ----------
    path : path, the zip or folder that holds the four CSV files.
    subjects : list of str, optional
        Only these people: ``"a"`` and ``"hhar-a"`` name the same person. All of them by default.
    devices : list of str, optional
        Only these devices (``"nexus4_1"``) or models (``"nexus4"``). All of them by default.

    Yields
    ------
    Recording
        One per person, device and stretch in which both sensors were on, on the accelerometer's clock from 0 s.

    Raises
    ------
    DataError
        If a file is missing, a row is malformed, or a subject or device is unknown.

    Warns
    -----
    UserWarning
        At the end: how many samples were sorted or dropped, and which devices have no gyroscope.

    References
    ----------
    Stisen et al., Smart Devices are Different, SenSys 2015.
    """
    cache, index = _partition(path)
    pairs = _choose(index, subjects, devices)
    counts, silent = Counter(), set()
    with contextlib.ExitStack() as stack:
        files = {name: pa.ipc.open_file(stack.enter_context(pa.OSFile(str(cache / name)))) for name in index}
        for user, device, kind in pairs:
            streams = [_stream(files[name], index[name], user, device) for name in _names(kind)]
            if None in streams:
                silent.add(device)
                continue
            for fields in join(*streams, counts):
                yield Recording(
                    **fields,
                    subject=subject_name("hhar", user),
                    placement=PLACEMENT[kind],
                    device=MODELS.get(_model(device), device),
                    source="hhar",
                )
    _warn(counts, silent)


def people(path):
    """Everybody who wrote at least one sample."""
    _, streams = _partition(path)
    return sorted({user for pairs in streams.values() for user, _ in pairs})


def _choose(index, subjects, devices):
    """(user, device, kind) of the chosen recordings, people first."""
    known = {(user, device, name.split("_")[0]) for name, pairs in index.items() for user, device in pairs}
    users = choose("hhar", subjects, sorted({user for user, _, _ in known}))
    names = {device for _, device, _ in known}
    unknown = set(devices or ()) - names - set(map(_model, names))
    if unknown:
        raise DataError(f"hhar has no device {min(unknown)!r}; it has {', '.join(sorted(names))}.")
    chosen = [one for one in sorted(known) if devices is None or {one[1], _model(one[1])} & set(devices)]
    return [one for one in chosen if one[0] in users]


def _names(kind):
    return [f"{kind}_{sensor}" for sensor in SENSORS]


def _model(device):
    return device.rpartition("_")[0]


def _warn(counts, silent):
    said = [f"{counts[what]:,} samples {what}" for what in sorted(counts) if counts[what]]
    if silent:
        said.append(f"{', '.join(sorted(silent))} left out, which lack one of the two sensors")
    if said:
        warnings.warn(f"HHAR: {'; '.join(said)}.", stacklevel=3)


# --- from streams to recordings ------------------------------------------------------------------


class Stream(NamedTuple):
    """What one sensor of one device wrote for one person, row by row."""

    arrival: np.ndarray  # (T,) int64, ms, Unix time
    creation: np.ndarray  # (T,) int64, ns, the sensor's own clock
    values: np.ndarray  # (T, 3) float32
    labels: np.ndarray  # (T,) int8, positions in ACTIVITY


def join(accelerometer, gyroscope, counts=None):
    """Both sensors on the accelerometer's time stamps.

    Parameters
    ----------
    accelerometer, gyroscope : Stream
        In m/s^2 and rad/s, of one device and person.
    counts : Counter, optional
        What was sorted or dropped is added here.

    Returns
    -------
    list of dict
        ``time`` (s, from 0), ``acceleration``, ``rotation`` and ``segments`` of every stretch without a gap.
    """
    counts = Counter() if counts is None else counts
    clocks = _clocks(accelerometer, gyroscope)
    stamps, values, labels = _in_order(accelerometer, *clocks[0], counts)
    times, turns, _ = _in_order(gyroscope, *clocks[1], counts)
    if len(stamps) < 2 or len(times) < 2:
        return []
    before = np.clip(np.searchsorted(times, stamps, side="right") - 1, 0, len(times) - 2)
    weight = (stamps - times[before]) / (times[before + 1] - times[before])  # within 0..1 between two samples
    gaps, silences = find_gaps(stamps / 1e9), find_gaps(times / 1e9)
    covered = (weight >= 0) & (weight <= 1) & ~np.isin(before, silences)
    # Two samples belong together if neither sensor has a gap between them.
    piece = np.searchsorted(gaps, np.arange(len(stamps))) + np.searchsorted(silences, before)
    kept = np.flatnonzero(covered)
    bounds = np.flatnonzero(np.diff(piece[kept], prepend=-1, append=-1))
    found = []
    for first, stop in itertools.pairwise(bounds.tolist()):
        rows = slice(kept[first], kept[stop - 1] + 1)  # within a piece, all rows are covered
        time = (stamps[rows] - stamps[rows][0]) / 1e9
        if time[-1] < SHORTEST:
            counts[f"dropped, in pieces of less than {SHORTEST:g} s"] += len(time)
            continue
        at, part = before[rows], weight[rows, None]
        found.append(
            {
                "time": time,
                "acceleration": values[rows],
                "rotation": turns[at] * (1 - part) + turns[at + 1] * part,
                "segments": _segments(time, labels[rows]),
            }
        )
    return found


def _clocks(*streams):
    """Per stream: time stamps in ns, and which of them to keep.

    Phones write Unix time as creation time, Samsung's watches the time since they were switched on; both are fine. Not
    fine is a clock that jumps, or two clocks for the two sensors. The arrival time tells: it is coarse, but steady.
    """
    delays = [stream.arrival * 1_000_000 - stream.creation for stream in streams]
    usual = [np.median(delay[:: len(delay) // 1000 + 1]) for delay in delays]  # a thousand samples tell it
    kept = [np.abs(delay - middle) <= ASTRAY for delay, middle in zip(delays, usual, strict=True)]
    if max(usual) - min(usual) <= ASTRAY and all(keep.mean() >= 1 - MOST_ASTRAY for keep in kept):
        return [(stream.creation, keep) for stream, keep in zip(streams, kept, strict=True)]
    return [(stream.arrival * 1_000_000, np.ones(len(stream.arrival), bool)) for stream in streams]


def _in_order(stream, stamps, keep, counts):
    """Stamps, values and labels with strictly increasing stamps."""
    columns = stamps, stream.values, stream.labels
    if not keep.all():
        counts["dropped, whose time is astray"] += int((~keep).sum())
        columns = [column[keep] for column in columns]
    steps = np.diff(columns[0])
    if (steps <= 0).any():
        counts["out of order, sorted"] += int((steps < 0).sum())
        order = np.argsort(columns[0], kind="stable")
        new = np.append(True, np.diff(columns[0][order]) > 0)  # the first of equal stamps stays
        counts["dropped, whose time repeats"] += int((~new).sum())
        columns = [column.take(order[new], axis=0) for column in columns]
    return columns


def _segments(time, labels):
    """Stretches of one label; the last sample of a recording counts for one more step."""
    ends = np.append(time[1:], 2 * time[-1] - time[-2])
    return tuple(
        Segment(float(time[first]), float(ends[stop - 1]), ACTIVITY[label])
        for label, first, stop in runs(labels)
        if ACTIVITY[label]
    )


# --- from CSV files to streams -------------------------------------------------------------------


@dataclass
class _Index:
    """What stands beside the streams in the cache: what they were made from, and whose each of their batches is."""

    stamp: str
    streams: dict[str, list[tuple[str, str]]]


def _partition(path):
    """The rows of each person and device together; made when the files are new or have changed, by one process.

    Returns
    -------
    (path, dict)
        A folder with a file per stream, and {"Phones_accelerometer": [(user, device) of each batch], ...}.
    """
    cache = root() / "data" / "cache" / "hhar"
    with Archive(path, LARGEST_SET, AGAIN) as archive:
        members = _members(archive)
        stamp = fingerprint(_state(archive, members), sorted(members.items()), COLUMNS, LABELS, BLOCK)
        streams = _current(cache, stamp, members)
        try:
            if streams is None:
                cache.parent.mkdir(parents=True, exist_ok=True)
                with FileLock(cache.with_name(f".{cache.name}.lock")):
                    recover(cache)
                    # Somebody else may have made it while this one waited for the lock.
                    streams = _current(cache, stamp, members) or _fill(cache, archive, members, stamp)
        except OSError as error:
            raise DataError(
                f"HHAR could not be prepared in {cache} ({error.strerror or error}). "
                f"It takes about 1.5 GB there: make room, or set LLASA_HOME to another disk."
            ) from error
    return cache, streams


def _current(cache, stamp, names):
    """The streams of a cache that is whole and of these files; else None."""
    try:
        index = parse_json((cache / "index.json").read_bytes(), _Index)
        if index.stamp != stamp or index.streams.keys() != set(names):
            return None
        for name, pairs in index.streams.items():
            with pa.OSFile(str(cache / name)) as file:
                if pa.ipc.open_file(file).num_record_batches != len(pairs):
                    return None
    except (OSError, ValueError):  # also Arrow's
        return None
    return index.streams


def _fill(cache, archive, members, stamp):
    with atomic(cache, folder=True) as temporary:
        # Threads, not processes: Arrow parses without Python's lock, and nothing has to be copied or started.
        with ThreadPoolExecutor(min(len(members), os.cpu_count() or 1)) as pool:
            split = lambda name: _split(archive, members[name], temporary / name)
            streams = dict(zip(members, pool.map(split, members), strict=True))
        (temporary / "index.json").write_text(json.dumps({"stamp": stamp, "streams": streams}), encoding="utf-8")
    return streams


def _state(archive, members):
    """Size and time of change of a file, or of every file in a folder: cheaper than their sha256."""
    path = archive.path
    files = sorted(path / name for name in members.values()) if path.is_dir() else [path]
    return [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]


def _members(archive):
    """{"Phones_accelerometer": its name in the archive, ...}"""
    names = [name for kind in PLACEMENT for name in _names(kind)]
    found = {name.rpartition("/")[2].removesuffix(".csv"): name for name in archive.names if name.endswith(".csv")}
    missing = [f"{name}.csv" for name in names if name not in found]
    if missing:
        raise DataError(f"{archive.path} holds no {', '.join(missing)}. {_remedy(archive)}")
    return {name: found[name] for name in names}


def _remedy(archive):
    """A folder was filled by the reader, so it is never said that it may be deleted."""
    unpack = "Unpack all four files of HHAR into it, or move it away, and the set is fetched"
    return f"{unpack}." if archive.path.is_dir() else "Delete it, and it is fetched again."


def _split(archive, member, target):
    """Write the rows of one CSV file as Arrow batches of one person and device each.

    Returns
    -------
    list of (user, device)
        One per batch.
    """
    import pyarrow.compute as pc

    pairs, line, where = [], 2, f"{archive.path}: {member}"
    try:
        # A file on disk goes to Arrow by name: through Python, every byte would be copied under its lock.
        plain = archive.path.is_dir()
        source = contextlib.nullcontext(archive.path / member) if plain else archive.open(member)
        with source as file, _reader(file) as reader, pa.ipc.new_file(target, SCHEMA) as writer:
            for batch in reader:
                rows = _checked(batch, line, where)
                # Rows of one pair stand together, so run ends are few, and much cheaper to find than groups.
                users, devices = (pc.run_end_encode(batch.column(name)) for name in NAMES[:2])
                ends = np.union1d(users.run_ends, devices.run_ends).tolist()
                for first, stop in itertools.pairwise([0, *ends]):
                    writer.write_batch(rows.slice(first, stop - first))
                    pairs.append((batch.column("User")[first].as_py(), batch.column("Device")[first].as_py()))
                line += len(batch)
    except (pa.ArrowInvalid, KeyError) as error:
        raise DataError(f"{where}{_explained(error)} Delete the file and get it again.") from error
    if not pairs:
        raise DataError(f"{where}: there are no samples in it. {_remedy(archive)}")
    return pairs


def _reader(file):
    return csv.open_csv(
        file,
        # One thread: it costs no time here, and errors name their row.
        csv.ReadOptions(block_size=BLOCK, use_threads=False),
        csv.ParseOptions(quote_char=False, ignore_empty_lines=False),
        # No null values: an empty cell is an error, and "null" is a label.
        csv.ConvertOptions(column_types=TYPES, include_columns=[*STAMPS, *AXES, *NAMES], null_values=[]),
    )


def _checked(batch, line, where):
    """The columns that are kept; a label or a number that cannot be is an error with its line."""
    import pyarrow.compute as pc

    runs = pc.run_end_encode(batch.column("gt"))
    starts = np.concatenate([[0], runs.run_ends.to_numpy()])
    codes = []
    for label, start in zip(runs.values.to_pylist(), starts, strict=False):
        if label not in CODES:
            raise DataError(
                f"{where}, line {line + start}: unknown activity {label!r}; known are {', '.join(LABELS)}. "
                f"Delete the file and get it again."
            )
        codes.append(CODES[label])
    labels = np.repeat(np.array(codes, np.int8), np.diff(starts))
    for axis in AXES:
        finite = np.isfinite(batch.column(axis).to_numpy())
        if not finite.all():
            raise DataError(
                f"{where}, line {line + int(np.argmin(finite))}, column {axis}: not a finite number. "
                f"Delete the file and get it again."
            )
    return pa.record_batch([*(batch.column(name) for name in (*STAMPS, *AXES)), pa.array(labels)], schema=SCHEMA)


def _explained(error):
    """Arrow's words for a malformed row, with the line of the file and the column's name."""
    text = str(error.args[0] if error.args else type(error).__name__).partition("\n")[0]
    row, column = re.search(r"Row #(\d+)", text), re.search(r"column #(\d+)", text)
    where = f", line {row[1]}" if row else ""
    where += f", column {COLUMNS[int(column[1])]}" if column else ""
    return f"{where}: {re.sub(r'In CSV column #[0-9]+: |Row #[0-9]+: |CSV [a-z]+ error[^:]*: ', '', text)}."


def _stream(file, pairs, user, device):
    """One stream back from the cache, or None if this sensor wrote nothing."""
    batches = [file.get_batch(number) for number, pair in enumerate(pairs) if pair == (user, device)]
    if not batches:
        return None
    arrival, creation, *values, labels = (column.to_numpy() for column in pa.Table.from_batches(batches).columns)
    return Stream(arrival, creation, np.stack(values, axis=1), labels)

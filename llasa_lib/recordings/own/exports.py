"""What apps export, as streams: one sensor each, with a clock of its own.

- phyphox: a zip with ``Accelerometer.csv``, ``Gyroscope.csv`` (and ``meta/``), or one CSV, in its five variants.
- Sensor Logger: a zip or folder with ``TotalAcceleration.csv``, or ``Accelerometer.csv`` (gravity removed) and
  ``Gravity.csv``, and ``Gyroscope.csv``; ``Metadata.csv`` tells an iPhone, whose three axes point the other way.
- Physics Toolbox: one CSV with ``gFx`` and ``wx``, and whatever clock its version writes.
- Anything else with sensible header names.
"""

import zipfile
import zlib
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np

from llasa_lib.errors import RecordingError
from llasa_lib.recordings.archives import Archive
from llasa_lib.recordings.own import tables, units
from llasa_lib.recordings.recording import find_gaps

QUANTITIES = ("acceleration", "linear acceleration", "gravity", "rotation")
# Files whose columns are only called x, y, z: the name of the file says what they are.
FILES = {
    "totalacceleration": "acceleration",
    "accelerometeruncalibrated": "acceleration",
    "accelerometer": "acceleration",
    "linearacceleration": "linear acceleration",
    "gravity": "gravity",
    "gyroscope": "rotation",
    "gyroscopeuncalibrated": "rotation",
}
WORN = {"wristmotion", "headphone"}  # Sensor Logger: another device, with user acceleration and gravity apart
MOST_MISSING = 0.05  # of the rows; more is no accident
LONGEST_STEP_BACK = 1.0  # s; more is a second recording, not a late sample


@dataclass(frozen=True)
class Stream:
    """One sensor: ``time`` (T,) s, ``values`` (T, 3) in ``unit`` (None if not stated), ``lines`` (T,) in the file."""

    quantity: str
    place: str
    name: str
    time: np.ndarray
    values: np.ndarray
    unit: str | None
    lines: np.ndarray

    @property
    def rate(self):
        """Samples per second, from the median step."""
        return float(1 / np.median(np.diff(self.time)))


class Notes:
    """What is found out and repaired on the way: ``findings``, ``repairs``."""

    def __init__(self):
        self.findings, self.repairs = [], []

    def repair(self, text):
        """Note a repair once."""
        if text not in self.repairs:
            self.repairs.append(text)


def open_export(path):
    """Read the files of an export.

    Returns
    -------
    files : dict
        Name of each text file inside -> its bytes. A single file is its own only member.

    Raises
    ------
    RecordingError
        If there is no such file, or it is an Excel workbook or a damaged zip.
    """
    if path.is_dir():
        # Only this folder, not what lies below: somebody's whole disk is no recording.
        return {file.name: file.read_bytes() for file in sorted(path.iterdir()) if _is_text(file.name)}
    if not path.is_file():
        raise RecordingError(f"{path}: there is no such file. Check the name and the folder.")
    if not zipfile.is_zipfile(path):
        if path.suffix.lower() in (".zip", ".xlsx"):
            raise RecordingError(f"{path}: the zip is damaged or was cut short. Export or copy it again.")
        return {path.name: path.read_bytes()}
    with Archive(path) as archive:
        if any(name.startswith("xl/") for name in archive.names):
            raise RecordingError(f"{path}: this is an Excel workbook. Export the recording as CSV.")
        try:
            return {name: _content(archive, name) for name in archive.names if _is_text(name)}
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise RecordingError(f"{path}: the zip is damaged ({error}). Export or copy it again.") from None


def _is_text(name):
    return PurePosixPath(name).suffix.lower() in (".csv", ".tsv", ".txt")


def _content(archive, name):
    with archive.open(name) as file:
        return file.read()


def read_streams(path, files, time_said, notes):
    """Every motion sensor in an export.

    Parameters
    ----------
    path : Path
    files : dict, from :func:`open_export`.
    time_said : str or None
        Unit of time that the caller states.
    notes : Notes

    Returns
    -------
    streams : list of Stream
    app : str, "phyphox", "Sensor Logger", "Physics Toolbox" or "CSV".
    """
    single = len(files) == 1
    streams, app, seen = [], "CSV", {}
    for name, content in files.items():
        inside = PurePosixPath(name)
        if "meta" in inside.parts[:-1] or (not single and inside.stem == "Metadata"):
            continue
        place = str(path) if single and path.is_file() and path.name == name else f"{path}: {name}"
        text = tables.decode(content, place)
        head = tables.header(text)
        if head is None and not single:
            continue
        plan = _plan(head[0], inside.stem, f"{place}, line {head[2] + 1}") if head else None
        if not single and not any(quantity in plan for quantity in QUANTITIES):
            continue
        if inside.name in seen:
            raise RecordingError(
                f"{path}: there are two recordings in it ({seen[inside.name]} and {name}). Give one of them."
            )
        seen[inside.name] = name
        table = tables.parse(text, place, inside.stem)
        _need(plan, table, single)
        app = _app(table.columns) if app == "CSV" else app
        streams += _streams(table, plan, time_said, notes)
    if not streams:
        raise RecordingError(
            f"{path}: there is no recording in it; the files found are {', '.join(files) or 'none'}. Give the zip, "
            f"the folder or the CSV that the app exported."
        )
    phone = [stream for stream in streams if stream.name.lower() not in WORN]
    if phone and len(phone) < len(streams):
        notes.repair("the watch or headphone in this export left out; only the phone is read")
    return phone or streams, app


def _app(columns):
    if {"time", "seconds_elapsed"} <= set(columns):
        return "Sensor Logger"
    if any(column.startswith("gF") for column in columns):
        return "Physics Toolbox"
    if "Time (s)" in columns and any(column.endswith((" x (m/s^2)", " x (rad/s)")) for column in columns):
        return "phyphox"
    return "CSV"


def _plan(columns, stem, where):
    """{quantity: [position of x, y, z], "time": [position], "units": {quantity: unit}} of a header."""
    found, times = {}, []
    bare = {"x": 0, "y": 1, "z": 2}
    by_file = FILES.get(stem.lower().replace(" ", "").replace("_", ""))
    if by_file == "acceleration" and stem.lower() == "accelerometer" and "seconds_elapsed" in columns:
        by_file = "linear acceleration"  # Sensor Logger removes gravity there
    without_gravity = any(name.startswith("gF") for name in columns) or stem.lower() in WORN
    for position, name in enumerate(columns):
        means = tables.meaning(name)
        if means is None and by_file and name.lower() in bare:
            means = tables.Meaning(by_file, bare[name.lower()], None)
        if means is None:
            continue
        if means.quantity == "time":
            times.append((position, means.unit))
            continue
        quantity = means.quantity
        if without_gravity and quantity == "acceleration" and not name.startswith("gF"):
            quantity = "linear acceleration"  # Physics Toolbox: gFx holds gravity, ax does not
        axes = found.setdefault(quantity, {})
        if means.axis in axes:
            other = columns[axes[means.axis][0]]
            what = f"{quantity} {tables.AXES[means.axis]}"
            raise RecordingError(f"{where}: both {other!r} and {name!r} mean {what}. Delete or rename one.")
        axes[means.axis] = (position, means.unit)
    if len(times) > 1:
        elapsed = [one for one in times if "elapsed" in columns[one[0]].lower()]
        if len(elapsed) != 1:
            one, other = (columns[position] for position, _ in times[:2])
            raise RecordingError(f"{where}: both {one!r} and {other!r} mean time. Delete or rename one.")
        times = elapsed
    plan = {"time": times, "units": {}}
    for quantity, axes in found.items():
        stated = {unit for _, unit in axes.values() if unit}
        base = "acceleration" if quantity != "rotation" else "rotation"
        names = {units.canonical(base, unit, f"{where}, column {columns[p]!r}") for p, unit in axes.values()}
        names.discard(None)
        if len(names) > 1:
            raise RecordingError(f"{where}: {quantity} is in {' and '.join(sorted(stated))}. Use one unit.")
        plan[quantity] = axes
        plan["units"][quantity] = names.pop() if names else None
    if _app(columns) in ("Sensor Logger", "Physics Toolbox") and plan["units"].get("rotation", "") is None:
        plan["units"]["rotation"] = "rad/s"  # both document it, and write it in no header
    return plan


def _need(plan, table, single):
    """Refuse a table without time or without an axis, and name what is there."""
    missing = [] if plan["time"] else ["time"]
    quantities = [quantity for quantity in QUANTITIES if quantity in plan]
    if single:
        if "acceleration" not in plan and {"linear acceleration", "gravity"} - set(plan):
            quantities = ["acceleration", *quantities]
        quantities += [] if "rotation" in plan else ["rotation"]
    for quantity in quantities:
        missing += [f"{quantity} {a}" for i, a in enumerate(tables.AXES) if i not in plan.get(quantity, {})]
    if missing:
        linear = "; gravity was removed from the acceleration in it" if "linear acceleration" in plan else ""
        files = (
            " Several files belong to one recording: give their zip or folder." if table.name.lower() in FILES else ""
        )
        raise RecordingError(
            f"{table.place}, line {table.first_line - 1}: no column for {', '.join(missing)}; the columns found are "
            f"{', '.join(table.columns)}{linear}. Rename or add what is missing, for example acc_x, gyro_x.{files}"
        )


def _streams(table, plan, time_said, notes):
    position, unit = plan["time"][0]
    stamps, known = tables.clock(table, position)
    where = f"{table.place}, column {table.columns[position]!r}"
    said = time_said or known or units.canonical("time", unit, where)
    streams = []
    for quantity in (q for q in QUANTITIES if q in plan):
        values = np.stack([tables.numbers(table, plan[quantity][axis][0]) for axis in range(3)], axis=1)
        lines = table.first_line + np.arange(len(values))
        stream = Stream(quantity, table.place, table.name, stamps, values, plan["units"][quantity], lines)
        streams.append(_mend_time(_drop_missing(stream, table, notes), said, notes))
    return streams


def _drop_missing(stream, table, notes):
    missing = ~np.isfinite(np.column_stack([stream.time, stream.values])).all(axis=1)
    if not missing.any():
        return stream
    count, first = int(missing.sum()), int(np.argmax(missing))
    if missing.mean() > MOST_MISSING:
        raise RecordingError(
            f"{stream.place}, line {stream.lines[first]}: {stream.quantity} or time is missing here and in {count - 1} "
            f"more of {len(missing)} lines. Export again, or record again."
        )
    notes.repair(f"{table.name}: {_lines(count)} without a value dropped (the first is line {stream.lines[first]})")
    return _rows(stream, ~missing)


def _lines(count):
    return f"{count} line{'s' if count > 1 else ''}"


def _rows(stream, rows):
    return replace(stream, time=stream.time[rows], values=stream.values[rows], lines=stream.lines[rows])


def _mend_time(stream, said, notes):
    """Seconds, in order, one row per stamp."""
    steps = np.diff(stream.time)
    forward = steps[steps > 0]
    if len(forward) == 0:
        raise RecordingError(f"{stream.place}: time never advances, and at least 6 s of data are needed. Record again.")
    found = units.time_unit(float(np.median(forward)), said, stream.place)
    if (found.what, found.value) not in [one[:2] for one in notes.findings]:
        notes.findings.append(found)
    seconds = stream.time * units.FACTORS["time"][found.value]
    steps = np.diff(seconds)
    if (steps < 0).any():
        at = int(np.argmin(steps))
        if steps[at] < -LONGEST_STEP_BACK or (steps < 0).mean() > MOST_MISSING:
            raise RecordingError(
                f"{stream.place}, line {stream.lines[at + 1]}: time goes back from {stream.time[at]:g} to "
                f"{stream.time[at + 1]:g}, so a second recording may begin there. Keep one recording per file."
            )
        notes.repair(f"{stream.name}: {_lines(int((steps < 0).sum()))} out of order, sorted by time")
    order = np.argsort(seconds, kind="stable")
    stream = _rows(replace(stream, time=seconds), order)
    return _one_per_stamp(stream, notes)


def _one_per_stamp(stream, notes):
    same = np.diff(stream.time) <= 0
    copies = np.r_[False, same & (np.diff(stream.values, axis=0) == 0).all(axis=1)]
    if copies.any():
        notes.repair(f"{stream.name}: {_lines(int(copies.sum()))} repeated exactly, dropped")
        stream = _rows(stream, ~copies)
    first = np.r_[True, np.diff(stream.time) > 0]
    if first.all():
        return stream
    shared = int((~first).sum())
    if shared > 0.1 * len(first):
        raise RecordingError(
            f"{stream.place}, line {stream.lines[int(np.argmin(first))]}: {shared} lines have the time of the line "
            f"before, so the clock is too coarse. Export with fractions of a second."
        )
    notes.repair(f"{stream.name}: {_lines(shared)} with the time of the line before, averaged with it")
    group = np.cumsum(first) - 1
    sums = np.stack([np.bincount(group, weights=axis) for axis in stream.values.T], axis=1)
    return replace(_rows(stream, first), values=sums / np.bincount(group)[:, None])


def pick(streams, quantity, path):
    """The stream of a quantity to use, calibrated before uncalibrated; ``None`` if there is none.

    Raises
    ------
    RecordingError
        If there are two of a kind.
    """
    chosen = [stream for stream in streams if stream.quantity == quantity]
    chosen = [stream for stream in chosen if "uncalibrated" not in stream.name.lower()] or chosen
    if len(chosen) > 1:
        raise RecordingError(
            f"{path}: {chosen[0].name} and {chosen[1].name} both hold {quantity}. Give one recording, not a collection."
        )
    return chosen[0] if chosen else None


def join(clock, other, path):
    """Bring one stream onto the clock of another, by straight lines between its samples.

    Parameters
    ----------
    clock, other : Stream
    path : Path, for messages.

    Returns
    -------
    clock : Stream
        Its rows for which ``other`` has samples on both sides and no gap between them.
    values : (T, 3) array of ``other`` at these times.

    Raises
    ------
    RecordingError
        If the two have no time in common.
    """
    if len(clock.time) == len(other.time) and (clock.time == other.time).all():
        return clock, other.values
    before = np.searchsorted(other.time, clock.time, side="right") - 1
    bridged = np.zeros(len(other.time), dtype=bool)
    bridged[find_gaps(other.time)] = True
    inside = (clock.time >= other.time[0]) & (clock.time <= other.time[-1])
    exact = other.time[before.clip(0)] == clock.time
    rows = inside & (exact | ~bridged[before.clip(0)])
    if not rows.any():
        raise RecordingError(
            f"{path}: {clock.name} ({clock.time[0]:g} to {clock.time[-1]:g} s) and {other.name} ({other.time[0]:g} to "
            f"{other.time[-1]:g} s) have no time in common. Export both from one recording."
        )
    clock = _rows(clock, rows)
    values = np.stack([np.interp(clock.time, other.time, axis) for axis in other.values.T], axis=1)
    return clock, values


def is_iphone(files):
    """Whether ``Metadata.csv`` of Sensor Logger says that axes point as Apple's do; ``None`` without that file."""
    content = next((files[name] for name in files if Path(name).name == "Metadata.csv"), None)
    text = tables.decode(content, "Metadata.csv") if content else ""
    head = tables.header(text)
    if head is None or "platform" not in head[0]:
        return None
    table = tables.parse(text, "Metadata.csv", "Metadata")
    row = dict(zip(table.columns, table.cells.iloc[0], strict=True))
    return row["platform"].lower() == "ios" and row.get("standardisation", "").lower() != "true"

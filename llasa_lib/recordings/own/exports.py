"""What apps export, as streams: one sensor each, with a clock of its own.

- phyphox: a zip with ``Accelerometer.csv``, ``Gyroscope.csv`` (and ``meta/``), or one CSV, in its five variants; an
  iPhone's "simple experiment", whose columns are only called ``X (m/s^2)``.
- Sensor Logger: a zip or folder with ``TotalAcceleration.csv``, or ``Accelerometer.csv`` (gravity removed) and
  ``Gravity.csv``, and ``Gyroscope.csv``; ``Metadata.csv`` tells an iPhone, whose three axes point the other way. Or all
  of it as JSON.
- SensorLog and all that hand on Apple's Core Motion (``userAcceleration.x``), AndroSensor.
- Physics Toolbox: one CSV with ``gFx`` and ``wx``, and whatever clock its version writes.
- Anything else with sensible header names.
"""

import csv
import io
import re
import zipfile
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

import numpy as np

from llasa_lib.errors import DataError, RecordingError
from llasa_lib.files import parse_json
from llasa_lib.recordings import archives
from llasa_lib.recordings.own import tables, units
from llasa_lib.recordings.recording import find_gaps

QUANTITIES = ("acceleration", "linear acceleration", "gravity", "rotation")
# What the name of a file says about columns that are only called x, y, z: the first of these that is in it.
FILES = {
    "linear acceleration": r"linear|useracc|withoutg",
    "gravity": r"(?<!with)(?<!including)gravity",
    "acceleration": r"acc",
    "rotation": r"gyro|rotationrate",
}
WORN = r"wrist|watch|headphone"  # Sensor Logger: another device beside the phone
MOST_MISSING = 0.05  # of the rows; more is no accident
LARGEST_JSON = 64 << 20  # bytes; in memory it takes ten times as many
LONGEST_STEP_BACK = 1.0  # s; more is a second recording, not a late sample
LONGEST = 366 * 86400  # s
COARSE = 0.025  # s: half a sample of a window
LEAST_HELD = 0.2  # of the lines repeat the last value: then the sensor is slower than the lines
FURTHEST_ORIGINS = 1.0  # s between the starts of the sensors of one recording
LONGEST_DELAY = 0.5  # s in which a burst makes up for a pause
SAME_ORIGIN = 0.005  # s


@dataclass(frozen=True)
class Stream:
    """One sensor: ``time`` (T,) s, ``values`` (T, 3) in ``unit`` (None if not stated), ``lines`` (T,) in the file.

    ``origins``: where the table has more clocks than one, what each of the others says (s) when ``time`` is 0, and the
    usual step of that clock (s). ``merged``: how many samples were averaged with one of the same time, per sample.
    """

    quantity: str
    place: str
    name: str
    time: np.ndarray
    values: np.ndarray
    unit: str | None
    lines: np.ndarray
    origins: dict
    merged: float = 0.0

    @property
    def rate(self):
        """Stamps per second where there is no gap: bursts of samples have a median step that means nothing."""
        steps = np.delete(np.diff(self.time), find_gaps(self.time))
        return float(len(steps) / steps.sum()) if len(steps) else 0.0


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
    try:
        return _unpacked(_contents(path))
    except DataError as error:
        raise RecordingError(str(error)) from error


def _contents(path):
    if path.is_dir():
        # Only this folder, not what lies below: somebody's whole disk is no recording.
        inside = [file for file in sorted(path.iterdir()) if _is_text(file.name) and file.is_file()]
        return {shown(file.name): archives.read_file(file) for file in inside}
    if not path.is_file():
        raise RecordingError(f"{path}: there is no such file. Check the name and the folder.")
    if not zipfile.is_zipfile(path):
        if path.suffix.lower() in (".zip", ".xlsx"):
            raise RecordingError(f"{path}: the zip is damaged or was cut short. Export or copy it again.")
        return {shown(path.name): archives.read_file(path)}
    with archives.Archive(path) as archive:
        if any(name.startswith("xl/") for name in archive.names):
            raise RecordingError(f"{path}: this is an Excel workbook. Export the recording as CSV.")
        return {shown(name): archive.open(name).read() for name in archive.names if _is_text(name)}


def _unpacked(files):
    """The files; Sensor Logger's JSON, where there is no CSV beside it, as the CSVs that it would have been as."""
    found = {}
    for name, content in files.items():
        tables = {} if any(other.lower().endswith(".csv") for other in files if other != name) else _by_sensor(content)
        parts = {f"{PurePosixPath(name).with_suffix('')}/{sensor}.csv": table for sensor, table in tables.items()}
        found |= parts or {name: content}
    return found


def _by_sensor(content):
    """{"Gyroscope": content of its CSV, ...} of a JSON list whose rows each name their sensor; {} of anything else."""
    sensors = {}
    if not re.match(rb"\s*\[\s*\{", content) or len(content) > LARGEST_JSON:
        return {}
    try:
        for row in parse_json(content, list[dict[str, str | int | float | bool | None]]):
            sensors.setdefault(re.sub(r"\W+", " ", str(row.pop("sensor"))), []).append(row)
    except (ValueError, KeyError):
        return {}
    if not all(any(re.search(FILES[base], _word(name)) for name in sensors) for base in ("acceleration", "rotation")):
        return {}
    tables = {}
    for name, rows in sensors.items():
        text = io.StringIO()
        writer = csv.DictWriter(text, dict.fromkeys(column for row in rows for column in row))
        writer.writeheader()
        writer.writerows(rows)
        tables[name] = text.getvalue().encode()
    return tables


def _is_text(name):
    return PurePosixPath(name).suffix.lower() in (".csv", ".tsv", ".txt", ".json")


def shown(name):
    """A file's name as it can be printed and saved: bytes that are not UTF-8 are escaped."""
    return str(name).encode("utf-8", "backslashreplace").decode()


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
    app : str, a key of ``APPS``, or "CSV".
    """
    single = len(files) == 1
    streams, app, seen, others = [], "CSV", {}, None
    for name, content in files.items():
        inside = PurePosixPath(name)
        if "meta" in inside.parts[:-1] or (not single and _word(inside.stem) == "metadata"):
            continue
        place = str(path) if single and path.name == name else f"{path}: {name}"
        try:
            text = tables.decode(content, place)
            head = tables.header(text, place)
        except RecordingError as error:
            if single:
                raise
            others = error  # it need not be a part of the recording
            continue
        if head is None and not single:
            continue
        plan = _plan(head[0], inside.stem, f"{place}, line {head[2] + 1}") if head else None
        if not single and not any(quantity in plan for quantity in QUANTITIES):
            continue
        key = _word(inside.stem)
        if key in seen and inside.parent != PurePosixPath(seen[key]).parent:
            raise RecordingError(f"{path}: there are two recordings in it ({seen[key]} and {name}). Give one of them.")
        seen[key] = name
        table = tables.parse(text, place, inside.stem)
        _need(plan, table, single)
        app = _app(table.columns) if app == "CSV" else app
        streams += _streams(table, plan, time_said, notes)
    if not streams and others is not None:
        raise others
    if not streams:
        raise RecordingError(
            f"{path}: there is no recording in it; the files found are {tables.listed(files) or 'none'}. Give the zip, "
            f"the folder or the CSV that the app exported."
        )
    phone = [stream for stream in streams if not re.search(WORN, stream.name.lower())]
    if phone and len(phone) < len(streams):
        notes.repair("the watch or headphone in this export left out; only the phone is read")
    if app == "CSV" and platform(files) is not None:
        app = "Sensor Logger"
    return phone or streams, app


def _word(stem):
    """The name of a file without what a browser adds to a second download: "Gyroscope (1)" is ``gyroscope``."""
    return re.sub(r"[^a-z0-9]", "", re.sub(r" *\(\d+\)$|[ _-]copy$", "", stem.lower()))


def _app(columns):
    """The app that names its columns like this, or "CSV"."""
    names = [re.sub(r"\s+", " ", column.lower()).strip() for column in columns]
    all_names = "|".join(["", *names, ""])
    return next((app for app, marks in APPS.items() if all(re.search(mark, all_names) for mark in marks)), "CSV")


# What the header of each app holds, all in lower case, "|" between columns. The first that fits is it.
APPS = {
    "Physics Toolbox": [r"\|gfx"],
    "SensorLog": [r"\|accelerometeraccelerationx", r"\|gyrorotationx"],
    "Core Motion": [r"user[ _.]?acc(el|eleration)?[ _.]?x\b|motionuseraccelerationx"],
    "Apple Watch": [r"\|rotation[ _.]?rate[ _.]?x", r"\|(motion)?gravity[ _.]?x"],
    "Sensor Logger": [r"\|time\|", r"\|seconds_elapsed\||\|z\|y\|x\|$"],
    "AndroSensor": [r"\|accelerometer x", r"\|time since start in ms"],
    "phyphox": [r"\|time \(s\)\|", r"(\|| )x \((m/s\^2|rad/s)\)\|"],
}
# Where acceleration points at rest in what they write. phyphox turns an iPhone's round.
UP_OR_DOWN = {"Core Motion": "down", "SensorLog": "down", "Apple Watch": "down", "phyphox": "up", "AndroSensor": "up"}


def _plan(columns, stem, where):
    """{quantity: {axis: (position, unit)}, "time": [(position, unit)], "units": {quantity: unit}} of a header."""
    found, times = {}, []
    word = _word(stem)
    by_file = next((quantity for quantity, words in FILES.items() if re.search(words, word)), None)
    names = [column.lower() for column in columns]
    if word == "accelerometer" and "seconds_elapsed" in names:
        by_file = "linear acceleration"  # Sensor Logger removes gravity there
    has_gf = any(name.startswith("gf") for name in names)
    meanings = [tables.meaning(name) for name in columns]
    named = any(means and means.quantity in QUANTITIES for means in meanings)
    for position, (name, means) in enumerate(zip(columns, meanings, strict=True)):
        quantity = means and (means.quantity or (None if named else _unnamed(means.unit, by_file)))
        if not quantity:
            continue
        if quantity == "time":
            times.append((position, means.unit))
            continue
        if has_gf and quantity == "acceleration" and not names[position].startswith("gf"):
            quantity = "linear acceleration"  # Physics Toolbox: gFx holds gravity, ax does not
        axes = found.setdefault(quantity, {})
        if means.axis in axes:
            other = columns[axes[means.axis][0]]
            motion = [one.lower().startswith("motion") for one in (other, name)]
            if motion == [True, False]:  # SensorLog: beside the raw sensor, what Core Motion makes of it
                continue
            if motion == [False, False] or motion == [True, True]:
                what = f"{quantity} {tables.AXES[means.axis]}"
                raise RecordingError(
                    f"{where}: both {tables.quoted(other)} and {tables.quoted(name)} mean {what}. Delete or rename one."
                )
        axes[means.axis] = (position, means.unit)
    plan = {"time": times, "units": {}}
    for quantity, axes in found.items():
        stated = {unit for _, unit in axes.values() if unit}
        base = "acceleration" if quantity != "rotation" else "rotation"
        names = {
            units.canonical(base, unit, f"{where}, column {tables.quoted(columns[p])}") for p, unit in axes.values()
        }
        names.discard(None)
        if len(names) > 1:
            raise RecordingError(f"{where}: {quantity} is in {' and '.join(sorted(stated))}. Use one unit.")
        plan[quantity] = axes
        plan["units"][quantity] = names.pop() if names else None
    apps = ("Sensor Logger", "Physics Toolbox", "Apple Watch", "Core Motion")
    if _app(columns) in apps and plan["units"].get("rotation", "") is None:
        plan["units"]["rotation"] = "rad/s"  # all document it, and write it in no header
    return plan


def _unnamed(unit, by_file):
    """What a column that is only called "X (m/s^2)" measures: by its unit, and its file may say which acceleration."""
    base = units.quantity(unit) if unit else by_file
    agree = base and by_file and (base == "rotation") == (by_file == "rotation")
    return by_file if agree else base


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
        removed = "linear acceleration" in plan and "acceleration" not in plan
        linear = "; gravity was removed from the acceleration in it" if removed else ""
        of_many = any(re.search(words, _word(table.name)) for words in FILES.values())
        files = " Several files belong to one recording: give their zip or folder." if of_many else ""
        raise RecordingError(
            f"{table.place}, line {table.first_line - 1}: no column for {', '.join(missing)}; the columns found are "
            f"{tables.listed(table.columns)}{linear}. Rename or add what is missing, for example acc_x, gyro_x.{files}"
        )


def _streams(table, plan, time_said, notes):
    (_, stamps, said), *others = _clocks(table, plan["time"], time_said)
    streams = []
    for quantity in (q for q in QUANTITIES if q in plan):
        values = np.stack([tables.numbers(table, plan[quantity][axis][0]) for axis in range(3)], axis=1)
        lines = table.first_line + np.arange(len(values))
        stream = Stream(quantity, table.place, table.name, stamps, values, plan["units"][quantity], lines, {})
        stream = _mend_time(_drop_missing(stream, table, notes), time_said or said, notes)
        first = stream.lines[0] - table.first_line
        origins = {name: (o[first] - stream.time[0], step) for name, o, step in others if np.isfinite(o[first])}
        streams.append(_catch_up(_drop_held(replace(stream, origins=origins), notes), notes))
    return streams


def _clocks(table, columns, time_said):
    """The clocks of a table: (name, stamps, unit) of the finest; of the others (name, stamps, usual step), all in s."""
    found, refused = [], None
    for position, unit in columns:
        name = table.columns[position].lower()
        try:
            stamps, known = tables.clock(table, position)
            said = known or units.canonical("time", unit, f"{table.place}, column {tables.quoted(name)}")
        except RecordingError as error:
            refused = refused or error
            continue
        found.append((name, stamps, said))
    if not found:
        raise refused
    different = {name: len(np.unique(stamps[np.isfinite(stamps)])) for name, stamps, _ in found}

    def fineness(one):
        name, stamps, said = one
        fits = time_said is None or said in (None, time_said)
        counts_lines = said is None and (np.diff(stamps) == 1).all()
        # Of clocks that are equally fine, the time since the start: every file of an export has it.
        elapsed = re.search("elapsed|since", name) is not None
        return fits, not counts_lines, different[name] >= 0.95 * max(different.values()), elapsed, said is not None

    finest = max(found, key=fineness)
    clocks = [finest]
    for name, stamps, said in (one for one in found if one is not finest):
        steps = np.diff(stamps)
        if (steps > 0).any():
            step = float(np.median(steps[steps > 0]))
            factor = units.FACTORS["time"][said or units.time_unit(step, None, table.place).value]
            clocks.append((name, stamps * factor, step * factor))
    return clocks


def _drop_missing(stream, table, notes):
    silent = np.isnan(stream.values).all(axis=1) & np.isfinite(stream.time)
    if silent.mean() > MOST_MISSING and not silent.all():
        # Two sensors in one table, each with lines of its own: where one says nothing, nothing is missing.
        notes.repair(f"{table.name}: {_lines(int(silent.sum()))} without {stream.quantity}, which has its own clock")
        stream = _rows(stream, ~silent)
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


def _drop_held(stream, notes):
    """Only lines with new values, where an app writes the last one again until the sensor has a new one."""
    new = np.r_[True, (np.diff(stream.values, axis=0) != 0).any(axis=1)]
    starts = np.flatnonzero(new)
    jumps = np.abs(np.diff(stream.values[starts], axis=0))
    if new.mean() > 1 - LEAST_HELD or not jumps.any():
        return stream
    # A device at rest repeats its digits too; but then it changes by the last digit. Here it stands before it leaps.
    leaps = jumps.max(axis=1) > 5 * np.quantile(jumps[jumps > 0], 0.05)
    lengths = np.diff(starts)[leaps]
    if len(lengths) < 10 or np.median(lengths) < 1.5:
        return stream
    run, hold = np.cumsum(new) - 1, round(float(np.median(lengths)))
    within, length = np.arange(len(new)) - starts[run], np.diff(starts, append=len(new))[run]
    # The value of a sensor at rest may be new and yet the same; a value that was held a little longer is one.
    keep = (within % hold == 0) & (within < np.maximum(hold, hold * np.rint(length / hold)))
    notes.repair(f"{stream.name}: {_lines(int((~keep).sum()))} that repeat the last {stream.quantity} dropped")
    return _rows(stream, keep)


def _catch_up(stream, notes):
    """Even stamps where samples were delivered late, all at once: a pause from which none is missing is no gap."""
    time, step = stream.time.copy(), 1 / stream.rate if stream.rate else 0.0
    for first in find_gaps(time):
        for last in range(first + 2, len(time)):
            if time[last] - time[first] > LONGEST_DELAY:
                break
            if (last - first) * step > 0.9 * (time[last] - time[first]):
                time[first : last + 1] = np.linspace(time[first], time[last], last - first + 1)
                notes.repair(f"{stream.name}: late samples after line {stream.lines[first]} spread over the pause")
                break
    return replace(stream, time=time)


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
    if np.ptp(seconds) > LONGEST:
        raise RecordingError(
            f"{stream.place}: time runs over {np.ptp(seconds) / 86400:.4g} days, and no recording lasts longer than a "
            f"year. Correct the time stamps."
        )
    steps = np.diff(seconds)
    if (steps < 0).any():
        at = int(np.argmin(steps))
        if steps[at] < -LONGEST_STEP_BACK or (steps < 0).mean() > MOST_MISSING:
            raise RecordingError(
                f"{stream.place}, line {stream.lines[at + 1]}: time goes back from {stream.time[at]:.15g} to "
                f"{stream.time[at + 1]:.15g}, so a second recording may begin there. Keep one recording per file."
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
    if shared > 0.1 * len(first) and np.median(np.diff(stream.time[first])) > COARSE:
        raise RecordingError(
            f"{stream.place}, line {stream.lines[int(np.argmin(first))]}: {shared} lines have the time of the line "
            f"before, so the clock is too coarse. Export with fractions of a second."
        )
    notes.repair(f"{stream.name}: {_lines(shared)} with the time of the line before, averaged with it")
    group = np.cumsum(first) - 1
    sums = np.stack([np.bincount(group, weights=axis) for axis in stream.values.T], axis=1)
    means = sums / np.bincount(group)[:, None]
    return replace(_rows(stream, first), values=means, merged=shared / int(first.sum()))


def of(streams, quantity):
    """The streams of a quantity."""
    return [stream for stream in streams if stream.quantity == quantity]


def pick(streams, quantity, path):
    """The stream of a quantity to use, calibrated before uncalibrated; ``None`` if there is none.

    Raises
    ------
    RecordingError
        If there are two of a kind.
    """
    chosen = of(streams, quantity)
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
        If the two have no time in common, or another clock says that they were recorded apart.
    """
    for name in sorted(clock.origins.keys() & other.origins.keys()):
        (start, step), (begin, _) = clock.origins[name], other.origins[name]
        if abs(begin - start) > FURTHEST_ORIGINS + step:
            raise RecordingError(
                f"{path}: {clock.name} and {other.name} are two recordings in one place, started "
                f"{_length(abs(begin - start))} apart, so they have no time in common. Export both from one recording."
            )
        if abs(begin - start) > SAME_ORIGIN and step < COARSE:  # each counts from its own first sample
            other = replace(other, time=other.time + (begin - start), origins={})
            break
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
            f"{path}: {clock.name} and {other.name} have no time in common: {_length(clock.time[-1] - clock.time[0])} "
            f"of the one, {_length(other.time[-1] - other.time[0])} of the other, begun "
            f"{_length(abs(clock.time[0] - other.time[0]))} apart. Export both from one recording."
        )
    clock = _rows(clock, rows)
    values = np.stack([np.interp(clock.time, other.time, axis) for axis in other.values.T], axis=1)
    return clock, values


def _length(seconds):
    return f"{seconds / 86400:.3g} days" if seconds >= 86400 else f"{seconds:.3g} s"


def platform(files):
    """What ``Metadata.csv`` of Sensor Logger says: "ios", "ios, standardised", "android" ...; ``None`` without it."""
    name = next((name for name in files if _word(PurePosixPath(name).stem) == "metadata"), None)
    try:
        table = tables.parse(tables.decode(files[name], name), name, "Metadata") if name else None
    except RecordingError:
        return None
    row = dict(zip(map(str.lower, table.columns), table.cells.iloc[0], strict=True)) if table else {}
    standard = ", standardised" if row.get("standardisation", "").lower() == "true" else ""
    return row["platform"].lower() + standard if row.get("platform") else None

"""A reader's own recording: whatever a phone app exported, in SI units, with what was found out on the way.

phyphox, Sensor Logger, Physics Toolbox and plain CSV; see :mod:`exports`. What is done, and what is not:

=====================================================  =============================================================
what is in the file                                    what happens
=====================================================  =============================================================
g, mg, deg/s, ms, us, ns, dates, clock times           converted; the header wins, else the numbers decide
a header that contradicts the numbers                  refused, with both facts
raw counts, revolutions, a line number as time         refused or warned: what lies still feels 1 g and does not turn,
                                                       and gravity turns as fast as the gyroscope says
acceleration beyond 400 m/s^2, rotation beyond 40      refused
decimal commas, semicolons, tabs, blank lines          read
accelerometer and gyroscope with different clocks      gyroscope interpolated onto the accelerometer's clock, never
                                                       across a gap; what does not overlap is dropped
several time columns                                   the finest counts; the others must agree that all sensors began
                                                       together, else these are two recordings: refused
gravity and linear acceleration apart                  added; which column holds gravity, the numbers say, not its name
acceleration without gravity                           refused
Apple's sign (Core Motion, SensorLog, Apple Watch,     acceleration negated, so that at rest it points up
Sensor Logger on an iPhone, not standardised)
a file that does not tell its sign                     taken as it is and said so; ``sign=`` states it
lines out of order by up to 1 s                        sorted; more is a second recording, refused
lines that repeat                                      dropped
lines that hold the last value until a new one comes   dropped; the rate is that of new values
lines with one time stamp                              averaged; over a tenth at steps above 25 ms: refused, too coarse
missing values, at most 5 % of the lines               lines dropped; more is refused
a sensor that is blank where another has a line        read by its own lines
a cell with foreign text, a line with too many values  refused, with line and column
JSON of Sensor Logger                                  read as its CSVs
other JSON, Excel                                      refused
two recordings in one zip or folder                    refused; a watch beside a phone is left out
a gap (see ``find_gaps``)                              kept, named in a warning; later stages split there
no 6 s without a gap, or fewer than 20 Hz              refused
a dead sensor (an axis that never changes)             refused
clipping (1 % of an axis at its largest value)         refused; less is named
rotation whose unit nobody can tell                    read as the likelier one, and a warning says so
=====================================================  =============================================================
"""

import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from llasa_lib.errors import RecordingError
from llasa_lib.recordings.own import exports, units
from llasa_lib.recordings.own.units import Finding
from llasa_lib.recordings.recording import Recording, find_gaps, stretches

SHORTEST = 6.0  # s: one window
SLOWEST = 20.0  # Hz: the rate of a window
MOST_CLIPPED = 0.01  # of the samples of one axis
UNSURE = 0.85  # findings below this are worth a warning
SIGNS = {"up": "as in the file", "down": "negated"}
GRAVITY_VARIES = 0.05  # of its length; what an app calls gravity keeps it
SURELY_STEADY = 0.9  # of what is called linear acceleration, and so holds gravity after all
NEVER_CLIPS = {"acceleration": 15.0, "rotation": 4.0}  # below every full scale: 2 g is 19.6 m/s^2, 250 deg/s 4.4 rad/s


@dataclass(frozen=True)
class Findings:
    """A recording, and how it was understood. Printing it gives a table.

    Parameters
    ----------
    path : Path
    recording : Recording
    findings : tuple of Finding
        What was found out: ``what``, ``value``, ``evidence``, and how ``sure`` that is (0-1).
    repairs : tuple of str, what was changed beyond units.
    warnings : tuple of str, what may make answers wrong.
    """

    path: Path
    recording: Recording
    findings: tuple[Finding, ...]
    repairs: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def __getitem__(self, what):
        """The finding about ``"format"``, ``"time"``, ``"acceleration"``, ``"gravity"``, ``"rotation"`` ..."""
        return next(finding for finding in self.findings if finding.what == what)

    def __str__(self):
        rows = [(f.what, f.value, f"{f.sure:.0%}", f.evidence) for f in self.findings]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        lines += [f"repaired: {text}" for text in self.repairs]
        lines += [f"beware: {text}" for text in self.warnings]
        return "\n".join([f"{self.path}: {self.recording!r}", *lines])


def read(path, acceleration=None, rotation=None, time=None, sign=None):
    """Read one recording of a phone or watch.

    Parameters
    ----------
    path : str or Path
        A CSV, zip or folder that an app exported, with time, acceleration with gravity, and gyroscope.
    acceleration : {"m/s^2", "g", "mg"}, optional
        Unit, stated over header and numbers. What contradicts the numbers is refused all the same.
    rotation : {"rad/s", "deg/s"}, optional
    time : {"s", "ms", "us", "ns"}, optional
    sign : {"up", "down"}, optional
        Where the file's acceleration points at rest: away from the ground, as on Android, or towards it, as Apple has
        it. By default as the app is known to write it, and up where nothing tells.

    Returns
    -------
    Recording
        In SI units; its time starts at 0.

    Raises
    ------
    RecordingError, DataError
        If the file cannot be used; the table of this module says when.

    Warns
    -----
    UserWarning
        If samples are missing inside the recording, or a unit or the sign is uncertain.
    """
    found = inspect(path, acceleration, rotation, time, sign)
    for text in found.warnings:
        warnings.warn(f"{found.path}: {text}", stacklevel=2)
    return found.recording


def inspect(path, acceleration=None, rotation=None, time=None, sign=None):
    """Read a recording and tell how it was understood; parameters and errors as in :func:`read`.

    Returns
    -------
    Findings

    Examples
    --------
    >>> found = inspect("data/samples/walk.csv")  # doctest: +SKIP
    >>> found["rotation"].value, found["rotation"].evidence  # doctest: +SKIP
    ('rad/s', 'stated by the file, its app or the caller')
    """
    path, notes = Path(path), exports.Notes()
    said = {"acceleration": acceleration, "rotation": rotation, "time": time}
    said = {quantity: units.canonical(quantity, unit, "The unit that was given") for quantity, unit in said.items()}
    if sign not in (None, *SIGNS):
        raise RecordingError(f"{sign!r} is no sign of acceleration; at rest it points up or down.")
    files, path = exports.open_export(path), Path(exports.shown(path))
    streams, app = exports.read_streams(path, files, said["time"], notes)
    force, gravity = _total_acceleration(path, streams, said["acceleration"], notes)
    raw = [stream for stream in exports.of(streams, "acceleration") if "uncalibrated" in stream.name.lower()]
    in_g = notes.findings[-1].value == "g" or any(units.steadiness(one.time, one.values)[0] < 2.5 for one in raw)
    direction = _direction(app, files, "g" if in_g else "m/s^2", sign)
    if direction.value == SIGNS["down"]:
        force = replace(force, values=-force.values)
    turn = exports.pick(streams, "rotation", path)
    if turn is None:
        raise RecordingError(f"{path}: there is no gyroscope in it. Record accelerometer and gyroscope together.")
    for stream in (force, turn):
        _check_rate(stream)
    count = len(force.time)
    force, values = exports.join(force, turn, path)
    if len(force.time) < count:
        notes.repair(f"{count - len(force.time)} samples of acceleration without rotation at that time dropped")
    _check_length(path, force)
    turning = units.rotation_unit(force.time, force.values, values, said["rotation"] or turn.unit, turn.place)
    factor = units.FACTORS["rotation"][turning.value]
    for stream in (force, replace(turn, values=turn.values * factor)):
        _check_alive(stream)
        notes.findings += _clipping(stream)
    recording = Recording(
        force.time - force.time[0], force.values, values * factor, subject=path.stem, source=path.name
    )
    sampled, count = force.rate * (1 + force.merged), round(len(force.time) * (1 + force.merged))
    rate = Finding("rate", f"{sampled:.4g} Hz", f"{count} samples with new values, gaps left out", 1.0)
    findings = (
        Finding("format", app, "names of files and columns", 1.0),
        *notes.findings,
        gravity,
        direction,
        turning,
        rate,
    )
    beware = [*_gap_warning(force), *(_unsure(finding) for finding in findings if finding.sure < UNSURE)]
    return Findings(path, recording, findings, tuple(notes.repairs), tuple(beware))


def _total_acceleration(path, streams, said, notes):
    """The stream of acceleration with gravity, in m/s^2, and where its gravity comes from."""
    streams = _by_numbers(path, streams)
    total, linear, gravity = (
        exports.pick(streams, q, path) for q in ("acceleration", "linear acceleration", "gravity")
    )
    apart = linear is not None and gravity is not None
    if total is not None and not (apart and "uncalibrated" in total.name.lower()):
        found = units.acceleration_unit(total.time, total.values, said or total.unit, total.place)
        notes.findings.append(found)
        total = replace(total, values=total.values * units.FACTORS["acceleration"][found.value])
        return total, Finding("gravity", "included", "it is the steady part of the acceleration", found.sure)
    if not apart:
        raise RecordingError(
            f"{path}: there is only acceleration without gravity in it ('linear acceleration'). Record the raw "
            f"accelerometer ('with g', 'total acceleration') or gravity too."
        )
    found = units.acceleration_unit(gravity.time, gravity.values, said or gravity.unit, gravity.place)
    linear, values = exports.join(linear, gravity, path)
    factor = units.FACTORS["acceleration"]
    body = linear.values * factor[said or linear.unit or found.value]
    total = replace(linear, quantity="acceleration", values=body + values * factor[found.value])
    units.check_possible(total.values, "m/s^2", linear.place)
    notes.findings.append(found)
    return total, Finding("gravity", "added", f"{linear.name} and {gravity.name} are apart", 1.0)


def _by_numbers(path, streams):
    """Streams of acceleration, named by whether gravity is in their numbers, whatever the file calls them."""
    gravity = exports.pick(streams, "gravity", path)
    forces = [stream for stream in streams if stream.quantity in ("acceleration", "linear acceleration")]
    for stream in [*forces, gravity] if gravity else forces:
        units.check_possible(stream.values, None, stream.place)
    if gravity and units.unevenness(gravity.values) > GRAVITY_VARIES:
        steady = next((one for one in forces if units.unevenness(one.values) < GRAVITY_VARIES), None)
        if steady:  # the names are the wrong way round
            forces = [*(one for one in forces if one is not steady), replace(gravity, quantity="linear acceleration")]
            gravity = replace(steady, quantity="gravity")
    named = []
    for stream in forces:
        holds = stream.quantity == "acceleration"
        if gravity:
            rows, beside = exports.join(stream, gravity, path)
            holds = units.holds_gravity(rows.values, stream.unit, beside, gravity.unit)
        elif len(forces) > 1 or not holds:
            share = units.steadiness(stream.time, stream.values)[1]
            holds = share > (units.LEAST_STEADY["stated"] if holds else SURELY_STEADY)
        named.append(replace(stream, quantity="acceleration" if holds else "linear acceleration"))
    return [*named, *([gravity] if gravity else []), *exports.of(streams, "rotation")]


def _direction(app, files, unit, sign):
    """Which way the file's acceleration points at rest: stated, known from the app that wrote it, or uncertain."""
    if sign is not None:
        return Finding("direction", SIGNS[sign], "stated by the caller", 1.0)
    platform = exports.platform(files)
    if platform:
        return Finding("direction", SIGNS["down" if platform == "ios" else "up"], f"Metadata.csv says {platform}", 1.0)
    state = "state it with --sign up or --sign down"
    if app in exports.UP_OR_DOWN:
        points = exports.UP_OR_DOWN[app]
        if points == "down" and unit != "g":  # somebody converted it, and may have turned it round as well
            return Finding("direction", SIGNS[points], f"{app} points down, but in g and not in {unit}; {state}", 0.7)
        return Finding("direction", SIGNS[points], f"it points {points} at rest in files of {app}", 1.0)
    if app == "Sensor Logger" and unit == "g":
        return Finding("direction", SIGNS["down"], "of all phones only Apple's write g in Sensor Logger", 0.95)
    if app == "Sensor Logger":
        return Finding("direction", SIGNS["up"], f"Metadata.csv is missing, an iPhone is upside down; {state}", 0.6)
    if app == "Physics Toolbox":
        evidence = f"the file does not name the phone, an iPhone is upside down; {state}"
        return Finding("direction", SIGNS["up"], evidence, 0.6)
    return Finding("direction", SIGNS["up"], f"nothing in the file tells; if at rest it points down, {state}", UNSURE)


def _unsure(finding):
    return f"{finding.what} ({finding.value}) is uncertain ({finding.sure:.0%}): {finding.evidence}."


def _check_rate(stream):
    if stream.rate < 0.95 * SLOWEST:
        raise RecordingError(
            f"{stream.place}: {stream.rate:.1f} samples per second are too few for {stream.quantity}; at least "
            f"{SLOWEST:.0f} with new values are needed. Record again with a higher rate (50 is good); if its time is a "
            f"line number, or not in the unit it looks like, correct or state that."
        )


def _check_length(path, stream):
    """Refuse what holds no window."""
    gaps = find_gaps(stream.time)
    longest = max(np.ptp(stream.time[piece]) for piece in stretches(stream.time))
    step = np.median(np.diff(stream.time)) if len(stream.time) > 1 else 0.0
    if longest + step < SHORTEST - 1e-6:  # n samples last n steps
        where = f" between gaps (the first gap is after line {stream.lines[gaps[0]]})" if len(gaps) else ""
        raise RecordingError(
            f"{path}: only {longest:.1f} s of data{where}; at least {SHORTEST:.0f} s without a gap are "
            f"needed. Record a longer piece."
        )


def _gap_warning(stream):
    gaps = find_gaps(stream.time)
    if not len(gaps):
        return []
    first = gaps[0]
    more = f", and {len(gaps) - 1} more" if len(gaps) > 1 else ""
    return [
        f"{stream.time[first + 1] - stream.time[first]:.2f} s are missing after line {stream.lines[first]} "
        f"(time {stream.time[first] - stream.time[0]:g} s){more}. The recording is split there; the gap is not filled."
    ]


def _check_alive(stream):
    """Refuse a sensor with a dead axis; SI units."""
    spread = np.ptp(stream.values, axis=0)
    axis = int(np.argmin(spread))
    # A phone lying still may print equal digits; an axis that rests while its neighbours move is broken.
    if spread[axis] == 0 and (spread.max() == 0 or spread.max() > 0.1):
        raise RecordingError(
            f"{stream.place}: {stream.quantity} {'xyz'[axis]} never changes from {stream.values[0, axis]:g}, so the "
            f"sensor is missing or dead. Record again."
        )


def _clipping(stream):
    """Findings about axes that hit the sensor's limit; too often is refused. SI units."""
    found = []
    new = np.r_[True, (np.diff(stream.values, axis=0) != 0).any(axis=1)]  # a line that repeats all three says nothing
    for axis, values in zip("xyz", stream.values[new].T, strict=True):
        largest = np.abs(values).max()
        at = np.isclose(np.abs(values), largest, rtol=1e-6)
        at &= np.r_[at[1:], False] | np.r_[False, at[:-1]]  # twice in a row: one peak is no limit
        if largest < NEVER_CLIPS[stream.quantity] or at.sum() < 3:
            continue
        fact = f"{stream.quantity} {axis} stays at its limit of {largest:.4g}"
        if at.mean() > MOST_CLIPPED:
            line = stream.lines[new][int(np.argmax(at))]
            raise RecordingError(
                f"{stream.place}, line {line}: {fact} in {at.mean():.0%} of the samples. "
                f"Record again with a wider range."
            )
        found.append(Finding("clipping", f"{at.sum()} samples", fact, 0.9))
    return found

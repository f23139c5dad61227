"""A reader's own recording: a CSV file with time, acceleration and rotation.

Notable features:

- Header names are read generously: ``acc_x``, ``ax``, ``accelerometer_x``, ``Acceleration x (m/s^2)``,
  ``gyroX`` ...
- Content is read strictly. A wrong unit looks like data and gives a confident wrong answer, so it is refused:
  the sentence says what was found, in which line or column, and what to do.
- Missing time is named in a warning; later stages split there and never bridge it.
"""

import itertools
import re
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from llasa_lib.errors import RecordingError
from llasa_lib.recordings.recording import Recording, find_gaps

SHORTEST = 6.0  # s: one window
SLOWEST = 20.0  # Hz: the rate of a window
LARGEST_ROTATION = 40.0  # rad/s; phones and watches stop at 2000 deg/s = 34.9 rad/s

COLUMNS = (
    "time",
    "acceleration x",
    "acceleration y",
    "acceleration z",
    "rotation x",
    "rotation y",
    "rotation z",
)
TIME = re.compile(
    r"(t|time|timestamp|seconds|sec|elapsed|seconds elapsed|elapsed time|time elapsed)( s| sec| seconds)?"
)
WORDS = {
    "acceleration": r"(?:a|acc|accel|acceleration|accelerometer|accelerometer acceleration)",
    "rotation": r"(?:g|gyr|gyro|gyroscope|rot|rotation|rotation rate|gyro rotation|angular velocity|w|omega)",
}
UNITS = {
    "time": {"s", "sec", "second", "seconds"},
    "acceleration": {"m/s^2", "m/s2", "m/s²", "m/s/s", "ms^-2", "ms-2", "ms⁻²", "mps2"},
    "rotation": {"rad/s", "rads^-1", "rads-1", "rad/sec", "rads", "rps"},
}
ADVICE = {
    "time": "give time in seconds",
    "acceleration": "give acceleration in m/s^2 with gravity (1 g = 9.80665 m/s^2)",
    "rotation": "give rotation in rad/s (1 deg/s = 0.0174533 rad/s)",
}


def read(path):
    """Read one recording from a CSV file.

    Parameters
    ----------
    path : str or Path
        A file with a header line and the columns time (s), acceleration x, y, z (m/s^2, with gravity) and
        gyroscope x, y, z (rad/s), in any order; more columns do no harm. Separated by comma, semicolon or
        tab.

    Returns
    -------
    Recording
        Its time starts at 0.

    Raises
    ------
    RecordingError
        If the file is missing or unreadable, a column is missing, a value is not a number, time does not
        increase, no stretch without a gap lasts 6 s, there are fewer than 20 samples per second, or a unit is
        wrong.

    Warns
    -----
    UserWarning
        If samples are missing inside the recording.
    """
    path = Path(path)
    table, names = _pick_columns(path, *_read_text(path))
    values = _numbers(path, table, names)
    time, acceleration, rotation = values[:, 0], values[:, 1:4], values[:, 4:7]
    _check_time(path, time)
    _check_units(path, time, acceleration, rotation)
    return Recording(time - time[0], acceleration, rotation, subject=path.stem, source=path.name)


def _read_text(path):
    """The file as a table of strings, row i being line i + 2, and the names in its header."""
    if not path.is_file():
        raise RecordingError(f"{path}: there is no such file. Check the name and the folder.")
    try:
        with open(path, encoding="utf-8-sig") as file:
            header = file.readline()
        separator = max(",;\t", key=header.count)
        # The header is read as a row like any other: then a row with more values than it is an error. Empty
        # lines are kept, so that line numbers stay true.
        table = pd.read_csv(
            path,
            sep=separator,
            header=None,
            dtype=str,
            encoding="utf-8-sig",
            skip_blank_lines=False,
            keep_default_na=False,
        )
    except UnicodeDecodeError:
        raise RecordingError(f"{path}: this is not a text file. Export the recording as CSV.") from None
    except pd.errors.EmptyDataError:
        raise RecordingError(f"{path}: the file is empty. Record again, or export again.") from None
    except pd.errors.ParserError as error:
        found = re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", str(error))
        what = f"line {found[2]} has {found[3]} values, the header {found[1]}" if found else str(error).splitlines()[0]
        raise RecordingError(f"{path}: {what}. Every line needs one value per column.") from None
    table = table.fillna("")
    names = [name.strip() for name in table.iloc[0]]
    if all(re.fullmatch(r"[-+.\deE]*", name) for name in names):
        raise RecordingError(f"{path}, line 1: there is no header. Name the columns: {', '.join(COLUMNS)}.")
    table = table.iloc[1:].reset_index(drop=True)
    table.columns = range(len(names))
    filled = np.flatnonzero((table != "").any(axis=1))
    return table.iloc[: filled[-1] + 1 if len(filled) else 0], names  # empty lines at the end do no harm


def _meaning(name):
    """What a header name means: (one of COLUMNS, unit or None); (None, None) if it is none of them."""
    bracket = re.search(r"[(\[](.*?)[)\]]", name)
    unit = bracket[1].strip().lower().replace(" ", "").replace("·", "") if bracket else None
    plain = re.sub(r"[(\[].*?[)\]]", " ", name)
    plain = re.sub(r"([a-z])([XYZ])\b", r"\1 \2", plain)  # accX
    plain = re.sub(r"([a-z])([A-Z])", r"\1 \2", plain)  # rotationRate
    plain = re.sub(r"[\W_]+", " ", plain.lower()).strip()
    if TIME.fullmatch(plain):
        return "time", unit
    for quantity, words in WORDS.items():
        match = re.fullmatch(rf"{words} ?([xyz])(?: axis)?", plain) or re.fullmatch(rf"([xyz]) {words}", plain)
        if match:
            return f"{quantity} {match[1]}", unit
    return None, None


def _pick_columns(path, table, names):
    """The seven columns that are needed, in the order of COLUMNS, and their names in the file."""
    found = {}
    for position, name in enumerate(names):
        meaning, unit = _meaning(name)
        if meaning is None:
            continue
        if meaning in found:
            other = names[found[meaning]]
            raise RecordingError(f"{path}, line 1: both {other!r} and {name!r} mean {meaning}. Delete or rename one.")
        quantity = meaning.split()[0]
        if unit and unit not in UNITS[quantity]:
            raise RecordingError(f"{path}, line 1: column {name!r} is in {unit}. Convert it: {ADVICE[quantity]}.")
        found[meaning] = position
    missing = [column for column in COLUMNS if column not in found]
    if missing:
        raise RecordingError(
            f"{path}, line 1: no column for {', '.join(missing)}; the columns found are "
            f"{', '.join(names)}. Rename or add what is missing, for example acc_x, gyro_x."
        )
    return table[[found[column] for column in COLUMNS]], [names[found[c]] for c in COLUMNS]


def _numbers(path, table, names):
    """(T, 7) float64; the first cell that is not a finite number is an error with its line and column."""
    if len(table) == 0:
        raise RecordingError(f"{path}: there is a header, but no data. Record again, or export again.")
    values = table.apply(pd.to_numeric, errors="coerce").to_numpy(np.float64)
    bad = ~np.isfinite(values)
    if bad.any():
        row, column = np.argwhere(bad)[0]
        text = table.iat[row, column].strip()
        what = f"{text!r} is not a finite number" if text else "the value is missing"
        hint = "Write decimals with a point." if "," in text else "Delete the line, or record again."
        more = f" ({int(bad.any(axis=1).sum())} lines are affected)" if bad.any(axis=1).sum() > 1 else ""
        raise RecordingError(f"{path}, line {row + 2}, column {names[column]!r}: {what}{more}. {hint}")
    return values


def _check_time(path, time):
    steps = np.diff(time)
    if (steps <= 0).any():
        at = int(np.argmax(steps <= 0))
        what = "repeats" if steps[at] == 0 else "goes back to"
        raise RecordingError(
            f"{path}, line {at + 3}: time {what} {time[at + 1]:g} after {time[at]:g}. "
            f"Sort the lines by time and keep one line per time stamp."
        )
    if len(steps):
        for factor, unit in ((1e9, "nanoseconds"), (1e6, "microseconds"), (1e3, "milliseconds")):
            # A step longer than a second is no motion sensor; its size tells the unit.
            if np.median(steps) >= factor / 1000:
                raise RecordingError(
                    f"{path}: the usual step of time is {np.median(steps):g}, which looks like {unit}. "
                    f"Divide time by {factor:.0f}, so that it is in seconds."
                )
    _check_length(path, time)
    rate = 1 / np.median(steps)
    if rate < 0.95 * SLOWEST:
        raise RecordingError(
            f"{path}: {rate:.1f} samples per second are too few; at least {SLOWEST:.0f} are needed. "
            f"Record again with a higher rate (50 is good)."
        )


def _check_length(path, time):
    """Refuse what holds no window; name the gaps of what does."""
    gaps = find_gaps(time)
    bounds = [0, *(gaps + 1).tolist(), len(time)]
    longest = max(time[stop - 1] - time[start] for start, stop in itertools.pairwise(bounds))
    step = np.median(np.diff(time)) if len(time) > 1 else 0.0
    if longest + step < SHORTEST - 1e-6:  # n samples last n steps
        where = f" between gaps (the first gap is after line {gaps[0] + 2})" if len(gaps) else ""
        raise RecordingError(
            f"{path}: only {longest:.1f} s of data{where}; at least {SHORTEST:.0f} s without a gap are "
            f"needed. Record a longer piece."
        )
    if len(gaps):
        first = gaps[0]
        more = f", and {len(gaps) - 1} more" if len(gaps) > 1 else ""
        warnings.warn(
            f"{path}: {time[first + 1] - time[first]:.2f} s are missing after line {first + 2} "
            f"(time {time[first]:g} s){more}. The recording is split there; the gap is not filled.",
            stacklevel=4,
        )


def _check_units(path, time, acceleration, rotation):
    """Refuse g, recordings without gravity, and degrees per second.

    The mean acceleration over two seconds is nearly all gravity, whatever the body does: steps cancel out.
    """
    block = ((time - time[0]) // 2.0).astype(int)
    means = pd.DataFrame(acceleration).groupby(block).mean().to_numpy()
    gravity = float(np.median(np.linalg.norm(means, axis=1)))
    found = f"{path}: the steady part of the acceleration is {gravity:.3g} instead of gravity's 9.81 m/s^2"
    if 0.8 <= gravity <= 1.25:
        raise RecordingError(f"{found}, so it looks like g. Multiply the three columns by 9.80665.")
    if gravity < 0.8:
        raise RecordingError(
            f"{found}: gravity seems to have been removed. Export the raw acceleration "
            f"(apps call it 'accelerometer' or 'with g', not 'linear acceleration')."
        )
    if not 6.0 <= gravity <= 14.0:
        raise RecordingError(f"{found}. Check the unit and {ADVICE['acceleration']}.")
    fastest = float(np.abs(rotation).max())
    if fastest > LARGEST_ROTATION:
        line = int(np.argmax(np.abs(rotation).max(axis=1))) + 2
        raise RecordingError(
            f"{path}, line {line}: a rotation of {fastest:.4g} rad/s is more than a phone can measure, so it "
            f"looks like degrees per second. Multiply the three columns by 0.0174533."
        )

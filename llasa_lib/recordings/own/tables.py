"""Text that an app exported -> named columns of numbers, with the line that each number stands in.

- Comma, semicolon or tab between values; decimal point or decimal comma; UTF-8, UTF-16 or a Western code page; blank
  lines, comments and ``sep=;`` before the header.
- Header names are read generously: ``acc_x``, ``ax``, ``gFx``, ``Acceleration x (m/s^2)``, ``gyroX``, ``X_value``,
  ``motionUserAccelerationX(G)``, ``USERACCELERATION.X`` ...
- A cell that is missing is NaN; a cell that holds anything else than a number (or, in a column of dates, a date) is an
  error with its line and column.
"""

import codecs
import csv
import datetime
import io
import re
from typing import NamedTuple

import numpy as np

from llasa_lib.errors import RecordingError

AXES = "xyz"
MISSING = {"", "nan", "na", "n/a", "null", "none", "inf", "+inf", "-inf", "infinity", "-infinity", "∞", "-∞"}
TIME = re.compile(
    r"(?:(?:accelerometer|gyro|gyroscope|motion|device|logging|log|sensor|system|unix|epoch|local|recording) )?"
    r"(?:t|time|timestamp|time ?stamp|datetime|date time|elapsed|elapsed time|time elapsed|"
    r"seconds elapsed|seconds|sec|epoch|yyyy mo dd hh mi ss sss)"
    r"(?: (?:since|from) ?(?:the )?(?:start|reboot|boot|1970))?"
    r"(?: (?:in )?(s|sec|seconds|ms|milliseconds|us|µs|μs|microseconds|ns|nanoseconds))?"
)
WORDS = {
    "linear acceleration": r"(?:motion ?)?(?:lin|linear|user|body) ?(?:a|acc|accel|acceleration|accelerometer)",
    "gravity": r"(?:motion ?)?(?:grav|gravity)",
    "acceleration": r"(?:a|acc|accel|acceleration|accelerometer|accelerometer ?acceleration|total ?acceleration"
    r"|acceleration with g(?:ravity)?|acceleration including gravity|g ?f|g ?force)",
    "rotation": r"(?:g|gyr|gyro|gyroscope|rot|rotation|(?:motion ?)?rotation ?rate|gyro ?rotation|angular ?velocity|w"
    r"|omega)",
}
BARE = r"(?:axis |value )?([xyz])(?: axis| value)?"  # what is measured stands in the unit, or in the name of the file
SUFFIX = r"(?: (g|mg|m s ?2|ms2|rad s|rads|deg s|dps|degrees s))?"  # a unit without brackets: acc_x_g, gyro_x_dps
LARGEST = 1e30
LONGEST_HEADER, MOST_COLUMNS = 50_000, 1000  # characters; an app that logs every sensor of a phone names 250
DATE = re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}(?!\d)")
STAMP = (  # 17:23:55.464, 23:55,464, 2024-03-27T07:13:15Z, 27.3.2024 7:13:15 PM, and a colon before the milliseconds
    rf"^(?:(?P<date>{DATE.pattern})[T ]\s*)?(?:(?P<hour>\d{{1,2}})(?P<between>[:.-]))?(?P<minute>\d{{1,4}})"
    r"(?:(?P=between)|:)(?P<second>\d{1,2})(?:[.,:_](?P<fraction>\d{1,9}))?\s*(?P<half>[AaPp][Mm])?\s*"
    r"(?:Z|UTC|[-+]\d\d:?\d\d)?$"
)
WRITE_TIMES = "Write seconds, or times like 2024-03-27 07:13:15.018."
ENCODINGS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


class Meaning(NamedTuple):
    """What a column holds: ``quantity`` ("time", "acceleration", ...; ``None`` if only the axis is named), ``axis``
    (0-2), ``unit`` as it is written."""

    quantity: str | None
    axis: int
    unit: str | None


class Table(NamedTuple):
    """One file of an export. ``place`` names it in messages; row i of ``cells`` is line ``first_line + i``."""

    place: str
    name: str
    columns: list[str]
    cells: object  # a pandas.DataFrame of text
    first_line: int


def decode(content, place):
    """Bytes of a text file -> str, with plain line ends."""
    encoding = next((name for mark, name in ENCODINGS.items() if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:
        text = content.decode("cp1252", errors="replace")  # what a Western spreadsheet makes of the sign for micro
    if "\0" in text or text.count("�") > 5:
        raise RecordingError(f"{place}: this is not a text file. Export the recording as CSV.")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def quoted(text):
    """A piece of a file for a message, in quotation marks: escaped, and cut where it is long."""
    return repr(_cut(text))


def listed(names):
    """Names of columns or files for a message."""
    names = list(map(_cut, names))
    return ", ".join([*names[:40], *(["..."] if len(names) > 40 else [])])


def _cut(text):
    return text if len(text) <= 60 else f"{text[:57]}..."


def header(text, place):
    """(names of the columns, separator, number of lines before them), or ``None`` if there is no line at all.

    Raises
    ------
    RecordingError
        If the text is JSON, or the line is longer, or names more columns, than any recording's.
    """
    if re.match(r"\s*[\[{]\s*[\[{\"\]}]", text):
        raise RecordingError(f"{place}: this is JSON. Export the recording as CSV.")
    for before, line in enumerate(text.split("\n")):
        if line[:LONGEST_HEADER].strip(' ,;\t"') and not line.startswith(("#", "sep=")):
            bare = re.sub(r'"[^"]*"', "", line[:LONGEST_HEADER])
            separator = max(",;\t", key=bare.count)
            if len(line) > LONGEST_HEADER or line.count(separator) >= MOST_COLUMNS:
                raise RecordingError(
                    f"{place}, line {before + 1}: the line has {len(line)} characters and {line.count(separator) + 1} "
                    f"columns, too many for the header of a recording. Export the recording as CSV."
                )
            # Not pandas: it stumbles over a quotation mark that is never closed.
            names = next(csv.reader([line], delimiter=separator))
            return [name.strip() for name in names], separator, before
    return None


def parse(text, place, name):
    """The text of one file as a :class:`Table` of strings.

    Raises
    ------
    RecordingError
        If it is empty, has no header, or a line has more values than the header.
    """
    import pandas as pd

    found = header(text, place)
    if found is None:
        raise RecordingError(f"{place}: the file is empty. Record again, or export again.")
    columns, separator, before = found
    if all(re.fullmatch(r"[-+−.,\deE]*", column) for column in columns):
        raise RecordingError(
            f"{place}, line {before + 1}: there is no header. Name the columns: time, acc_x, acc_y, acc_z, gyro_x, "
            f"gyro_y, gyro_z."
        )
    body = text.split("\n", before)[before]
    try:
        # The header is read as a row like any other: then a row with more values than it is an error. Blank lines are
        # kept, so that line numbers stay true.
        cells = pd.read_csv(
            io.StringIO(body), sep=separator, header=None, dtype=str, skip_blank_lines=False, keep_default_na=False
        )
    except pd.errors.ParserError as error:
        wrong = re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", str(error))
        quoted = re.search(r"EOF inside string starting at row (\d+)", str(error))
        if wrong:
            what = f"line {int(wrong[2]) + before} has {wrong[3]} values, the header {wrong[1]}"
        elif quoted:
            what = f"a quotation mark in line {int(quoted[1]) + 1 + before} is never closed"
        else:
            what = str(error).strip().splitlines()[-1]
        raise RecordingError(
            f"{place}: {what}. Every line needs one value per column; where the comma is the decimal sign, "
            f"separate values by semicolons."
        ) from None
    cells = cells.fillna("").iloc[1:].reset_index(drop=True)
    filled = np.flatnonzero((cells != "").any(axis=1))
    cells = cells.iloc[: filled[-1] + 1 if len(filled) else 0]  # blank lines at the end do no harm
    if len(cells) == 0:
        raise RecordingError(f"{place}: there is a header, but no data. Record again, or export again.")
    return Table(place, name, columns, cells, before + 2)


def meaning(name):
    """The :class:`Meaning` of a header name, or ``None``."""
    name = name[:200]
    brackets = re.findall(r"[(\[]([^()\[\]]*)[)\]]", name)
    unit = brackets[-1].strip().lower().replace(" ", "").replace("·", "") if brackets else None
    plain = re.sub(r"[(\[][^(\[]*[)\]]\s*$", " ", name)
    plain = re.sub(r"([a-z])([XYZ])\b", r"\1 \2", plain)  # accX
    plain = re.sub(r"([a-z])([A-Z])", r"\1 \2", plain)  # rotationRate
    plain = re.sub(r"[\W_]+", " ", plain.lower()).strip()
    match = TIME.fullmatch(plain)
    if match:
        return Meaning("time", 0, unit or match[1] or ("s" if "sec" in plain else None))
    for quantity, words in WORDS.items():
        match = re.fullmatch(rf"{words} ?([xyz])(?: axis)?{SUFFIX}", plain)
        match = match or re.fullmatch(rf"([xyz]) {words}{SUFFIX}", plain)
        if match:
            by_name = "g" if re.match(r"g ?f", plain) else match[2]  # Physics Toolbox: gFx is in g by its name
            return Meaning(quantity, AXES.index(match[1]), unit or by_name)
    match = re.fullmatch(BARE, plain)
    return Meaning(None, AXES.index(match[1]), unit) if match else None


def numbers(table, position):
    """(T,) float64 of one column; what is missing is NaN.

    Raises
    ------
    RecordingError
        If a cell holds anything else, with its line and column.
    """
    import pandas as pd

    text = table.cells[position].str.strip()
    values = pd.to_numeric(text, errors="coerce")
    strange = values.isna()
    if strange.any():
        # Decimal commas and typographic minus signs. A comma inside a cell cannot be the separator.
        plain = text[strange].str.replace("−", "-").str.replace(",", ".", n=1)
        values = values.astype(np.float64)
        values[strange] = pd.to_numeric(plain, errors="coerce")
        foreign = values.isna() & ~text.str.replace("−", "-").str.lower().isin(MISSING)
        if foreign.any():
            _refuse(table, position, foreign, "is not a number. Correct or delete the line.")
    values = values.to_numpy(np.float64).copy()
    values[~np.isfinite(values)] = np.nan
    if (np.abs(values) > LARGEST).any():
        _refuse(table, position, np.abs(values) > LARGEST, "is no value of a sensor. Correct or delete the line.")
    return values


def clock(table, position):
    """(T,) of time stamps and their unit: "s" if they are dates or clock times, ``None`` if plain numbers.

    Raises
    ------
    RecordingError
        If a cell is neither, or the milliseconds of a clock time are not padded with zeros.
    """
    import pandas as pd

    text = table.cells[position].str.strip()
    present = ~text.str.lower().isin(MISSING)
    sample = text[present].iloc[:1].str.cat()
    if ":" not in sample and not DATE.match(sample):
        return numbers(table, position), None
    parts = text.str.extract(STAMP)
    strange = parts["second"].isna() & present
    if strange.any():
        _refuse(table, position, strange, f"is no time that is known here. {WRITE_TIMES}")
    days = {}
    for date in parts["date"].dropna().unique():
        try:
            days[date] = _day(date)
        except ValueError:
            _refuse(table, position, parts["date"] == date, f"is no date. {WRITE_TIMES}")
    hours, minutes, seconds = (pd.to_numeric(parts[name]) for name in ("hour", "minute", "second"))
    half = parts["half"].str.lower()
    hours = hours.fillna(0).where(half.isna(), hours % 12) + 12 * (half == "pm")
    first = min(days.values(), default=0)
    whole = (parts["date"].map(days).fillna(first) - first) * 86400 + hours * 3600 + minutes * 60 + seconds
    digits = parts["fraction"].fillna("0")
    stamps = (whole + pd.to_numeric("0." + digits)).to_numpy(np.float64)
    back, width = np.diff(stamps) < 0, digits.str.len().max()
    counted = np.diff(whole + pd.to_numeric(digits) / 10.0**width)  # 15.20 as 20 of 1000
    if back.sum() > (counted < 0).sum():
        why = "comes later than the next line: its milliseconds lack zeros in front (20 of 1000 are 15.020, not 15.20)"
        _refuse(table, position, back, f"{why}. {WRITE_TIMES}")
    return stamps, "s"


def _day(date):
    """Number of a day. Only differences count, so it does not matter whether 03/04 is in March or April."""
    one, two, three = map(int, re.split(r"\D", date))
    year, month, day = (one, two, three) if one > 31 else (three, two, one)
    return datetime.date(year, *((month, day) if month <= 12 else (day, month))).toordinal()


def _refuse(table, position, rows, what):
    """Refuse the first of these rows, a (T,) mask, for what stands in a column."""
    row = int(np.argmax(rows))
    raise RecordingError(
        f"{table.place}, line {table.first_line + row}, column {quoted(table.columns[position])}: "
        f"{quoted(table.cells[position].iloc[row].strip())} {what}"
    )

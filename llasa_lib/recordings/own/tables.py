"""Text that an app exported -> named columns of numbers, with the line that each number stands in.

- Comma, semicolon or tab between values; decimal point or decimal comma; UTF-8, UTF-16 or a Western code page; blank
  lines, comments and ``sep=;`` before the header.
- Header names are read generously: ``acc_x``, ``ax``, ``gFx``, ``Acceleration x (m/s^2)``, ``gyroX``,
  ``userAcceleration.x`` ...
- A cell that is missing is NaN; a cell that holds anything else than a number is an error with its line and column.
"""

import codecs
import csv
import io
import re
from typing import NamedTuple

import numpy as np

from llasa_lib.errors import RecordingError

AXES = "xyz"
MISSING = {"", "nan", "na", "n/a", "null", "none", "inf", "+inf", "-inf", "infinity", "-infinity", "∞", "-∞"}
TIME = re.compile(
    r"(?:t|time|timestamp|time stamp|datetime|date time|elapsed|elapsed time|time elapsed|seconds elapsed|seconds|sec)"
    r"(?: (s|sec|seconds|ms|milliseconds|us|µs|μs|microseconds|ns|nanoseconds))?"
)
WORDS = {
    "linear acceleration": r"(?:lin|linear|user|body) ?(?:a|acc|accel|acceleration|accelerometer)",
    "gravity": r"(?:grav|gravity)",
    "acceleration": r"(?:a|acc|accel|acceleration|accelerometer|accelerometer acceleration|total ?acceleration"
    r"|acceleration with g(?:ravity)?|acceleration including gravity|g f|g force)",
    "rotation": r"(?:g|gyr|gyro|gyroscope|rot|rotation|rotation rate|gyro rotation|angular velocity|w|omega)",
}
SUFFIX = r"(?: (g|mg|m s ?2|ms2|rad s|rads|deg s|dps|degrees s))?"  # a unit without brackets: acc_x_g, gyro_x_dps
ENCODINGS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


class Meaning(NamedTuple):
    """What a column holds: ``quantity`` ("time", "acceleration", ...), ``axis`` (0-2), ``unit`` as it is written."""

    quantity: str
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


def header(text):
    """(names of the columns, separator, number of lines before them), or ``None`` if there is no line at all."""
    for before, line in enumerate(text.split("\n")):
        if line.strip(' ,;\t"') and not line.startswith(("#", "sep=")):
            bare = re.sub(r'"[^"]*"', "", line)
            separator = max(",;\t", key=bare.count)
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

    found = header(text)
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
    brackets = re.findall(r"[(\[](.*?)[)\]]", name)
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
            by_name = "g" if re.match(r"g f", plain) else match[2]  # Physics Toolbox: gFx is in g by its name
            return Meaning(quantity, AXES.index(match[1]), unit or by_name)
    return None


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
            row = int(np.argmax(foreign.to_numpy()))
            raise RecordingError(
                f"{table.place}, line {table.first_line + row}, column {table.columns[position]!r}: "
                f"{text.iloc[row]!r} is not a number. Correct or delete the line."
            )
    values = values.to_numpy(np.float64).copy()
    values[~np.isfinite(values)] = np.nan
    return values


def clock(table, position):
    """(T,) of time stamps and their unit: "s" if they are dates or clock times, ``None`` if plain numbers."""
    import pandas as pd

    text = table.cells[position].str.strip()
    sample = text[text != ""].iloc[:1].str.cat()
    parts = r"(?:(\d+):)?(\d+):(\d+)(?:[.,:](\d+))?"
    if re.fullmatch(parts, sample):  # 17:23:55.464, 23:55,464, and Physics Toolbox's 17:23:55:464
        split = text.str.extract(rf"^{parts}$")
        fraction = pd.to_numeric("0." + split[3].fillna("0"), errors="coerce")
        hours, minutes, seconds = (pd.to_numeric(split[i], errors="coerce") for i in range(3))
        return (hours.fillna(0) * 3600 + minutes * 60 + seconds + fraction).to_numpy(np.float64), "s"
    if re.match(r"\d{4}-\d\d?-\d\d?", sample):
        dates = pd.to_datetime(text, errors="coerce", format="ISO8601", utc=True)
        since = (dates - dates.min()) / pd.Timedelta(1, "ns")
        return since.to_numpy(np.float64) / 1e9, "s"
    return numbers(table, position), None

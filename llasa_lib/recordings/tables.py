"""Raw text tables of published data sets: found in their archive, read fast, refused with file and line.

- pyarrow reads a member as a stream, so that the largest tables (PAMAP2: hundreds of MB) cost no loop per row.
- A row with too few or too many values, or a text where a number belongs, is an error that names its line.
"""

import itertools
import re

import numpy as np
import pyarrow as pa
from pyarrow import csv

from llasa_lib.errors import DataError
from llasa_lib.recordings.archives import quoted

AGAIN = "Unpack the data set again, or delete it and get it again."
LONGEST_HEADER = 1 << 16  # bytes of a line


def find_member(archive, ending):
    """Name of the one file of an :class:`Archive` whose path ends with ``ending``, such as ``"wlk_7/sub_1.csv"``.

    Raises
    ------
    DataError
        If there is no such file, or more than one.
    """
    found = [name for name in archive.names if f"/{name}".endswith(f"/{ending}")]
    if len(found) == 1:
        return found[0]
    if found:
        raise DataError(
            f"{archive.path} holds {ending} twice, as {quoted(found[0])} and {quoted(found[1])}. Remove one of the two."
        )
    seen = ", ".join(map(quoted, archive.names[:3])) + (" ..." if len(archive.names) > 3 else "")
    raise DataError(f"{archive.path} holds no {ending}; it holds {seen or 'nothing'}. {AGAIN}")


def read_table(archive, name, numbers, columns=None, text=None, header=0, separator=",", missing=False):
    """Read columns of a text table.

    Parameters
    ----------
    archive : Archive
    name : str, a member of the archive.
    numbers : list of str, the columns to read as numbers.
    columns : list of str, all columns of a row in order; by default the names in the last header line.
    text : str, a column to read as text.
    header : int, lines before the first row.
    separator : str, between the values of a row.
    missing : bool, an empty value or ``NaN`` becomes NaN instead of an error.

    Returns
    -------
    values : (T, C) float64 array, in the order of ``numbers``.
    labels : (T,) array of str, or None without ``text``.

    Raises
    ------
    DataError
        If the table cannot be read; the sentence names file, member, line and column.
    """
    where = f"{archive.path}, {quoted(name)}"
    with archive.open(name) as file:
        try:
            lines = [file.readline(LONGEST_HEADER).decode("latin-1") for _ in range(header)]
            columns = columns or [column.strip(' "\r\n') for column in lines[-1].split(separator)]
            _check_columns(where, columns, [*numbers, *([text] if text else [])])
            columns = [*columns, ""] if _ends_in_blank(file, separator) else columns
            table = _parse(file, columns, numbers, text, separator)
        except pa.ArrowInvalid as error:
            raise DataError(f"{where}{_explain(str(error), columns, header)} {AGAIN}") from None
    values = np.stack([table[column].to_numpy() for column in numbers], axis=1)
    filled = np.flatnonzero(~np.isnan(values).all(axis=1))
    if len(filled) == 0:
        raise DataError(f"{where} holds no numbers. {AGAIN}")
    values = values[: filled[-1] + 1]  # empty lines at the end do no harm
    _check_values(where, values, numbers, header, missing)
    return values, _strings(table[text])[: len(values)] if text else None


def runs(values):
    """Stretches of equal values, in order: a list of (value, first index, last index + 1)."""
    values = np.asarray(values)
    bounds = [0, *(np.flatnonzero(values[1:] != values[:-1]) + 1).tolist(), len(values)]
    return [(values[first], first, stop) for first, stop in itertools.pairwise(bounds) if stop > first]


def _check_columns(where, columns, needed):
    missing = [column for column in needed if column not in columns]
    if missing:
        raise DataError(
            f"{where}, line 1: no column {missing[0]!r}; the columns found are {', '.join(columns)[:200]!a}. {AGAIN}"
        )


def _ends_in_blank(file, separator):
    """Whether rows separated by blanks have one more at their end, as some writers leave it."""
    first, newline, _ = file.peek(1).partition(b"\n")
    return separator == " " and bool(newline) and first.rstrip(b"\r").endswith(b" ")


def _parse(file, columns, numbers, text, separator):
    types = dict.fromkeys(numbers, pa.float64())
    if text:
        types[text] = pa.dictionary(pa.int32(), pa.string())
    return csv.read_csv(
        file,
        # One thread: only then does an error name its row.
        read_options=csv.ReadOptions(use_threads=False, column_names=columns),
        # Empty lines count, so that line numbers stay true.
        parse_options=csv.ParseOptions(delimiter=separator, ignore_empty_lines=False),
        convert_options=csv.ConvertOptions(
            column_types=types, include_columns=list(types), null_values=["", "NaN", "nan"], strings_can_be_null=False
        ),
    )


def _explain(error, columns, header):
    """pyarrow's error as the end of "FILE ...": where in the file, and what is wrong."""
    if found := re.search(r"CSV column #(\d+): Row #(\d+): .*invalid value '(.*)'", error, re.DOTALL):
        return f", line {int(found[2]) + header}, column {columns[int(found[1])]!r}: {found[3][:60]!a} is not a number."
    if found := re.search(r"Row #(\d+): Expected (\d+) columns, got (\d+)", error):
        return f", line {int(found[1]) + header} has {found[3]} values instead of {found[2]}."
    if "Empty CSV" in error:
        return " holds no data."
    return f" is not a table of {len(columns)} columns ({error.splitlines()[0][:120]})."


def _check_values(where, values, numbers, header, missing):
    bad = np.isinf(values) if missing else ~np.isfinite(values)
    if bad.any():
        row, column = np.argwhere(bad)[0]
        what = "the value is missing" if np.isnan(values[row, column]) else "the value is infinite"
        raise DataError(f"{where}, line {row + 1 + header}, column {numbers[column]!r}: {what}. {AGAIN}")


def _strings(column):
    """A dictionary-encoded column as an array of str without blanks around."""
    encoded = column.combine_chunks()
    names = np.array([name.strip() for name in encoded.dictionary.to_pylist()])
    return names[encoded.indices.to_numpy()]

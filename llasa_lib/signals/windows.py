"""Windows that every later stage reads, as a ``datasets.Dataset``."""

import hashlib

import numpy as np
import pyarrow as pa

from llasa_lib.errors import RecordingError
from llasa_lib.recordings import ACTIVITIES
from llasa_lib.signals.resampling import resample

# Facts, captions and the published encoder are all defined for windows of six seconds at this rate.
RATE = 20.0  # Hz
LENGTH = 120  # samples


def window_features(length=LENGTH):
    """Column types of a windows data set."""
    from datasets import Array2D, Features, Value

    columns = {name: Value("string") for name in ("activity", "subject", "placement", "source")}
    return Features({"imu": Array2D((length, 6), "float32"), **columns, "start": Value("float64")})


def make_windows(recordings, rate=RATE, length=LENGTH, stride=None, labelled=True):
    """Cut recordings into windows of equal length.

    Parameters
    ----------
    recordings : list or iterator of Recording
    rate : float, Hz
    length : int, samples per window; 120 at 20 Hz are 6 s.
    stride : int, samples from one start to the next. By default ``length``: no overlap.
    labelled : bool
        True: only inside segments labelled with one of ``ACTIVITIES``; transitions are left out. False:
        everywhere, and the column ``activity`` is empty.

    Returns
    -------
    datasets.Dataset
        Columns ``imu`` (length x 6 float32: acceleration m/s^2, rotation rad/s), ``activity``, ``subject``,
        ``placement``, ``source`` and ``start`` (s).

    Raises
    ------
    RecordingError
        If no window fits anywhere.
    """
    from datasets import Dataset

    imu, columns = cut_windows(recordings, rate, length, stride, labelled)
    return Dataset.from_dict({"imu": imu, **columns}, features=window_features(length))


def cut_windows(recordings, rate=RATE, length=LENGTH, stride=None, labelled=True):
    """Windows as :func:`make_windows` cuts them, without a data set around them: it takes a second to import.

    Returns
    -------
    imu : (N, length, 6) float32 array
    columns : dict of str to list
    """
    stride = stride or length
    windows, rows, read = [], [], 0
    for recording in recordings:
        read += 1
        for piece in resample(recording, rate):
            imu = piece.imu
            for first, stop, activity in _stretches(piece, labelled):
                starts = range(first, stop - length + 1, stride)
                windows.extend(imu[start : start + length] for start in starts)
                who = (activity, piece.subject, piece.placement, piece.source)
                rows.extend((*who, float(piece.time[start])) for start in starts)
    if not windows:
        raise no_window(rate, length, labelled, f"these {read} recordings")
    imu = np.stack(windows).astype(np.float32)
    names = ("activity", "subject", "placement", "source", "start")
    return imu, {name: list(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}


def no_window(rate, length, labelled, where):
    """The error for recordings that are too short."""
    spot, hint = ("a labelled segment", ", or use labelled=False") if labelled else ("a piece without a gap", "")
    return RecordingError(f"No window of {length / rate:g} s fits into {spot} of {where}. Record longer pieces{hint}.")


def _stretches(piece, labelled):
    """(first, stop, activity) in samples: the segments with an activity, or the whole piece."""
    if not labelled:
        return [(0, len(piece.time), "")]
    chosen = [segment for segment in piece.segments if segment.activity in ACTIVITIES]
    # Half a microsecond of slack: 24.66 * 20 must not miss a sample by rounding.
    bounds = np.searchsorted(piece.time + 5e-7, [(segment.start, segment.end) for segment in chosen])
    return [(int(first), int(stop), s.activity) for (first, stop), s in zip(bounds, chosen, strict=True)]


def to_array(windows):
    """The column ``imu`` as one (N, 120, 6) float32 array, in the order of the data set."""
    length = windows.features["imu"].shape[0]
    column = windows.select_columns("imu").with_format("arrow")[:]["imu"].combine_chunks()
    column = column.storage if isinstance(column, pa.ExtensionArray) else column
    flat = column.flatten().flatten().to_numpy(zero_copy_only=False)
    # A copy: Arrow's memory is read-only, and torch.from_numpy wants an array of its own.
    return np.array(flat, dtype=np.float32).reshape(len(windows), length, 6)


def window_hashes(imu):
    """One hex digest per window of an (N, 120, 6) array: equal windows, equal digests."""
    imu = np.ascontiguousarray(imu, dtype=np.float32)
    return [hashlib.blake2b(window.tobytes(), digest_size=16).hexdigest() for window in imu]

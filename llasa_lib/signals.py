"""Stage 1, second half: from recordings to windows that every later stage reads.

Notable features:

- ``resample``: 50 Hz, or uneven time stamps, to 20 Hz through an anti-alias filter; a gap splits, it is never
  bridged.
- ``make_windows``: (N, 120, 6) float32 in SI units with subject, activity, placement, source and start, as a
  ``datasets.Dataset``; a window never crosses the end of a labelled segment.
- ``split_by_subject`` and ``check_disjoint``: nobody, and no window, in two splits.
- ``split_gravity``, ``gravity_direction``: posture and movement apart.
- ``summarise``: 132 plain numbers per window, the features of the baseline and of the summary tokens.
- ``limu_bert_windows``: the published recipe of LIMU-BERT, byte for byte, aliasing included. For parity only.

NOTE: our windows deviate from LLaSA's and LIMU-BERT's, which average blocks of 2 and 3 samples. That folds
vibration above 10 Hz onto the band of the steps; chapter 1 shows it.
"""

import hashlib
import itertools
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pyarrow as pa
from datasets import Array2D, Dataset, DatasetDict, Features, Value
from scipy import interpolate
from scipy import signal as dsp

from llasa_lib.errors import RecordingError, SplitError
from llasa_lib.recordings import ACTIVITIES, CHANNELS, find_gaps

LINES = 19  # spectral lines 1..19 of a 6 s window: 1/6 Hz to 3.2 Hz, the band of human movement
SUMMARY_NAMES = tuple(
    f"{channel} {what}"
    for channel in CHANNELS
    for what in ("mean", "spread", "spread of differences", *(f"line {k}" for k in range(1, LINES + 1)))
)


# --- resampling ----------------------------------------------------------------------------------


def resample(recording, rate=20.0, max_gap=None):
    """Bring a recording to a steady rate, through an anti-alias filter.

    The pass band ends at 0.7 of the new half rate (7 Hz at 20 Hz), the stop band begins at it (10 Hz) with 60
    dB: what the new rate cannot show is removed before it can be mistaken for something else.

    Parameters
    ----------
    recording : Recording, with any time stamps.
    rate : float, Hz, the new rate.
    max_gap : float, s, optional
        A longer step of time splits; see :func:`llasa_lib.recordings.find_gaps` for the default.

    Returns
    -------
    list of Recording
        One per piece without a gap, on the old clock, each with the segments that overlap it. Pieces of three
        samples or fewer are dropped.

    Raises
    ------
    RecordingError
        If ``rate`` is not positive.

    References
    ----------
    Crochiere and Rabiner, Multirate Digital Signal Processing, 1983.
    """
    if not rate > 0:
        raise RecordingError(f"A rate must be positive, not {rate}.")
    gaps = find_gaps(recording.time, max_gap)
    bounds = [0, *(gaps + 1).tolist(), len(recording.time)]
    time, imu = recording.time, recording.imu
    pieces = [slice(start, stop) for start, stop in itertools.pairwise(bounds) if stop - start > 3]
    return [_piece(recording, *_to_rate(time[piece], imu[piece], float(rate))) for piece in pieces]


def _piece(recording, time, values):
    inside = tuple(s for s in recording.segments if s.start <= time[-1] and s.end > time[0])
    return replace(recording, time=time, acceleration=values[:, :3], rotation=values[:, 3:], segments=inside)


def _to_rate(time, values, rate):
    """(T,), (T, C) at any time stamps -> time and values at ``rate``, without a gap."""
    old_rate = (len(time) - 1) / (time[-1] - time[0])
    uniform = np.abs(time - (time[0] + np.arange(len(time)) / old_rate)).max() < 0.01 / old_rate
    ratio = Fraction(rate / old_rate).limit_denominator(50)
    if not uniform or abs(float(ratio) * old_rate / rate - 1) > 1e-6:
        # Uneven stamps, or a crooked rate: first onto an even grid, at a whole multiple of the new rate that
        # is at least as dense. Akima's curve follows a sine closely and does not overshoot where stamps
        # nearly coincide.
        ratio = Fraction(1, max(1, int(np.ceil(old_rate / rate - 1e-6))))
        old_rate = rate / float(ratio)
        grid = time[0] + np.arange(int((time[-1] - time[0]) * old_rate + 1e-6) + 1) / old_rate
        values = interpolate.Akima1DInterpolator(time, values, method="makima")(np.minimum(grid, time[-1]))
        time = grid
    if ratio != 1:
        up, down = ratio.numerator, ratio.denominator
        taps = _anti_alias(old_rate * up, min(rate, old_rate) / 2)
        # padtype "line": the straight line between the ends passes unfiltered, so edges do not sink to zero.
        values = dsp.resample_poly(values, up, down, axis=0, window=taps, padtype="line")
    new_time = time[0] + np.arange(len(values)) / rate
    inside = new_time <= time[-1] + 1e-9
    return new_time[inside], values[inside]


def _anti_alias(rate, half):
    """Taps of a linear-phase low-pass filter: pass band to 0.7 ``half`` (Hz), 60 dB from ``half`` on."""
    count, beta = dsp.kaiserord(60.0, 0.3 * half / (rate / 2))
    return dsp.firwin(count | 1, 0.85 * half, window=("kaiser", beta), fs=rate)


# --- gravity -------------------------------------------------------------------------------------


def split_gravity(acceleration, rate, cutoff=0.3):
    """Separate gravity from body acceleration with a zero-phase low-pass filter.

    Parameters
    ----------
    acceleration : (T, 3) array, m/s^2, gravity included. (N, T, 3) does all windows at once.
    rate : float, samples per second.
    cutoff : float, Hz. 0.3 Hz keeps posture changes and drops steps (UCI-HAR's choice, Anguita et al. 2013).

    Returns
    -------
    gravity, body : arrays of the same shape, m/s^2, with ``gravity + body == acceleration``.

    Raises
    ------
    RecordingError
        If the recording is shorter than three filter lengths, 3 / (2 pi cutoff) = 1.6 s: such a piece cannot
        tell gravity from a slow movement.

    Examples
    --------
    >>> gravity, body = split_gravity(np.tile([0.0, 0.0, 9.81], (120, 1)), rate=20.0)
    >>> gravity[60].round(2).tolist()
    [0.0, 0.0, 9.81]
    """
    acceleration = np.asarray(acceleration, dtype=np.float64)
    steps = acceleration.shape[-2]
    shortest = 3 / (2 * np.pi * cutoff)
    if steps < shortest * rate:
        raise RecordingError(
            f"{steps / rate:.2f} s are too short to find gravity; at least {shortest:.1f} s are needed."
        )
    low_pass = dsp.butter(3, cutoff, fs=rate, output="sos")
    # Mirrored at both ends: a step in progress there is not taken for a turn of the phone.
    pad = min(steps - 1, int(rate / cutoff))
    gravity = dsp.sosfiltfilt(low_pass, acceleration, axis=-2, padtype="even", padlen=pad)
    return gravity, acceleration - gravity


def gravity_direction(acceleration, rate=20.0):
    """Where "up" is, seen from the device: the unit vector (3,) of mean gravity. (N, T, 3) gives (N, 3).

    At rest an accelerometer feels the support, not the fall, so this points away from the ground.

    Raises
    ------
    RecordingError
        If the recording is too short (see :func:`split_gravity`), or has no gravity in it.
    """
    gravity = split_gravity(acceleration, rate)[0].mean(axis=-2)
    length = np.linalg.norm(gravity, axis=-1, keepdims=True)
    if (length < 1.0).any():
        raise RecordingError("There is no gravity in this acceleration; its direction cannot be known.")
    return gravity / length


# --- windows -------------------------------------------------------------------------------------


def window_features(length=120):
    """Column types of a windows data set."""
    columns = {name: Value("string") for name in ("activity", "subject", "placement", "source")}
    return Features({"imu": Array2D((length, 6), "float32"), **columns, "start": Value("float64")})


def make_windows(recordings, rate=20.0, length=120, stride=None, labelled=True):
    """Cut recordings into windows of equal length.

    Parameters
    ----------
    recordings : list of Recording
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
    stride = stride or length
    windows, rows = [], []
    for recording in recordings:
        for piece in resample(recording, rate):
            imu = piece.imu
            for first, stop, activity in _stretches(piece, labelled):
                starts = range(first, stop - length + 1, stride)
                windows.extend(imu[start : start + length] for start in starts)
                who = (activity, piece.subject, piece.placement, piece.source)
                rows.extend((*who, float(piece.time[start])) for start in starts)
    if not windows:
        where, hint = ("a labelled segment", ", or use labelled=False") if labelled else ("a piece without a gap", "")
        raise RecordingError(
            f"No window of {length / rate:g} s fits into {where} of these {len(recordings)} recordings. "
            f"Record longer pieces{hint}."
        )
    imu = np.stack(windows).astype(np.float32)
    names = ("activity", "subject", "placement", "source", "start")
    columns = dict(zip(names, zip(*rows, strict=True), strict=True))
    return Dataset.from_dict({"imu": imu, **{k: list(v) for k, v in columns.items()}}, features=window_features(length))


def _stretches(piece, labelled):
    """(first, stop, activity) in samples: the segments with an activity, or the whole piece."""
    if not labelled:
        return [(0, len(piece.time), "")]
    wanted = [segment for segment in piece.segments if segment.activity in ACTIVITIES]
    # Half a microsecond of slack: 24.66 * 20 must not miss a sample by rounding.
    bounds = np.searchsorted(piece.time + 5e-7, [(segment.start, segment.end) for segment in wanted])
    return [(int(first), int(stop), s.activity) for (first, stop), s in zip(bounds, wanted, strict=True)]


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


def split_by_subject(windows, test, validation=()):
    """Split windows so that nobody is in two parts.

    Parameters
    ----------
    windows : Dataset
    test, validation : lists of subject names, such as ``["hapt-02", "hapt-04"]``. All others are for
    training.

    Returns
    -------
    DatasetDict
        ``train``, ``validation``, ``test``, checked by :func:`check_disjoint`.

    Raises
    ------
    SplitError
        If a subject is named twice or has no windows, if nobody is left for training, or if two parts share a
        window.
    """
    present = set(windows.unique("subject"))
    parts = {"validation": set(validation), "test": set(test)}
    both = parts["validation"] & parts["test"]
    if both:
        raise SplitError(f"{', '.join(sorted(both))} cannot be in validation and in test. Remove one of the two.")
    for name, people in parts.items():
        if people - present:
            unknown, known = (", ".join(sorted(map(str, group))) for group in (people - present, present))
            raise SplitError(f"{name} names {unknown}, but there are only windows of {known}.")
    parts = {"train": present - parts["validation"] - parts["test"], **parts}
    if not parts["train"]:
        raise SplitError("Nobody is left for training. Name fewer subjects for validation and test.")
    subjects = np.asarray(windows["subject"])
    rows = {name: np.flatnonzero(np.isin(subjects, sorted(people))) for name, people in parts.items()}
    splits = DatasetDict({name: windows.select(chosen) for name, chosen in rows.items()})
    check_disjoint(splits)
    return splits


def check_disjoint(splits):
    """Raise :class:`SplitError` if two splits share a subject or a window (compared by its content)."""
    people = {name: set(split["subject"]) for name, split in splits.items()}
    hashes = {name: set(window_hashes(to_array(split))) for name, split in splits.items()}
    names = list(splits)
    for i, one in enumerate(names):
        for other in names[i + 1 :]:
            shared = sorted(people[one] & people[other])
            if shared:
                more = f" and {len(shared) - 1} more" if len(shared) > 1 else ""
                raise SplitError(
                    f"{one} and {other} share the subject {shared[0]}{more}. Split by subject, not by window."
                )
            if hashes[one] & hashes[other]:
                count = len(hashes[one] & hashes[other])
                raise SplitError(f"{one} and {other} share {count} identical windows. Remove them from one of the two.")


# --- features ------------------------------------------------------------------------------------


def summarise(imu):
    """Describe each window by 132 numbers, named in ``SUMMARY_NAMES``.

    Parameters
    ----------
    imu : (N, 120, 6) array, m/s^2 and rad/s.

    Returns
    -------
    (N, 132) float32 array
        Per channel: mean, standard deviation ("spread"), standard deviation of the differences between
        neighbours, and the square root of the magnitude of spectral lines 1 to 19. All statistics run over
        time: one value per channel, never one per time step.
    """
    imu = np.asarray(imu, dtype=np.float64)
    if imu.ndim != 3 or imu.shape[2] != 6 or imu.shape[1] <= 2 * LINES:
        raise RecordingError(f"Windows must have shape (N, 120, 6), not {imu.shape}.")
    lines = np.sqrt(np.abs(np.fft.rfft(imu, axis=1)[:, 1 : LINES + 1]))  # (N, 19, 6)
    plain = np.stack([imu.mean(axis=1), imu.std(axis=1), np.diff(imu, axis=1).std(axis=1)], axis=1)  # (N, 3, 6)
    table = np.concatenate([plain, lines], axis=1)  # (N, 22, 6)
    return table.transpose(0, 2, 1).reshape(len(imu), -1).astype(np.float32)


# --- parity with LIMU-BERT -----------------------------------------------------------------------


def limu_bert_windows(recordings):
    """Cut 50 Hz recordings the way LIMU-BERT's published UCI array was cut. For parity, not for use.

    Blocks of 2 and 3 samples in turn are averaged (50 / 20 = 2.5), without an anti-alias filter. Sample
    numbers that count from 1 are used as if they counted from 0. A block is taken while three more samples
    lie before the last. Only segments with more than 120 averages are kept, cut to a multiple of 120.

    Returns
    -------
    windows : (N, 120, 6) float64 array, m/s^2 and rad/s.
    activities : list of N str
    """
    windows, activities = [], []
    for recording in recordings:
        if abs(recording.rate - 50) > 0.01:
            raise RecordingError(f"The recipe of LIMU-BERT is for 50 Hz, and {recording!r} has another rate.")
        for segment in recording.segments:
            if segment.activity not in ACTIVITIES[:6]:
                continue
            first, last = round(segment.start * 50) + 1, round(segment.end * 50)  # as in labels.txt, from 1
            averages = _average_blocks(recording.imu, first, last)
            count = len(averages) // 120 if len(averages) > 120 else 0
            windows.append(averages[: count * 120].reshape(count, 120, 6))
            activities += [segment.activity] * count
    return np.concatenate(windows), activities


def _average_blocks(values, first, last):
    """Means of 2 and 3 rows in turn, from row ``first``, while a block starts more than 3 before ``last``."""
    pairs = np.arange(first, last - 3, 5)  # blocks of two start here ...
    triples = pairs[pairs + 2 < last - 3] + 2  # ... and blocks of three two samples later
    means = np.empty((len(pairs) + len(triples), values.shape[1]))
    means[0::2] = (values[pairs] + values[pairs + 1]) / 2
    means[1::2] = (values[triples] + values[triples + 1] + values[triples + 2]) / 3
    return means

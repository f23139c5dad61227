"""Any time stamps to a steady rate, through an anti-alias filter; a gap splits, it is never bridged."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import scipy

from llasa_lib.errors import RecordingError
from llasa_lib.recordings import stretches


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
    time, imu = recording.time, recording.imu
    pieces = [piece for piece in stretches(time, max_gap) if piece.stop - piece.start > 3]
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
        values = scipy.interpolate.Akima1DInterpolator(time, values, method="makima")(np.minimum(grid, time[-1]))
        time = grid
    if ratio != 1:
        up, down = ratio.numerator, ratio.denominator
        taps = _anti_alias(old_rate * up, min(rate, old_rate) / 2)
        # padtype "line": the straight line between the ends passes unfiltered, so edges do not sink to zero.
        values = scipy.signal.resample_poly(values, up, down, axis=0, window=taps, padtype="line")
    new_time = time[0] + np.arange(len(values)) / rate
    inside = new_time <= time[-1] + 1e-9
    return new_time[inside], values[inside]


def _anti_alias(rate, half):
    """Taps of a linear-phase low-pass filter: pass band to 0.7 ``half`` (Hz), 60 dB from ``half`` on."""
    count, beta = scipy.signal.kaiserord(60.0, 0.3 * half / (rate / 2))
    return scipy.signal.firwin(count | 1, 0.85 * half, window=("kaiser", beta), fs=rate)

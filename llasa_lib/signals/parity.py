"""The published recipe of LIMU-BERT's UCI array, byte for byte, aliasing included. For parity, not for use."""

import numpy as np

from llasa_lib.errors import RecordingError
from llasa_lib.recordings import ACTIVITIES


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

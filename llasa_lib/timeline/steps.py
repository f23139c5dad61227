"""Steps: peaks of |a| in the band of human steps, counted at the recording's own rate."""

import numpy as np
import scipy

_BAND = (0.7, 3.5)  # Hz: slower than any walk, faster than any run
_SHORTEST = 0.25  # s between two steps


def steps_of(time, acceleration):
    """Count the steps of somebody who walks, climbs or runs.

    Parameters
    ----------
    time : (T,) array, s, increasing.
    acceleration : (T, 3) array, m/s^2.

    Returns
    -------
    int
    """
    if len(time) < 8 or time[-1] - time[0] < 1:
        return 0
    rate = (len(time) - 1) / (time[-1] - time[0])
    size = np.linalg.norm(acceleration, axis=1)
    band = scipy.signal.butter(2, [_BAND[0], min(_BAND[1], 0.45 * rate)], "bandpass", fs=rate, output="sos")
    motion = scipy.signal.sosfiltfilt(band, size - size.mean(), padlen=min(len(size) - 1, int(3 * rate)))
    # How high a step is differs between people and pockets, so the bout itself says it.
    peaks, _ = scipy.signal.find_peaks(motion, distance=max(1, round(_SHORTEST * rate)), prominence=0.8 * motion.std())
    return len(peaks)

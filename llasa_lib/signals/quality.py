"""What a window says about its sensor rather than about its wearer."""

import numpy as np

from llasa_lib.errors import RecordingError

FLAGS = {
    "no gravity": "mean acceleration outside 4 to 40 m/s^2: another unit, or gravity was removed",
    # NOTE: a filter rounds plateaus off: look for this one at the recording's own rate, not in resampled windows.
    "clipped": "a channel rests at its extreme for three samples or more: the movement was larger than the range",
    "frozen": "a channel does not change for a second or more: the sensor, or the app, had stopped",
    "spike": "a single sample leaves its neighbours by more than 30 m/s^2 or 15 rad/s: a bump, or a transmission error",
    "fast rotation": "mean rotation above 20 rad/s, three turns a second: probably degrees",
}
PLAUSIBLE_ACCELERATION = (4.0, 40.0)  # m/s^2, mean over a window: 9.8 at rest, below 25 when running
LARGEST_MEAN_ROTATION = 20.0  # rad/s
SPIKE = np.repeat([30.0, 15.0], 3)  # m/s^2, rad/s


def quality(imu, rate=20.0):
    """Flags of doubtful windows.

    Parameters
    ----------
    imu : (N, T, 6) array, m/s^2 and rad/s.
    rate : float, samples per second.

    Returns
    -------
    dict of str to (N,) bool array
        One entry per name in ``FLAGS``, where its meaning stands.

    Raises
    ------
    RecordingError
        For another shape.
    """
    imu = np.asarray(imu, dtype=np.float64)
    if imu.ndim != 3 or imu.shape[2] != 6:
        raise RecordingError(f"Windows must have shape (N, T, 6), not {imu.shape}.")
    size = np.linalg.norm(imu[..., :3], axis=2).mean(axis=1)
    turning = np.linalg.norm(imu[..., 3:], axis=2).mean(axis=1)
    still = np.abs(np.diff(imu, axis=1)) <= 1e-9  # (N, T - 1, 6)
    extremes = (imu == imu.max(axis=1, keepdims=True)) | (imu == imu.min(axis=1, keepdims=True))
    out = imu[:, 1:-1] - np.stack([imu[:, :-2], imu[:, 2:]])  # (2, N, T - 2, 6)
    frozen = _longest_run(still) >= round(rate)
    return {
        "no gravity": (size < PLAUSIBLE_ACCELERATION[0]) | (size > PLAUSIBLE_ACCELERATION[1]),
        "clipped": ((_longest_run(extremes[:, 1:] & still) >= 2) & ~frozen).any(axis=1),
        "frozen": frozen.any(axis=1),
        "spike": ((np.abs(out).min(axis=0) > SPIKE) & (out[0] * out[1] > 0)).any(axis=(1, 2)),
        "fast rotation": turning > LARGEST_MEAN_ROTATION,
    }


def _longest_run(flags):
    """Longest run of True along axis 1: (N, T, C) bool -> (N, C) int."""
    count = np.zeros((flags.shape[0], flags.shape[2]), dtype=int)
    longest = count.copy()
    for step in range(flags.shape[1]):  # over 120 steps, not over windows
        count = (count + 1) * flags[:, step]
        longest = np.maximum(longest, count)
    return longest

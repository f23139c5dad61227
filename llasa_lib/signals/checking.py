"""Windows that a later stage would accept in silence and misread are refused here, once for all stages."""

import numpy as np

from llasa_lib.errors import WindowError

_PLAUSIBLE = (5.0, 40.0)  # m/s^2, mean and median of a window: 9.8 at rest, below 25 when running
_LARGEST_MEAN_ROTATION = 20.0  # rad/s
_FASTEST = 60.0  # rad/s at any time; phones saturate at 35 (2,000 degrees per second)
_DEAD = 1e-6  # an axis that spreads less is not connected: every real sensor has noise


def check_windows(imu, length=120, units=True, dtype=np.float32):
    """Return windows as an array, or say what is wrong with them.

    Parameters
    ----------
    imu : (N, length, 6) array, tensor or nested lists
        Acceleration x, y, z in m/s^2 with gravity, rotation x, y, z in rad/s.
    length : int, time steps.
    units : bool, also judge the units by the size of the values.
    dtype : numpy dtype of what is returned.

    Returns
    -------
    (N, length, 6) array

    Raises
    ------
    WindowError
        For what holds no real numbers, another shape, NaN or infinite values, acceleration far from gravity, or
        rotation beyond any human.
    """
    imu = _numbers(imu, dtype)
    if imu.ndim != 3 or imu.shape[1:] != (length, 6):
        raise WindowError(
            f"Windows have shape {imu.shape}; what reads them reads (windows, {length} steps, 6 channels). "
            "Resample to 20 Hz and cut with signals.make_windows."
        )
    broken = np.argwhere(~np.isfinite(imu))
    if len(broken):
        window, step, channel = broken[0]
        raise WindowError(
            f"Window {window}, step {step}, channel {channel} is {imu[window, step, channel]}; "
            "cut the recording at its gaps, or fill them."
        )
    if units and len(imu):
        _check_units(imu)
    return imu


def _numbers(imu, dtype):
    """Arrays, tensors of any type and nested lists as one array."""
    if hasattr(imu, "detach"):  # a tensor, known without importing torch
        imu = imu.detach().cpu()
        imu = (imu.float() if imu.is_floating_point() else imu).numpy()  # numpy knows no bfloat16
    try:
        imu = np.asarray(imu)
        if imu.dtype.kind in "fiu":
            with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused
                return imu.astype(dtype)
        reason = f"an array of {imu.dtype}"
    except ValueError:
        reason = "lists of unequal length"
    raise WindowError(f"Windows must be one array of real numbers, not {reason}; see signals.to_array.")


def _check_units(imu):
    # Gravity is always there, so the size of acceleration over six seconds is 9.8 at rest and below 25 when running.
    size, turning = (np.linalg.norm(part, axis=2) for part in (imu[..., :3], imu[..., 3:]))
    low, high = _PLAUSIBLE
    for word, value in (("mean", size.mean(axis=1)), ("median", np.median(size, axis=1))):
        for n in np.flatnonzero((value < low) | (value > high))[:1]:
            dead = ", ".join("xyz"[i] for i in np.flatnonzero(imu[n, :, :3].std(axis=0) < _DEAD))
            raise WindowError(
                f"Window {n}: {word} acceleration {value[n]:.3g}; in m/s^2 with gravity it is about 9.8. "
                "If it is in g, multiply by 9.80665; if gravity was removed, use the raw signal."
                + (f" Constant acceleration: {dead}; check that the sensor is connected." if dead else "")
            )
    wrong = (turning.mean(axis=1) > _LARGEST_MEAN_ROTATION) | (np.abs(imu[..., 3:]).max(axis=(1, 2)) > _FASTEST)
    for n in np.flatnonzero(wrong)[:1]:
        raise WindowError(
            f"Window {n}: mean rotation {turning[n].mean():.3g}, peak {turning[n].max():.3g}; in rad/s that is more "
            "than a person or a phone can do. If it is in degrees per second, multiply by pi / 180."
        )

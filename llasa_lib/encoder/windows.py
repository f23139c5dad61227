"""Windows in SI units to what the network reads, and back; what it would misread is refused here."""

import numpy as np
import torch

from llasa_lib import signals
from llasa_lib.errors import ModelError

GRAVITY = 9.8
"""Divisor of acceleration before the encoder. NOTE: the published value, not standard gravity (9.80665)."""


def normalise(imu):
    """SI units to what the encoder reads: acceleration / 9.8, rotation as it is.

    Parameters
    ----------
    imu : (..., 6) array or tensor; acceleration x, y, z in m/s^2 with gravity, rotation x, y, z in rad/s.

    Returns
    -------
    The same kind and shape; arrays become float32.
    """
    if isinstance(imu, torch.Tensor):
        return torch.cat([imu[..., :3] / GRAVITY, imu[..., 3:]], dim=-1)
    imu = np.array(imu, dtype=np.float32)
    imu[..., :3] /= GRAVITY
    return imu


def denormalise(imu_values):
    """The inverse of :func:`normalise`: back to m/s^2 and rad/s."""
    if isinstance(imu_values, torch.Tensor):
        return torch.cat([imu_values[..., :3] * GRAVITY, imu_values[..., 3:]], dim=-1)
    imu = np.array(imu_values, dtype=np.float32)
    imu[..., :3] *= GRAVITY
    return imu


def check_windows(imu, length=120, units=True):
    """Refuse windows that the encoder would accept in silence and misread.

    Parameters
    ----------
    imu : (N, length, 6) array or tensor that should hold m/s^2 (with gravity) and rad/s.
    length : int, time steps.
    units : bool, also judge the units by the size of the values.

    Returns
    -------
    (N, length, 6) float32 array.

    Raises
    ------
    ModelError
        For what holds no real numbers, another shape, NaN or infinite values, mean acceleration far from gravity, or
        rotation beyond any human.
    """
    imu = _numbers(imu)
    if imu.ndim != 3 or imu.shape[1:] != (length, 6):
        raise ModelError(
            f"Windows have shape {imu.shape}; the encoder reads (windows, {length} steps, 6 channels). "
            "Resample to 20 Hz and cut with signals.make_windows."
        )
    broken = np.argwhere(~np.isfinite(imu))
    if len(broken):
        window, step, channel = broken[0]
        raise ModelError(
            f"Window {window}, step {step}, channel {channel} is {imu[window, step, channel]}; "
            "cut the recording at its gaps, or fill them, before encoding."
        )
    if units:
        _check_units(imu)
    return imu


def _numbers(imu):
    """Arrays, tensors of any type and nested lists as one float32 array."""
    if isinstance(imu, torch.Tensor):
        imu = imu.detach().cpu()
        imu = (imu.float() if imu.is_floating_point() else imu).numpy()  # numpy knows no bfloat16
    try:
        imu = np.asarray(imu)
        if imu.dtype.kind in "fiu":
            with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused
                return imu.astype(np.float32)
        reason = f"an array of {imu.dtype}"
    except ValueError:
        reason = "lists of unequal length"
    raise ModelError(f"Windows must be one array of real numbers, not {reason}; see signals.to_array.")


def _check_units(imu):
    # Gravity is always there, so the mean magnitude of six seconds is 9.8 at rest and below 25 when running.
    acceleration = np.linalg.norm(imu[..., :3], axis=-1).mean(axis=1)
    low, high = signals.PLAUSIBLE_ACCELERATION
    wrong = np.flatnonzero((acceleration < low) | (acceleration > high))
    if len(wrong):
        raise ModelError(
            f"Window {wrong[0]}: mean acceleration {acceleration[wrong[0]]:.3g}; in m/s^2 with gravity it is "
            "about 9.8. If it is in g, multiply by 9.80665; if gravity was removed, use the raw signal."
        )
    rotation = np.linalg.norm(imu[..., 3:], axis=-1).mean(axis=1)
    wrong = np.flatnonzero(rotation > signals.LARGEST_MEAN_ROTATION)
    if len(wrong):
        raise ModelError(
            f"Window {wrong[0]}: mean rotation {rotation[wrong[0]]:.3g}, in rad/s three turns a second "
            "or more. If it is in degrees per second, multiply by pi / 180."
        )

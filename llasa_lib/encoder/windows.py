"""Windows in SI units to what the network reads, and back."""

import numpy as np
import torch

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

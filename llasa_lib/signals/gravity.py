"""Posture and movement apart: gravity is what changes slowly."""

import numpy as np
import scipy

from llasa_lib.errors import RecordingError


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
    low_pass = scipy.signal.butter(3, cutoff, fs=rate, output="sos")
    # Mirrored at both ends: a step in progress there is not taken for a turn of the phone.
    pad = min(steps - 1, int(rate / cutoff))
    gravity = scipy.signal.sosfiltfilt(low_pass, acceleration, axis=-2, padtype="even", padlen=pad)
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


def align_to_gravity(imu, rate=20.0):
    """Turn windows into a frame whose z axis points up, whatever the device's orientation was.

    The shortest turn that brings mean gravity onto z is applied to acceleration and rotation alike. What stays unknown
    is the heading: gravity says nothing about north.

    Parameters
    ----------
    imu : (N, T, 6) array, m/s^2 with gravity and rad/s.
    rate : float, samples per second.

    Returns
    -------
    (N, T, 6) float64 array; mean gravity is (0, 0, g) in each window.

    Raises
    ------
    RecordingError
        See :func:`gravity_direction`.

    References
    ----------
    Moe-Nilssen 1998 corrects trunk accelerometers for their tilt in the same way.
    """
    imu = np.asarray(imu, dtype=np.float64)
    return rotate(imu, upward(gravity_direction(imu[..., :3], rate)))


def upward(direction):
    """The shortest turns (N, 3, 3) that bring unit vectors (N, 3) onto z: Rodrigues' formula."""
    x, y, z = np.asarray(direction).T
    k = 1 / np.maximum(1 + z, 1e-12)
    turn = np.stack([[1 - k * x * x, -k * x * y, -x], [-k * x * y, 1 - k * y * y, -y], [x, y, z]]).transpose(2, 0, 1)
    turn[z < -1 + 1e-9] = np.diag([1.0, -1.0, -1.0])  # exactly upside down, any axis serves: x
    return turn


def rotate(imu, turn):
    """What the device would have felt in another orientation.

    Parameters
    ----------
    imu : (..., T, 6) array, m/s^2 and rad/s.
    turn : (3, 3) or (..., 3, 3) array
        Rotation matrix, for all windows or one per window. A reflection is no rotation, and would turn a left-hand
        bend into a right-hand one.

    Returns
    -------
    array of the shape of ``imu``

    Raises
    ------
    RecordingError
        If ``turn`` is no rotation.
    """
    imu, turn = np.asarray(imu), np.asarray(turn, dtype=np.float64)
    identity = turn @ np.swapaxes(turn, -1, -2)
    if not np.allclose(identity, np.eye(3), atol=1e-6) or (np.linalg.det(turn) < 0).any():
        raise RecordingError("The matrix is no rotation: its rows must be of length 1, at right angles, right-handed.")
    back = np.swapaxes(turn, -1, -2)
    return np.concatenate([imu[..., :3] @ back, imu[..., 3:] @ back], axis=-1)

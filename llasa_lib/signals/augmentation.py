"""Windows that might have been recorded: the same movement, felt by another device.

- Every change has a physical cause and its size is that of real devices; units stay m/s^2 and rad/s.
- Acceleration and rotation are changed together, as one body: turning the device turns both, and a faster movement
  has rotations that grow with the speed and accelerations that grow with its square.
- Random draws come from a generator that the caller gives, one draw per window.
"""

import numpy as np
import scipy

from llasa_lib.errors import RecordingError
from llasa_lib.signals.gravity import rotate, split_gravity


def random_turns(count, rng, largest=180.0):
    """Rotation matrices about axes in any direction.

    Parameters
    ----------
    count : int
    rng : numpy.random.Generator
    largest : float, degrees
        Angles are uniform up to it; at 180 orientations are uniform instead, none likelier than another.

    Returns
    -------
    (count, 3, 3) array
    """
    if largest >= 180.0:
        return scipy.spatial.transform.Rotation.random(count, rng=rng).as_matrix()
    axes = rng.standard_normal((count, 3))
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    return scipy.spatial.transform.Rotation.from_rotvec(
        axes * rng.uniform(0, np.radians(largest), (count, 1))
    ).as_matrix()


def turn_randomly(imu, rng, largest=180.0):
    """Carry the device differently: each window (N, T, 6) turned by a random rotation, see :func:`random_turns`."""
    return rotate(imu, random_turns(len(imu), rng, largest))


def turn_about(imu, axis, rng, largest=90.0):
    """Carry the device elsewhere on the body: each window turned about one axis of the device.

    About the axis that points up while people stand, it is the same movement with the phone at another place of the
    same belt; of a person who lies, it is another side to lie on.

    Parameters
    ----------
    imu : (N, T, 6) array
    axis : int
        0, 1 or 2; see :func:`upright_axis`.
    rng : numpy.random.Generator
    largest : float, degrees
        Angles are uniform up to it, in both directions.
    """
    angles = np.radians(rng.uniform(-largest, largest, len(imu)))
    return rotate(imu, scipy.spatial.transform.Rotation.from_rotvec(angles[:, None] * np.eye(3)[axis]).as_matrix())


def mirror(imu, axis):
    """The same movement in a mirrored world, where left is right and staircases wind the other way.

    A mirror flips acceleration along its axis. Rotation is flipped along the two others: a wheel that rolls past a
    mirror turns the same way, one that rolls towards it does not.

    Parameters
    ----------
    imu : (..., T, 6) array
    axis : int
        0, 1 or 2. Along an axis that carries gravity the person is mirrored upside down as well: choose a level one.

    Returns
    -------
    array of the shape of ``imu``
    """
    flip = np.where(np.arange(3) == axis, -1.0, 1.0)
    return (np.asarray(imu) * np.concatenate([flip, -flip])).astype(np.asarray(imu).dtype)


def _gravity_shares(imu):
    """How much gravity each axis carries over many windows (N, T, 6): (3,)."""
    return np.abs(np.asarray(imu)[..., :3].mean(axis=1)).mean(axis=0)


def level_axis(imu):
    """The device axis that carries least gravity over many windows (N, T, 6): 0, 1 or 2. For :func:`mirror`."""
    return int(_gravity_shares(imu).argmin())


def upright_axis(imu):
    """The device axis that carries most gravity over many windows (N, T, 6): 0, 1 or 2. For :func:`turn_about`."""
    return int(_gravity_shares(imu).argmax())


def miscalibrate(imu, rng, gain=0.02, acceleration_bias=0.2, rotation_bias=0.02):
    """Another device of the same kind: gains and zero points that are off by what data sheets allow.

    Parameters
    ----------
    imu : (N, T, 6) array
    rng : numpy.random.Generator
    gain : float
        Standard deviation of each channel's gain around 1.
    acceleration_bias, rotation_bias : float, m/s^2 and rad/s
        Standard deviation of each channel's zero point.
    """
    size = (len(imu), 1, 6)
    bias = np.repeat([acceleration_bias, rotation_bias], 3) * rng.standard_normal(size)
    return np.asarray(imu) * (1 + gain * rng.standard_normal(size)) + bias


def add_noise(imu, rng, acceleration=0.02, rotation=0.005):
    """A noisier sensor: white noise of the given standard deviations (m/s^2, rad/s) in every sample."""
    imu = np.asarray(imu)
    return imu + np.repeat([acceleration, rotation], 3) * rng.standard_normal(imu.shape)


def change_speed(imu, factor, rate=20.0):
    """The same movement, faster or slower.

    Along the same path ``factor`` times as fast, rotation grows by ``factor`` and body acceleration by its square;
    gravity stays what it is.

    Parameters
    ----------
    imu : (N, T, 6) array
    factor : float or (N,) array
        Above 1 is faster: a window of T samples then shows fewer than T samples' worth of time, and is shorter.
    rate : float, samples per second.

    Returns
    -------
    (N, T', 6) array
        T' = T / largest factor where that is above 1, else T: nothing is invented beyond the end of a window.

    Raises
    ------
    RecordingError
        If a factor is not between 0.5 and 2, where people still move in the same way.
    """
    imu, factor = np.asarray(imu, dtype=np.float64), np.broadcast_to(np.asarray(factor, dtype=float), len(imu))
    if ((factor < 0.5) | (factor > 2.0)).any():
        raise RecordingError("A speed factor lies between 0.5 and 2: beyond that people change the way they move.")
    length = int(imu.shape[1] / max(1.0, factor.max()))
    gravity, body = split_gravity(imu[..., :3], rate)
    when = np.arange(length) * factor[:, None]  # (N, T'), in old samples
    before = np.minimum(when.astype(int), imu.shape[1] - 2)
    share = (when - before)[..., None]

    def at(values):
        rows = np.arange(len(values))[:, None]
        return values[rows, before] * (1 - share) + values[rows, before + 1] * share

    speed = factor[:, None, None]
    return np.concatenate([at(gravity) + speed**2 * at(body), speed * at(imu[..., 3:])], axis=-1)

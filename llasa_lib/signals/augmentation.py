"""Windows that might have been recorded: the same movement, felt by a device that is worn in another way.

- Acceleration and rotation are changed together, as one body: turning the device turns both. Units stay m/s^2, rad/s.
- Random draws come from a generator that the caller gives, one draw per window.
"""

import numpy as np
import scipy

from llasa_lib.signals.gravity import rotate


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


def turn_about(imu, axis, angle):
    """Windows (..., T, 6) turned about one axis of the device (0, 1 or 2) by ``angle`` degrees.

    About the axis that points up while people stand (:func:`upright_axis`), it is the same movement with the phone at
    another place of the same belt; of a person who lies, it is another side to lie on.
    """
    turn = scipy.spatial.transform.Rotation.from_rotvec(np.radians(angle) * np.eye(3)[axis])
    return rotate(imu, turn.as_matrix())


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

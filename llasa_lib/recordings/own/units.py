"""Which unit a column is in: what the header says, checked against what the numbers say.

- Time: a motion sensor takes 20 to 2000 samples per second, so the usual step tells s, ms, us and ns apart.
- Acceleration: its mean over two seconds is nearly all gravity, whatever the body does, since steps cancel out.
- Rotation, the hard one: when a device turns, gravity turns in its frame by ``du/dt = -w x u``, in rad/s and in no
  other unit. Where nothing tilts, movement still rotates and accelerates in proportion (0.14 to 0.91 rad/s per m/s^2
  in 600 stretches of UCI-HAPT), and degrees are 57 times that.
- The header wins; a header that contradicts the numbers is refused with both facts.
"""

import itertools
from typing import NamedTuple

import numpy as np
from scipy import signal as dsp

from llasa_lib.errors import RecordingError
from llasa_lib.recordings.recording import STANDARD_GRAVITY, find_gaps

DEGREE = np.pi / 180
STATED = "stated by the file, its app or the caller"
FACTORS = {  # to SI
    "time": {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9},
    "acceleration": {"m/s^2": 1.0, "g": STANDARD_GRAVITY, "mg": STANDARD_GRAVITY / 1000},
    "rotation": {"rad/s": 1.0, "deg/s": DEGREE},
}
SPELLINGS = {
    "s": "sec second seconds",
    "ms": "msec millisecond milliseconds",
    "us": "µs μs usec microsecond microseconds",
    "ns": "nsec nanosecond nanoseconds",
    "m/s^2": "m/s2 m/s² m/s/s ms^-2 ms-2 ms⁻² mps2 ms2 ms",
    "g": "g g's gs gforce g-force",
    "mg": "milli-g",
    "rad/s": "rads^-1 rads-1 rad/sec rads rps radians/s",
    "deg/s": "°/s º/s dps degs degrees/s degree/s deg/sec degreess °s^-1",
}
LARGEST_ROTATION = 40.0  # rad/s; phones and watches stop at 2000 deg/s = 34.9 rad/s
GRAVITY_IN_SI = (6.0, 14.0)  # m/s^2; generous, for uncalibrated sensors and hard running
GRAVITY_IN_G = (0.8, 1.25)
MIDWAY = np.sqrt(1 / DEGREE)  # the factor halfway between two units that differ by 180 / pi
LEAST_TURN = 0.05  # rad, 3 degrees: below it the noise of the accelerometer turns gravity as much
USUAL_RATIO = 0.36  # rad/s of rotation per m/s^2 of body acceleration, the middle of people


class Finding(NamedTuple):
    """One thing that was found out: ``what``, its ``value``, the ``evidence``, and how sure it is (0-1)."""

    what: str
    value: str
    evidence: str
    sure: float


def canonical(quantity, unit, where):
    """A unit as somebody wrote it -> its name in ``FACTORS``; ``None`` stays ``None``.

    Raises
    ------
    RecordingError
        If it is no unit of this quantity that is known.
    """
    if unit is None:
        return None
    known = FACTORS[quantity]
    # "m s 2" and "rad s" are what is left of units without brackets.
    plain = unit.lower() if unit.lower() in known else unit.lower().replace(" ", "")
    plain = {"rads": "rad/s", "degs": "deg/s", "degreess": "deg/s"}.get(plain, plain)
    for name in known:
        if plain == name or plain in SPELLINGS[name].split():
            return name
    raise RecordingError(f"{where}: {unit!r} is no unit of {quantity} that is known here; use {' or '.join(known)}.")


def time_unit(step, said, where):
    """Unit of time from the usual step between two stamps."""
    looks = next((unit for limit, unit in ((0.5, "s"), (500, "ms"), (5e5, "us")) if step < limit), "ns")
    if said is None:
        return Finding("time", looks, f"the usual step is {step:.4g}", 0.95)
    seconds = step * FACTORS["time"][said]
    if not 1e-4 < seconds < 10:
        raise RecordingError(
            f"{where}: time is said to be in {said}, but its usual step is {step:.4g}, which looks like {looks}. "
            f"Correct the header, or give the unit."
        )
    return Finding("time", said, STATED, 1.0)


def steady(time, acceleration):
    """Lengths of the mean acceleration over each two seconds: nearly all gravity."""
    block = ((time - time[0]) // 2.0).astype(int)
    block = np.unique(block, return_inverse=True)[1]
    sums = np.stack([np.bincount(block, weights=axis) for axis in acceleration.T], axis=1)
    return np.linalg.norm(sums / np.bincount(block)[:, None], axis=1)


def acceleration_unit(time, acceleration, said, where):
    """Unit of acceleration from gravity in it.

    Raises
    ------
    RecordingError
        If there is no gravity in it, it fits no unit, or it contradicts what is said.
    """
    lengths = steady(time, acceleration)
    gravity = float(np.median(lengths))
    looks = None
    for unit, (low, high) in (
        ("m/s^2", GRAVITY_IN_SI),
        ("g", GRAVITY_IN_G),
        ("mg", (1000 * GRAVITY_IN_G[0], 1000 * GRAVITY_IN_G[1])),
    ):
        # Most stretches, not only the middle one: drift left over where gravity was removed is not steady.
        if low <= gravity <= high and np.mean((lengths > 0.9 * low) & (lengths < 1.1 * high)) >= 0.6:
            looks = unit
    fact = f"the steady part of the acceleration is {gravity:.3g}"
    if looks is None or (said and said != looks):
        claim = f"acceleration is said to be in {said}, but " if said else ""
        removed = gravity * FACTORS["acceleration"][said or "m/s^2"] < 0.8 or (not said and gravity < 0.8)
        if looks:
            why = f"which looks like {looks}. Correct the header, or give the unit"
        elif removed:
            why = (
                "so gravity seems to have been removed. Export the raw acceleration (apps call it 'accelerometer' or "
                "'with g', not 'linear acceleration')"
            )
        else:
            why = "and gravity is 9.81 m/s^2 or 1 g. Check the unit"
        raise RecordingError(f"{where}: {claim}{fact}, {why}.")
    if said:
        return Finding("acceleration", said, f"{STATED}, and {fact}", 1.0)
    return Finding("acceleration", looks, f"{fact}; gravity is 9.81 m/s^2 or 1 g", 0.97)


def follow_gravity(time, acceleration, rotation):
    """How well the gyroscope explains the turning of gravity.

    Parameters
    ----------
    time : (T,) array, s, without a gap.
    acceleration, rotation : (T, 3) arrays, any unit.

    Returns
    -------
    scale : float
        What the rotation must be multiplied by to be in rad/s: near 1 or near pi / 180.
    agreement : float
        Correlation of what is predicted with what is seen, -1 to 1. Below 0.5 the scale means nothing.
    turned : float
        How far gravity moved in the device's frame, rad.

    References
    ----------
    Mahony, Hamel and Pflimlin, IEEE Transactions on Automatic Control 53, 2008 (kinematics of the vertical).
    """
    rate = (len(time) - 1) / (time[-1] - time[0])
    low_pass = dsp.butter(2, 1.0, fs=rate, output="sos")  # Hz; turning, without the steps
    gravity, turning = (dsp.sosfiltfilt(low_pass, values, axis=0) for values in (acceleration, rotation))
    up = gravity / np.maximum(np.linalg.norm(gravity, axis=1, keepdims=True), 1e-9)
    seen, predicted = np.gradient(up, 1 / rate, axis=0), -np.cross(turning, up)
    both, own = (seen * predicted).sum(), (predicted * predicted).sum()
    size = np.sqrt(own * (seen * seen).sum())
    turned = float(np.linalg.norm(np.ptp(up, axis=0)))
    return (both / own, both / size, turned) if size > 1e-12 else (np.nan, 0.0, turned)


def rotation_unit(time, acceleration, rotation, said, where):
    """Unit of rotation, from physics first and from its size second.

    Parameters
    ----------
    time : (T,) array, s.
    acceleration : (T, 3) array, m/s^2 with gravity.
    rotation : (T, 3) array, rad/s or deg/s.
    said : str or None

    Raises
    ------
    RecordingError
        If no sensor turns that fast, or the numbers contradict what is said.
    """
    fastest = float(np.abs(rotation).max())
    if fastest * FACTORS["rotation"][said or "deg/s"] > LARGEST_ROTATION:
        looks = "; it looks like deg/s" if fastest * DEGREE <= LARGEST_ROTATION else ""
        raise RecordingError(
            f"{where}: rotation reaches {fastest:.4g} {said or 'deg/s'}, and no phone measures more than 35 rad/s "
            f"(2000 deg/s){looks}. Correct the header, or give the unit."
        )
    gaps = find_gaps(time)
    bounds = [0, *(gaps + 1).tolist(), len(time)]
    start, stop = max(itertools.pairwise(bounds), key=lambda piece: piece[1] - piece[0])
    time, acceleration, rotation = time[start:stop], acceleration[start:stop], rotation[start:stop]
    scale, agreement, turned = follow_gravity(time, acceleration, rotation)
    high_pass = dsp.butter(2, 0.3, "high", fs=(len(time) - 1) / (time[-1] - time[0]), output="sos")
    body = dsp.sosfiltfilt(high_pass, acceleration, axis=0)
    ratio = np.sqrt(rotation.var(axis=0).sum() / max(body.var(axis=0).sum(), 1e-12)) / USUAL_RATIO
    by_size = "rad/s" if ratio < MIDWAY else "deg/s"
    size_fact = f"its size beside the acceleration looks like {by_size}"
    by_physics = None
    if agreement > 0.5 and turned > LEAST_TURN:
        by_physics = "rad/s" if scale > 1 / MIDWAY else "deg/s"
    physics_fact = f"gravity turns in the device as {by_physics} would turn it (correlation {agreement:.2f})"
    if said:
        # Only a clear turn may contradict what somebody wrote, since over a few seconds noise correlates with noise:
        # Fisher's z of the correlation, with two independent values per second (1 Hz wide), beyond 4.5 sigma.
        clear = np.arctanh(min(agreement, 0.999)) * np.sqrt(2 * (time[-1] - time[0])) > 4.5
        if by_physics and by_physics != said and clear and turned > 4 * LEAST_TURN:
            raise RecordingError(
                f"{where}: rotation is said to be in {said}, but {physics_fact}. Correct the header, or give the unit."
            )
        return Finding("rotation", said, f"{STATED}{f'; {physics_fact}' if by_physics == said else ''}", 1.0)
    if fastest > LARGEST_ROTATION:
        return Finding("rotation", "deg/s", f"{fastest:.4g} rad/s is more than a phone can measure", 0.99)
    # How far the size is from undecided, 0 to 1: a factor of 2.5 is clear.
    clear = min(1.0, abs(np.log(ratio / MIDWAY)) / np.log(2.5)) if ratio > 0 else 0.0
    if by_physics is None:
        return Finding("rotation", by_size, size_fact, round(0.5 + 0.42 * clear, 2))
    if by_physics == by_size:
        return Finding("rotation", by_physics, f"{physics_fact}; {size_fact}", 0.99)
    return Finding("rotation", by_physics, f"{physics_fact}, although {size_fact}", round(0.9 - 0.3 * clear, 2))

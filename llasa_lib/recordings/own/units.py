"""Which unit a column is in: what the header says, checked against what the numbers say.

- Time: a motion sensor takes 20 to 2000 samples per second, so the usual step tells s, ms, us and ns apart.
- Acceleration: its usual length is about 1 g, and its mean over two seconds keeps that, since steps cancel out; without
  gravity the mean is next to nothing.
- Rotation, the hard one: when a device turns, gravity turns in its frame by ``du/dt = -w x u``, in rad/s and in no
  other unit. Where nothing tilts, movement still rotates and accelerates in proportion (0.14 to 0.91 rad/s per m/s^2
  in 600 stretches of UCI-HAPT), and degrees are 57 times that.
- One check for all of them: what lies still feels 1 g and does not turn, and gravity turns as fast as the gyroscope
  says. Raw counts, revolutions and a line number taken for time all fail it.
- The header wins; a header that contradicts the numbers is refused with both facts.
"""

from typing import NamedTuple

import numpy as np
import scipy

from llasa_lib.errors import RecordingError
from llasa_lib.recordings.recording import STANDARD_GRAVITY, stretches

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
    "m/s^2": "m/s2 m/s² m/s/s ms^-2 ms-2 ms⁻² mps2 ms2",
    "g": "g g's gs gforce g-force",
    "mg": "milli-g",
    "rad/s": "rads^-1 rads-1 rad/sec rads rps radians/s r",
    "deg/s": "°/s º/s dps degs degrees/s degree/s deg/sec degreess °s^-1",
}
LARGEST_ROTATION = 40.0  # rad/s; phones and watches stop at 2000 deg/s = 34.9 rad/s
LARGEST_ACCELERATION = 400.0  # m/s^2; phones stop at 16 g = 157 m/s^2, watches at 32 g
AT_REST = 0.01  # of its length: acceleration varies less over a second
REST_IS_1G = 0.1  # how far from 1 g a cheap sensor may be at rest
STEADIEST = 1.5 * STANDARD_GRAVITY  # m/s^2; a limb that swings adds to gravity, but not for seconds
LARGEST_BIAS = 0.2  # rad/s, 11 degrees/s
TURNS = (0.2, 2.0, 3.5)  # gravity's turning beside the gyroscope's: 0.27 to 1.7 on people; the last where it is unclear
GRAVITY = (5.0, 25.0)  # m/s^2; the usual length of an acceleration with gravity, from swinging arms to hard running
LEAST_STEADY = {"stated": 0.35, "guessed": 0.6}
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
    raise RecordingError(
        f"{where}: {unit[:60]!r} is no unit of {quantity} that is known here; use {' or '.join(known)}."
    )


def quantity(unit):
    """ "acceleration" or "rotation", whichever a unit is of; ``None`` if neither."""
    for name in ("acceleration", "rotation"):
        try:
            canonical(name, unit, "")
        except RecordingError:
            continue
        return name
    return None


def time_unit(step, said, where):
    """Unit of time from the usual step between two stamps."""
    # More than 1 and less than 1000 per second: what counts 0, 1, 2 ... is seconds or a line number, not milliseconds.
    looks = next((unit for limit, unit in ((1.0, "s"), (1e3, "ms"), (1e6, "us")) if step <= limit), "ns")
    if said is None:
        return Finding("time", looks, f"the usual step is {step:.4g}", 0.95)
    seconds = step * FACTORS["time"][said]
    if not 1e-4 < seconds < 10:
        raise RecordingError(
            f"{where}: time is said to be in {said}, but its usual step is {step:.4g}, which looks like {looks}. "
            f"Correct the header, or give the unit."
        )
    return Finding("time", said, STATED, 1.0)


def steadiness(time, acceleration):
    """How much of the acceleration is steady: its mean over two seconds, beside its usual length.

    Returns
    -------
    size : float
        Median length. The length does not change when the device turns, so it is about 1 g whatever the body does.
    share : float
        Median length of the means over two seconds, divided by ``size``. Steps cancel out: near 1 with gravity, a few
        per cent without; 0.5 where an arm swings.
    """
    block = np.unique(((time - time[0]) // 2.0).astype(int), return_inverse=True)[1]
    sums = np.stack([np.bincount(block, weights=axis) for axis in acceleration.T], axis=1)
    means = np.linalg.norm(sums / np.bincount(block)[:, None], axis=1)
    size = float(np.median(np.linalg.norm(acceleration, axis=1)))
    return size, float(np.median(means)) / max(size, 1e-12)


def acceleration_unit(time, acceleration, said, where):
    """Unit of acceleration from gravity in it.

    Raises
    ------
    RecordingError
        If there is no gravity in it, it fits no unit, or it contradicts what is said.
    """
    check_possible(acceleration, said, where)
    size, share = steadiness(time, acceleration)
    low, high = GRAVITY
    looks = next((u for u, factor in FACTORS["acceleration"].items() if low <= size * factor <= high), None)
    claim = f"acceleration is said to be in {said}, but its" if said else "the acceleration's"
    claim = f"{where}: {claim} usual length is {size:.3g}"
    # Drift that is left where gravity was removed may look like an arm swinging in g, so a guess of g asks for more.
    least = LEAST_STEADY["stated" if said or looks == "m/s^2" else "guessed"]
    if share < least or size * FACTORS["acceleration"][said or looks or "m/s^2"] < 0.5:
        raise RecordingError(
            f"{claim} and its steady part {size * share:.2g}, so gravity seems to have been removed. Export the raw "
            f"acceleration ('accelerometer' or 'with g', not 'linear acceleration'); if it is raw, give its unit."
        )
    if looks is None:
        raise RecordingError(f"{claim}, and gravity is 9.81 m/s^2 or 1 g. Check the unit.")
    if said and said != looks:
        raise RecordingError(f"{claim}, which looks like {looks}. Correct the header, or give the unit.")
    check_possible(acceleration, looks, where)
    factor, fact = FACTORS["acceleration"][looks], f"its usual length is {size:.3g}"
    rest = at_rest(time, acceleration)
    if rest.any():
        felt = float(np.median(np.linalg.norm(acceleration[rest], axis=1))) * factor
        if abs(felt / STANDARD_GRAVITY - 1) > REST_IS_1G:
            raise RecordingError(
                f"{claim}, so it would feel {felt:.3g} m/s^2 while it lies still, not 9.81. These may be "
                f"raw counts of the sensor: divide them by its counts per g."
            )
    elif size * share * factor > STEADIEST:
        fact = f"its steady part is {size * share:.3g}; raw counts of a sensor look like that"
        return Finding("acceleration", looks, fact, 0.5)
    if said:
        return Finding("acceleration", said, f"{STATED}, and {fact}", 1.0)
    return Finding("acceleration", looks, f"{fact}, and gravity is 9.81 m/s^2 or 1 g", 0.97)


def check_possible(acceleration, unit, where):
    """Refuse what no sensor of a phone or a watch measures: in its unit, or in any if that is None.

    Raises
    ------
    RecordingError
    """
    largest = float(np.abs(acceleration).max())
    if largest * FACTORS["acceleration"][unit or "mg"] > LARGEST_ACCELERATION:
        reached = f"{largest:.4g} {unit}" if unit else f"{largest:.4g}"
        raise RecordingError(
            f"{where}: acceleration reaches {reached}, and no phone or watch measures more than 314 m/s^2 (32 g). "
            f"Correct the line, or check the unit."
        )


def at_rest(time, acceleration):
    """(T,) of bool: the seconds in which the device lies still; any unit."""
    block = np.unique((time - time[0]).astype(int), return_inverse=True)[1]
    count = np.bincount(block)
    means = np.stack([np.bincount(block, weights=axis) / count for axis in acceleration.T], axis=1)
    size = np.linalg.norm(means, axis=1)
    spread = np.bincount(block, weights=((acceleration - means[block]) ** 2).sum(axis=1)) / count
    return ((np.sqrt(spread) < AT_REST * size) & (count >= 10))[block]


def unevenness(values):
    """How much the length of (T, 3) vectors varies, beside that length: next to nothing for gravity alone."""
    size = np.linalg.norm(values, axis=1)
    return float(size.std() / max(size.mean(), 1e-12))


def holds_gravity(acceleration, unit, gravity, unit_of_gravity):
    """Whether an acceleration holds the gravity that was measured beside it: then it goes along with it, one to one.

    Parameters
    ----------
    acceleration, gravity : (T, 3) arrays, at the same times.
    unit, unit_of_gravity : str or None, where the file states them.
    """
    both, own = (acceleration * gravity).sum(), max((gravity * gravity).sum(), 1e-12)
    along = abs(both) / own
    if unit and unit_of_gravity:
        return along * FACTORS["acceleration"][unit] / FACTORS["acceleration"][unit_of_gravity] > 0.5
    alike = abs(both) / np.sqrt(own * max((acceleration * acceleration).sum(), 1e-12))
    # Not stated: one in g beside the other in m/s^2 would go along with it to a tenth, and closely.
    return along > 0.5 or (alike > 0.6 and abs(along * STANDARD_GRAVITY - 1) < 0.25)


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
    low_pass = scipy.signal.butter(2, 1.0, fs=rate, output="sos")  # Hz; turning, without the steps
    gravity, turning = (scipy.signal.sosfiltfilt(low_pass, values, axis=0) for values in (acceleration, rotation))
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
    longest = max(stretches(time), key=lambda piece: piece.stop - piece.start)
    time, acceleration, rotation = time[longest], acceleration[longest], rotation[longest]
    scale, agreement, turned = follow_gravity(time, acceleration, rotation)
    # Over a few seconds noise correlates with noise. Clear: Fisher's z of the correlation, with two independent values
    # per second (1 Hz wide), beyond 4.5 sigma, and a turn of more than 12 degrees.
    sigma = np.arctanh(np.clip(agreement, 0, 0.999)) * np.sqrt(2 * (time[-1] - time[0]))
    clear = sigma > 4.5 and turned > 4 * LEAST_TURN
    physics = (scale, agreement, clear) if agreement > 0.5 and turned > LEAST_TURN else None
    found = _by_physics_or_size(time, acceleration, rotation, said, where, physics)
    factor = FACTORS["rotation"][found.value]
    rest = at_rest(time, acceleration)
    bias = float(np.linalg.norm(rotation[rest].mean(axis=0))) * factor if rest.any() else 0.0
    slow, fast, unclear = TURNS
    doubt = None
    if bias > LARGEST_BIAS:
        doubt = f"it turns by {bias:.2g} rad/s while it lies still, as raw counts of a sensor would"
    elif not said and np.ptp(rotation) > 2 and (rotation == np.round(rotation)).all():
        doubt = "all of it is whole numbers, as raw counts of a sensor are"
    elif physics and turned > 4 * LEAST_TURN and not slow < scale / factor < (fast if clear else unclear):
        doubt = (
            f"gravity turns {scale / factor:.2g} times as fast as it says (correlation {agreement:.2f}), so its unit "
            f"or the clock is wrong"
        )
    return Finding("rotation", found.value, doubt, 0.5) if doubt else found


def _by_physics_or_size(time, acceleration, rotation, said, where, physics):
    """The unit of rotation; ``physics`` is scale, agreement, and whether both are clear, or None."""
    fastest = float(np.abs(rotation).max())
    high_pass = scipy.signal.butter(2, 0.3, "high", fs=(len(time) - 1) / (time[-1] - time[0]), output="sos")
    body = scipy.signal.sosfiltfilt(high_pass, acceleration, axis=0)
    ratio = np.sqrt(rotation.var(axis=0).sum() / max(body.var(axis=0).sum(), 1e-12)) / USUAL_RATIO
    by_size = "rad/s" if ratio < MIDWAY else "deg/s"
    size_fact = f"its size beside the acceleration looks like {by_size}"
    by_physics = None
    if physics:
        scale, agreement, sure = physics
        by_physics = "rad/s" if scale > 1 / MIDWAY else "deg/s"
        physics_fact = f"gravity turns in the device as {by_physics} would turn it (correlation {agreement:.2f})"
    if said:
        # Only a clear turn may contradict what somebody wrote.
        if by_physics and by_physics == by_size != said and sure:
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
    return Finding("rotation", by_size, f"{size_fact}, although {physics_fact}", 0.6)

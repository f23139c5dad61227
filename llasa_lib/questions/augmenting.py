"""Copies of training windows as other people, buildings and places would have given them, with texts of their own.

- ``mirrored``: a building whose stairs wind the other way, a phone at another place of the belt.
- ``alone``: a window without its recording. Nobody can say how a still phone is worn: "keeping still".
- ``pocket``: a phone at the thigh, told so. Upright it means standing, level it means sitting.
- ``limb``: a sensor at the wrist, told so. No posture can be known of it.

Movement is also done faster or slower, harder or softer, with a sensor that sits tighter or looser: alike for all
windows of a person, because a person has one sensor.
"""

import numpy as np
import scipy

from llasa_lib import signals
from llasa_lib.signals.gravity import gravity_direction, rotate, split_gravity

STILL = "keeping still"
"""What is true of a still window whose posture cannot be known."""

POSTURES = ("sitting", "standing", "lying")
UPRIGHT, LEVEL = (0.0, 30.0), (45.0, 110.0)  # degrees between thigh and vertical: standing, sitting


def augmented(corpus, copies, seed=0):
    """Yield the columns of each copy of a corpus, without its texts: see :func:`add_augmented`."""
    for number, name in enumerate(copies):
        rng = np.random.default_rng((seed, number))
        kept = {column: corpus[column][:] for column in (*signals.window_features(), "session", "told")}
        imu = _as_somebody_else(signals.to_array(corpus).astype(np.float64), kept["session"], rng)
        kept["imu"] = COPIES[name](imu, kept, rng).astype(np.float32)
        yield kept


def _mirrored(imu, columns, rng):
    axis = signals.upright_axis(imu)
    turned = _each_session(imu, columns, lambda part: signals.turn_about(part, axis, rng.uniform(-90, 90)))
    return signals.mirror(turned, signals.level_axis(imu))


def _alone(imu, columns, rng):
    columns["session"] = [""] * len(imu)
    columns["told"] = rng.choice(["", "waist", "trouser pocket", "wrist"], len(imu), p=[0.7, 0.1, 0.1, 0.1]).tolist()
    _call_still(columns)
    return signals.turn_randomly(imu, rng)


def _pocket(imu, columns, rng):
    """Still windows are leaned as a thigh leans, against the gravity that the phone felt while the person walked.

    Which of them is to stand is drawn: how much a waist sways while its owner sits says nothing about a thigh.
    """
    columns["told"], activities = ["trouser pocket"] * len(imu), np.array(columns["activity"])
    still, stands = np.isin(activities, POSTURES), rng.random(len(imu)) < 0.5

    def lean(part, rows):
        moving, quiet = rows[~still[rows]], rows[still[rows]]
        if len(moving) and len(quiet):
            up = _direction(gravity_direction(imu[moving, :, :3]).mean(axis=0))
            low, high = np.where(stands[quiet][:, None], UPRIGHT, LEVEL).T
            aims = _leaning(up, np.radians(rng.uniform(low, high)), rng)
            own = gravity_direction(imu[quiet, :, :3])
            part[still[rows]] = rotate(imu[quiet], _between(own, aims))
        return rotate(part, signals.augmentation.random_turns(1, rng)[0])

    columns["activity"] = np.where(still, np.where(stands, "standing", "sitting"), activities).tolist()
    return _each_session(imu, columns, lean, rows=True)


def _limb(imu, columns, rng):
    columns["told"] = ["wrist"] * len(imu)
    turned = _each_session(imu, columns, lambda part: rotate(part, signals.augmentation.random_turns(1, rng)[0]))
    still = np.isin(columns["activity"], POSTURES)
    turned[still] = signals.turn_randomly(turned[still], rng)
    _call_still(columns)
    return turned


COPIES = {"mirrored": _mirrored, "alone": _alone, "pocket": _pocket, "limb": _limb}


def _call_still(columns):
    columns["activity"] = [STILL if activity in POSTURES else activity for activity in columns["activity"]]


def _each_session(imu, columns, change, rows=False):
    changed, labels = imu.copy(), np.array(columns["session"])
    for label in np.unique(labels):
        chosen = np.flatnonzero(labels == label)
        changed[chosen] = change(imu[chosen].copy(), chosen) if rows else change(imu[chosen])
    return changed


def _as_somebody_else(imu, sessions, rng):
    """Movement (not gravity) a tenth faster or slower, a quarter stronger or weaker; tipping up to twice as far."""
    steps, changed = imu.shape[1], imu.copy()
    for label in np.unique(sessions):
        rows = np.flatnonzero(np.array(sessions) == label)
        gravity, body = split_gravity(imu[rows, :, :3], signals.RATE)
        gain, tip = rng.uniform(0.8, 1.25), 2 ** rng.uniform(-0.5, 1.0)
        part = np.concatenate([gravity + gain * body, tip * imu[rows, :, 3:]], axis=2)
        speed = rng.uniform(0.9, 1.1)
        # Past the end, the window goes on backwards: nothing jumps there.
        places = np.arange(steps) * speed
        places = np.where(places > steps - 1, 2 * (steps - 1) - places, places)
        part = scipy.interpolate.make_interp_spline(np.arange(steps), part, axis=1)(places)
        part[..., 3:] *= speed
        changed[rows] = part
    return changed


def _direction(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def _leaning(up, angles, rng):
    """Directions (N, 3) at given angles from ``up`` (3,), to any side."""
    aside = rng.standard_normal((len(angles), 3))
    aside = _direction(aside - (aside @ up)[:, None] * up)
    return np.cos(angles)[:, None] * up + np.sin(angles)[:, None] * aside


def _between(ones, others):
    """The shortest turns (N, 3, 3) from unit vectors to others."""
    axis = np.cross(ones, others)
    angle = np.arctan2(np.linalg.norm(axis, axis=1), (ones * others).sum(axis=1))
    axis = axis / np.maximum(np.linalg.norm(axis, axis=1, keepdims=True), 1e-12)
    return scipy.spatial.transform.Rotation.from_rotvec(axis * angle[:, None]).as_matrix()

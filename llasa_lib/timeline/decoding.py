"""From what windows say to what somebody did, half second by half second: a small hidden Markov model.

A window lasts six seconds, a boundary does not. So the chain runs over ticks of half a second, and hears two witnesses:
the windows that cover a tick say which activity, the signal itself says whether the person moves, rests, or turns from
one posture into another.

- :func:`evidence`: windows and signal -> log-likelihood of each state at each tick.
- :func:`best_path` (Viterbi) and :func:`posterior` (forward-backward): one step per tick, whatever the length.
"""

from typing import NamedTuple

import numpy as np

from llasa_lib.signals import LENGTH

TICK = 10  # samples of 20 Hz: half a second
COVERED = LENGTH // TICK  # ticks that a window covers
UNKNOWN = "unlike anything taught"
CHANGING = "change of posture"
UPRIGHT = ("standing", "keeping still")  # how somebody is who has just walked
STILL = (*UPRIGHT, "sitting", "lying")
ON_FOOT = ("walking", "climbing stairs", "descending stairs", "jogging")

# All from HAPT's training people: 99 % of their ticks on foot spread more than 1.2 m/s^2, 95 % of their still ones less
# than 0.3, and between two postures gravity turns by more than 10 degrees.
_MOVING = (0.8, 1.5)  # m/s^2, spread of |a|: between the two lies what is too little for this person's steps
_SHARE = 0.6  # of the usual spread of somebody's steps: less is turning round, or stopping
_RESTLESS = 0.15  # m/s^2 likewise, or rad/s of mean rotation
_TURNING = 12.0  # degrees between the gravity of 1.5 s before and after
_LIMIT = 2.0  # what one tick can say at most: it overlaps with its neighbours
_FLOOR = 0.02  # no window is surer than this
# Costs of leaving one state for another at a tick, in nats.
_STEP, _RARE, _NEVER = 3.0, 6.0, 12.0


class State(NamedTuple):
    """One state of the chain: what somebody does, and whether the sensor moves meanwhile."""

    activity: str
    moving: bool | None  # None: the posture changes


def states_of(names):
    """The states for a list of activities: what may be done moving and at rest, as biking, has two."""
    kinds = lambda name: (False,) if name in STILL else (True,) if name in ON_FOOT else (True, False)
    found = [State(name, moving) for name in (*names, UNKNOWN) for moving in kinds(name)]
    return [*found, State(CHANGING, None)]


def evidence(states, names, probabilities, known, first, acceleration, rotation):
    """Log-likelihood of each state at each tick of a piece without a gap.

    Parameters
    ----------
    states : list of S State
    names : list of K str
    probabilities : (N, K) array, of the windows in this piece
    known : (N,) array of bool
    first : (N,) array of int, the tick at which each window begins
    acceleration, rotation : (T, 3) arrays at 20 Hz, m/s^2 and rad/s

    Returns
    -------
    (ticks, S) array
    """
    spread, turning, angle = _features(acceleration, rotation)
    ticks = len(spread)
    limited = lambda value: np.clip(value, -_LIMIT, _LIMIT)
    busy = spread[spread > _MOVING[0]]
    moving = np.clip(_SHARE * np.median(busy), *_MOVING) if len(busy) else _MOVING[1]
    moves = limited(2.5 * np.log(spread / moving))
    restless = limited(1.5 * np.log(np.maximum(spread, turning) / _RESTLESS))
    changes = np.abs(moves) + np.minimum(restless, limited(2 * np.log(angle / _TURNING)))
    signal = {True: moves, False: -moves, None: changes}
    # What windows say; a window that is like nothing taught says little about the activities.
    said = np.where(known[:, None], np.column_stack([probabilities, np.zeros(len(known))]), 0.0)
    said[~known, -1] = 1.0
    said = np.log(np.maximum(said, _FLOOR))
    said[known, -1] += np.log(_FLOOR)  # nobody doubts what is merely hard to tell apart
    sums = np.zeros((ticks + COVERED + 1, said.shape[1]))
    np.add.at(sums, first, said)
    np.add.at(sums, first + COVERED, -said)
    windows = np.cumsum(sums, axis=0)[:ticks] / COVERED
    columns = {name: windows[:, k] for k, name in enumerate((*names, UNKNOWN))}
    columns[CHANGING] = np.log(0.5) / COVERED  # windows have no opinion about it
    return np.stack([columns[state.activity] + signal[state.moving] for state in states], axis=1)


def _features(acceleration, rotation):
    """Per tick: spread of |a| (m/s^2), mean rotation (rad/s), and how far gravity turns (degrees)."""
    mean, spread = _around(np.column_stack([np.linalg.norm(acceleration, axis=1), np.linalg.norm(rotation, axis=1)]))
    earlier, later = (_around(acceleration, shift)[0] for shift in (-2, 2))
    lengths = np.linalg.norm(earlier, axis=1) * np.linalg.norm(later, axis=1)
    cosine = (earlier * later).sum(axis=1) / np.maximum(lengths, 1e-9)
    angle = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
    return spread[:, 0], np.maximum(mean[:, 1], 1e-3), np.maximum(angle, 0.1)


def _around(values, shift=0):
    """Mean and standard deviation over 1.5 s around each tick, or ``shift`` ticks from it: two (ticks, C) arrays."""
    starts = np.arange(0, len(values), TICK)
    sums = [np.add.reduceat(part, starts) for part in (values, values**2)]
    counts = np.diff([*starts, len(values)])[:, None]  # the last tick may be short
    total = np.cumsum(np.column_stack([*sums, counts]), axis=0)
    total = np.concatenate([np.zeros((1, total.shape[1])), total])
    low = np.clip(np.arange(len(starts)) + shift - 1, 0, len(starts) - 1)
    high = np.clip(np.arange(len(starts)) + shift + 2, low + 1, len(starts))
    around = total[high] - total[low]
    mean, square = np.split(around[:, :-1] / around[:, -1:], 2, axis=1)
    return mean, np.sqrt(np.maximum(square - mean**2, 1e-6))


def refine(path, states, acceleration, rotation):
    """Move each boundary between two movements to where the signal changes, by three seconds at most.

    Walking and stairs are as restless as each other, so only windows tell them apart, and these are long. What the two
    bouts are like is taken from their insides: gravity, and the spread of every channel.

    Parameters
    ----------
    path : (T,) array of int
    states : list of State
    acceleration, rotation : arrays at 20 Hz

    Returns
    -------
    (T,) array of int
    """
    path, half = path.copy(), COVERED // 2
    moving = np.array([state.moving is True for state in states])
    bounds = [n for n in np.flatnonzero(np.diff(path)) + 1 if moving[path[n - 1]] and moving[path[n]]]
    if not bounds:
        return path
    mean, spread = _around(np.column_stack([acceleration, rotation]))
    table = np.column_stack([mean[:, :3], np.log(spread)])
    for n in bounds:
        sides = slice(max(n - 10 * half, 0), n), slice(n, n + 10 * half)
        length = [np.argmax(np.append(run != run[0], True)) for run in (path[sides[0]][::-1], path[sides[1]])]
        inside = [table[n - length[0] : max(n - half, 0)], table[n + half : n + length[1]]]
        if min(map(len, inside)) < 3:
            continue
        scale = np.sqrt(sum(part.var(axis=0) for part in inside) / 2) + 1e-3
        far = [(((table[n - half : n + half] - part.mean(axis=0)) / scale) ** 2).sum(axis=1) for part in inside]
        cut = n - half + np.argmin(np.cumsum([0, *(far[0] - far[1])]))
        path[n - half : cut], path[cut : n + half] = path[n - 1], path[n]
    return path


def changes_of(states):
    """(S, S) log-probabilities of going from one state to another within half a second."""

    def cost(one, other):
        if one == other:
            return 0.0
        if None in (one.moving, other.moving):  # a posture changes, or has changed
            return _STEP
        if one.moving == other.moving:  # from posture to posture only by a change
            return _STEP if one.moving or UNKNOWN in (one.activity, other.activity) else _NEVER
        still = other if one.moving else one
        return _RARE if still.activity in STILL and still.activity not in UPRIGHT else _STEP

    table = -np.array([[cost(one, other) for other in states] for one in states])
    return table - np.logaddexp.reduce(table, axis=1, keepdims=True)


def best_path(likelihoods, changes):
    """Viterbi: the likeliest sequence of states, (T,) array of int.

    Parameters
    ----------
    likelihoods : (T, S) array, logarithms
    changes : (S, S) array, logarithms; from row to column
    """
    back = np.zeros(likelihoods.shape, dtype=np.int16)
    score = likelihoods[0]
    every = np.arange(len(score))
    for n in range(1, len(likelihoods)):
        table = score[:, None] + changes
        back[n] = table.argmax(axis=0)
        score = table[back[n], every] + likelihoods[n]
    path = np.empty(len(likelihoods), dtype=np.int64)
    path[-1] = score.argmax()
    for n in range(len(path) - 1, 0, -1):
        path[n - 1] = back[n, path[n]]
    return path


def posterior(likelihoods, changes):
    """Forward-backward: the probability of each state at each tick, (T, S); see :func:`best_path`."""
    weights = np.exp(likelihoods - likelihoods.max(axis=1, keepdims=True))
    step = np.exp(changes)
    forward = np.empty_like(weights)
    row = np.full(weights.shape[1], 1.0)
    for n, weight in enumerate(weights):
        row = (row @ step if n else row) * weight
        row /= row.sum()
        forward[n] = row
    row = np.full(weights.shape[1], 1.0)
    for n in range(len(weights) - 2, -1, -1):
        row = step @ (row * weights[n + 1])
        row /= row.sum()
        forward[n] *= row
    return forward / forward.sum(axis=1, keepdims=True)

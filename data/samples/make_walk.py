"""Make ``walk.csv``: half a minute of walking that nobody walked.

Not a recording of a person: a handful of sines at the step and stride frequency, gravity seen by a slightly
tilted phone at the waist, noise, and the uneven time stamps of a real phone. Run it to make the file again::

    python data/samples/make_walk.py
"""

from pathlib import Path

import numpy as np

SECONDS, RATE, STEP = 30.0, 50.0, 1.85  # s, Hz, steps per second
HEADER = "time (s),acc_x (m/s^2),acc_y (m/s^2),acc_z (m/s^2),gyro_x (rad/s),gyro_y (rad/s),gyro_z (rad/s)"
# Per axis: (multiple of the step frequency, amplitude, phase). Halves are the stride: left and right differ.
ACCELERATION = {
    "up": [(1, 2.4, 0.0), (2, 1.1, 0.9), (3, 0.5, 2.0), (0.5, 0.3, 0.4)],
    "sideways": [(0.5, 1.0, 0.3), (1, 0.6, 1.2), (1.5, 0.7, 2.2), (2.5, 0.4, 0.1)],
    "forward": [(1, 1.3, 1.6), (2, 0.8, 2.8), (3, 0.4, 0.5), (0.5, 0.3, 1.0)],
}
ROTATION = {
    "yaw": [(0.5, 0.45, 0.2), (1, 0.15, 0.9), (1.5, 0.15, 2.0)],
    "pitch": [(1, 0.30, 0.6), (2, 0.20, 1.9), (0.5, 0.12, 0.7)],
    "roll": [(0.5, 0.28, 1.1), (1, 0.12, 0.4), (1.5, 0.10, 2.6)],
}
NOISE = {"acceleration": 0.35, "rotation": 0.06}  # m/s^2, rad/s


def walk(seed=6):
    """(T, 7) array: time (s), acceleration (m/s^2), rotation (rad/s)."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(SECONDS * RATE)) / RATE
    time[1:] += rng.normal(0, 0.0015, len(time) - 1).clip(-0.004, 0.004)
    # The pace wanders by a few per cent, as no walk is a metronome.
    phase = 2 * np.pi * STEP * (time + 0.08 * np.sin(2 * np.pi * time / 11) + 0.05 * np.sin(2 * np.pi * time / 4.3))

    def axis(parts, noise):
        waves = sum(size * np.sin(multiple * phase + shift) for multiple, size, shift in parts)
        return waves + rng.normal(0, noise, len(time))

    acceleration = np.stack([axis(parts, NOISE["acceleration"]) for parts in ACCELERATION.values()], axis=1)
    rotation = np.stack([axis(parts, NOISE["rotation"]) for parts in ROTATION.values()], axis=1)
    acceleration += 9.80665 * np.array([0.975, -0.13, -0.18])  # the x axis of the phone points up, a little tilted
    return np.column_stack([time, acceleration, rotation])


if __name__ == "__main__":
    target = Path(__file__).with_name("walk.csv")
    np.savetxt(target, walk(), delimiter=",", header=HEADER, comments="", fmt=["%.4f"] + ["%.4f"] * 6)

"""PAMAP2: nine people with three inertial units, at the wrist, the chest and the ankle, eighteen activities.

Notable features:

- The accelerometer of +-16 g is used: the one of +-6 g saturates in steps and jumps.
- Wireless samples were lost, unit by unit. They are left out and never filled, not even single ones: time has a
  step there, and what :func:`llasa_lib.recordings.find_gaps` calls a gap (more than 0.1 s, 9 lost samples) splits.
- Activities outside the project's vocabulary keep their own names, and are not cut into labelled windows.

NOTE: the readme gives no sign convention. The values are taken as an accelerometer feels them, away from the ground at
rest, which is what the magnitudes (9.8 m/s^2 along one axis of a still unit) allow but do not prove.

References
----------
Reiss and Stricker, Introducing a New Benchmarked Dataset for Activity Monitoring, ISWC 2012.
"""

import numpy as np

from llasa_lib.errors import DataError
from llasa_lib.recordings.archives import LARGEST_SET, Archive
from llasa_lib.recordings.recording import Recording, Segment
from llasa_lib.recordings.subjects import choose, subject_name
from llasa_lib.recordings.tables import AGAIN, find_member, read_table, runs

RATE = 100.0  # Hz
PEOPLE = range(101, 110)  # as the files are numbered
UNITS = {"hand": "wrist", "chest": "chest", "ankle": "ankle"}
MEASURED = (
    "temperature",
    *(f"{sensor} {axis}" for sensor in ("acc16", "acc6", "gyro", "magnetometer") for axis in "xyz"),
    *(f"orientation {number}" for number in range(4)),
)
COLUMNS = ["time", "activity", "heart rate", *(f"{unit} {name}" for unit in UNITS for name in MEASURED)]
TRANSIENT = 0  # between two activities: no segment
LABELS = {
    1: "lying",
    2: "sitting",
    3: "standing",
    4: "walking",
    5: "jogging",  # "running" in the readme
    6: "biking",  # "cycling"
    7: "nordic walking",
    9: "watching tv",
    10: "computer work",
    11: "car driving",
    12: "climbing stairs",  # "ascending stairs"
    13: "descending stairs",
    16: "vacuum cleaning",
    17: "ironing",
    18: "folding laundry",
    19: "house cleaning",
    20: "playing soccer",
    24: "rope jumping",
}


def read(path, subjects=None):
    """Read ``Protocol/subject10N.dat`` from the zip, or from the folder it was unpacked into.

    Parameters
    ----------
    path : path
    subjects : list of int or str, optional, such as ``[101, "pamap2-102"]``.

    Returns
    -------
    list of Recording
        Three per person: wrist, chest, ankle, on one clock.

    Raises
    ------
    DataError
        If a subject or an activity is unknown, a file is missing, or a table is damaged.
    """
    people = choose("pamap2", subjects, PEOPLE)
    with Archive(path, LARGEST_SET, AGAIN) as archive:
        return [recording for person in people for recording in _recordings(archive, person)]


def _recordings(archive, person):
    name = find_member(archive, f"Protocol/subject{person}.dat")
    where = f"{archive.path}, {name}"
    sensors = [f"{unit} {sensor} {axis}" for unit in UNITS for sensor in ("acc16", "gyro") for axis in "xyz"]
    values, _ = read_table(archive, name, ["time", "activity", *sensors], COLUMNS, separator=" ", missing=True)
    time, activity = values[:, 0], values[:, 1]
    _check_time(where, time)
    segments = _segments(where, time, activity)
    for unit, imu in zip(UNITS, np.hsplit(values[:, 2:], len(UNITS)), strict=True):
        whole = np.isfinite(imu).all(axis=1)
        if not whole.any():
            raise DataError(f"{where}: the unit at the {unit} has no complete sample. {AGAIN}")
        yield Recording(
            time=time[whole],
            acceleration=imu[whole, :3],
            rotation=imu[whole, 3:],
            subject=subject_name("pamap2", person),
            placement=UNITS[unit],
            device="Trivisio Colibri wireless",
            source="pamap2",
            segments=segments,
        )


def _check_time(where, time):
    # Not "<= 0": a missing time must not pass either.
    late = np.concatenate([np.isfinite(time[:1]), np.diff(time) > 0])
    if not late.all():
        line = int(np.argmin(late)) + 1
        raise DataError(f"{where}, line {line}, column 'time': time is missing or does not increase. {AGAIN}")


def _segments(where, time, activity):
    """The stretches of one activity. A segment ends where the next sample is, or would have been."""
    next_time = np.append(time[1:], np.inf)
    segments = []
    for number, first, stop in runs(activity):
        if number == TRANSIENT:
            continue
        if number not in LABELS:
            raise DataError(f"{where}, line {first + 1}: the activity {number:g} is not known. {AGAIN}")
        end = min(time[stop - 1] + 1 / RATE, next_time[stop - 1])
        segments.append(Segment(float(time[first]), float(end), LABELS[int(number)]))
    return tuple(segments)

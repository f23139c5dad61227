"""Shoaib et al.: ten people, each with five phones at once, seven activities.

Notable features:

- One person, five recordings that share a clock: the same steps, felt in both pockets, at the wrist, at the upper
  arm and at the belt.
- A file holds one activity after the other without the time between them. The clock jumps there by ``PAUSE``, so
  that later stages split and nothing is bridged.
- Android's signs and units: m/s^2, +9.81 upwards at rest, rad/s. Nothing to convert.

References
----------
Shoaib et al., Fusion of Smartphone Motion Sensors for Physical Activity Recognition, Sensors 2014.
"""

import numpy as np

from llasa_lib.errors import DataError
from llasa_lib.recordings.archives import LARGEST_SET, Archive
from llasa_lib.recordings.recording import Recording, Segment
from llasa_lib.recordings.subjects import choose, subject_name
from llasa_lib.recordings.tables import AGAIN, find_member, read_table, runs

RATE = 50.0  # Hz
PAUSE = 1.0  # s, between two activities; the files do not say how long it was
PEOPLE = range(1, 11)
PLACEMENTS = ("left pocket", "right pocket", "wrist", "upper arm", "belt")  # in the order of the columns
# Of every placement: acceleration with gravity (A), without (L), gyroscope (G), magnetometer (M), and an empty column,
# which in the last placement holds the label.
MEASURED = ("time", *(f"{sensor}{axis}" for sensor in "ALGM" for axis in "xyz"), "gap")
COLUMNS = [f"{placement} {name}" for placement in PLACEMENTS for name in MEASURED]
LABEL = COLUMNS[-1]
LABELS = {
    "walking": "walking",
    "upstairs": "climbing stairs",
    "upsatirs": "climbing stairs",  # as Participant_8.csv spells it
    "downstairs": "descending stairs",
    "sitting": "sitting",
    "standing": "standing",
    "jogging": "jogging",
    "biking": "biking",
}
HEADER = 2  # lines: the placements, and below them the columns


def read(path, subjects=None):
    """Read ``Participant_N.csv`` from the rar, or from the folder it was unpacked into.

    Parameters
    ----------
    path : path
    subjects : list of int or str, optional, such as ``[1, "shoaib-02"]``.

    Returns
    -------
    list of Recording
        Five per person, in the order of ``PLACEMENTS``. Samples with a missing value are left out.

    Raises
    ------
    DataError
        If a subject or a label is unknown, a file is missing, or a table is damaged.
    """
    people = choose("shoaib", subjects, PEOPLE)
    with Archive(path, LARGEST_SET, AGAIN) as archive:
        return [recording for person in people for recording in _recordings(archive, person)]


def _recordings(archive, person):
    name = find_member(archive, f"Participant_{person}.csv")
    sensors = [f"{placement} {sensor}{axis}" for placement in PLACEMENTS for sensor in "AG" for axis in "xyz"]
    values, labels = read_table(archive, name, sensors, COLUMNS, text=LABEL, header=HEADER, missing=True)
    time, segments = _clock(f"{archive.path}, {name}", labels)
    for placement, imu in zip(PLACEMENTS, np.hsplit(values, len(PLACEMENTS)), strict=True):
        whole = np.isfinite(imu).all(axis=1)
        yield Recording(
            time=time[whole],
            acceleration=imu[whole, :3],
            rotation=imu[whole, 3:],
            subject=subject_name("shoaib", person),
            placement=placement,
            device="Samsung Galaxy S II",
            source="shoaib",
            segments=segments,
        )


def _clock(where, labels):
    """Time stamps (s) with a pause before every change of label, and the segments between the pauses."""
    time = np.empty(len(labels))
    segments = []
    for index, (label, first, stop) in enumerate(runs(labels)):
        if label.lower() not in LABELS:
            raise DataError(f"{where}, line {first + 1 + HEADER}: the label {str(label)!r} is not known. {AGAIN}")
        start = first / RATE + index * PAUSE
        time[first:stop] = start + np.arange(stop - first) / RATE
        segments.append(Segment(start, start + (stop - first) / RATE, LABELS[label.lower()]))
    return time, tuple(segments)

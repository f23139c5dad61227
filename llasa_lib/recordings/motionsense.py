"""MotionSense: twenty-four people with an iPhone in the trouser pocket, six activities in fifteen trials.

Notable features:

- Core Motion splits what the sensor felt into ``gravity`` and ``userAcceleration``, both in g; their sum is put
  together again.
- Core Motion's signs are the opposite of everybody else's: an iPhone that lies on its back reads -1 g along z, and
  one that falls reads a user acceleration upwards. Its sum is *minus* what the accelerometer felt, so it is
  turned round here: at rest, every recording of this project points away from the ground. Rotation has the same
  signs on all phones and stays.

References
----------
Malekzadeh et al., Mobile Sensor Data Anonymization, IoTDI 2019.
"""

import numpy as np

from llasa_lib.recordings.archives import LARGEST_SET, Archive
from llasa_lib.recordings.recording import STANDARD_GRAVITY, Recording, Segment
from llasa_lib.recordings.subjects import choose, subject_name
from llasa_lib.recordings.tables import AGAIN, find_member, read_table

RATE = 50.0  # Hz
PEOPLE = range(1, 25)
TRIALS = {
    "descending stairs": ("dws_1", "dws_2", "dws_11"),
    "climbing stairs": ("ups_3", "ups_4", "ups_12"),
    "sitting": ("sit_5", "sit_13"),
    "standing": ("std_6", "std_14"),
    "walking": ("wlk_7", "wlk_8", "wlk_15"),
    "jogging": ("jog_9", "jog_16"),
}
COLUMNS = [f"{quantity}.{axis}" for quantity in ("gravity", "userAcceleration", "rotationRate") for axis in "xyz"]


def read(path, subjects=None):
    """Read ``A_DeviceMotion_data`` from its zip, or from the folder it was unpacked into.

    Parameters
    ----------
    path : path
    subjects : list of int or str, optional, such as ``[1, "motionsense-02"]``.

    Returns
    -------
    list of Recording
        One per person and trial: by person, then in the order of ``TRIALS``.

    Raises
    ------
    DataError
        If a subject is unknown, a trial is missing, or a table is damaged.
    """
    people = choose("motionsense", subjects, PEOPLE)
    trials = [(activity, trial) for activity, folders in TRIALS.items() for trial in folders]
    with Archive(path, LARGEST_SET, AGAIN) as archive:
        return [_recording(archive, person, trial, activity) for person in people for activity, trial in trials]


def _recording(archive, person, trial, activity):
    # With its folder: the repository keeps files of the same names in B_Accelerometer_data.
    name = find_member(archive, f"A_DeviceMotion_data/{trial}/sub_{person}.csv")
    values, _ = read_table(archive, name, COLUMNS, header=1)
    gravity, user_acceleration, rotation = np.hsplit(values, 3)
    return Recording(
        time=np.arange(len(values)) / RATE,
        acceleration=-(gravity + user_acceleration) * STANDARD_GRAVITY,
        rotation=rotation,
        subject=subject_name("motionsense", person),
        placement="trouser pocket",
        device="iPhone 6s",
        source="motionsense",
        segments=(Segment(0.0, len(values) / RATE, activity),),
    )

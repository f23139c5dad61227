"""Shoulder exercises: ten people, both arms, seven physiotherapy exercises with a smartwatch at the wrist.

Notable features:

- Comes inside the package seglearn as an object array, which is a pickle inside an npy file: after its sha256 it
  meets an unpickler that knows the four names a numpy array needs and refuses all others. seglearn never runs.
- An Apple Watch, so Core Motion's signs: an arm that hangs down reads +1 g along the axis that points to the hand.
  Turned round here, like MotionSense, so that at rest acceleration points away from the ground.
- None of the exercises is in the project's vocabulary: they keep their names, and are not cut into labelled windows.

References
----------
Burns et al., Shoulder physiotherapy exercise recognition, Physiological Measurement 2018.
"""

import pickle
from pathlib import Path

import numpy as np

from llasa_lib.errors import DataError, RecordingError
from llasa_lib.recordings.pickles import ARRAYS, AllowListUnpickler
from llasa_lib.recordings.recording import STANDARD_GRAVITY, Recording, Segment
from llasa_lib.recordings.subjects import choose, subject_name

RATE = 50.0  # Hz
FILE = "watch_dataset.npy"
CHANNELS = ["ax", "ay", "az", "wx", "wy", "wz"]  # g and rad/s
EXERCISES = {
    "PEN": "pendulum",
    "ABD": "abduction",
    "FEL": "forward elevation",
    "IR": "internal rotation",
    "ER": "external rotation",
    "TRAP": "lower trapezius row",
    "ROW": "bent-over row",
}
SIDES = ("left", "right")
PEOPLE = range(1, 11)
AGAIN = "Install it again: pip install --force-reinstall --no-deps seglearn"


def read(path, subjects=None):
    """Read ``watch_dataset.npy``.

    Parameters
    ----------
    path : path, the folder that holds it.
    subjects : list of int or str, optional, such as ``[1, "shoulder-02"]``.

    Returns
    -------
    list of Recording
        One per exercise and arm: by person, then in the order of the file.

    Raises
    ------
    DataError
        If a subject or an exercise is unknown, or the file is missing, damaged, or a pickle of something else.
    """
    path = Path(path) / FILE
    content = _unpickle(path)
    try:
        if content["X_labels"] != CHANNELS:
            raise DataError(f"{path} has the channels {content['X_labels']} instead of {CHANNELS}. {AGAIN}")
        names = [content["y_labels"][number] for number in content["y"]]
        rows = list(zip(content["subject"].tolist(), content["X"], names, content["side"], strict=True))
        people = choose("shoulder", subjects, PEOPLE)
        return [_recording(path, *row) for person in people for row in rows if row[0] == person]
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RecordingError) as error:
        raise DataError(f"{path} is not the set of shoulder exercises ({error!r}). {AGAIN}") from error


def _unpickle(path):
    try:
        with open(path, "rb") as file:
            if np.lib.format.read_magic(file) != (1, 0):
                raise ValueError("another version of npy")
            _, _, kind = np.lib.format.read_array_header_1_0(file)
            if not kind.hasobject:
                raise ValueError(f"an array of {kind}")
            return AllowListUnpickler(file, ARRAYS).load().item()
    except (pickle.UnpicklingError, OSError, EOFError, ValueError, IndexError, TypeError, AttributeError) as error:
        raise DataError(f"{path} cannot be read as an array of objects ({error}). {AGAIN}") from error


def _recording(path, person, imu, exercise, side):
    if exercise not in EXERCISES:
        raise DataError(f"{path}: the exercise {exercise!r} is not known. {AGAIN}")
    return Recording(
        time=np.arange(len(imu)) / RATE,
        acceleration=-imu[:, :3] * STANDARD_GRAVITY,
        rotation=imu[:, 3:],
        subject=subject_name("shoulder", person),
        placement="wrist",
        device=f"Apple Watch, {SIDES[int(side)]} arm",
        source="shoulder",
        segments=(Segment(0.0, len(imu) / RATE, EXERCISES[exercise]),),
    )

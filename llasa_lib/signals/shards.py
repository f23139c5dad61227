"""Windows of whole data sets, person by person and in several processes, on disk instead of in memory."""

import itertools
import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa

from llasa_lib import recordings
from llasa_lib.errors import RecordingError
from llasa_lib.files import atomic
from llasa_lib.signals.windows import LENGTH, RATE, make_windows, no_window, window_features, window_hashes


def make_shards(people, folder, rate=RATE, length=LENGTH, stride=None, labelled=True, processes=1):
    """Cut data sets that need not fit into memory: the windows of :func:`make_windows`, mapped from files.

    Parameters
    ----------
    people : dict of str to list of str
        Set -> its people, such as ``{"hapt": ["hapt-01"]}``; :func:`recordings.people` gives everybody.
    folder : path
        Gets one Arrow file per person. Those that are there already are not made again, so an interrupted call
        goes on where it stopped; take another folder when data or settings have changed.
    rate, length, stride, labelled
        As for :func:`make_windows`.
    processes : int
        Each takes a share of the people. The result does not depend on how many there are.

    Returns
    -------
    datasets.Dataset
        In the order of ``people``, with the columns of :func:`make_windows`. A window that several people or sets
        hold, sample by sample, is there once.

    Raises
    ------
    RecordingError
        If no window fits anywhere.
    DataError
        If a set cannot be read.

    Warns
    -----
    UserWarning
        If there are such windows.
    """
    from datasets import Dataset, concatenate_datasets
    from joblib import Parallel, delayed

    places = {person: Path(folder) / f"{person}.arrow" for everybody in people.values() for person in everybody}
    tasks = []
    for name, everybody in people.items():
        missing = [person for person in everybody if not places[person].exists()]
        # A set is opened once by each process, not once for each person.
        tasks += [(name, share.tolist()) for share in np.array_split(missing, processes) if len(share)]
    cut = delayed(_write)
    Parallel(n_jobs=min(processes, max(len(tasks), 1)))(
        cut(name, share, places, rate, length, stride, labelled) for name, share in tasks
    )
    shards = [shard for place in places.values() if len(shard := Dataset.from_file(str(place)))]
    if not shards:
        raise no_window(rate, length, labelled, f"the recordings of {', '.join(people)}")
    return _without_copies(concatenate_datasets(shards))


def _without_copies(windows):
    """Each window once. :func:`recordings.iterate` sees to that within a call, and here each person may be its own."""
    first, copies = {}, []
    for row, one in enumerate(_hashes(windows)):
        if first.setdefault(one, row) != row:
            copies.append(row)
    if not copies:
        return windows
    people = windows.select_columns("subject")
    like = sorted({people[row]["subject"] for row in copies})
    warnings.warn(
        f"{len(copies)} windows of {', '.join(like[:5])}{' and others' if len(like) > 5 else ''} hold the same samples "
        "as earlier ones, and are counted once.",
        stacklevel=3,
    )
    return windows.select(np.setdiff1d(np.arange(len(windows)), copies))


def _hashes(windows):
    for part in windows.select_columns("imu").with_format("numpy").iter(batch_size=2048):
        yield from window_hashes(part["imu"])


def _write(name, people, places, rate, length, stride, labelled):
    """The shards of some people of one set."""
    from datasets import Dataset

    missing = set(people)
    for person, theirs in itertools.groupby(recordings.iterate(name, people), key=lambda recording: recording.subject):
        try:
            windows = make_windows(theirs, rate, length, stride, labelled)
        except RecordingError:
            continue
        _save(windows, places[person])
        missing.remove(person)
    nothing = Dataset.from_dict({column: [] for column in window_features(length)}, features=window_features(length))
    for person in missing:
        _save(nothing, places[person])


def _save(windows, place):
    # Not save_to_disk, which makes a folder and a progress bar for each of a hundred people.
    table = windows.with_format("arrow")[:]
    with atomic(place) as temporary, pa.ipc.new_stream(str(temporary), table.schema) as writer:
        writer.write_table(table)

"""Windows of whole data sets, person by person and in several processes, on disk instead of in memory."""

import itertools
from pathlib import Path

import numpy as np
import pyarrow as pa

from llasa_lib import recordings
from llasa_lib.errors import RecordingError
from llasa_lib.files import atomic
from llasa_lib.signals.windows import LENGTH, RATE, make_windows, no_window, window_features


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
        In the order of ``people``, with the columns of :func:`make_windows`.

    Raises
    ------
    RecordingError
        If no window fits anywhere.
    DataError
        If a set cannot be read.
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
    return concatenate_datasets(shards)


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

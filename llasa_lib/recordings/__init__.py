"""Stage 1, first half: what a phone or a watch recorded, in SI units.

- :class:`Recording`: time, acceleration with gravity (m/s^2), rotation (rad/s), who, where, and labelled
  segments.
- One sign for all: at rest acceleration points away from the ground, +9.81 m/s^2 upwards, as Android reports it.
  Apple's Core Motion reports the opposite, and the readers of such sets turn it round.
- :func:`load`: a published data set as a list of recordings, checked by sha256; :func:`people`: who is in it.
- :func:`read`, :func:`inspect`: a reader's own recording, converted from what the app wrote, or refused in one clear
  sentence; ``inspect`` also tells how it was understood.
- :func:`write`: a recording as CSV, or as phyphox, Sensor Logger or Physics Toolbox would export it.
- ``sources``: the manifest - addresses, sizes, checksums, licences and citations of every data set.
"""

import hashlib
import warnings

from llasa_lib.errors import DataError
from llasa_lib.recordings import basicmotions, hapt, hhar, motionsense, pamap2, shoaib, shoulder, sources
from llasa_lib.recordings.own import inspect, read
from llasa_lib.recordings.subjects import subject_name
from llasa_lib.recordings.write import write

from .recording import ACTIVITIES, CHANNELS, STANDARD_GRAVITY, TRANSITIONS, Recording, Segment, find_gaps, stretches

# Set -> the module that reads it: `read(path, subjects)`, and `PEOPLE` or, if files must be asked, `people(path)`.
READERS = {
    reader.__name__.rpartition(".")[2]: reader
    for reader in (hapt, hhar, motionsense, shoaib, pamap2, basicmotions, shoulder)
}


def load(name, subjects=None):
    """Read a published data set.

    Parameters
    ----------
    name : str
        Name of the set: a key of ``READERS``, such as ``"hapt"``.
    subjects : list of int or str, optional
        Only these people: ``2`` and ``"hapt-02"`` name the same person. All of them by default.

    Returns
    -------
    list of Recording
        By person, then in the order of the set's own files. Activities that are not in ``ACTIVITIES`` keep the
        names that the set gives them.

    Raises
    ------
    DataError
        If the set has no reader, is not on this machine and cannot be downloaded, is not the published file,
        or does not know a subject.

    Warns
    -----
    UserWarning
        If recordings hold the same samples: only the first of them is given.

    Examples
    --------
    >>> walks = load("hapt", subjects=[2])  # doctest: +SKIP
    >>> walks[0].subject, walks[0].placement  # doctest: +SKIP
    ('hapt-02', 'waist')
    """
    return list(iterate(name, subjects))


def iterate(name, subjects=None):
    """As :func:`load`, one recording at a time where the reader of the set can do that.

    Yields
    ------
    Recording

    Warns
    -----
    UserWarning
        At the end, if recordings hold the same samples: only the first of them is given.
    """
    seen, twice = {}, []
    for number, recording in enumerate(_reader(name).read(sources.find(name), subjects), 1):
        digest = hashlib.blake2b(recording.imu.tobytes(), digest_size=16).digest()
        first = seen.setdefault(digest, number)
        if first == number:
            yield recording
        else:
            what = ", ".join(dict.fromkeys(segment.activity for segment in recording.segments))
            twice.append(f"{number} like {first} ({recording.subject}{', ' if what else ''}{what})")
    if twice:
        more = f" and {len(twice) - 5} more" if len(twice) > 5 else ""
        warnings.warn(
            f"{name}: recordings with the same samples are counted once: number {'; '.join(twice[:5])}{more}.",
            stacklevel=2,
        )


def people(name):
    """Everybody in a published data set, by the names that ``subject`` has: ``["hapt-01", ...]``.

    Raises
    ------
    DataError
        If the set has no reader; for HHAR also if it is not here, because its files are asked.
    """
    reader = _reader(name)
    keys = reader.people(sources.find(name)) if hasattr(reader, "people") else reader.PEOPLE
    return [subject_name(name, key) for key in keys]


def _reader(name):
    if name not in READERS:
        raise DataError(f"There is no reader for the data set {name!r}; this version reads: {', '.join(READERS)}.")
    return READERS[name]

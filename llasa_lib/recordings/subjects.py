"""Which people of a data set are meant: one rule for all readers."""

import re

from llasa_lib.errors import DataError


def choose(source, subjects, known):
    """Keys of the chosen people, in the order of ``known``.

    Parameters
    ----------
    source : str, the data set's short name, such as ``"hapt"``.
    subjects : list of int or str, or None for everybody. ``2``, ``"2"``, ``"02"`` and ``"hapt-02"`` are one person.
    known : list of int or str, the set's own keys: numbers (``1, 2, ...``) or letters (``"a", "b", ...``).

    Raises
    ------
    DataError
        If somebody is not in the set.
    """
    if subjects is None:
        return list(known)
    by_name = {str(key): key for key in known}
    chosen = set()
    for subject in subjects:
        plain = re.sub(rf"^{source}-", "", str(subject))
        plain = plain.lstrip("0") if plain.strip("0") else plain
        if plain not in by_name:
            names = [subject_name(source, key) for key in known]
            raise DataError(f"{source} has no subject {subject!r}; it has {', '.join(names)}.")
        chosen.add(by_name[plain])
    return [key for key in known if key in chosen]


def subject_name(source, key):
    """``"hapt-02"``, ``"hhar-a"``: numbers get two digits, so that names sort."""
    return f"{source}-{key:02d}" if isinstance(key, int) else f"{source}-{key}"

"""Who is trained on and who is tested on: nobody, and no window, in two parts."""

import numpy as np

from llasa_lib.errors import SplitError
from llasa_lib.signals.windows import to_array, window_hashes


def split_by_subject(windows, test, validation=()):
    """Split windows so that nobody is in two parts.

    Parameters
    ----------
    windows : Dataset
    test, validation : lists of subject names, such as ``["hapt-02", "hapt-04"]``. All others are for
    training.

    Returns
    -------
    DatasetDict
        ``train``, ``validation``, ``test``, checked by :func:`check_disjoint`.

    Raises
    ------
    SplitError
        If a subject is named twice or has no windows, if nobody is left for training, or if two parts share a
        window.
    """
    from datasets import DatasetDict

    present = set(windows.unique("subject"))
    parts = {"validation": set(validation), "test": set(test)}
    both = parts["validation"] & parts["test"]
    if both:
        raise SplitError(f"{', '.join(sorted(both))} cannot be in validation and in test. Remove one of the two.")
    for name, people in parts.items():
        if people - present:
            unknown, known = (", ".join(sorted(map(str, group))) for group in (people - present, present))
            raise SplitError(f"{name} names {unknown}, but there are only windows of {known}.")
    parts = {"train": present - parts["validation"] - parts["test"], **parts}
    if not parts["train"]:
        raise SplitError("Nobody is left for training. Name fewer subjects for validation and test.")
    subjects = np.asarray(windows["subject"])
    rows = {name: np.flatnonzero(np.isin(subjects, sorted(people))) for name, people in parts.items()}
    splits = DatasetDict({name: windows.select(chosen) for name, chosen in rows.items()})
    check_disjoint(splits)
    return splits


def check_disjoint(splits):
    """Raise :class:`SplitError` if two splits share a subject or a window (compared by its content)."""
    people = {name: set(split["subject"]) for name, split in splits.items()}
    hashes = {name: set(window_hashes(to_array(split))) for name, split in splits.items()}
    names = list(splits)
    for i, one in enumerate(names):
        for other in names[i + 1 :]:
            shared = sorted(people[one] & people[other])
            if shared:
                more = f" and {len(shared) - 1} more" if len(shared) > 1 else ""
                raise SplitError(
                    f"{one} and {other} share the subject {shared[0]}{more}. Split by subject, not by window."
                )
            if hashes[one] & hashes[other]:
                count = len(hashes[one] & hashes[other])
                raise SplitError(f"{one} and {other} share {count} identical windows. Remove them from one of the two.")

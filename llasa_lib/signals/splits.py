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
    return _checked({name: windows.select(chosen) for name, chosen in rows.items()})


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


def folds(windows, count, by="subject", seed=0):
    """K-fold cross-validation over groups: every group is tested once.

    Parameters
    ----------
    windows : Dataset
    count : int, number of folds.
    by : str, a column: ``"subject"`` or ``"source"``.
    seed : int, of which groups share a fold.

    Yields
    ------
    (list of str, DatasetDict)
        The groups that are held out, and ``train`` and ``test``, checked by :func:`check_disjoint`.

    Raises
    ------
    SplitError
        If there are fewer groups than folds, or two parts share a subject or a window.
    """
    groups = np.asarray(windows[by])
    names = np.unique(groups)
    if not 2 <= count <= len(names):
        raise SplitError(f"{count} folds over {len(names)} values of {by!r} are impossible; choose 2 to {len(names)}.")
    order = np.random.default_rng(seed).permutation(names)
    for held_out in np.array_split(order, count):
        yield sorted(held_out.tolist()), _held_out(windows, np.isin(groups, held_out))


def leave_one_out(windows, by="subject"):
    """One group held out at a time: one subject, or with ``by="source"`` one data set. See :func:`folds`."""
    for held_out, splits in sorted(folds(windows, len(windows.unique(by)), by), key=lambda pair: pair[0]):
        yield held_out[0], splits


def split_by_placement(windows, placement, test):
    """Test on a place of the body, and on people, that training never saw.

    Both are held out: devices that one person wore at the same time record the same steps.

    Parameters
    ----------
    windows : Dataset
    placement : str, such as ``"wrist"``.
    test : list of subject names
        Tested, in that placement only; their other placements are left out.

    Returns
    -------
    DatasetDict
        ``train`` (other people, other placements) and ``test``.

    Raises
    ------
    SplitError
        If one of the parts is empty.
    """
    there = np.asarray(windows["placement"]) == placement
    theirs = np.isin(np.asarray(windows["subject"]), list(test))
    rows = {"train": np.flatnonzero(~there & ~theirs), "test": np.flatnonzero(there & theirs)}
    for name, chosen in rows.items():
        if not len(chosen):
            places = ", ".join(sorted(windows.unique("placement")))
            raise SplitError(f"No window is left for {name}. The placements are {places}; check them and the subjects.")
    return _checked({name: windows.select(chosen) for name, chosen in rows.items()})


def _held_out(windows, test):
    return _checked({"train": windows.select(np.flatnonzero(~test)), "test": windows.select(np.flatnonzero(test))})


def _checked(parts):
    from datasets import DatasetDict

    splits = DatasetDict(parts)
    check_disjoint(splits)
    return splits

"""Checks that a chapter makes in the open: what was built by hand against what the library does.

A check that holds prints one line; one that does not raises ``AssertionError``, and the book does not build.
"""

import numpy as np


def _array(value):
    if hasattr(value, "detach"):
        value = value.detach().cpu()
    return np.asarray(value)


def close(mine, library, within=1e-6, why=""):
    """Assert that two arrays have the same shape and differ nowhere by more than ``within`` (absolute)."""
    mine, library = _array(mine), _array(library)
    assert mine.shape == library.shape, f"shapes differ: {mine.shape} and {library.shape}. {why}"
    gap = float(np.max(np.abs(mine - library))) if mine.size else 0.0
    assert gap <= within, f"largest difference {gap:.3g}, allowed {within:.3g}. {why}"
    print(f"✓ agree within {within:g} (largest difference {gap:.2g})" + (f": {why}" if why else ""))


def equal(mine, expected, why=""):
    """Assert that two values, or two arrays, are the same."""
    same = np.array_equal(_array(mine), _array(expected))
    assert same, f"{mine!r} is not {expected!r}. {why}"
    print("✓ equal" + (f": {why}" if why else ""))


def true(condition, why=""):
    """Assert a condition."""
    assert bool(condition), why or "the condition does not hold"
    print("✓ holds" + (f": {why}" if why else ""))

"""Shared fixtures: real HAPT recordings of three people, read once."""

import pytest


@pytest.fixture(scope="session")
def hapt_recordings():
    """All recordings of HAPT subjects 1, 2 and 5."""
    from llasa_lib import recordings

    return recordings.load("hapt", subjects=[1, 2, 5])


@pytest.fixture(scope="session")
def hapt_windows(hapt_recordings):
    """Windows of those three people, as a ``datasets.Dataset``."""
    from llasa_lib import signals

    return signals.make_windows(hapt_recordings)

"""Knowing what one does not know: what is unlike anything taught is flagged, and what merely differs is not."""

import numpy as np
import pytest

from llasa_lib import model, signals
from llasa_lib.model import familiarity


@pytest.fixture(scope="module")
def fitted(hapt_windows):
    """An extractor that knows these people, and their windows."""
    windows = signals.calibrate(hapt_windows, placement="waist")
    extractor = model.ImuFeatureExtractor().fit(windows)
    familiarity.fit(extractor, windows, hapt_windows["activity"], windows)
    return extractor, windows


def test_one_in_twenty_moving_windows_of_validation_people_is_flagged_and_no_still_one(fitted):
    extractor, windows = fitted
    known = familiarity.known(extractor, windows)
    assert 1 - known[windows.moving].mean() == pytest.approx(0.05, abs=0.01)
    assert known[~windows.moving].all()


def test_movement_that_nobody_was_taught_is_flagged_with_a_measured_reason(fitted, hapt_windows):
    extractor, _ = fitted
    imu = signals.to_array(hapt_windows).astype(float)
    shaken = imu.copy()
    seconds = np.arange(imu.shape[1]) / signals.RATE
    shaken[..., 3] += 8 * np.sin(2 * np.pi * 5 * seconds)
    windows = signals.calibrate(shaken, hapt_windows["subject"], "waist")
    assert not familiarity.known(extractor, windows)[windows.moving].any()
    said = familiarity.reason(extractor, windows[np.flatnonzero(windows.moving)[:1]])
    assert "turning faster than anything taught: rotation is" in said


@pytest.mark.parametrize(
    ("run", "flagged"),
    [
        ([1.5] * familiarity.LASTING, True),
        ([1.5] * (familiarity.LASTING - 1), False),  # somebody gets up
        ([1.05] * 12, False),  # somebody descends in a way of her own
        ([1.05, 1.4, 1.4, 1.3, 1.05, 1.4, 1.4], True),
        ([0.9] * 20, False),
    ],
)
def test_what_is_unlike_anything_taught_lasts_and_lies_far_beyond(run, flagged, monkeypatch):
    strange = np.array([0.5] * 10 + run + [0.5] * 10)
    monkeypatch.setattr(familiarity, "_strangeness", lambda extractor, windows: strange)
    known = familiarity.known_in_time(None, None)
    assert known[:10].all()
    assert known[-10:].all()
    assert (not known[10:-10].any()) if flagged else known.all()


@pytest.mark.filterwarnings("error")
def test_a_recording_of_nothing_else_is_flagged_without_a_warning(monkeypatch):
    monkeypatch.setattr(familiarity, "_strangeness", lambda extractor, windows: np.full(3, 2.0))
    assert not familiarity.known_in_time(None, None).any()

"""Named features: each is what its formula says; those that should not care how the device is held do not."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llasa_lib import signals
from llasa_lib.errors import RecordingError

RATE = 20.0
INVARIANT = [name for name, feature in signals.FEATURES.items() if feature.invariant]
TIME = np.arange(120) / RATE


@pytest.fixture(scope="module")
def imu(hapt_windows):
    return signals.to_array(hapt_windows).astype(np.float64)


@pytest.fixture(scope="module")
def table(imu):
    return signals.describe_windows(imu)


def swing(frequency=2.0, amplitude=3.0):
    """Up and down along z at a steady frequency, with gravity, and a slow turn about z."""
    window = np.zeros((1, 120, 6))
    window[0, :, 2] = 9.81 + amplitude * np.sin(2 * np.pi * frequency * TIME)
    window[0, :, 5] = 0.5
    return window


def test_about_sixty_features_have_a_name_a_unit_and_a_formula(table):
    assert 55 <= len(signals.FEATURES) <= 70
    assert list(table) == list(signals.FEATURES)
    assert all(feature.unit and feature.formula for feature in signals.FEATURES.values())
    assert len(INVARIANT) >= 30


def test_formulas_can_be_typeset():
    from matplotlib.mathtext import MathTextParser

    for feature in signals.FEATURES.values():
        MathTextParser("path").parse(f"${feature.formula}$")


def test_real_windows_have_a_value_for_every_feature(table, imu):
    assert table.shape == (len(imu), len(signals.FEATURES))
    assert np.isfinite(table.to_numpy()).all()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_turning_the_device_leaves_invariant_features_unchanged(imu, table, seed):
    some = slice(None, None, 11)
    turned = signals.turn_randomly(imu[some], np.random.default_rng(seed))
    again = signals.describe_windows(turned, INVARIANT)
    np.testing.assert_allclose(again, table[INVARIANT].iloc[some], rtol=1e-5, atol=1e-5)


def test_turning_the_device_does_change_the_others(imu, table):
    others = [name for name in signals.FEATURES if name not in INVARIANT]
    turned = signals.describe_windows(signals.turn_randomly(imu, np.random.default_rng(0)), others)
    assert ((turned - table[others]).abs().mean() > 1e-3).all()


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(20)))
def test_a_window_s_features_do_not_depend_on_its_neighbours(imu, table, order):
    pd.testing.assert_frame_equal(
        signals.describe_windows(imu[order]), table.iloc[order].reset_index(drop=True), rtol=1e-9
    )


def test_statistics_of_one_axis_are_numpy_s(imu, table):
    y = imu[:, :, 1]
    np.testing.assert_allclose(table["acceleration y mean"], y.mean(1))
    np.testing.assert_allclose(table["acceleration y standard deviation"], y.std(1))
    np.testing.assert_allclose(
        table["acceleration y interquartile range"], np.percentile(y, 75, axis=1) - np.percentile(y, 25, axis=1)
    )
    np.testing.assert_allclose(table["rotation z mean"], imu[:, :, 5].mean(1))


def test_a_steady_swing_is_described_as_one():
    row = signals.describe_windows(swing()).iloc[0]
    assert row["dominant frequency"] == pytest.approx(2.0)
    assert row["rhythm"] % 0.5 == pytest.approx(0)  # one, two, three or four swings: all fit equally well
    assert row["regularity"] == pytest.approx(1, abs=0.02)
    assert row["mean crossings"] == pytest.approx(4, abs=0.4)
    assert row["vertical share"] == pytest.approx(1, abs=1e-3)
    assert row["vertical spread"] == pytest.approx(3 / np.sqrt(2), rel=0.02)
    assert row["horizontal spread"] == pytest.approx(0, abs=0.02)
    assert row["tilt of z"] == pytest.approx(0, abs=0.1)
    assert row["tilt of x"] == pytest.approx(90, abs=0.1)
    assert row["net turn about the vertical"] == pytest.approx(3.0)


def test_power_adds_up_to_the_variance():
    window = swing(2.0, 3.0)
    row = signals.describe_windows(window).iloc[0]
    bands = [name for name in signals.FEATURES if name.startswith("power from")]
    assert row[bands].sum() == pytest.approx(4.5, rel=0.02)  # amplitude squared over two
    assert row["power from 1 to 3 Hz"] == pytest.approx(row[bands].sum(), rel=0.01)


def test_a_sensor_at_rest_has_no_rhythm_and_no_nan():
    still = np.zeros((1, 120, 6))
    still[..., 2] = 9.81
    row = signals.describe_windows(still).iloc[0]
    assert np.isfinite(row).all()
    assert row[["dominant frequency", "regularity", "vertical share", "crest factor"]].eq(0).all()


@pytest.mark.parametrize("angle", [10.0, 90.0, 170.0])
def test_a_change_of_posture_shows_as_its_angle(angle):
    window = np.zeros((1, 120, 6))
    turn = np.radians(np.interp(TIME, [2, 4], [0, angle]))
    window[0, :, 0], window[0, :, 2] = 9.81 * np.sin(turn), 9.81 * np.cos(turn)
    # The filter that finds gravity overshoots a little after such a move.
    assert signals.describe_windows(window)["tilt change"][0] == pytest.approx(angle, rel=0.05)


def test_only_what_is_asked_for_is_given(imu):
    assert list(signals.describe_windows(imu[:2], ["jerk", "rhythm"])) == ["jerk", "rhythm"]


@pytest.mark.parametrize("shape", [(120, 6), (3, 120, 3), (3, 30, 6)])
def test_wrong_shapes_are_refused(shape):
    with pytest.raises(RecordingError, match="two seconds"):
        signals.describe_windows(np.ones(shape))


def test_an_unknown_feature_is_named():
    with pytest.raises(RecordingError, match="'mood' is no feature"):
        signals.describe_windows(swing(), ["mood"])

"""Changed windows are still physics: what another device, or a faster walker, would have felt."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from llasa_lib import signals
from llasa_lib.errors import RecordingError


@pytest.fixture(scope="module")
def imu(hapt_windows):
    return signals.to_array(hapt_windows)[::6].astype(np.float64)


seeds = st.integers(0, 2**32 - 1)


# --- turning --------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(seed=seeds, largest=st.floats(1, 180))
def test_a_turn_keeps_every_length_and_can_be_undone(imu, seed, largest):
    turns = signals.random_turns(len(imu), np.random.default_rng(seed), largest)
    turned = signals.rotate(imu, turns)
    for part in (slice(0, 3), slice(3, 6)):
        sizes = [np.linalg.norm(values[..., part], axis=-1) for values in (turned, imu)]
        np.testing.assert_allclose(*sizes, atol=1e-9)
    np.testing.assert_allclose(signals.rotate(turned, np.swapaxes(turns, 1, 2)), imu, atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(seed=seeds, largest=st.floats(1, 179))
def test_no_turn_is_larger_than_asked_for(seed, largest):
    turns = signals.random_turns(50, np.random.default_rng(seed), largest)
    assert np.degrees(Rotation.from_matrix(turns).magnitude()).max() <= largest + 1e-6


def test_turns_in_all_directions_favour_none():
    up = signals.random_turns(4000, np.random.default_rng(0)) @ np.array([0.0, 0.0, 1.0])
    np.testing.assert_allclose(up.mean(axis=0), 0, atol=0.04)
    np.testing.assert_allclose((up**2).mean(axis=0), 1 / 3, atol=0.03)


def test_the_same_generator_gives_the_same_turns(imu):
    one, other = (signals.turn_randomly(imu, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("matrix", [2 * np.eye(3), np.diag([1.0, 1.0, -1.0]), np.ones((3, 3))])
def test_what_is_no_rotation_is_refused(imu, matrix):
    with pytest.raises(RecordingError, match="no rotation"):
        signals.rotate(imu, matrix)


# --- gravity-aligned frame ------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(seed=seeds)
def test_in_the_aligned_frame_gravity_points_up_whatever_the_device_did(imu, seed):
    turned = signals.turn_randomly(imu, np.random.default_rng(seed))
    aligned = signals.align_to_gravity(turned)
    np.testing.assert_allclose(signals.gravity_direction(aligned[..., :3]), [[0, 0, 1]] * len(imu), atol=1e-6)
    # Only the heading stays open: vertical parts agree with those of the unturned windows.
    straight = signals.align_to_gravity(imu)
    np.testing.assert_allclose(aligned[..., [2, 5]], straight[..., [2, 5]], atol=1e-6)


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("sign", [1, -1])
def test_a_device_on_any_of_its_six_faces_is_aligned(axis, sign):
    window = np.zeros((1, 120, 6))
    window[..., axis] = sign * 9.81
    window[..., 3 + axis] = sign * 0.7  # a turn about the vertical
    aligned = signals.align_to_gravity(window)
    np.testing.assert_allclose(aligned[0, 60], [0, 0, 9.81, 0, 0, 0.7], atol=1e-6)


# --- a mirrored world ----------------------------------------------------------------------------


@pytest.mark.parametrize("axis", range(3))
def test_a_mirrored_walk_is_a_possible_one(axis):
    """A body that turns and swings, seen in a mirror, still obeys da/dt = -omega x a for the gravity that it feels."""
    seconds = np.arange(400) / 400
    turn = Rotation.from_euler("zyx", np.column_stack([seconds, 0.7 * seconds**2, -0.4 * seconds]))
    gravity = turn.inv().apply([0.0, 0.0, 9.81])
    rates = (turn[:-1].inv() * turn[1:]).as_rotvec() * 400
    imu = np.concatenate([gravity[:-1], rates], axis=1)
    for felt in (imu, signals.mirror(imu, axis)):
        change = np.diff(felt[:, :3], axis=0) * 400
        np.testing.assert_allclose(change, -np.cross(felt[:-1, 3:], felt[:-1, :3]), atol=0.06)


@pytest.mark.parametrize("axis", range(3))
def test_two_mirrors_undo_each_other_and_a_mirror_is_no_turn(imu, axis):
    seen = signals.mirror(imu, axis)
    np.testing.assert_array_equal(signals.mirror(seen, axis), imu)
    sizes = [np.linalg.norm(values[..., :3], axis=-1) for values in (seen, imu)]
    np.testing.assert_allclose(*sizes)
    turn = "net turn about the vertical"
    both = [signals.describe_windows(values, [turn, "vertical spread"]) for values in (imu, seen)]
    np.testing.assert_allclose(both[1][turn], -both[0][turn], atol=1e-9)
    np.testing.assert_allclose(both[1]["vertical spread"], both[0]["vertical spread"], atol=1e-9)


def test_the_level_axis_carries_least_gravity(imu):
    assert signals.level_axis(np.roll(imu[..., :3], 1, axis=-1)) == (signals.level_axis(imu) + 1) % 3
    upright = np.zeros((2, 120, 6))
    upright[..., :3] = [9.8, -1.0, 0.3]
    assert signals.level_axis(upright) == 2


# --- other devices, other speeds ------------------------------------------------------------------


def test_miscalibration_changes_gains_and_zero_points_and_nothing_else(imu):
    other = signals.miscalibrate(imu, np.random.default_rng(0))
    for window, changed in zip(imu, other, strict=True):
        for channel in range(6):
            line = np.polyfit(window[:, channel], changed[:, channel], 1)
            np.testing.assert_allclose(np.polyval(line, window[:, channel]), changed[:, channel], atol=1e-8)
    assert 0.005 < np.abs(other[..., :3] / imu[..., :3] - 1).mean() < 1.0


@settings(max_examples=10, deadline=None)
@given(acceleration=st.floats(0, 1), rotation=st.floats(0, 1))
def test_noise_has_the_size_it_was_given(imu, acceleration, rotation):
    noise = signals.add_noise(imu, np.random.default_rng(0), acceleration, rotation) - imu
    assert noise[..., :3].std() == pytest.approx(acceleration, rel=0.05, abs=1e-9)
    assert noise[..., 3:].std() == pytest.approx(rotation, rel=0.05, abs=1e-9)


@settings(max_examples=20, deadline=None)
@given(factor=st.floats(0.6, 1.6))
def test_a_faster_walk_has_a_faster_rhythm_and_grows_as_physics_says(factor):
    seconds = np.arange(120) / 20
    window = np.zeros((1, 120, 6))
    window[0, :, 2] = 9.81 + 2 * np.sin(2 * np.pi * 1.5 * seconds)
    window[0, :, 4] = np.sin(2 * np.pi * 1.5 * seconds)
    faster = signals.change_speed(window, factor)
    assert faster.shape[1] == int(120 / max(1, factor))
    middle = slice(20, faster.shape[1] - 20)
    assert np.sqrt(2) * faster[0, middle, 4].std() == pytest.approx(factor, rel=0.12)
    assert np.sqrt(2) * faster[0, middle, 2].std() == pytest.approx(2 * factor**2, rel=0.12)
    assert faster[0, middle, 2].mean() == pytest.approx(9.81, abs=0.3)
    crossings = np.diff(faster[0, :, 4] > 0).sum() / (faster.shape[1] / 20) / 2
    assert crossings == pytest.approx(1.5 * factor, abs=0.2)


def test_speed_one_changes_nothing(imu):
    np.testing.assert_allclose(signals.change_speed(imu, 1.0), imu, atol=1e-9)


def test_an_impossible_speed_is_refused(imu):
    with pytest.raises(RecordingError, match=r"between 0\.5 and 2"):
        signals.change_speed(imu, 3.0)


# --- quality --------------------------------------------------------------------------------------


def flags(window):
    return {name for name, raised in signals.quality(window[None]).items() if raised[0]}


def test_real_recordings_raise_no_flag(imu):
    assert not any(raised.any() for raised in signals.quality(imu).values())
    assert set(signals.quality(imu)) == set(signals.FLAGS)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("no gravity", lambda w: w * np.repeat([1 / 9.80665, 1.0], 3)),
        ("frozen", lambda w: np.concatenate([w[:60], np.repeat(w[60:61], 60, axis=0)])),
        ("spike", lambda w: w + 80 * (np.arange(len(w)) == 50)[:, None] * np.eye(6)[1]),
        ("clipped", lambda w: np.clip(w, *np.quantile(w, [0.3, 0.6], axis=0))),
        ("fast rotation", lambda w: w * np.repeat([1.0, 180 / np.pi], 3)),
    ],
)
def test_each_fault_raises_its_own_flag(imu, hapt_windows, name, change):
    walking = np.array(hapt_windows["activity"])[::6] == "walking"
    found = [flags(change(window)) for window in imu[walking]]
    assert all(name in raised for raised in found)


def test_quality_wants_windows():
    with pytest.raises(RecordingError, match=r"\(N, T, 6\)"):
        signals.quality(np.zeros((120, 6)))


# --- carried elsewhere ----------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(seed=seeds, axis=st.integers(0, 2), largest=st.floats(1, 180))
def test_a_phone_slid_round_the_belt_keeps_what_it_feels_along_the_belts_axis(imu, seed, axis, largest):
    turned = signals.turn_about(imu, axis, np.random.default_rng(seed), largest)
    np.testing.assert_allclose(turned[..., [axis, axis + 3]], imu[..., [axis, axis + 3]], atol=1e-9)
    across = [channel for channel in range(3) if channel != axis]
    sizes = [np.linalg.norm(values[..., across], axis=-1) for values in (turned, imu)]
    np.testing.assert_allclose(*sizes, atol=1e-9)
    one, two = (values[..., across].mean(axis=1) for values in (turned, imu))
    angles = np.degrees(np.arctan2(one[:, 0] * two[:, 1] - one[:, 1] * two[:, 0], (one * two).sum(-1)))
    assert np.abs(angles).max() <= largest + 1e-6


def test_the_upright_axis_of_a_phone_at_the_waist_is_x(imu):
    assert signals.upright_axis(imu) == 0
    assert signals.upright_axis(imu) != signals.level_axis(imu)

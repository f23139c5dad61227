"""Changed windows are still physics: what another device, or another building, would have given."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from llasa_lib import signals
from llasa_lib.errors import RecordingError
from llasa_lib.signals.augmentation import random_turns


@pytest.fixture(scope="module")
def imu(hapt_windows):
    return signals.to_array(hapt_windows)[::6].astype(np.float64)


seeds = st.integers(0, 2**32 - 1)


# --- turning --------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(seed=seeds, largest=st.floats(1, 180))
def test_a_turn_keeps_every_length_and_can_be_undone(imu, seed, largest):
    turns = random_turns(len(imu), np.random.default_rng(seed), largest)
    turned = signals.rotate(imu, turns)
    for part in (slice(0, 3), slice(3, 6)):
        sizes = [np.linalg.norm(values[..., part], axis=-1) for values in (turned, imu)]
        np.testing.assert_allclose(*sizes, atol=1e-9)
    np.testing.assert_allclose(signals.rotate(turned, np.swapaxes(turns, 1, 2)), imu, atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(seed=seeds, largest=st.floats(1, 179))
def test_no_turn_is_larger_than_asked_for(seed, largest):
    turns = random_turns(50, np.random.default_rng(seed), largest)
    assert np.degrees(Rotation.from_matrix(turns).magnitude()).max() <= largest + 1e-6


def test_turns_in_all_directions_favour_none():
    up = random_turns(4000, np.random.default_rng(0)) @ np.array([0.0, 0.0, 1.0])
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


# --- worn elsewhere ----------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(axis=st.integers(0, 2), angle=st.floats(-179, 179))
def test_a_phone_slid_round_the_belt_keeps_what_it_feels_along_the_belts_axis(imu, axis, angle):
    turned = signals.turn_about(imu, axis, angle)
    np.testing.assert_allclose(turned[..., [axis, axis + 3]], imu[..., [axis, axis + 3]], atol=1e-9)
    across = [channel for channel in range(3) if channel != axis]
    sizes = [np.linalg.norm(values[..., across], axis=-1) for values in (turned, imu)]
    np.testing.assert_allclose(*sizes, atol=1e-9)
    one, two = (values[..., across].mean(axis=1) for values in (turned, imu))
    angles = np.degrees(np.arctan2(one[:, 0] * two[:, 1] - one[:, 1] * two[:, 0], (one * two).sum(-1)))
    assert np.allclose(np.abs(angles), abs(angle), atol=1e-5)


def test_the_upright_axis_of_a_phone_at_the_waist_is_x(imu):
    assert signals.upright_axis(imu) == 0
    assert signals.upright_axis(imu) != signals.level_axis(imu)
